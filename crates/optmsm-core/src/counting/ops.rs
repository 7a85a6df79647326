//! The operations, of which nothing is computed.

use std::ops::Range;

use super::{Counted as Buf, Counted, CountedWeights, Counting};
use crate::backend::{
    Bags, Dense, Dropout, Elementwise, Embedding, Epilogue, Gate, Groups, Layout, Loss, Mat, MatMut, Norm,
    Penalty, Segments, TableStep, TableView, Update, Write,
};
use crate::optim;

impl Dense for Counting {
    fn pack(&self, _: &mut CountedWeights, _: Mat<Buf>, _: Layout) {}
    fn linear(&self, _: MatMut<Buf>, _: Mat<Buf>, _: &CountedWeights, _: Groups<Counted>, _: Epilogue<Buf>) {}
    fn linear_dx(
        &self,
        _: MatMut<Buf>,
        _: Write,
        _: Mat<Buf>,
        _: &CountedWeights,
        _: Groups<Counted>,
        _: Option<Mat<Buf>>,
    ) {
    }
    fn linear_dw(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: Mat<Buf>, _: Groups<Counted>) {}
    fn col_sum(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: Groups<Counted>) {}
    fn col_dot(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: Mat<Buf>, _: Groups<Counted>) {}
}

impl Elementwise for Counting {
    fn relu(&self, _: MatMut<Buf>) {}
    fn relu_bwd(&self, _: MatMut<Buf>, _: Mat<Buf>) {}
    fn leaky_relu(&self, _: MatMut<Buf>, _: f64) {}
    fn leaky_relu_bwd(&self, _: MatMut<Buf>, _: Mat<Buf>, _: f64) {}
    fn dropout(&self, _: MatMut<Buf>, _: &Dropout, _: &Counted, _: usize) {}
    fn row_scale(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: Mat<Buf>) {}
    fn row_dot(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: Mat<Buf>) {}
    fn mul(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: Mat<Buf>) {}
    fn add_row(&self, _: MatMut<Buf>, _: Mat<Buf>) {}
    fn sigmoid_gate(&self, _: MatMut<Buf>, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>) {}
    fn sigmoid_gate_bwd(
        &self,
        _: MatMut<Buf>,
        _: MatMut<Buf>,
        _: Write,
        _: Mat<Buf>,
        _: Mat<Buf>,
        _: Mat<Buf>,
    ) {
    }
}

impl Embedding for Counting {
    fn gather_rows(&self, _: MatMut<Buf>, _: Mat<Buf>, _: &Counted, _: usize) {}
    fn lookup(&self, _: MatMut<Buf>, _: TableView<Self>, _: &Counted, _: usize) {}
    fn lookup_bags(&self, _: MatMut<Buf>, _: TableView<Self>, _: Bags<Counted, Buf>, _: usize) {}
    fn numeric_embed(&self, _: MatMut<Buf>, _: Mat<Buf>, _: &Buf, _: usize) {}
    fn reduce_rows<'a>(
        &self,
        _: MatMut<Buf>,
        _: Segments<Counted, Buf>,
        _: usize,
        _: impl Fn(usize) -> Mat<'a, Buf> + Sync,
    ) {
    }
    fn linear_bwd_by_value<'a>(
        &self,
        _: MatMut<Buf>,
        _: MatMut<Buf>,
        _: Mat<Buf>,
        _: Mat<Buf>,
        _: Segments<Counted, Buf>,
        _: usize,
        _: impl Fn(usize) -> Mat<'a, Buf> + Sync,
    ) {
    }
}

impl Gate for Counting {
    fn softmax(&self, _: MatMut<Buf>, _: Mat<Buf>) {}
    fn softmax_bwd(&self, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>) {}
    fn mix(&self, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>) {}
    fn mix_bwd(&self, _: MatMut<Buf>, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: Mat<Buf>, _: Mat<Buf>) {}
    fn select(&self, _: MatMut<Buf>, _: Mat<Buf>, _: &Counted) {}
    fn select_bwd(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: &Counted) {}
}

impl Norm for Counting {
    fn deviations(&self, _: MatMut<Buf>, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>, _: &Counted) {}
    fn moments(
        &self,
        _: MatMut<Buf>,
        _: MatMut<Buf>,
        _: MatMut<Buf>,
        _: MatMut<Buf>,
        _: Mat<Buf>,
        _: Mat<Buf>,
        _: &Counted,
        _: f64,
        _: f64,
    ) {
    }
    fn running_moments(&self, _: MatMut<Buf>, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>, _: f64) {}
    fn normalize(&self, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>, _: Mat<Buf>, _: &Counted) {}
    fn affine(&self, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>, _: Mat<Buf>, _: &Counted) {}
    fn norm_bwd(
        &self,
        _: MatMut<Buf>,
        _: Mat<Buf>,
        _: Mat<Buf>,
        _: Mat<Buf>,
        _: Mat<Buf>,
        _: &Counted,
        _: &Counted,
    ) {
    }
    fn layer_norm(&self, _: MatMut<Buf>, _: MatMut<Buf>, _: Mat<Buf>, _: f64) {}
    fn layer_norm_bwd(&self, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>) {}
}

impl Penalty for Counting {
    fn orthogonality(&self, _: MatMut<Buf>, _: MatMut<Buf>, _: Mat<Buf>) {}
    fn orthogonality_bwd(&self, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>, _: f64) {}
}

impl Loss for Counting {
    fn bce_with_logits(
        &self,
        _: MatMut<Buf>,
        _: MatMut<Buf>,
        _: Mat<Buf>,
        _: &Buf,
        _: &Buf,
        _: usize,
        _: f64,
    ) {
    }
    fn sigmoid(&self, _: MatMut<Buf>, _: Mat<Buf>) {}
    fn sigmoid_bwd(&self, _: MatMut<Buf>, _: Mat<Buf>) {}
}

impl Update for Counting {
    fn accumulate<'a>(&self, _: &mut Buf, _: usize, _: impl Fn(usize) -> &'a Buf + Sync, _: Range<usize>) {}
    fn sum_sq(&self, _: &mut Buf, _: Write, _: &Buf, _: usize) {}
    fn step_dense(&self, _: &mut Buf, _: &Buf, _: &mut [Buf], _: usize, _: &optim::Update<Buf>) {}
    fn average(&self, _: &mut Buf, _: &Buf, _: usize, _: f64) {}
    fn step_rows(&self, _: TableStep<Self>, _: &optim::Update<Buf>) {}
    fn settle_rows(&self, _: &mut Counted, _: f64, _: Option<(&mut Counted, [f64; 2])>) {}
}
