//! Optimizers, learning-rate schedules, averages and clipping (model.md §9; docs/derivations.md#optimizers).

mod average;
mod schedule;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub use average::{Average, AverageConfig};
pub use schedule::{Period, Schedule, ScheduleConfig, Whole};

/// Update rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// v ← momentum·v + g, w ← w − lr·v; no state when momentum is 0.
    Sgd,
    /// Adam with L2 added to the gradient, as `torch.optim.Adam`; on rows as `torch.optim.SparseAdam`.
    Adam,
    /// Adam with decoupled weight decay, as `torch.optim.AdamW`; on rows SparseAdam with the same decay.
    #[serde(rename = "adamw")]
    AdamW,
    /// One accumulator an element, as `torch.optim.Adagrad`.
    Adagrad,
    /// One accumulator a row (the mean of g² over the row), as FBGEMM; tables only.
    RowwiseAdagrad,
}

/// Rows of a table that weight decay acts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecayRows {
    /// Those that the batch touches, as the rule says.
    #[default]
    Touched,
    /// All of them, at every step: w ← (1 − lr · weight_decay) · w, then touched rows move by the rule without decay.
    All,
}

/// An update rule with its constants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Update rule.
    pub rule: Rule,
    /// Learning rate before the schedule.
    pub lr: f64,
    /// L2 coefficient (decoupled for AdamW, and for every rule where all rows decay).
    pub weight_decay: f64,
    /// Which rows of tables decay.
    pub decay_rows: DecayRows,
    /// Adam's β₁.
    pub beta1: f64,
    /// Adam's β₂.
    pub beta2: f64,
    /// Added to the root: 1e-8 for Adam, 1e-10 for Adagrad when not given.
    pub eps: Option<f64>,
    /// Momentum of SGD.
    pub momentum: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            rule: Rule::Adam,
            lr: 1e-3,
            weight_decay: 0.0,
            decay_rows: DecayRows::Touched,
            beta1: 0.9,
            beta2: 0.999,
            eps: None,
            momentum: 0.0,
        }
    }
}

impl OptimizerConfig {
    /// Number of state buffers and whether they hold one value per row instead of one per element.
    pub fn state(&self) -> (usize, bool) {
        match self.rule {
            Rule::Sgd if self.momentum == 0.0 => (0, false),
            Rule::Sgd | Rule::Adagrad => (1, false),
            Rule::Adam | Rule::AdamW => (2, false),
            Rule::RowwiseAdagrad => (1, true),
        }
    }

    /// Checkpoint names of the state buffers.
    pub fn state_names(&self) -> &'static [&'static str] {
        match self.rule {
            Rule::Sgd if self.momentum == 0.0 => &[],
            Rule::Sgd => &["momentum"],
            Rule::Adam | Rule::AdamW => &["m", "v"],
            Rule::Adagrad | Rule::RowwiseAdagrad => &["sum"],
        }
    }

    /// The constant added to the root.
    pub fn eps(&self) -> f64 {
        self.eps.unwrap_or(match self.rule {
            Rule::Adagrad | Rule::RowwiseAdagrad => 1e-10,
            _ => 1e-8,
        })
    }

    /// Checks the constants; `key` is the table's dotted name.
    pub fn validate(&self, key: &str, tables: bool) -> Result<()> {
        let below_one = |v: f64| (0.0..1.0).contains(&v);
        let checks = [
            ("lr", self.lr, self.lr.is_finite() && self.lr > 0.0, "above 0"),
            (
                "weight_decay",
                self.weight_decay,
                self.weight_decay.is_finite() && self.weight_decay >= 0.0,
                "at least 0",
            ),
            ("beta1", self.beta1, below_one(self.beta1), "in [0, 1)"),
            ("beta2", self.beta2, below_one(self.beta2), "in [0, 1)"),
            ("eps", self.eps(), self.eps().is_finite() && self.eps() > 0.0, "above 0"),
            ("momentum", self.momentum, below_one(self.momentum), "in [0, 1)"),
        ];
        for (name, value, ok, range) in checks {
            if !ok {
                let problem = format!("must be {range}, got {value}");
                return Err(Error::config(format!("{key}.{name}"), problem, "change it"));
            }
        }
        if self.rule == Rule::RowwiseAdagrad && !tables {
            let fix = "use it in the embeddings' optimizer, and adagrad here";
            return Err(Error::config(format!("{key}.rule"), "rowwise_adagrad is for embedding tables", fix));
        }
        let shrinkage = self.lr * self.weight_decay;
        if tables && self.decay_rows == DecayRows::All && shrinkage >= 1.0 {
            let problem = format!("times lr is {shrinkage}: one step would take all of every row");
            return Err(Error::config(format!("{key}.weight_decay"), problem, "lower it far below 1 / lr"));
        }
        Ok(())
    }
}

/// Everything that one step of an update needs beside the tensors.
#[derive(Debug)]
pub struct Update<'a, T> {
    /// Update rule.
    pub rule: Rule,
    /// Learning rate of this step.
    pub lr: f64,
    /// L2 coefficient, or decoupled decay for AdamW.
    pub weight_decay: f64,
    /// Adam's β₁.
    pub beta1: f64,
    /// Adam's β₂.
    pub beta2: f64,
    /// Added to the root.
    pub eps: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Number of this step, from 1, for bias correction.
    pub t: u64,
    /// Global-norm clipping, applied to the gradient before anything else.
    pub clip: Option<Clip<'a, T>>,
}

/// Global-norm clipping: g ← g · min(1, max_norm / (‖g‖ + 1e-6)), as `torch.nn.utils.clip_grad_norm_`.
#[derive(Debug)]
pub struct Clip<'a, T> {
    /// Largest norm that is left alone.
    pub max_norm: f64,
    /// Element 0 holds ‖g‖² over every gradient of the model.
    pub sum_sq: &'a T,
}

impl<'a, T> Update<'a, T> {
    /// Step `t` (from 1) of `config` with the schedule's `share` of its learning rate.
    pub fn new(config: &OptimizerConfig, t: u64, share: f64, clip: Option<Clip<'a, T>>) -> Self {
        Self {
            rule: config.rule,
            lr: config.lr * share,
            weight_decay: config.weight_decay,
            beta1: config.beta1,
            beta2: config.beta2,
            eps: config.eps(),
            momentum: config.momentum,
            t,
            clip,
        }
    }

    /// 1 − β₁ᵗ and 1 − β₂ᵗ.
    pub fn bias_corrections(&self) -> (f64, f64) {
        let t = self.t as f64;
        (1.0 - libm::pow(self.beta1, t), 1.0 - libm::pow(self.beta2, t))
    }

    /// Adam's update is `rate · m / (√v · root_scale + eps)`: `(rate, root_scale)` for dense parameters.
    pub fn adam_dense(&self) -> (f64, f64) {
        let (c1, c2) = self.bias_corrections();
        (self.lr / c1, 1.0 / c2.sqrt())
    }

    /// The same for rows of a table, where SparseAdam adds ε before the correction: `(rate, 1)`.
    pub fn adam_rows(&self) -> (f64, f64) {
        let (c1, c2) = self.bias_corrections();
        (self.lr * c2.sqrt() / c1, 1.0)
    }
}

impl<T> Clip<'_, T> {
    /// Factor on the gradient when its squared norm is `sum_sq`.
    pub fn factor(&self, sum_sq: f64) -> f64 {
        (self.max_norm / (sum_sq.sqrt() + 1e-6)).min(1.0)
    }
}
