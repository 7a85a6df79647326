//! A page to look at runs by: what is known of each, scored on a data file, side by side.
//!
//! [`gather()`] reads a run and a file, [`page()`] draws any number of runs as one HTML file that asks for nothing else.

mod benchmark;
mod chart;
mod files;
mod gather;
mod html;
mod inside;
mod page;
mod sections;

use std::collections::BTreeMap;

use optmsm_core::metrics::{Bin, Metrics};
use optmsm_core::model::{Exhibit, Heads, Shows};
use optmsm_data::Schema;
use serde::Serialize;

use crate::coverage::FieldCoverage;
use crate::findings::Finding;

pub(crate) use benchmark::bench_page;
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
    /// Files that it was made from, as they are now.
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
    /// Means of the model's measures over all rows of the data, by name.
    pub diagnostics: BTreeMap<String, f64>,
    /// Warnings about the model, from what follows and from its predictions.
    pub findings: Vec<Finding>,
    /// Tables that the model shows of itself.
    pub exhibits: Vec<ExhibitReport>,
    /// Coverage of each field's vocabulary by the data.
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

/// A table that a model shows of itself.
#[derive(Clone, Debug, Serialize)]
pub struct ExhibitReport {
    /// Short name.
    pub title: String,
    /// How to read it.
    pub says: String,
    /// Names of the rows.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Whether rows are the scenarios.
    pub by_scenario: bool,
    /// Values, row by row; none where there is nothing to show.
    pub values: Vec<Vec<Option<f64>>>,
    /// Value of the strongest colour; without one, values have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<f64>,
    /// Meaning of the values.
    #[serde(skip)]
    pub shows: Shows,
}

impl ExhibitReport {
    /// With the names of the schema's scenarios.
    pub(crate) fn new(exhibit: Exhibit, schema: &Schema) -> Self {
        let Exhibit { title, says, rows, columns, values, full, shows } = exhibit;
        let by_scenario = rows == Heads::Scenarios;
        let names = |heads| match heads {
            Heads::Named(names) => names,
            Heads::Scenarios => schema.scenarios.iter().map(|s| s.name.clone()).collect(),
        };
        let (rows, columns) = (names(rows), names(columns));
        let values = values.chunks(columns.len().max(1)).map(<[_]>::to_vec).collect();
        Self { title, says, rows, columns, by_scenario, values, full, shows }
    }
}
