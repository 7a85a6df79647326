//! Ranks that are threads of one process: for tests, and for what a program does not need processes for.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::{Comm, CommError, Result, check};

/// A rank that is a thread.
#[derive(Clone, Debug)]
pub struct ThreadComm {
    own: Arc<Rank>,
}

/// State that the copies of a rank share; the last that drops is the end of the rank.
#[derive(Debug)]
struct Rank {
    rank: usize,
    job: Arc<Job>,
}

#[derive(Debug)]
struct Job {
    sent: Vec<Mutex<Vec<u8>>>, // by rank: its operation's bytes, with those for all ranks in order
    meeting: Mutex<Meeting>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Meeting {
    arrived: usize,
    round: u64,
    gone: bool, // a rank has ended
}

/// The ranks of a job of `size` threads; each is for a thread of its own.
///
/// A rank that ends, by a panic too, is gone for the others: their next operation, or the one they wait in, is an error.
pub fn threads(size: usize) -> Vec<ThreadComm> {
    let sent = (0..size).map(|_| Mutex::default()).collect();
    let job = Arc::new(Job { sent, meeting: Mutex::default(), news: Condvar::new() });
    (0..size).map(|rank| ThreadComm { own: Arc::new(Rank { rank, job: Arc::clone(&job) }) }).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Rank {
    fn drop(&mut self) {
        lock(&self.job.meeting).gone = true;
        self.job.news.notify_all();
    }
}

impl Job {
    /// Returns once all ranks have called it.
    fn meet(&self) -> Result<()> {
        let gone = || CommError::new("a rank of the job has ended before the others");
        let mut meeting = lock(&self.meeting);
        if meeting.gone {
            return Err(gone());
        }
        meeting.arrived += 1;
        if meeting.arrived == self.sent.len() {
            meeting.arrived = 0;
            meeting.round += 1;
            self.news.notify_all();
            return Ok(());
        }
        let round = meeting.round;
        while meeting.round == round {
            if meeting.gone {
                return Err(gone());
            }
            meeting = self.news.wait(meeting).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }
}

impl ThreadComm {
    /// Shows `send` to all ranks, and calls `read` with each rank and what it shows.
    fn show(&self, send: &[u8], mut read: impl FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
        let Rank { rank, job } = &*self.own;
        let mut own = lock(&job.sent[*rank]);
        own.clear();
        own.extend_from_slice(send);
        drop(own);
        job.meet()?;
        let done = job.sent.iter().enumerate().try_for_each(|(rank, sent)| read(rank, &lock(sent)));
        // Nobody may write its next bytes before all have read these.
        job.meet()?;
        done
    }
}

/// Copies what a rank has sent, if that is as long as expected.
fn copy(rank: usize, from: &[u8], to: &mut [u8]) -> Result<()> {
    if from.len() != to.len() {
        return Err(CommError::new(check::other(rank, from.len(), to.len())));
    }
    to.copy_from_slice(from);
    Ok(())
}

impl Comm for ThreadComm {
    fn rank(&self) -> usize {
        self.own.rank
    }

    fn size(&self) -> usize {
        self.own.job.sent.len()
    }

    fn barrier(&self) -> Result<()> {
        self.own.job.meet()
    }

    fn alltoallv(&self, send: &[u8], counts: &[usize], receive: &mut [u8], received: &[usize]) -> Result<()> {
        check::parts(self, "sent", send, counts)?;
        check::parts(self, "received", receive, received)?;
        // Each says first where the parts end in what it shows.
        let mut end = 8 * counts.len();
        let mut shown: Vec<u8> = Vec::with_capacity(end + send.len());
        for count in counts {
            end += count;
            shown.extend((end as u64).to_le_bytes());
        }
        shown.extend_from_slice(send);
        let mut rest = receive;
        self.show(&shown, |rank, bytes| {
            let (to, later) = std::mem::take(&mut rest).split_at_mut(received[rank]);
            rest = later;
            let ends = bytes.as_chunks().0;
            let end = |r: usize| u64::from_le_bytes(ends[r]) as usize;
            let first = if self.rank() == 0 { 8 * received.len() } else { end(self.rank() - 1) };
            copy(rank, &bytes[first..end(self.rank())], to)
        })
    }

    fn allgatherv(&self, send: &[u8], receive: &mut [u8], counts: &[usize]) -> Result<()> {
        check::parts(self, "received", receive, counts)?;
        let mut rest = receive;
        self.show(send, |rank, bytes| {
            let (to, later) = std::mem::take(&mut rest).split_at_mut(counts[rank]);
            rest = later;
            copy(rank, bytes, to)
        })
    }

    fn bcast(&self, data: &mut [u8], root: usize) -> Result<()> {
        check::root(self, root)?;
        let send = if self.rank() == root { data.to_vec() } else { Vec::new() };
        self.show(&send, |rank, bytes| if rank == root { copy(rank, bytes, data) } else { Ok(()) })
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}
