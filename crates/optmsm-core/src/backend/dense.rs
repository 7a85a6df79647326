//! Products with weights, and sums by column.

use super::{Epilogue, Groups, Layout, Mat, MatMut, Memory, Write};

/// Products with packed weights, and sums by column.
pub trait Dense: Memory {
    /// Packs `groups` weights that lie one after the other: `[G·out, in]` or `[G·in, out]`. `src` stays alive and
    /// unchanged while `dst` is used: a backend may keep a view.
    fn pack(&self, dst: &mut Self::Packed, src: Mat<Self::Buf>, layout: Layout);
    /// y = x Wᵀ (+ bias) (then ReLU), for the group of `w` that each row or column uses.
    fn linear(
        &self,
        y: MatMut<Self::Buf>,
        x: Mat<Self::Buf>,
        w: &Self::Packed,
        by: Groups<Self::Ids>,
        then: Epilogue<Self::Buf>,
    );
    /// d_x (+)= d_y W. When x is the output of a ReLU, `relu` is x: d_y W counts as 0 where x ≤ 0, so what is
    /// written is the gradient before that ReLU.
    fn linear_dx(
        &self,
        d_x: MatMut<Self::Buf>,
        write: Write,
        d_y: Mat<Self::Buf>,
        w: &Self::Packed,
        by: Groups<Self::Ids>,
        relu: Option<Mat<Self::Buf>>,
    );
    /// d_W = d_yᵀ x, `[G·out, in]`. G = 1 under [`Groups::One`] (pass the rows of that group as `d_w`);
    /// under [`Groups::Columns`] G is `d_w.rows · x.cols / (d_y.cols · d_w.cols)`, found from the shapes:
    /// x is `[n, G·in]`, d_y `[n, G·out]`, d_w `[G·out, in]`.
    fn linear_dw(
        &self,
        d_w: MatMut<Self::Buf>,
        write: Write,
        d_y: Mat<Self::Buf>,
        x: Mat<Self::Buf>,
        by: Groups<Self::Ids>,
    );
    /// [`Dense::linear_dw`], and d_b (+)= the column sums of d_y as it is, not rounded for products. d_b lies in the
    /// buffer of d_w, as one flat buffer holds all gradients: `d_y.cols` elements from element `d_b` on, none of d_w's.
    /// `by` is [`Groups::One`] or [`Groups::Columns`].
    fn linear_dw_bias(
        &self,
        mut d_w: MatMut<Self::Buf>,
        d_b: usize,
        write: Write,
        d_y: Mat<Self::Buf>,
        x: Mat<Self::Buf>,
        by: Groups<Self::Ids>,
    ) {
        self.linear_dw(d_w.again(), write, d_y, x, by);
        let d_b = MatMut { buf: d_w.buf, offset: d_b, rows: 1, cols: d_y.cols, stride: d_y.cols };
        self.col_sum(d_b, write, d_y, Groups::One(0));
    }
    /// Column sums: out `[1, n]`, or `[G, n]` by rows of each group under [`Groups::Rows`]. An empty group sums to 0.
    fn col_sum(&self, out: MatMut<Self::Buf>, write: Write, x: Mat<Self::Buf>, by: Groups<Self::Ids>);
    /// Column sums of products: out[g, :] (+)= Σ x[b, :] ⊙ y[b, :]; shapes, `by` and empty groups as in
    /// [`Dense::col_sum`].
    fn col_dot(
        &self,
        out: MatMut<Self::Buf>,
        write: Write,
        x: Mat<Self::Buf>,
        y: Mat<Self::Buf>,
        by: Groups<Self::Ids>,
    );
}
