//! Rows of a CSV, found in a piece of its text.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use csv::ByteRecord;

use super::column::Column;
use super::progress::Progress;
use super::reading::Quoting;
use super::text::{Grammar, Record, Records, Stray, breaks};
use super::values::{AnyColumn, Span, TextColumn};
use crate::error::{DataError, Place};
use crate::fault::Fault;

/// Properties that all rows of a file share.
pub(super) struct Common {
    pub(super) name: String,
    pub(super) grammar: Grammar,
    pub(super) delimiter: char,
    pub(super) columns: Vec<String>,
    pub(super) places: HashMap<String, usize>, // of the columns
    pub(super) own: usize,                     // columns of the file itself
    pub(super) named: bool,                    // whether data.columns names them
    pub(super) folders: Arc<Vec<Column>>,      // the others
}

impl Common {
    /// Problem and fix of a record with a stray quote.
    #[cold]
    pub(super) fn stray(&self, stray: Stray) -> (String, String) {
        let none = "set data.quoting = \"none\" if quotes mean nothing in this file";
        let (problem, fix) = match (stray, self.grammar.quoting()) {
            (Stray::Open, Quoting::Strict) => (
                "a quote is opened and not closed on its line".into(),
                format!("close or remove it; or {none}, \"standard\" if values have line breaks in them"),
            ),
            (Stray::Open, _) => {
                ("a quote is opened and never closed".into(), format!("close or remove it; or {none}"))
            }
            (Stray::Behind, _) => (
                format!("a quote is closed before {:?} or the end of the line", self.delimiter),
                format!("write a quote inside a value in quotes twice; or {none}"),
            ),
        };
        (problem, fix)
    }

    /// Problem and fix of a record with another number of values than there are columns.
    #[cold]
    fn other_number(&self, found: usize) -> (String, String) {
        let Self { delimiter, own, .. } = self;
        let values = if found == 1 { "value" } else { "values" };
        let columns = if self.named { "data.columns names" } else { "the header has" };
        let quotes = match self.grammar.quoting() {
            Quoting::Strict => format!("a value with {delimiter:?} in it must be in quotes"),
            Quoting::Standard => {
                format!("a value with {delimiter:?} or a line break in it must be in quotes")
            }
            Quoting::None => format!("no value may have {delimiter:?} in it where data.quoting = \"none\""),
        };
        (format!("{found} {values} where {columns} {own} columns"), format!("fix the row; {quotes}"))
    }
}

/// Whole records of a file, not yet parsed.
pub(crate) struct Text {
    pub(super) common: Arc<Common>,
    pub(super) bytes: Vec<u8>,
    pub(super) line: u64, // on which they begin
    pub(super) records: u64,
    pub(super) span: Span, // of the file alone
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
        // At least one byte follows each value except the last.
        let most = records.saturating_mul(own).min(self.bytes.len()) + 1;
        let (mut begins, mut values) = (Vec::with_capacity(records), Vec::with_capacity(most));
        let (mut found, mut wrong) = (Records::new(grammar, &self.bytes, own), None);
        while let Some(record) = found.next(&mut values) {
            if record.stray.is_some() || record.values != own {
                values.truncate(values.len() - record.values);
                wrong = Some(record);
                break;
            }
            begins.push(record.begin as u32);
        }
        let fields = found.finish();
        let error = wrong.map(|Record { begin, values, stray }| {
            let (problem, fix) = match stray {
                Some(stray) => self.common.stray(stray),
                None => self.common.other_number(values),
            };
            let place = Place::Line(self.line + breaks(&self.bytes[..begin]));
            DataError::Row { path: self.common.name.clone(), place, problem, fix }
        });
        if error.is_some() {
            self.cut(begins.len());
        }
        TextRows { text: self, begins, fields, values, error }
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
