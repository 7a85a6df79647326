//! Operations element by element, or row by row.

use ndarray::Zip;

use super::loss::sigmoid;
use super::{Reference, dot, put, relu, view, view_mut};
use crate::backend::{Dropout, Elementwise, Mat, MatMut, Write};
use crate::elem::Elem;
use crate::philox::philox4x32;

impl<T: Elem> Elementwise for Reference<T> {
    fn relu(&self, y: MatMut<Vec<T>>) {
        view_mut(y).mapv_inplace(relu);
    }

    fn relu_bwd(&self, d: MatMut<Vec<T>>, y: Mat<Vec<T>>) {
        Zip::from(view_mut(d)).and(view(y)).for_each(|d, &y| {
            if y <= T::zero() {
                *d = T::zero();
            }
        });
    }

    fn leaky_relu(&self, y: MatMut<Vec<T>>, slope: f64) {
        view_mut(y).mapv_inplace(|y| if y > T::zero() { y } else { T::of(slope) * y });
    }

    fn leaky_relu_bwd(&self, d: MatMut<Vec<T>>, y: Mat<Vec<T>>, slope: f64) {
        Zip::from(view_mut(d)).and(view(y)).for_each(|d, &y| {
            if y <= T::zero() {
                *d *= T::of(slope);
            }
        });
    }

    fn dropout(&self, x: MatMut<Vec<T>>, drop: &Dropout, rows: &Vec<u32>, first: usize) {
        let (threshold, scale) = (drop.threshold(), T::of(1.0 / (1.0 - drop.p)));
        for (b, mut row) in view_mut(x).outer_iter_mut().enumerate() {
            for (j, v) in row.iter_mut().enumerate() {
                let (counter, key) = drop.counter(rows[first + b], (j / 4) as u32);
                let keep = philox4x32(counter, key)[j % 4] >= threshold;
                *v = if keep { *v * scale } else { T::zero() };
            }
        }
    }

    fn row_scale(&self, y: MatMut<Vec<T>>, write: Write, s: Mat<Vec<T>>, x: Mat<Vec<T>>) {
        let (mut y, s) = (view_mut(y), view(s));
        for ((b, j), &x) in view(x).indexed_iter() {
            put(&mut y[[b, j]], write, s[[b, 0]] * x);
        }
    }

    fn row_dot(&self, out: MatMut<Vec<T>>, write: Write, x: Mat<Vec<T>>, y: Mat<Vec<T>>) {
        let (mut out, x, y) = (view_mut(out), view(x), view(y));
        assert_eq!(x.dim(), y.dim(), "shapes of x and y");
        for b in 0..x.nrows() {
            put(&mut out[[b, 0]], write, dot(x, b, 0, y, b, 0, x.ncols()));
        }
    }

    fn mul(&self, y: MatMut<Vec<T>>, write: Write, x: Mat<Vec<T>>, v: Mat<Vec<T>>) {
        let (mut y, x, v) = (view_mut(y), view(x), view(v));
        assert_eq!(y.dim(), x.dim(), "shapes of y and x");
        let v = v.broadcast(x.dim()).expect("v has the rows of x, or one");
        Zip::from(&mut y).and(&x).and(v).for_each(|y, &x, &v| put(y, write, x * v));
    }

    fn add_row(&self, y: MatMut<Vec<T>>, v: Mat<Vec<T>>) {
        assert_eq!(v.rows, 1, "rows of v");
        view_mut(y).zip_mut_with(&view(v), |y, &v| *y += v);
    }

    fn sigmoid_gate(&self, y: MatMut<Vec<T>>, g: MatMut<Vec<T>>, x: Mat<Vec<T>>, o: Mat<Vec<T>>) {
        Zip::from(view_mut(y)).and(view_mut(g)).and(view(x)).and(view(o)).for_each(|y, g, &x, &o| {
            *g = T::of(2.0) * sigmoid(o);
            *y = x * *g;
        });
    }

    fn sigmoid_gate_bwd(
        &self,
        d_o: MatMut<Vec<T>>,
        d_x: MatMut<Vec<T>>,
        write: Write,
        d_y: Mat<Vec<T>>,
        x: Mat<Vec<T>>,
        g: Mat<Vec<T>>,
    ) {
        let d_o = Zip::from(view_mut(d_o)).and(view_mut(d_x));
        d_o.and(view(d_y)).and(view(x)).and(view(g)).for_each(|d_o, d_x, &d_y, &x, &g| {
            *d_o = d_y * x * g * (T::one() - T::of(0.5) * g);
            put(d_x, write, d_y * g);
        });
    }
}
