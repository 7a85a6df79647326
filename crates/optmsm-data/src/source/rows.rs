//! Decoded rows that lie together, column by column.

use std::sync::Arc;

use ::csv::ByteRecord;

use super::Progress;
use super::cell::Cell;
use super::column::{Column, Keys, Lists};
use super::columns::ColumnRows;
use super::csv_rows::TextRows;
use crate::error::DataError;
use crate::parse::Fault;

/// Rows of one file, one after the other.
pub(crate) enum Rows {
    Text(TextRows),
    Columns(ColumnRows),
}

/// A column; who matches on it has code of its own for each kind, which is what makes it fast.
pub(crate) enum AnyColumn<'a> {
    Text(TextColumn<'a>),
    Typed(&'a Column),
}

/// A column's values.
pub(crate) trait Values {
    fn cell(&self, row: usize) -> Cell<'_>;

    /// What the rows hold of a dictionary, if the column has one.
    fn keys(&self) -> Option<Keys<'_>>;

    /// The rows' lists, if their items are of a dictionary and have no weights.
    fn lists(&self) -> Option<Lists<'_>>;
}

/// A column of text: every `stride`-th value from the `first` on.
#[derive(Clone, Copy)]
pub(crate) struct TextColumn<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) values: &'a [std::ops::Range<u32>],
    pub(super) first: usize,
    pub(super) stride: usize,
}

impl Values for TextColumn<'_> {
    #[inline]
    fn cell(&self, row: usize) -> Cell<'_> {
        let value = &self.values[self.first + row * self.stride];
        Cell::Text(&self.bytes[value.start as usize..value.end as usize])
    }

    fn keys(&self) -> Option<Keys<'_>> {
        None
    }

    fn lists(&self) -> Option<Lists<'_>> {
        None
    }
}

impl Values for Column {
    #[inline]
    fn cell(&self, row: usize) -> Cell<'_> {
        Column::cell(self, row)
    }

    fn keys(&self) -> Option<Keys<'_>> {
        Column::keys(self)
    }

    fn lists(&self) -> Option<Lists<'_>> {
        Column::lists(self)
    }
}

/// Where rows stand in their stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Before the first of them.
    pub(crate) start: Progress,
    /// Behind the last.
    pub(crate) end: Progress,
}

impl Span {
    /// After `done` of `rows` steps.
    pub(crate) fn at(&self, done: usize, rows: usize) -> Progress {
        let between = |a: u64, b: u64| match rows {
            0 => b,
            _ => a + (u128::from(b - a) * done as u128 / rows as u128) as u64,
        };
        let (start, end) = (self.start, self.end);
        Progress {
            rows: between(start.rows, end.rows),
            bytes: between(start.bytes, end.bytes.max(start.bytes)),
            total_bytes: end.total_bytes,
        }
    }
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        match self {
            Rows::Text(rows) => rows.len(),
            Rows::Columns(rows) => rows.rows,
        }
    }

    pub(crate) fn span(&self) -> Span {
        match self {
            Rows::Text(rows) => rows.span(),
            Rows::Columns(rows) => rows.span,
        }
    }

    /// A column by the number of [`Records::find`](super::Records::find).
    #[inline]
    pub(crate) fn column(&self, column: usize) -> AnyColumn<'_> {
        match self {
            Rows::Text(rows) => rows.column(column),
            Rows::Columns(rows) => AnyColumn::Typed(&rows.columns[column]),
        }
    }

    /// Keeps only what [`Rows::copy`] needs.
    pub(crate) fn shed(&mut self) {
        if let Rows::Columns(rows) = self {
            rows.columns.clear();
        }
    }

    /// Memory that is left then.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Rows::Text(rows) => rows.bytes(),
            Rows::Columns(_) => 0,
        }
    }

    /// What is wrong behind the last row, in the same file.
    pub(crate) fn take_error(&mut self) -> Option<DataError> {
        match self {
            Rows::Text(rows) => rows.error.take(),
            Rows::Columns(_) => None,
        }
    }

    /// Places a fault in a column of a row.
    #[cold]
    pub(crate) fn value_error(&self, row: usize, column: usize, fault: Fault) -> DataError {
        match self {
            Rows::Text(rows) => rows.value_error(row, column, fault),
            Rows::Columns(rows) => rows.value_error(row, column, fault),
        }
    }

    /// Writes a row into `record`, to be written out again: a CSV's as it is, else its number from 1.
    pub(crate) fn copy(&self, row: usize, record: &mut ByteRecord) {
        record.clear();
        match self {
            Rows::Text(rows) => rows.copy(row, record),
            Rows::Columns(rows) => {
                record.push_field((rows.span.start.rows + row as u64 + 1).to_string().as_bytes());
            }
        }
    }
}

/// Columns that are the same in every row of a file: its folders'.
pub(super) fn folders(values: Vec<Vec<u8>>) -> Arc<Vec<Column>> {
    Arc::new(values.iter().map(|value| Column::constant(Some(value))).collect())
}

/// Runs an expression with the values of a column, whatever their kind.
macro_rules! with_values {
    ($rows:expr, $column:expr, |$values:ident| $body:expr) => {
        match $rows.column($column) {
            $crate::source::AnyColumn::Text(text) => {
                let $values = &text;
                $body
            }
            $crate::source::AnyColumn::Typed($values) => $body,
        }
    };
}
pub(crate) use with_values;
