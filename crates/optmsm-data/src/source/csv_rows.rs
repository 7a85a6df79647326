//! Rows of a CSV, found in a piece of its text.

use std::ops::Range;
use std::sync::Arc;

use csv::ByteRecord;

use super::Progress;
use super::column::Column;
use super::rows::{AnyColumn, Span, TextColumn};
use super::text::{Grammar, Records, breaks};
use crate::error::{DataError, Place};
use crate::parse::Fault;

/// What the rows of a file have in common.
pub(super) struct Common {
    pub(super) name: String,
    pub(super) grammar: Grammar,
    pub(super) delimiter: char,
    pub(super) columns: Vec<String>,
    pub(super) own: usize,                // columns of the file itself
    pub(super) folders: Arc<Vec<Column>>, // the others
}

/// Whole records of a file, not yet parsed.
pub(crate) struct Text {
    pub(super) common: Arc<Common>,
    pub(super) bytes: Vec<u8>,
    pub(super) line: u64, // on which they begin
    pub(super) records: u64,
    pub(super) closed: bool, // whether more of the file follows, or it ends with a quote
    pub(super) span: Span,   // of the file alone
}

/// The rows of a [`Text`].
pub(crate) struct TextRows {
    text: Text,
    begins: Vec<u32>,        // where each row begins
    fields: Vec<u8>,         // bytes of the values
    values: Vec<Range<u32>>, // where each lies in `fields`, row by row
    pub(super) error: Option<DataError>,
}

impl Text {
    /// Makes its place one behind files that were read before.
    pub(super) fn behind(mut self, done: Progress, total_bytes: Option<u64>) -> Self {
        for at in [&mut self.span.start, &mut self.span.end] {
            (at.rows, at.bytes, at.total_bytes) = (at.rows + done.rows, at.bytes + done.bytes, total_bytes);
        }
        self
    }

    /// Finds rows and values.
    pub(super) fn parse(mut self) -> TextRows {
        let Common { grammar, own, .. } = *self.common;
        let records = self.records as usize;
        let (mut begins, mut values) = (Vec::with_capacity(records), Vec::with_capacity(records * own + 1));
        let (mut found, mut wrong) = (Records::new(grammar, &self.bytes, own), None);
        while let Some(record) = found.next(&mut values) {
            // An open quote swallows the rest of the file into the last value, which then looks like a good row.
            let swallowed = !record.broken
                && !self.closed
                && values.last().is_some_and(|last| found.value(last).contains(&b'\n'));
            if record.values != own || swallowed {
                values.truncate(values.len() - record.values);
                wrong = Some((record.begin, record.values));
                break;
            }
            begins.push(record.begin as u32);
        }
        let fields = found.finish();
        let error = wrong.map(|(begin, found)| self.wrong(begin, found));
        if error.is_some() {
            self.cut(begins.len());
        }
        TextRows { text: self, begins, fields, values, error }
    }

    /// The error of a record that is no row.
    #[cold]
    fn wrong(&self, begin: usize, found: usize) -> DataError {
        let Common { name, own, delimiter, .. } = &*self.common;
        let (problem, fix) = if found == *own {
            ("a quote is opened and never closed".to_owned(), "close or remove it".to_owned())
        } else {
            let values = if found == 1 { "value" } else { "values" };
            let fix = format!(
                "fix the row; a value with {delimiter:?} or a line break in it must be in quotes, and every quote closed"
            );
            (format!("{found} {values} where the header has {own} columns"), fix)
        };
        let place = Place::Line(self.line + breaks(&self.bytes[..begin]));
        DataError::Row { path: name.clone(), place, problem, fix }
    }

    /// Keeps the first `rows` rows.
    fn cut(&mut self, rows: usize) {
        self.span.end = self.span.at(rows, self.records as usize);
        self.records = rows as u64;
    }
}

impl TextRows {
    pub(super) fn len(&self) -> usize {
        self.begins.len()
    }

    pub(super) fn span(&self) -> Span {
        self.text.span
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.bytes.capacity()
            + self.fields.capacity()
            + 4 * self.begins.capacity()
            + 8 * self.values.capacity()
    }

    #[inline]
    pub(super) fn column(&self, column: usize) -> AnyColumn<'_> {
        let Common { own, folders, .. } = &*self.text.common;
        match column.checked_sub(*own) {
            Some(folder) => AnyColumn::Typed(&folders[folder]),
            None => AnyColumn::Text(TextColumn {
                bytes: &self.fields,
                values: &self.values,
                first: column,
                stride: *own,
            }),
        }
    }

    /// Line on which a row begins.
    pub(super) fn line(&self, row: usize) -> u64 {
        self.text.line + breaks(&self.text.bytes[..self.begins[row] as usize])
    }

    #[cold]
    pub(super) fn value_error(&self, row: usize, column: usize, fault: Fault) -> DataError {
        DataError::Value {
            path: self.text.common.name.clone(),
            place: Place::Line(self.line(row)),
            column: self.text.common.columns[column].clone(),
            problem: fault.problem,
            fix: fault.fix,
        }
    }

    pub(super) fn copy(&self, row: usize, record: &mut ByteRecord) {
        let own = self.text.common.own;
        let values = &self.values[row * own..(row + 1) * own];
        values.iter().for_each(|v| record.push_field(&self.fields[v.start as usize..v.end as usize]));
        let mut scratch = String::new();
        for folder in &*self.text.common.folders {
            record.push_field(folder.cell(row).bytes(&mut scratch).unwrap_or_default());
        }
    }
}
