//! The values of decoded columns, and where their rows stand.

use std::sync::Arc;

use super::cell::Cell;
use super::column::{Column, Keys, Lists};
use super::progress::Progress;

/// A column; who matches on it has code of its own for each kind, which is what makes it fast.
pub(crate) enum AnyColumn<'a> {
    Text(TextColumn<'a>),
    Typed(&'a Column),
}

/// A column's values.
pub(crate) trait Values {
    fn cell(&self, row: usize) -> Cell<'_>;

    /// Places of the rows' values in a dictionary, if the column has one.
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
