//! Operations element by element or row by row, timed.

use super::{Buf, Profiled, Work, elements};
use crate::backend::{Backend, Dropout, Elementwise, Mat, MatMut, Write};

impl<B: Backend> Elementwise for Profiled<B> {
    fn relu(&self, y: MatMut<Buf<B>>) {
        self.time("relu", Work::on(&y.as_mat(), 2), || self.inner.relu(y));
    }
    fn relu_bwd(&self, d: MatMut<Buf<B>>, y: Mat<Buf<B>>) {
        self.time("relu_bwd", Work::on(&y, 3), || self.inner.relu_bwd(d, y));
    }
    fn relu_bwd_into(&self, out: MatMut<Buf<B>>, d: Mat<Buf<B>>, y: Mat<Buf<B>>) {
        self.time("relu_bwd_into", Work::on(&y, 3), || self.inner.relu_bwd_into(out, d, y));
    }
    fn leaky_relu(&self, y: MatMut<Buf<B>>, slope: f64) {
        self.time("leaky_relu", Work::on(&y.as_mat(), 2), || self.inner.leaky_relu(y, slope));
    }
    fn leaky_relu_bwd(&self, d: MatMut<Buf<B>>, y: Mat<Buf<B>>, slope: f64) {
        self.time("leaky_relu_bwd", Work::on(&y, 3), || self.inner.leaky_relu_bwd(d, y, slope));
    }
    fn dropout(&self, x: MatMut<Buf<B>>, drop: &Dropout, rows: &B::Ids, first: usize) {
        self.time("dropout", Work::on(&x.as_mat(), 2), || self.inner.dropout(x, drop, rows, first));
    }
    fn row_scale(&self, y: MatMut<Buf<B>>, write: Write, s: Mat<Buf<B>>, x: Mat<Buf<B>>) {
        self.time("row_scale", Work::on(&x, 2), || self.inner.row_scale(y, write, s, x));
    }
    fn row_dot(&self, out: MatMut<Buf<B>>, write: Write, x: Mat<Buf<B>>, y: Mat<Buf<B>>) {
        self.time("row_dot", Work::on(&x, 2), || self.inner.row_dot(out, write, x, y));
    }
    fn mul(&self, y: MatMut<Buf<B>>, write: Write, x: Mat<Buf<B>>, v: Mat<Buf<B>>) {
        let work = Work { elements: 2 * elements(&x) + elements(&v), ..Work::on(&x, 0) };
        self.time("mul", work, || self.inner.mul(y, write, x, v));
    }
    fn add_row(&self, y: MatMut<Buf<B>>, v: Mat<Buf<B>>) {
        self.time("add_row", Work::on(&y.as_mat(), 2), || self.inner.add_row(y, v));
    }
    fn sigmoid_gate(&self, y: MatMut<Buf<B>>, g: MatMut<Buf<B>>, x: Mat<Buf<B>>, o: Mat<Buf<B>>) {
        self.time("sigmoid_gate", Work::on(&x, 4), || self.inner.sigmoid_gate(y, g, x, o));
    }
    fn sigmoid_gate_bwd(
        &self,
        d_o: MatMut<Buf<B>>,
        d_x: MatMut<Buf<B>>,
        write: Write,
        d_y: Mat<Buf<B>>,
        x: Mat<Buf<B>>,
        g: Mat<Buf<B>>,
    ) {
        self.time("sigmoid_gate_bwd", Work::on(&x, 5), || {
            self.inner.sigmoid_gate_bwd(d_o, d_x, write, d_y, x, g);
        });
    }
}
