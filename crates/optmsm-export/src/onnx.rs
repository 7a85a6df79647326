//! ONNX files: opset 17 with `ai.onnx.ml` 3.
//!
//! Preprocessing is part of the graph, so an input is what a file of rows has. A scenario that training never saw is that of the schema's
//! fallback; without one the run of the graph fails, as it does for an id that a table does not have.

mod answer;
mod builder;
mod fields;
mod forward;
mod proto;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use optmsm_data::{DataError, NewFile};
use prost::Message;

use crate::error::{Error, Result};
use crate::fields::OUTPUTS;
use crate::{Takes, Trained, tables};
use builder::{Builder, entry};
use forward::Forward;
use proto::{Model, Opset};

/// Bytes of a model beyond which its tables go to a file of their own.
const LARGE: u64 = 1_500_000_000;
/// Bytes of a file that every reader of ONNX takes.
const MOST: u64 = i32::MAX as u64;
/// Tables in a file of their own begin at multiples of this, so that they can be mapped.
const ALIGN: u64 = 4096;

/// Files beside the model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Values of inputs.
    pub takes: Takes,
    /// Whether tables go to a file of their own, however small they are.
    pub external: bool,
}

/// Writes a model, whole or not at all. Returns the files: the model's, and that of its tables where they are apart, which is named after it
/// and has to stay beside it.
///
/// # Errors
/// When the model is too large for a file, a tensor cannot be read, or the disk refuses.
pub fn write(trained: &Trained, options: Options, path: &Path) -> Result<Vec<PathBuf>> {
    let mut model = model(trained, options.takes);
    let bytes = model.encoded_len() as u64;
    if bytes > MOST {
        return Err(Error::TooLarge {
            what: "the model without its tables".into(),
            bytes,
            format: "an ONNX file",
            most: MOST,
            fix: "export it with --ids-in, which leaves the values of fields out",
        });
    }
    let size: u64 = trained.tables.iter().map(tables::bytes).sum();
    if options.external || bytes + size > LARGE {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".data");
        let beside = PathBuf::from(beside);
        let data = NewFile::create(&beside)?;
        external(trained, &mut model, &beside, data.file())?;
        let file = NewFile::create(path)?;
        put(&model, path, file.file())?;
        // The model last: where it is, all is.
        data.commit()?;
        file.commit()?;
        return Ok(vec![path.to_path_buf(), beside]);
    }
    for (table, tensor) in tensors(trained, &mut model) {
        let mut bytes = Vec::with_capacity(tables::bytes(table) as usize);
        tables::write(trained, table, &mut bytes, &path.display().to_string())?;
        tensor.raw_data = Some(bytes);
    }
    let file = NewFile::create(path)?;
    put(&model, path, file.file())?;
    file.commit()?;
    Ok(vec![path.to_path_buf()])
}

/// The model without the values of tables.
fn model(trained: &Trained, takes: Takes) -> Model {
    let mut b = Builder::default();
    for table in trained.tables {
        b.table(&table.name, table.rows, table.width);
    }
    let (scenario, fields) = fields::encode(&mut b, trained, takes);
    let logits = Forward::new(&mut b, trained, &fields, &scenario).write();
    forward::output(&mut b, &logits);
    answer::probability(&mut b, trained.answer, OUTPUTS[1], &scenario);
    b.output(OUTPUTS[0], "probability of label 1, after sampling and calibration");
    b.output(OUTPUTS[1], "logit of the model, before both");
    let doc = "Probabilities of rows, by OptMSM";
    let domains = [("", 17), ("ai.onnx.ml", 3)];
    Model {
        ir_version: 8,
        producer_name: "optmsm".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: doc.into(),
        graph: Some(b.finish("optmsm", doc)),
        opset_import: domains.map(|(domain, version)| Opset { domain: domain.into(), version }).into(),
        metadata_props: trained.facts.iter().map(|(key, value)| entry(key, value)).collect(),
    }
}

/// The tables of a model with their tensors, which come first of all.
fn tensors<'a>(
    trained: &'a Trained,
    model: &'a mut Model,
) -> impl Iterator<Item = (&'a optmsm_core::params::TableSpec, &'a mut proto::Tensor)> {
    let tensors = model.graph.iter_mut().flat_map(|graph| &mut graph.initializer);
    trained.tables.iter().zip(tensors)
}

/// Writes tables to a file of their own, and says in the model where they are.
fn external(trained: &Trained, model: &mut Model, path: &Path, file: &File) -> Result<()> {
    let (mut out, mut at, shown) = (BufWriter::new(file), 0, path.display().to_string());
    let failed = |e| DataError::io(&shown, "write", e);
    let location = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for (table, tensor) in tensors(trained, model) {
        let (start, length) = (u64::next_multiple_of(at, ALIGN), tables::bytes(table));
        out.write_all(&vec![0; (start - at) as usize]).map_err(failed)?;
        tables::write(trained, table, &mut out, &shown)?;
        at = start + length;
        let [offset, length] =
            [("offset", start), ("length", length)].map(|(key, n)| entry(key, n.to_string()));
        tensor.external_data = vec![entry("location", &*location), offset, length];
        tensor.data_location = Some(1);
    }
    Ok(out.flush().map_err(failed)?)
}

fn put(model: &Model, path: &Path, mut file: &File) -> Result<()> {
    let write = file.write_all(&model.encode_to_vec());
    Ok(write.map_err(|e| DataError::io(&path.display().to_string(), "write", e))?)
}
