//! Facts about the columns of data, from its first rows.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use optmsm_data::{DataError, Form, Holds, Peek, PeekColumn, Reading, Source, Value};

use super::texts::{Marked, Texts};
use crate::error::Result;
use crate::leak::Distinct;

/// Different values that are kept as examples.
const EXAMPLES: usize = 3;
/// Values that are looked at: of a table with many columns fewer rows, so that memory and time are bounded.
const CELLS: u64 = 20_000_000;
/// Rows that are looked at all the same.
const FEWEST: u64 = 200;
/// Columns that may be left out because they cannot be decoded: each time, reading starts again.
const DAMAGED: usize = 20;
/// Words for the labels 0 and 1, in small letters.
const ZERO_ONE: [[&str; 2]; 4] = [["-1", "1"], ["no", "yes"], ["n", "y"], ["f", "t"]];
/// Texts that stand for nothing, in small letters.
const NOTHING: [&str; 10] = ["0", "false", "no", "none", "null", "nan", "n/a", "-", "[]", "{}"];

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
}

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) holds: Holds,
    /// Its type in the words of the file, if it has one.
    pub(super) of: Option<String>,
    /// Why no field can read it, if so.
    pub(super) unreadable: Option<String>,
    pub(super) missing: u64,
    /// Place in `values` of each row's value.
    pub(super) codes: Vec<u32>,
    /// The distinct values in the order in which they came, behind the missing one.
    pub(super) values: Vec<Distinct>,
    /// Rows of each of them.
    pub(super) counts: Vec<u64>,
    places: HashMap<u64, u32>, // of the values, by hash
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
    pub(super) texts: Texts,
    /// How its texts hold numbers, where some have marks.
    pub(super) marks: Option<Marked>,
    /// Its lists, if it holds such.
    pub(super) items: Items,
}

/// Values of lists.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// All of them.
    pub(super) all: u64,
    /// Those of the form `text:number`.
    pub(super) weighted: u64,
}

impl Columns {
    /// Reads at most `rows` rows, at least one; columns named in `left` are not looked at.
    pub(super) fn read(source: &Source, rows: u64, form: Form, left: &[String]) -> Result<Self> {
        let mut unreadable: HashMap<String, String> = HashMap::new();
        let mut skipped: HashSet<String> = left.iter().cloned().collect();
        loop {
            match Self::read_once(source, rows, form, &skipped, &unreadable) {
                // One column alone cannot be decoded, and training would not read it.
                Err(crate::error::Error::Data(DataError::Value { column, problem, .. }))
                    if unreadable.len() < DAMAGED && skipped.insert(column.clone()) =>
                {
                    unreadable.insert(column, problem);
                }
                other => return other,
            }
        }
    }

    fn read_once(
        source: &Source,
        rows: u64,
        form: Form,
        skipped: &HashSet<String>,
        unreadable: &HashMap<String, String>,
    ) -> Result<Self> {
        let mut peek = Peek::open_without(source.clone(), form, skipped)?;
        let mut list: Vec<Column> = peek.columns().iter().cloned().map(Column::new).collect();
        list.iter_mut().for_each(|column| column.unreadable = unreadable.get(&column.name).cloned());
        let rows = rows.min((CELLS / list.len().max(1) as u64).max(FEWEST));
        let hasher = RandomState::new();
        let (mut seen, mut whole) = (0, false);
        while seen < rows {
            if !peek.next_row()? {
                whole = true;
                break;
            }
            seen += 1;
            for (i, column) in list.iter_mut().enumerate() {
                column.add(peek.value(i), &hasher);
            }
        }
        let delimiter = peek.delimiter().unwrap_or(',');
        list.iter_mut().for_each(|column| column.finish(delimiter));
        let progress = peek.progress();
        let scaled = |total: u64| (seen as f64 * total as f64 / progress.bytes.max(1) as f64) as u64;
        let about = progress.total_bytes.filter(|_| !whole).map_or(seen, scaled);
        let reading = peek.reading().cloned().unwrap_or_default();
        Ok(Self { reading, list, rows: seen, whole, about: about.max(seen) })
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
        let rows = self.list[a].codes.iter().zip(&self.list[b].codes);
        let pairs: HashSet<(u32, u32)> =
            rows.filter(|(a, b)| **a > 0 && **b > 0).map(|(&a, &b)| (a, b)).collect();
        pairs.len()
    }
}

impl Column {
    pub(super) fn new(column: PeekColumn) -> Self {
        let PeekColumn { name, holds, of } = column;
        Self {
            name,
            holds,
            of,
            unreadable: None,
            missing: 0,
            codes: Vec::new(),
            values: vec![Distinct { number: None, nothing: true }],
            counts: vec![0],
            places: HashMap::new(),
            examples: Vec::new(),
            numbers: 0,
            whole_numbers: 0,
            padded: 0,
            zero_one: 0,
            least: 0.0,
            greatest: 0.0,
            sum: 0.0,
            texts: Texts::default(),
            marks: None,
            items: Items::default(),
        }
    }

