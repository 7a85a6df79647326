//! `optmsm evaluate` and `optmsm predict`: a run's best parameters on a file.

use std::io::Write;
use std::path::{Path, PathBuf};

use optmsm_core::backend::Backend;
use optmsm_core::batch::Batch;
use optmsm_data::{Dataset, Extra, Need, RecordBuffer, RowReader};
use optmsm_train::error::{Error, Result};
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
    if Path::new(out).extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet")) {
        return Err(Error::file(out, "predictions are written as CSV", "let the name end in .csv"));
    }
    let run = Run::open(&on.run)?;
    let device = super::open(on.backend, &run.config.train)?;
    let mut reader = RowReader::open(&on.data, &run.schema, Need::Unlabelled)?;
    if reader.header().iter().any(|name| name == b"prediction") {
        return Err(Error::file(&on.data, "has a column 'prediction' already", "rename or drop it"));
    }
    match device {
        Device::Cpu(be) => write(be, &run, &mut reader, out),
        Device::Cuda(be) => write(be, &run, &mut reader, out),
    }
}

fn write<B: Backend<Elem = f32>>(be: B, run: &Run, reader: &mut RowReader, out: &str) -> Result<()> {
    if out == "-" {
        return stream(be, run, reader, std::io::stdout().lock(), out);
    }
    super::synth::write_beside(&PathBuf::from(out), |file| stream(be, run, reader, file, out))
}

fn stream<B: Backend<Elem = f32>>(
    be: B,
    run: &Run,
    reader: &mut RowReader,
    to: impl Write,
    out: &str,
) -> Result<()> {
    let fail = |e: csv::Error| {
        Error::file(out, format!("cannot be written: {e}"), "check the folder and the space on its disk")
    };
    let predictor = super::predictor(be, run, CHUNK)?;
    let mut to = csv::WriterBuilder::new().delimiter(run.schema.delimiter as u8).from_writer(to);
    let mut header = reader.header().clone();
    header.push_field(b"prediction");
    to.write_byte_record(&header).map_err(fail)?;
    let (mut batch, mut extra, mut records) =
        (Batch::new(&run.schema.input_spec()), Extra::default(), RecordBuffer::default());
    let mut predictions = Vec::new();
    loop {
        batch.clear();
        extra.clear();
        if reader.read_records(&mut batch, &mut extra, &mut records, CHUNK)? == 0 {
            return to.flush().map_err(|e| fail(e.into()));
        }
        predictions.resize(batch.rows(), 0.0);
        predictor.predict_into(&mut predictions, &batch)?;
        for (record, p) in records.iter().zip(&predictions) {
            record.iter().try_for_each(|field| to.write_field(field)).map_err(fail)?;
            to.write_field(p.to_string()).map_err(fail)?;
            to.write_record(None::<&[u8]>).map_err(fail)?;
        }
    }
}
