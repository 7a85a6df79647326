//! Normalization by group (partitioned normalization; Sheng et al., CIKM 2021) and of each row (layer normalization;
//! arXiv 1607.06450).

use super::{Mat, MatMut, Memory};

/// Normalization by group, and of each row. `groups` and `batch` as in [`Groups::Rows`](super::Groups::Rows), `G` groups;
/// statistics are `[G, n]`, group by group.
pub trait Norm: Memory {
    /// Adds to the sums of each group: sums[g, :] += Σ (x[b, :] − center[g, :]) and squares[g, :] += Σ (x[b, :] −
    /// center[g, :])² over its rows. Near the mean, a center keeps digits that [`Norm::moments`] would lose.
    fn deviations(
        &self,
        sums: MatMut<Self::Buf>,
        squares: MatMut<Self::Buf>,
        x: Mat<Self::Buf>,
        center: Mat<Self::Buf>,
        groups: &Self::Ids,
    );
    /// Mean and 1/√(variance + `eps`) of each group, and the running statistics after them.
    ///
    /// N is the number of rows of a group by `groups`, which covers the batch; `sums` and `squares` are
    /// [`Norm::deviations`] of all its rows from `running_mean`. With δ = sums/N: mean = running_mean + δ, the
    /// (biased) variance = max(squares/N − δ², 0), then running ← `momentum` · running + (1 − `momentum`) · new for both.
    /// A group without rows gets its running statistics, which stay; its sums are not read.
    #[allow(clippy::too_many_arguments)]
    fn moments(
        &self,
        mean: MatMut<Self::Buf>,
        inv_std: MatMut<Self::Buf>,
        running_mean: MatMut<Self::Buf>,
        running_var: MatMut<Self::Buf>,
        sums: Mat<Self::Buf>,
        squares: Mat<Self::Buf>,
        groups: &Self::Ids,
        eps: f64,
        momentum: f64,
    );
    /// mean = running_mean and inv_std = 1/√(running_var + `eps`): [`Norm::moments`] of groups without rows, for
    /// prediction.
    fn running_moments(
        &self,
        mean: MatMut<Self::Buf>,
        inv_std: MatMut<Self::Buf>,
        running_mean: Mat<Self::Buf>,
        running_var: Mat<Self::Buf>,
        eps: f64,
    );
    /// x̂[b, :] = (x[b, :] − mean[g, :]) ⊙ inv_std[g, :] for the rows of group `g`.
    fn normalize(
        &self,
        x_hat: MatMut<Self::Buf>,
        x: Mat<Self::Buf>,
        mean: Mat<Self::Buf>,
        inv_std: Mat<Self::Buf>,
        groups: &Self::Ids,
    );
    /// y[b, :] = x[b, :] ⊙ scale[g, :] + shift[g, :] for the rows of group `g`.
    fn affine(
        &self,
        y: MatMut<Self::Buf>,
        x: Mat<Self::Buf>,
        scale: Mat<Self::Buf>,
        shift: Mat<Self::Buf>,
        groups: &Self::Ids,
    );
    /// Backward of [`Norm::normalize`] through the statistics of the batch, in place:
    /// d[b, :] ← gain[g, :] ⊙ (d[b, :] − sum_d[g, :]/N − x̂[b, :] ⊙ sum_dx[g, :]/N) for the rows of group `g`.
    ///
    /// Rows are those of a block by `groups`; N is the number of rows of the group by `batch`, which covers the
    /// batch. `sum_d` and `sum_dx` are the sums of d and of d ⊙ x̂ over these N rows.
    #[allow(clippy::too_many_arguments)]
    fn norm_bwd(
        &self,
        d: MatMut<Self::Buf>,
        x_hat: Mat<Self::Buf>,
        gain: Mat<Self::Buf>,
        sum_d: Mat<Self::Buf>,
        sum_dx: Mat<Self::Buf>,
        groups: &Self::Ids,
        batch: &Self::Ids,
    );
    /// x̂[b, :] = (x[b, :] − mean) · inv_std[b, 0] with inv_std = 1/√(variance + `eps`) `[B, 1]`: each row by its own mean and
    /// (biased) variance.
    fn layer_norm(&self, x_hat: MatMut<Self::Buf>, inv_std: MatMut<Self::Buf>, x: Mat<Self::Buf>, eps: f64);
    /// Backward of [`Norm::layer_norm`], in place:
    /// d[b, :] ← inv_std[b, 0] · (d[b, :] − mean of d[b, :] − x̂[b, :] · mean of d[b, :] ⊙ x̂[b, :]).
    fn layer_norm_bwd(&self, d: MatMut<Self::Buf>, x_hat: Mat<Self::Buf>, inv_std: Mat<Self::Buf>);
}
