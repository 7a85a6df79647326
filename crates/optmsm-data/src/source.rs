//! Where rows come from.

mod cell;
mod csv;

use std::io::Read;
use std::path::Path;

use ::csv::ByteRecord;

pub(crate) use cell::Cell;
#[cfg(test)]
pub(crate) use cell::{Elements, List};

use crate::error::{DataError, Result};
use crate::parse::Fault;
use csv::CsvFile;

/// How far a pass over a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Size of the file in bytes, where it is known: not for a pipe.
    pub total_bytes: Option<u64>,
}

/// Rows between two calls of a progress callback.
pub(crate) const PROGRESS_ROWS: u64 = 8192; // a few ms of reading: smooth to look at, free to call

/// A stream of rows: first the columns are found, then rows are read one at a time.
pub(crate) struct Records {
    file: CsvFile,
    record: ByteRecord, // the row that was read last
}

impl Records {
    /// Opens a file, or the standard input for `-`.
    pub(crate) fn open(path: &Path, delimiter: char) -> Result<Self> {
        Ok(Self { file: CsvFile::open(path, delimiter)?, record: ByteRecord::new() })
    }

    /// Reads a CSV from anything; `name` stands for the path in messages.
    pub(crate) fn from_reader(name: &str, reader: Box<dyn Read + Send>, delimiter: char) -> Result<Self> {
        let file = CsvFile::from_reader(name, reader, delimiter, None)?;
        Ok(Self { file, record: ByteRecord::new() })
    }

    /// Number of a column for [`Records::cell`]; `key` is the setting that names it.
    pub(crate) fn find(&mut self, column: &str, key: &str) -> Result<usize> {
        self.file.find(column, key)
    }

    /// Goes to the next row; false at the end. A file without any row is an error.
    pub(crate) fn next(&mut self) -> Result<bool> {
        self.file.read(&mut self.record)
    }

    /// A value of the row.
    #[inline]
    pub(crate) fn cell(&self, column: usize) -> Cell<'_> {
        Cell::Text(&self.record[column])
    }

    /// Places a fault in a column of the row.
    #[cold]
    pub(crate) fn value_error(&self, column: usize, fault: Fault) -> DataError {
        self.file.value_error(&self.record, column, fault)
    }

    /// Names of the values of [`Records::take`].
    pub(crate) fn header(&self) -> &ByteRecord {
        self.file.header()
    }

    /// Moves the row into `record`, to be written out again.
    pub(crate) fn take(&mut self, record: &mut ByteRecord) {
        std::mem::swap(&mut self.record, record);
    }

    pub(crate) fn name(&self) -> &str {
        self.file.name()
    }

    pub(crate) fn progress(&self) -> Progress {
        self.file.progress()
    }
}
