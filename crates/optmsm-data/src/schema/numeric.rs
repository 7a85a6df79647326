//! Statistics of a numeric column and the transform that uses them.

use serde::{Deserialize, Serialize};

use super::quantile::rank;
use crate::config::Transform;

/// Statistics of the training file; missing values are left out.
///
/// With `log1p` they describe `ln(1 + v)`, with every other transform `v` itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumericStats {
    /// Values seen.
    pub count: u64,
    /// Rows without a value.
    pub missing: u64,
    /// Mean; 0 when there is no value.
    pub mean: f64,
    /// Population standard deviation; 0 when there is no value.
    pub std: f64,
    /// Least value; 0 when there is none.
    pub min: f64,
    /// Greatest value; 0 when there is none.
    pub max: f64,
}

impl Transform {
    /// Applies the transform; `ladder` is that of [`Transform::Quantile`].
    pub(crate) fn apply(self, v: f64, stats: &NumericStats, ladder: &[f64]) -> f64 {
        let safe = |width: f64| if width > 0.0 { width } else { 1.0 };
        match self {
            Transform::None => v,
            Transform::Standardize => (v - stats.mean) / safe(stats.std),
            Transform::Log1p => libm::log1p(v),
            Transform::MinMax => (v - stats.min) / safe(stats.max - stats.min),
            Transform::Quantile => rank(v, ladder),
        }
    }

    /// Training mean of the transformed value: what a missing value becomes unless the user says otherwise.
    pub(crate) fn mean(self, stats: &NumericStats) -> f64 {
        match self {
            Transform::Log1p => stats.mean, // already that of ln(1 + v)
            Transform::Quantile => 0.5,     // ranks are even in 0..1
            _ => self.apply(stats.mean, stats, &[]),
        }
    }
}

/// Mean and variance in one pass (Welford), stable for a large mean with a small spread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accumulator {
    stats: NumericStats,
    squares: f64, // Σ (v - mean)²
}

impl Accumulator {
    pub(crate) fn add(&mut self, v: f64) {
        let s = &mut self.stats;
        (s.min, s.max) = if s.count == 0 { (v, v) } else { (s.min.min(v), s.max.max(v)) };
        s.count += 1;
        let delta = v - s.mean;
        s.mean += delta / s.count as f64;
        self.squares += delta * (v - s.mean);
    }

    pub(crate) fn add_missing(&mut self) {
        self.stats.missing += 1;
    }

    pub(crate) fn finish(self) -> NumericStats {
        let variance = self.squares / self.stats.count.max(1) as f64;
        NumericStats { std: variance.max(0.0).sqrt(), ..self.stats }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(values: &[f64]) -> NumericStats {
        let mut acc = Accumulator::default();
        values.iter().for_each(|&v| acc.add(v));
        acc.finish()
    }

    #[test]
    fn statistics_of_a_textbook_list() {
        // 2 4 4 4 5 5 7 9: mean 5, population standard deviation 2.
        let s = stats(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!((s.count, s.mean, s.min, s.max), (8, 5.0, 2.0, 9.0));
        assert!((s.std - 2.0).abs() < 1e-15);
    }

    #[test]
    fn a_large_mean_does_not_drown_the_spread() {
        let s = stats(&[1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0]);
        assert!((s.std - (2.0f64 / 3.0).sqrt()).abs() < 1e-12, "{}", s.std);
    }

    #[test]
    fn transforms_by_hand() {
        let s = stats(&[1.0, 3.0]); // mean 2, std 1
        assert_eq!(Transform::None.apply(5.0, &s, &[]), 5.0);
        assert_eq!(Transform::Standardize.apply(5.0, &s, &[]), 3.0);
        assert_eq!(Transform::MinMax.apply(4.0, &s, &[]), 1.5);
        assert!((Transform::Log1p.apply(std::f64::consts::E - 1.0, &s, &[]) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_constant_column_gives_zero_and_no_nan() {
        let s = stats(&[0.1, 0.1, 0.1]);
        assert_eq!(Transform::Standardize.apply(0.1, &s, &[]), 0.0);
        assert_eq!(Transform::MinMax.apply(0.1, &s, &[]), 0.0);
        assert_eq!(Transform::MinMax.apply(1.1, &s, &[]), 1.0);
    }

    #[test]
    fn means_of_the_transformed_value() {
        let s = stats(&[0.0, 1.0, 5.0]); // mean 2
        assert_eq!(Transform::None.mean(&s), 2.0);
        assert_eq!(Transform::Standardize.mean(&s), 0.0);
        assert_eq!(Transform::MinMax.mean(&s), 0.4);
        assert_eq!(Transform::Log1p.mean(&s), 2.0); // its statistics are of ln(1 + v) already
        assert_eq!(Transform::Standardize.mean(&NumericStats::default()), 0.0);
    }
}
