//! Code that the benchmarks share: the standard work, its products, the machine's limits, and the PyTorch peer.

pub mod case;
pub mod gpu;
pub mod machine;
pub mod peak;
pub mod peer;
pub mod product;
pub mod timing;
pub mod work;

pub use work::{rows, standard};
