//! `optmsm evaluate` and `optmsm predict`: a run's best parameters on a file.

use std::path::Path;

use crate::calibration::Calibration;
use crate::checkpoint::Checkpoint;
use crate::coverage::Counter;
use crate::data_files;
use crate::error::Result;
use crate::evaluate::{self, CHUNK};
use crate::extreme;
use crate::reading::{reading, scoring};
use crate::run::Run;
use crate::sampling::Weighing;
use crate::say;
use optmsm_core::backend::Backend;
use optmsm_core::batch::Batch;
use optmsm_core::model::Measured;
use optmsm_data::{Need, OutputFormat, Predictions, RowReader, Schema, Source};

use super::{ApplyTo, Output};
use crate::device::{self, Device};

pub(super) fn evaluate(on: &ApplyTo, unsampled: bool, output: Output) -> Result<()> {
    let mut run = Run::open(&on.run)?;
    let set = scoring(&mut run.config, &on.set)?;
    let schema = schema(&run, &set)?;
    match Device::open(on.backend, &run.config.train)? {
        Device::Cpu(be) => score(be, &run, &schema, on, unsampled, output),
        Device::Cuda(be) => score(be, &run, &schema, on, unsampled, output),
    }
}

/// The run's best parameters, and its calibration unless that is to be left out.
fn best(run: &Run, on: &ApplyTo) -> Result<(Checkpoint, Option<Calibration>)> {
    let best = run.checkpoint("best")?;
    let calibration = if on.uncalibrated { None } else { Calibration::of(run, &best)? };
    Ok((best, calibration))
}

/// The run's schema, for files that are read as `set` says.
pub(super) fn schema(run: &Run, set: &[String]) -> Result<Schema> {
    let reading = reading(&run.config, &run.schema.reading, set)?;
    Ok(Schema { reading, ..run.schema.clone() })
}

fn score<B: Backend<Elem = f32>>(
    be: B,
    run: &Run,
    schema: &Schema,
    on: &ApplyTo,
    unsampled: bool,
    output: Output,
) -> Result<()> {
    let path = &*on.data;
    let source = Source::from(path);
    let whole = unsampled || data_files::is_unsampled(&run.config, &source)?;
    let weighing = Weighing::of(&run.config.data, schema, whole)?;
    let (best, calibration) = best(run, on)?;
    let by = calibration.as_ref().map(Calibration::to_string);
    let predictor = device::predictor(be, run, &best, calibration.map(|found| found.fit), CHUNK)?;
    let mut reader = RowReader::open(path, schema, Need::Labelled)?;
    let (mut predictions, mut counter) = (Vec::new(), Counter::new(schema));
    let mut measured = Measured::of_rows(predictor.spec());
    let scored = evaluate::scored(&mut reader, schema, |batch| {
        counter.add(batch);
        let first = predictions.len();
        predictions.extend(predictor.predict_measuring(batch, &mut measured)?);
        extreme::check(&predictions[first..], batch, first, schema, path)
    })?;
    warn(&counter, run, schema, path);
    let mut evaluation = evaluate::evaluate(&scored, schema, &weighing, &predictions);
    evaluation.calibrated_by = by;
    let evaluation = evaluation.with_diagnostics(measured.means(predictor.spec()));
    match output.json {
        true => super::print_json(&evaluation),
        false => super::print(format!("{}\n", evaluation.table()).as_bytes()),
    }
}

pub(super) fn predict(on: &ApplyTo, out: &str) -> Result<()> {
    let format = OutputFormat::of(out)?;
    let run = Run::open(&on.run)?;
    let schema = schema(&run, &on.set)?;
    let device = Device::open(on.backend, &run.config.train)?;
    let rows = Predictions::open(&on.data, &schema, format)?;
    match device {
        Device::Cpu(be) => write(be, &run, &schema, rows, on, out),
        Device::Cuda(be) => write(be, &run, &schema, rows, on, out),
    }
}

/// Warns of values that training does not know.
pub(super) fn warn(counter: &Counter, run: &Run, schema: &Schema, path: &str) {
    let trained = run.record.as_ref().map(|record| record.unknown.clone()).unwrap_or_default();
    let warnings = counter.warnings(schema, &trained, &path.into());
    warnings.iter().for_each(|text| say::warning(text));
}

fn write<B: Backend<Elem = f32>>(
    be: B,
    run: &Run,
    schema: &Schema,
    rows: Predictions,
    on: &ApplyTo,
    out: &str,
) -> Result<()> {
    let path = &*on.data;
    let (best, calibration) = best(run, on)?;
    let predictor = device::predictor(be, run, &best, calibration.map(|found| found.fit), CHUNK)?;
    let (mut counter, mut first) = (Counter::new(schema), 0);
    let predict = |predictions: &mut [f32], batch: &Batch| -> Result<()> {
        counter.add(batch);
        predictor.predict_into(predictions, batch)?;
        extreme::check(predictions, batch, first, schema, path)?;
        first += predictions.len();
        Ok(())
    };
    match super::is_stdout(Path::new(out)) {
        true => super::stdout::fill(|out| rows.write("standard output", out, predict))?,
        false => super::synth::write_beside(Path::new(out), |file| rows.write(out, file, predict))?,
    }
    warn(&counter, run, schema, path);
    Ok(())
}
