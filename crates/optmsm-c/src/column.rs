//! Columns of a caller, checked and read as the encoder takes values.

use std::ffi::{CStr, c_char, c_void};
use std::fmt::{self, Display};
use std::slice;

use optmsm_data::{Datum, Items};

use crate::failure::Failure;
use crate::model::Model;

/// Type of the values of an optmsm_column.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// There are none: all rows lack the value. values is not read.
    Missing = 0,
    /// const char *: texts in UTF-8. NULL is a missing value.
    Text = 1,
    /// int64_t
    Int64 = 2,
    /// uint64_t
    Uint64 = 3,
    /// double. An integral one is the same value as the integer.
    Double = 4,
    /// uint8_t, as C's bool: 0 is false.
    Bool = 5,
}

/// Values of a column for some rows. Any type does for any kind of column whose values it can say: a category may be a number, and
/// a number a text. The library reads all of it during a call, and keeps none of it.
///
/// A list has offsets: row r has `values[offsets[r]]` up to but without `values[offsets[r + 1]]`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Name, as optmsm_column_name gives it.
    pub name: *const c_char,
    /// An optmsm_type.
    pub r#type: i32,
    /// The values, as type says: one a row, or those of all lists.
    pub values: *const c_void,
    /// Bytes of each text; NULL if all texts end with NUL.
    pub lengths: *const usize,
    /// Of lists: one more than there are rows, which do not fall. NULL if each row has one value.
    pub offsets: *const usize,
    /// Of lists: a weight for each value, or NULL. Of a weighted column without weights, the texts have them ("a:0.5").
    pub weights: *const f64,
    /// 0 for each row whose value, or whole list, is missing; NULL if none is.
    pub present: *const u8,
}

/// Names what a message is about; nothing is written before there is one.
#[derive(Clone, Copy)]
struct At<'a> {
    argument: &'a str,
    column: &'a str,
    part: &'a str, // with a comma in front
}

impl Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, column '{}'{}", self.argument, self.column, self.part)
    }
}

impl<'a> At<'a> {
    fn part(self, part: &'a str) -> Self {
        Self { part, ..self }
    }
}

/// Values of one type.
enum Values<'a> {
    Texts(Vec<Option<&'a str>>),
    Ints(&'a [i64]),
    UInts(&'a [u64]),
    Doubles(&'a [f64]),
    Bools(&'a [u8]),
}

impl Values<'_> {
    fn get(&self, i: usize) -> Datum<'_> {
        match self {
            Self::Texts(values) => values[i].map_or(Datum::Missing, Datum::Text),
            Self::Ints(values) => Datum::Int(values[i]),
            Self::UInts(values) => Datum::UInt(values[i]),
            Self::Doubles(values) => Datum::Float(values[i]),
            Self::Bools(values) => Datum::Bool(values[i] != 0),
        }
    }
}

/// A column that was checked.
struct Checked<'a> {
    values: Values<'a>,
    offsets: Option<&'a [usize]>,
    weights: Option<&'a [f64]>,
    present: Option<&'a [u8]>,
}

/// The columns of one call that have the same rows, by the numbers of the model's.
pub(crate) struct Table<'a> {
    given: Vec<bool>,
    columns: Vec<Option<Checked<'a>>>, // none where all rows lack the value
}

/// The lists of a table.
pub(crate) struct Lists<'t>(Vec<Vec<List<'t>>>);

struct List<'t> {
    values: &'t Values<'t>,
    weights: Option<&'t [f64]>,
    start: usize,
    end: usize,
}

impl Items for List<'_> {
    fn len(&self) -> usize {
        self.end - self.start
    }

    fn item(&self, i: usize) -> Datum<'_> {
        self.values.get(self.start + i)
    }

    fn weight(&self, i: usize) -> Option<Datum<'_>> {
        self.weights.map(|weights| Datum::Float(weights[self.start + i]))
    }

    fn weighted(&self) -> bool {
        self.weights.is_some()
    }
}

