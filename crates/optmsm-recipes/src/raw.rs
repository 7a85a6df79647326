//! Raw files: found by the end of their path, unpacked, hashed, and read line by line or row by row.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use optmsm_data::{DataError, Place, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{Job, Published, Recipe, error, thousands};

/// How deep below the given folder raw files may lie: `KuaiRand-1K/data/log.csv` does.
const DEPTH: usize = 3;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceRecord {
    /// Path below the raw folder.
    pub file: String,
    /// Size in bytes, as it lies there.
    pub bytes: u64,
    /// SHA-256 of these bytes.
    pub sha256: String,
    /// Rows in it, less a header.
    pub rows: u64,
}

/// A count and what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Things that were counted.
    pub what: String,
    /// How many there are.
    pub rows: u64,
    /// How many there should be, if somebody published that.
    pub published: Option<u64>,
}

/// The folder of the raw files.
pub(crate) struct Raw<'a> {
    recipe: &'a Recipe,
    folder: &'a Path,
    allow_partial: bool,
    progress: &'a mut dyn FnMut(&str),
    /// Every file below the folder, by its path there with `/` between names.
    present: Vec<String>,
    sources: Vec<SourceRecord>,
    counts: Vec<Check>,
    warnings: Vec<String>,
}

impl<'a> Raw<'a> {
    /// Looks for the files of the recipe.
    pub(crate) fn open(recipe: &'a Recipe, job: Job<'a>, progress: &'a mut dyn FnMut(&str)) -> Result<Self> {
        let folder = job.raw;
        let mut present = Vec::new();
        walk(folder, "", DEPTH, &mut present).map_err(|source| {
            let problem = format!("cannot be read as a folder: {source}");
            error(folder.display(), problem, format!("give the folder of {}", recipe.files.join(", ")))
        })?;
        present.sort();
        let raw = Self {
            recipe,
            folder,
            allow_partial: job.allow_partial,
            progress,
            present,
            sources: Vec::new(),
            counts: Vec::new(),
            warnings: Vec::new(),
        };
        // All are looked for before the first is read, which can take long.
        let enough = recipe.any_file && recipe.files.iter().any(|name| raw.has(name));
        let mut wanted = recipe.files.iter().filter(|name| !enough || raw.has(name));
        wanted.try_for_each(|name| raw.find(name).map(drop))?;
        Ok(raw)
    }

    /// Names of the recipe's files.
    pub(crate) fn files(&self) -> &'static [&'static str] {
        self.recipe.files
    }

    /// Whether a file is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.present.iter().any(|path| ends_in(path, name))
    }

    /// Warns of something in the folder.
    pub(crate) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// The one file whose path ends in this.
    fn find(&self, name: &str) -> Result<&str> {
        let mut found = self.present.iter().filter(|path| ends_in(path, name));
        match (found.next(), found.next()) {
            (Some(path), None) => Ok(path),
            (Some(a), Some(b)) => {
                let problem = format!("has {name} twice, as {a} and {b}");
                Err(error(self.folder.display(), problem, "take one of them out"))
            }
            (None, _) => {
                let mut problem = format!("has no {name}");
                match &self.present[..] {
                    [] => problem.push_str(", it is empty"),
                    files => {
                        let some = files.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
                        let more = if files.len() > 10 { ", …" } else { "" };
                        problem.push_str(&format!(" among {some}{more}"));
                    }
                }
                let fix = format!("get it from {} and unpack it there", self.recipe.page);
                Err(error(self.folder.display(), problem, fix))
            }
        }
    }

    /// Opens a file of lines.
    pub(crate) fn lines(&mut self, name: &str) -> Result<Lines> {
        let path = self.find(name)?.to_owned();
        (self.progress)(&path);
        Lines::open(self.folder.join(&path), path)
    }

    /// Opens a file whose first row names its columns; finds these.
    pub(crate) fn table<const N: usize>(
        &mut self,
        name: &str,
        delimiter: u8,
        columns: [&'static str; N],
    ) -> Result<Table<N>> {
        let path = self.find(name)?.to_owned();
        (self.progress)(&path);
        Table::open(self.folder.join(&path), path, delimiter, columns)
    }

    /// Records a file that was read to its end.
    pub(crate) fn record(&mut self, file: FileRecord) {
        let FileRecord { file, hashed, rows } = file;
        let (hash, bytes) = {
            let hashed = hashed.borrow();
            (hashed.0.clone().finalize(), hashed.1)
        };
        let sha256 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        self.sources.push(SourceRecord { file, bytes, sha256, rows });
    }

    /// Compares a count with the published one.
    pub(crate) fn count(&mut self, what: &str, rows: u64) -> Result<()> {
        let published = self.recipe.published.iter().find(|p| p.what == what);
        if let Some(&Published { rows: wanted, by, .. }) = published.filter(|p| p.rows != rows) {
            let problem =
                format!("{} {what}, where {} are published ({by})", thousands(rows), thousands(wanted));
            if !self.allow_partial {
                let fix = "download it again, or go on with --allow-partial";
                return Err(error(self.folder.display(), problem, fix));
            }
            self.warnings.push(problem);
        }
        self.counts.push(Check { what: what.to_owned(), rows, published: published.map(|p| p.rows) });
        Ok(())
    }

    /// Files read, counts, and differences from the published counts.
    pub(crate) fn finish(self) -> (Vec<SourceRecord>, Vec<Check>, Vec<String>) {
        (self.sources, self.counts, self.warnings)
    }
}

