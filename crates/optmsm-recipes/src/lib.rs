//! From the raw files that the owners of public data sets publish to Parquet and a configuration that trains.
//!
//! A [`Recipe`] says which files it reads and how many rows their owner publishes; [`Recipe::run`] writes
//! `train.parquet`, `valid.parquet`, `test.parquet`, `NAME.toml` and `NAME.json`, a record of the sources' hashes and
//! of all counts. Each recipe is one file here, over raw files (`raw`), splits by time and hashes (`split`) and the output
//! (`output`); what it chose is told in docs/recipes.md.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

mod ali_ccp;
mod amazon;
mod coupon;
mod douban;
mod frappe;
mod history;
mod kuairand;
mod lookup;
mod mind;
mod ml_100k;
mod ml_1m;
mod movielens;
mod output;
mod raw;
mod split;
mod time;

use std::path::{Path, PathBuf};

use optmsm_data::{ColumnType, DataError, FileErrorKind, Result};
use serde::Serialize;

use output::Output;
pub use output::PartCount;
use raw::Raw;
pub use raw::{Check, SourceRecord};

/// One public data set.
pub struct Recipe {
    /// Name on the command line and of the configuration.
    pub name: &'static str,
    /// Name of the data set for readers.
    pub title: &'static str,
    /// Page where the files are.
    pub page: &'static str,
    /// Raw files: the ends of their paths; `.gz` may follow.
    pub files: &'static [&'static str],
    /// Whether one of these files is enough.
    pub any_file: bool,
    /// The owner's terms of use.
    pub licence: &'static str,
    /// Meaning of a scenario.
    pub scenario: &'static str,
    /// When a label is 1.
    pub label: &'static str,
    /// Which rows are training, validation and test rows.
    pub split: &'static str,
    /// Counts that a whole copy of the data has.
    pub published: &'static [Published],
    /// Columns after `label` and `scenario`.
    columns: &'static [(&'static str, ColumnType)],
    /// The configuration, less `data_dir`.
    config: &'static str,
    cook: fn(&mut Raw, &mut Output) -> Result<()>,
}

/// A count that somebody published.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// Things that are counted, like `users`.
    pub what: &'static str,
    /// How many there are.
    pub rows: u64,
    /// Who says so.
    pub by: &'static str,
}

/// All recipes.
pub static RECIPES: [&Recipe; 10] = [
    &ml_100k::RECIPE,
    &ml_1m::RECIPE,
    &kuairand::ONE_K,
    &kuairand::PURE,
    &ali_ccp::RECIPE,
    &amazon::RECIPE,
    &douban::RECIPE,
    &mind::RECIPE,
    &coupon::RECIPE,
    &frappe::RECIPE,
];

/// Input, output and options of a run.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Folder of the raw files; they may lie up to three folders deeper.
    pub raw: &'a Path,
    /// Folder to write to; made if it is not there.
    pub out: &'a Path,
    /// Other counts than the published ones are warnings, not errors.
    pub allow_partial: bool,
}

/// Result of a run. `NAME.json` holds it without `config` and `warnings`.
#[derive(Debug, Serialize)]
pub struct Made {
    /// Name of the recipe.
    pub recipe: &'static str,
    /// The configuration.
    #[serde(skip)]
    pub config: PathBuf,
    /// Counts that differ from the published ones.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// Files that were read.
    pub sources: Vec<SourceRecord>,
    /// Counts of things in them.
    pub counts: Vec<Check>,
    /// Training, validation and test rows.
    pub parts: Vec<PartCount>,
}

impl Recipe {
    /// Makes the data and its configuration; `progress` hears of every file that is opened.
    ///
    /// # Errors
    /// A raw file is missing, damaged or of another format, its rows are not as many as published, or the output is
    /// there already or cannot be written. Nothing is left behind then.
    pub fn run(&self, job: Job, progress: &mut dyn FnMut(&str)) -> Result<Made> {
        let [config, record] = ["toml", "json"].map(|end| job.out.join(format!("{}.{end}", self.name)));
        output::must_not_exist(&config)?;
        output::must_not_exist(&record)?;
        let mut raw = Raw::open(self, job, progress)?;
        let mut output = Output::create(job.out, self.columns)?;
        (self.cook)(&mut raw, &mut output)?;
        let (sources, counts, warnings) = raw.finish();
        let mut made = Made { recipe: self.name, config, warnings, sources, counts, parts: Vec::new() };
        output.finish(|parts| {
            made.parts = parts.to_vec();
            let text = serde_json::to_string_pretty(&made)
                .map_err(|e| error(record.display(), e.to_string(), "report this"))?;
            // The configuration last: where it is, all is.
            Ok(vec![(record, format!("{text}\n")), (made.config.clone(), self.config_text(job.out)?)])
        })?;
        Ok(made)
    }

    /// The configuration with its folder, which is an absolute path so that it trains from anywhere.
    fn config_text(&self, out: &Path) -> Result<String> {
        let shown = out.display().to_string();
        let folder = std::path::absolute(out).map_err(|e| DataError::io(&shown, "find", e))?;
        let Some(folder) = folder.to_str() else {
            return Err(error(shown, "is not UTF-8, as a configuration must be", "write to another folder"));
        };
        // A JSON string is a TOML string, too, except for `/` and DEL, which JSON does not have to escape.
        let folder = serde_json::Value::from(folder).to_string().replace('\u{7f}', "\\u007f");
        let Self { name, title, page, .. } = self;
        Ok(format!(
            "# {title}, made by `optmsm recipe {name}` from the files of {page}\n# docs/recipes.md says what was chosen, and why.\n\ndata_dir = {folder}\n{}",
            self.config
        ))
    }
}

/// A [`DataError::File`].
fn error(path: impl ToString, problem: impl Into<String>, fix: impl Into<String>) -> DataError {
    DataError::file(FileErrorKind::Unfit, path.to_string(), problem, fix)
}

/// A count as people write it: 1,000,209.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_readable() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (42_300_135, "42,300,135")] {
            assert_eq!(thousands(n), text);
        }
    }

    #[test]
    fn configurations_name_columns_that_are_written() {
        for recipe in RECIPES {
            let table: toml::Table =
                toml::from_str(recipe.config).unwrap_or_else(|e| panic!("{}: {e}", recipe.name));
            let data: optmsm_data::DataConfig = table["data"].clone().try_into().unwrap();
            data.validate().unwrap();
            let columns: Vec<&str> = recipe.columns.iter().map(|(name, _)| *name).collect();
            let group = data.group.as_deref().into_iter();
            for column in data.fields.iter().map(|f| f.column()).chain(group) {
                assert!(columns.contains(&column), "{}: no column {column}", recipe.name);
            }
        }
    }
}
