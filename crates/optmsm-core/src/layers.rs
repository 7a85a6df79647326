//! Layers with handwritten forward and backward; docs/derivations.md derives each.

pub mod embedding;
pub mod input_mlp;
pub mod linear;
pub mod mlp;
pub mod norm;
pub mod scenario_linear;
pub mod star;
pub mod tower;

pub use embedding::{Embedding, EmbeddingConfig};
pub use input_mlp::InputMlp;
pub use linear::Linear;
pub use mlp::Mlp;
pub use norm::PartitionedNorm;
pub use scenario_linear::{ScenarioLinear, ScenarioTowers};
pub use star::StarLinear;
pub use tower::{Tower, TowerSpec};
