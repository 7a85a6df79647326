//! Layers with handwritten forward and backward; docs/derivations.md derives what is not textbook.

pub mod embedding;
pub mod expert_output;
pub mod experts;
pub mod gate;
pub mod gate_unit;
pub mod gated_towers;
pub mod hyper;
pub mod input_mlp;
pub mod linear;
pub mod mlp;
pub mod norm;
pub mod orthogonality;
pub mod pruned_linear;
pub mod scenario_linear;
pub mod star;
pub mod tower;

pub use embedding::{Embedding, EmbeddingConfig};
pub use expert_output::ExpertOutput;
pub use experts::Experts;
pub use gate::{Gate, Mixture};
pub use gate_unit::{GateInput, GateUnit};
pub use gated_towers::GatedTowers;
pub use hyper::{GeneratedLinear, Hyper};
pub use input_mlp::InputMlp;
pub use linear::Linear;
pub use mlp::Mlp;
pub use norm::PartitionedNorm;
pub use orthogonality::Orthogonality;
pub use pruned_linear::{PrunedLinear, Pruner, Pruning};
pub use scenario_linear::{ScenarioLinear, ScenarioTowers};
pub use star::StarLinear;
pub use tower::{Tower, TowerSpec};
