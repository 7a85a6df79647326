//! Reductions and updates, timed.

use std::ops::Range;

use super::{Buf, Profiled, Work, inner_step};
use crate::backend::{Backend, TableStep, Update, Write};
use crate::optim;

impl<B: Backend> Update for Profiled<B> {
    fn accumulate<'a>(
        &self,
        acc: &mut B::Buf,
        count: usize,
        x: impl Fn(usize) -> &'a B::Buf + Sync,
        range: Range<usize>,
    ) {
        let work = Work::of((2 + count) * range.len());
        self.time("accumulate", work, || self.inner.accumulate(acc, count, x, range));
    }
    fn sum_sq(&self, sum: &mut B::Buf, write: Write, x: &B::Buf, len: usize) {
        self.time("sum_sq", Work::of(len), || self.inner.sum_sq(sum, write, x, len));
    }
    fn step_dense(
        &self,
        w: &mut B::Buf,
        g: &B::Buf,
        state: &mut [B::Buf],
        len: usize,
        update: &optim::Update<Buf<B>>,
    ) {
        let work = Work::of((3 + 2 * state.len()) * len);
        self.time("step_dense", work, || self.inner.step_dense(w, g, state, len, update));
    }
    fn average(&self, a: &mut B::Buf, w: &B::Buf, len: usize, keep: f64) {
        self.time("average", Work::of(3 * len), || self.inner.average(a, w, len, keep));
    }
    fn step_rows(&self, step: TableStep<Self>, update: &optim::Update<Buf<B>>) {
        let (step, work) = inner_step(step);
        self.time("step_rows", Work::of(work), || self.inner.step_rows(step, update));
    }
    fn step_tables<'a>(
        &self,
        tables: impl Iterator<Item = TableStep<'a, Self>>,
        update: &optim::Update<Buf<B>>,
    ) {
        self.time_counted("step_tables", Work::default(), |count| {
            let tables = tables.map(|step| {
                let (step, work) = inner_step(step);
                *count += work;
                step
            });
            self.inner.step_tables(tables, update);
        });
    }
    fn settle_rows(&self, table: &mut B::Table, factor: f64, average: Option<(&mut B::Table, [f64; 2])>) {
        self.time("settle_rows", Work::default(), || self.inner.settle_rows(table, factor, average));
    }
}
