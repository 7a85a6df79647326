//! A folder of raw files, and what a recipe makes of it.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use flate2::Compression;
use flate2::write::GzEncoder;
use optmsm_data::Result;
use optmsm_recipes::{Job, Made, RECIPES};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

pub struct Place {
    folder: TempDir,
    recipe: &'static str,
}

impl Place {
    pub fn new(recipe: &'static str) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), recipe };
        fs::create_dir(place.path("raw")).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn out(&self) -> PathBuf {
        self.path("out")
    }

    /// Writes a raw file.
    pub fn raw(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        let path = self.path("raw").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path("raw").join(name)).unwrap();
    }

    fn job<'a>(&self, raw: &'a Path, out: &'a Path, allow_partial: bool) -> Result<Made> {
        let recipe = RECIPES.iter().find(|r| r.name == self.recipe).unwrap();
        recipe.run(Job { raw, out, allow_partial }, &mut |_| {})
    }

    /// Makes the data from few rows.
    pub fn make(&self) -> Made {
        self.job(&self.path("raw"), &self.out(), true).unwrap()
    }

    /// The message of a failure, without the folder; nothing was left behind.
    pub fn refused(&self, allow_partial: bool) -> String {
        let error = self.job(&self.path("raw"), &self.out(), allow_partial).unwrap_err();
        assert!(!self.out().exists(), "something was left behind");
        error.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }

    /// Changes a raw file, expects this failure, and changes it back.
    pub fn refused_with(&self, name: &str, bytes: impl AsRef<[u8]>, message: &str) {
        let path = self.path("raw").join(name);
        let before = fs::read(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        assert_eq!(self.refused(true), message);
        fs::write(path, before).unwrap();
    }

    /// Rows of a part: values with commas between, nulls empty, lists as `[a|b]`.
    pub fn rows(&self, part: &str) -> Vec<String> {
        let file = File::open(self.out().join(part).with_extension("parquet")).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        let mut rows = Vec::new();
        for batch in reader.map(|batch| batch.unwrap()) {
            for row in 0..batch.num_rows() {
                let values: Vec<_> = batch.columns().iter().map(|column| show(column, row)).collect();
                rows.push(values.join(","));
            }
        }
        rows
    }

    pub fn columns(&self) -> Vec<String> {
        let file = File::open(self.out().join("train.parquet")).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        reader.schema().fields().iter().map(|field| field.name().clone()).collect()
    }
}

fn show(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return String::new();
    }
    if let Some(values) = column.as_dictionary_opt::<Int32Type>() {
        let texts = values.downcast_dict::<arrow_array::StringArray>().unwrap();
        return texts.values().value(texts.keys().value(row) as usize).to_owned();
    }
    if let Some(values) = column.as_list_opt::<i32>() {
        let list = values.value(row);
        let items: Vec<_> = (0..list.len()).map(|i| show(&list, i)).collect();
        return format!("[{}]", items.join("|"));
    }
    if let Some(values) = column.as_string_opt::<i32>() {
        return values.value(row).to_owned();
    }
    if let Some(values) = column.as_primitive_opt::<Int8Type>() {
        return values.value(row).to_string();
    }
    if let Some(values) = column.as_primitive_opt::<Int32Type>() {
        return values.value(row).to_string();
    }
    column.as_primitive::<Int64Type>().value(row).to_string()
}

/// Packed with gzip.
pub fn gz(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes.as_ref()).unwrap();
    packed.finish().unwrap()
}
