//! `metrics.jsonl`, read back.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::evaluate::Evaluation;

/// An evaluation during training.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Steps that the parameters had.
    pub step: u64,
    /// Passes over the data.
    pub epoch: u64,
    /// `valid` or `test`.
    pub split: String,
    /// Loss of the last training step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_loss: Option<f64>,
    /// Speed.
    pub rows_per_second: f64,
    /// What was found.
    #[serde(flatten)]
    pub evaluation: Evaluation,
}

/// Every line; none where there is no file. A last line that was cut off by a crash is left out.
pub(super) fn read(folder: &Path) -> Result<Vec<Line>> {
    let path = folder.join("metrics.jsonl");
    let fail = |line: usize, e: String| {
        Error::file(
            format!("{} line {line}", path.display()),
            e,
            "restore the file from a copy, or remove the line",
        )
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(1, format!("cannot be read: {e}"))),
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| fail(i + 1, format!("is no evaluation: {e}")))
    };
    whole.lines().enumerate().map(parse).collect()
}
