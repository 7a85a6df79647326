//! The rows of a source: first the columns are found, then pieces are handed out to be decoded.

use std::io::Read;

use ::csv::ByteRecord;
use arrow_array::RecordBatchReader;

use super::Source;
use super::column_files::{self, ColumnFiles};
use super::csv_files::CsvFiles;
use super::csv_rows::Text;
use super::decode::ROWS;
use super::listing::data_files;
use super::memory::once;
use super::reading::Reading;
use super::rows::Rows;
use crate::error::{DataError, Result};

/// Threads that decode, at most, unless the user says otherwise.
const MOST_THREADS: usize = 8;

/// The rows of a source that have not been handed out.
pub(crate) struct Records {
    files: Files,
    threads: usize,
}

enum Files {
    Csv(Box<CsvFiles>),
    Columns(Box<ColumnFiles>),
}

/// Rows for one thread to decode.
pub(crate) enum Job {
    Text(Text),
    Columns(column_files::Job),
}

/// Threads that decode unless the user says otherwise.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS)
}

impl Records {
    /// Opens the first file.
    pub(crate) fn open(source: &Source, reading: &Reading) -> Result<Self> {
        if source.is_stdin() {
            if source.paths.len() > 1 {
                let fix = "give it alone";
                return Err(DataError::unfit("standard input", "cannot be one of several files", fix));
            }
            return Ok(Self::here(CsvFiles::stdin(reading)?));
        }
        let parts = data_files(&source.paths)?;
        let Some(first) = parts.first() else {
            return Err(DataError::unfit("data", "no file is named", "give at least one path"));
        };
        // To start threads takes longer than to read few rows.
        let few = first.memory.as_ref().is_some_and(|memory| memory.rows().is_some_and(|rows| rows <= ROWS));
        let files = match first.format.is_csv() {
            true => Files::Csv(Box::new(CsvFiles::open(parts, reading)?)),
            false => Files::Columns(Box::new(ColumnFiles::open(parts)?)),
        };
        let threads = if few { 0 } else { source.threads.unwrap_or_else(cores) };
        Ok(Self { files, threads })
    }

    /// Reads a CSV from anything; `name` stands for the path in messages.
    pub(crate) fn from_reader(name: &str, reader: Box<dyn Read + Send>, reading: &Reading) -> Result<Self> {
        Ok(Self::here(CsvFiles::from_reader(name, reader, reading)?))
    }

    /// Reads Arrow batches once; `name` stands for the path in messages.
    pub(crate) fn from_batches(name: &str, batches: Box<dyn RecordBatchReader + Send>) -> Result<Self> {
        let files = Files::Columns(Box::new(ColumnFiles::open(vec![once(name, batches)])?));
        Ok(Self { files, threads: cores() })
    }

    /// Read by the thread that asks: one that waits for a pipe could not be stopped.
    fn here(parts: CsvFiles) -> Self {
        Self { files: Files::Csv(Box::new(parts)), threads: 0 }
    }

    /// Threads that decode; 0 for the one that asks.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Number of a column; `key` is the setting that names it. Only columns that were asked for are read.
    pub(crate) fn find(&mut self, column: &str, key: &str) -> Result<usize> {
        match &mut self.files {
            Files::Csv(files) => files.find(column, key),
            Files::Columns(files) => files.find(column, key),
        }
    }

    /// The next rows to decode; none at the end. No row at all is an error.
    pub(super) fn next(&mut self) -> Result<Option<Job>> {
        Ok(match &mut self.files {
            Files::Csv(files) => files.next()?.map(Job::Text),
            Files::Columns(files) => files.next()?.map(Job::Columns),
        })
    }

    /// Names of the values of [`Rows::copy`].
    pub(crate) fn header(&self) -> &ByteRecord {
        match &self.files {
            Files::Csv(files) => files.header(),
            Files::Columns(files) => files.header(),
        }
    }

    /// Whether a CSV begins with a header.
    pub(crate) fn has_header(&self) -> bool {
        match &self.files {
            Files::Csv(files) => files.has_header(),
            Files::Columns(_) => true,
        }
    }

    /// Values of the first line of a CSV; 0 of other files.
    pub(crate) fn width(&self) -> usize {
        match &self.files {
            Files::Csv(files) => files.width(),
            Files::Columns(_) => 0,
        }
    }

    /// Size of the files, where it is known.
    pub(crate) fn total_bytes(&self) -> Option<u64> {
        match &self.files {
            Files::Csv(files) => files.total_bytes(),
            Files::Columns(files) => files.total_bytes(),
        }
    }

    /// The first file, as messages name it.
    pub(crate) fn name(&self) -> &str {
        match &self.files {
            Files::Csv(files) => files.name(),
            Files::Columns(files) => files.name(),
        }
    }
}

impl Job {
    /// Decodes rows and hands them on until `sink` says stop.
    pub(super) fn decode(self, sink: &mut dyn FnMut(Rows) -> bool) -> Result<()> {
        match self {
            Job::Text(text) => {
                sink(Rows::Text(text.parse()));
                Ok(())
            }
            Job::Columns(job) => job.decode(&mut |rows| sink(Rows::Columns(rows))),
        }
    }
}
