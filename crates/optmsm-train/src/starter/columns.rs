//! What the first rows of a CSV file show of its columns.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{BufRead, BufReader, Read};

use csv::{ByteRecord, ErrorKind};

use crate::error::{Error, Result};

/// Bytes in which the delimiter is looked for.
const HEAD: usize = 1 << 16;
/// Delimiters that are tried, in the order of preference.
const DELIMITERS: [char; 4] = [',', '\t', ';', '|'];
/// Text between values of a list; a space only where nearly every value has one.
pub(super) const SEPARATORS: [char; 4] = ['|', ';', ',', ' '];
/// Different values that are kept as examples, and that are told apart by scenario.
const EXAMPLES: usize = 3;

/// The columns of a file.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) delimiter: char,
    pub(super) list: Vec<Column>,
    /// Rows that were looked at.
    pub(super) rows: u64,
    /// Whether these were all.
    pub(super) whole: bool,
    /// Rows of the file, estimated from its size when these were not all.
    pub(super) about: u64,
    /// Hash of each value that was looked at, row by row; what says whether values belong to one scenario.
    hashes: Vec<u64>,
}

/// One column.
#[derive(Debug, Default)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) missing: u64,
    /// Rows of each distinct value, by its hash; missing ones are left out.
    pub(super) counts: HashMap<u64, u64>,
    pub(super) examples: Vec<String>,
    /// Values that are finite numbers; of these whole ones, and such with a zero before other digits.
    pub(super) numbers: u64,
    pub(super) whole_numbers: u64,
    pub(super) padded: u64,
    /// Values that are 0 or 1, as a number.
    pub(super) zero_one: u64,
    pub(super) least: f64,
    pub(super) greatest: f64,
    pub(super) sum: f64,
    pub(super) lists: [Lists; SEPARATORS.len()],
}

/// The values of a column taken apart at one separator.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Values that it occurs in.
    pub(super) values: u64,
    /// Parts, all and distinct.
    pub(super) parts: u64,
    pub(super) distinct: HashMap<u64, ()>,
    /// Parts of the form `text:number`.
    pub(super) weighted: u64,
}

impl Columns {
    /// Reads a header and at most `rows` rows; `bytes` is the file's size.
    pub(super) fn read(name: &str, file: impl Read, bytes: Option<u64>, rows: u64) -> Result<Self> {
        let fail = |problem: String, fix: &str| Error::file(name, problem, fix);
        let io =
            |e: std::io::Error| fail(format!("cannot be read: {e}"), "check the file and its permissions");
        let mut file = BufReader::with_capacity(HEAD, file);
        let head = file.fill_buf().map_err(io)?;
        if head.starts_with(b"PAR1")
            || head.starts_with(&[0x1f, 0x8b])
            || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        {
            let fix = "give some of its rows as CSV text, then name this file in data.train";
            return Err(fail("is not CSV text".into(), fix));
        }
        let delimiter = delimiter(head);
        let mut csv =
            csv::ReaderBuilder::new().delimiter(delimiter as u8).has_headers(false).from_reader(file);
        let wrong = |e: csv::Error| match e.into_kind() {
            ErrorKind::UnequalLengths { pos, expected_len, len } => {
                let line = pos.map_or(String::new(), |p| format!("near line {}: ", p.line()));
                let problem = format!("{line}{len} values where the header has {expected_len} columns");
                fail(problem, "fix the row; a value with the delimiter in it must be in quotes")
            }
            ErrorKind::Io(e) => io(e),
            other => fail(format!("{other:?}"), "check the file"),
        };
        let mut record = ByteRecord::new();
        if !csv.read_byte_record(&mut record).map_err(wrong)? {
            return Err(fail("is empty".into(), "give a file with a header and rows"));
        }
        let mut list: Vec<Column> = Vec::new();
        for (i, column) in record.iter().enumerate() {
            let Ok(column) = std::str::from_utf8(column) else {
                let problem = format!("the name of column {} is not valid UTF-8", i + 1);
                return Err(fail(problem, "save the file as UTF-8"));
            };
            if list.iter().any(|c| c.name == column) {
                return Err(fail(format!("column {column:?} appears twice"), "rename or drop one"));
            }
            list.push(Column { name: column.into(), ..Column::default() });
        }
        let hasher = RandomState::new();
        let (mut seen, mut whole, mut hashes) = (0, false, Vec::new());
        let first = csv.position().byte();
        while seen < rows {
            if !csv.read_byte_record(&mut record).map_err(wrong)? {
                whole = true;
                break;
            }
            seen += 1;
            for (column, value) in list.iter_mut().zip(&record) {
                let Ok(value) = std::str::from_utf8(value) else {
                    let problem = format!("row {seen}, column {:?}: a value is not valid UTF-8", column.name);
                    return Err(fail(problem, "save the file as UTF-8"));
                };
                hashes.push(column.add(value, &hasher));
            }
        }
        if seen == 0 {
            return Err(fail("has a header but no row".into(), "give at least one row"));
        }
        let read = (csv.position().byte() - first).max(1);
        let about = match bytes {
            Some(bytes) if !whole => {
                (seen as f64 * (bytes.saturating_sub(first)) as f64 / read as f64) as u64
            }
            _ => seen,
        };
        Ok(Self { delimiter, list, rows: seen, whole, about: about.max(seen), hashes })
    }

