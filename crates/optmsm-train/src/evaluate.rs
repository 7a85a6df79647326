//! Reads rows to be scored, scores them, and shows the result by scenario.

use comfy_table::{CellAlignment, Table, presets};
use optmsm_core::batch::Batch;
use optmsm_core::metrics::{self, AUC, METRICS, Metrics, Report, Rows};
use optmsm_data::{Dataset, RowReader, ScenarioSchema, Schema, printable};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::sampling::{self, Weighing};

/// Rows that a file is read and predicted by.
pub const CHUNK: usize = 4096;

/// Metrics of a data set and the model's own diagnostics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Column by whose values rows are weighed; none where each counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighted_by: Option<String>,
    /// Whether rows of label 0 stand for those that sampling dropped, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub negatives_weighted: bool,
    /// Kind of the calibration that made the probabilities, and its rows; none of a model that is taken at its word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrated_by: Option<String>,
    /// Overall.
    pub overall: Metrics,
    /// By scenario name, in the order of the schema.
    pub scenarios: Vec<Named>,
    /// Means of the model's measures, by name.
    pub diagnostics: serde_json::Map<String, serde_json::Value>,
    /// The same metrics of the true probabilities, when the data has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Report>,
}

/// Metrics of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Named {
    /// Name of the scenario.
    pub scenario: String,
    /// Its metrics.
    #[serde(flatten)]
    pub metrics: Metrics,
}

/// Data that metrics need of all labelled rows of a reader, in order. On the way, `take` gets the rows with their
/// fields, up to [`CHUNK`] at a time.
///
/// # Errors
/// Those of `take`; a row cannot be read.
pub fn scored(
    reader: &mut RowReader,
    schema: &Schema,
    mut take: impl FnMut(&Batch) -> Result<()>,
) -> Result<Dataset> {
    let (mut scored, mut batch) = (Dataset::default(), Batch::new(&schema.input_spec()));
    while reader.read(&mut batch, &mut scored.extra, CHUNK)? > 0 {
        take(&batch)?;
        scored.batch.labels.append(&mut batch.labels);
        scored.batch.weights.append(&mut batch.weights);
        scored.batch.scenarios.append(&mut batch.scenarios);
        batch.clear();
    }
    Ok(scored)
}

/// Metrics of one prediction for each row of `data`.
pub fn evaluate(data: &Dataset, schema: &Schema, weighing: &Weighing, predictions: &[f32]) -> Evaluation {
    let weights = weighing.weights(&data.batch);
    let rows = Rows {
        labels: &data.batch.labels,
        weights: &weights,
        scenarios: &data.batch.scenarios,
        groups: &data.extra.groups,
    };
    let report = |predictions: &[f32]| metrics::evaluate(predictions, rows, schema.input_spec().scenarios);
    let (found, probabilities) = (report(predictions), &data.extra.probabilities);
    let named = |(s, metrics): (&ScenarioSchema, Metrics)| Named { scenario: s.name.clone(), metrics };
    Evaluation {
        weighted_by: weighing.column.clone(),
        negatives_weighted: weighing.negatives.is_some(),
        calibrated_by: None,
        overall: found.overall,
        scenarios: schema.scenarios.iter().zip(found.scenarios).map(named).collect(),
        diagnostics: serde_json::Map::new(),
        ceiling: (!probabilities.is_empty()).then(|| report(probabilities)),
    }
}

impl Evaluation {
    /// The same with the model's diagnostics.
    pub fn with_diagnostics(mut self, named: Vec<(String, f64)>) -> Self {
        self.diagnostics = named.into_iter().map(|(k, v)| (k, v.into())).collect();
        self
    }

    /// Metrics of each scenario, then of all rows.
    fn each(&self) -> impl Iterator<Item = &Metrics> {
        self.scenarios.iter().map(|s| &s.metrics).chain([&self.overall])
    }

    /// A line for each scenario, then one for all rows; beside the ceiling where it is known. Weighted metrics say so above.
    pub fn table(&self) -> String {
        self.table_beside(None)
    }

    /// The same with the AUC of another model, by its name, on the same rows.
    pub fn table_beside(&self, other: Option<(&str, &Self)>) -> String {
        let column = self.weighted_by.as_ref().map(|column| format!("column '{}'", printable(column)));
        let by = sampling::weighed_by(column, self.negatives_weighted);
        let mut caption = by.map_or(String::new(), |by| format!("metrics weighted by {by}\n"));
        if let Some(by) = &self.calibrated_by {
            caption += &format!("probabilities calibrated by {}\n", printable(by));
        }
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let mut header = vec!["scenario", "rows", "positives"];
        // Where weights are all the same, there are as many as rows.
        let effective = self.overall.effective_rows.is_some();
        if effective {
            header.push("effective rows");
        }
        // Columns beside the AUC.
        let other = other.map(|(name, of)| (name, of.each().collect::<Vec<&Metrics>>()));
        let ceiling = self.ceiling.as_ref();
        let ceiling = ceiling.map(|of| ("ceiling", of.scenarios.iter().chain([&of.overall]).collect()));
        let beside: Vec<(&str, Vec<&Metrics>)> = other.into_iter().chain(ceiling).collect();
        for metric in METRICS {
            header.push(metric.title);
            header.extend(beside.iter().filter(|_| *metric == AUC).map(|(name, _)| *name));
        }
        table.set_header(header);
        let number = |v: Option<f64>| v.map_or("–".to_string(), |v| format!("{v:.4}"));
        let names = self.scenarios.iter().map(|s| s.scenario.as_str()).chain(["all"]);
        let last = self.scenarios.len();
        for (i, (name, m)) in
            names.zip(self.each()).enumerate().filter(|&(i, (_, m))| i == last || m.rows > 0)
        {
            let mut cells = vec![printable(name).into_owned(), m.rows.to_string(), m.positives.to_string()];
            cells.extend(effective.then(|| m.effective_rows.map_or("–".to_string(), |n| format!("{n:.0}"))));
            for metric in METRICS {
                cells.push(number(m.get(metric)));
                let others = beside.iter().filter(|_| *metric == AUC);
                cells.extend(others.map(|(_, of)| number(of[i].get(metric))));
            }
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{caption}{table}")
    }
}
