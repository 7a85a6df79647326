//! Mean AUC of groups (Zhu et al., KDD 2017).

use super::auc::of_sorted;
use super::set::{Set, masses};
use super::{Better, Kind, Metric, Needs};

/// Mean AUC of groups, each by the weight of its rows; undefined without a group of two classes.
pub const GAUC: Metric = Metric {
    key: "gauc",
    title: "GAUC",
    kind: Kind::Ranking,
    better: Better::Higher,
    needs: Needs::BothLabelsInAGroup,
    of,
};

/// Σ w_g AUC_g / Σ w_g over the groups with both classes, w_g the weight of a group's rows.
fn of(set: &Set) -> Option<f64> {
    let (mut sum, mut weight) = (0.0, 0.0);
    for rows in set.groups() {
        if let Some(auc) = of_sorted(&rows) {
            let (up, down) = masses(&rows);
            sum += auc * (up + down);
            weight += up + down;
        }
    }
    (weight > 0.0).then(|| sum / weight)
}
