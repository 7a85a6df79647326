//! The batches of an Arrow file.
//!
//! Reading them takes little but copying, so the thread whose turn it is does that and cuts them into pieces, which others encode.

use arrow_array::RecordBatch;

use super::column::{Column, Memory};
use super::file::{self as decode, From, ROWS};
use super::guard::guard;
use super::parts::Part;
use super::stored::Stored;
use crate::error::{DataError, Result};

/// A file, and the batch at hand.
pub(super) struct Batches {
    file: Stored,
    batches: decode::Batches,
    roots: Vec<usize>,
    memories: Vec<Memory>,
    left: Option<RecordBatch>,
}

impl Batches {
    pub(super) fn open(part: &Part, from: &[From]) -> Result<Self> {
        let file = Stored::open(part)?;
        let roots = decode::roots(from);
        let batches = guard(|| decode::batches(&file, Some(roots.clone())));
        let batches = batches.map_err(|problem| failure(part, &file, &problem))?;
        let memories = from.iter().map(|_| Memory::default()).collect();
        Ok(Self { file, batches, roots, memories, left: None })
    }

    /// The next rows; none at the end.
    pub(super) fn next(&mut self, part: &Part, from: &[From]) -> Result<Option<(usize, Vec<Column>)>> {
        let Self { file, batches, roots, memories, left } = self;
        let next = guard(|| {
            while left.as_ref().is_none_or(|batch| batch.num_rows() == 0) {
                match batches.next() {
                    Some(batch) => *left = Some(batch.map_err(|e| decode::plain(&e.to_string()))?),
                    None => return Ok(None),
                }
            }
            let Some(batch) = left.take() else { return Ok(None) };
            let rows = batch.num_rows().min(ROWS);
            let columns = decode::convert(part, from, roots, &batch.slice(0, rows), memories)?;
            *left = Some(batch.slice(rows, batch.num_rows() - rows));
            Ok(Some((rows, columns)))
        });
        next.map_err(|problem| failure(part, file, &problem))
    }
}

/// Hands on all batches of a file with these columns, until `sink` says stop.
pub(super) fn whole(
    part: &Part,
    roots: &[usize],
    sink: &mut dyn FnMut(RecordBatch) -> std::result::Result<bool, String>,
) -> Result<()> {
    let file = Stored::open(part)?;
    let read = guard(|| {
        for batch in decode::batches(&file, Some(roots.to_vec()))? {
            if !sink(batch.map_err(|e| decode::plain(&e.to_string()))?)? {
                break;
            }
        }
        Ok(())
    });
    read.map_err(|problem| failure(part, &file, &problem))
}

/// What the store said, or what is wrong with the file.
fn failure(part: &Part, file: &Stored, problem: &str) -> DataError {
    if let Some(failure) = file.failure() {
        return failure;
    }
    DataError::unfit(&part.name, format!("cannot be decoded: {problem}"), decode::fix(problem))
}
