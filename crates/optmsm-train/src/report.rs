//! A page to look at runs by: what is known of each, scored on a data file, side by side.
//!
//! [`gather()`] reads a run and a file, [`page()`] draws any number of runs as one HTML file that asks for nothing else.

mod chart;
mod files;
mod gather;
mod html;
mod inside;
mod page;
mod sections;

use std::collections::BTreeMap;

use optmsm_core::metrics::{Bin, Metrics};
use serde::Serialize;

use crate::coverage::FieldCoverage;

pub use files::{FileFacts, Files};
pub use gather::gather;
pub use page::page;

pub use crate::history::Line;

/// Role of the files whose rows the numbers are of.
const SCORED: &str = "scored here";

/// A run, as the page shows it.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// Folder as the user gave it.
    pub run: String,
    /// Every setting by its dotted key, as TOML.
    pub settings: BTreeMap<String, String>,
    /// Hash of the schema.
    pub schema: String,
    /// Hash of model configuration and schema: what its checkpoints belong to.
    pub fingerprint: String,
    /// Elements of all parameters.
    pub parameters: u64,
    /// Step of the best parameters, which everything but the history is of.
    pub best_step: u64,
    /// What it was made from, as the files are now.
    pub files: Vec<FileFacts>,
    /// Evaluations during training.
    pub history: Vec<Line>,
    /// Rows that it was scored on.
    pub data: String,
    /// Column by whose values they are weighed in metrics, bins and curves; none where each counts once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weighted_by: Option<String>,
    /// Whether rows of label 0 stand there for those that sampling dropped, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub negatives_weighted: bool,
    /// All rows of the data.
    pub overall: SetReport,
    /// Rows of each scenario.
    pub scenarios: Vec<SetReport>,
    /// Mean |cos| of each pair of experts and the like, over all rows of the data.
    pub diagnostics: BTreeMap<String, f64>,
    /// Mean gate weight of each expert by scenario, where the model has a gate; none for a scenario without rows.
    pub gates: Vec<Option<Vec<f64>>>,
    /// Norms of the tower's generated layers by scenario.
    pub norms: Vec<Norms>,
    /// What the data holds of each field's vocabulary.
    pub coverage: Vec<FieldCoverage>,
}

/// Scored rows.
#[derive(Clone, Debug, Serialize)]
pub struct SetReport {
    /// Scenario, or `all`.
    pub name: String,
    /// Metrics.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// AUC of the true probabilities, where the data has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling_auc: Option<f64>,
    /// Bins of the ECE.
    pub bins: Vec<Bin>,
    /// Points of the ROC curve, thinned out: false and true positive rate.
    pub roc: Vec<[f64; 2]>,
}

/// Frobenius norms of one generated layer, by scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Norms {
    /// Of its matrix.
    pub weight: Vec<f64>,
    /// Of its bias.
    pub bias: Vec<f64>,
}
