//! Metrics of predicted probabilities (model.md §11), overall and per scenario, in `f64`.
//!
//! What a set of rows cannot define is `None`, never a made-up 0.5.

mod curves;

use serde::{Deserialize, Serialize};

pub use curves::{Bin, calibration_bins, roc};

/// Bins of the expected calibration error.
const ECE_BINS: usize = 15;
/// Probabilities are kept this far from 0 and 1 in the log loss: the resolution of `f32` near 1.
const LOG_LOSS_EPS: f64 = 1e-7;

/// Metrics of one set of rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Rows.
    pub rows: u64,
    /// Rows with label 1.
    pub positives: u64,
    /// Area under the ROC curve; `None` with one class.
    pub auc: Option<f64>,
    /// Impression-weighted mean AUC of groups; `None` without groups of two classes.
    pub gauc: Option<f64>,
    /// Mean binary cross-entropy; `None` without rows.
    pub log_loss: Option<f64>,
    /// Mean prediction over mean label; `None` without positives.
    pub calibration: Option<f64>,
    /// Expected calibration error over 15 bins of equal mass; `None` without rows.
    pub ece: Option<f64>,
}

/// Metrics of a data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// All rows.
    pub overall: Metrics,
    /// Rows of each scenario.
    pub scenarios: Vec<Metrics>,
}

/// Metrics of `predictions` (probabilities), overall and for each of `count` scenarios; `groups` are those
/// of the GAUC and may be empty.
pub fn evaluate(
    predictions: &[f32],
    labels: &[f32],
    scenarios: &[u32],
    count: usize,
    groups: &[u64],
) -> Report {
    let all: Vec<u32> = (0..predictions.len() as u32).collect();
    let mut of_scenario = vec![Vec::new(); count];
    all.iter().for_each(|&r| of_scenario[scenarios[r as usize] as usize].push(r));
    let metrics = |rows: Vec<u32>| metrics(predictions, labels, groups, rows);
    Report { overall: metrics(all), scenarios: of_scenario.into_iter().map(metrics).collect() }
}

fn metrics(predictions: &[f32], labels: &[f32], groups: &[u64], mut rows: Vec<u32>) -> Metrics {
    let p = |r: u32| predictions[r as usize];
    let y = |r: u32| f64::from(labels[r as usize]);
    let n = rows.len() as f64;
    let positives: f64 = rows.iter().map(|&r| y(r)).sum();
    let predicted: f64 = rows.iter().map(|&r| f64::from(p(r))).sum();
    // By prediction, then by label, so that nothing depends on the order of the rows.
    rows.sort_by(|&a, &b| p(a).total_cmp(&p(b)).then(y(a).total_cmp(&y(b))));
    let sorted: Vec<(f32, f32)> = rows.iter().map(|&r| (p(r), labels[r as usize])).collect();
    let gauc = (!groups.is_empty()).then(|| group_auc(&mut rows, predictions, labels, groups)).flatten();
    Metrics {
        rows: rows.len() as u64,
        positives: positives as u64,
        auc: auc_sorted(&sorted),
        gauc,
        log_loss: (n > 0.0).then(|| sorted.iter().map(|&(p, y)| cross_entropy(p, y)).sum::<f64>() / n),
        calibration: (positives > 0.0).then(|| predicted / positives),
        ece: expected_calibration_error(&sorted),
    }
}

fn cross_entropy(p: f32, y: f32) -> f64 {
    let p = f64::from(p).clamp(LOG_LOSS_EPS, 1.0 - LOG_LOSS_EPS);
    if y > 0.5 { -p.ln() } else { -(1.0 - p).ln() }
}

/// Area under the ROC curve, exact, ties by midrank (Mann and Whitney, 1947); `None` with one class or a
/// prediction that is NaN.
pub fn auc(predictions: &[f32], labels: &[f32]) -> Option<f64> {
    let mut pairs: Vec<(f32, f32)> = predictions.iter().copied().zip(labels.iter().copied()).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    auc_sorted(&pairs)
}

