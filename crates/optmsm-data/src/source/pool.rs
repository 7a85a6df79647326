//! Threads that decode rows and work on them ahead of who asks, in the order of the rows.
//!
//! A thread takes the next piece (a row group, rows of an Arrow file, a text of whole CSV records), decodes it batch by
//! batch and works on each. While another thread has nothing to do, it hands a batch over to it, so that one large row
//! group keeps all of them busy. Results of the batches wait in the order of the pieces. So the results do not depend
//! on the number of threads, and the first error is the first of the files. Results that wait take at most [`WAITING`]
//! bytes, and one batch more per thread. Batches that wait to be worked on are at most one per thread.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::guard::caught;
use super::interrupt::Interrupt;
use super::records::{Job, Records};
use super::rows::Rows;
use crate::error::{DataError, Result};

/// Most bytes of results that wait.
const WAITING: usize = 16 << 20;

/// Work of a thread: turns rows into a result.
pub(crate) trait Work: Send + 'static {
    type Made: Send + 'static;

    fn work(&mut self, rows: Rows) -> Done<Self::Made>;
}

/// Result of some rows.
pub(crate) struct Done<T> {
    pub(crate) made: T,
    /// Memory that it takes.
    pub(crate) bytes: usize,
    /// Error after the rows of `made`. Nothing after it is read.
    pub(crate) error: Option<DataError>,
}

/// A batch that is worked on or done.
type Slot<T> = Option<std::result::Result<Done<T>, Box<dyn Any + Send>>>;

/// A piece.
struct Queue<T> {
    slots: VecDeque<Slot<T>>,
    first: u64, // number of slots[0]
    end: Option<Result<()>>,
}

struct Handed {
    piece: u64,
    slot: u64,
    rows: Rows,
}

struct State<T> {
    taking: bool, // a thread fetches a piece
    all_taken: bool,
    first: u64, // number of the piece that queues[0] belongs to
    queues: VecDeque<Queue<T>>,
    handed: VecDeque<Handed>,
    idle: usize,    // threads
    waiting: usize, // bytes
    stop: bool,
}

struct Shared<T> {
    records: Mutex<Records>,
    ahead: usize, // pieces that are begun at most
    state: Mutex<State<T>>,
    room: Condvar,
    news: Condvar,
}

/// Results of the rows of a source, in their order.
pub(crate) struct Stream<W: Work> {
    way: Way<W>,
    interrupt: Interrupt,
}

/// How rows are worked on.
enum Way<W: Work> {
    /// By the thread that asks.
    Here(Records, W, VecDeque<Done<W::Made>>),
    /// By threads of its own; they end when it is dropped.
    Threads(Pool<W::Made>),
}

struct Pool<T> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

impl<W: Work> Stream<W> {
    /// Reads the records by their threads, each with a worker of its own.
    ///
    /// # Errors
    /// The system does not start as many threads.
    pub(crate) fn new(records: Records, mut worker: impl FnMut() -> W) -> Result<Self> {
        let way = match records.threads() {
            0 => Way::Here(records, worker(), VecDeque::new()),
            threads => Way::Threads(Pool::start(records, (0..threads).map(|_| worker()).collect())?),
        };
        Ok(Self { way, interrupt: Interrupt::here() })
    }

    /// The next result; none at the end.
    ///
    /// # Errors
    /// A row cannot be used; the work is [interruptible](super::interruptible) and to stop.
    pub(crate) fn next(&mut self) -> Result<Option<Done<W::Made>>> {
        self.interrupt.check()?;
        match &mut self.way {
            Way::Threads(pool) => pool.next(),
            Way::Here(records, worker, done) => loop {
                if let Some(done) = done.pop_front() {
                    return Ok(Some(done));
                }
                let Some(job) = records.next()? else { return Ok(None) };
                job.decode(&mut |rows| {
                    done.push_back(worker.work(rows));
                    true
                })?;
            },
        }
    }
}

