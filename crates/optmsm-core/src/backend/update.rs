//! Reductions and updates over whole parameter buffers and tables; outside `for_lanes`.

use std::ops::Range;

use super::{Memory, TableStep, Write};
use crate::optim;

/// Reductions and updates over whole parameter buffers and tables.
pub trait Update: Memory {
    /// acc += x_0 + x_1 + … over the elements `range`, in this order; x_i is `x(i)`, `count` of them.
    fn accumulate<'a>(
        &self,
        acc: &mut Self::Buf,
        count: usize,
        x: impl Fn(usize) -> &'a Self::Buf + Sync,
        range: Range<usize>,
    );
    /// `sum[0]` (+)= Σ x², in a fixed order, over the first `len` elements.
    fn sum_sq(&self, sum: &mut Self::Buf, write: Write, x: &Self::Buf, len: usize);
    /// One step of `update` on the first `len` elements; `state` as [`crate::optim::OptimizerConfig::state`] says.
    fn step_dense(
        &self,
        w: &mut Self::Buf,
        g: &Self::Buf,
        state: &mut [Self::Buf],
        len: usize,
        update: &optim::Update<Self::Buf>,
    );
    /// a ← a + (1 − `keep`)(w − a) over the first `len` elements: the exponential average of w.
    fn average(&self, a: &mut Self::Buf, w: &Self::Buf, len: usize, keep: f64);
    /// One step of the sparse form of `update` on the `g.rows` rows `rows[u]` (unique) of a table, with the
    /// gradient of row `rows[u]` in row `u` of `g`. Calculates in [`Memory::Elem`](super::Memory::Elem), then stores
    /// every element of these rows by [`TableDtype::stochastic`](crate::rounding::TableDtype::stochastic) with the
    /// words of `rounding`. State is never rounded.
    fn step_rows(&self, step: TableStep<Self>, update: &optim::Update<Self::Buf>);
    /// [`Update::step_rows`] for several tables.
    fn step_tables<'a>(
        &self,
        tables: impl Iterator<Item = TableStep<'a, Self>>,
        update: &optim::Update<Self::Buf>,
    ) {
        tables.for_each(|step| self.step_rows(step, update));
    }
    /// Settles all rows. With `average` = (average, [q, d]), a table in `f32` of the same shape, first
    /// average ← fma(d, average, q · table). Then table ← `factor` · table by
    /// [`TableDtype::nearest`](crate::rounding::TableDtype::nearest).
    fn settle_rows(
        &self,
        table: &mut Self::Table,
        factor: f64,
        average: Option<(&mut Self::Table, [f64; 2])>,
    );
}
