//! Settings with a number for each scenario.

use std::collections::BTreeMap;

use optmsm_core::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Largest weight of a scenario: more is one scenario alone.
const MAX_WEIGHT: f64 = 1e6;

/// A number for each scenario that is named.
pub type ByScenario = BTreeMap<String, f64>;

/// How much the rows of each scenario weigh in the training loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "\"equal\" or a table with a weight by scenario is wanted")]
pub enum ScenarioWeights {
    /// All scenarios weigh the same in all, and together what they weigh without.
    Equal(Equal),
    /// Factors of the rows' weights; 1 for a scenario that is not named.
    Each(ByScenario),
}

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Equal {
    /// `"equal"`.
    #[serde(rename = "equal")]
    Equal,
}

impl ScenarioWeights {
    /// Checks the numbers; whether there are such scenarios only the data says.
    ///
    /// # Errors
    /// Names the dotted key, what is wrong with it, and the fix.
    pub(super) fn validate(&self) -> Result<()> {
        let Self::Each(weights) = self else { return Ok(()) };
        match weights.iter().find(|&(_, &weight)| !(weight > 0.0 && weight <= MAX_WEIGHT)) {
            Some((name, weight)) => {
                let problem = format!("must be above 0 and at most {MAX_WEIGHT}, got {weight}");
                let fix = "1 leaves a scenario as it is; drop the rows of one that is not to be trained on";
                Err(Error::config(format!("data.scenario_weights.{name}"), problem, fix))
            }
            None => Ok(()),
        }
    }
}

/// The share of rows of label 0 that were kept, all others having been dropped at random.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number or a table with one by scenario is wanted")]
pub enum NegativeRate {
    /// In every scenario.
    All(f64),
    /// By scenario; 1 in one that is not named.
    Each(ByScenario),
}

impl NegativeRate {
    /// Checks the numbers; whether there are such scenarios only the data says.
    ///
    /// # Errors
    /// Names the dotted key, what is wrong with it, and the fix.
    pub(super) fn validate(&self) -> Result<()> {
        let rates: Vec<(String, f64)> = match self {
            Self::All(rate) => vec![("data.negative_rate".into(), *rate)],
            Self::Each(rates) => {
                rates.iter().map(|(name, rate)| (format!("data.negative_rate.{name}"), *rate)).collect()
            }
        };
        match rates.into_iter().find(|(_, rate)| !(*rate > 0.0 && *rate <= 1.0)) {
            Some((key, rate)) => {
                let problem = format!("must be above 0 and at most 1, got {rate}");
                Err(Error::config(key, problem, "give the share of rows of label 0 that were kept"))
            }
            None => Ok(()),
        }
    }
}
