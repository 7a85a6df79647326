//! What the first rows of data show of its columns.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use optmsm_data::{Form, Holds, Peek, PeekColumn, Reading, Source, Value};

use crate::error::Result;

/// Text between values of a list; a space only where nearly every value has one.
pub(super) const SEPARATORS: [char; 4] = ['|', ';', ',', ' '];
/// Different values that are kept as examples, and that are told apart by scenario.
const EXAMPLES: usize = 3;

/// The columns of a file.
#[derive(Debug)]
pub(super) struct Columns {
    /// How a CSV is read.
    pub(super) reading: Reading,
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
    pub(super) holds: Holds,
    /// Its type in the words of the file, if it has one.
    pub(super) of: Option<String>,
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
    /// Its lists, if it holds such.
    pub(super) items: Lists,
}

/// The values of lists: of a column's own, or of its texts taken apart at one separator.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Rows that have some.
    pub(super) values: u64,
    /// Parts, all and distinct.
    pub(super) parts: u64,
    pub(super) distinct: HashMap<u64, ()>,
    /// Parts of the form `text:number`.
    pub(super) weighted: u64,
}

impl Columns {
    /// Reads at most `rows` rows, at least one.
    pub(super) fn read(source: &Source, rows: u64, form: Form) -> Result<Self> {
        let mut peek = Peek::open_as(source.clone(), form)?;
        let mut list: Vec<Column> = peek.columns().iter().cloned().map(Column::new).collect();
        let hasher = RandomState::new();
        let (mut seen, mut whole, mut hashes) = (0, false, Vec::new());
        while seen < rows {
            if !peek.next_row()? {
                whole = true;
                break;
            }
            seen += 1;
            for (i, column) in list.iter_mut().enumerate() {
                hashes.push(column.add(peek.value(i)?, &hasher));
            }
        }
        let progress = peek.progress();
        let scaled = |total: u64| (seen as f64 * total as f64 / progress.bytes.max(1) as f64) as u64;
        let about = progress.total_bytes.filter(|_| !whole).map_or(seen, scaled);
        let reading = peek.reading().cloned().unwrap_or_default();
        Ok(Self { reading, list, rows: seen, whole, about: about.max(seen), hashes })
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

impl Lists {
    /// Adds the parts of one list.
    fn add<'a>(&mut self, parts: impl Iterator<Item = &'a str>, hasher: &RandomState) {
        self.values += 1;
        for part in parts {
            self.parts += 1;
            self.distinct.insert(hasher.hash_one(part), ());
            let weight = part.rsplit_once(':').and_then(|(_, w)| w.trim().parse::<f32>().ok());
            self.weighted += u64::from(weight.is_some_and(f32::is_finite));
        }
    }
}

impl Column {
    pub(super) fn new(column: PeekColumn) -> Self {
        let PeekColumn { name, holds, of } = column;
        Self { name, holds, of, ..Self::default() }
    }

    /// Adds a row; returns the value's hash.
    pub(super) fn add(&mut self, value: Value, hasher: &RandomState) -> u64 {
        match value {
            Value::One(text) => self.add_text(text, hasher),
            Value::Many([]) => self.add_text("", hasher),
            Value::Many(items) => {
                self.items.add(items.iter().map(String::as_str), hasher);
                self.count(&items.join("|"), hasher)
            }
        }
    }

    fn count(&mut self, value: &str, hasher: &RandomState) -> u64 {
        let hash = hasher.hash_one(value).max(MISSING + 1);
        let count = self.counts.entry(hash).or_default();
        *count += 1;
        if *count == 1 && self.examples.len() < EXAMPLES {
            self.examples.push(value.into());
        }
        hash
    }

    fn add_text(&mut self, value: &str, hasher: &RandomState) -> u64 {
        if value.is_empty() {
            self.missing += 1;
            return MISSING;
        }
        let hash = self.count(value, hasher);
        if self.holds == Holds::Booleans {
            self.zero_one += 1;
            self.sum += f64::from(u8::from(value == "true"));
            return hash;
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
            if value.contains(*separator) {
                lists.add(value.split(*separator).filter(|part| !part.is_empty()), hasher);
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

    /// Whether a row has one value, which may name something.
    pub(super) fn is_name(&self) -> bool {
        !matches!(self.holds, Holds::Lists { .. } | Holds::Floats | Holds::Times | Holds::Unreadable)
    }

    /// Whether it can be a label: every value is there and 0 or 1.
    pub(super) fn is_label(&self) -> bool {
        self.missing == 0 && self.present() > 0 && self.zero_one == self.present()
    }
}
