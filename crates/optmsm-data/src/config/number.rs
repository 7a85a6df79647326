//! Numbers as a user says them to be: how they are written, and what becomes of them.

use serde::{Deserialize, Serialize};

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

/// Transformation of a number before the model reads it.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