/// The same from (prediction, label) in ascending order of prediction.
fn auc_sorted(pairs: &[(f32, f32)]) -> Option<f64> {
    if pairs.iter().any(|p| p.0.is_nan()) {
        return None;
    }
    let positives = pairs.iter().filter(|p| p.1 > 0.5).count() as f64;
    let negatives = pairs.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    // Twice the number of (negative, positive) pairs in the right order; a tie counts one. Below 2⁵³ exact.
    let (mut doubled, mut below) = (0.0, 0.0);
    for tie in pairs.chunk_by(|a, b| a.0 == b.0) {
        let up = tie.iter().filter(|p| p.1 > 0.5).count() as f64;
        let down = tie.len() as f64 - up;
        doubled += up * (2.0 * below + down);
        below += down;
    }
    Some(doubled / (2.0 * positives * negatives))
}

/// Σ n_g AUC_g / Σ n_g over the groups with both classes (Zhu et al., KDD 2017).
fn group_auc(rows: &mut [u32], predictions: &[f32], labels: &[f32], groups: &[u64]) -> Option<f64> {
    // Stable, so rows stay in order of prediction within a group.
    rows.sort_by_key(|&r| groups[r as usize]);
    let (mut sum, mut weight) = (0.0, 0.0);
    for group in rows.chunk_by(|&a, &b| groups[a as usize] == groups[b as usize]) {
        let pairs: Vec<_> = group.iter().map(|&r| (predictions[r as usize], labels[r as usize])).collect();
        if let Some(auc) = auc_sorted(&pairs) {
            sum += auc * group.len() as f64;
            weight += group.len() as f64;
        }
    }
    (weight > 0.0).then(|| sum / weight)
}

/// Σ_bins |Σ p − Σ y| / n. Bins have equal mass; equal predictions share their mean label, so that a bin
/// border inside a tie does not depend on the order of the rows.
fn expected_calibration_error(pairs: &[(f32, f32)]) -> Option<f64> {
    if pairs.is_empty() {
        return None;
    }
    let smooth = curves::smooth(pairs);
    let gap = |bin: &[(f64, f64)]| bin.iter().map(|(p, y)| p - y).sum::<f64>().abs();
    Some(curves::bins(&smooth).map(gap).sum::<f64>() / smooth.len() as f64)
}

