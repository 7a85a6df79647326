//! `metrics.jsonl`: one line per evaluation, each with a checksum.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use optmsm_data::write_atomic;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Position;
use crate::error::{Error, FileErrorKind, Result};
use crate::evaluate::Evaluation;
use crate::folder::is_there;
use crate::{say, seal};

/// An evaluation during training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Steps that the parameters had.
    pub step: u64,
    /// Passes over the data that were done, with the share of one that was not at its end.
    pub epoch: f64,
    /// `valid` or `test`.
    pub split: String,
    /// Mean loss of the training steps since the evaluation before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_loss: Option<f64>,
    /// Their mean log loss: without the penalties it can be compared with that of validation rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_log_loss: Option<f64>,
    /// AUC of their rows as they were predicted right before they were learned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_auc: Option<f64>,
    /// Speed.
    pub rows_per_second: f64,
    /// Findings.
    #[serde(flatten)]
    pub evaluation: Evaluation,
}

/// The file of a run.
pub(crate) fn file(folder: &Path) -> PathBuf {
    folder.join("metrics.jsonl")
}

/// Appends a line.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn append(folder: &Path, line: &impl Serialize) -> Result<()> {
    let path = file(folder);
    let fail = |e| Error::io(path.display(), "written", e, "free some space");
    let text = seal::line(line).map_err(|e| Error::bug(path.display(), e))? + "\n";
    let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(fail)?;
    // On the disk before the checkpoint that says how many lines there are.
    file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).map_err(fail)
}

/// Every line; none where there is no file. A last line that was cut off by a crash is left out, with a warning.
///
/// # Errors
/// When the file cannot be read, or a line does not match its checksum.
pub(crate) fn read(folder: &Path) -> Result<Vec<Line>> {
    Ok(lines(folder)?.into_iter().map(|(_, line)| line).collect())
}

/// Keeps the lines that `keep` says.
///
/// # Errors
/// As [`read`], and when the disk refuses.
pub(crate) fn retain(folder: &Path, keep: impl Fn(&Line) -> bool) -> Result<Vec<Line>> {
    let (texts, kept): (Vec<_>, Vec<_>) = lines(folder)?.into_iter().filter(|(_, line)| keep(line)).unzip();
    let path = file(folder);
    if is_there(&path)? {
        let text: String = texts.iter().flat_map(|text: &String| [text, "\n"]).collect();
        write_atomic(&path, text.as_bytes())?;
    }
    Ok(kept)
}

/// Says that evaluations of validation rows are missing from the lines of a run that stands `at`, if they are.
pub(crate) fn gap(lines: &[Line], at: &Position) -> Option<String> {
    let found = lines.iter().filter(|line| line.split == "valid").count() as u64;
    let lacking = at.evaluations.saturating_sub(found);
    (lacking > 0).then(|| format!("lacks the lines of {lacking} evaluations of {}", at.evaluations))
}

const FIX: &str = "restore the file from a copy, or move it away: a run goes on without it";

/// Text and content of every line.
fn lines(folder: &Path) -> Result<Vec<(String, Line)>> {
    let path = file(folder);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(path.display(), "read", e, "check the disk")),
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut found = Vec::new();
    for (i, line) in text.split_inclusive('\n').enumerate() {
        let place = format!("line {}", i + 1);
        let whole = line.strip_suffix('\n');
        match seal::parse(whole.unwrap_or(line)) {
            Ok(content) => found.push((whole.unwrap_or(line).to_string(), content)),
            Err(_) if whole.is_none() => {
                say::warning(&format!("{} {place}: was cut off; it is left out", path.display()));
            }
            Err(e) => return Err(Error::file(FileErrorKind::Damaged, path.display(), e, FIX).at(place)),
        }
    }
    Ok(found)
}
