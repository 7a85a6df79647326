//! Embedding tables of the reference: every element holds a number of its storage type's grid.

use crate::backend::{Elem, TableView};
use crate::optim::{Rule, Update};
use crate::rounding::{Rounding, TableDtype};

use super::Reference;
use super::update::Scalars;

/// A table of rows.
#[derive(Clone, Debug)]
pub struct Table<T> {
    data: Vec<T>,
    width: usize,
    dtype: TableDtype,
}

impl<T: Elem> Table<T> {
    pub(super) fn new(rows: usize, width: usize, dtype: TableDtype) -> Self {
        Self { data: vec![T::zero(); rows * width], width, dtype }
    }

    pub(super) fn row(&self, id: u32) -> &[T] {
        &self.data[id as usize * self.width..][..self.width]
    }

    pub(super) fn rows(&self, first: usize, len: usize) -> &[T] {
        &self.data[first * self.width..][..len]
    }

    pub(super) fn set_rows(&mut self, first: usize, src: &[T]) {
        let rows = &mut self.data[first * self.width..][..src.len()];
        rows.iter_mut().zip(src).for_each(|(w, &v)| *w = self.dtype.nearest(v));
    }

    /// Takes row `id` of an average along as a row moved.
    pub(super) fn follow(&mut self, id: u32, before: &[T], after: &[T], c: T) {
        let row = &mut self.data[id as usize * self.width..][..self.width];
        row.iter_mut().zip(before).zip(after).for_each(|((a, &before), &after)| *a -= c * (after - before));
    }

    /// An average's part of [`Update::settle_rows`](crate::backend::Update::settle_rows).
    pub(super) fn settle(&mut self, table: &Self, q: T, d: T) {
        self.data.iter_mut().zip(&table.data).for_each(|(a, &w)| *a = d.mul_add(*a, q * w));
    }

    /// Multiplies every element, to the nearest of the grid.
    pub(super) fn scale(&mut self, factor: T) {
        self.data.iter_mut().for_each(|w| *w = self.dtype.nearest(factor * *w));
    }

    /// Moves row `id` by its gradient, then rounds it.
    pub(super) fn step(
        &mut self,
        id: u32,
        g: impl Fn(usize) -> T,
        state: &mut [Vec<T>],
        rule: &Scalars<T>,
        update: &Update<Vec<T>>,
        rounding: &Rounding,
    ) {
        let (width, start) = (self.width, id as usize * self.width);
        let w = &mut self.data[start..start + width];
        if update.rule == Rule::RowwiseAdagrad {
            let sum = &mut state[0][id as usize];
            let g_of = |w: T, j: usize| rule.clip * g(j) + rule.decay * w;
            let squares = (0..width).fold(T::zero(), |s, j| s + g_of(w[j], j) * g_of(w[j], j));
            *sum += squares / T::of(width as f64);
            let root = sum.sqrt() + rule.eps;
            w.iter_mut().enumerate().for_each(|(j, w)| *w -= rule.lr * g_of(*w, j) / root);
        } else {
            w.iter_mut().enumerate().for_each(|(j, w)| rule.element(w, g(j), state, start + j));
        }
        if self.dtype != TableDtype::F32 {
            for (j, w) in w.iter_mut().enumerate() {
                *w = self.dtype.stochastic(*w, rounding.words(id, (j / 4) as u32)[j % 4]);
            }
        }
    }
}

/// Element `j` of row `id`, as a view reads it.
pub(super) fn read<T: Elem>(view: &TableView<Reference<T>>, id: u32, j: usize) -> T {
    let w = T::of(view.scale) * view.table.row(id)[j];
    view.plus.map_or(w, |(average, factor)| T::of(factor).mul_add(average.row(id)[j], w))
}
