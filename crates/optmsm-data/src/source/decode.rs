//! Batches to columns: what Parquet and Arrow files have in common.

use arrow_array::{RecordBatch, RecordBatchReader};

use super::column::{Column, Memory};
use super::data_file::DataFile;
use super::int96;
use crate::error::FileErrorKind;

/// Rows of a batch: a batch of usual columns fits the caches, and its overhead is small.
pub(super) const ROWS: usize = 8192;

/// Remedy for a file that is not as it was written.
pub(super) const DAMAGED: &str = "the file is damaged or was not written to its end: copy or write it again";

pub(super) type Batches = Box<dyn RecordBatchReader + Send>;

/// Where a wanted column comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// A column of the file.
    Column(usize),
    /// A folder above the file.
    Folder(usize),
}

/// Columns of a file that are read, in its order.
pub(super) fn roots(from: &[From]) -> Vec<usize> {
    let columns = |f: &From| if let From::Column(c) = f { Some(*c) } else { None };
    let mut roots: Vec<usize> = from.iter().filter_map(columns).collect();
    roots.sort_unstable();
    roots.dedup();
    roots
}

/// The wanted columns of a batch that holds the `roots`.
pub(super) fn convert(
    part: &DataFile,
    from: &[From],
    roots: &[usize],
    batch: &RecordBatch,
    memories: &mut [Memory],
) -> std::result::Result<Vec<Column>, String> {
    let one = |(from, memory): (&From, &mut Memory)| match from {
        From::Folder(p) => Ok(Column::constant(part.partitions[*p].value.as_deref())),
        From::Column(c) => {
            let at = roots.binary_search(c).unwrap_or_default(); // roots hold all columns
            Column::new(batch.column(at), memory)
        }
    };
    from.iter().zip(memories).map(one).collect()
}

/// Kind of the fault, and the remedy, of a file that cannot be decoded.
pub(super) fn remedy(problem: &str) -> (FileErrorKind, &'static str) {
    match problem {
        _ if problem.starts_with(int96::PROBLEM) => {
            (FileErrorKind::Unfit, "fix the value, or write the column as timestamps of microseconds")
        }
        _ if problem.to_lowercase().contains("utf") => (FileErrorKind::Unfit, "write the strings as UTF-8"),
        _ => (FileErrorKind::Damaged, DAMAGED),
    }
}

/// An error's text without the name of its type before it.
pub(super) fn plain(text: &str) -> String {
    ["Parquet argument error: ", "Parquet error: ", "Parser error: "]
        .iter()
        .fold(text.trim(), |text, start| text.strip_prefix(start).unwrap_or(text))
        .trim_end_matches('.')
        .to_owned()
}