impl<T: Send + 'static> Pool<T> {
    fn start<W: Work<Made = T>>(records: Records, workers: Vec<W>) -> Result<Self> {
        let state = State {
            taking: false,
            all_taken: false,
            first: 0,
            queues: VecDeque::new(),
            handed: VecDeque::new(),
            idle: 0,
            waiting: 0,
            stop: false,
        };
        let shared = Arc::new(Shared {
            records: Mutex::new(records),
            ahead: 2 * workers.len(),
            state: Mutex::new(state),
            room: Condvar::new(),
            news: Condvar::new(),
        });
        // Dropped with an error, it ends those that were started.
        let mut pool = Self { threads: Vec::with_capacity(workers.len()), shared };
        for mut worker in workers {
            let shared = pool.shared.clone();
            let thread = Builder::new().spawn(move || shared.run(&mut worker)).map_err(DataError::thread)?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    fn next(&self) -> Result<Option<Done<T>>> {
        let mut state = self.shared.lock();
        loop {
            if let Some(front) = state.queues.front_mut() {
                match front.slots.front_mut().map(Option::take) {
                    Some(Some(done)) => {
                        front.slots.pop_front();
                        front.first += 1;
                        let done = done.unwrap_or_else(|panic| resume_unwind(panic));
                        state.waiting -= done.bytes;
                        self.shared.room.notify_all();
                        return Ok(Some(done));
                    }
                    Some(None) => {}
                    None => {
                        if let Some(end) = front.end.take() {
                            state.queues.pop_front();
                            state.first += 1;
                            self.shared.room.notify_all();
                            end?;
                            continue;
                        }
                    }
                }
            } else if state.all_taken {
                return Ok(None);
            }
            state = self.shared.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

impl<T> Shared<T> {
    fn run<W: Work<Made = T>>(&self, worker: &mut W) {
        while let Some((piece, job)) = self.take(worker) {
            let decoded =
                catch_unwind(AssertUnwindSafe(|| job.decode(&mut |rows| self.put(piece, rows, worker))));
            let mut state = self.lock();
            let at = (piece - state.first) as usize;
            let end = decoded.unwrap_or_else(|panic| {
                state.queues[at].slots.push_back(Some(Err(panic)));
                Ok(())
            });
            state.all_taken |= end.is_err(); // nobody reads beyond an error
            state.queues[at].end = Some(end);
            self.news.notify_all();
            self.room.notify_all();
        }
    }

    /// The next piece to decode and its number; none when there is no more.
    fn take<W: Work<Made = T>>(&self, worker: &mut W) -> Option<(u64, Job)> {
        let mut state = self.lock();
        loop {
            if state.stop {
                return None;
            }
            if let Some(handed) = state.handed.pop_front() {
                state = self.work(state, handed, worker);
                continue;
            }
            if !state.all_taken && !state.taking && state.queues.len() < self.ahead {
                break;
            }
            // Batches of a piece that is being decoded may still be handed over.
            if state.all_taken && state.queues.iter().all(|queue| queue.end.is_some()) {
                return None;
            }
            state.idle += 1;
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
        state.taking = true;
        drop(state);
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let next = catch_unwind(AssertUnwindSafe(|| records.next()));
        drop(records);
        let mut slots = VecDeque::new();
        let (job, end) = match next {
            Ok(Ok(Some(job))) => (Some(job), None),
            Ok(Ok(None)) => (None, Some(Ok(()))),
            Ok(Err(e)) => (None, Some(Err(e))),
            Err(panic) => {
                slots.push_back(Some(Err(panic))); // for who asks
                (None, Some(Ok(())))
            }
        };
        let mut state = self.lock();
        let number = state.first + state.queues.len() as u64;
        state.taking = false;
        state.all_taken |= job.is_none();
        state.queues.push_back(Queue { slots, first: 0, end });
        drop(state);
        self.room.notify_all();
        self.news.notify_all();
        match job {
            Some(job) => Some((number, job)),
            None => self.take(worker), // to help the others
        }
    }

    /// Works on rows, or hands them over to a thread that has nothing to do; false if nobody wants more.
    fn put<W: Work<Made = T>>(&self, piece: u64, rows: Rows, worker: &mut W) -> bool {
        let mut state = self.lock();
        loop {
            if state.stop {
                return false;
            }
            let is_next = piece == state.first && state.queues[0].slots.is_empty();
            if is_next || state.waiting < WAITING {
                break;
            }
            state = match state.handed.pop_front() {
                Some(handed) => self.work(state, handed, worker),
                None => self.room.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let at = (piece - state.first) as usize;
        let queue = &mut state.queues[at];
        let slot = queue.first + queue.slots.len() as u64;
        queue.slots.push_back(None);
        let handed = Handed { piece, slot, rows };
        if state.handed.len() < state.idle {
            state.handed.push_back(handed);
            drop(state);
            self.room.notify_all();
            return true;
        }
        !self.work(state, handed, worker).stop
    }

    /// Works on rows without the lock. A panic is kept for who asks for the rows.
    fn work<'a, W: Work<Made = T>>(
        &'a self,
        state: MutexGuard<'a, State<T>>,
        Handed { piece, slot, rows }: Handed,
        worker: &mut W,
    ) -> MutexGuard<'a, State<T>> {
        drop(state);
        // Where decoding panics, it is the file's fault and becomes an error; here it is not.
        let done = caught(|| worker.work(rows));
        let mut state = self.lock();
        if let Ok(done) = &done {
            state.waiting += done.bytes;
            state.all_taken |= done.error.is_some();
        }
        let at = (piece - state.first) as usize;
        let queue = &mut state.queues[at];
        let at = (slot - queue.first) as usize;
        queue.slots[at] = Some(done);
        self.news.notify_all();
        state
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Reading;
    use crate::source::Source;

    /// Counts rows, each batch as large as all that may wait; panics at a batch.
    struct Counts(Option<usize>);

    impl Work for Counts {
        type Made = usize;

        fn work(&mut self, rows: Rows) -> Done<usize> {
            assert_ne!(Some(rows.span().start.rows as usize), self.0, "the row that it should not see");
            Done { made: rows.len(), bytes: WAITING, error: None }
        }
    }

    fn stream(folder: &tempfile::TempDir, panics_at: Option<usize>) -> Stream<Counts> {
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, format!("a\n{}", "1\n".repeat(1_000_000))).unwrap();
        let records = Records::open(&Source::from(path).with_threads(4), &Reading::default()).unwrap();
        Stream::new(records, || Counts(panics_at)).unwrap()
    }

    #[test]
    fn results_that_fill_all_the_room_come_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut stream = stream(&folder, None);
        let mut rows = 0;
        while let Some(done) = stream.next().unwrap() {
            rows += done.made;
        }
        assert_eq!(rows, 1_000_000);
    }

    #[test]
    fn a_panic_reaches_who_asks() {
        let folder = tempfile::tempdir().unwrap();
        let mut stream = stream(&folder, Some(0));
        assert!(catch_unwind(AssertUnwindSafe(|| stream.next().map(|_| ()))).is_err());
    }
}
