//! Gate and selection (model.md §4): `K` experts of width `m`, `B` rows.

use super::{Mat, MatMut, Memory, Write};

/// Softmax gate over experts, and selection of one.
pub trait Gate: Memory {
    /// Softmax of each row.
    fn softmax(&self, alpha: MatMut<Self::Buf>, logits: Mat<Self::Buf>);
    /// d_logit_k = α_k (d_α_k − Σ_j α_j d_α_j).
    fn softmax_bwd(&self, d_logits: MatMut<Self::Buf>, d_alpha: Mat<Self::Buf>, alpha: Mat<Self::Buf>);
    /// mix `[B, m]` = Σ_k α_k e_k, with e `[B, K·m]` and α `[B, K]`.
    fn mix(&self, mix: MatMut<Self::Buf>, alpha: Mat<Self::Buf>, e: Mat<Self::Buf>);
    /// d_α_k = d_mix · e_k (set) and d_e_k (+)= α_k d_mix.
    fn mix_bwd(
        &self,
        d_alpha: MatMut<Self::Buf>,
        d_e: MatMut<Self::Buf>,
        write: Write,
        d_mix: Mat<Self::Buf>,
        alpha: Mat<Self::Buf>,
        e: Mat<Self::Buf>,
    );
    /// α = softmax(logits) and mix = Σ_k α_k e_k; shapes as in [`Gate::mix`].
    fn gate(
        &self,
        mix: MatMut<Self::Buf>,
        mut alpha: MatMut<Self::Buf>,
        logits: Mat<Self::Buf>,
        e: Mat<Self::Buf>,
    ) {
        self.softmax(alpha.again(), logits);
        self.mix(mix, alpha.as_mat(), e);
    }
    /// Backward of [`Gate::gate`]; sets all three gradients: d_α_k = d_mix · e_k, d_logits from it, d_e_k = α_k d_mix.
    fn gate_bwd(
        &self,
        d_logits: MatMut<Self::Buf>,
        mut d_alpha: MatMut<Self::Buf>,
        d_e: MatMut<Self::Buf>,
        d_mix: Mat<Self::Buf>,
        alpha: Mat<Self::Buf>,
        e: Mat<Self::Buf>,
    ) {
        self.mix_bwd(d_alpha.again(), d_e, Write::Set, d_mix, alpha, e);
        self.softmax_bwd(d_logits, d_alpha.as_mat(), alpha);
    }
    /// mix[b, :] = e_g[b, :] for the rows of group `g`; `groups` as in [`Groups::Rows`](super::Groups::Rows).
    fn select(&self, mix: MatMut<Self::Buf>, e: Mat<Self::Buf>, groups: &Self::Ids);
    /// d_e_g[b, :] (+)= d_mix[b, :] for the rows of group `g`; under [`Write::Set`] the rest becomes 0.
    fn select_bwd(&self, d_e: MatMut<Self::Buf>, write: Write, d_mix: Mat<Self::Buf>, groups: &Self::Ids);
}
