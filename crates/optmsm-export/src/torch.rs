//! PyTorch: a folder with a module that needs nothing but PyTorch, and its values.

mod fields;
mod forward;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use optmsm_data::{DataError, NewFile};
use serde_json::{Map, Value, json};

use crate::answer::{Curves, Padded};
use crate::error::Result;
use crate::tables::little_endian;
use crate::{TOGETHER, Trained, tables};

/// The module without what is this model's own.
const MODULE: &str = include_str!("torch/model.py");

/// A tensor of the file.
struct Tensor<'a> {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    values: Values<'a>,
}

enum Values<'a> {
    Table(&'a optmsm_core::params::TableSpec),
    Floats(&'a [f32]),
    Bytes(Vec<u8>),
}

impl Tensor<'_> {
    fn bytes(&self) -> usize {
        let size = if self.dtype == "F32" { 4 } else { 8 };
        size * self.shape.iter().product::<usize>()
    }
}

/// Writes a folder with `model.safetensors`, `fields.json` and `model.py`; returns these files. The folder may be there, and files of these
/// names in it are replaced once all three are written.
///
/// # Errors
/// When a tensor cannot be read, or the disk refuses; the files that were there stay.
pub fn write(trained: &Trained, folder: &Path) -> Result<Vec<PathBuf>> {
    let new = !folder.exists();
    let shown = |path: &Path| path.display().to_string();
    fs::create_dir_all(folder).map_err(|e| DataError::io(&shown(folder), "write", e))?;
    let paths = ["model.safetensors", "fields.json", "model.py"].map(|name| folder.join(name));
    let written = (|| -> Result<()> {
        let [values, encoding, module] = &paths;
        let file = NewFile::create(values)?;
        safetensors(trained, file.file(), &shown(values))?;
        let text = format!("{:#}\n", fields::json(trained.schema, &trained.facts));
        let mut whole = vec![file];
        for (path, text) in [(encoding, text), (module, self::module(trained))] {
            let file = NewFile::create(path)?;
            file.file().write_all(text.as_bytes()).map_err(|e| DataError::io(&shown(path), "write", e))?;
            whole.push(file);
        }
        // The module last: where it is, all is.
        Ok(whole.into_iter().try_for_each(NewFile::commit)?)
    })();
    written.inspect_err(|_| {
        if new {
            fs::remove_dir(folder).ok();
        }
    })?;
    Ok(paths.into())
}

/// The text of `model.py`.
fn module(trained: &Trained) -> String {
    MODULE
        .replace("        # ANSWER\n", forward::answer(&trained.answer.curves))
        .replace("        # FORWARD\n", &forward::logit(trained))
        .replace(
            "\nTYPES = ",
            &format!("\n# More scenarios gather their weights by row.\nTOGETHER = {TOGETHER}\nTYPES = "),
        )
}

/// A text as a literal of Python, for which that of JSON does.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn safetensors(trained: &Trained, file: &File, path: &str) -> Result<()> {
    let tensors = tensors(trained);
    let (mut header, mut at) = (Map::new(), 0);
    let facts: Map<String, Value> =
        trained.facts.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    header.insert("__metadata__".into(), Value::Object(facts));
    for tensor in &tensors {
        let end = at + tensor.bytes();
        let entry = json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, end] });
        header.insert(tensor.name.clone(), entry);
        at = end;
    }
    let mut header = Value::Object(header).to_string();
    // Data begins at a multiple of eight bytes.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let failed = |e| DataError::io(path, "write", e);
    let mut out = BufWriter::new(file);
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
    out.write_all(header.as_bytes()).map_err(failed)?;
    for tensor in &tensors {
        match &tensor.values {
            Values::Table(table) => tables::write(trained, table, &mut out, path)?,
            Values::Floats(values) => out.write_all(&little_endian(values)).map_err(failed)?,
            Values::Bytes(bytes) => out.write_all(bytes).map_err(failed)?,
        }
    }
    Ok(out.flush().map_err(failed)?)
}

fn tensors<'a>(trained: &'a Trained) -> Vec<Tensor<'a>> {
    let doubles = |name: &str, shape: Vec<usize>, values: &[f64]| Tensor {
        name: format!("answer.{name}"),
        dtype: "F64",
        shape,
        values: Values::Bytes(values.iter().flat_map(|v| v.to_le_bytes()).collect()),
    };
    let answer = trained.answer;
    let mut all = vec![doubles("shifts", vec![answer.shifts.len()], &answer.shifts)];
    match &answer.curves {
        Curves::Plain => {}
        Curves::Lines(lines) => all.push(doubles("lines", vec![lines.len(), 2], lines.as_flattened())),
        Curves::Points(points) => {
            let Padded { rows, width, logits, probabilities, last } = Padded::of(points);
            all.push(doubles("logits", vec![rows, width], &logits));
            all.push(doubles("probabilities", vec![rows, width], &probabilities));
            let values = Values::Bytes(last.iter().flat_map(|v| v.to_le_bytes()).collect());
            all.push(Tensor { name: "answer.last".into(), dtype: "I64", shape: vec![rows], values });
        }
    }
    let constants = trained.graph.constants().iter().enumerate();
    all.extend(constants.map(|(id, constant)| Tensor {
        name: forward::constant(id),
        dtype: "F32",
        shape: constant.shape.clone(),
        values: Values::Floats(&constant.data),
    }));
    all.extend(trained.tables.iter().map(|table| Tensor {
        name: table.name.clone(),
        dtype: "F32",
        shape: vec![table.rows, table.width],
        values: Values::Table(table),
    }));
    all
}
