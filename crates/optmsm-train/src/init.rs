//! Tables that start from rows of a file: `init_from` of a field.

use std::collections::HashMap;
use std::path::Path;

use optmsm_core::backend::Backend;
use optmsm_core::error::Error as CoreError;
use optmsm_core::learner::Learner;
use optmsm_core::model::Model;
use optmsm_core::rounding::TableDtype;
use optmsm_data::{FieldConfig, Reading, Vocabulary};
use safetensors::tensor::TensorInfo;

use crate::error::{Error, FileErrorKind, Result};
use crate::run::Run;
use crate::tensors::{TensorFile, table_type};

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
        let tensor = source.open(width)?;
        let mut ids = source.ids(tensor.rows)?;
        // Of values that a hash sends to one id, the first one stands for all.
        let mut taken = vec![false; vocabulary.size()];
        for row in &mut ids {
            *row = row.filter(|&id| !std::mem::replace(&mut taken[id], true));
        }
        let name = format!("embeddings.{table}.weight");
        let mut rest = &ids[..];
        source.pieces(&tensor, |data| {
            let (of_piece, later) = rest.split_at(data.len() / width);
            rest = later;
            let mut at = 0; // rows whose ids follow one another go together
            for run in of_piece.chunk_by(|a, b| matches!((a, b), (Some(a), Some(b)) if a + 1 == *b)) {
                if let Some(first) = run[0] {
                    learner.set_rows(&name, first, &data[at * width..(at + run.len()) * width])?;
                }
                at += run.len();
            }
            Ok(())
        })?;
        let matched = taken.iter().filter(|&&taken| taken).count();
        let (table, ids, unused) = (table.clone(), taken.len(), ids.len() - matched);
        done.push(Preloaded { table, ids, matched, unused });
    }
    Ok(done)
}

/// A tensor of an open file.
struct Tensor {
    file: TensorFile,
    info: TensorInfo,
    dtype: TableDtype,
    rows: usize,
}

/// One table's file.
struct Source<'a> {
    key: String,
    path: std::path::PathBuf,
    tensor: &'a str,
    values: Option<std::path::PathBuf>,
    vocabulary: &'a Vocabulary,
    reading: &'a Reading,
}

impl<'a> Source<'a> {
    fn new(run: &'a Run, config: &FieldConfig, from: &'a str, vocabulary: &'a Vocabulary) -> Result<Self> {
        let key = format!("data.fields.{}.init_from", config.name);
        let (path, tensor) = from.rsplit_once(':').ok_or_else(|| {
            CoreError::config(&key, "names no tensor", "write it as FILE.safetensors:TENSOR")
        })?;
        let values = config.init_values.as_ref().map(|values| run.config.path(values));
        let reading = &run.schema.reading;
        Ok(Self { key, path: run.config.path(path), tensor, values, vocabulary, reading })
    }

    fn fail(&self, path: &Path, problem: impl Into<String>, fix: impl Into<String>) -> Error {
        Error::file(FileErrorKind::Unfit, path.display(), problem, fix).at(format!("({})", self.key))
    }

    fn unreadable(&self, path: &Path, e: std::io::Error, fix: &str) -> Error {
        Error::io(path.display(), "read", e, fix).at(format!("({})", self.key))
    }

    /// The tensor, whose rows are `width` wide.
    fn open(&self, width: usize) -> Result<Tensor> {
        let fail = |problem: String, fix: &str| self.fail(&self.path, problem, fix);
        let file = TensorFile::open(&self.path)
            .map_err(|e| self.unreadable(&self.path, e, "check the path"))?
            .map_err(|e| fail(format!("is no safetensors file ({e})"), "write it with safetensors"))?;
        let Some(info) = file.info(self.tensor).cloned() else {
            let names = file.names().join(", ");
            return Err(fail(format!("has no tensor '{}'", self.tensor), &format!("name one of: {names}")));
        };
        let rows = match info.shape[..] {
            [rows, found] if found == width => rows,
            _ => {
                let problem =
                    format!("tensor '{}' has shape {:?}, not [rows, {width}]", self.tensor, info.shape);
                return Err(fail(problem, "set model.embedding_dim to its width, or give another tensor"));
            }
        };
        let Some(dtype) = table_type(info.dtype) else {
            let problem = format!("tensor '{}' is of type {:?}", self.tensor, info.dtype);
            return Err(fail(problem, "save it as F32, F16 or BF16"));
        };
        Ok(Tensor { file, info, dtype, rows })
    }

    /// Its elements, in pieces of whole rows.
    fn pieces(&self, tensor: &Tensor, mut each: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let (mut row, width) = (0, tensor.info.shape[1]);
        let failed = |e| self.unreadable(&self.path, e, "check the disk that it is on");
        tensor.file.pieces(&tensor.info, tensor.dtype, failed, |data| {
            if let Some(at) = data.iter().position(|v| !v.is_finite()) {
                let problem =
                    format!("tensor '{}' has {} in row {}", self.tensor, data[at], row + at / width);
                return Err(self.fail(&self.path, problem, "give finite numbers"));
            }
            row += data.len() / width;
            each(data)
        })
    }

    /// Id of each row.
    fn ids(&self, rows: usize) -> Result<Vec<Option<usize>>> {
        let Some(path) = &self.values else { return self.in_order(rows) };
        let fail = |problem: String, fix: &str| self.fail(path, problem, fix);
        let text = std::fs::read_to_string(path)
            .map_err(|e| self.unreadable(path, e, "give a UTF-8 text file with one value a line"))?;
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
        let id = |value: &&str| {
            Some(self.vocabulary.id(self.reading.canonical(value)) as usize).filter(|&id| id > 0)
        };
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
