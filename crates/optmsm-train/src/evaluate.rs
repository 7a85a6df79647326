//! Scores a data set, and shows the result by scenario.

use comfy_table::{CellAlignment, Table, presets};
use optmsm_core::metrics::{self, Metrics, Report, Rows};
use optmsm_data::{DataConfig, Dataset, ScenarioSchema, Schema, printable};
use serde::{Deserialize, Serialize};

/// Metrics of a data set and the model's own diagnostics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Column by whose values rows are weighed; none where each counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighted_by: Option<String>,
    /// Overall.
    pub overall: Metrics,
    /// By scenario name, in the order of the schema.
    pub scenarios: Vec<Named>,
    /// For example the mean |cos| of each pair of experts.
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

/// Metrics of one prediction for each row of `data`, weighted as the configuration says.
pub fn evaluate(data: &Dataset, schema: &Schema, config: &DataConfig, predictions: &[f32]) -> Evaluation {
    let weighted_by = config.metrics_weight().map(str::to_string);
    let rows = Rows {
        labels: &data.batch.labels,
        weights: if weighted_by.is_some() { &data.batch.weights } else { &[] },
        scenarios: &data.batch.scenarios,
        groups: &data.extra.groups,
    };
    let report = |predictions: &[f32]| metrics::evaluate(predictions, rows, schema.input_spec().scenarios);
    let (found, probabilities) = (report(predictions), &data.extra.probabilities);
    let named = |(s, metrics): (&ScenarioSchema, Metrics)| Named { scenario: s.name.clone(), metrics };
    Evaluation {
        weighted_by,
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

    /// A line for each scenario, then one for all rows; beside the ceiling where it is known. Weighted metrics say so above.
    pub fn table(&self) -> String {
        let by = self.weighted_by.as_ref();
        let caption =
            by.map_or(String::new(), |w| format!("metrics weighted by column '{}'\n", printable(w)));
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        let mut header = vec!["scenario", "rows", "positives"];
        // Where weights are all the same, there are as many as rows.
        let effective = self.overall.effective_rows.is_some();
        if effective {
            header.push("effective rows");
        }
        header.push("AUC");
        if self.ceiling.is_some() {
            header.push("ceiling");
        }
        header.extend(["GAUC", "log loss", "calibration", "ECE"]);
        table.set_header(header);
        let number = |v: Option<f64>| v.map_or("–".to_string(), |v| format!("{v:.4}"));
        let mut line = |name: &str, m: &Metrics, ceiling: Option<&Metrics>| {
            let mut cells = vec![printable(name).into_owned(), m.rows.to_string(), m.positives.to_string()];
            cells.extend(effective.then(|| m.effective_rows.map_or("–".to_string(), |n| format!("{n:.0}"))));
            cells.push(number(m.auc));
            cells.extend(ceiling.map(|c| number(c.auc)));
            cells.extend([m.gauc, m.log_loss, m.calibration, m.ece].map(number));
            table.add_row(cells);
        };
        for (i, s) in self.scenarios.iter().enumerate().filter(|(_, s)| s.metrics.rows > 0) {
            line(&s.scenario, &s.metrics, self.ceiling.as_ref().map(|c| &c.scenarios[i]));
        }
        line("all", &self.overall, self.ceiling.as_ref().map(|c| &c.overall));
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{caption}{table}")
    }
}
