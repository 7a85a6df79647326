//! Launchers, one function an operation. Arguments mirror the parameters of the kernel, in order.

pub(crate) mod dense;
pub(crate) mod dropout;
pub(crate) mod elementwise;
pub(crate) mod embedding;
pub(crate) mod gate;
pub(crate) mod loss;
pub(crate) mod norm;
pub(crate) mod optimizer;
pub(crate) mod orthogonality;
pub(crate) mod reduce;
pub(crate) mod transfer;