/// Whether a path ends in a name, packed or not.
fn ends_in(path: &str, name: &str) -> bool {
    let plain = path.strip_suffix(".gz").unwrap_or(path);
    plain.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
}

fn walk(folder: &Path, below: &str, depth: usize, files: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), fs::metadata(&path)) else { continue };
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        if kind.is_file() {
            files.push(name);
        } else if kind.is_dir() && depth > 0 {
            // A folder that may not be looked into is no reason to fail: what is missing will be said.
            walk(&path, &name, depth - 1, files).ok();
        }
    }
    Ok(())
}

type Hashed = Rc<RefCell<(Sha256, u64)>>;

/// Hashes what passes through.
struct Hashing {
    file: File,
    hashed: Hashed,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        let mut hashed = self.hashed.borrow_mut();
        hashed.0.update(&buffer[..n]);
        hashed.1 += n as u64;
        Ok(n)
    }
}

/// A file to its end: unpacked if its name says so.
fn open(path: &Path, shown: &str, hashed: Hashed) -> Result<Box<dyn BufRead>> {
    let failed = |e| DataError::io(shown, "read", e);
    let file = Hashing { file: File::open(path).map_err(failed)?, hashed };
    Ok(if shown.ends_with(".gz") {
        let packed = BufReader::with_capacity(CHUNK, file);
        Box::new(BufReader::with_capacity(CHUNK, MultiGzDecoder::new(packed)))
    } else {
        Box::new(BufReader::with_capacity(CHUNK, file))
    })
}

/// Error of a read after `lines` lines.
fn read_error(file: &str, lines: u64, source: io::Error) -> DataError {
    match source.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            let problem = format!("cannot be unpacked after line {lines} ({source})");
            error(file, problem, "it is damaged or cut short: download it again")
        }
        _ => DataError::io(file, "read", source),
    }
}

/// A file that was read, for [`Raw::record`].
pub(crate) struct FileRecord {
    file: String,
    hashed: Hashed,
    rows: u64,
}

/// A file of lines.
pub(crate) struct Lines {
    file: String,
    hashed: Hashed,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
    rows: u64,
}

impl Lines {
    fn open(path: PathBuf, file: String) -> Result<Self> {
        let hashed = Hashed::default();
        let reader = open(&path, &file, Rc::clone(&hashed))?;
        Ok(Self { file, hashed, reader, line: Vec::new(), number: 0, rows: 0 })
    }

    /// The next line that is not empty.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>> {
        loop {
            self.line.clear();
            match self.reader.read_until(b'\n', &mut self.line) {
                Ok(0) => return Ok(None),
                Ok(_) => self.number += 1,
                Err(e) => return Err(read_error(&self.file, self.number, e)),
            }
            self.line.truncate(without_end(&self.line));
            if !self.line.is_empty() {
                break;
            }
        }
        self.rows += 1;
        Ok(Some(Line { at: At { file: &self.file, line: self.number }, bytes: &self.line }))
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Record of the file that was read.
    pub(crate) fn done(self) -> FileRecord {
        FileRecord { file: self.file, hashed: self.hashed, rows: self.rows }
    }
}

/// Length of a line without the characters that end it.
fn without_end(line: &[u8]) -> usize {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line).len()
}

/// A place in a raw file, to say what is wrong there.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    file: &'a str,
    line: u64,
}

impl<'a> At<'a> {
    /// An error of the row.
    pub(crate) fn row(self, problem: impl Into<String>) -> DataError {
        let fix = "the file is damaged or of another format: download it again";
        DataError::row(self.file, Place::Line(self.line), problem, fix)
    }

    /// An error of a value.
    pub(crate) fn value(self, column: &str, value: &[u8], wanted: &str) -> DataError {
        const LONGEST: usize = 60; // bytes: a message stays on a line or two
        let shown = String::from_utf8_lossy(&value[..value.len().min(LONGEST)]);
        let more = if value.len() > LONGEST { "…" } else { "" };
        self.row(format!("{shown:?}{more} is not {wanted}")).in_column(column)
    }

