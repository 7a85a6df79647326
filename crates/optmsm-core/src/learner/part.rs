//! One step of the update rules on a part of a model: all of it, or what one rank of a job moves.

use super::LearnerConfig;
use crate::backend::{Backend, Mat, TableStep, Write};
use crate::optim::{Clip, DecayRows, Update};
use crate::params::TableSpec;
use crate::rounding::Rounding;
use crate::tables::{Moving, Tables};

/// Parameters that move together, with the optimizer state of each.
pub(crate) struct Part<'a, B: Backend> {
    /// Dense parameters, their averages, and their state.
    pub(crate) dense: (&'a mut B::Buf, Option<&'a mut B::Buf>, &'a mut [B::Buf]),
    /// Rows of tables.
    pub(crate) tables: &'a mut Tables<B>,
    /// State of each table; none of a frozen one.
    pub(crate) state: &'a mut [Vec<B::Buf>],
}

/// Gradient of the rows of a table that a batch touches.
pub(crate) struct Touched<'a, B: Backend> {
    /// A row for each id.
    pub(crate) g: &'a B::Buf,
    /// Number of ids.
    pub(crate) count: usize,
    /// The rows' places in the table.
    pub(crate) ids: &'a B::Ids,
}

/// Gradients of a part.
pub(crate) struct Gradients<'a, B: Backend, F> {
    /// Of dense parameters.
    pub(crate) dense: &'a B::Buf,
    /// Elements of them.
    pub(crate) len: usize,
    /// The model's tables.
    pub(crate) specs: &'a [TableSpec],
    /// Of a table, by its number.
    pub(crate) touched: F,
}

impl<'a, B: Backend, F: Fn(usize) -> Touched<'a, B>> Gradients<'a, B, F> {
    /// Sets `sum` to the sum of the squares of all elements.
    pub(crate) fn sum_sq(&self, be: &B, sum: &mut B::Buf) {
        be.sum_sq(sum, Write::Set, self.dense, self.len);
        for (number, spec) in self.specs.iter().enumerate().filter(|(_, spec)| !spec.frozen) {
            let Touched { g, count, .. } = (self.touched)(number);
            be.sum_sq(sum, Write::Add, g, count * spec.width);
        }
    }
}

impl<B: Backend> Part<'_, B> {
    /// Step `step` of a run of `seed`.
    pub(crate) fn step<'a, F: Fn(usize) -> Touched<'a, B>>(
        self,
        be: &B,
        config: &LearnerConfig,
        (seed, step): (u64, u64),
        grads: &Gradients<'a, B, F>,
        clip: Option<Clip<B::Buf>>,
    ) {
        let Self { dense: (dense, average, dense_state), tables, state } = self;
        let clip = || clip.as_ref().map(|&Clip { max_norm, sum_sq }| Clip { max_norm, sum_sq });
        let share = config.schedule.share(step);
        let update = Update::new(&config.optimizer, step, share, clip());
        be.step_dense(dense, grads.dense, dense_state, grads.len, &update);
        let rest = config.rest(step, share);
        if let Some(average) = average {
            be.average(average, dense, grads.len, rest.keep);
        }
        let mut update = Update::new(config.tables(), step, share, clip());
        let ids = tables.ids();
        let (rows, p) = tables.rest(be, rest);
        if config.tables().decay_rows == DecayRows::All {
            // They have decayed with all rows; w = p · w̃ moves by lr where w̃ moves by lr / p.
            (update.weight_decay, update.lr) = (0.0, update.lr / p);
        }
        let steps = grads.specs.iter().zip(state).zip(rows).enumerate();
        let steps = steps.filter_map(|(number, ((spec, state), moving))| {
            let Moving { rows: table, average } = moving?;
            let Touched { g, count, ids: rows } = (grads.touched)(number);
            let rounding = Rounding { rows: ids, ..Rounding::new(seed, step as u32, number) };
            Some(TableStep { table, g: Mat::new(g, count, spec.width), state, average, rows, rounding })
        });
        be.step_tables(steps, &update);
    }
}
