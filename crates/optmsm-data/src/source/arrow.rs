//! The batches of an Arrow file.
//!
//! Reading them takes little but copying, so the thread whose turn it is does that and cuts them into pieces, which
//! others encode.

use arrow_array::RecordBatch;

use super::column::{Column, Memory};
use super::data_file::DataFile;
use super::decode::{self, From, ROWS, plain};
use super::guard::guard;
use super::ipc::Messages;
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
    pub(super) fn open(part: &DataFile, from: &[From]) -> Result<Self> {
        let file = Stored::open(part)?;
        let roots = decode::roots(from);
        let batches = guard(|| batches(&file, Some(roots.clone())));
        let batches = batches.map_err(|problem| failure(part, &file, &problem))?;
        let memories = from.iter().map(|_| Memory::default()).collect();
        Ok(Self { file, batches, roots, memories, left: None })
    }

    /// The next rows; none at the end.
    pub(super) fn next(&mut self, part: &DataFile, from: &[From]) -> Result<Option<(usize, Vec<Column>)>> {
        let Self { file, batches, roots, memories, left } = self;
        let next = guard(|| {
            while left.as_ref().is_none_or(|batch| batch.num_rows() == 0) {
                match batches.next() {
                    Some(batch) => *left = Some(batch.map_err(|e| plain(&e.to_string()))?),
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
    part: &DataFile,
    roots: &[usize],
    sink: &mut dyn FnMut(RecordBatch) -> std::result::Result<bool, String>,
) -> Result<()> {
    let file = Stored::open(part)?;
    let read = guard(|| {
        for batch in batches(&file, Some(roots.to_vec()))? {
            if !sink(batch.map_err(|e| plain(&e.to_string()))?)? {
                break;
            }
        }
        Ok(())
    });
    read.map_err(|problem| failure(part, &file, &problem))
}

/// Batches of an Arrow file, or of the stream form of one.
pub(super) fn batches(
    file: &Stored,
    columns: Option<Vec<usize>>,
) -> std::result::Result<decode::Batches, String> {
    if let Stored::Memory(memory) = file {
        return memory.batches(columns).map_err(|e| plain(&e.to_string()));
    }
    let reader = file.reader().map_err(|e| e.to_string())?;
    let messages = Messages::open(reader, columns).map_err(|e| plain(&e.to_string()))?;
    Ok(Box::new(messages))
}

/// The store's error, or an error about the file.
fn failure(part: &DataFile, file: &Stored, problem: &str) -> DataError {
    if let Some(failure) = file.failure() {
        return failure;
    }
    let (kind, fix) = decode::remedy(problem);
    DataError::file(kind, &part.name, format!("cannot be decoded: {problem}"), fix)
}
