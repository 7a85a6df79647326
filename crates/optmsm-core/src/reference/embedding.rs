//! Rows by their ids, and the sums that are their backward.

use super::{Reference, table, view, view_mut};
use crate::backend::{Bags, Embedding, Mat, MatMut, Segments, TableView};
use crate::elem::Elem;

impl<T: Elem> Embedding for Reference<T> {
    fn gather_rows(&self, out: MatMut<Vec<T>>, x: Mat<Vec<T>>, ids: &Vec<u32>, first: usize) {
        let x = view(x);
        for (b, mut row) in view_mut(out).outer_iter_mut().enumerate() {
            row.assign(&x.row(ids[first + b] as usize));
        }
    }

    fn lookup(&self, out: MatMut<Vec<T>>, table: TableView<Self>, ids: &Vec<u32>, first: usize) {
        for ((b, j), out) in view_mut(out).indexed_iter_mut() {
            *out = table::read(&table, ids[first + b], j);
        }
    }

    fn lookup_bags(
        &self,
        out: MatMut<Vec<T>>,
        table: TableView<Self>,
        bags: Bags<Vec<u32>, Vec<T>>,
        first: usize,
    ) {
        for ((b, j), out) in view_mut(out).indexed_iter_mut() {
            let bag = bags.offsets[first + b] as usize..bags.offsets[first + b + 1] as usize;
            *out = bag.fold(T::zero(), |sum, i| sum + bags.coefs[i] * table::read(&table, bags.ids[i], j));
        }
    }

    fn numeric_embed(&self, out: MatMut<Vec<T>>, w: Mat<Vec<T>>, values: &Vec<T>, first: usize) {
        let w = view(w);
        for ((b, j), out) in view_mut(out).indexed_iter_mut() {
            *out = values[first + b] * w[[0, j]];
        }
    }

    fn reduce_rows<'a>(
        &self,
        g: MatMut<Vec<T>>,
        segments: Segments<Vec<u32>, Vec<T>>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Vec<T>> + Sync,
    ) {
        let mut g = view_mut(g);
        for u in 0..segments.count {
            let mut sum = g.row_mut(u);
            sum.fill(T::zero());
            for i in segments.starts[u] as usize..segments.starts[u + 1] as usize {
                let row = segments.rows[i] as usize;
                let coef = segments.coefs.map_or(T::one(), |c| c[i]);
                sum.scaled_add(coef, &view(lane(row / lane_rows)).row(row % lane_rows));
            }
        }
    }

    fn linear_bwd_by_value<'a>(
        &self,
        g: MatMut<Vec<T>>,
        d_w: MatMut<Vec<T>>,
        x: Mat<Vec<T>>,
        w: Mat<Vec<T>>,
        segments: Segments<Vec<u32>, Vec<T>>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Vec<T>> + Sync,
    ) {
        let count = segments.count;
        let mut sums = vec![T::zero(); count * w.rows];
        self.reduce_rows(MatMut::new(&mut sums, count, w.rows), segments, lane_rows, lane);
        let s = view(Mat::new(&sums, count, w.rows));
        view_mut(g.rows(0, count)).assign(&s.dot(&view(w)));
        view_mut(d_w).assign(&s.t().dot(&view(x.rows(0, count))));
    }
}