impl<'a> Table<'a> {
    /// Reads `count` columns of `rows` rows; `argument` is what the caller knows them as.
    ///
    /// # Safety
    /// Every pointer is null, or points to as much as [`Column`] says, for as long as the table lives.
    pub(crate) unsafe fn read(
        model: &Model,
        argument: &str,
        columns: *const Column,
        count: usize,
        rows: usize,
    ) -> Result<Self, Failure> {
        let all = model.scorer.columns().len();
        let mut table = Self { given: vec![false; all], columns: Vec::new() };
        table.columns.resize_with(all, || None);
        // SAFETY: as the caller's.
        for (i, column) in unsafe { array(columns, count, argument) }?.iter().enumerate() {
            if column.name.is_null() {
                return Err(Failure::null(format!("{argument}[{i}].name")));
            }
            // SAFETY: a name is a text that ends with NUL.
            let name = unsafe { CStr::from_ptr(column.name) };
            let name = name.to_str().map_err(|_| {
                Failure::argument(format!(
                    "{argument}[{i}].name: {name:?} is not UTF-8; take optmsm_column_name"
                ))
            })?;
            let Some(&number) = model.numbers.get(name) else {
                let known = model.listed();
                let problem = format!("{argument}: the model has no column '{name}'; it has {known}");
                return Err(Failure::argument(problem));
            };
            if std::mem::replace(&mut table.given[number], true) {
                return Err(Failure::argument(format!(
                    "{argument}: column '{name}' is there twice; keep one"
                )));
            }
            let at = At { argument, column: name, part: "" };
            // SAFETY: as the caller's.
            table.columns[number] = unsafe { Checked::read(column, rows, at) }?;
        }
        Ok(table)
    }

    /// Whether the column of a number was given.
    pub(crate) fn has(&self, column: usize) -> bool {
        self.given[column]
    }

    /// The lists, which [`Table::get`] hands out.
    pub(crate) fn lists(&self) -> Lists<'_> {
        Lists(
            self.columns.iter().map(|column| column.as_ref().map_or_else(Vec::new, Checked::lists)).collect(),
        )
    }

    /// A value.
    pub(crate) fn get<'t>(&'t self, lists: &'t Lists<'t>, column: usize, row: usize) -> Datum<'t> {
        let number = column;
        let Some(column) = &self.columns[number] else { return Datum::Missing };
        match column.present {
            Some(present) if present[row] == 0 => Datum::Missing,
            _ if column.offsets.is_some() => Datum::List(&lists.0[number][row]),
            _ => column.values.get(row),
        }
    }
}

impl<'a> Checked<'a> {
    /// # Safety
    /// As [`Table::read`].
    unsafe fn read(column: &Column, rows: usize, at: At<'_>) -> Result<Option<Self>, Failure> {
        let wrong = |problem: &str| Failure::argument(format!("{at}: {problem}"));
        if column.r#type == Type::Missing as i32 {
            return Ok(None);
        }
        // SAFETY: as the caller's; each array is as long as `Column` says.
        unsafe {
            let offsets = optional(column.offsets, rows.saturating_add(1), at.part(", offsets"))?;
            if offsets.is_some_and(|offsets| !offsets.is_sorted()) {
                return Err(wrong(
                    "its offsets fall; give the values of each row behind those of the row before",
                ));
            }
            if offsets.is_none() && !column.weights.is_null() {
                return Err(wrong("has weights but no offsets; only lists have weights"));
            }
            let count = offsets.map_or(rows, |offsets| offsets[rows]);
            let weights = optional(column.weights, count, at.part(", weights"))?;
            let present = optional(column.present, rows, at.part(", present"))?;
            let (values, name) = (column.values, at.part(", values"));
            let values = match column.r#type {
                t if t == Type::Text as i32 => {
                    // Texts before the first row's are no one's.
                    let first = offsets.map_or(0, |offsets| offsets[0]);
                    Values::Texts(texts(values.cast(), column.lengths, first, count, at)?)
                }
                t if t == Type::Int64 as i32 => Values::Ints(array(values.cast(), count, name)?),
                t if t == Type::Uint64 as i32 => Values::UInts(array(values.cast(), count, name)?),
                t if t == Type::Double as i32 => Values::Doubles(array(values.cast(), count, name)?),
                t if t == Type::Bool as i32 => Values::Bools(array(values.cast(), count, name)?),
                t => return Err(wrong(&format!("its type {t} is none; give an optmsm_type"))),
            };
            Ok(Some(Self { values, offsets, weights, present }))
        }
    }

    fn lists(&self) -> Vec<List<'_>> {
        let (values, weights) = (&self.values, self.weights);
        let list = |ends: &[usize]| List { values, weights, start: ends[0], end: ends[1] };
        self.offsets.map_or_else(Vec::new, |offsets| offsets.windows(2).map(list).collect())
    }
}

