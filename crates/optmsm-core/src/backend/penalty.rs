//! Orthogonality penalty (model.md §3).

use super::{Elementwise, Gate, Mat, MatMut};

/// Penalty on experts that are alike.
pub trait Penalty: Elementwise + Gate {
    /// inv_norm `[B, K]` = 1 / max(‖e_k‖, ε). With ê_k = e_k · inv_norm_k and cos_ij = ê_i·ê_j, adds to `sums`
    /// `[1, 1 + K(K−1)/2]`: the penalty Σ_b 1/(K(K−1)) Σ_{i≠j} cos², then Σ_b |cos| of each pair (0,1), (0,2) … (1,2) …
    ///
    /// Right for all finite e, of which squares may be out of range.
    fn orthogonality(&self, inv_norm: MatMut<Self::Buf>, sums: MatMut<Self::Buf>, e: Mat<Self::Buf>);
    /// d_e += the gradient of `scale` · Σ_b penalty (scale = λ / rows of the whole batch); at ‖e_k‖ = ε that of the
    /// side below. A zero expert adds 0.
    fn orthogonality_bwd(
        &self,
        d_e: MatMut<Self::Buf>,
        e: Mat<Self::Buf>,
        inv_norm: Mat<Self::Buf>,
        scale: f64,
    );
    /// Backward of all that reads the experts' output e = ReLU(·) under a gate:
    /// [`Gate::gate_bwd`](super::Gate::gate_bwd), then [`Penalty::orthogonality_bwd`], then d_e is set to 0 where e ≤
    /// 0, which makes it the gradient before that ReLU.
    #[allow(clippy::too_many_arguments)]
    fn gate_orthogonality_bwd(
        &self,
        d_logits: MatMut<Self::Buf>,
        d_alpha: MatMut<Self::Buf>,
        mut d_e: MatMut<Self::Buf>,
        d_mix: Mat<Self::Buf>,
        alpha: Mat<Self::Buf>,
        e: Mat<Self::Buf>,
        inv_norm: Mat<Self::Buf>,
        scale: f64,
    ) {
        self.gate_bwd(d_logits, d_alpha, d_e.again(), d_mix, alpha, e);
        self.orthogonality_bwd(d_e.again(), e, inv_norm, scale);
        self.relu_bwd(d_e, e);
    }
}
