//! A CSV file as pieces of text that hold whole records.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::ByteRecord;
use flate2::bufread::MultiGzDecoder;

use super::csv_rows::{Common, Text};
use super::data_file::{DataFile, Format, Partition};
use super::decode::DAMAGED;
use super::foreign::foreign;
use super::header::{self, looks_like_header, looks_like_row};
use super::nearest::nearest;
use super::progress::Progress;
use super::reading::Reading;
use super::stored::Stored;
use super::text::{Grammar, Record, Records, Whole, breaks};
use super::values::{Span, folders};
use crate::error::{DataError, FileErrorKind, Place, Result, list};

/// Bytes of a piece, a little more or less: text and values of one fit the second cache.
const PIECE: usize = 1 << 18;

/// Longest record, with what is read along with it, in bytes: a packed file may hold one line without end.
const LONGEST: usize = 64 << 20;

const MARK: &[u8] = b"\xef\xbb\xbf"; // byte order mark

/// An open CSV file behind its header.
pub(crate) struct CsvFile {
    common: Arc<Common>,
    reader: Box<dyn Read + Send>,
    patient: bool, // whether a piece is to be full, however long that takes
    header: ByteRecord,
    header_line: Option<u64>, // none of a file without a header
    width: usize,             // values of the first line
    rest: Vec<u8>,            // read, and not yet handed out
    line: u64,                // on which `rest` begins
    bytes: u64,               // of the file before `rest`
    rows: u64,
    ended: bool,
    failure: Option<DataError>, // to come behind `rest`
    optional: bool,             // may have no row
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

/// Says of a file that is to be packed what it is, if it is not.
fn packed(name: &str, head: &[u8], by: &str, is_packed: bool) -> Result<()> {
    if is_packed || head.is_empty() {
        return Ok(());
    }
    let (problem, fix) = match foreign(head) {
        Some((kind, fix)) => (format!("its name says that it is packed with {by}, but it {kind}"), fix),
        None => {
            (format!("is not packed with {by}, as its name says"), "pack it, or let its name end in .csv")
        }
    };
    Err(DataError::unfit(name, problem, fix))
}

/// The first rows of a text.
fn some_rows(grammar: Grammar, text: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let (mut records, mut rows, mut values) = (Records::new(grammar, text, 1), Vec::new(), Vec::new());
    while rows.len() < header::ROWS {
        values.clear();
        if records.next(&mut values).is_none_or(|record| record.stray.is_some()) {
            break;
        }
        rows.push(values.iter().map(|value| records.value(value).to_vec()).collect());
    }
    rows
}

impl CsvFile {
    /// Opens a file; its folders' values become columns behind its own.
    ///
    /// `optional`: a file without a row, or without a header, is no error.
    pub(super) fn open(part: &DataFile, reading: &Reading, optional: bool) -> Result<Self> {
        let name = &part.name;
        let file = Stored::open(part)?.into_reader();
        let mut compressed = None;
        let reader: Box<dyn Read + Send> = match part.format {
            Format::CsvGzip | Format::CsvZstd => {
                let count = compressed.insert(Arc::new(AtomicU64::new(0))).clone();
                let mut file = BufReader::new(Counted(file, count));
                let head = file.fill_buf().map_err(|e| DataError::io(name, "read", e))?;
                if part.format == Format::CsvGzip {
                    packed(name, head, "gzip", head.starts_with(&[0x1f, 0x8b]))?;
                    Box::new(MultiGzDecoder::new(file))
                } else {
                    // A frame, or one to be skipped.
                    let frame = head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
                        || head.get(1..4) == Some(&[0x2a, 0x4d, 0x18]);
                    packed(name, head, "Zstandard", frame)?;
                    Box::new(zstd::Decoder::with_buffer(file).map_err(|e| DataError::io(name, "open", e))?)
                }
            }
            _ => file,
        };
        let mut file = Self::new(name, reader, reading);
        (file.total_bytes, file.compressed, file.optional) = (part.bytes, compressed, optional);
        file.read_header(&part.partitions, &reading.columns)?;
        Ok(file)
    }

    /// Reads the standard input.
    pub(super) fn stdin(reading: &Reading) -> Result<Self> {
        Self::from_reader("standard input", Box::new(io::stdin()), reading)
    }

