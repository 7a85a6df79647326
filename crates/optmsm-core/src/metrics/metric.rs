//! One metric, and what everything that shows it has to know of it.

use std::fmt;

use super::set::Set;

/// A number that says how good the predictions of a set of rows are.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name in JSON, in TensorBoard and in `train.monitor`.
    pub key: &'static str,
    /// Name in tables.
    pub title: &'static str,
    /// Property of the predictions that it looks at.
    pub kind: Kind,
    /// Which values are better.
    pub better: Better,
    /// Rows without which it is undefined.
    pub needs: Needs,
    /// Its value; `None` where the rows do not define it.
    pub(super) of: fn(&Set) -> Option<f64>,
}

/// Property of predictions that a metric looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Their order alone.
    Ranking,
    /// A mean loss, which the true probabilities make least.
    Loss,
    /// Their level: one prediction for all rows may be the best, so that no parameters are chosen by it.
    Level,
}

/// Which values of a metric are better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Better {
    /// Higher ones.
    Higher,
    /// Lower ones.
    Lower,
    /// Those nearer to this one.
    Near(f64),
}

/// Rows without which a metric is undefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Any.
    Rows,
    /// One of label 1.
    Positive,
    /// One of label 1 and one of label 0.
    BothLabels,
    /// One of label 1 and one of label 0 in the same group.
    BothLabelsInAGroup,
}

/// Metrics of the same key are the same.
impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Metric {}

impl Better {
    /// How bad a value is, to be compared with that of another value of the metric.
    pub fn cost(self, value: f64) -> f64 {
        match self {
            Better::Higher => -value,
            Better::Lower => value,
            Better::Near(best) => (value - best).abs(),
        }
    }
}

/// The missing thing, to follow "has no".
impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Needs::Rows => "rows",
            Needs::Positive => "rows of label 1",
            Needs::BothLabels => "rows of both labels",
            Needs::BothLabelsInAGroup => "rows of both labels in one group",
        })
    }
}
