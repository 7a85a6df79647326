//! Decoded rows that lie together, column by column.

use ::csv::ByteRecord;

use super::column_files::ColumnRows;
use super::csv_rows::TextRows;
use super::values::{AnyColumn, Span};
use crate::error::DataError;
use crate::fault::Fault;

/// Rows of one file, one after the other.
pub(crate) enum Rows {
    Text(TextRows),
    Columns(ColumnRows),
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

    /// Takes the error behind the last row, in the same file.
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