    /// Whether both files have the same columns, in any order.
    pub(super) fn same_header(&self, other: &Columns) -> bool {
        let names = |c: &Columns| {
            let mut names: Vec<_> = c.list.iter().map(|c| c.name.clone()).collect();
            names.sort();
            names
        };
        names(self) == names(other)
    }

    /// Distinct pairs of values of two columns.
    pub(super) fn pairs(&self, a: usize, b: usize) -> usize {
        let rows = self.hashes.chunks_exact(self.list.len());
        let pairs: HashMap<(u64, u64), ()> =
            rows.filter(|r| r[a] != MISSING && r[b] != MISSING).map(|r| ((r[a], r[b]), ())).collect();
        pairs.len()
    }
}

/// Hash of a missing value.
const MISSING: u64 = 0;

impl Column {
    fn add(&mut self, value: &str, hasher: &RandomState) -> u64 {
        if value.is_empty() {
            self.missing += 1;
            return MISSING;
        }
        let hash = hasher.hash_one(value).max(MISSING + 1);
        let count = self.counts.entry(hash).or_default();
        *count += 1;
        if *count == 1 && self.examples.len() < EXAMPLES {
            self.examples.push(value.into());
        }
        if let Some(v) = value.trim().parse::<f64>().ok().filter(|v| v.abs() <= f64::from(f32::MAX)) {
            (self.least, self.greatest) =
                if self.numbers == 0 { (v, v) } else { (self.least.min(v), self.greatest.max(v)) };
            self.numbers += 1;
            self.whole_numbers += u64::from(v.fract() == 0.0);
            self.zero_one += u64::from(v == 0.0 || v == 1.0);
            let digits = value.trim().trim_start_matches('-').as_bytes();
            self.padded += u64::from(digits.len() > 1 && digits[0] == b'0' && digits[1].is_ascii_digit());
            self.sum += v;
        }
        for (separator, lists) in SEPARATORS.iter().zip(&mut self.lists) {
            if !value.contains(*separator) {
                continue;
            }
            lists.values += 1;
            for part in value.split(*separator).filter(|part| !part.is_empty()) {
                lists.parts += 1;
                lists.distinct.insert(hasher.hash_one(part), ());
                let weight = part.rsplit_once(':').and_then(|(_, w)| w.trim().parse::<f32>().ok());
                lists.weighted += u64::from(weight.is_some_and(f32::is_finite));
            }
        }
        hash
    }

    /// Rows with a value.
    pub(super) fn present(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(super) fn distinct(&self) -> usize {
        self.counts.len()
    }

    /// Distinct values that were seen once.
    pub(super) fn singles(&self) -> usize {
        self.counts.values().filter(|&&n| n == 1).count()
    }

    /// Whether it can be a label: every value is there and 0 or 1.
    pub(super) fn is_label(&self) -> bool {
        self.missing == 0 && self.zero_one == self.present()
    }
}

/// The delimiter that cuts the header into the most columns.
fn delimiter(head: &[u8]) -> char {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let line =
        head.split(|&b| b == b'\n').find(|line| !line.iter().all(u8::is_ascii_whitespace)).unwrap_or(&[]);
    let columns = |d: &char| line.iter().filter(|&&b| b == *d as u8).count();
    // `max_by_key` gives the last of equals: the preferred one comes first.
    DELIMITERS.into_iter().rev().max_by_key(columns).unwrap_or(',')
}
