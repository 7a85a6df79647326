//! One file, three parts: rows to train on, rows that early stopping watches, rows that are scored at the end.
//!
//! A row's key is its number (from 0, eight little-endian bytes), or the text of its group. With `h` the hash of
//! `hash.rs` and `m` the finalizer of SplitMix64,
//!
//! ```text
//! u = m(m(seed) ⊕ h(key)) / 2⁶⁴        u < test: test;  u < test + valid: valid;  else train
//! ```
//!
//! so the part of a row depends on the split's seed and its key alone: not on the seed of a model or the
//! rows around it. Rows of one group have one key, and stay together.

use optmsm_core::error::{Error, Result};
use serde::{Deserialize, Serialize};

use super::reading::Speller;
use super::rows::Rows;
use super::sweep::Sweep;
use super::values::{Values, with_values};
use crate::util::{hash_bytes, mix};

/// How `data.train` is split: the table `data.split`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SplitConfig {
    /// Expected share of rows (of groups) that early stopping watches, in [0, 1).
    pub valid: f64,
    /// Expected share of rows (of groups) that are scored at the end, in [0, 1).
    pub test: f64,
    /// Seed of the split. The model's is another: `train.seed`.
    pub seed: u64,
    /// [`BY_ROW`], or the column whose equal values stay in one part.
    pub by: String,
}

/// `by` of a split that looks at each row for itself.
pub const BY_ROW: &str = "row";

impl Default for SplitConfig {
    fn default() -> Self {
        Self { valid: 0.1, test: 0.1, seed: 1, by: BY_ROW.into() }
    }
}

/// A part of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// To train on.
    Train,
    /// For early stopping.
    Valid,
    /// Scored at the end.
    Test,
}

impl Split {
    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Valid => "valid",
            Split::Test => "test",
        }
    }
}

impl SplitConfig {
    /// Checks shares and column.
    ///
    /// # Errors
    /// Names the key, what is wrong with it, and the fix.
    pub fn validate(&self) -> Result<()> {
        let fail =
            |key: &str, problem, fix: &str| Err(Error::config(format!("data.split.{key}"), problem, fix));
        for (key, share) in [("valid", self.valid), ("test", self.test)] {
            if !(0.0..1.0).contains(&share) {
                return fail(key, format!("must be in [0, 1), got {share}"), "0.1 is usual");
            }
        }
        if self.valid + self.test >= 1.0 {
            let problem = format!("leaves no row to train on beside valid = {}", self.valid);
            return fail("test", problem, "lower one of them");
        }
        if self.by.is_empty() {
            return fail("by", "is empty".into(), "use \"row\", or name the column of the groups");
        }
        Ok(())
    }

    /// Share of the rows that a part has.
    pub fn share(&self, part: Split) -> f64 {
        match part {
            Split::Train => 1.0 - self.valid - self.test,
            Split::Valid => self.valid,
            Split::Test => self.test,
        }
    }

    /// The column that keeps rows together.
    pub(crate) fn column(&self) -> Option<&str> {
        (self.by != BY_ROW).then_some(self.by.as_str())
    }

    fn part(&self, key: &[u8]) -> Split {
        let u = (mix(mix(self.seed) ^ hash_bytes(key)) >> 11) as f64 * 2f64.powi(-53); // the 53 bits of f64
        match u {
            u if u < self.test => Split::Test,
            u if u < self.test + self.valid => Split::Valid,
            _ => Split::Train,
        }
    }
}

/// Picks the rows of one part.
#[derive(Clone)]
pub(crate) struct Selector {
    split: SplitConfig,
    part: Split,
    column: Option<usize>,
}

impl Selector {
    /// `column` is where [`SplitConfig::column`] lies in a record.
    pub(crate) fn new(split: &SplitConfig, part: Split, column: Option<usize>) -> Self {
        Self { split: split.clone(), part, column }
    }

    /// Leaves the rows of the part, up to the first whose group cannot be read.
    pub(crate) fn pick(&self, rows: &Rows, speller: &Speller, sweep: &mut Sweep, scratch: &mut String) {
        let Self { split, part, column } = self;
        let mut picked = Vec::new();
        match *column {
            None => {
                let first = rows.span().start.rows;
                let key = |row: usize| (first + row as u64).to_le_bytes();
                picked
                    .extend((0..sweep.good() as u32).filter(|&row| split.part(&key(row as usize)) == *part));
            }
            Some(c) => with_values!(rows, c, |values| sweep.each(c, |row| {
                if split.part(speller.cell(values.cell(row)).bytes(scratch)?) == *part {
                    picked.push(row as u32);
                }
                Ok(())
            })),
        }
        sweep.pick(picked);
    }
}

/// The error of a part that no row fell into.
pub(crate) fn empty_split(path: &str, part: Split) -> crate::error::DataError {
    let problem = format!("no row falls into the {} part of data.split", part.name());
    crate::error::DataError::unfit(
        path,
        problem,
        "raise its share, give more rows, or change data.split.seed",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_by_hand() {
        let split = SplitConfig { valid: 0.0, test: 0.5, seed: 0, ..SplitConfig::default() };
        // m(0) = 0, and the key of no bytes hashes to m(0 ⊕ 0) = 0: u = 0.
        assert_eq!(split.part(b""), Split::Test);
        assert_eq!(SplitConfig { test: 0.0, ..split }.part(b""), Split::Train);
    }

    #[test]
    fn shares_are_those_asked_for() {
        let split = SplitConfig { valid: 0.2, test: 0.1, ..SplitConfig::default() };
        let n = 100_000u64;
        let parts: Vec<Split> = (0..n).map(|i| split.part(&i.to_le_bytes())).collect();
        for (part, share) in [(Split::Train, 0.7), (Split::Valid, 0.2), (Split::Test, 0.1)] {
            let got = parts.iter().filter(|p| **p == part).count() as f64;
            // Binomial: five standard deviations.
            let bound = 5.0 * (n as f64 * share * (1.0 - share)).sqrt();
            assert!((got - n as f64 * share).abs() < bound, "{part:?}: {got} of {n}");
        }
        let other = SplitConfig { seed: 2, ..split.clone() };
        let same = (0..n).filter(|i| other.part(&i.to_le_bytes()) == parts[*i as usize]).count() as f64;
        let agree = 0.7f64 * 0.7 + 0.2 * 0.2 + 0.1 * 0.1;
        assert!((same - n as f64 * agree).abs() < 5.0 * (n as f64 * agree * (1.0 - agree)).sqrt(), "{same}");
    }

    #[test]
    fn errors_name_key_problem_and_fix() {
        let says = |split: SplitConfig| split.validate().unwrap_err().to_string();
        let split = SplitConfig::default();
        assert!(split.validate().is_ok());
        assert_eq!(
            says(SplitConfig { valid: -0.1, ..split.clone() }),
            "config `data.split.valid`: must be in [0, 1), got -0.1; 0.1 is usual"
        );
        assert_eq!(
            says(SplitConfig { valid: 0.5, test: 0.5, ..split.clone() }),
            "config `data.split.test`: leaves no row to train on beside valid = 0.5; lower one of them"
        );
        assert_eq!(
            says(SplitConfig { by: String::new(), ..split }),
            "config `data.split.by`: is empty; use \"row\", or name the column of the groups"
        );
    }
}
