//! Losses of steps, and a logit per row by the parameters before the step. They stay in the backend's memory until they are
//! asked for, so that nobody waits for a step.

use super::StepLoss;
use crate::backend::{Backend, Elem, MatMut, Write};
use crate::error::Result;
use crate::lanes::TrainingLanes;
use crate::model::Model;
use crate::plan::Plan;

/// Steps that are kept; of steps that nobody reads the oldest go.
pub const KEPT: usize = 16;

/// Findings of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TracedStep {
    /// Number of the step, from 1.
    pub step: u64,
    /// Its loss.
    pub loss: StepLoss,
    /// Rows of its batch.
    pub rows: usize,
    /// Sum of their weights.
    pub weight: f64,
}

/// Steps in order, and their rows one step after the other, in the order of each step's plan.
#[derive(Clone, Debug, Default)]
pub struct Trace<E> {
    /// The steps.
    pub steps: Vec<TracedStep>,
    /// Logits of all rows by the parameters before their step, with dropout's masks.
    pub logits: Vec<E>,
    /// Labels.
    pub labels: Vec<E>,
    /// Sample weights.
    pub weights: Vec<E>,
}

impl<E> Trace<E> {
    /// Drops the steps and keeps the memory.
    pub(crate) fn clear(&mut self) {
        let Self { steps, logits, labels, weights } = self;
        steps.clear();
        [logits, labels, weights].into_iter().for_each(Vec::clear);
    }
}

/// A step in the backend's memory.
#[derive(Clone, Debug, Default)]
struct Kept<E> {
    step: u64,
    rows: usize,
    weight: f64,
    lanes: usize,
    labels: Vec<E>,
    weights: Vec<E>,
}

/// Elements of a buffer as a row vector.
fn part<T>(buf: &mut T, offset: usize, cols: usize) -> MatMut<'_, T> {
    MatMut { buf, offset, rows: 1, cols, stride: cols }
}

/// The last steps.
pub(super) struct Tracer<B: Backend> {
    stats: B::Buf,  // [KEPT, lanes, 1 + stats]
    logits: B::Buf, // [KEPT, max_rows]
    lanes: usize,
    width: usize, // 1 + stats
    max_rows: usize,
    kept: Vec<Kept<B::Elem>>,
    next: usize,   // slot of the next step
    unread: usize, // steps before it that nobody has read
}

impl<B: Backend> Tracer<B> {
    pub(super) fn new<M: Model<B>>(be: &B, model: &M, max_rows: usize) -> Result<Self> {
        let (lanes, width) = (be.lanes(), 1 + model.spec().sums());
        Ok(Self {
            stats: be.alloc(KEPT * lanes * width)?,
            logits: be.alloc(KEPT * max_rows)?,
            lanes,
            width,
            max_rows,
            kept: vec![Kept::default(); KEPT],
            next: 0,
            unread: 0,
        })
    }

    /// Keeps what a pass over `plan` computed.
    pub(super) fn keep<M: Model<B>>(
        &mut self,
        be: &B,
        from: &TrainingLanes<B, M>,
        plan: &Plan<B::Elem>,
        step: u64,
    ) {
        let Self { stats, logits, lanes, width, max_rows, kept, next, unread } = self;
        let slot = &mut kept[*next];
        let (mut row, mut lane) = (*next * *max_rows, *next * *lanes * *width);
        slot.lanes = 0;
        for (sums, o) in from.computed(plan.rows()) {
            be.copy(part(logits, row, o.cols), Write::Set, o);
            be.copy(part(stats, lane, *width), Write::Set, sums);
            (row, lane, slot.lanes) = (row + o.cols, lane + *width, slot.lanes + 1);
        }
        (slot.step, slot.rows, slot.weight) = (step, plan.rows(), plan.weight_sum);
        slot.labels.clone_from(&plan.labels);
        slot.weights.clone_from(&plan.weights);
        *next = (*next + 1) % KEPT;
        *unread = (*unread + 1).min(KEPT);
    }

    /// Moves the steps that nobody has read into `to`, which is emptied first.
    pub(super) fn read<M: Model<B>>(&mut self, be: &B, model: &M, to: &mut Trace<B::Elem>) -> Result<()> {
        to.clear();
        let Trace { steps, logits, labels, weights } = to;
        let mut sums = vec![B::Elem::default(); self.width];
        for back in (1..=self.unread).rev() {
            let number = (self.next + KEPT - back) % KEPT;
            let Kept { step, rows, weight, lanes, .. } = self.kept[number];
            // In lane order.
            let mut total = vec![0.0; self.width];
            for lane in 0..lanes {
                be.download(&mut sums, &self.stats, (number * self.lanes + lane) * self.width)?;
                total.iter_mut().zip(&sums).for_each(|(sum, v)| *sum += v.wide());
            }
            steps.push(TracedStep { step, loss: StepLoss::of(model, &total, rows, weight), rows, weight });
            let first = logits.len();
            logits.resize(first + rows, B::Elem::default());
            be.download(&mut logits[first..], &self.logits, number * self.max_rows)?;
            labels.extend_from_slice(&self.kept[number].labels);
            weights.extend_from_slice(&self.kept[number].weights);
        }
        self.unread = 0;
        Ok(())
    }
}
