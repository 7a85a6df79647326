//! Passes over whole parameter buffers and tables, divided among the threads.

use std::ops::Range;

use optmsm_core::backend::{TableStep, Update, Write};
use optmsm_core::optim;
use rayon::prelude::*;

use crate::Cpu;
use crate::memory::Buffer;
use crate::rows::{dot, put};
use crate::scalars::Scalars;
use crate::tables::Table;

/// Elements that one task takes: fixed, so that sums do not depend on the threads.
const CHUNK: usize = 16 * 1024;

impl Update for Cpu {
    fn accumulate<'a>(
        &self,
        acc: &mut Buffer,
        count: usize,
        x: impl Fn(usize) -> &'a Buffer + Sync,
        range: Range<usize>,
    ) {
        let add = |(chunk, acc): (usize, &mut [f32])| {
            for i in 0..count {
                let x = &x(i)[range.start + chunk * CHUNK..][..acc.len()];
                self.isa.vectorise(
                    #[inline(always)]
                    || acc.iter_mut().zip(x).for_each(|(a, x)| *a += x),
                );
            }
        };
        self.pool.install(|| acc[range.clone()].par_chunks_mut(CHUNK).enumerate().for_each(add));
    }

    fn sum_sq(&self, sum: &mut Buffer, write: Write, x: &Buffer, len: usize) {
        let total = self.pool.install(|| tree_sum_sq(&x[..len]));
        put(&mut sum[..1], write, [total as f32].into_iter());
    }

    fn step_dense(
        &self,
        w: &mut Buffer,
        g: &Buffer,
        state: &mut [Buffer],
        len: usize,
        update: &optim::Update<Buffer>,
    ) {
        let rule = Scalars::new(update, update.adam_dense());
        let chunks = w[..len].par_chunks_mut(CHUNK).zip(g[..len].par_chunks(CHUNK));
        self.pool.install(|| match state {
            [] => chunks.for_each(|(w, g)| {
                self.isa.vectorise(
                    #[inline(always)]
                    || rule.no_state(w, g),
                );
            }),
            [s] => chunks.zip(s[..len].par_chunks_mut(CHUNK)).for_each(|((w, g), s)| {
                self.isa.vectorise(
                    #[inline(always)]
                    || rule.one_state(w, g, s),
                );
            }),
            [m, v, ..] => {
                let chunks = chunks.zip(m[..len].par_chunks_mut(CHUNK)).zip(v[..len].par_chunks_mut(CHUNK));
                chunks.for_each(|(((w, g), m), v)| {
                    self.isa.vectorise(
                        #[inline(always)]
                        || rule.adam(w, g, m, v),
                    );
                });
            }
        });
    }

    fn average(&self, a: &mut Buffer, w: &Buffer, len: usize, keep: f64) {
        let share = (1.0 - keep) as f32;
        let chunks = a[..len].par_chunks_mut(CHUNK).zip(w[..len].par_chunks(CHUNK));
        let average = |(a, w): (&mut [f32], &[f32])| {
            self.isa.vectorise(
                #[inline(always)]
                || a.iter_mut().zip(w).for_each(|(a, w)| *a += share * (w - *a)),
            );
        };
        self.pool.install(|| chunks.for_each(average));
    }

    fn step_rows(&self, step: TableStep<Self>, update: &optim::Update<Buffer>) {
        let rule = Scalars::new(update, update.adam_rows());
        self.pool.install(|| Table::step(self.isa, &rule, step));
    }

    fn settle_rows(&self, table: &mut Table, factor: f64, average: Option<(&mut Table, [f64; 2])>) {
        self.pool.install(|| table.settle(self.isa, factor, average));
    }
}

/// Σ x²: single precision within a task's share, in a fixed tree over the shares.
fn tree_sum_sq(x: &[f32]) -> f64 {
    if x.len() <= CHUNK {
        return dot(x, x).into();
    }
    let (low, high) = x.split_at(x.len().div_ceil(CHUNK) / 2 * CHUNK);
    let (low, high) = rayon::join(|| tree_sum_sq(low), || tree_sum_sq(high));
    low + high
}
