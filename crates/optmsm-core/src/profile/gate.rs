//! Gate and selection, timed.

use super::{Buf, Profiled, Work};
use crate::backend::{Backend, Gate, Mat, MatMut, Write};

impl<B: Backend> Gate for Profiled<B> {
    fn softmax(&self, alpha: MatMut<Buf<B>>, logits: Mat<Buf<B>>) {
        self.time("softmax", Work::on(&logits, 2), || self.inner.softmax(alpha, logits));
    }
    fn softmax_bwd(&self, d_logits: MatMut<Buf<B>>, d_alpha: Mat<Buf<B>>, alpha: Mat<Buf<B>>) {
        self.time("softmax_bwd", Work::on(&alpha, 3), || self.inner.softmax_bwd(d_logits, d_alpha, alpha));
    }
    fn mix(&self, mix: MatMut<Buf<B>>, alpha: Mat<Buf<B>>, e: Mat<Buf<B>>) {
        self.time("mix", Work::on(&e, 1), || self.inner.mix(mix, alpha, e));
    }
    fn mix_bwd(
        &self,
        d_alpha: MatMut<Buf<B>>,
        d_e: MatMut<Buf<B>>,
        write: Write,
        d_mix: Mat<Buf<B>>,
        alpha: Mat<Buf<B>>,
        e: Mat<Buf<B>>,
    ) {
        self.time("mix_bwd", Work::on(&e, 2), || self.inner.mix_bwd(d_alpha, d_e, write, d_mix, alpha, e));
    }
    fn gate(&self, mix: MatMut<Buf<B>>, alpha: MatMut<Buf<B>>, logits: Mat<Buf<B>>, e: Mat<Buf<B>>) {
        self.time("gate", Work::on(&e, 1), || self.inner.gate(mix, alpha, logits, e));
    }
    fn gate_bwd(
        &self,
        d_logits: MatMut<Buf<B>>,
        d_alpha: MatMut<Buf<B>>,
        d_e: MatMut<Buf<B>>,
        d_mix: Mat<Buf<B>>,
        alpha: Mat<Buf<B>>,
        e: Mat<Buf<B>>,
    ) {
        self.time("gate_bwd", Work::on(&e, 2), || {
            self.inner.gate_bwd(d_logits, d_alpha, d_e, d_mix, alpha, e);
        });
    }
    fn select(&self, mix: MatMut<Buf<B>>, e: Mat<Buf<B>>, groups: &B::Ids) {
        self.time("select", Work::on(&mix.as_mat(), 2), || self.inner.select(mix, e, groups));
    }
    fn select_bwd(&self, d_e: MatMut<Buf<B>>, write: Write, d_mix: Mat<Buf<B>>, groups: &B::Ids) {
        self.time("select_bwd", Work::on(&d_e.as_mat(), 1), || {
            self.inner.select_bwd(d_e, write, d_mix, groups);
        });
    }
}
