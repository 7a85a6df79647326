//! The operations that layers are written in, by families.
//!
//! A [`Backend`] is all families together: it owns memory of one element type and computes on it. Layers call these
//! operations and nothing else, so a backend that passes the conformance suite (`optmsm-testkit`) computes every
//! model.
//!
//! Conventions: outputs first, then inputs, then scalars. Matrices are row-major with a row stride. Every
//! gradient output takes [`Write`], so that set or add is visible at the call. A shape mistake is a bug in
//! a layer and panics with both shapes; what a user can cause is checked before (`Batch::validate`,
//! `ModelConfig::validate`). Work may be queued: errors of a device surface at [`Memory::download`], and memory
//! may be dropped before the work that uses it was done, so a backend keeps it until then.
//!
//! Operations with a body are compositions of the others, with the same result except for the order of sums; a backend
//! for which one pass is faster than several brings its own.
//!
//! `B` is rows of a block, `K` experts, `m` their width, `G` groups; see `model.md` for the rest.

mod dense;
mod elementwise;
mod embedding;
mod gate;
mod loss;
mod memory;
mod norm;
mod operands;
mod penalty;
mod update;

pub use crate::elem::Elem;
pub use dense::Dense;
pub use elementwise::Elementwise;
pub use embedding::Embedding;
pub use gate::Gate;
pub use loss::Loss;
pub use memory::Memory;
pub use norm::Norm;
pub use operands::{
    Bags, Dropout, Epilogue, FieldLookup, FieldSum, Groups, Layout, Mat, MatMut, Products, Segments,
    TableStep, TableView, Write,
};
pub use penalty::Penalty;
pub use update::Update;

/// Every family: what a model needs of a device. Code that is generic over it calls the methods of all of them.
pub trait Backend: Memory + Dense + Elementwise + Embedding + Gate + Norm + Penalty + Loss + Update {}

impl<B: Memory + Dense + Elementwise + Embedding + Gate + Norm + Penalty + Loss + Update> Backend for B {}
