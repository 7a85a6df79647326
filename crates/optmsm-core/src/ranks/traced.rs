//! Losses and logits of the last steps, as this rank has them.

use super::tree::{Tree, add};
use super::wire::gather_lists;
use super::{Cut, Job, Team};
use crate::backend::Backend;
use crate::elem::Elem;
use crate::error::Result;
use crate::learner::{StepLoss, Trace, TracedStep};
use crate::model::Model;

/// A step.
pub(super) struct Kept<E> {
    step: u64,
    rows: usize,
    weight: f64,
    pub(super) sums: Vec<f64>, // over this rank's rows; none without rows
    pub(super) logits: Vec<E>,
    labels: Vec<E>,
    weights: Vec<E>,
}

impl<E: Elem> Kept<E> {
    /// Without its sums and logits.
    pub(super) fn of(cut: &Cut<E>, step: u64) -> Self {
        let all = |of: fn(&crate::plan::Plan<E>) -> &Vec<E>| cut.plans.iter().flat_map(of).copied().collect();
        Self {
            step,
            rows: cut.rows,
            weight: cut.weight_sum,
            sums: Vec::new(),
            logits: Vec::new(),
            labels: all(|plan| &plan.labels),
            weights: all(|plan| &plan.weights),
        }
    }

    /// The loss, over all ranks.
    fn loss<B: Backend<Elem = E>, M: Model<B>>(&self, job: &Job, model: &M) -> Result<StepLoss> {
        let parts = gather_lists(job.comm(), &self.sums)?;
        let leaves = parts.into_iter().map(|sums| Some(sums).filter(|sums| !sums.is_empty()));
        let sums = Tree::sum(leaves, add).unwrap_or_else(|| vec![0.0; 1 + model.spec().sums()]);
        Ok(StepLoss::of(model, &sums, self.rows, self.weight))
    }
}

impl<B: Backend> Team<B> {
    /// Loss of the last step.
    pub(crate) fn loss<M: Model<B>>(&self, model: &M) -> Result<StepLoss> {
        self.kept.last().map_or(Ok(StepLoss { bce: 0.0, penalty: 0.0 }), |kept| kept.loss(&self.job, model))
    }

    /// Moves the steps that nobody has read into `to`, with the rows of all ranks.
    pub(crate) fn trace<M: Model<B>>(&mut self, model: &M, to: &mut Trace<B::Elem>) -> Result<()> {
        to.clear();
        for kept in self.kept.drain(..) {
            let Kept { step, rows, weight, .. } = kept;
            to.steps.push(TracedStep { step, loss: kept.loss(&self.job, model)?, rows, weight });
            let lists = [
                (&mut to.logits, &kept.logits),
                (&mut to.labels, &kept.labels),
                (&mut to.weights, &kept.weights),
            ];
            for (to, own) in lists {
                to.extend(gather_lists(self.job.comm(), own)?.concat());
            }
        }
        Ok(())
    }
}
