//! A configuration to start from, guessed from a look at a CSV file: every guess says what it was made from.

mod columns;
mod guess;
mod toml_text;

use std::path::Path;

use optmsm_data::{DataError, InputFile};

use crate::config::Config;
use crate::error::{Error, Result};

use columns::Columns;

/// Rows that are looked at: enough to see what a column is, few enough to wait for.
pub const ROWS: u64 = 100_000;

/// What the user says instead of leaving it to a guess.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Column of the label.
    pub label: Option<String>,
    /// Column of the scenario.
    pub scenario: Option<String>,
}

/// The text of a configuration for the file at `path`, which is written into it as it is given here.
///
/// # Errors
/// When the file cannot be read, or label or scenario cannot be guessed: the message lists candidates.
pub fn starter(path: &Path, given: &Given) -> Result<String> {
    let shown = path.to_str().ok_or_else(|| {
        let fix = "rename it: a configuration is UTF-8";
        Error::file(path.display(), "the path is not valid UTF-8", fix)
    })?;
    let columns = open(path, ROWS)?;
    let guessed = guess::guess(shown, &columns, given)?;
    let siblings = ["valid", "test"].map(|split| sibling(path, split, &columns));
    let text = toml_text::write(shown, &columns, &guessed, &siblings);
    // A starter that this program refuses would be worse than none.
    Config::parse("the starter", &text, &[])?;
    Ok(text)
}

fn open(path: &Path, rows: u64) -> Result<Columns> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Error::file(&shown, "is a folder", "give a CSV file"));
    }
    let file = InputFile::open(path).map_err(|e| match e {
        DataError::Io { source, .. } => {
            let fix = "give the path of a CSV file with a header";
            Error::file(&shown, format!("cannot be opened: {source}"), fix)
        }
        other => other.into(),
    })?;
    let bytes = file.bytes();
    Columns::read(&shown.to_string(), file, bytes, rows)
}

/// The file of another split beside this one, when it has the same columns: `train.csv` → `valid.csv`, `test.csv`.
fn sibling(path: &Path, split: &str, columns: &Columns) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let at = name.find("train")?;
    let others: &[&str] = if split == "valid" { &["valid", "val", "dev", "validation"] } else { &["test"] };
    others.iter().find_map(|other| {
        let beside = path.with_file_name(format!("{}{other}{}", &name[..at], &name[at + "train".len()..]));
        let found = open(&beside, 1).ok()?;
        found.same_header(columns).then(|| beside.to_str().map(str::to_string))?
    })
}
