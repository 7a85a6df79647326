//! Times of 96 bits, as Spark writes them. The library gives them in 64 bits and wraps those that do not fit, so they are looked at
//! before, in seconds, which always fit.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, TimeUnit};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::basic::Type;

use super::cell::Cell;
use super::column::{Column, Memory};

/// Words that the problem of such a time begins with.
pub(super) const PROBLEM: &str = "a time of 96 bits";

/// Those of the columns that hold some.
pub(super) fn roots(parquet: &ArrowReaderMetadata, roots: &[usize]) -> Vec<usize> {
    let leaves = parquet.metadata().file_metadata().schema_descr();
    let is_time = |leaf: usize| leaves.column(leaf).physical_type() == Type::INT96;
    let times: Vec<usize> = (0..leaves.num_columns()).filter(|&leaf| is_time(leaf)).collect();
    let holds = |root: &usize| times.iter().any(|&leaf| leaves.get_column_root_idx(leaf) == *root);
    roots.iter().copied().filter(holds).collect()
}

/// The type to read a column as: times in seconds.
pub(super) fn in_seconds(of: &DataType) -> DataType {
    let inner =
        |field: &Arc<Field>| Arc::new(Field::clone(field).with_data_type(in_seconds(field.data_type())));
    match of {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Second, zone.clone()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::Map(entry, sorted) => DataType::Map(inner(entry), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        other => other.clone(),
    }
}

/// Checks a batch of such columns, which were read in seconds; `fields` are the columns as they are to be read, `first_row` is that of
/// the file.
///
/// # Errors
/// In words, the first time that does not fit.
pub(super) fn check<'a>(
    batch: &RecordBatch,
    fields: impl Iterator<Item = &'a Field>,
    first_row: u64,
) -> Result<(), String> {
    for (array, field) in batch.columns().iter().zip(fields) {
        let column = Column::new(array, &mut Memory::default())?;
        let unit = unit(field.data_type()).unwrap_or(TimeUnit::Nanosecond);
        // One second less: a part of one may follow.
        let most = i64::MAX / per_second(unit) - 1;
        for row in 0..batch.num_rows() {
            if let Some(seconds) = beyond(column.cell(row), most) {
                let row = first_row + row as u64 + 1;
                let year = 1970 + seconds.div_euclid(31_556_952); // of the mean length
                let problem = format!(
                    "{PROBLEM} in row {row}, about the year {year}, does not fit the 64 bits of its {} since 1970",
                    name(unit)
                );
                return Err(problem);
            }
        }
    }
    Ok(())
}

/// The unit of the first time in a type.
fn unit(of: &DataType) -> Option<TimeUnit> {
    match of {
        DataType::Timestamp(unit, _) => Some(*unit),
        DataType::List(item) | DataType::Map(item, _) => unit(item.data_type()),
        DataType::Struct(fields) => fields.iter().find_map(|field| unit(field.data_type())),
        _ => None,
    }
}

fn name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "seconds",
        TimeUnit::Millisecond => "milliseconds",
        TimeUnit::Microsecond => "microseconds",
        TimeUnit::Nanosecond => "nanoseconds",
    }
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// A time further from 1970 than `most` seconds.
fn beyond(cell: Cell, most: i64) -> Option<i64> {
    match cell {
        Cell::Int(seconds) => (!(-most..=most).contains(&seconds)).then_some(seconds),
        Cell::List(list) => {
            (0..list.len()).find_map(|i| beyond(list.cell(i), most).or_else(|| beyond(list.weight(i)?, most)))
        }
        _ => None,
    }
}