/// Texts, with `first` missing ones in front of those that are read.
///
/// # Safety
/// As [`array`]; a text that is not null has as many bytes as its length says, or ends with NUL where there are no lengths.
unsafe fn texts<'a>(
    values: *const *const c_char,
    lengths: *const usize,
    first: usize,
    count: usize,
    at: At<'_>,
) -> Result<Vec<Option<&'a str>>, Failure> {
    // SAFETY: as the caller's.
    let values = unsafe { array(values, count, at.part(", values")) }?;
    // SAFETY: as the caller's.
    let lengths = unsafe { optional(lengths, count, at.part(", lengths")) }?;
    let mut texts = vec![None; first];
    for (i, &text) in values.iter().enumerate().skip(first) {
        if text.is_null() {
            texts.push(None);
            continue;
        }
        let bytes = match lengths {
            // SAFETY: as the caller's; the length is checked.
            Some(lengths) => unsafe { array(text.cast::<u8>(), lengths[i], at) }?,
            // SAFETY: as the caller's.
            None => unsafe { CStr::from_ptr(text) }.to_bytes(),
        };
        let text = std::str::from_utf8(bytes).map_err(|_| {
            let shown = bytes.get(..40).unwrap_or(bytes).escape_ascii();
            Failure::argument(format!("{at}: text {i}, \"{shown}\", is not UTF-8; convert it"))
        })?;
        texts.push(Some(text));
    }
    Ok(texts)
}

/// An array of a caller, which may be null where it is empty.
///
/// # Safety
/// `from` is null, or points to `count` values for as long as the result lives.
pub(crate) unsafe fn array<'a, T>(
    from: *const T,
    count: usize,
    at: impl Display,
) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if from.is_null() {
        return Err(Failure::null(at));
    }
    sized::<T>(count, &at)?;
    if !from.is_aligned() {
        let (bytes, of) = (align_of::<T>(), from.addr());
        return Err(Failure::argument(format!(
            "{at}: the address {of:#x} is no multiple of {bytes}; align it"
        )));
    }
    // SAFETY: it is not null, aligned, and no larger than memory can be.
    Ok(unsafe { slice::from_raw_parts(from, count) })
}

/// Checks that as many values can be in memory.
pub(crate) fn sized<T>(count: usize, at: impl Display) -> Result<(), Failure> {
    match count.checked_mul(size_of::<T>()) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => {
            Err(Failure::argument(format!("{at}: {count} values are more than memory has; check the count")))
        }
    }
}

/// The same, none where it is null.
///
/// # Safety
/// As [`array`].
unsafe fn optional<'a, T>(
    from: *const T,
    count: usize,
    at: impl Display,
) -> Result<Option<&'a [T]>, Failure> {
    // SAFETY: as the caller's.
    if from.is_null() { Ok(None) } else { unsafe { array(from, count, at) }.map(Some) }
}
