//! Mean binary cross-entropy.

use super::set::{Scored, Set};
use super::{Better, Kind, Metric, Needs};

/// Mean binary cross-entropy; undefined without rows.
pub const LOG_LOSS: Metric = Metric {
    key: "log_loss",
    title: "log loss",
    kind: Kind::Loss,
    better: Better::Lower,
    needs: Needs::Rows,
    of,
};

/// Probabilities are kept this far from 0 and 1: the resolution of `f32` near 1.
const EPS: f64 = 1e-7;

fn of(set: &Set) -> Option<f64> {
    let mass = set.mass();
    (mass > 0.0).then(|| set.sum(|r| r.weight() * cross_entropy(r)) / mass)
}

fn cross_entropy(row: &Scored) -> f64 {
    let p = f64::from(row.p).clamp(EPS, 1.0 - EPS);
    if row.is_positive() { -p.ln() } else { -(1.0 - p).ln() }
}
