//! Mean prediction over mean label.

use super::set::{Set, masses};
use super::{Better, Kind, Metric, Needs};

/// Mean prediction over mean label; undefined without a row of label 1.
pub const CALIBRATION: Metric = Metric {
    key: "calibration",
    title: "calibration",
    kind: Kind::Level,
    better: Better::Near(1.0),
    needs: Needs::Positive,
    of,
};

fn of(set: &Set) -> Option<f64> {
    let (clicks, _) = masses(&set.rows);
    (clicks > 0.0).then(|| set.sum(|r| r.weight() * f64::from(r.p)) / clicks)
}
