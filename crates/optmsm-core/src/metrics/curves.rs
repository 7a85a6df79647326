//! Curves behind the AUC and the ECE, to be drawn: the ROC curve and the bins of the calibration.

use serde::{Deserialize, Serialize};

use super::set::{Scored, masses, sorted};

/// Bins of the expected calibration error.
const ECE_BINS: usize = 15;

/// Rows of neighbouring predictions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Rows of a weight above 0.
    pub rows: u64,
    /// Rows of equal weights that would estimate its means as well, (Σ w)² / Σ w².
    pub effective_rows: f64,
    /// Its share of the weight of all rows.
    pub share: f64,
    /// Mean prediction.
    pub predicted: f64,
    /// Mean label.
    pub observed: f64,
}

/// The bins of the ECE, by rising prediction: 15 of equal mass, fewer where there are fewer rows or a row has more weight than a bin.
/// Equal predictions share their mean label, as there. `weights` may be empty: 1 for every row.
pub fn calibration_bins(predictions: &[f32], labels: &[f32], weights: &[f32]) -> Vec<Bin> {
    let smooth = smooth(&sorted(predictions, labels, weights));
    let all: f64 = smooth.iter().map(|r| r.w).sum();
    let bin = |rows: &[Smooth]| {
        let sum = |of: fn(&Smooth) -> f64| rows.iter().map(of).sum::<f64>();
        let mass = sum(|r| r.w);
        Bin {
            rows: rows.len() as u64,
            effective_rows: mass * mass / sum(|r| r.w * r.w),
            share: mass / all,
            predicted: sum(|r| r.w * r.p) / mass,
            observed: sum(|r| r.w * r.y) / mass,
        }
    };
    bins(&smooth).into_iter().filter(|rows| !rows.is_empty()).map(bin).collect()
}

/// The ROC curve: `[false positive rate, true positive rate]` from `[0, 0]` to `[1, 1]`, a point for each distinct prediction.
/// Its area, by trapezoids, is the AUC; `None` where that is. `weights` may be empty: 1 for every row.
pub fn roc(predictions: &[f32], labels: &[f32], weights: &[f32]) -> Option<Vec<[f64; 2]>> {
    let rows = sorted(predictions, labels, weights);
    if rows.iter().any(|r| r.p.is_nan()) {
        return None;
    }
    let (mut positives, mut negatives) = (0.0, 0.0);
    let mut points = vec![[0.0, 0.0]];
    for tie in rows.chunk_by(|a, b| a.p == b.p).rev() {
        let (up, down) = masses(tie);
        (positives, negatives) = (positives + up, negatives + down);
        points.push([negatives, positives]);
    }
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    Some(points.into_iter().map(|[down, up]| [down / negatives, up / positives]).collect())
}

/// A row whose label is the mean of those of its prediction.
pub(super) struct Smooth {
    pub(super) p: f64,
    pub(super) y: f64,
    pub(super) w: f64,
}

/// Rows in order of prediction, with mean labels.
pub(super) fn smooth(rows: &[Scored]) -> Vec<Smooth> {
    let ties = rows.chunk_by(|a, b| a.p == b.p);
    ties.flat_map(|tie| {
        let (up, down) = masses(tie);
        let y = up / (up + down);
        tie.iter().map(move |r| Smooth { p: f64::from(r.p), y, w: r.weight() })
    })
    .collect()
}

