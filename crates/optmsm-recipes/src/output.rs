//! The files that a recipe writes: without names until all is well.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use optmsm_data::{ColumnType, DataError, FileErrorKind, NewFile, Result, Split, TableWriter, write_atomic};
use serde::Serialize;

use crate::error;

const PARTS: [Split; 3] = [Split::Train, Split::Valid, Split::Test];

/// Rows of a part.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PartCount {
    /// `train`, `valid` or `test`.
    pub part: &'static str,
    /// Rows.
    pub rows: u64,
    /// Rows with label 1.
    pub positives: u64,
    /// Rows by scenario.
    pub scenarios: BTreeMap<String, u64>,
}

/// Training, validation and test rows.
pub(crate) struct Output {
    parts: Vec<PartFile>,
    columns: usize,
    /// Made by us: removed again if nothing comes of it.
    folder: Option<PathBuf>,
}

struct PartFile {
    path: PathBuf,
    /// None once finished.
    table: Option<Table>,
    count: PartCount,
}

type Table = TableWriter<BufWriter<NewFile>>;

/// Somebody's file is not written over.
pub(crate) fn must_not_exist(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        let fix = "write to another folder, or remove it";
        let path = path.display().to_string();
        return Err(DataError::file(FileErrorKind::Exists, path, "is there already", fix));
    }
    Ok(())
}

fn write_error(path: &Path, source: io::Error) -> DataError {
    DataError::io(&path.display().to_string(), "write", source)
}

impl Output {
    /// Files of these columns, after `label` and `scenario`.
    pub(crate) fn create(folder: &Path, columns: &[(&str, ColumnType)]) -> Result<Self> {
        let paths = PARTS.map(|part| folder.join(part.name()).with_extension("parquet"));
        for path in &paths {
            must_not_exist(path)?;
        }
        let made = !folder.exists();
        fs::create_dir_all(folder).map_err(|e| write_error(folder, e))?;
        let head = [("label", ColumnType::Int8), ("scenario", ColumnType::Text)];
        let all: Vec<_> = head.into_iter().chain(columns.iter().copied()).collect();
        let mut output =
            Self { parts: Vec::new(), columns: all.len(), folder: made.then(|| folder.to_owned()) };
        for (part, path) in PARTS.into_iter().zip(paths) {
            let file = BufWriter::new(NewFile::create(&path)?);
            let table = Some(TableWriter::new(file, &all).map_err(|e| write_error(&path, e))?);
            let count = PartCount { part: part.name(), ..PartCount::default() };
            output.parts.push(PartFile { path, table, count });
        }
        Ok(output)
    }

    /// Begins a row.
    pub(crate) fn row(&mut self, part: Split, label: bool, scenario: &str) -> RowWriter<'_> {
        let columns = self.columns;
        let part = &mut self.parts[part as usize];
        part.count.rows += 1;
        part.count.positives += u64::from(label);
        match part.count.scenarios.get_mut(scenario) {
            Some(rows) => *rows += 1,
            None => drop(part.count.scenarios.insert(scenario.to_owned(), 1)),
        }
        RowWriter { part, column: 0, columns }.int(i64::from(label)).text(scenario)
    }

    /// Finishes all files, and gives them and those of `texts` their names: all of them, or none.
    pub(crate) fn finish(
        mut self,
        texts: impl FnOnce(&[PartCount]) -> Result<Vec<(PathBuf, String)>>,
    ) -> Result<()> {
        let mut files = Vec::new();
        for part in &mut self.parts {
            if part.count.rows == 0 {
                let problem = format!("no {} row came out", part.count.part);
                return Err(error(part.path.display(), problem, "give more raw rows"));
            }
            let finish = |table: Table| table.finish()?.into_inner().map_err(io::IntoInnerError::into_error);
            let file = part.table.take().map(finish).transpose().map_err(|e| write_error(&part.path, e))?;
            files.extend(file.map(|file| (part.path.clone(), file)));
        }
        let counts: Vec<_> = self.parts.iter_mut().map(|part| std::mem::take(&mut part.count)).collect();
        let texts = texts(&counts)?;
        let mut named = Vec::new();
        let name = || {
            for (path, file) in files {
                file.commit()?;
                named.push(path);
            }
            for (path, text) in texts {
                write_atomic(&path, text.as_bytes())?;
                named.push(path);
            }
            Ok(())
        };
        let done = name();
        match done {
            Ok(()) => self.folder = None,
            Err(_) => named.into_iter().for_each(|path| drop(fs::remove_file(path))),
        }
        done
    }
}

impl Drop for Output {
    /// Leaves no folder of an output that was not finished.
    fn drop(&mut self) {
        self.parts.clear();
        if let Some(folder) = &self.folder {
            fs::remove_dir(folder).ok();
        }
    }
}

/// Values of one row, in the order of the columns.
pub(crate) struct RowWriter<'a> {
    part: &'a mut PartFile,
    column: usize,
    columns: usize,
}

impl RowWriter<'_> {
    fn put(mut self, put: impl FnOnce(&mut Table, usize)) -> Self {
        if let Some(table) = &mut self.part.table {
            put(table, self.column);
        }
        self.column += 1;
        self
    }

    /// A text; the empty one is missing.
    pub(crate) fn text(self, value: &str) -> Self {
        self.put(|table, column| table.text(column, Some(value).filter(|v| !v.is_empty())))
    }

    /// Texts.
    pub(crate) fn texts(self, values: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.put(|table, column| table.texts(column, values))
    }

    /// Integers.
    pub(crate) fn ints(self, values: impl IntoIterator<Item = i32>) -> Self {
        self.put(|table, column| table.ints(column, values))
    }

    /// An integer.
    pub(crate) fn int(self, value: impl Into<Option<i64>>) -> Self {
        self.put(|table, column| table.int(column, value.into()))
    }

    /// Ends the row.
    pub(crate) fn end(self) -> Result<()> {
        assert_eq!(self.column, self.columns, "a row has a value for every column");
        let PartFile { path, table, .. } = self.part;
        match table {
            Some(table) => table.end_row().map_err(|e| write_error(path, e)),
            None => Ok(()),
        }
    }
}
