//! Launchers, one function an operation. Arguments mirror the parameters of the kernel, in order.

pub(crate) mod dense;
pub(crate) mod elementwise;
pub(crate) mod embedding;
pub(crate) mod gate;
pub(crate) mod loss;
pub(crate) mod memory;
pub(crate) mod norm;
pub(crate) mod penalty;
pub(crate) mod reduce;
pub(crate) mod rows;
pub(crate) mod update;
