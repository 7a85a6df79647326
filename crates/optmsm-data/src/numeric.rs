//! Statistics of a numeric column and the transform that uses them.

use serde::{Deserialize, Serialize};

use crate::quantile::rank;

/// Characters of a number's text that are no digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// Stands before the decimals.
    pub decimal: char,
    /// Stands between groups of three digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thousands: Option<char>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { decimal: '.', thousands: None }
    }
}

impl Marks {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The number that a text means; none if it is none, or its digits are grouped otherwise than in threes.
    #[inline]
    pub fn parse(self, text: &str) -> Option<f64> {
        if self.is_default() { text.parse().ok() } else { self.rewritten(text)?.parse().ok() }
    }

    /// The text with a point before the decimals and nothing between groups of digits.
    fn rewritten(self, text: &str) -> Option<String> {
        let (whole, rest) = match text.find([self.decimal, 'e', 'E']) {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let mut plain = String::with_capacity(text.len());
        let is_mark = |c: char| self.thousands.is_some_and(|mark| c == mark || both_blanks(c, mark));
        for (i, group) in whole.split(is_mark).enumerate() {
            let digits = if i == 0 { group.trim_start_matches(['-', '+']) } else { group };
            let fits = if i == 0 {
                whole.len() == group.len() || (1..4).contains(&digits.len())
            } else {
                digits.len() == 3
            };
            if !fits || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            plain.push_str(group);
        }
        match rest.strip_prefix(self.decimal) {
            Some(decimals) => plain.extend(['.'].into_iter().chain(decimals.chars())),
            None => plain.push_str(rest),
        }
        Some(plain)
    }
}

/// Whether both are blanks: a number may have narrow ones, or such as do not break a line.
fn both_blanks(a: char, b: char) -> bool {
    a.is_whitespace() && b.is_whitespace()
}

/// What becomes of a number before the model reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transform {
    /// The number itself.
    None,
    /// `(v - mean) / std` of the training file; a column that never varies is divided by 1.
    #[default]
    Standardize,
    /// `ln(1 + v)`; needs `v > -1`.
    Log1p,
    /// `(v - min) / (max - min)` of the training file, so training lies in 0..1; later values may lie outside.
    MinMax,
    /// Rank among the values of the training file, in 0..1: the value is put between 257 quantiles of theirs.
    Quantile,
}

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
    fn marks_of_numbers() {
        let marks = |decimal, thousands| Marks { decimal, thousands };
        for (marks, text, wanted) in [
            (marks(',', None), "21,81", Some(21.81)),
            (marks(',', None), "-0,5", Some(-0.5)),
            (marks(',', None), "1,5e3", Some(1500.0)),
            (marks(',', None), "7", Some(7.0)),
            (marks(',', None), "1.5", None),
            (marks(',', None), "1,2,3", None),
            (marks(',', None), "21,8x", None),
            (marks('.', Some(',')), "4,253,122", Some(4_253_122.0)),
            (marks('.', Some(',')), "-1,234.5", Some(-1234.5)),
            (marks('.', Some(',')), "1234.5", Some(1234.5)),
            (marks('.', Some(',')), "1,23", None),
            (marks('.', Some(',')), "1234,567", None),
            (marks('.', Some(',')), ",123", None),
            (marks('.', Some(',')), "1,,234", None),
            (marks(',', Some('.')), "1.234,56", Some(1234.56)),
            (marks(',', Some(' ')), "1 234\u{a0}567,8", Some(1_234_567.8)),
            (marks('.', Some('\'')), "1'234", Some(1234.0)),
            (marks('.', None), " 7", None), // who reads a cell trims it
        ] {
            assert_eq!(marks.parse(text), wanted, "{text} by {marks:?}");
        }
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
