//! Loss and probabilities, timed.

use super::{Buf, Profiled, Work};
use crate::backend::{Backend, Loss, Mat, MatMut};

impl<B: Backend> Loss for Profiled<B> {
    fn bce_with_logits(
        &self,
        d_logits: MatMut<Buf<B>>,
        sum: MatMut<Buf<B>>,
        logits: Mat<Buf<B>>,
        labels: &B::Buf,
        weights: &B::Buf,
        first: usize,
        scale: f64,
    ) {
        self.time("bce_with_logits", Work::on(&logits, 4), || {
            self.inner.bce_with_logits(d_logits, sum, logits, labels, weights, first, scale);
        });
    }
    fn sigmoid(&self, p: MatMut<Buf<B>>, logits: Mat<Buf<B>>) {
        self.time("sigmoid", Work::on(&logits, 2), || self.inner.sigmoid(p, logits));
    }
    fn sigmoid_bwd(&self, d: MatMut<Buf<B>>, p: Mat<Buf<B>>) {
        self.time("sigmoid_bwd", Work::on(&p, 3), || self.inner.sigmoid_bwd(d, p));
    }
}
