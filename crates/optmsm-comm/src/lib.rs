//! Bytes between the processes of a training job.
//!
//! A job has `size` ranks, each with a number. They all call the same operations of [`Comm`] in the same order; an operation
//! returns once this rank has what it is to receive. Nothing here adds numbers: whoever receives them does, in an order that does not
//! depend on how many ranks there are.
//!
//! [`world`] is the job that this process was started in. Features: `abi` finds an MPI library at run time by the standard binary
//! interface of MPI 5.0; `mpi` links the MPI that the program is built with.

mod alone;
mod check;
mod cores;
mod launch;
#[cfg(all(unix, any(feature = "abi", feature = "mpi")))]
mod mpi;
mod seat;
mod threads;
mod world;

use std::fmt::Debug;

pub use alone::Alone;
pub use cores::Cores;
pub use seat::Seat;
pub use threads::{ThreadComm, threads};
pub use world::{is_first, world};

/// A transport failed; the job cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct CommError {
    /// The fault, and the remedy where there is one.
    pub problem: String,
}

impl CommError {
    /// With this text.
    pub fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into() }
    }
}

/// Result with [`CommError`].
pub type Result<T> = std::result::Result<T, CommError>;

/// The ranks of a job, as one of them sees them. Counts and sizes are in bytes.
pub trait Comm: Debug + Send + Sync {
    /// Number of this rank, from 0.
    fn rank(&self) -> usize;
    /// Number of ranks.
    fn size(&self) -> usize;
    /// Returns once every rank has called it.
    ///
    /// # Errors
    /// A rank is gone; so for every operation.
    fn barrier(&self) -> Result<()>;
    /// Sends the next `counts[r]` bytes of `send` to each rank r, and sets `receive` to what the ranks have sent here, in their order;
    /// `received[r]` bytes come from rank r.
    fn alltoallv(&self, send: &[u8], counts: &[usize], receive: &mut [u8], received: &[usize]) -> Result<()>;
    /// Sets `receive` to what all ranks send, in their order; `counts[r]` bytes come from rank r.
    fn allgatherv(&self, send: &[u8], receive: &mut [u8], counts: &[usize]) -> Result<()>;
    /// Sets `data`, of the same length everywhere, to that of rank `root`.
    fn bcast(&self, data: &mut [u8], root: usize) -> Result<()>;
    /// Ends all ranks of the job at once, this process included, with an exit code that is not 0. A rank that cannot go on has to: the
    /// others wait for it otherwise.
    fn abort(&self, code: i32) -> !;
}

/// [`Comm::alltoallv`] where nobody knows how much is to come: one part for each rank goes out, one of each comes in.
///
/// # Errors
/// A rank is gone.
pub fn exchange(comm: &dyn Comm, send: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let counts: Vec<usize> = send.iter().map(Vec::len).collect();
    let received = sizes(comm, &counts)?;
    let mut receive = vec![0; received.iter().sum()];
    comm.alltoallv(&send.concat(), &counts, &mut receive, &received)?;
    Ok(cut(&receive, &received))
}

/// [`Comm::allgatherv`] where nobody knows how much is to come: what each rank sends.
///
/// # Errors
/// A rank is gone.
pub fn gather(comm: &dyn Comm, send: &[u8]) -> Result<Vec<Vec<u8>>> {
    let counts = sizes(comm, &vec![send.len(); comm.size()])?;
    let mut receive = vec![0; counts.iter().sum()];
    comm.allgatherv(send, &mut receive, &counts)?;
    Ok(cut(&receive, &counts))
}

/// [`Comm::bcast`] of as many bytes as rank `root` has; `data` of the others is replaced.
///
/// # Errors
/// A rank is gone.
pub fn share(comm: &dyn Comm, data: &mut Vec<u8>, root: usize) -> Result<()> {
    let mut length = (data.len() as u64).to_le_bytes();
    comm.bcast(&mut length, root)?;
    data.resize(u64::from_le_bytes(length) as usize, 0);
    comm.bcast(data, root)
}

/// Tells each rank r that `counts[r]` bytes go there; returns how many come from each.
fn sizes(comm: &dyn Comm, counts: &[usize]) -> Result<Vec<usize>> {
    const LENGTH: usize = size_of::<u64>();
    let send: Vec<u8> = counts.iter().flat_map(|&n| (n as u64).to_le_bytes()).collect();
    let (lengths, mut receive) = (vec![LENGTH; comm.size()], vec![0; send.len()]);
    comm.alltoallv(&send, &lengths, &mut receive, &lengths)?;
    let number = |bytes: &[u8; LENGTH]| u64::from_le_bytes(*bytes) as usize;
    Ok(receive.as_chunks().0.iter().map(number).collect())
}

fn cut(bytes: &[u8], counts: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let part = |&count: &usize| {
        let (part, later) = rest.split_at(count);
        rest = later;
        part.to_vec()
    };
    counts.iter().map(part).collect()
}
