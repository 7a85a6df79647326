//! A hash of the values of a table, whatever library holds them and however they are cut into batches.

use std::io;
use std::panic::resume_unwind;
use std::thread::{Builder, ScopedJoinHandle};

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use sha2::{Digest, Sha256};

use super::cell::Cell;
use super::column::{Column, Memory, can_be_read};
use super::decode::ROWS;

/// Integers up to this size are floats of 64 bits, too.
const EXACT: i128 = 1 << 53;

/// SHA-256 of the columns that can be read, by their names in order: of texts, numbers, nulls and lists of them.
///
/// # Errors
/// In words, what of the batches cannot be read.
pub(super) fn digest(schema: &Schema, batches: &[RecordBatch]) -> Result<String, String> {
    let read: Vec<usize> =
        (0..schema.fields().len()).filter(|&i| can_be_read(schema.field(i).data_type())).collect();
    // Columns have hashes of their own, so that batches leave no trace, and threads share the work.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = read.len().div_ceil(threads).max(1);
    let hashes: Result<Vec<_>, String> = std::thread::scope(|scope| {
        let begin = |columns| Builder::new().spawn_scoped(scope, move || columns_of(columns, batches));
        let works: Vec<_> = read.chunks(share).map(begin).collect();
        let end = |work: io::Result<ScopedJoinHandle<_>>| {
            work.map_err(|e| e.to_string())?.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        works.into_iter().map(end).collect()
    });
    let hashes = hashes?.concat();
    let mut whole = Sha256::new();
    for (&at, hash) in read.iter().zip(hashes) {
        let name = schema.field(at).name();
        whole.update((name.len() as u64).to_le_bytes());
        whole.update(name);
        whole.update(hash);
    }
    Ok(format!("{:x}", whole.finalize()))
}

/// A hash for each of some columns.
fn columns_of(columns: &[usize], batches: &[RecordBatch]) -> Result<Vec<[u8; 32]>, String> {
    let mut hashes = vec![Sha256::new(); columns.len()];
    let mut memories: Vec<Memory> = columns.iter().map(|_| Memory::default()).collect();
    let mut bytes = Vec::new();
    for batch in batches {
        for start in (0..batch.num_rows()).step_by(ROWS) {
            let rows = ROWS.min(batch.num_rows() - start);
            for ((&at, hash), memory) in columns.iter().zip(&mut hashes).zip(&mut memories) {
                let column = Column::new(&batch.column(at).slice(start, rows), memory)?;
                bytes.clear();
                (0..rows).for_each(|row| put(column.cell(row), &mut bytes));
                hash.update(&bytes);
            }
        }
    }
    Ok(hashes.into_iter().map(|hash| hash.finalize().into()).collect())
}

/// Appends a value, so that no two values begin alike.
fn put(cell: Cell, to: &mut Vec<u8>) {
    match cell {
        Cell::Missing => to.push(0),
        Cell::Text(text) => {
            to.push(1);
            to.extend((text.len() as u64).to_le_bytes());
            to.extend(text);
        }
        Cell::Bool(v) => integer(v.into(), to),
        Cell::Int(v) => integer(v.into(), to),
        Cell::UInt(v) => integer(v.into(), to),
        Cell::Single(v) => float(v.into(), to),
        Cell::Double(v) => float(v, to),
        Cell::List(list) => {
            to.push(4);
            to.extend((list.len() as u64).to_le_bytes());
            for i in 0..list.len() {
                put(list.cell(i), to);
                list.weight(i).into_iter().for_each(|weight| put(weight, to));
            }
        }
    }
}

/// A library holds integers among nulls as floats, and nulls as NaN.
fn float(v: f64, to: &mut Vec<u8>) {
    if v.is_nan() {
        return to.push(0);
    }
    to.push(2);
    to.extend(v.to_le_bytes());
}

fn integer(v: i128, to: &mut Vec<u8>) {
    if v.abs() <= EXACT {
        return float(v as f64, to);
    }
    to.push(3);
    to.extend(v.to_le_bytes());
}
