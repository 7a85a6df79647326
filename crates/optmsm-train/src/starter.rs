//! A configuration to start from, guessed from a look at the data: every guess says what it was made from.

mod columns;
mod guess;
mod names;
mod texts;
mod toml_text;

use std::path::{Path, PathBuf};

use optmsm_data::{DataError, Form};

use crate::config::Config;
use crate::error::{Error, FileErrorKind, Result};

use columns::Columns;
pub use toml_text::settings;

/// Rows that are looked at, fewer of more than 200 columns: enough to see what a column is, few enough to wait for.
pub const ROWS: u64 = 100_000;

/// Answers that the user gives instead of leaving them to a guess.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Column of the label.
    pub label: Option<String>,
    /// Column of the scenario.
    pub scenario: Option<String>,
    /// Columns that no field is to read.
    pub leave_out: Vec<String>,
    /// Of a CSV: its quotes, and whether it has a header.
    pub form: Form,
}

/// The text of a configuration for the files at `path`, which is written into it as it is given here.
///
/// # Errors
/// When a file cannot be read, or label or scenario cannot be guessed: the message lists candidates.
pub fn starter(path: &Path, given: &Given) -> Result<String> {
    let shown = path.to_str().ok_or_else(|| {
        let fix = "rename it: a configuration is UTF-8";
        Error::file(FileErrorKind::Unfit, path.display(), "the path is not valid UTF-8", fix)
    })?;
    if shown == "-" {
        return Err(Error::argument("standard input", "cannot be trained on", "give a file"));
    }
    let columns = Columns::read(&path.into(), ROWS, given.form, &given.leave_out)?;
    let guessed = guess::guess(shown, &columns, given)?;
    let sibling = |split| sibling(shown, split, &columns, given.form);
    let siblings = [sibling("valid")?, sibling("test")?];
    let text = toml_text::write(shown, &columns, &guessed, &siblings);
    // A starter that this program refuses would be worse than none.
    Config::parse("the starter", &text, &[])?;
    Ok(text)
}

/// Name of the configuration of a path: that of the file or folder, of a glob what stands before its wildcards.
pub fn name(path: &Path) -> PathBuf {
    let last = path.file_name().map_or_else(Default::default, |name| name.to_string_lossy());
    let stem = last.split(['*', '?', '[']).next().unwrap_or_default();
    let stem = stem.split('.').find(|part| !part.is_empty()).unwrap_or_default();
    let stem = stem.trim_end_matches(['-', '_', '=']);
    format!("{}.toml", if stem.is_empty() { "optmsm" } else { stem }).into()
}

/// The files of another split beside these, when they have the same columns: `train.csv` → `valid.csv`,
/// `train/part-*.parquet` → `test/part-*.parquet`. What is no such table is something else.
///
/// # Errors
/// The system does not let it be read, so that nobody knows.
fn sibling(path: &str, split: &str, columns: &Columns, form: Form) -> Result<Option<String>> {
    let Some(at) = path.rfind("train") else { return Ok(None) };
    let others: &[&str] = if split == "valid" { &["valid", "val", "dev", "validation"] } else { &["test"] };
    for other in others {
        let beside = format!("{}{other}{}", &path[..at], &path[at + "train".len()..]);
        match Columns::read(&beside.as_str().into(), 1, form, &[]) {
            Ok(found) if found.same_header(columns) => return Ok(Some(beside)),
            Err(Error::Data(e)) if of_the_system(&e) => return Err(e.into()),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

/// Whether an error says nothing of the data: another try may read it.
fn of_the_system(e: &DataError) -> bool {
    matches!(e, DataError::Io { .. } | DataError::Thread { .. })
        || e.file_kind() == Some(FileErrorKind::System)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_named_after_its_data() {
        for (path, wanted) in [
            ("data/train.csv", "train.toml"),
            ("a.b/clicks.csv.gz", "clicks.toml"),
            ("log/day=*/part-*.parquet", "part.toml"),
            ("log/*.parquet", "optmsm.toml"),
            ("log/scenario=home/", "scenario=home.toml"),
            ("..", "optmsm.toml"),
        ] {
            assert_eq!(name(Path::new(path)), Path::new(wanted), "{path}");
        }
    }
}
