//! `optmsm evaluate` and `optmsm predict`: a run's best parameters on a file.

use std::path::PathBuf;

use optmsm_core::backend::Backend;
use optmsm_core::batch::Batch;
use optmsm_data::{Dataset, OutputFormat, Predictions};
use optmsm_train::error::Result;
use optmsm_train::evaluate;
use optmsm_train::run::Run;

use super::{ApplyTo, Device, Output};

/// Rows that a file is read and predicted by.
const CHUNK: usize = 4096;

pub(super) fn evaluate(on: &ApplyTo, output: Output) -> Result<()> {
    let run = Run::open(&on.run)?;
    match super::open(on.backend, &run.config.train)? {
        Device::Cpu(be) => score(be, &run, &on.data, output),
        Device::Cuda(be) => score(be, &run, &on.data, output),
    }
}

fn score<B: Backend<Elem = f32>>(be: B, run: &Run, path: &str, output: Output) -> Result<()> {
    let predictor = super::predictor(be, run, CHUNK)?;
    let data = Dataset::load(path, &run.schema)?;
    let predictions = predictor.predict(&data.batch)?;
    let evaluation = evaluate::evaluate(&data, &run.schema, &predictions);
    match output.json {
        true => super::print_json(&evaluation),
        false => super::print(format!("{}\n", evaluation.table()).as_bytes()),
    }
}

pub(super) fn predict(on: &ApplyTo, out: &str) -> Result<()> {
    let format = OutputFormat::of(out)?;
    let run = Run::open(&on.run)?;
    let device = super::open(on.backend, &run.config.train)?;
    let rows = Predictions::open(&on.data, &run.schema, format)?;
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
    if out == "-" {
        return rows.write("standard output", std::io::stdout(), predict);
    }
    super::synth::write_beside(&PathBuf::from(out), |file| rows.write(out, file, predict))
}
