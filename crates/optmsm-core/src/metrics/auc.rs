//! Area under the ROC curve, exact, ties by midrank (Mann and Whitney, 1947).

use super::set::{Scored, masses, sorted};
use super::{Better, Kind, Metric, Needs};

/// Area under the ROC curve; undefined with one class or a prediction that is NaN.
pub const AUC: Metric = Metric {
    key: "auc",
    title: "AUC",
    kind: Kind::Ranking,
    better: Better::Higher,
    needs: Needs::BothLabels,
    of: |set| of_sorted(&set.rows),
};

/// [`AUC`] of rows of the same weight.
pub fn auc(predictions: &[f32], labels: &[f32]) -> Option<f64> {
    of_sorted(&sorted(predictions, labels, &[]))
}

/// Σ w_i w_j [p_i > p_j] over positives i and negatives j, a tie counting half, over Σ w_i w_j; rows in order of prediction.
pub(super) fn of_sorted(rows: &[Scored]) -> Option<f64> {
    if rows.iter().any(|r| r.p.is_nan()) {
        return None;
    }
    // Twice the mass of (negative, positive) pairs in the right order; a tie counts one. Of whole weights below 2⁵³ exact.
    let (mut doubled, mut positives, mut negatives) = (0.0, 0.0, 0.0);
    for tie in rows.chunk_by(|a, b| a.p == b.p) {
        let (up, down) = masses(tie);
        doubled += up * (2.0 * negatives + down);
        (positives, negatives) = (positives + up, negatives + down);
    }
    // Rounding of other weights may leave an area just above 1.
    (positives > 0.0 && negatives > 0.0).then(|| (doubled / (2.0 * positives * negatives)).min(1.0))
}

/// Relative improvement (AUC − 0.5) / (AUC_base − 0.5) − 1 (Yan et al., ICML 2014); `None` where the base is not above 0.5: below it
/// the sign would turn.
pub fn rela_impr(auc: f64, base: f64) -> Option<f64> {
    (base > 0.5).then(|| (auc - 0.5) / (base - 0.5) - 1.0)
}
