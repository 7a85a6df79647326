//! The batches of an Arrow file.
//!
//! Reading them takes little but copying, so the thread whose turn it is does that and cuts them into pieces, which others encode.

use std::fs::File;

use arrow_array::RecordBatch;

use super::column::{Column, Memory};
use super::file::{self, From, ROWS, guard};
use super::parts::Part;
use crate::error::{DataError, Result};

/// A file, and the batch at hand.
pub(super) struct Batches {
    batches: file::Batches,
    roots: Vec<usize>,
    memories: Vec<Memory>,
    left: Option<RecordBatch>,
}

impl Batches {
    pub(super) fn open(part: &Part, from: &[From]) -> Result<Self> {
        let file = File::open(&part.path).map_err(|e| DataError::io(&part.name, "open", e))?;
        let roots = file::roots(from);
        let batches = guard(|| file::batches(&file, Some(roots.clone())).map_err(|e| e.to_string()));
        let batches = batches.map_err(|problem| failure(part, &problem))?;
        Ok(Self { batches, roots, memories: from.iter().map(|_| Memory::default()).collect(), left: None })
    }

    /// The next rows; none at the end.
    pub(super) fn next(&mut self, part: &Part, from: &[From]) -> Result<Option<(usize, Vec<Column>)>> {
        let Self { batches, roots, memories, left } = self;
        let next = guard(|| {
            while left.as_ref().is_none_or(|batch| batch.num_rows() == 0) {
                match batches.next() {
                    Some(batch) => *left = Some(batch.map_err(|e| file::plain(&e.to_string()))?),
                    None => return Ok(None),
                }
            }
            let Some(batch) = left.take() else { return Ok(None) };
            let rows = batch.num_rows().min(ROWS);
            let columns = file::convert(part, from, roots, &batch.slice(0, rows), memories)?;
            *left = Some(batch.slice(rows, batch.num_rows() - rows));
            Ok(Some((rows, columns)))
        });
        next.map_err(|problem| failure(part, &problem))
    }
}

fn failure(part: &Part, problem: &str) -> DataError {
    DataError::file(&part.name, format!("cannot be decoded: {problem}"), file::fix(problem))
}
