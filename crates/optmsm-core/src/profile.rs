//! Where the time of a step goes: a backend that times every operation of another one.
//!
//! The wrapped backend computes, so results are bit-equal with and without it. Within training steps an operation costs two
//! readings of the clock and a lock more; a program that does not ask for [`Profiled`] has nothing of it.

mod dense;
mod elementwise;
mod embedding;
mod gate;
mod loss;
mod memory;
mod norm;
mod penalty;
mod update;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::backend::{Backend, Groups, Mat, MatMut, Memory, TableStep, TableView};

thread_local! {
    static IN_LANE: Cell<bool> = const { Cell::new(false) };
}

/// A backend whose operations are timed.
#[derive(Debug)]
pub struct Profiled<B> {
    inner: B,
    in_step: AtomicBool,
    measured: Mutex<Measured>,
}

#[derive(Debug, Default)]
struct Measured {
    steps: u64,
    wall: Duration,
    phases: BTreeMap<Key, Phase>,
}

/// Time and work of a number of training steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Steps.
    pub steps: u64,
    /// Time of all of them.
    pub wall: Duration,
    /// Their operations, by name; `for_lanes` holds the time of those with `in_lanes`.
    pub phases: Vec<Phase>,
}

/// Operation, columns in and out, whether lanes ran it.
type Key = (bool, &'static str, [usize; 2]);

/// One operation on one shape, summed over its calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Phase {
    /// Name in [`Backend`].
    pub op: &'static str,
    /// Columns of its input and output; 0 where there is none.
    pub columns: [usize; 2],
    /// Whether lanes ran it, at the same time on several threads.
    pub in_lanes: bool,
    /// Calls.
    pub calls: u64,
    /// Time, summed over threads.
    pub time: Duration,
    /// Floating-point operations of the products (a multiply-add is two).
    pub flop: u64,
    /// Bytes of the operands, each counted once.
    pub bytes: u64,
}

/// Bytes and multiply-adds of an operation.
#[derive(Default)]
struct Work {
    columns: [usize; 2],
    flop: usize,
    elements: usize,
}

fn elements<T>(m: &Mat<T>) -> usize {
    m.rows * m.cols
}

impl Work {
    fn on<T>(m: &Mat<T>, operands: usize) -> Self {
        Work { columns: [m.cols, 0], elements: operands * elements(m), ..Work::default() }
    }

    fn of(elements: usize) -> Self {
        Work { elements, ..Work::default() }
    }
}

/// A product over rows, d_w = d_yᵀ x.
fn reduction<T, I>(d_w: &MatMut<T>, d_y: &Mat<T>, x: &Mat<T>, by: &Groups<I>) -> Work {
    // A row meets one group under `Rows`, else all of d_w.
    let met = if let Groups::Rows(_) = by { d_y.cols * d_w.cols } else { d_w.rows * d_w.cols };
    let elements = elements(d_y) + elements(x) + 2 * d_w.rows * d_w.cols;
    Work { columns: [x.cols, d_y.cols], flop: 2 * x.rows * met, elements }
}

impl<B: Backend> Profiled<B> {
    /// Times the operations of `inner`.
    pub fn new(inner: B) -> Self {
        Self { inner, in_step: AtomicBool::new(false), measured: Mutex::default() }
    }

    /// The backend that computes.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Measurements since the last call; forgets them.
    pub fn take(&self) -> Profile {
        let Measured { steps, wall, phases } = std::mem::take(&mut *self.lock());
        Profile { steps, wall, phases: phases.into_values().collect() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Measured> {
        // Sums stay whole whatever panicked elsewhere.
        self.measured.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn time<R>(&self, op: &'static str, work: Work, run: impl FnOnce() -> R) -> R {
        self.time_counted(op, work, |_| run())
    }

    /// The same for work whose elements are known only when it is done: `run` adds them.
    fn time_counted<R>(&self, op: &'static str, mut work: Work, run: impl FnOnce(&mut usize) -> R) -> R {
        if !self.in_step.load(Ordering::Relaxed) {
            return run(&mut 0);
        }
        let start = Instant::now();
        let result = run(&mut work.elements);
        let time = start.elapsed();
        let (in_lanes, columns) = (IN_LANE.get(), work.columns);
        let mut measured = self.lock();
        let new = Phase { op, columns, in_lanes, ..Phase::default() };
        let phase = measured.phases.entry((in_lanes, op, columns)).or_insert(new);
        phase.calls += 1;
        phase.time += time;
        phase.flop += work.flop as u64;
        phase.bytes += (work.elements * size_of::<B::Elem>()) as u64;
        result
    }

    /// A product over `rows` rows with packed weights.
    fn product(&self, w: &B::Packed, by: &Groups<B::Ids>, rows: usize, columns: [usize; 2]) -> Work {
        let (groups, outputs, inputs) = self.inner.packed_shape(w);
        let used = if let Groups::Columns = by { groups } else { 1 };
        let weights = if let Groups::One(_) = by { 1 } else { groups } * outputs * inputs;
        let elements = rows * (columns[0] + columns[1]) + weights;
        Work { columns, flop: 2 * rows * used * outputs * inputs, elements }
    }
}

type Buf<B> = <B as Memory>::Buf;

/// A table as the backend inside reads it.
fn inner<B: Backend>(TableView { table, scale, plus }: TableView<Profiled<B>>) -> TableView<B> {
    TableView { table, scale, plus }
}

/// A step as the backend inside takes it, and the elements that it reads and writes.
fn inner_step<B: Backend>(step: TableStep<Profiled<B>>) -> (TableStep<B>, usize) {
    let TableStep { table, g, state, average, rows, rounding } = step;
    let work = (3 + 2 * state.len() + 2 * usize::from(average.is_some())) * elements(&g);
    (TableStep { table, g, state, average, rows, rounding }, work)
}
