//! A look at data that nothing is known of: its columns, what they hold, and their values as text.

use std::collections::HashSet;

use arrow_schema::DataType;

use crate::error::{DataError, Result};
use crate::fault::Parsed;
use crate::parse;
use crate::source::{
    Cell, Done, Progress, Quoting, Reading, Records, Rows, Source, Speller, Stream, Values, Whole, Work,
    can_be_read, with_values,
};

/// Delimiters that are tried, in the order of preference.
const DELIMITERS: [char; 4] = [',', '\t', ';', '|'];

/// Type of the cells of a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holds {
    /// Text: all that a CSV has, and the names of folders.
    #[default]
    Text,
    /// Text in a dictionary: who wrote it took it for categories.
    Dictionary,
    /// `true` and `false`.
    Booleans,
    /// Integers of any width.
    Integers,
    /// Floats of any width, and decimals.
    Floats,
    /// Dates, times and durations, as integers of their own unit.
    Times,
    /// Lists of values.
    Lists {
        /// Whether the values are floats.
        floats: bool,
        /// Whether each value has a weight: maps, and lists of pairs.
        weighted: bool,
    },
    /// Values of a type that no field reads.
    Unreadable,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeekColumn {
    /// Its name.
    pub name: String,
    /// Type of its cells.
    pub holds: Holds,
    /// Its type in the words of the file; none of a CSV, which has no types.
    pub of: Option<String>,
}

/// A value as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// One, in the spelling that stands for all of its; a missing one is empty.
    One(&'a str),
    /// Those of a list, without missing ones.
    Many(&'a [String]),
    /// Bytes that are no UTF-8, which no field reads.
    Bytes,
}

/// Form of a CSV, as far as it cannot be seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form {
    /// Meaning of quotes.
    pub quoting: Quoting,
    /// Whether there is no header: the columns are then `c1`, `c2` and so on.
    pub no_header: bool,
}

/// Rows of files of any kind, read without a schema.
pub struct Peek {
    stream: Stream<Keep>,
    rows: Option<Rows>,
    next: usize,              // row of them
    error: Option<DataError>, // to come behind them
    progress: Progress,
    csv: Option<Reading>,
    speller: Speller,
    columns: Vec<PeekColumn>,
    places: Vec<Option<usize>>, // none of a column that is not read
    text: String,
    items: Vec<String>,
}

/// Rows as they are.
struct Keep {
    width: usize, // columns
}

/// Memory of a value that waits, about.
const VALUE: usize = 16;

impl Work for Keep {
    type Made = Rows;

    fn work(&mut self, mut rows: Rows) -> Done<Rows> {
        let error = rows.take_error();
        Done { bytes: VALUE * rows.len() * self.width, made: rows, error }
    }
}

impl std::fmt::Debug for Peek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peek").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl Peek {
    /// Opens the first file of a source. The delimiter of a CSV is the one that cuts its first line into the most
    /// values.
    ///
    /// # Errors
    /// There is no such file, it cannot be read, its first line is a row, or two columns have the same name.
    pub fn open(source: impl Into<Source>) -> Result<Self> {
        Self::open_without(source, Form::default(), &HashSet::new())
    }

    /// [`Peek::open`] of a CSV of a form, without reading the columns `left`, all values of which are then missing
    /// ones.
    ///
    /// # Errors
    /// As [`Peek::open`].
    pub fn open_without(source: impl Into<Source>, form: Form, left: &HashSet<String>) -> Result<Self> {
        let source = source.into();
        let whole = Whole::open(&source)?;
        let csv = match &whole {
            Some(_) => None,
            None => Some(csv(&source, form)?),
        };
        let reading = csv.clone().unwrap_or_default();
        let mut records = Records::open(&source, &reading)?;
        let columns: Vec<PeekColumn> = match &whole {
            Some(whole) => {
                let fields = whole.schema().fields().iter().enumerate();
                let column = |(i, field): (usize, &std::sync::Arc<arrow_schema::Field>)| PeekColumn {
                    name: field.name().clone(),
                    holds: holds(field.data_type()),
                    of: Some(if i < whole.own() { field.data_type().to_string() } else { "folders".into() }),
                };
                fields.map(column).collect()
            }
            None => {
                let names = records.header().iter();
                let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
                names.map(|n| PeekColumn { name: name(n), holds: Holds::Text, of: None }).collect()
            }
        };
        let mut places = Vec::with_capacity(columns.len());
        for column in &columns {
            let read = column.holds != Holds::Unreadable && !left.contains(&column.name);
            places.push(read.then(|| records.find(&column.name, "the file")).transpose()?);
        }
        let progress = Progress { rows: 0, bytes: 0, total_bytes: records.total_bytes() };
        let width = columns.len();
        Ok(Self {
            stream: Stream::new(records, || Keep { width })?,
            rows: None,
            next: 0,
            error: None,
            progress,
            csv,
            speller: Speller::new(&reading),
            columns,
            places,
            text: String::new(),
            items: Vec::new(),
        })
    }

    /// Character between the values of a row. None for files other than CSV.
    pub fn delimiter(&self) -> Option<char> {
        self.csv.as_ref().map(|reading| reading.delimiter)
    }

    /// How a CSV is read; none of other files.
    pub fn reading(&self) -> Option<&Reading> {
        self.csv.as_ref()
    }

    /// The columns of the first file, then those of its folders.
    pub fn columns(&self) -> &[PeekColumn] {
        &self.columns
    }

    /// Goes to the next row; false at the end.
    ///
    /// # Errors
    /// A row cannot be read, or there is none at all.
    pub fn next_row(&mut self) -> Result<bool> {
        loop {
            if let Some(rows) = self.rows.as_ref().filter(|rows| self.next < rows.len()) {
                self.next += 1;
                self.progress = rows.span().at(self.next, rows.len());
                return Ok(true);
            }
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            let Some(done) = self.stream.next()? else { return Ok(false) };
            (self.rows, self.next, self.error) = (Some(done.made), 0, done.error);
        }
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// A value of the row at hand; of a column that is not read always a missing one.
    pub fn value(&mut self, column: usize) -> Value<'_> {
        let Self { rows, next, places, speller, text, items, .. } = self;
        let (Some(place), Some(rows), Some(row)) = (places[column], rows, next.checked_sub(1)) else {
            return Value::One("");
        };
        match with_values!(rows, place, |values| take(values.cell(row), speller, text, items)) {
            Ok(true) => Value::Many(items),
            Ok(false) => Value::One(text),
            Err(_) => Value::Bytes,
        }
    }
}

