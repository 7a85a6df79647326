//! Helpers that the tests of this crate share.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod columnar;

use std::path::PathBuf;

use optmsm_core::batch::{Batch, Column};
use optmsm_data::{DataConfig, Extra, FieldConfig, Kind, Need, Result, RowReader, Schema};
use tempfile::TempDir;

/// A folder with files in it, gone when dropped.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A message with the folder taken out of it.
    pub fn plain(&self, error: impl std::fmt::Display) -> String {
        error.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

pub fn categorical(name: &str) -> FieldConfig {
    FieldConfig::new(name)
}

pub fn numeric(name: &str) -> FieldConfig {
    FieldConfig { kind: Kind::Numeric, ..FieldConfig::new(name) }
}

pub fn multi(name: &str) -> FieldConfig {
    FieldConfig { kind: Kind::Multi, ..FieldConfig::new(name) }
}

pub fn config(fields: Vec<FieldConfig>) -> DataConfig {
    DataConfig { fields, ..DataConfig::default() }
}

/// Fits a schema to a file of this text.
pub fn fit(config: &DataConfig, text: &str) -> Schema {
    Schema::fit(config, Files::new().write("t.csv", text)).unwrap()
}

/// Reads all rows of a text, in pieces of three rows.
pub fn read(schema: &Schema, text: &str, need: Need) -> Result<(Batch, Extra)> {
    let mut batch = Batch::new(&schema.input_spec());
    let mut extra = Extra::default();
    let mut reader = RowReader::from_reader("t.csv", std::io::Cursor::new(text.to_owned()), schema, need)?;
    while reader.read(&mut batch, &mut extra, 3)? == 3 {}
    batch.validate(&schema.input_spec()).unwrap();
    Ok((batch, extra))
}

pub fn ids(batch: &Batch, field: usize) -> &[u32] {
    match &batch.columns[field] {
        Column::Categorical(ids) => ids,
        other => panic!("not categorical: {other:?}"),
    }
}

pub fn numbers(batch: &Batch, field: usize) -> &[f32] {
    match &batch.columns[field] {
        Column::Numeric(values) => values,
        other => panic!("not numeric: {other:?}"),
    }
}

/// Offsets, ids and weights.
pub fn lists(batch: &Batch, field: usize) -> (&[u32], &[u32], &[f32]) {
    match &batch.columns[field] {
        Column::Multi { offsets, ids, weights } => (offsets, ids, weights),
        other => panic!("not multi: {other:?}"),
    }
}