    /// A text.
    pub(crate) fn text(self, column: &str, value: &'a [u8]) -> Result<&'a str> {
        std::str::from_utf8(value).map_err(|_| self.value(column, value, "UTF-8"))
    }

    /// An integer.
    pub(crate) fn int(self, column: &str, value: &[u8]) -> Result<i64> {
        std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| self.value(column, value, "an integer"))
    }

    /// A label written as 0 or 1.
    pub(crate) fn label(self, column: &str, value: &[u8]) -> Result<bool> {
        match value {
            b"0" => Ok(false),
            b"1" => Ok(true),
            _ => Err(self.value(column, value, "0 or 1")),
        }
    }
}

/// One line.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) at: At<'a>,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Line<'a> {
    /// Its N columns.
    pub(crate) fn columns<const N: usize>(self, separator: &[u8]) -> Result<[&'a [u8]; N]> {
        let (mut columns, mut found, mut rest) = ([&b""[..]; N], 0, self.bytes);
        loop {
            let end = rest.windows(separator.len()).position(|w| w == separator);
            if found < N {
                columns[found] = &rest[..end.unwrap_or(rest.len())];
            }
            found += 1;
            match end {
                Some(end) => rest = &rest[end + separator.len()..],
                None if found == N => return Ok(columns),
                None => return Err(self.at.row(format!("has {found} columns, where {N} belong"))),
            }
        }
    }
}

/// A file with a header, whose values may be quoted.
pub(crate) struct Table<const N: usize> {
    file: String,
    hashed: Hashed,
    reader: csv::Reader<Box<dyn BufRead>>,
    record: csv::ByteRecord,
    names: [&'static str; N],
    columns: [usize; N],
    rows: u64,
}

impl<const N: usize> Table<N> {
    fn open(path: PathBuf, file: String, delimiter: u8, names: [&'static str; N]) -> Result<Self> {
        let hashed = Hashed::default();
        let reader = open(&path, &file, Rc::clone(&hashed))?;
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(reader);
        let header = reader.byte_headers().map_err(|e| csv_error(&file, e))?;
        let mut columns = [0; N];
        for (column, name) in columns.iter_mut().zip(names) {
            let clean =
                |h: &[u8]| h.strip_prefix(b"\xef\xbb\xbf").unwrap_or(h).trim_ascii() == name.as_bytes();
            *column = header.iter().position(clean).ok_or_else(|| {
                let have = header.iter().map(String::from_utf8_lossy).take(20).collect::<Vec<_>>().join(", ");
                At { file: &file, line: 1 }.row(format!("has no column '{name}' among {have}"))
            })?;
        }
        Ok(Self { file, hashed, reader, record: csv::ByteRecord::new(), names, columns, rows: 0 })
    }

    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<Row<'_, N>>> {
        if !self.reader.read_byte_record(&mut self.record).map_err(|e| csv_error(&self.file, e))? {
            return Ok(None);
        }
        self.rows += 1;
        let line = self.record.position().map_or(0, csv::Position::line);
        let at = At { file: &self.file, line };
        Ok(Some(Row { at, record: &self.record, names: &self.names, columns: &self.columns }))
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Record of the file that was read.
    pub(crate) fn done(self) -> FileRecord {
        FileRecord { file: self.file, hashed: self.hashed, rows: self.rows }
    }
}

fn csv_error(file: &str, e: csv::Error) -> DataError {
    let line = e.position().map_or(0, csv::Position::line);
    match e.into_kind() {
        csv::ErrorKind::Io(e) => read_error(file, line, e),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            At { file, line }.row(format!("has {len} columns, where {expected_len} belong"))
        }
        other => At { file, line }.row(format!("cannot be read ({other:?})")),
    }
}

/// One row; values by the number of their name in [`Raw::table`].
#[derive(Clone, Copy)]
pub(crate) struct Row<'a, const N: usize> {
    pub(crate) at: At<'a>,
    record: &'a csv::ByteRecord,
    names: &'a [&'static str; N],
    columns: &'a [usize; N],
}

impl<'a, const N: usize> Row<'a, N> {
    /// A value.
    pub(crate) fn bytes(self, i: usize) -> &'a [u8] {
        self.record.get(self.columns[i]).unwrap_or_default().trim_ascii()
    }

    /// A text.
    pub(crate) fn text(self, i: usize) -> Result<&'a str> {
        self.at.text(self.names[i], self.bytes(i))
    }

    /// An integer.
    pub(crate) fn int(self, i: usize) -> Result<i64> {
        self.at.int(self.names[i], self.bytes(i))
    }

    /// A label written as 0 or 1.
    pub(crate) fn label(self, i: usize) -> Result<bool> {
        self.at.label(self.names[i], self.bytes(i))
    }

    /// An error of a value.
    pub(crate) fn wrong(self, i: usize, wanted: &str) -> DataError {
        self.at.value(self.names[i], self.bytes(i), wanted)
    }
}
