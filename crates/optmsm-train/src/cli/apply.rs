//! `optmsm evaluate` and `optmsm predict`: a run's best parameters on a file.

use std::path::Path;

use optmsm_core::backend::Backend;
use optmsm_core::batch::Batch;
use optmsm_data::{Dataset, Need, OutputFormat, Predictions, RowReader, Schema};
use optmsm_train::error::Result;
use optmsm_train::evaluate;
use optmsm_train::reading::reading;
use optmsm_train::run::Run;

use super::{ApplyTo, Device, Output};

/// Rows that a file is read and predicted by.
const CHUNK: usize = 4096;

pub(super) fn evaluate(on: &ApplyTo, output: Output) -> Result<()> {
    let run = Run::open(&on.run)?;
    let schema = schema(&run, &on.set)?;
    match super::open(on.backend, &run.config.train)? {
        Device::Cpu(be) => score(be, &run, &schema, &on.data, output),
        Device::Cuda(be) => score(be, &run, &schema, &on.data, output),
    }
}

/// The run's schema, for files that are read as `set` says.
fn schema(run: &Run, set: &[String]) -> Result<Schema> {
    let reading = reading(&run.config, &run.schema.reading, set)?;
    Ok(Schema { reading, ..run.schema.clone() })
}

fn score<B: Backend<Elem = f32>>(
    be: B,
    run: &Run,
    schema: &Schema,
    path: &str,
    output: Output,
) -> Result<()> {
    let predictor = super::predictor(be, run, CHUNK)?;
    let mut reader = RowReader::open(path, schema, Need::Labelled)?;
    // What metrics need of a row is kept, its fields are not.
    let (mut scored, mut predictions) = (Dataset::default(), Vec::new());
    let mut batch = Batch::new(&schema.input_spec());
    while reader.read(&mut batch, &mut scored.extra, CHUNK)? > 0 {
        predictions.extend(predictor.predict(&batch)?);
        scored.batch.labels.append(&mut batch.labels);
        scored.batch.scenarios.append(&mut batch.scenarios);
        batch.clear();
    }
    let evaluation = evaluate::evaluate(&scored, schema, &predictions);
    match output.json {
        true => super::print_json(&evaluation),
        false => super::print(format!("{}\n", evaluation.table()).as_bytes()),
    }
}

pub(super) fn predict(on: &ApplyTo, out: &str) -> Result<()> {
    let format = OutputFormat::of(out)?;
    let run = Run::open(&on.run)?;
    let schema = schema(&run, &on.set)?;
    let device = super::open(on.backend, &run.config.train)?;
    let rows = Predictions::open(&on.data, &schema, format)?;
    match device {
        Device::Cpu(be) => write(be, &run, rows, out),
        Device::Cuda(be) => write(be, &run, rows, out),
    }
}

fn write<B: Backend<Elem = f32>>(be: B, run: &Run, rows: Predictions, out: &str) -> Result<()> {
    let predictor = super::predictor(be, run, CHUNK)?;
    let predict = |predictions: &mut [f32], batch: &Batch| -> Result<()> {
        Ok(predictor.predict_into(predictions, batch)?)
    };
    if super::is_stdout(Path::new(out)) {
        return super::stdout::fill(|out| rows.write("standard output", out, predict));
    }
    super::synth::write_beside(Path::new(out), |file| rows.write(out, file, predict))
}
