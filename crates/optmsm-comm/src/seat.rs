//! A rank of a job that does not run: to count what it would hold and send.

use crate::{Comm, CommError, Result};

/// Its number and that of all; every operation fails.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    /// Number of the rank.
    pub rank: usize,
    /// Number of ranks.
    pub size: usize,
}

impl Seat {
    fn empty<T>(self) -> Result<T> {
        Err(CommError::new(format!("rank {} of {} does not run", self.rank, self.size)))
    }
}

impl Comm for Seat {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn barrier(&self) -> Result<()> {
        self.empty()
    }

    fn alltoallv(&self, _: &[u8], _: &[usize], _: &mut [u8], _: &[usize]) -> Result<()> {
        self.empty()
    }

    fn allgatherv(&self, _: &[u8], _: &mut [u8], _: &[usize]) -> Result<()> {
        self.empty()
    }

    fn bcast(&self, _: &mut [u8], _: usize) -> Result<()> {
        self.empty()
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}
