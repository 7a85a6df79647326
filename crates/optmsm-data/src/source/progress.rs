//! How far a pass has come.

/// How far a pass over a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Size of the file in bytes, where it is known: not for a pipe.
    pub total_bytes: Option<u64>,
}

/// Rows between two calls of a progress callback.
pub(crate) const PROGRESS_ROWS: u64 = 8192; // a few ms of reading: smooth to look at, free to call
