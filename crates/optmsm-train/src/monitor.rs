//! The value that early stopping watches, as `train.monitor` names it.

use std::fmt;
use std::str::FromStr;

use optmsm_core::error::Error as CoreError;
use optmsm_core::metrics::{AUC, Better, Kind, METRICS, Metric, Needs};
use optmsm_data::{Schema, printable};
use serde::{Deserialize, Serialize};

use crate::config::known;
use crate::error::{Error, Result};
use crate::evaluate::Evaluation;

/// A metric of validation rows: `auc`, `gauc` or `log_loss` of all rows, `mean_auc` and so on over the scenarios, `auc.NAME` and so
/// on of one scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Monitor {
    metric: &'static Metric,
    of: Of,
}

/// The rows that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    All,
    /// Mean over the scenarios, each with the same weight.
    Scenarios,
    Scenario(String),
}

/// Begins the name of a mean over scenarios.
const MEAN: &str = "mean_";

/// Metrics that parameters may be chosen by.
fn watched() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().filter(|metric| metric.kind != Kind::Level)
}

impl Default for Monitor {
    /// The AUC of all rows.
    fn default() -> Self {
        Self { metric: &AUC, of: Of::All }
    }
}

impl fmt::Display for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let metric = self.metric.key;
        match &self.of {
            Of::All => f.write_str(metric),
            Of::Scenarios => write!(f, "{MEAN}{metric}"),
            Of::Scenario(name) => write!(f, "{metric}.{name}"),
        }
    }
}

impl FromStr for Monitor {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, scenario) = text.split_once('.').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let (key, of) = match (name.strip_prefix(MEAN), scenario) {
            (None, None) => (name, Of::All),
            (None, Some(scenario)) => (name, Of::Scenario(scenario.to_string())),
            (Some(key), None) => (key, Of::Scenarios),
            (Some(_), Some(_)) => ("", Of::All),
        };
        let metric = watched().find(|metric| metric.key == key);
        metric.map(|metric| Self { metric, of }).ok_or_else(|| {
            let keys: Vec<&str> = watched().map(|metric| metric.key).collect();
            let keys = keys.join("`, `");
            format!("unknown variant `{text}`, expected `{keys}`, with `{MEAN}` before it for the mean over scenarios, or `.NAME` behind it for the scenario NAME")
        })
    }
}

impl TryFrom<String> for Monitor {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<Monitor> for String {
    fn from(monitor: Monitor) -> Self {
        monitor.to_string()
    }
}

impl Monitor {
    /// Watched value: higher is better, so it is the negative log loss. None where it is undefined; scenarios where it is have no
    /// part in a mean.
    pub fn value(&self, of: &Evaluation) -> Option<f64> {
        let scenarios = || of.scenarios.iter().filter_map(|s| s.metrics.get(self.metric));
        let value = match &self.of {
            Of::All => of.overall.get(self.metric),
            Of::Scenarios => {
                let (sum, n) = scenarios().fold((0.0, 0), |(sum, n), v| (sum + v, n + 1));
                (n > 0).then(|| sum / f64::from(n))
            }
            Of::Scenario(name) => {
                of.scenarios.iter().find(|s| s.scenario == *name).and_then(|s| s.metrics.get(self.metric))
            }
        };
        value.map(|v| self.sign() * v)
    }

    /// Sign that makes a watched value the metric again.
    pub fn sign(&self) -> f64 {
        if self.metric.better == Better::Lower { -1.0 } else { 1.0 }
    }

    /// Name in tables.
    pub fn title(&self) -> String {
        let metric = self.metric.title;
        match &self.of {
            Of::All => metric.into(),
            Of::Scenarios => format!("mean {metric} of the scenarios"),
            Of::Scenario(name) => format!("{metric} of {name}"),
        }
    }

    /// Whether it is undefined of rows that all have one label.
    pub(crate) fn needs_both_labels(&self) -> bool {
        self.metric.needs != Needs::Rows
    }

    /// Whether it is one of these metrics of all rows.
    pub(crate) fn is_among(&self, metrics: &[&Metric]) -> bool {
        self.of == Of::All && metrics.contains(&self.metric)
    }

    /// Whether labels and weights of all rows are enough to tell that it is defined.
    pub(crate) fn is_plain(&self) -> bool {
        self.of == Of::All && self.metric.needs != Needs::BothLabelsInAGroup
    }

