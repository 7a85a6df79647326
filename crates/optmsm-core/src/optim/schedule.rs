//! Learning rates over the steps.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How the learning rate moves over the steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Shape after the warm-up.
    pub kind: Schedule,
    /// Steps over which the rate rises linearly from lr / warmup to lr.
    pub warmup: u64,
    /// `step`: steps between two cuts; `cosine`, `linear`: steps from the warm-up's end to the floor.
    pub period: Period,
    /// `step`: factor of a cut, which must be given; `cosine`, `linear`: the floor as a share of lr, 0 when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
}

/// Shape of a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The same rate throughout.
    #[default]
    Constant,
    /// Times `factor` every `period` steps.
    Step,
    /// Half a cosine from 1 to `factor` over `period` steps, then `factor`.
    Cosine,
    /// A straight line from 1 to `factor` over `period` steps, then `factor`.
    Linear,
}

/// Length of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number of steps, or \"run\"")]
pub enum Period {
    /// So many steps.
    Steps(u64),
    /// Value that [`Whole`] stands for.
    Whole(Whole),
}

/// Names of lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whole {
    /// From the warm-up's end to the end of the run.
    Run,
}

impl Period {
    /// To the end of the run.
    pub const RUN: Self = Self::Whole(Whole::Run);
}

impl Default for Period {
    fn default() -> Self {
        Self::RUN
    }
}

impl ScheduleConfig {
    /// The same schedule with the length that `period = "run"` has in a run of `steps` steps.
    pub fn resolved(&self, steps: u64) -> Self {
        let rest = Period::Steps(steps.saturating_sub(self.warmup));
        let period = if self.period == Period::RUN { rest } else { self.period };
        Self { period, ..self.clone() }
    }

    /// Share of the learning rate at 1-based step `step`. The end of a run that was not [resolved](Self::resolved) is never
    /// nearer.
    pub fn share(&self, step: u64) -> f64 {
        if step <= self.warmup {
            return step as f64 / self.warmup as f64;
        }
        let (after, floor) = (step - self.warmup - 1, self.factor.unwrap_or(0.0));
        let Period::Steps(period) = self.period else { return 1.0 };
        let passed = (after as f64 / period.max(1) as f64).min(1.0);
        match self.kind {
            Schedule::Constant => 1.0,
            Schedule::Step => libm::pow(floor, (after / period.max(1)) as f64),
            Schedule::Cosine => {
                floor + (1.0 - floor) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * passed))
            }
            Schedule::Linear => floor + (1.0 - floor) * (1.0 - passed),
        }
    }

    /// Checks that the rate is above 0 in every step of a run of `steps` steps; `key` is the table's dotted name. A warm-up may
    /// outlast the run: its steps move parameters, too.
    ///
    /// # Errors
    /// The floor is 0, and the schedule comes to it before the run ends.
    pub fn validate_run(&self, key: &str, steps: u64) -> Result<()> {
        let falls = matches!(self.kind, Schedule::Cosine | Schedule::Linear);
        let Period::Steps(period) = self.period else { return Ok(()) };
        let last = self.warmup.saturating_add(period);
        if falls && self.factor.unwrap_or(0.0) == 0.0 && last < steps {
            let problem = format!("the rate is 0 from step {} on, and the run has {steps} steps", last + 1);
            let fix = "set it above 0, or period to \"run\"";
            return Err(Error::config(format!("{key}.factor"), problem, fix));
        }
        Ok(())
    }

    /// Checks the numbers; `key` is the table's dotted name.
    pub fn validate(&self, key: &str) -> Result<()> {
        let fail = |name: &str, problem: String, fix: &str| {
            Err(Error::config(format!("{key}.{name}"), problem, fix))
        };
        if self.factor.is_some_and(|v| !(0.0..=1.0).contains(&v)) {
            let problem = format!("must be in [0, 1], got {}", self.factor.unwrap_or_default());
            return fail("factor", problem, "change it");
        }
        if self.kind != Schedule::Constant && self.period == Period::Steps(0) {
            let problem = "a schedule that moves needs a period of at least 1 step".into();
            return fail("period", problem, "set it, or write \"run\" for the whole run");
        }
        if self.kind != Schedule::Step {
            return Ok(());
        }
        if self.period == Period::RUN {
            let problem = "kind = \"step\" needs the number of steps between two cuts".into();
            return fail(
                "period",
                problem,
                "set it, or use kind = \"cosine\" or \"linear\" for the whole run",
            );
        }
        match self.factor {
            None => {
                let problem = "kind = \"step\" needs the factor of a cut".into();
                fail("factor", problem, "set it, to 0.5 for example")
            }
            Some(0.0) => {
                let problem = "is 0: nothing would move after the first cut".into();
                fail("factor", problem, "set it above 0, to 0.5 for example")
            }
            Some(_) => Ok(()),
        }
    }
}
