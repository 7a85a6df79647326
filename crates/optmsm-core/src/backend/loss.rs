//! Loss and probabilities (model.md §6).

use super::{Mat, MatMut, Memory};

/// Loss and probabilities of logits.
pub trait Loss: Memory {
    /// `sum[0, 0] += Σ_b w_b · BCE(o_b, y_b)` and d_o_b = w_b (σ(o_b) − y_b) · scale; `labels` and
    /// `weights` from row `first` on.
    #[allow(clippy::too_many_arguments)]
    fn bce_with_logits(
        &self,
        d_logits: MatMut<Self::Buf>,
        sum: MatMut<Self::Buf>,
        logits: Mat<Self::Buf>,
        labels: &Self::Buf,
        weights: &Self::Buf,
        first: usize,
        scale: f64,
    );
    /// p = σ(o), element by element.
    fn sigmoid(&self, p: MatMut<Self::Buf>, logits: Mat<Self::Buf>);
    /// d ← d ⊙ p ⊙ (1 − p): the gradient through p = σ(·).
    fn sigmoid_bwd(&self, d: MatMut<Self::Buf>, p: Mat<Self::Buf>);
}
