//! Settings of layers, and what every setting of a model is checked by.

pub(crate) mod check;

use serde::{Deserialize, Serialize};

use crate::rounding::TableDtype;

pub use crate::input::{FieldKind, FieldSpec, InputSpec, Pooling, Role};
pub use crate::models::optmsm::{Activation, Combine, SpecificConfig};
pub use crate::models::{Kind, ModelConfig};

/// Embedding tables of categorical and multi-hot fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingsConfig {
    /// How their elements are stored; `f16` and `bf16` halve the memory of the rows.
    pub dtype: TableDtype,
}

impl EmbeddingsConfig {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Condition of the hypernetwork: its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// The scenario's embedding: one tower per scenario, generated once per step.
    Scenario,
    /// The scenario's embedding and the row's specific encoding: one tower per row.
    Instance,
    /// A vector that all scenarios share: one tower for all, an ablation.
    Shared,
}

/// Experts: MLPs of one shape that read the same input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExpertsConfig {
    /// K; 0 takes the number of scenarios.
    pub count: usize,
    /// Widths of the layers; the last is m.
    pub hidden: Vec<usize>,
    /// Probability of dropping an activation while training.
    pub dropout: f64,
}

impl ExpertsConfig {
    /// K for a data set with `scenarios` scenarios.
    pub fn count(&self, scenarios: usize) -> usize {
        if self.count == 0 { scenarios } else { self.count }
    }
}

impl Default for ExpertsConfig {
    fn default() -> Self {
        Self { count: 0, hidden: vec![64, 32], dropout: 0.0 }
    }
}

/// Prediction tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TowerConfig {
    /// Widths of the hidden layers; a last layer of width 1 follows.
    pub hidden: Vec<usize>,
    /// Probability of dropping an activation while training.
    pub dropout: f64,
}

impl Default for TowerConfig {
    fn default() -> Self {
        Self { hidden: vec![32], dropout: 0.0 }
    }
}

/// Settings of a stack of linear + ReLU layers with its own default widths: what a table leaves out is the kind's default.
macro_rules! mlp_config {
    ($(#[$doc:meta])* $Name:ident, $hidden:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Name {
            /// Widths of the layers.
            pub hidden: Vec<usize>,
            /// Probability of dropping an activation while training.
            pub dropout: f64,
        }

        impl Default for $Name {
            fn default() -> Self {
                Self { hidden: $hidden.to_vec(), dropout: 0.0 }
            }
        }
    };
}
pub(crate) use mlp_config;

/// Hypernetwork that generates the tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HyperConfig {
    /// q: width of a scenario's embedding.
    pub scenario_dim: usize,
    /// t: width of the trunk.
    pub trunk: usize,
    /// r: rank of generated weights; 0 generates whole matrices.
    pub rank: usize,
    /// Condition of the hypernetwork: its input.
    pub condition: Condition,
}

impl Default for HyperConfig {
    fn default() -> Self {
        Self { scenario_dim: 16, trunk: 32, rank: 16, condition: Condition::Scenario }
    }
}
