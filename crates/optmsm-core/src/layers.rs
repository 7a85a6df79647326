//! Layers with handwritten forward and backward; docs/derivations.md derives each.

pub mod embedding;
pub mod linear;
pub mod mlp;
pub mod tower;

pub use embedding::Embedding;
pub use linear::Linear;
pub use mlp::Mlp;
pub use tower::Tower;
