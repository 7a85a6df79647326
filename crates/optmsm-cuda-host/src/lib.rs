//! Runs the CUDA kernels' source on the CPU, for tests: the same .cu text, compiled by a C++ compiler with `kernels/host/cuda_host.h`.
//!
//! Not published; on Linux only.

mod build;
mod device;
mod kernels;
mod memory;
mod scan;
mod standin;

pub use build::has_compiler;
pub use device::{Host, cuda, kernels, known};
pub use kernels::HostKernels;
pub use memory::Memory;
pub use standin::{Held, StandIn};
