//! A trained run that answers values which a program holds: a request of a server, a row of another language.
//!
//! Values go through the run's schema by the code that encodes files, so that what is served is what was trained.

use std::path::Path;
use std::sync::Arc;

use optmsm_core::batch::{Batch, Column, Request};
use optmsm_core::config::InputSpec;
use optmsm_core::fold::{FoldOptions, FoldReport};
use optmsm_data::{DataError, Datum, RequestColumn, RequestEncoder, printable};

use crate::calibration::Calibration;
use crate::config::BackendKind;
use crate::device::Answering;
use crate::error::{Error, Result};
use crate::evaluate::CHUNK;
use crate::extreme;
use crate::run::Run;

/// How a run is opened to answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScorerOptions {
    /// Where it computes; the CPU if not given, whatever the run was trained on.
    pub backend: Option<BackendKind>,
    /// Threads of the CPU; those of the run's configuration if not given.
    pub threads: Option<usize>,
    /// Leave the run's calibration out.
    pub uncalibrated: bool,
    /// Fold the layers that read fields into tables (docs/serving.md).
    pub fold: Option<FoldOptions>,
}

/// Answers of some rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Probability of each row.
    pub probabilities: Vec<f32>,
    /// Number of the scenario of each row, as in [`Scorer::scenarios`].
    pub scenarios: Vec<u32>,
    /// Values that training did not keep, by the columns of [`Scorer::columns`].
    pub unknown: Vec<u64>,
}

/// A run's best parameters, which answer from any number of threads.
#[derive(Debug)]
pub struct Scorer {
    run: Run,
    encoder: RequestEncoder,
    input: InputSpec,
    on: Answering,
    fingerprint: String,
    calibrated_by: Option<String>,
}

impl Scorer {
    /// Opens the run in a folder.
    ///
    /// # Errors
    /// It is no run, its parameters or calibration are damaged, the device cannot be opened, or memory is short.
    pub fn open(folder: &Path, options: &ScorerOptions) -> Result<Self> {
        let mut run = Run::open(folder)?;
        run.config.train.threads = options.threads.or(run.config.train.threads);
        let best = run.checkpoint("best")?;
        let calibration = if options.uncalibrated { None } else { Calibration::of(&run, &best)? };
        let calibrated_by = calibration.as_ref().map(Calibration::to_string);
        let fit = calibration.map(|found| found.fit);
        let on = Answering::open(options.backend.unwrap_or(BackendKind::Cpu), &run, &best, fit, CHUNK)?;
        let on = match options.fold {
            Some(fold) => on.fold(fold)?,
            None => on,
        };
        let encoder = RequestEncoder::new(Arc::new(run.schema.clone()));
        Ok(Self { input: run.input_spec(), encoder, on, fingerprint: best.sha256, calibrated_by, run })
    }

    /// The run.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The columns of a row: that of the scenario, then those that fields read.
    pub fn columns(&self) -> &[RequestColumn] {
        self.encoder.columns()
    }

    /// Names of the scenarios, in the order of their numbers.
    pub fn scenarios(&self) -> impl ExactSizeIterator<Item = &str> {
        self.encoder.schema().scenarios.iter().map(|scenario| scenario.name.as_str())
    }

    /// SHA-256 of the parameters, in hexadecimal.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Kind and data of the calibration; none of a model that is taken at its word.
    pub fn calibrated_by(&self) -> Option<&str> {
        self.calibrated_by.as_deref()
    }

    /// Outcome of folding; none where that was not asked for.
    pub fn folded(&self) -> Option<&FoldReport> {
        self.on.folded()
    }

    /// Name of the device.
    pub fn device(&self) -> String {
        self.on.name()
    }

    /// Probabilities of rows, in their order; `get` gives a value by the number of its column and the row.
    ///
    /// # Errors
    /// A value cannot be encoded, a probability is NaN, or the device failed.
    pub fn score<'a>(&self, rows: usize, get: impl Fn(usize, usize) -> Datum<'a>) -> Result<Scores> {
        let mut batch = Batch::new(&self.input);
        self.encoder.encode(&mut batch, rows, |_| true, get)?;
        let probabilities = self.on.predict(&batch)?;
        self.scores(probabilities, batch, &[])
    }

    /// Probabilities of the candidates of one request, in their order. Columns that `user` has a value of hold for all candidates, the
    /// scenario among them; the values of the others are each candidate's `item`, by the number of the column and of the candidate.
    ///
    /// # Errors
    /// As [`Scorer::score`], or `user` names no scenario; rows of errors are those of candidates.
    pub fn candidates<'a>(
        &self,
        count: usize,
        user: impl Fn(usize) -> Option<Datum<'a>>,
        item: impl Fn(usize, usize) -> Datum<'a>,
    ) -> Result<Scores> {
        let columns = self.columns().len();
        let of_user: Vec<Option<Datum>> = (0..columns).map(user).collect();
        if of_user[0].is_none() {
            let column = &self.columns()[0].name;
            let problem = format!("names no '{column}', the scenario of its candidates");
            return Err(Error::argument("the request", problem, "name the scenario beside the candidates"));
        }
        let (mut common, mut items) = (Batch::new(&self.input), Batch::new(&self.input));
        let value = |column: usize, _| of_user[column].unwrap_or(Datum::Missing);
        let encoded = self.encoder.encode(&mut common, 1, |column| of_user[column].is_some(), value);
        encoded.map_err(of_the_user)?;
        self.encoder.encode(&mut items, count, |column| of_user[column].is_none(), item)?;
        let request = Request::new(&self.input, &common, items, count)?;
        let probabilities = self.on.score(&request)?;
        let (batch, same) = request.into_parts();
        self.scores(probabilities, batch, &same)
    }

    /// Answers with what is to be known of their rows; the values of fields of which `same` is true count once.
    fn scores(&self, probabilities: Vec<f32>, batch: Batch, same: &[bool]) -> Result<Scores> {
        extreme::check(&probabilities, &batch, 0, self.encoder.schema(), "the request")?;
        let mut unknown = vec![0; self.columns().len()];
        for (field, (column, &place)) in batch.columns.iter().zip(self.encoder.places()).enumerate() {
            if let Column::Categorical(ids) | Column::Multi { ids, .. } = column {
                let all = ids.iter().filter(|&&id| id == 0).count() as u64;
                let once = same.get(field).is_some_and(|&same| same) && batch.rows() > 0;
                unknown[place] += if once { all / batch.rows() as u64 } else { all };
            }
        }
        Ok(Scores { probabilities, scenarios: batch.scenarios, unknown })
    }
}

/// An error of a value that candidates have in common, which is in no row.
fn of_the_user(e: DataError) -> Error {
    match e {
        DataError::Value { column, problem, fix, .. } => {
            Error::argument(format!("the user of the request, column '{}'", printable(&column)), problem, fix)
        }
        other => other.into(),
    }
}
