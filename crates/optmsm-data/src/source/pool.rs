//! Threads that decode ahead, in the order of the rows.
//!
//! A thread takes the next piece (a row group, or a whole Arrow file) and decodes it batch by batch. The batches
//! wait in the order of the pieces, so what the reader sees does not depend on the number of threads. Batches
//! that wait take at most [`WAITING`] bytes: a thread stops until there is room again, except that the piece
//! which is being read may always have one batch.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::column::Column;
use super::columns::Plan;
use super::file::{From, Opened, Piece};
use crate::error::Result;

/// Most bytes of batches that wait to be read.
const WAITING: usize = 96 << 20;

/// Decoded rows of a file.
pub(super) struct Decoded {
    pub(super) part: usize,
    /// Rows of the file before them.
    pub(super) first_row: u64,
    pub(super) rows_of_file: Option<u64>,
    pub(super) rows: usize,
    /// One a wanted column.
    pub(super) columns: Vec<Column>,
    bytes: usize,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Decoded>,
    done: Option<Result<()>>,
}

/// What a thread decodes.
struct Job {
    part: usize,
    opened: Arc<Opened>,
    from: Arc<Vec<From>>,
    piece: Piece,
}

/// The pieces not yet taken.
#[derive(Default)]
struct Upcoming {
    next_part: usize,
    opened: Option<(usize, Arc<Opened>, Arc<Vec<From>>)>,
    pieces: VecDeque<Piece>,
}

struct State {
    upcoming: Upcoming,
    all_taken: bool,
    first: u64, // number of the piece that queues[0] belongs to
    queues: VecDeque<Queue>,
    waiting: usize, // bytes
    stop: bool,
}

struct Shared {
    plan: Plan,
    ahead: usize, // pieces that are begun at most
    state: Mutex<State>,
    room: Condvar,
    news: Condvar,
}

/// The threads; they end when it is dropped.
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    pub(super) fn start(plan: Plan, threads: usize) -> Self {
        let state = State {
            upcoming: Upcoming::default(),
            all_taken: false,
            first: 0,
            queues: VecDeque::new(),
            waiting: 0,
            stop: false,
        };
        let (room, news) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { plan, ahead: 2 * threads, state: Mutex::new(state), room, news });
        let run = |_| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.work())
        };
        Self { threads: (0..threads).map(run).collect(), shared }
    }

    /// The next batch in order; none at the end.
    pub(super) fn next(&self) -> Result<Option<Decoded>> {
        let mut state = self.shared.lock();
        loop {
            if let Some(front) = state.queues.front_mut() {
                if let Some(batch) = front.batches.pop_front() {
                    state.waiting -= batch.bytes;
                    self.shared.room.notify_all();
                    return Ok(Some(batch));
                }
                if let Some(done) = front.done.take() {
                    state.queues.pop_front();
                    state.first += 1;
                    self.shared.room.notify_all();
                    done?;
                    continue;
                }
            } else if state.all_taken {
                return Ok(None);
            }
            state = self.shared.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some((number, Job { part, opened, from, piece })) = self.take() {
            let mut first_row = piece.first_row;
            let done = opened.decode(&self.plan.parts[part], piece, &from, &mut |rows, columns| {
                let bytes = columns.iter().map(Column::bytes).sum();
                let rows_of_file = piece.rows_of_file;
                let batch = Decoded { part, first_row, rows_of_file, rows, columns, bytes };
                first_row += rows as u64;
                self.put(number, batch)
            });
            let mut state = self.lock();
            let at = (number - state.first) as usize;
            state.queues[at].done = Some(done);
            self.news.notify_all();
        }
    }

    /// The next piece to decode and its number; none when there is no more.
    fn take(&self) -> Option<(u64, Job)> {
        let mut state = self.lock();
        loop {
            if state.stop || state.all_taken {
                return None;
            }
            if state.queues.len() < self.ahead {
                break;
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let number = state.first + state.queues.len() as u64;
        match state.upcoming.next(&self.plan) {
            Ok(Some(job)) => {
                state.queues.push_back(Queue::default());
                Some((number, job))
            }
            Ok(None) => {
                state.all_taken = true;
                self.room.notify_all();
                self.news.notify_all();
                None
            }
            Err(e) => {
                state.queues.push_back(Queue { done: Some(Err(e)), ..Queue::default() });
                state.all_taken = true; // nobody reads beyond an error
                self.room.notify_all();
                self.news.notify_all();
                None
            }
        }
    }

    /// Hands on a batch once there is room; false if nobody wants it.
    fn put(&self, number: u64, batch: Decoded) -> bool {
        let mut state = self.lock();
        loop {
            if state.stop {
                return false;
            }
            let at = (number - state.first) as usize;
            let is_next = at == 0 && state.queues[0].batches.is_empty();
            if is_next || state.waiting + batch.bytes <= WAITING {
                state.waiting += batch.bytes;
                state.queues[at].batches.push_back(batch);
                self.news.notify_all();
                return true;
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Upcoming {
    fn next(&mut self, plan: &Plan) -> Result<Option<Job>> {
        loop {
            if let Some((part, opened, from)) = &self.opened
                && let Some(piece) = self.pieces.pop_front()
            {
                let (opened, from) = (opened.clone(), from.clone());
                return Ok(Some(Job { part: *part, opened, from, piece }));
            }
            let at = self.next_part;
            let Some(part) = plan.parts.get(at) else { return Ok(None) };
            self.next_part += 1;
            let opened = Opened::new(part)?;
            let from = plan.locate(part, &opened.schema)?;
            self.pieces = opened.pieces().into();
            self.opened = Some((at, Arc::new(opened), Arc::new(from)));
        }
    }
}