    /// Reads from anything; `name` stands for the path in messages.
    pub(super) fn from_reader(name: &str, reader: Box<dyn Read + Send>, reading: &Reading) -> Result<Self> {
        let mut file = Self { patient: false, ..Self::new(name, reader, reading) };
        file.read_header(&[], &reading.columns)?;
        Ok(file)
    }

    fn new(name: &str, reader: Box<dyn Read + Send>, reading: &Reading) -> Self {
        let common = Common {
            name: name.to_owned(),
            grammar: Grammar::new(reading),
            delimiter: reading.delimiter,
            columns: Vec::new(),
            places: HashMap::new(),
            own: 0,
            named: !reading.columns.is_empty(),
            folders: Arc::default(),
        };
        Self {
            common: Arc::new(common),
            reader,
            patient: true,
            header: ByteRecord::new(),
            header_line: None,
            width: 0,
            rest: Vec::new(),
            line: 1,
            bytes: 0,
            rows: 0,
            ended: false,
            failure: None,
            optional: false,
            total_bytes: None,
            compressed: None,
        }
    }

    /// Reads a piece more; of a long record as much again, so that it is not looked through too often.
    fn fill(&mut self) {
        let before = self.rest.len();
        let mut filled = before;
        self.rest.resize(before + before.max(PIECE), 0);
        while filled < self.rest.len() {
            match self.reader.read(&mut self.rest[filled..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => {
                    filled += n;
                    if !self.patient {
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.failure = Some(self.read_error(e));
                    break;
                }
            }
        }
        self.rest.truncate(filled);
    }

    /// [`CsvFile::fill`]; the first bytes must be those of a text.
    fn read_on(&mut self) -> Result<()> {
        self.fill();
        match foreign(&self.rest).filter(|_| self.bytes == 0) {
            Some((problem, fix)) => {
                let by_name = fix.starts_with("let its name");
                let (problem, fix) = match (by_name, self.patient) {
                    (true, false) => (problem, "unpack or convert it on the way, or give the file itself"),
                    (true, true) if self.compressed.is_some() => (
                        format!("what is packed in it {problem}"),
                        "unpack it, and let its name say what it is",
                    ),
                    _ => (problem, fix),
                };
                Err(DataError::unfit(&self.common.name, format!("{problem}, no CSV"), fix))
            }
            None => Ok(()),
        }
    }

    fn read_error(&self, source: io::Error) -> DataError {
        if self.compressed.is_some() && !DataError::is_inside(&source) {
            let problem = format!("cannot be unpacked: {source}");
            return DataError::file(FileErrorKind::Damaged, &self.common.name, problem, DAMAGED);
        }
        DataError::io(&self.common.name, "read", source)
    }

    /// The whole records that have been read, without a byte order mark.
    fn whole(&mut self) -> Whole {
        if self.bytes == 0 && self.rest.starts_with(MARK) {
            self.rest.drain(..MARK.len());
            self.bytes += MARK.len() as u64;
        }
        self.common.grammar.whole(&self.rest, self.ended)
    }

    /// The next whole records; none at the end of the file.
    fn text(&mut self) -> Result<Option<Text>> {
        let start = self.progress();
        if self.rest.is_empty() && !self.ended && self.failure.is_none() {
            self.read_on()?;
        }
        let mut whole = self.whole();
        while whole.records == 0 && !self.ended {
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if self.rest.len() > LONGEST {
                return Err(DataError::Row {
                    path: self.common.name.clone(),
                    place: Place::Line(self.line),
                    problem: format!("the row is longer than {} MiB", LONGEST >> 20),
                    fix: "close the quote that it opens, or break its line".into(),
                });
            }
            self.read_on()?;
            whole = self.whole();
        }
        if whole.records == 0 {
            return Ok(None);
        }
        let rest = self.rest.split_off(whole.bytes);
        let bytes = std::mem::replace(&mut self.rest, rest);
        let line = self.line;
        self.line += breaks(&bytes);
        self.bytes += bytes.len() as u64;
        self.rows += whole.records;
        let span = Span { start, end: self.progress() };
        Ok(Some(Text { common: self.common.clone(), bytes, line, records: whole.records, span }))
    }

    /// Reads the header, if the columns are not `named`, and adds the columns that folders hold. The innermost counts,
    /// should two name the same column; a column of the file comes before both.
    fn read_header(&mut self, partitions: &[Partition], named: &[String]) -> Result<()> {
        let Some(Text { bytes, line, records, .. }) = self.text()? else {
            if self.optional {
                return Ok(());
            }
            let fix = match named {
                [] => "give a header line and at least one row",
                _ => "give at least one row",
            };
            return Err(DataError::unfit(&self.common.name, "the file is empty", fix));
        };
        let (mut found, mut values) = (Records::new(self.common.grammar, &bytes, 1), Vec::new());
        let Some(Record { begin, stray, .. }) = found.next(&mut values) else { return Ok(()) }; // there is one
        let first: Vec<Vec<u8>> = values.iter().map(|value| found.value(value).to_vec()).collect();
        self.width = first.len();
        // A line that says the same is a header all the same: the columns are known, and it is no row.
        // So is one that has them in another order, in which its rows are.
        let is_header = named.is_empty() || stray.is_none() && header::holds(named, &first);
        self.header_line = is_header.then(|| line + breaks(&bytes[..begin]));
        let end = if is_header { found.at() } else { 0 };
        // Bytes behind it are read again.
        self.line = line + breaks(&bytes[..end]);
        self.bytes -= (bytes.len() - end) as u64;
        self.rows -= records;
        self.rest.splice(0..0, bytes[end..].iter().copied());
        let mut columns = named.to_vec();
        let mut places = HashMap::with_capacity(columns.len());
        // A line of another width is no row in any case, and says so itself.
        if !is_header && stray.is_none() && first.len() == named.len() {
            // How much of a pipe has come by now is chance.
            let rows =
                if self.patient { some_rows(self.common.grammar, &bytes[found.at()..]) } else { Vec::new() };
            if let Some(why) = looks_like_header(&first, named, &rows) {
                return Err(DataError::Row {
                    path: self.common.name.clone(),
                    place: Place::Line(line + breaks(&bytes[..begin])),
                    problem: format!("looks like a header, not like a row: {why}"),
                    fix: header::NO_ROW.into(),
                });
            }
        }
        if is_header {
            if let Some(stray) = stray {
                let (problem, fix) = self.common.stray(stray);
                return Err(self.header_error(problem, fix));
            }
            columns = self.names(&first)?;
            // How much of a pipe has come by now is chance.
            if self.patient && named.is_empty() {
                let rows = some_rows(self.common.grammar, &bytes[end..]);
                if let Some(why) = looks_like_row(&columns, &rows) {
                    return Err(
                        self.header_error(format!("looks like a row, not like a header: {why}"), header::FIX)
                    );
                }
            }
        }
        for (i, name) in columns.iter().enumerate() {
            if let Some(first) = places.insert(name.clone(), i) {
                let problem =
                    format!("column '{name}' appears twice, as columns {} and {}", first + 1, i + 1);
                return Err(self.header_error(problem, "rename or drop one"));
            }
        }
        let (own, mut of_folders) = (columns.len(), Vec::new());
        for (i, partition) in partitions.iter().enumerate() {
            let later = partitions[i + 1..].iter().any(|p| p.column == partition.column);
            if !later && !places.contains_key(&partition.column) {
                places.insert(partition.column.clone(), columns.len());
                columns.push(partition.column.clone());
                of_folders.push(partition.value.clone().unwrap_or_default());
            }
        }
        columns.iter().for_each(|name| self.header.push_field(name.as_bytes()));
        let Common { name, grammar, delimiter, named, .. } = &*self.common;
        let (name, grammar, delimiter, named) = (name.clone(), *grammar, *delimiter, *named);
        let folders = folders(of_folders);
        self.common = Arc::new(Common { name, grammar, delimiter, columns, places, own, named, folders });
        Ok(())
    }

    /// The header's values as names.
    fn names(&self, header: &[Vec<u8>]) -> Result<Vec<String>> {
        let name = |(i, name): (usize, &Vec<u8>)| {
            let fix = "save the file as UTF-8";
            let problem = || format!("the name of column {} is not valid UTF-8", i + 1);
            String::from_utf8(name.clone()).map_err(|_| self.header_error(problem(), fix))
        };
        header.iter().enumerate().map(name).collect()
    }

    fn header_error(&self, problem: impl Into<String>, fix: impl Into<String>) -> DataError {
        let path = self.common.name.clone();
        match self.header_line {
            Some(line) => DataError::row(path, Place::Line(line), problem, fix),
            None => DataError::unfit(&path, problem, fix),
        }
    }

    /// Position of a column; `key` is the setting that names it.
    pub(crate) fn find(&self, column: &str, key: &str) -> Result<usize> {
        let Common { columns, places, .. } = &*self.common;
        if let Some(&place) = places.get(column) {
            return Ok(place);
        }
        let problem = format!("no column '{column}', which {key} names");
        if self.common.named {
            let names: Vec<&str> = columns.iter().map(String::as_str).collect();
            return Err(self.header_error(format!("{problem}, in data.columns"), nearest(column, &names)));
        }
        let have = list(columns.iter().map(String::as_str));
        if columns.len() == 1 {
            let fix = format!(
                "the header is one column, '{have}', when split at {:?}: check data.delimiter",
                self.common.delimiter
            );
            return Err(self.header_error(problem, fix));
        }
        let names: Vec<&str> = columns.iter().map(String::as_str).collect();
        Err(self.header_error(problem, nearest(column, &names)))
    }

    /// Reads the next rows; none at the end. A file without any row is an error.
    pub(crate) fn next(&mut self) -> Result<Option<Text>> {
        let text = self.text()?;
        if text.is_none() && self.rows == 0 && !self.optional {
            let problem = "the file has a header but no row";
            return Err(DataError::unfit(&self.common.name, problem, "give at least one row"));
        }
        Ok(text)
    }

    /// Line of the header; none of a file without one.
    pub(super) fn header_line(&self) -> Option<u64> {
        self.header_line
    }

    /// Values of the first line, header or row.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn header(&self) -> &ByteRecord {
        &self.header
    }

    pub(crate) fn name(&self) -> &str {
        &self.common.name
    }

    pub(crate) fn progress(&self) -> Progress {
        let bytes = match &self.compressed {
            Some(bytes) => bytes.load(Ordering::Relaxed),
            None => self.bytes,
        };
        Progress { rows: self.rows, bytes, total_bytes: self.total_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Quoting;

    fn open(text: &'static [u8]) -> Result<CsvFile> {
        let reading = Reading { quoting: Quoting::Standard, ..Reading::default() };
        CsvFile::from_reader("t.csv", Box::new(text), &reading)
    }

    /// Line of every row.
    fn lines(text: &'static [u8]) -> Vec<u64> {
        let mut file = open(text).unwrap();
        let mut lines = Vec::new();
        while let Some(text) = file.next().unwrap() {
            let rows = text.parse();
            assert!(rows.error.is_none());
            lines.extend((0..rows.len()).map(|row| rows.line(row)));
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
        let drip = |text| CsvFile::from_reader("t.csv", Box::new(Drip(text)), &Reading::default()).unwrap();
        let file = drip(b"\xef\xbb\xbfa,b\n1,2\n");
        assert_eq!(file.common.columns, ["a", "b"]);
        let file = drip(b"a");
        assert_eq!(file.common.columns, ["a"]);
    }

    #[test]
    fn an_open_quote_is_found() {
        let read = |text| {
            let (mut file, mut read, mut error) = (open(text).unwrap(), Vec::new(), None);
            while let Some(text) = file.next().unwrap() {
                let rows = text.parse();
                read.extend((0..rows.len()).map(|row| {
                    let mut record = ByteRecord::new();
                    rows.copy(row, &mut record);
                    record.iter().map(|v| String::from_utf8(v.to_vec()).unwrap()).collect::<Vec<_>>()
                }));
                error = rows.error.map(|e| e.to_string());
            }
            (read, error)
        };
        let (rows, error) = read(b"a,b\n1,2\n3,\"4\n5,6\n7,8\n");
        assert_eq!(rows, [["1", "2"]]);
        assert_eq!(
            error.unwrap(),
            "t.csv line 3: a quote is opened and never closed; close or remove it; or set data.quoting = \"none\" if quotes mean nothing in this file"
        );
        let (rows, error) = read(b"a,b\n1,2\n3,\"4\"\"\n5,6\n7,8");
        assert_eq!(rows, [["1", "2"]]);
        assert_eq!(
            error.unwrap(),
            "t.csv line 3: a quote is opened and never closed; close or remove it; or set data.quoting = \"none\" if quotes mean nothing in this file"
        );
        for text in [&b"a,b\n3,\"4\n5\"\n"[..], b"a,b\n3,\"4\n5\""] {
            assert_eq!(read(text), (vec![vec!["3".to_owned(), "4\n5".to_owned()]], None));
        }
    }
}
