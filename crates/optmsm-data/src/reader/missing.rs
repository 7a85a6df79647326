//! Rows without a value, counted as they are read.

use optmsm_core::batch::Batch;

use super::{Extra, RowReader};
use crate::encode;
use crate::error::Result;
use crate::parse::ListFormat;
use crate::schema::{Encoding, Schema};
use crate::source::{AnyRow, Cell, Row};

impl RowReader<'_> {
    /// [`RowReader::read`], which also adds to `missing`, one a field, the rows that have no value there: a null or an empty text, of
    /// numbers also blanks, of lists also one without a value in it.
    ///
    /// # Errors
    /// As [`RowReader::read`].
    ///
    /// # Panics
    /// As [`RowReader::read`], and if `missing` has another length than the schema's fields.
    pub fn read_counting(
        &mut self,
        batch: &mut Batch,
        extra: &mut Extra,
        missing: &mut [u64],
        max_rows: usize,
    ) -> Result<usize> {
        assert_eq!(missing.len(), self.encoder.schema.fields.len(), "counts, fields of the schema");
        let mut rows = 0;
        let Self { file, encoder, selector } = self;
        while rows < max_rows && encoder.read_row(file, selector, batch, extra)? {
            let (schema, columns, scratch) = (encoder.schema, &encoder.layout.fields, &mut encoder.scratch);
            match file.row() {
                AnyRow::Csv(row) => count(schema, row, columns, scratch, missing),
                AnyRow::Columns(row) => count(schema, row, columns, scratch, missing),
            }
            rows += 1;
        }
        Ok(rows)
    }
}

fn count(schema: &Schema, row: impl Row, columns: &[usize], scratch: &mut String, missing: &mut [u64]) {
    for ((field, &column), missing) in schema.fields.iter().zip(columns).zip(missing) {
        *missing += u64::from(is_missing(&field.encoding, row.cell(column), scratch));
    }
}

fn is_missing(encoding: &Encoding, cell: Cell, scratch: &mut String) -> bool {
    match (encoding, cell) {
        (_, Cell::Missing) => true,
        (Encoding::Multi { separator, weight_separator, max_length, .. }, _) => {
            let format = ListFormat { separator, weight_separator: weight_separator.as_deref() };
            let mut empty = true;
            let each = |_: &str, _| {
                empty = false;
                Ok(())
            };
            // A list that cannot be read was an error before.
            encode::each_value(cell, format, *max_length, scratch, each).is_ok() && empty
        }
        // Blanks are a category of their own.
        (Encoding::Categorical { .. }, Cell::Text(text)) => text.is_empty(),
        (_, Cell::Text(text)) => text.trim_ascii().is_empty(),
        _ => false,
    }
}