/// The values of a text that is a list as `list = "json"` reads it; none of another text.
pub fn bracketed(text: &str) -> Option<Vec<String>> {
    let mut values = Vec::new();
    let each = |value: &str| {
        values.push(value.to_owned());
        Ok(())
    };
    parse::bracketed(text, each).ok().map(|()| values)
}

/// The value of a cell, and whether it is a list.
fn take(cell: Cell, speller: &Speller, text: &mut String, items: &mut Vec<String>) -> Parsed<bool> {
    let mut scratch = String::new();
    items.clear();
    if let Cell::List(list) = cell {
        for i in 0..list.len() {
            let item = speller.cell(list.cell(i)).text(&mut scratch)?;
            if !item.is_empty() {
                items.push(item.to_owned());
            }
        }
        return Ok(true);
    }
    let value = speller.cell(cell).text(&mut scratch)?;
    text.clear();
    text.push_str(value);
    Ok(false)
}

/// How a CSV is read: with the delimiter that cuts its first line into the most values.
fn csv(source: &Source, Form { quoting, no_header }: Form) -> Result<Reading> {
    // With a name, whatever it is, the first line is not taken for a header, which it may not be.
    let reading =
        |delimiter| Reading { delimiter, quoting, columns: vec!["c1".into()], ..Reading::default() };
    let (mut best, mut most) = (reading(DELIMITERS[0]), 0);
    for delimiter in DELIMITERS {
        // Errors come again, when the file is read for good.
        let width = Records::open(source, &reading(delimiter)).map_or(0, |records| records.width());
        if width > most {
            (best, most) = (reading(delimiter), width);
        }
    }
    let columns = if no_header { (1..=most).map(|i| format!("c{i}")).collect() } else { Vec::new() };
    Ok(Reading { columns, ..best })
}

fn holds(of: &DataType) -> Holds {
    use DataType as T;
    if !can_be_read(of) {
        return Holds::Unreadable;
    }
    let floats = |of: &DataType| holds(of) == Holds::Floats;
    match of {
        T::Boolean => Holds::Booleans,
        of if of.is_integer() => Holds::Integers,
        of if of.is_floating() => Holds::Floats,
        T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..) => Holds::Floats,
        of if of.is_temporal() => Holds::Times,
        T::Dictionary(_, value) if holds(value) == Holds::Text => Holds::Dictionary,
        T::Dictionary(_, value) => holds(value),
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => match item.data_type() {
            T::Struct(pair) => Holds::Lists { floats: floats(pair[0].data_type()), weighted: true },
            item => Holds::Lists { floats: floats(item), weighted: false },
        },
        T::Map(entry, _) => match entry.data_type() {
            T::Struct(pair) => Holds::Lists { floats: floats(pair[0].data_type()), weighted: true },
            _ => Holds::Unreadable,
        },
        _ => Holds::Text,
    }
}
