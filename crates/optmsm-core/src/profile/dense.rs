//! Products and sums by column, timed.

use super::{Buf, Profiled, Work, elements, reduction};
use crate::backend::{Backend, Dense, Epilogue, Groups, Layout, Mat, MatMut, Write};

impl<B: Backend> Dense for Profiled<B> {
    fn pack(&self, dst: &mut B::Packed, src: Mat<Buf<B>>, layout: Layout) {
        let work = Work { elements: 3 * elements(&src), ..Work::default() };
        self.time("pack", work, || self.inner.pack(dst, src, layout));
    }
    fn linear(
        &self,
        y: MatMut<Buf<B>>,
        x: Mat<Buf<B>>,
        w: &B::Packed,
        by: Groups<B::Ids>,
        then: Epilogue<Buf<B>>,
    ) {
        let work = self.product(w, &by, x.rows, [x.cols, y.cols]);
        self.time("linear", work, || self.inner.linear(y, x, w, by, then));
    }
    fn linear_dx(
        &self,
        d_x: MatMut<Buf<B>>,
        write: Write,
        d_y: Mat<Buf<B>>,
        w: &B::Packed,
        by: Groups<B::Ids>,
        relu: Option<Mat<Buf<B>>>,
    ) {
        let work = self.product(w, &by, d_y.rows, [d_y.cols, d_x.cols]);
        self.time("linear_dx", work, || self.inner.linear_dx(d_x, write, d_y, w, by, relu));
    }
    fn linear_dw(
        &self,
        d_w: MatMut<Buf<B>>,
        write: Write,
        d_y: Mat<Buf<B>>,
        x: Mat<Buf<B>>,
        by: Groups<B::Ids>,
    ) {
        let work = reduction(&d_w, &d_y, &x, &by);
        self.time("linear_dw", work, || self.inner.linear_dw(d_w, write, d_y, x, by));
    }
    fn linear_dw_bias(
        &self,
        d_w: MatMut<Buf<B>>,
        d_b: usize,
        write: Write,
        d_y: Mat<Buf<B>>,
        x: Mat<Buf<B>>,
        by: Groups<B::Ids>,
    ) {
        let work = reduction(&d_w, &d_y, &x, &by);
        self.time("linear_dw_bias", work, || self.inner.linear_dw_bias(d_w, d_b, write, d_y, x, by));
    }
    fn col_sum(&self, out: MatMut<Buf<B>>, write: Write, x: Mat<Buf<B>>, by: Groups<B::Ids>) {
        self.time("col_sum", Work::on(&x, 1), || self.inner.col_sum(out, write, x, by));
    }
    fn col_dot(&self, out: MatMut<Buf<B>>, write: Write, x: Mat<Buf<B>>, y: Mat<Buf<B>>, by: Groups<B::Ids>) {
        self.time("col_dot", Work::on(&x, 2), || self.inner.col_dot(out, write, x, y, by));
    }
}
