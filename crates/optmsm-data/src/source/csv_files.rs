//! The texts of one or several CSV files.

use std::io::Read;

use ::csv::ByteRecord;

use super::csv::CsvFile;
use super::csv_rows::Text;
use super::data_file::{DataFile, no_row};
use super::progress::Progress;
use super::reading::Reading;
use crate::error::{DataError, Place, Result, list};

/// A stream of the rows of several files with the same header.
pub(crate) struct CsvFiles {
    file: CsvFile,
    reading: Reading,
    header: ByteRecord, // of the first file
    has_header: bool,
    parts: Vec<DataFile>,
    next: usize,    // part after `file`
    done: Progress, // of the files before it
}

impl CsvFiles {
    pub(super) fn open(parts: Vec<DataFile>, reading: &Reading) -> Result<Self> {
        let one = parts.len() == 1;
        for (i, part) in parts.iter().enumerate() {
            let file = CsvFile::open(part, reading, !one)?;
            if !file.header().is_empty() {
                return Ok(Self { next: i + 1, parts, ..Self::new(file, reading) });
            }
        }
        Err(no_row(&parts))
    }

    pub(super) fn stdin(reading: &Reading) -> Result<Self> {
        Ok(Self::new(CsvFile::stdin(reading)?, reading))
    }

    pub(super) fn from_reader(name: &str, reader: Box<dyn Read + Send>, reading: &Reading) -> Result<Self> {
        Ok(Self::new(CsvFile::from_reader(name, reader, reading)?, reading))
    }

    fn new(file: CsvFile, reading: &Reading) -> Self {
        let (header, has_header) = (file.header().clone(), file.header_line().is_some());
        let done = Progress { rows: 0, bytes: 0, total_bytes: None };
        Self { file, reading: reading.clone(), header, has_header, parts: Vec::new(), next: 0, done }
    }

    pub(super) fn find(&self, column: &str, key: &str) -> Result<usize> {
        self.file.find(column, key)
    }

    /// The next rows; none at the end. No row at all is an error.
    pub(super) fn next(&mut self) -> Result<Option<Text>> {
        loop {
            if let Some(text) = self.file.next()? {
                return Ok(Some(text.behind(self.done, self.total_bytes())));
            }
            if !self.next_file()? {
                return Ok(None);
            }
        }
    }

    /// Goes to the next file that has a header; false behind the last.
    fn next_file(&mut self) -> Result<bool> {
        while let Some(part) = self.parts.get(self.next) {
            self.next += 1;
            let file = CsvFile::open(part, &self.reading, true)?;
            let before = std::mem::replace(&mut self.file, file);
            let Progress { rows, total_bytes, .. } = before.progress();
            self.done.rows += rows;
            self.done.bytes += total_bytes.unwrap_or(0);
            if self.file.header().is_empty() {
                continue;
            }
            if *self.file.header() != self.header {
                return Err(self.drift());
            }
            return Ok(true);
        }
        match self.done.rows + self.file.progress().rows {
            0 if self.parts.len() > 1 => Err(no_row(&self.parts)),
            _ => Ok(false),
        }
    }

    #[cold]
    fn drift(&self) -> DataError {
        let names = |header: &ByteRecord| {
            let names = header.iter().map(|n| String::from_utf8_lossy(n).into_owned());
            names.collect::<Vec<_>>()
        };
        let (first, here) = (names(&self.header), names(self.file.header()));
        let first_file = &self.parts[0].name;
        let problem = match first.iter().find(|n| !here.contains(n)) {
            Some(lacking) => format!("no column '{lacking}', which {first_file} has"),
            None => match here.iter().find(|n| !first.contains(n)) {
                Some(more) => format!("a column '{more}', which {first_file} does not have"),
                None => format!("the columns are in another order than in {first_file}"),
            },
        };
        let here = list(here.iter().map(String::as_str));
        DataError::Row {
            path: self.file.name().to_owned(),
            place: Place::Line(self.file.header_line().unwrap_or(1)),
            problem: format!("{problem}; its columns are: {here}"),
            fix: "write all files with the same header".into(),
        }
    }

    pub(super) fn total_bytes(&self) -> Option<u64> {
        match self.parts.len() {
            0 | 1 => self.file.progress().total_bytes,
            _ => self.parts.iter().map(|p| p.bytes).sum(),
        }
    }

    pub(super) fn header(&self) -> &ByteRecord {
        &self.header
    }

    /// Whether the first file has a header.
    pub(super) fn has_header(&self) -> bool {
        self.has_header
    }

    /// Values of the first line of the file at hand.
    pub(super) fn width(&self) -> usize {
        self.file.width()
    }

    pub(super) fn name(&self) -> &str {
        self.file.name()
    }
}
