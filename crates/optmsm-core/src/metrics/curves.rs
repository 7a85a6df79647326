//! What stands behind the AUC and the ECE, to be drawn: the ROC curve and the bins of the calibration.

use serde::{Deserialize, Serialize};

use super::ECE_BINS;

/// Rows of neighbouring predictions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Rows.
    pub rows: u64,
    /// Mean prediction.
    pub predicted: f64,
    /// Mean label.
    pub observed: f64,
}

/// The bins of the ECE, by rising prediction: 15 of equal mass, fewer where there are fewer rows. Equal predictions share
/// their mean label, as there.
pub fn calibration_bins(predictions: &[f32], labels: &[f32]) -> Vec<Bin> {
    let mut pairs: Vec<(f32, f32)> = predictions.iter().copied().zip(labels.iter().copied()).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mean = |bin: &[(f64, f64)]| {
        let n = bin.len() as f64;
        let predicted = bin.iter().map(|p| p.0).sum::<f64>() / n;
        Bin { rows: bin.len() as u64, predicted, observed: bin.iter().map(|p| p.1).sum::<f64>() / n }
    };
    bins(&smooth(&pairs)).filter(|bin| !bin.is_empty()).map(mean).collect()
}

/// The ROC curve: `[false positive rate, true positive rate]` from `[0, 0]` to `[1, 1]`, a point for each distinct prediction.
/// Its area, by trapezoids, is [`super::auc`]; `None` where that is.
pub fn roc(predictions: &[f32], labels: &[f32]) -> Option<Vec<[f64; 2]>> {
    let mut pairs: Vec<(f32, f32)> = predictions.iter().copied().zip(labels.iter().copied()).collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let all = pairs.iter().filter(|p| p.1 > 0.5).count();
    if all == 0 || all == pairs.len() || pairs.iter().any(|p| p.0.is_nan()) {
        return None;
    }
    let (mut seen, mut positive) = (0, 0);
    let mut points = vec![[0.0, 0.0]];
    for tie in pairs.chunk_by(|a, b| a.0 == b.0) {
        seen += tie.len();
        positive += tie.iter().filter(|p| p.1 > 0.5).count();
        let negatives = (pairs.len() - all) as f64;
        points.push([(seen - positive) as f64 / negatives, positive as f64 / all as f64]);
    }
    Some(points)
}

/// From (prediction, label) in ascending order of prediction: every label becomes the mean of those of its prediction.
pub(super) fn smooth(pairs: &[(f32, f32)]) -> Vec<(f64, f64)> {
    let ties = pairs.chunk_by(|a, b| a.0 == b.0);
    ties.flat_map(|tie| {
        let y = tie.iter().map(|p| f64::from(p.1)).sum::<f64>() / tie.len() as f64;
        tie.iter().map(move |p| (f64::from(p.0), y))
    })
    .collect()
}

/// Cut into bins of equal mass.
pub(super) fn bins(smooth: &[(f64, f64)]) -> impl Iterator<Item = &[(f64, f64)]> {
    let n = smooth.len();
    (0..ECE_BINS).map(move |i| &smooth[i * n / ECE_BINS..(i + 1) * n / ECE_BINS])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{auc, evaluate};
    use crate::philox::Stream;

    fn area(points: &[[f64; 2]]) -> f64 {
        points.windows(2).map(|w| (w[1][0] - w[0][0]) * (w[0][1] + w[1][1]) / 2.0).sum()
    }

    #[test]
    fn roc_by_hand_with_ties() {
        // 0.8 is positive; 0.4 one of each; 0.1 negative.
        let points = roc(&[0.1, 0.4, 0.4, 0.8], &[0.0, 0.0, 1.0, 1.0]).unwrap();
        assert_eq!(points, [[0.0, 0.0], [0.0, 0.5], [0.5, 1.0], [1.0, 1.0]]);
        assert_eq!(roc(&[0.3; 4], &[0.0, 1.0, 0.0, 1.0]).unwrap(), [[0.0, 0.0], [1.0, 1.0]]);
        assert_eq!(roc(&[0.3, 0.4], &[1.0, 1.0]), None);
        assert_eq!(roc(&[0.3, 0.4], &[0.0, 0.0]), None);
        assert_eq!(roc(&[f32::NAN, 0.4], &[1.0, 0.0]), None);
        assert_eq!(roc(&[], &[]), None);
    }

    #[test]
    fn the_area_under_the_curve_is_the_auc_and_the_gaps_of_the_bins_are_the_ece() {
        let s = Stream::new(3, "curves");
        for (n, levels) in [(2, 10.0), (14, 10.0), (15, 1e6), (17, 3.0), (500, 10.0), (500, 1e6)] {
            let p: Vec<f32> =
                (0..n).map(|i| (s.uniform(i) * levels).floor() as f32 / levels as f32).collect();
            let y: Vec<f32> =
                (0..n).map(|i| f32::from(i == 0 || i > 1 && s.uniform(i + 1000) < 0.4)).collect();
            let points = roc(&p, &y).unwrap();
            assert_eq!((points[0], points[points.len() - 1]), ([0.0, 0.0], [1.0, 1.0]));
            assert!((area(&points) - auc(&p, &y).unwrap()).abs() < 1e-12);
            let (bins, n) = (calibration_bins(&p, &y), n as f64);
            assert_eq!(bins.len(), 15.min(p.len()));
            assert_eq!(bins.iter().map(|b| b.rows).sum::<u64>(), p.len() as u64);
            let ece: f64 = bins.iter().map(|b| b.rows as f64 / n * (b.predicted - b.observed).abs()).sum();
            let found = evaluate(&p, &y, &vec![0; p.len()], 1, &[]).overall.ece.unwrap();
            assert!((ece - found).abs() < 1e-12, "{ece} {found}");
        }
    }

    #[test]
    fn bins_by_hand() {
        // 30 rows, two a bin; bin i holds the predictions i/16 and i/16 + 1/32, of labels 0 and 1.
        let p: Vec<f32> = (0..30).map(|i| i as f32 / 32.0).collect();
        let y: Vec<f32> = (0..30).map(|i| (i % 2) as f32).collect();
        let expected = |i: usize| Bin { rows: 2, predicted: i as f64 / 16.0 + 1.0 / 64.0, observed: 0.5 };
        assert_eq!(calibration_bins(&p, &y), (0..15).map(expected).collect::<Vec<_>>());
        // A tie over all bins: each has the mean label of all rows.
        let tied = calibration_bins(&[0.25; 30], &[vec![1.0; 6], vec![0.0; 24]].concat());
        assert!(tied.iter().all(|b| b.rows == 2 && b.predicted == 0.25 && (b.observed - 0.2).abs() < 1e-15));
        assert_eq!(calibration_bins(&[], &[]), []);
        assert_eq!(calibration_bins(&[0.5], &[1.0]), [Bin { rows: 1, predicted: 0.5, observed: 1.0 }]);
    }
}
