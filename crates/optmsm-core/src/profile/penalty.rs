//! The penalty, timed.

use super::{Buf, Profiled, Work};
use crate::backend::{Backend, Mat, MatMut, Penalty};

impl<B: Backend> Penalty for Profiled<B> {
    fn orthogonality(&self, inv_norm: MatMut<Buf<B>>, sums: MatMut<Buf<B>>, e: Mat<Buf<B>>) {
        self.time("orthogonality", Work::on(&e, 1), || self.inner.orthogonality(inv_norm, sums, e));
    }
    fn orthogonality_bwd(&self, d_e: MatMut<Buf<B>>, e: Mat<Buf<B>>, inv_norm: Mat<Buf<B>>, scale: f64) {
        self.time("orthogonality_bwd", Work::on(&e, 3), || {
            self.inner.orthogonality_bwd(d_e, e, inv_norm, scale);
        });
    }
    fn gate_orthogonality_bwd(
        &self,
        d_logits: MatMut<Buf<B>>,
        d_alpha: MatMut<Buf<B>>,
        d_e: MatMut<Buf<B>>,
        d_mix: Mat<Buf<B>>,
        alpha: Mat<Buf<B>>,
        e: Mat<Buf<B>>,
        inv_norm: Mat<Buf<B>>,
        scale: f64,
    ) {
        self.time("gate_orthogonality_bwd", Work::on(&e, 2), || {
            self.inner.gate_orthogonality_bwd(d_logits, d_alpha, d_e, d_mix, alpha, e, inv_norm, scale);
        });
    }
}
