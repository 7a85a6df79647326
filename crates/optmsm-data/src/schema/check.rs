//! Whether a schema that was read can be one that was fitted: a checksum only says that it is as it was written.

use std::collections::HashSet;

use super::numeric::NumericStats;
use super::vocab::Vocabulary;
use super::{Encoding, FALLBACK, FieldSchema, Schema};
use crate::config::{MAX_IDS, Transform, UnseenScenario};
use crate::error::quote;

type Checked = Result<(), String>;

impl Schema {
    /// Checks everything that encoding relies on.
    ///
    /// # Errors
    /// In words, the first thing that cannot be.
    pub(super) fn check(&self) -> Checked {
        self.reading.validate().map_err(|e| e.to_string())?;
        self.check_scenarios()?;
        for field in &self.fields {
            field.encoding.check().map_err(|problem| format!("field {} {problem}", quote(&field.name)))?;
        }
        self.check_tables()?;
        self.input_spec().validate().map_err(|e| e.to_string())
    }

    fn check_scenarios(&self) -> Checked {
        let ends = match (self.unseen_scenario, self.scenarios.last()) {
            (UnseenScenario::Error, _) => true,
            (UnseenScenario::Oov, last) => last.is_some_and(|s| s.name == FALLBACK && s.rows == 0),
        };
        let known = if ends { &self.scenarios[..self.known_scenarios()] } else { &[] };
        let rows = known.iter().try_fold(0u64, |sum, s| sum.checked_add(s.rows));
        match () {
            () if known.is_empty() => Err("it has no scenario".into()),
            () if !known.is_sorted_by(|a, b| a.name < b.name) => Err("its scenarios are not in order".into()),
            () if known.iter().any(|s| s.positives > s.rows) => {
                Err("a scenario has more positive rows than rows".into())
            }
            () if rows != Some(self.rows) => {
                Err("its scenarios have another number of rows than it has".into())
            }
            () => Ok(()),
        }
    }

    /// Checks that fields of one table have one list, and others their own.
    fn check_tables(&self) -> Checked {
        let mut seen: HashSet<&str> = HashSet::new();
        for FieldSchema { name, table, encoding, .. } in &self.fields {
            let borrowed = encoding.vocabulary().and_then(|v| v.borrowed.as_deref());
            let first = table.as_deref().is_none_or(|table| seen.insert(table));
            if borrowed != table.as_deref().filter(|_| !first) {
                let name = quote(name);
                return Err(format!("field {name} takes its ids from a table that it does not share"));
            }
        }
        Ok(())
    }
}

impl Encoding {
    fn check(&self) -> Checked {
        match self {
            Encoding::Categorical { vocabulary } => vocabulary.check(),
            Encoding::Multi { separator, weight_separator, max_length, vocabulary, .. } => {
                let weights = weight_separator.as_deref();
                if separator.is_empty() || weights.is_some_and(|by| by.is_empty() || by == separator) {
                    return Err("has separators that part nothing".into());
                }
                if *max_length == Some(0) {
                    return Err("has lists without values".into());
                }
                vocabulary.check()
            }
            Encoding::Buckets { cuts, stats, .. } => {
                let rise = cuts.is_sorted_by(|a, b| a < b) && cuts.iter().all(|cut| cut.is_finite());
                if !rise || cuts.len() > MAX_IDS as usize {
                    return Err("has buckets that are not in order".into());
                }
                stats.check()
            }
            Encoding::Numeric { transform, stats, fill, ladder, .. } => {
                let rises = ladder.is_sorted() && ladder.iter().all(|rung| rung.is_finite());
                if !rises || (*transform != Transform::Quantile && !ladder.is_empty()) {
                    return Err("has quantiles that are not in order".into());
                }
                if !fill.is_finite() {
                    return Err(format!("fills missing values with {fill}"));
                }
                stats.check()
            }
        }
    }
}

impl Vocabulary {
    fn check(&self) -> Checked {
        if let Some(value) = self.repeated() {
            return Err(format!("has {} twice in its list", quote(value)));
        }
        match self.size() > MAX_IDS as usize + 2 {
            true => Err(format!("has {} ids, more than {MAX_IDS}", self.size())),
            false => Ok(()),
        }
    }
}

impl NumericStats {
    fn check(&self) -> Checked {
        let Self { mean, std, min, max, .. } = self;
        match [mean, std, min, max].iter().all(|v| v.is_finite()) && *std >= 0.0 && min <= max {
            true => Ok(()),
            false => Err("has statistics that no numbers have".into()),
        }
    }
}
