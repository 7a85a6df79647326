//! The CUDA backend: from-scratch kernels (`kernels/`), shipped as PTX and run through the driver.
//!
//! Needs an NVIDIA driver at run time and nothing at build time. [`Cuda::probe`] says whether a device can be used, and why
//! not. Operations are queued; a training step is handed to the device as one graph, whose branches run side by side and which is
//! updated, not rebuilt, from step to step. Two runs on one device are bit-equal: sums have a fixed order, and no
//! floating-point number is added atomically.
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

mod cuda;
mod device;
mod error;
mod gpu;
mod hazards;
mod kernels;
mod launch;
mod memory;
mod ops;
mod queue;
mod work;

pub use cuda::{Cuda, CudaOptions, counting};
pub use device::{Device, Stage};
pub use error::{CudaError, DeviceResult};
pub use gpu::{DeviceInfo, Gpu};
pub use hazards::Hazards;
pub use kernels::Kernel;
pub use memory::{Buffer, Table};
pub use ops::dense::Packed;
pub use optmsm_core::precision::Precision;
pub use queue::RESERVED;
pub use work::{Argument, Launch, Region, Work};
