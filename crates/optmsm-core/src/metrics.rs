//! Metrics of predicted probabilities (model.md §11), overall and per scenario, in `f64`, with sample weights.
//!
//! A row of weight w counts as w rows would; one of weight 0 is as good as absent. What a set of rows cannot define is `None`, never
//! a made-up 0.5. Nothing depends on the order of the rows.
//!
//! A metric is one file beside this one and one line of [`METRICS`], which everything that computes, stores or shows metrics goes through.

mod auc;
mod calibration;
mod curves;
mod ece;
mod gauc;
mod log_loss;
mod metric;
mod set;
mod values;

use serde::{Deserialize, Serialize};

pub use auc::{AUC, auc, rela_impr};
pub use calibration::CALIBRATION;
pub use curves::{Bin, calibration_bins, roc};
pub use ece::ECE;
pub use gauc::GAUC;
pub use log_loss::LOG_LOSS;
pub use metric::{Better, Kind, Metric, Needs};

use set::{Columns, Set, equal, weighing};
use values::Values;

/// All metrics, in the order in which they are shown.
pub const METRICS: &[Metric] = &[AUC, GAUC, LOG_LOSS, CALIBRATION, ECE];

/// The group of rows without one: they are no part of the GAUC.
pub const NO_GROUP: u64 = 0;

/// Scored rows. Columns have one entry per row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rows<'a> {
    /// 0 or 1.
    pub labels: &'a [f32],
    /// Sample weights, finite and at least 0; empty means 1 for every row.
    pub weights: &'a [f32],
    /// Scenario of each row.
    pub scenarios: &'a [u32],
    /// Groups of the GAUC, [`NO_GROUP`] for a row without one; empty means no GAUC.
    pub groups: &'a [u64],
}

/// Metrics of one set of rows, weighted where its rows have weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Rows of a weight above 0.
    pub rows: u64,
    /// Those of them with label 1.
    pub positives: u64,
    /// Sum of the rows' weights; `None` where all rows of the data weigh the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Rows of equal weights that would estimate a mean as well, (Σ w)² / Σ w² (Kish, 1965); `None` where all rows of the data
    /// weigh the same, and without rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_rows: Option<f64>,
    #[serde(flatten)]
    values: Values,
}

impl Metrics {
    /// Value of a metric; `None` where the rows do not define it.
    pub fn get(&self, metric: &Metric) -> Option<f64> {
        self.values.get(metric)
    }
}

/// Metrics of a data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// All rows.
    pub overall: Metrics,
    /// Rows of each scenario.
    pub scenarios: Vec<Metrics>,
}

/// Metrics of `predictions` (probabilities) of `rows`, overall and for each of `count` scenarios.
pub fn evaluate(predictions: &[f32], rows: Rows, count: usize) -> Report {
    let all = weighing(predictions.len(), rows.weights);
    let mut of_scenario = vec![Vec::new(); count];
    all.iter().for_each(|&r| of_scenario[rows.scenarios[r as usize] as usize].push(r));
    let differ = !equal(rows.weights, &all);
    let metrics = |set: Vec<u32>| metrics(predictions, rows, set, differ);
    Report { overall: metrics(all), scenarios: of_scenario.into_iter().map(metrics).collect() }
}

/// Metrics of a set of rows whose weights are above 0; `differ` tells whether weights of the data do.
fn metrics(predictions: &[f32], rows: Rows, mut set: Vec<u32>, differ: bool) -> Metrics {
    let columns = Columns::of(predictions, rows.labels, rows.weights, &set);
    let sorted = columns.sort(&mut set);
    let weight = || set.iter().fold(0.0, |sum, &r| sum + f64::from(rows.weights[r as usize]));
    let weight = differ.then(weight);
    let set = Set::new(columns, sorted, set, rows.groups);
    let mass = set.mass();
    Metrics {
        rows: set.rows.len() as u64,
        positives: set.rows.iter().filter(|r| r.is_positive()).count() as u64,
        weight,
        effective_rows: (differ && mass > 0.0).then(|| mass * mass / set.sum(|r| r.weight() * r.weight())),
        values: Values::of(&set),
    }
}

#[cfg(test)]
mod tests;
