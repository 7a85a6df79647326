//! A CSV file as a stream of records whose lines are known.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::{ByteRecord, ErrorKind};
use flate2::bufread::MultiGzDecoder;

use super::Progress;
use super::nearest;
use super::parts::{Format, Part, Partition};
use super::stored::Stored;
use crate::error::{DataError, Place, Result, list};
use crate::parse::Fault;

/// Bytes of the file. Keeps the last chunk it handed out, to look back at the byte that ended a record.
struct Source {
    inner: Box<dyn Read + Send>,
    chunk: Vec<u8>,
    delivered: u64,
    last: u8, // last byte of the file so far that is no line break
    ended: bool,
}

impl Source {
    fn new(inner: Box<dyn Read + Send>) -> Self {
        Self { inner, chunk: Vec::new(), delivered: 0, last: 0, ended: false }
    }

    fn byte(&self, offset: u64) -> Option<u8> {
        let start = self.delivered - self.chunk.len() as u64;
        self.chunk.get(usize::try_from(offset.checked_sub(start)?).ok()?).copied()
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        // The csv crate finds a byte order mark only in one piece, and takes a first piece that is nothing else
        // for the end of the file; so the first read goes on until there is a byte more.
        let least = if self.delivered == 0 { 4.min(buffer.len()) } else { 1 };
        while filled < least {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let read = &buffer[..filled];
        self.ended = filled == 0;
        self.delivered += filled as u64;
        self.chunk.clear();
        self.chunk.extend_from_slice(read);
        if let Some(&byte) = read.iter().rev().find(|b| !matches!(b, b'\r' | b'\n')) {
            self.last = byte;
        }
        Ok(filled)
    }
}

/// An open CSV file behind its header.
pub(crate) struct CsvFile {
    name: String,
    csv: csv::Reader<Source>,
    delimiter: char,
    header: ByteRecord,
    columns: Vec<String>,
    own: usize,            // columns of the file itself
    folders: Vec<Vec<u8>>, // values of the others, the same in every row
    header_line: u64,
    rows: u64,
    optional: bool, // may have no row
    total_bytes: Option<u64>,
    compressed: Option<Arc<AtomicU64>>, // bytes read of a compressed file
}

/// A file that counts what is read of it.
struct Counted(Box<dyn Read + Send>, Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buffer)?;
        self.1.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl CsvFile {
    /// Opens a file; its folders' values become columns behind its own.
    ///
    /// `optional`: a file without a row, or without a header, is no error.
    pub(super) fn open(part: &Part, delimiter: char, optional: bool) -> Result<Self> {
        let name = &part.name;
        let file = Stored::open(part)?.into_reader();
        let mut compressed = None;
        let reader: Box<dyn Read + Send> = match part.format {
            Format::CsvGzip | Format::CsvZstd => {
                let count = compressed.insert(Arc::new(AtomicU64::new(0))).clone();
                let file = Counted(file, count);
                if part.format == Format::CsvGzip {
                    Box::new(MultiGzDecoder::new(BufReader::new(file)))
                } else {
                    let decoder = zstd::Decoder::new(file).map_err(|e| DataError::io(name, "open", e))?;
                    Box::new(decoder)
                }
            }
            _ => file,
        };
        let mut file = Self::new(name, reader, delimiter);
        (file.total_bytes, file.compressed, file.optional) = (part.bytes, compressed, optional);
        file.read_header()?;
        if !file.columns.is_empty() {
            file.add_folders(&part.partitions);
        }
        Ok(file)
    }

    /// Reads the standard input.
    pub(super) fn stdin(delimiter: char) -> Result<Self> {
        Self::from_reader("standard input", Box::new(io::stdin()), delimiter)
    }

    /// Reads from anything; `name` stands for the path in messages.
    pub(super) fn from_reader(name: &str, reader: Box<dyn Read + Send>, delimiter: char) -> Result<Self> {
        let mut file = Self::new(name, reader, delimiter);
        file.read_header()?;
        Ok(file)
    }

    fn new(name: &str, reader: Box<dyn Read + Send>, delimiter: char) -> Self {
        let csv = csv::ReaderBuilder::new()
            .delimiter(u8::try_from(delimiter).unwrap_or(b',')) // ASCII, checked by DataConfig::validate
            .has_headers(false) // read as a record below
            .flexible(true) // `read` says more about a ragged row than the crate would
            .buffer_capacity(1 << 16)
            .from_reader(Source::new(reader));
        Self {
            name: name.to_owned(),
            csv,
            delimiter,
            header: ByteRecord::new(),
            columns: Vec::new(),
            own: 0,
            folders: Vec::new(),
            header_line: 1,
            rows: 0,
            optional: false,
            total_bytes: None,
            compressed: None,
        }
    }

    /// Adds the columns that folders hold. The innermost counts, should two name the same column; a column of
    /// the file comes before both.
    fn add_folders(&mut self, partitions: &[Partition]) {
        for (i, partition) in partitions.iter().enumerate() {
            let later = partitions[i + 1..].iter().any(|p| p.column == partition.column);
            if !later && !self.columns.contains(&partition.column) {
                self.columns.push(partition.column.clone());
                self.header.push_field(partition.column.as_bytes());
                self.folders.push(partition.value.clone().unwrap_or_default());
            }
        }
    }

    fn read_header(&mut self) -> Result<()> {
        let mut header = ByteRecord::new();
        if !self.next(&mut header)? {
            if self.optional {
                return Ok(());
            }
            let fix = "give a header line and at least one row";
            return Err(DataError::file(&self.name, "the file is empty", fix));
        }
        self.header_line = self.line(&header);
        for (i, column) in header.iter().enumerate() {
            let Ok(column) = std::str::from_utf8(column) else {
                let problem = format!("the name of column {} is not valid UTF-8", i + 1);
                return Err(self.header_error(problem, "save the file as UTF-8"));
            };
            if let Some(first) = self.columns.iter().position(|c| c == column) {
                let problem =
                    format!("column '{column}' appears twice, as columns {} and {}", first + 1, i + 1);
                return Err(self.header_error(problem, "rename or drop one"));
            }
            self.columns.push(column.to_owned());
        }
        self.own = self.columns.len();
        self.header = header;
        Ok(())
    }

    fn header_error(&self, problem: impl Into<String>, fix: impl Into<String>) -> DataError {
        DataError::Row {
            path: self.name.clone(),
            place: Place::Line(self.header_line),
            problem: problem.into(),
            fix: fix.into(),
        }
    }

    /// Position of a column; `key` is the setting that names it.
    pub(crate) fn find(&self, column: &str, key: &str) -> Result<usize> {
        if let Some(i) = self.columns.iter().position(|c| c == column) {
            return Ok(i);
        }
        let problem = format!("no column '{column}', which {key} names");
        let have = list(self.columns.iter().map(String::as_str));
        if self.columns.len() == 1 {
            let fix = format!(
                "the header is one column, '{have}', when split at {:?}: check data.delimiter",
                self.delimiter
            );
            return Err(self.header_error(problem, fix));
        }
        let names: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        let fix = nearest(column, &names);
        Err(self.header_error(problem, fix))
    }

    /// Reads the next row; false at the end. A file without any row is an error.
    pub(crate) fn read(&mut self, record: &mut ByteRecord) -> Result<bool> {
        if !self.next(record)? {
            if self.rows == 0 && !self.optional {
                let problem = "the file has a header but no row";
                return Err(DataError::file(&self.name, problem, "give at least one row"));
            }
            return Ok(false);
        }
        self.rows += 1;
        if record.len() != self.own {
            let (got, wanted) = (record.len(), self.own);
            let values = if got == 1 { "value" } else { "values" };
            let fix = format!(
                "fix the row; a value with {:?} or a line break in it must be in quotes, and every quote closed",
                self.delimiter
            );
            let problem = format!("{got} {values} where the header has {wanted} columns");
            return Err(self.row_error(record, problem, fix));
        }
        // An open quote swallows the rest of the file into the last value, which then looks like a good row.
        let source = self.csv.get_ref();
        if source.ended
            && source.last != b'"'
            && record.iter().next_back().is_some_and(|v| v.contains(&b'\n'))
        {
            return Err(self.row_error(record, "a quote is opened and never closed", "close or remove it"));
        }
        self.folders.iter().for_each(|value| record.push_field(value));
        Ok(true)
    }

    fn next(&mut self, record: &mut ByteRecord) -> Result<bool> {
        self.csv.read_byte_record(record).map_err(|e| match e.into_kind() {
            ErrorKind::Io(source) if self.compressed.is_some() && !DataError::is_inside(&source) => {
                let fix = "the file is damaged or was not written to its end: copy or write it again";
                DataError::file(&self.name, format!("cannot be unpacked: {source}"), fix)
            }
            ErrorKind::Io(source) => DataError::io(&self.name, "read", source),
            other => DataError::file(&self.name, format!("{other:?}"), "check the file"),
        })
    }

    /// Line on which the record that was read last begins.
    ///
    /// The position that the csv crate gives a record is where the one before it ended, which is a line too
    /// early after `\r\n` or a blank line; so count back from where the record ends.
    fn line(&self, record: &ByteRecord) -> u64 {
        let end = self.csv.position(); // line: 1 + line feeds consumed, quoted ones too
        let breaks = |value: &[u8]| value.iter().filter(|&&b| b == b'\n').count() as u64;
        let folders: u64 = record.iter().skip(self.columns.len() - self.folders.len()).map(breaks).sum();
        let inside = breaks(record.as_slice()) - folders; // only the file's own values are in the file
        let ender = end.byte().checked_sub(1).and_then(|at| self.csv.get_ref().byte(at));
        end.line() - inside - u64::from(ender == Some(b'\n'))
    }

    pub(crate) fn row_error(
        &self,
        record: &ByteRecord,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> DataError {
        DataError::Row {
            path: self.name.clone(),
            place: Place::Line(self.line(record)),
            problem: problem.into(),
            fix: fix.into(),
        }
    }

    /// Places a fault in column `column` of the record that was read last.
    #[cold]
    pub(crate) fn value_error(&self, record: &ByteRecord, column: usize, fault: Fault) -> DataError {
        DataError::Value {
            path: self.name.clone(),
            place: Place::Line(self.line(record)),
            column: self.columns[column].clone(),
            problem: fault.problem,
            fix: fault.fix,
        }
    }

    pub(super) fn header_line(&self) -> u64 {
        self.header_line
    }

    pub(crate) fn header(&self) -> &ByteRecord {
        &self.header
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn progress(&self) -> Progress {
        let bytes = match &self.compressed {
            Some(bytes) => bytes.load(Ordering::Relaxed),
            None => self.csv.position().byte(),
        };
        Progress { rows: self.rows, bytes, total_bytes: self.total_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &'static [u8]) -> Result<CsvFile> {
        CsvFile::from_reader("t.csv", Box::new(text), ',')
    }

    /// Line of every row.
    fn lines(text: &'static [u8]) -> Vec<u64> {
        let mut file = open(text).unwrap();
        let mut record = ByteRecord::new();
        let mut lines = Vec::new();
        while file.read(&mut record).unwrap() {
            lines.push(file.line(&record));
        }
        lines
    }

    #[test]
    fn lines_are_those_of_an_editor() {
        assert_eq!(lines(b"a,b\n1,2\n3,4\n"), [2, 3]);
        assert_eq!(lines(b"a,b\r\n1,2\r\n3,4"), [2, 3]);
        assert_eq!(lines(b"a,b\n\n\n1,2\n\n3,4"), [4, 6]);
        assert_eq!(lines(b"a,b\r\n\r\n1,2\r\n3,4\r\n"), [3, 4]);
        assert_eq!(lines(b"a,b\n\"x\ny\n\",2\n3,\"\n\n\"\n5,6"), [2, 5, 8]);
        assert_eq!(lines(b"\xef\xbb\xbf\na,b\r\n\"x\r\ny\",2\r\n3,4"), [3, 5]);
    }

    #[test]
    fn lines_hold_across_chunks_of_the_file() {
        let mut text = String::from("a,b\r\n");
        let rows = 30_000; // several chunks of 64 KiB
        (0..rows).for_each(|i| text.push_str(&format!("\"{i}\n\",x\r\n")));
        let lines = lines(text.leak().as_bytes());
        assert!(lines.iter().enumerate().all(|(i, &line)| line == 2 + 2 * i as u64));
        assert_eq!(lines.len(), rows);
    }

    /// Hands out one byte a call, as a slow pipe may.
    struct Drip(&'static [u8]);

    impl Read for Drip {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = 1.min(self.0.len());
            let (now, later) = self.0.split_at(n);
            buffer[..n].copy_from_slice(now);
            self.0 = later;
            Ok(n)
        }
    }

    #[test]
    fn a_byte_order_mark_in_pieces_is_dropped() {
        let file = CsvFile::from_reader("t.csv", Box::new(Drip(b"\xef\xbb\xbfa,b\n1,2\n")), ',').unwrap();
        assert_eq!(file.columns, ["a", "b"]);
        let file = CsvFile::from_reader("t.csv", Box::new(Drip(b"a")), ',').unwrap();
        assert_eq!(file.columns, ["a"]);
    }

    #[test]
    fn an_open_quote_is_found() {
        let mut file = open(b"a,b\n1,2\n3,\"4\n5,6\n7,8\n").unwrap();
        let mut record = ByteRecord::new();
        assert!(file.read(&mut record).unwrap());
        let error = file.read(&mut record).unwrap_err().to_string();
        assert_eq!(error, "t.csv line 3: a quote is opened and never closed; close or remove it");
        let mut file = open(b"a,b\n3,\"4\n5\"\n").unwrap();
        assert!(file.read(&mut record).unwrap());
        let mut file = open(b"a,b\n3,\"4\n5\"").unwrap();
        assert!(file.read(&mut record).unwrap());
        assert_eq!(&record[1], b"4\n5");
    }
}
