//! A run that is scored on the test rows, of a comparison or a benchmark.
//!
//! Its folder has `result.json` and `test.f32` (labels, then predictions of the test rows, then their weights where metrics are
//! weighted) once it is done.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use optmsm_data::{Schema, Split, write_atomic};
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Study};
use crate::batches::Batches;
use crate::checkpoint::sha256;
use crate::data_files;
use crate::error::{Error, FileErrorKind, Result};
use crate::evaluate::Evaluation;
use crate::sampling::Weighing;
use crate::seal;
use crate::trainer::{Data, Observer};

const RESULT: &str = "result.json";
const SCORES: &str = "test.f32";

/// Result of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Hash of configuration, seed, data and program version.
    pub fingerprint: String,
    /// Seed of parameters, order of rows and dropout.
    pub seed: u64,
    /// Number of parameters.
    pub parameters: u64,
    /// Passes over the training rows, with the share of the last.
    pub epochs: f64,
    /// Those that the parameters had seen that were scored.
    pub best_epoch: f64,
    /// Rows that it trained on, each as often as it was.
    pub rows: u64,
    /// From setting up to the last validation.
    pub seconds: f64,
    /// SHA-256 of `test.f32`.
    pub scores: String,
    /// Metrics of the test rows.
    pub test: Evaluation,
}

/// The test rows.
#[derive(Clone, Debug)]
pub(crate) struct Scores {
    pub(crate) labels: Vec<f32>,
    pub(crate) predictions: Vec<f32>,
    /// Weights of the metrics; empty where every row counts once.
    pub(crate) weights: Vec<f32>,
}

impl RunResult {
    /// That of the run in a folder, if it is done.
    ///
    /// # Errors
    /// It is of another run, or damaged.
    pub(crate) fn load(
        folder: &Path,
        fingerprint: &str,
        seed: u64,
        schema: &Schema,
    ) -> Result<Option<RunResult>> {
        let fix = "delete the folder: the run will be trained again";
        let (path, scores) = (folder.join(RESULT), folder.join(SCORES));
        let Some(result) = seal::load::<RunResult>(&path, fix)? else { return Ok(None) };
        let scenarios = schema.scenarios.iter().map(|s| &s.name);
        if result.fingerprint != fingerprint
            || result.seed != seed
            || !result.test.scenarios.iter().map(|s| &s.scenario).eq(scenarios)
        {
            return Err(Error::file(
                FileErrorKind::Foreign,
                path.display(),
                "is of another run than the configuration beside it",
                fix,
            ));
        }
        let bytes = fs::read(&scores).map_err(|e| Error::io(scores.display(), "read", e, fix))?;
        if result.scores != sha256([bytes]) {
            let problem = format!("is damaged: it does not match its checksum in {RESULT}");
            return Err(Error::file(FileErrorKind::Damaged, scores.display(), problem, fix));
        }
        Ok(Some(result))
    }

    /// Trains the run from where it stands to its end, scores the test rows and writes both files.
    ///
    /// # Errors
    /// As [`Attempt::train`]; there are no test rows.
    pub(crate) fn make(
        attempt: &Attempt,
        fingerprint: String,
        data: &Data,
        weighing: &Weighing,
        study: &Study,
    ) -> Result<Self> {
        let heard = Heard::default();
        let seconds = attempt.train(data, study, &heard)?;
        let Some((test, predictions)) = heard.0.into_inner() else {
            return Err(data_files::missing(Split::Test));
        };
        let scored = data.test.as_ref().map(|test| test.scored(|_| Ok(()))).transpose()?;
        let batch =
            scored.as_ref().map(|scored| &scored.batch).ok_or_else(|| data_files::missing(Split::Test))?;
        let weights = weighing.weights(batch);
        let columns = batch.labels.iter().chain(&predictions).chain(&*weights);
        let bytes: Vec<u8> = columns.flat_map(|v| v.to_le_bytes()).collect();
        let run = &attempt.run;
        write_atomic(&run.folder.join(SCORES), &bytes)?;
        let [last, best] = ["last", "best"].map(|name| run.checkpoint(name));
        let (last, best) = (last?.position, best?.position);
        let result = Self {
            fingerprint,
            seed: run.config.train.seed,
            parameters: study.trainer.parameters(run)?,
            epochs: run.passes(&last),
            best_epoch: run.passes(&best),
            rows: Batches::of(run).rows_at(&last),
            seconds,
            scores: sha256([bytes]),
            test,
        };
        seal::save(&run.folder.join(RESULT), &result)?;
        Ok(result)
    }
}

impl Scores {
    /// Reads what [`RunResult::load`] has checked.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn load(folder: &Path, weighted: bool) -> Result<Self> {
        let path = folder.join(SCORES);
        let bytes = fs::read(&path).map_err(|e| Error::io(path.display(), "read", e, "delete the folder"))?;
        let mut labels: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        let rows = labels.len() / if weighted { 3 } else { 2 };
        let mut predictions = labels.split_off(rows);
        let weights = predictions.split_off(rows);
        Ok(Self { labels, predictions, weights })
    }
}

/// Hears of the test rows' predictions.
#[derive(Debug, Default)]
struct Heard(RefCell<Option<(Evaluation, Vec<f32>)>>);

impl Observer for Heard {
    fn tested(&self, evaluation: &Evaluation, predictions: &[f32]) {
        *self.0.borrow_mut() = Some((evaluation.clone(), predictions.to_vec()));
    }
}
