//! Arguments of an operation that cannot be right: they are errors of the program, found before MPI reads past a buffer.

use crate::{Comm, CommError, Result};

/// Counts are one for each rank, and are a buffer's length together.
pub(crate) fn parts(comm: &dyn Comm, what: &str, buffer: &[u8], counts: &[usize]) -> Result<()> {
    let size = comm.size();
    if counts.len() != size {
        let problem = format!("counts of bytes {what}: {} of them for {size} ranks", counts.len());
        return Err(CommError::new(problem));
    }
    let all = counts.iter().try_fold(0usize, |all, &n| all.checked_add(n));
    if all != Some(buffer.len()) {
        let problem = format!("counts of bytes {what}: {counts:?} for a buffer of {}", buffer.len());
        return Err(CommError::new(problem));
    }
    Ok(())
}

/// A rank that is to send its bytes to all is there.
pub(crate) fn root(comm: &dyn Comm, root: usize) -> Result<()> {
    let size = comm.size();
    if root < size { Ok(()) } else { Err(CommError::new(format!("rank {root} of {size}: there is none"))) }
}

/// Says that a rank has sent another number of bytes than this one is to receive of it.
pub(crate) fn other(rank: usize, sent: usize, expected: usize) -> String {
    format!("rank {rank} has sent {sent} bytes, and {expected} are expected")
}