    /// Adds a row.
    pub(super) fn add(&mut self, value: Value, hasher: &RandomState) {
        let code = match value {
            Value::Bytes => {
                self.unreadable.get_or_insert_with(|| "it holds bytes that are no UTF-8 text".into());
                0
            }
            Value::One("") | Value::Many([]) => 0,
            Value::One(text) => self.code(text, hasher),
            Value::Many(items) => {
                self.items.all += items.len() as u64;
                self.items.weighted += items.iter().filter(|item| has_weight(item)).count() as u64;
                self.code(&items.join("|"), hasher)
            }
        };
        self.missing += u64::from(code == 0);
        self.counts[code as usize] += 1;
        self.codes.push(code);
    }

    /// The code of a value; what is new is looked at.
    fn code(&mut self, value: &str, hasher: &RandomState) -> u32 {
        let place = match self.places.entry(hasher.hash_one(value)) {
            Entry::Occupied(known) => return *known.get(),
            Entry::Vacant(new) => *new.insert(self.values.len() as u32),
        };
        if self.examples.len() < EXAMPLES {
            self.examples.push(value.into());
        }
        let trimmed = value.trim();
        let number = trimmed.parse::<f64>().ok().filter(|v| v.abs() <= f64::from(f32::MAX));
        let number = number.filter(|_| !matches!(self.holds, Holds::Booleans | Holds::Lists { .. }));
        let nothing = number == Some(0.0) || NOTHING.contains(&trimmed.to_lowercase().as_str());
        if number.is_some() {
            let digits = trimmed.trim_start_matches('-').as_bytes();
            let padded = digits.len() > 1 && digits[0] == b'0' && digits[1].is_ascii_digit();
            self.padded += u64::from(padded);
        }
        let text = matches!(self.holds, Holds::Text | Holds::Dictionary);
        if text {
            self.texts.add(value, place as usize, number, hasher);
        }
        self.values.push(Distinct { number, nothing });
        self.counts.push(0);
        place
    }

    /// Sums up what the rows hold of the distinct values; `delimiter` is that of the CSV.
    pub(super) fn finish(&mut self, delimiter: char) {
        self.texts.finish(|part| self.places.contains_key(&part));
        self.marks = self.texts.numbers(delimiter);
        if let Some(Marked::Numbers(marks)) = self.marks {
            for (place, text) in self.texts.marked() {
                self.values[*place].number = marks.parse(text);
            }
        }
        let booleans = self.holds == Holds::Booleans;
        for (known, &rows) in self.values.iter().zip(&self.counts).skip(1) {
            let number = if booleans { Some(f64::from(u8::from(!known.nothing))) } else { known.number };
            let Some(v) = number else { continue };
            (self.least, self.greatest) =
                if self.numbers == 0 { (v, v) } else { (self.least.min(v), self.greatest.max(v)) };
            self.numbers += rows;
            self.whole_numbers += if v.fract() == 0.0 { rows } else { 0 };
            self.zero_one += if v == 0.0 || v == 1.0 { rows } else { 0 };
            self.sum += v * rows as f64;
        }
    }

    /// Rows with a value.
    pub(super) fn present(&self) -> u64 {
        self.codes.len() as u64 - self.missing
    }

    pub(super) fn distinct(&self) -> usize {
        self.values.len() - 1
    }

    /// Distinct values that were seen once.
    pub(super) fn singles(&self) -> usize {
        self.counts.iter().skip(1).filter(|&&n| n == 1).count()
    }

    /// Whether a row has one value, which may name something.
    pub(super) fn is_name(&self) -> bool {
        let of = matches!(self.holds, Holds::Lists { .. } | Holds::Floats | Holds::Times | Holds::Unreadable);
        !of && self.unreadable.is_none()
    }

    /// Whether it can be a label: every value is there and 0 or 1.
    pub(super) fn is_label(&self) -> bool {
        self.missing == 0 && self.present() > 0 && self.zero_one == self.present()
    }

    /// How it writes 0 and 1, where it does so in two other words of which is clear which is which.
    pub(super) fn label_values(&self) -> Option<[&str; 2]> {
        let [a, b] = &self.examples[..] else { return None };
        let is = |zero: &str, one: &str| {
            ZERO_ONE.contains(&[zero.to_lowercase().as_str(), one.to_lowercase().as_str()])
        };
        let pair = match () {
            () if is(a, b) => Some([a.as_str(), b]),
            () if is(b, a) => Some([b.as_str(), a]),
            () => None,
        };
        pair.filter(|_| self.missing == 0 && self.distinct() == 2)
    }

    /// Whether each row has the label 1, of a column that can be one.
    pub(super) fn labels(&self) -> Vec<bool> {
        // The examples are the first of the values.
        let one = self.label_values().and_then(|[_, one]| self.examples.iter().position(|e| e == one));
        let is_one = |code: u32| match one {
            Some(at) => code as usize == at + 1,
            None => !self.values[code as usize].nothing,
        };
        self.codes.iter().map(|&code| is_one(code)).collect()
    }
}

/// Whether a value of a list has the form `text:number`.
pub(super) fn has_weight(item: &str) -> bool {
    let weight = item.rsplit_once(':').filter(|(name, _)| !name.is_empty());
    weight.and_then(|(_, w)| w.trim().parse::<f32>().ok()).is_some_and(f32::is_finite)
}
