//! Products with weights, and sums by column.

use super::{Reference, put, relu, view, view_mut};
use crate::backend::{Dense, Epilogue, Groups, Layout, Mat, MatMut, Write};
use crate::elem::Elem;

/// Weights as they came, with their layout.
#[derive(Clone, Debug)]
pub struct Packed<T> {
    pub(super) data: Vec<T>,
    pub(super) groups: usize,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) layout: Layout,
}

impl<T: Elem> Packed<T> {
    /// W[o, i] of group `g`.
    fn at(&self, g: usize, o: usize, i: usize) -> T {
        let base = g * self.outputs * self.inputs;
        self.data[match self.layout {
            Layout::OutIn => base + o * self.inputs + i,
            Layout::InOut => base + i * self.outputs + o,
        }]
    }

    /// The weights of all groups, `[G, out, in]`.
    pub(crate) fn weights(&self) -> Vec<T> {
        let (g, o) = (self.groups, self.outputs);
        let rows = (0..g).flat_map(|g| (0..o).map(move |o| (g, o)));
        rows.flat_map(|(g, o)| (0..self.inputs).map(move |i| self.at(g, o, i))).collect()
    }
}

impl<T: Elem> Dense for Reference<T> {
    fn pack(&self, dst: &mut Packed<T>, src: Mat<Vec<T>>, layout: Layout) {
        assert_eq!(src.rows * src.cols, dst.data.len(), "packing {}x{}", src.rows, src.cols);
        dst.layout = layout;
        dst.data.iter_mut().zip(view(src)).for_each(|(d, &s)| *d = s);
    }

    fn linear(
        &self,
        y: MatMut<Vec<T>>,
        x: Mat<Vec<T>>,
        w: &Packed<T>,
        by: Groups<Vec<u32>>,
        then: Epilogue<Vec<T>>,
    ) {
        let (mut y, x) = (view_mut(y), view(x));
        assert_eq!(y.nrows(), x.nrows(), "rows of y and x");
        let bias = then.bias.map(view);
        for (g, rows, x0, y0) in pieces(by, w.groups, x.nrows(), w.inputs, w.outputs) {
            for b in rows {
                for o in 0..w.outputs {
                    let product =
                        (0..w.inputs).fold(T::zero(), |sum, i| sum + x[[b, x0 + i]] * w.at(g, o, i));
                    let sum = product + bias.map_or(T::zero(), |bias| bias[[g, o]]);
                    y[[b, y0 + o]] = if then.relu { relu(sum) } else { sum };
                }
            }
        }
    }

    fn linear_dx(
        &self,
        d_x: MatMut<Vec<T>>,
        write: Write,
        d_y: Mat<Vec<T>>,
        w: &Packed<T>,
        by: Groups<Vec<u32>>,
        relu: Option<Mat<Vec<T>>>,
    ) {
        let (mut d_x, d_y, x) = (view_mut(d_x), view(d_y), relu.map(view));
        assert_eq!(d_x.nrows(), d_y.nrows(), "rows of d_x and d_y");
        assert!(x.is_none_or(|x| x.dim() == d_x.dim()), "shapes of d_x and x");
        for (g, rows, x0, y0) in pieces(by, w.groups, d_y.nrows(), w.inputs, w.outputs) {
            for b in rows {
                for i in 0..w.inputs {
                    let sum = (0..w.outputs).fold(T::zero(), |sum, o| sum + d_y[[b, y0 + o]] * w.at(g, o, i));
                    let closed = x.is_some_and(|x| x[[b, x0 + i]] <= T::zero());
                    put(&mut d_x[[b, x0 + i]], write, if closed { T::zero() } else { sum });
                }
            }
        }
    }

    fn linear_dw(
        &self,
        d_w: MatMut<Vec<T>>,
        write: Write,
        d_y: Mat<Vec<T>>,
        x: Mat<Vec<T>>,
        by: Groups<Vec<u32>>,
    ) {
        let (mut d_w, d_y, x) = (view_mut(d_w), view(d_y), view(x));
        assert_eq!(d_y.nrows(), x.nrows(), "rows of d_y and x");
        let inputs = d_w.ncols();
        let groups = match by {
            Groups::One(_) => 1,
            Groups::Columns => x.ncols() / inputs,
            Groups::Rows(_) => d_w.nrows() / d_y.ncols(),
        };
        let outputs = d_w.nrows() / groups.max(1);
        let by = if let Groups::One(_) = by { Groups::One(0) } else { by };
        for (g, rows, x0, y0) in pieces(by, groups, x.nrows(), inputs, outputs) {
            for o in 0..outputs {
                for i in 0..inputs {
                    let sum = rows.clone().fold(T::zero(), |sum, b| sum + d_y[[b, y0 + o]] * x[[b, x0 + i]]);
                    put(&mut d_w[[g * outputs + o, i]], write, sum);
                }
            }
        }
    }

    fn col_sum(&self, out: MatMut<Vec<T>>, write: Write, x: Mat<Vec<T>>, by: Groups<Vec<u32>>) {
        let (mut out, x) = (view_mut(out), view(x));
        assert_eq!(out.ncols(), x.ncols(), "columns of the sums and of x");
        let groups = out.nrows();
        let by = if let Groups::Rows(_) = by { by } else { Groups::One(0) };
        for (g, rows, ..) in pieces(by, groups, x.nrows(), 0, 0) {
            for j in 0..x.ncols() {
                let sum = rows.clone().fold(T::zero(), |sum, b| sum + x[[b, j]]);
                put(&mut out[[g, j]], write, sum);
            }
        }
    }

    fn col_dot(
        &self,
        out: MatMut<Vec<T>>,
        write: Write,
        x: Mat<Vec<T>>,
        y: Mat<Vec<T>>,
        by: Groups<Vec<u32>>,
    ) {
        let products = (&view(x) * &view(y)).into_raw_vec_and_offset().0;
        self.col_sum(out, write, Mat::new(&products, x.rows, x.cols), by);
    }
}

/// The pieces of a product: (group, rows, first column of x, first column of y), see [`Groups`].
pub(super) fn pieces(
    by: Groups<Vec<u32>>,
    groups: usize,
    rows: usize,
    inputs: usize,
    outputs: usize,
) -> Vec<(usize, std::ops::Range<usize>, usize, usize)> {
    match by {
        Groups::One(g) => vec![(g, 0..rows, 0, 0)],
        Groups::Columns => (0..groups).map(|g| (g, 0..rows, g * inputs, g * outputs)).collect(),
        Groups::Rows(offsets) => {
            let at = |g: usize| offsets[g] as usize;
            assert!(at(0) == 0 && at(groups) == rows, "group offsets {offsets:?} for {rows} rows");
            (0..groups).map(|g| (g, at(g)..at(g + 1), 0, 0)).collect()
        }
    }
}
