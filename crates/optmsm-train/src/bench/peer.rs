//! Predictions of another program, beside those of the contestants.

use std::path::{Path, PathBuf};

use optmsm_data::Schema;
use serde::{Deserialize, Serialize};

use super::report::Ended;
use crate::error::{Error, FileErrorKind, Result};
use crate::evaluate::evaluate;
use crate::folder::is_there;
use crate::sampling::Weighing;
use crate::scored::Scores;
use crate::trainer::Data;

/// Column of the predictions, as `optmsm predict` calls it.
const COLUMN: &str = "prediction";
const FACTS: &str = "peer.json";
const FIX: &str = "give one prediction for each test row, in their order, as column 'prediction' of a CSV";

/// Another program: a name, and a folder with `seed-N.csv` for each seed, or with a folder for each data set that has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Name in the tables.
    pub name: String,
    /// Its predictions, and `peer.json` if it is there.
    pub folder: PathBuf,
}

/// `peer.json`: how the predictions were made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeerFacts {
    /// Settings that it tried on the validation rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trials: Option<u64>,
    /// Those that it chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<serde_json::Value>,
    /// Seconds of one training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl Peer {
    /// Scores its predictions as those of a model are scored; `data` is the name of the data set.
    ///
    /// # Errors
    /// A file cannot be read, lacks the column, or is not of these test rows.
    pub(super) fn read(
        &self,
        name: &str,
        seeds: &[u64],
        data: &Data,
        schema: &Schema,
        weighing: &Weighing,
    ) -> Result<Ended> {
        let of_data = self.folder.join(name);
        let folder = if of_data.is_dir() { &of_data } else { &self.folder };
        let test = data.test.as_ref().ok_or_else(|| crate::data_files::missing(optmsm_data::Split::Test))?;
        let rows = test.scored(|_| Ok(()))?;
        let (mut tests, mut scores) = (Vec::new(), Vec::new());
        for seed in seeds {
            let path = folder.join(format!("seed-{seed}.csv"));
            let predictions = predictions(&path)?;
            if predictions.len() != test.rows() {
                let problem =
                    format!("has {} predictions, but there are {} test rows", predictions.len(), test.rows());
                return Err(Error::file(FileErrorKind::Unfit, path.display(), problem, FIX));
            }
            tests.push(evaluate(&rows, schema, weighing, &predictions));
            let (labels, weights) = (rows.batch.labels.clone(), weighing.weights(&rows.batch).into_owned());
            scores.push(Scores { labels, predictions, weights });
        }
        Ok(Ended::peer(&self.name, facts(&folder.join(FACTS))?, tests, scores))
    }
}

fn facts(path: &Path) -> Result<PeerFacts> {
    if !is_there(path)? {
        return Ok(PeerFacts::default());
    }
    let text =
        std::fs::read(path).map_err(|e| Error::io(path.display(), "read", e, "check its permissions"))?;
    serde_json::from_slice(&text).map_err(|e| {
        let fix = "write { \"trials\": 20, \"settings\": { … }, \"seconds\": 1.5 }, or leave it out";
        Error::file(FileErrorKind::Unfit, path.display(), e.to_string(), fix)
    })
}

/// The probabilities in a file.
fn predictions(path: &Path) -> Result<Vec<f32>> {
    let unfit = |problem: String| Error::file(FileErrorKind::Unfit, path.display(), problem, FIX);
    let file = std::fs::File::open(path).map_err(|e| Error::io(path.display(), "opened", e, FIX))?;
    let mut reader = csv::Reader::from_reader(file);
    let header = reader.headers().map_err(|e| unfit(format!("is no CSV: {e}")))?;
    let at = header.iter().position(|name| name.trim() == COLUMN);
    let at = at.ok_or_else(|| unfit(format!("has no column '{COLUMN}'")))?;
    let mut predictions = Vec::new();
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(|e| unfit(format!("is no CSV: {e}")))?;
        let text = record.get(at).unwrap_or_default().trim();
        let probability = text.parse().ok().filter(|p: &f32| (0.0..=1.0).contains(p));
        let no_probability = || unfit(format!("'{text}' is no probability")).at(format!("row {}", row + 1));
        predictions.push(probability.ok_or_else(no_probability)?);
    }
    Ok(predictions)
}
