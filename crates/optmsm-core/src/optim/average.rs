//! Averages of the parameters over the steps (docs/derivations.md#averages).

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An average of the parameters over the steps, which predicts in their place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AverageConfig {
    /// How steps are weighted.
    pub kind: Average,
    /// Share of the average that a step keeps, once warm.
    pub decay: f64,
}

/// How an average weights the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Average {
    /// Exponentially: after step t, a ← d_t·a + (1 − d_t)·w; a begins as the initial parameters.
    Ema,
}

impl Default for AverageConfig {
    fn default() -> Self {
        Self { kind: Average::Ema, decay: 0.999 }
    }
}

impl AverageConfig {
    /// d_t of 1-based step t: the smaller of `decay` and (1 + t) / (10 + t), so that an average of few steps is one of the
    /// last of them, not of where training began.
    pub fn keep(&self, step: u64) -> f64 {
        let t = step as f64;
        self.decay.min((1.0 + t) / (10.0 + t))
    }

    /// Checks the numbers; `key` is the table's dotted name.
    pub fn validate(&self, key: &str) -> Result<()> {
        if self.decay > 0.0 && self.decay < 1.0 {
            return Ok(());
        }
        let problem = format!("must be above 0 and below 1, got {}", self.decay);
        Err(Error::config(format!("{key}.decay"), problem, "set it to 0.999 for example"))
    }
}