/// Relative improvement (AUC − 0.5) / (AUC_base − 0.5) − 1; `None` when the base is 0.5 (Yan et al., ICML 2014).
pub fn rela_impr(auc: f64, base: f64) -> Option<f64> {
    (base != 0.5).then(|| (auc - 0.5) / (base - 0.5) - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::philox::Stream;

    #[test]
    fn auc_by_hand_with_ties() {
        // Pairs (neg, pos): 0.1<0.4 ✓, 0.1<0.8 ✓, 0.4=0.4 ½, 0.4<0.8 ✓: 3.5 of 4.
        assert_eq!(auc(&[0.1, 0.4, 0.4, 0.8], &[0.0, 0.0, 1.0, 1.0]), Some(0.875));
        assert_eq!(auc(&[0.3; 5], &[0.0, 1.0, 0.0, 1.0, 1.0]), Some(0.5));
        assert_eq!(auc(&[0.3, 0.4], &[1.0, 1.0]), None);
        assert_eq!(auc(&[], &[]), None);
        assert_eq!(auc(&[f32::NAN, 0.4], &[1.0, 0.0]), None);
    }

    #[test]
    fn auc_equals_counting_all_pairs() {
        let s = Stream::new(1, "auc");
        for n in [2, 3, 17, 200] {
            let p: Vec<f32> = (0..n).map(|i| (s.uniform(i) * 10.0).floor() as f32 / 10.0).collect();
            let y: Vec<f32> = (0..n).map(|i| f32::from(s.uniform(i + 1000) < 0.3 || i == 0)).collect();
            let (mut right, mut all) = (0.0, 0.0);
            for (pi, _) in p.iter().zip(&y).filter(|(_, y)| **y == 1.0) {
                for (pj, _) in p.iter().zip(&y).filter(|(_, y)| **y == 0.0) {
                    right += if pi > pj {
                        1.0
                    } else if pi == pj {
                        0.5
                    } else {
                        0.0
                    };
                    all += 1.0;
                }
            }
            assert_eq!(auc(&p, &y), (all > 0.0).then(|| right / all));
        }
    }

    #[test]
    fn report_by_hand() {
        let p = [0.2, 0.6, 0.9, 0.5];
        let y = [0.0, 1.0, 1.0, 1.0];
        let report = evaluate(&p, &y, &[0, 0, 1, 1], 3, &[7, 7, 8, 8]);
        assert_eq!(report.overall.auc, Some(1.0));
        // Group 8 has one class, so only group 7 counts.
        assert_eq!(report.overall.gauc, Some(1.0));
        let expected = -(0.8f64.ln() + 0.6f64.ln() + 0.9f64.ln() + 0.5f64.ln()) / 4.0;
        assert!((report.overall.log_loss.unwrap() - expected).abs() < 1e-7);
        assert!((report.overall.calibration.unwrap() - 2.2 / 3.0).abs() < 1e-7);
        assert_eq!((report.scenarios[1].auc, report.scenarios[1].positives), (None, 2));
        assert_eq!(report.scenarios[2], Metrics::default());
    }

    #[test]
    fn ece_by_hand() {
        // 15 rows: a bin each. |p − y| = 0.1 for all.
        let y: Vec<f32> = (0..15).map(|i| f32::from(i % 2 == 0)).collect();
        let p: Vec<f32> =
            y.iter().enumerate().map(|(i, &y)| if y == 1.0 { 0.9 } else { 0.1 } + i as f32 * 1e-6).collect();
        let ece = evaluate(&p, &y, &[0; 15], 1, &[]).overall.ece.unwrap();
        assert!((ece - 0.1).abs() < 1e-4, "{ece}");
        // One prediction for all: the gap is mean p − mean y, whatever the order.
        let constant = evaluate(&[0.5; 15], &y, &[0; 15], 1, &[]).overall.ece.unwrap();
        assert!((constant - (8.0 / 15.0 - 0.5)).abs() < 1e-7, "{constant}");
    }

    #[test]
    fn nothing_depends_on_row_order_or_a_monotone_transform() {
        let s = Stream::new(2, "order");
        let p: Vec<f32> = (0..300).map(|i| (s.uniform(i) * 20.0).floor() as f32 / 20.0).collect();
        let y: Vec<f32> = (0..300).map(|i| f32::from(s.uniform(i + 999) < 0.4)).collect();
        let (rp, ry): (Vec<_>, Vec<_>) = p.iter().copied().rev().zip(y.iter().copied().rev()).unzip();
        let groups: Vec<u64> = (0..300).map(|i| i % 7).collect();
        let back: Vec<u64> = groups.iter().copied().rev().collect();
        let (a, b) = (evaluate(&p, &y, &[0; 300], 1, &groups), evaluate(&rp, &ry, &[0; 300], 1, &back));
        assert_eq!((a.overall.auc, a.overall.gauc), (b.overall.auc, b.overall.gauc));
        assert!((a.overall.ece.unwrap() - b.overall.ece.unwrap()).abs() < 1e-12);
        let squared: Vec<f32> = p.iter().map(|p| p * p).collect();
        assert_eq!(auc(&squared, &y), a.overall.auc);
    }

    #[test]
    fn relative_improvement_by_hand() {
        assert!((rela_impr(0.8, 0.75).unwrap() - 0.2).abs() < 1e-12);
        assert_eq!(rela_impr(0.8, 0.5), None);
    }
}