/// Cut into bins of equal mass: the row up to which there is a mass m is in the first bin i, from 1, with m ≤ i · all / 15. Of equal
/// weights these are the first ⌊i · n / 15⌋ rows.
pub(super) fn bins(rows: &[Smooth]) -> Vec<&[Smooth]> {
    let all = rows.iter().fold(0.0, |sum, r| sum + r.w);
    let (mut rest, mut below) = (rows, 0.0);
    let bin = |i: usize| {
        let fits = |r: &&Smooth| {
            let inside = (below + r.w) * ECE_BINS as f64 <= i as f64 * all;
            below += if inside { r.w } else { 0.0 };
            inside
        };
        let (bin, after) = rest.split_at(rest.iter().take_while(fits).count());
        rest = after;
        bin
    };
    (1..=ECE_BINS).map(bin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{ECE, Rows, auc, evaluate};
    use crate::philox::Stream;

    fn area(points: &[[f64; 2]]) -> f64 {
        points.windows(2).map(|w| (w[1][0] - w[0][0]) * (w[0][1] + w[1][1]) / 2.0).sum()
    }

    #[test]
    fn roc_by_hand_with_ties() {
        // 0.8 is positive; 0.4 one of each; 0.1 negative.
        let points = roc(&[0.1, 0.4, 0.4, 0.8], &[0.0, 0.0, 1.0, 1.0], &[]).unwrap();
        assert_eq!(points, [[0.0, 0.0], [0.0, 0.5], [0.5, 1.0], [1.0, 1.0]]);
        assert_eq!(roc(&[0.3; 4], &[0.0, 1.0, 0.0, 1.0], &[]).unwrap(), [[0.0, 0.0], [1.0, 1.0]]);
        assert_eq!(roc(&[0.3, 0.4], &[1.0, 1.0], &[]), None);
        assert_eq!(roc(&[0.3, 0.4], &[0.0, 0.0], &[]), None);
        assert_eq!(roc(&[f32::NAN, 0.4], &[1.0, 0.0], &[]), None);
        assert_eq!(roc(&[], &[], &[]), None);
    }

    #[test]
    fn the_area_under_the_curve_is_the_auc_and_the_gaps_of_the_bins_are_the_ece() {
        let s = Stream::new(3, "curves");
        for (n, levels) in [(2, 10.0), (14, 10.0), (15, 1e6), (17, 3.0), (500, 10.0), (500, 1e6)] {
            let p: Vec<f32> =
                (0..n).map(|i| (s.uniform(i) * levels).floor() as f32 / levels as f32).collect();
            let y: Vec<f32> =
                (0..n).map(|i| f32::from(i == 0 || i > 1 && s.uniform(i + 1000) < 0.4)).collect();
            let points = roc(&p, &y, &[]).unwrap();
            assert_eq!((points[0], points[points.len() - 1]), ([0.0, 0.0], [1.0, 1.0]));
            assert!((area(&points) - auc(&p, &y).unwrap()).abs() < 1e-12);
            let (bins, n) = (calibration_bins(&p, &y, &[]), n as f64);
            assert_eq!(bins.len(), 15.min(p.len()));
            assert_eq!(bins.iter().map(|b| b.rows).sum::<u64>(), p.len() as u64);
            let ece: f64 = bins.iter().map(|b| b.rows as f64 / n * (b.predicted - b.observed).abs()).sum();
            let scenarios = vec![0; p.len()];
            let rows = Rows { labels: &y, scenarios: &scenarios, ..Rows::default() };
            let found = evaluate(&p, rows, 1).overall.get(&ECE).unwrap();
            assert!((ece - found).abs() < 1e-12, "{ece} {found}");
        }
    }

    #[test]
    fn bins_by_hand() {
        // 30 rows, two a bin; bin i holds the predictions i/16 and i/16 + 1/32, of labels 0 and 1.
        let p: Vec<f32> = (0..30).map(|i| i as f32 / 32.0).collect();
        let y: Vec<f32> = (0..30).map(|i| (i % 2) as f32).collect();
        let expected = |i: usize| Bin {
            rows: 2,
            effective_rows: 2.0,
            share: 2.0 / 30.0,
            predicted: i as f64 / 16.0 + 1.0 / 64.0,
            observed: 0.5,
        };
        assert_eq!(calibration_bins(&p, &y, &[]), (0..15).map(expected).collect::<Vec<_>>());
        // A tie over all bins: each has the mean label of all rows.
        let tied = calibration_bins(&[0.25; 30], &[vec![1.0; 6], vec![0.0; 24]].concat(), &[]);
        assert!(tied.iter().all(|b| b.rows == 2 && b.predicted == 0.25 && (b.observed - 0.2).abs() < 1e-15));
        assert_eq!(calibration_bins(&[], &[], &[]), []);
        let one = Bin { rows: 1, effective_rows: 1.0, share: 1.0, predicted: 0.5, observed: 1.0 };
        assert_eq!(calibration_bins(&[0.5], &[1.0], &[]), [one]);
    }

    #[test]
    fn bins_of_equal_weights_hold_whole_numbers_of_rows() {
        for n in 0..200 {
            let rows: Vec<Smooth> = (0..n).map(|i| Smooth { p: i as f64, y: 0.0, w: 1.0 }).collect();
            let found: Vec<usize> = bins(&rows).into_iter().map(<[Smooth]>::len).collect();
            assert_eq!(found, (0..15).map(|i| (i + 1) * n / 15 - i * n / 15).collect::<Vec<_>>(), "{n}");
        }
    }

    #[test]
    fn weighted_bins_and_curve_by_hand() {
        // Weights 4, 1, 1, 8, 1: of 15 bins with a mass of 1 each, the rows end in bins 4, 5, 6, 14 and 15.
        let (p, y, w) = ([0.1, 0.2, 0.3, 0.4, 0.5], [0.0, 1.0, 0.0, 1.0, 0.0], [4.0, 1.0, 1.0, 8.0, 1.0]);
        let bins = calibration_bins(&p, &y, &w);
        let shares: Vec<f64> = bins.iter().map(|b| b.share * 15.0).collect();
        assert_eq!(shares, [4.0, 1.0, 1.0, 8.0, 1.0]);
        assert_eq!(bins.iter().map(|b| b.observed).collect::<Vec<_>>(), [0.0, 1.0, 0.0, 1.0, 0.0]);
        // 45 in three weights: each bin has 3, the first four the half of a tie of 24 each.
        let p = [vec![0.25; 8], vec![0.75; 7]].concat();
        let y = [vec![1.0; 2], vec![0.0; 6], vec![1.0; 7]].concat();
        let w = [vec![6.0, 6.0], vec![2.0; 6], vec![3.0; 7]].concat();
        let bins = calibration_bins(&p, &y, &w);
        assert!(bins.iter().take_while(|b| b.predicted == 0.25).all(|b| b.observed == 0.5));
        assert_eq!(bins.iter().map(|b| b.rows).sum::<u64>(), 15);
        // Negatives of 4 and 1, positives of 3 and 1, from the highest prediction on.
        let curve = roc(&[0.9, 0.8, 0.7, 0.1, 0.5], &[1.0, 0.0, 1.0, 0.0, 1.0], &[3.0, 1.0, 1.0, 4.0, 0.0]);
        let points = [[0.0, 0.0], [0.0, 0.75], [0.2, 0.75], [0.2, 1.0], [1.0, 1.0]];
        assert_eq!(curve.unwrap(), points);
        assert_eq!(roc(&[0.9, 0.8], &[1.0, 0.0], &[1.0, 0.0]), None);
    }
}
