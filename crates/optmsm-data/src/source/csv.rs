//! A CSV file as a stream of records whose lines are known.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use csv::{ByteRecord, ErrorKind};

use crate::error::{DataError, Result, list};
use crate::parse::Fault;
use crate::source::Progress;

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
    header_line: u64,
    rows: u64,
    total_bytes: Option<u64>,
}

impl CsvFile {
    /// Opens a file, or the standard input for `-`.
    pub(crate) fn open(path: &Path, delimiter: char) -> Result<Self> {
        if path == Path::new("-") {
            return Self::from_reader("standard input", Box::new(io::stdin()), delimiter, None);
        }
        let name = path.display().to_string();
        let file = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => {
                DataError::file(&name, "no such file", "check the path; it starts from the current directory")
            }
            _ => DataError::io(&name, "open", source),
        })?;
        let meta = file.metadata().map_err(|source| DataError::io(&name, "open", source))?;
        if meta.is_dir() {
            return Err(DataError::file(&name, "is a directory", "give a CSV file"));
        }
        let total = meta.is_file().then_some(meta.len());
        Self::from_reader(&name, Box::new(file), delimiter, total)
    }

    /// Reads from anything; `name` stands for the path in messages.
    pub(crate) fn from_reader(
        name: &str,
        reader: Box<dyn Read + Send>,
        delimiter: char,
        total_bytes: Option<u64>,
    ) -> Result<Self> {
        let csv = csv::ReaderBuilder::new()
            .delimiter(u8::try_from(delimiter).unwrap_or(b',')) // ASCII, checked by DataConfig::validate
            .has_headers(false) // read as a record below
            .flexible(true) // `read` says more about a ragged row than the crate would
            .buffer_capacity(1 << 16)
            .from_reader(Source::new(reader));
        let mut file = Self {
            name: name.to_owned(),
            csv,
            delimiter,
            header: ByteRecord::new(),
            columns: Vec::new(),
            header_line: 1,
            rows: 0,
            total_bytes,
        };
        file.read_header()?;
        Ok(file)
    }

    fn read_header(&mut self) -> Result<()> {
        let mut header = ByteRecord::new();
        if !self.next(&mut header)? {
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
        self.header = header;
        Ok(())
    }

    fn header_error(&self, problem: impl Into<String>, fix: impl Into<String>) -> DataError {
        DataError::Row {
            path: self.name.clone(),
            line: self.header_line,
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
        let wanted = column.to_lowercase();
        let likeness = |c: &String| strsim::normalized_damerau_levenshtein(&wanted, &c.to_lowercase());
        let nearest = self.columns.iter().map(|c| (likeness(c), c)).max_by(|a, b| a.0.total_cmp(&b.0));
        let fix = match nearest {
            Some((likeness, near)) if likeness >= 0.6 => {
                format!("did you mean '{near}'? The columns are: {have}")
            }
            _ => format!("name one of the columns: {have}"),
        };
        Err(self.header_error(problem, fix))
    }

    /// Reads the next row; false at the end. A file without any row is an error.
    pub(crate) fn read(&mut self, record: &mut ByteRecord) -> Result<bool> {
        if !self.next(record)? {
            if self.rows == 0 {
                let problem = "the file has a header but no row";
                return Err(DataError::file(&self.name, problem, "give at least one row"));
            }
            return Ok(false);
        }
        self.rows += 1;
        if record.len() != self.header.len() {
            let (got, wanted) = (record.len(), self.header.len());
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
        Ok(true)
    }

    fn next(&mut self, record: &mut ByteRecord) -> Result<bool> {
        self.csv.read_byte_record(record).map_err(|e| match e.into_kind() {
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
        let inside = record.as_slice().iter().filter(|&&b| b == b'\n').count() as u64;
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
            line: self.line(record),
            problem: problem.into(),
            fix: fix.into(),
        }
    }

    /// Places a fault in column `column` of the record that was read last.
    #[cold]
    pub(crate) fn value_error(&self, record: &ByteRecord, column: usize, fault: Fault) -> DataError {
        DataError::Value {
            path: self.name.clone(),
            line: self.line(record),
            column: self.columns[column].clone(),
            problem: fault.problem,
            fix: fault.fix,
        }
    }

    pub(crate) fn header(&self) -> &ByteRecord {
        &self.header
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress { rows: self.rows, bytes: self.csv.position().byte(), total_bytes: self.total_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &'static [u8]) -> Result<CsvFile> {
        CsvFile::from_reader("t.csv", Box::new(text), ',', None)
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
        let file =
            CsvFile::from_reader("t.csv", Box::new(Drip(b"\xef\xbb\xbfa,b\n1,2\n")), ',', None).unwrap();
        assert_eq!(file.columns, ["a", "b"]);
        let file = CsvFile::from_reader("t.csv", Box::new(Drip(b"a")), ',', None).unwrap();
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
