//! Numbers of the data that no loss can stand: what a loss that is not finite is put down to before anything else.

use optmsm_core::batch::{Batch, Column};
use optmsm_data::{Encoding, Schema, Split, Transform, printable};

use crate::error::{Error, Result};
use crate::rows::Rows;

/// Numbers up to here are not to blame. Gradients grow with the square of a number, an optimizer squares them again, and 32 bits end
/// near 10³⁸.
const USUAL: f32 = 1e6;

/// The largest number of some rows.
struct Largest {
    value: f32,
    row: usize,  // of all rows
    what: usize, // field, or behind them the sample weight
}

/// Likely fault of rows whose loss is not finite, and what to do; none where their numbers are not large.
///
/// # Errors
/// The disk fails.
pub(crate) fn cause(rows: &Rows, part: Split, schema: &Schema) -> Result<Option<String>> {
    let mut largest = Largest { value: USUAL, row: 0, what: usize::MAX };
    let mut first = 0;
    rows.each(|batch| {
        largest.look(batch, first);
        first += batch.rows();
        Ok(true)
    })?;
    let Largest { value, row, what } = largest;
    Ok((what < usize::MAX).then(|| {
        let (what, fix) = name(schema, what);
        let (row, part) = (row + 1, part.name());
        format!("Likely the data: {what} is {value:e} in row {row} of the {part} rows, too large for 32-bit sums; {fix}")
    }))
}

/// Checks the predictions of rows of a file, of which `first` is the first one's place in it.
///
/// # Errors
/// One is not a number: of which row, and the value that is likely to blame.
pub fn check(predictions: &[f32], batch: &Batch, first: usize, schema: &Schema, path: &str) -> Result<()> {
    let Some(row) = predictions.iter().position(|p| p.is_nan()) else { return Ok(()) };
    let mut alone = Batch::new(&schema.input_spec());
    alone.push_rows(batch, &[row as u32]);
    let mut largest = Largest { value: USUAL, row: 0, what: usize::MAX };
    largest.look(&alone, 0);
    let mut problem = format!("the prediction of row {} is NaN", first + row + 1);
    if largest.what < usize::MAX {
        let (what, _) = name(schema, largest.what);
        problem += &format!(": {what} is {:e}, too large for 32-bit sums", largest.value);
    }
    Err(Error::rows(
        printable(path),
        problem,
        "fix the row, or train with a transform that bounds its numbers",
    ))
}

impl Largest {
    /// Looks at rows, of which `first` is the first one's place among all.
    fn look(&mut self, batch: &Batch, first: usize) {
        for (what, column) in batch.columns.iter().enumerate() {
            match column {
                Column::Numeric(values) => self.among(what, values, |row| first + row),
                // The row of an entry is that of the last list that begins at or before it.
                Column::Multi { offsets, weights, .. } => self.among(what, weights, |entry| {
                    first + offsets.partition_point(|&begin| begin as usize <= entry) - 1
                }),
                Column::Categorical(_) => {}
            }
        }
        self.among(batch.columns.len(), &batch.weights, |row| first + row);
    }

    fn among(&mut self, what: usize, values: &[f32], row: impl Fn(usize) -> usize) {
        for (place, &value) in values.iter().enumerate() {
            if value.abs() > self.value.abs() {
                *self = Self { value, row: row(place), what };
            }
        }
    }
}

/// A field or the sample weight in words, and what to do about it.
fn name(schema: &Schema, what: usize) -> (String, String) {
    let Some(field) = schema.fields.get(what) else {
        let column = printable(schema.weight.as_deref().unwrap_or_default());
        return (
            format!("the sample weight in column '{column}'"),
            "scale the weights, or fix the value".into(),
        );
    };
    let (name, column) = (printable(&field.name), printable(&field.column));
    match &field.encoding {
        Encoding::Numeric { transform: Transform::None, .. } => {
            let fix = format!("set data.fields.{name}.transform = \"standardize\", or fix the value");
            (format!("column '{column}'"), fix)
        }
        Encoding::Numeric { .. } => {
            let fix = format!("set data.fields.{name}.transform = \"quantile\", or fix the value");
            (format!("column '{column}' after its transform"), fix)
        }
        _ => (
            format!("a weight in the lists of column '{column}'"),
            "scale the weights, or fix the value".into(),
        ),
    }
}
