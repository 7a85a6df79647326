//! Tables that start from rows of a file: `init_from` of a field.

use std::collections::HashMap;
use std::path::Path;

use half::{bf16, f16};
use optmsm_core::backend::Backend;
use optmsm_core::learner::Learner;
use optmsm_core::model::Model;
use optmsm_data::{FieldConfig, Vocabulary};
use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};
use crate::run::Run;

/// How much of a table came from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preloaded {
    /// Name of the table.
    pub table: String,
    /// Its ids.
    pub ids: usize,
    /// Those of them that took a row of the file; the others keep their random start.
    pub matched: usize,
    /// Rows of the file that no id took: values that training did not keep.
    pub unused: usize,
}

impl std::fmt::Display for Preloaded {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { table, ids, matched, unused } = self;
        write!(
            f,
            "table {table}: {matched} of {ids} ids start from its file, {unused} of the file's rows are unused"
        )
    }
}

/// Sets the rows of every table whose first field says where they come from.
///
/// # Errors
/// A file is missing, holds no such tensor, or its rows do not fit the table; the message says what to do.
pub fn preload<B: Backend<Elem = f32>, M: Model<B>>(
    learner: &mut Learner<B, M>,
    run: &Run,
) -> Result<Vec<Preloaded>> {
    let mut done: Vec<Preloaded> = Vec::new();
    for (config, field) in run.config.data.fields.iter().zip(&run.schema.fields) {
        let table = config.table.as_ref().unwrap_or(&config.name);
        let (Some(from), Some(vocabulary)) = (&config.init_from, field.encoding.vocabulary()) else {
            continue;
        };
        if done.iter().any(|d| d.table == *table) {
            continue;
        }
        let source = Source::new(run, config, from, vocabulary)?;
        let width = run.config.model.embedding_dim;
        let tensor = source.read(width)?;
        let ids = source.ids(tensor.len() / width)?;
        let mut rows: Vec<Option<usize>> = vec![None; vocabulary.size()];
        for (row, &id) in ids.iter().enumerate() {
            // Of values that a hash sends to one id, the first one stands for all.
            if let Some(id) = id {
                rows[id].get_or_insert(row);
            }
        }
        let name = format!("embeddings.{table}.weight");
        let mut piece = Vec::new();
        let mut first = 0;
        for id in 0..=rows.len() {
            match rows.get(id).copied().flatten() {
                Some(row) => piece.extend_from_slice(&tensor[row * width..(row + 1) * width]),
                None => {
                    if !piece.is_empty() {
                        learner.set_rows(&name, first, &piece)?;
                    }
                    piece.clear();
                    first = id + 1;
                }
            }
        }
        let matched = rows.iter().flatten().count();
        let (table, ids, unused) = (table.clone(), rows.len(), ids.len() - matched);
        done.push(Preloaded { table, ids, matched, unused });
    }
    Ok(done)
}

/// One table's file.
struct Source<'a> {
    key: String,
    path: std::path::PathBuf,
    tensor: &'a str,
    values: Option<std::path::PathBuf>,
    vocabulary: &'a Vocabulary,
}

impl<'a> Source<'a> {
    fn new(run: &Run, config: &FieldConfig, from: &'a str, vocabulary: &'a Vocabulary) -> Result<Self> {
        let key = format!("data.fields.{}.init_from", config.name);
        let (path, tensor) = from
            .rsplit_once(':')
            .ok_or_else(|| Error::file(&key, "names no tensor", "write it as FILE.safetensors:TENSOR"))?;
        let values = config.init_values.as_ref().map(|values| run.config.path(values));
        Ok(Self { key, path: run.config.path(path), tensor, values, vocabulary })
    }

    fn fail(&self, path: &Path, problem: impl Into<String>, fix: impl Into<String>) -> Error {
        Error::file(format!("{} ({})", path.display(), self.key), problem, fix)
    }

    /// The tensor's rows, `width` wide.
    fn read(&self, width: usize) -> Result<Vec<f32>> {
        let fail = |problem: String, fix: &str| self.fail(&self.path, problem, fix);
        let file =
            std::fs::read(&self.path).map_err(|e| fail(format!("cannot be read: {e}"), "check the path"))?;
        let tensors = SafeTensors::deserialize(&file)
            .map_err(|e| fail(format!("is no safetensors file ({e})"), "write it with safetensors"))?;
        let view = tensors.tensor(self.tensor).map_err(|_| {
            let mut names = tensors.names();
            names.sort_unstable();
            fail(format!("has no tensor '{}'", self.tensor), &format!("name one of: {}", names.join(", ")))
        })?;
        if !matches!(view.shape(), [_, d] if *d == width) {
            let problem =
                format!("tensor '{}' has shape {:?}, not [rows, {width}]", self.tensor, view.shape());
            return Err(fail(problem, "set model.embedding_dim to its width, or give another tensor"));
        }
        let bytes = view.data();
        let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        let rows: Vec<f32> = match view.dtype() {
            Dtype::F32 => {
                bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
            Dtype::F16 => pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::BF16 => pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
            other => {
                let problem = format!("tensor '{}' is of type {other:?}", self.tensor);
                return Err(fail(problem, "save it as F32, F16 or BF16"));
            }
        };
        match rows.iter().position(|v| !v.is_finite()) {
            Some(at) => {
                let problem = format!("tensor '{}' has {} in row {}", self.tensor, rows[at], at / width);
                Err(fail(problem, "give finite numbers"))
            }
            None => Ok(rows),
        }
    }

    /// Id of each row.
    fn ids(&self, rows: usize) -> Result<Vec<Option<usize>>> {
        let Some(path) = &self.values else { return self.in_order(rows) };
        let fail = |problem: String, fix: &str| self.fail(path, problem, fix);
        let text = std::fs::read_to_string(path).map_err(|e| {
            fail(format!("cannot be read: {e}"), "give a UTF-8 text file with one value a line")
        })?;
        // Some editors begin a file with a byte order mark, which is no part of the first value.
        let values: Vec<&str> = text.strip_prefix('\u{feff}').unwrap_or(&text).lines().collect();
        if values.len() != rows {
            let problem = format!("has {} lines for {rows} rows of {}", values.len(), self.path.display());
            return Err(fail(problem, "give the value of each row, one a line"));
        }
        let mut lines = HashMap::new();
        for (line, value) in values.iter().enumerate() {
            if let Some(first) = lines.insert(*value, line) {
                let problem = format!("has {value:?} on lines {} and {}", first + 1, line + 1);
                return Err(fail(problem, "give each value one row"));
            }
        }
        let id = |value: &&str| Some(self.vocabulary.id(value) as usize).filter(|&id| id > 0);
        Ok(values.iter().map(id).collect())
    }

    /// Rows in the order of the ids, where these do not come from the training file: all of them, or those of the integers of `ids`.
    fn in_order(&self, rows: usize) -> Result<Vec<Option<usize>>> {
        let size = self.vocabulary.size();
        if rows == size && self.vocabulary.values().len() > 0 {
            let problem = format!(
                "tensor '{}' has as many rows as the list has ids, but not their values, and another training file has another list",
                self.tensor
            );
            return Err(self.fail(&self.path, problem, "name the values of its rows in init_values"));
        }
        if rows == size {
            return Ok((0..rows).map(Some).collect());
        }
        if self.vocabulary.integers() == Some(rows) {
            return Ok((1..=rows).map(Some).collect());
        }
        let problem = format!("tensor '{}' has {rows} rows for {size} ids", self.tensor);
        Err(self.fail(&self.path, problem, "name the values of its rows in init_values"))
    }
}