    /// Checks it against the settings that it needs.
    ///
    /// # Errors
    /// It is of groups, such as a GAUC, and there are none.
    pub(crate) fn validate(&self, group: Option<&str>) -> Result<()> {
        if self.metric.needs != Needs::BothLabelsInAGroup || group.is_some() {
            return Ok(());
        }
        let fix = "name the column of the user in data.group, or watch another metric";
        Err(CoreError::config("train.monitor", format!("is {self}, but there are no groups"), fix).into())
    }

    /// Checks it against the scenarios.
    ///
    /// # Errors
    /// It is of a scenario that training never saw.
    pub(crate) fn check(&self, schema: &Schema) -> Result<()> {
        let Of::Scenario(name) = &self.of else { return Ok(()) };
        if schema.scenarios.iter().any(|s| s.name == *name) {
            return Ok(());
        }
        let names: Vec<_> = schema.scenarios.iter().map(|s| printable(&s.name)).collect();
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let name = printable(name);
        let problem = format!("is of the scenario '{name}', which no training row is of");
        Err(CoreError::config("train.monitor", problem, known("scenarios", &name, &names)).into())
    }

    /// The error of a value that the rows of `place` do not define.
    pub(crate) fn undefined(&self, place: &str) -> Error {
        let needs = self.metric.needs;
        let (lacks, where_) = match &self.of {
            Of::All => (format!("has no {needs}"), String::new()),
            Of::Scenarios => (format!("has no scenario with {needs}"), String::new()),
            Of::Scenario(name) => {
                (format!("has no {needs} "), format!("in the scenario '{}'", printable(name)))
            }
        };
        let problem = format!("{lacks}{where_}, so that train.monitor = \"{self}\" is undefined");
        Error::rows(place, problem, "add such rows, or watch another value, such as \"log_loss\"")
    }
}

#[cfg(test)]
mod tests {
    use optmsm_core::metrics::Metrics;
    use serde_json::json;

    use super::*;
    use crate::evaluate::Named;

    fn metrics(auc: Option<f64>, gauc: Option<f64>, log_loss: f64) -> Metrics {
        let found = json!({ "rows": 1, "positives": 0, "auc": auc, "gauc": gauc, "log_loss": log_loss });
        serde_json::from_value(found).unwrap()
    }

    /// All rows, two scenarios of both labels and one of one.
    fn evaluation() -> Evaluation {
        let named = |scenario: &str, metrics| Named { scenario: scenario.into(), metrics };
        Evaluation {
            weighted_by: None,
            negatives_weighted: false,
            calibrated_by: None,
            overall: metrics(Some(0.7), Some(0.6), 0.5),
            scenarios: vec![
                named("search", metrics(Some(0.9), Some(0.8), 0.25)),
                named("a.b", metrics(Some(0.6), Some(0.5), 0.5)),
                named("one label", metrics(None, None, 0.75)),
            ],
            diagnostics: serde_json::Map::new(),
            ceiling: None,
        }
    }

    #[test]
    fn each_name_has_its_value_and_comes_back() {
        for (name, value) in [
            ("auc", Some(0.7)),
            ("gauc", Some(0.6)),
            ("log_loss", Some(-0.5)),
            ("mean_auc", Some(0.75)),
            ("mean_gauc", Some(0.65)),
            ("mean_log_loss", Some(-0.5)),
            ("auc.search", Some(0.9)),
            ("gauc.search", Some(0.8)),
            ("log_loss.search", Some(-0.25)),
            ("auc.a.b", Some(0.6)),
            ("auc.one label", None),
            ("log_loss.one label", Some(-0.75)),
        ] {
            let monitor: Monitor = name.parse().unwrap();
            let found = monitor.value(&evaluation());
            assert!(
                found.zip(value).map_or(found == value, |(a, b)| (a - b).abs() < 1e-15),
                "{name} {found:?}"
            );
            assert_eq!((monitor.to_string(), monitor.sign() < 0.0), (name.into(), name.contains("log_loss")));
            let json = serde_json::to_string(&monitor).unwrap();
            assert_eq!((&*json, serde_json::from_str(&json).unwrap()), (&*format!("\"{name}\""), monitor));
        }
        assert_eq!(Monitor::default().to_string(), "auc");
        for name in ["", "aux", "ece", "mean_calibration", "mean_", "mean_auc.search", "AUC", "mean_mean_auc"]
        {
            assert!(name.parse::<Monitor>().unwrap_err().starts_with("unknown variant"), "{name}");
        }
    }
}
