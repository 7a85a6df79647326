//! Penalty on experts that are alike: λ times the mean squared cosine of two of them (model.md §3;
//! docs/derivations.md#orthogonality).

use crate::backend::{Backend, Mat, MatMut};
use crate::error::Result;
use crate::layers::gate::Mixture;
use crate::model::{Exhibit, Heads, Measure, Measured, ModelSpec, Shows};
use crate::params::Tensor;

/// λ/B Σ_b 1/(K(K−1)) Σ_{i≠j} cos²(e_i, e_j).
#[derive(Clone, Copy, Debug)]
pub struct Orthogonality {
    weight: f64,  // λ
    count: usize, // K
}

/// Norms of one block.
#[derive(Debug)]
pub struct OrthogonalityActivations<B: Backend> {
    inv_norm: Tensor<B>, // 1 / max(‖e_k‖, ε), [rows, K]
}

impl Orthogonality {
    /// Of `count` experts, with λ = `weight`.
    pub fn new(weight: f64, count: usize) -> Self {
        Self { weight, count }
    }

    /// Pairs of experts, in the order of the cosines in `sums`.
    fn pairs(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.count).flat_map(move |i| (i + 1..self.count).map(move |j| (i, j)))
    }

    /// The penalty before λ, and the mean |cos| of each pair: elements of `sums` in [`Orthogonality::forward`].
    pub fn measures(&self) -> [Measure; 2] {
        let names = self.pairs().map(|(i, j)| format!("abs_cos.{i}.{j}")).collect();
        [Measure::of_rows("orthogonality"), Measure::Rows { names }]
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(&self, be: &B, rows: usize) -> Result<OrthogonalityActivations<B>> {
        Ok(OrthogonalityActivations { inv_norm: Tensor::new(be, rows, self.count)? })
    }

    /// Adds to `sums` `[1, 1 + K(K−1)/2]`, of e `[rows, K·m]`.
    pub fn forward<B: Backend>(
        &self,
        be: &B,
        sums: MatMut<B::Buf>,
        act: &mut OrthogonalityActivations<B>,
        e: Mat<B::Buf>,
    ) {
        be.orthogonality(act.inv_norm.mat_mut(e.rows), sums, e);
    }

    /// Adds to d_e the gradient of the penalty.
    pub fn backward<B: Backend>(
        &self,
        be: &B,
        d_e: MatMut<B::Buf>,
        act: &OrthogonalityActivations<B>,
        e: Mat<B::Buf>,
        batch_rows: usize,
    ) {
        be.orthogonality_bwd(d_e, e, act.inv_norm.mat(e.rows), self.scale(batch_rows));
    }

    /// [`Mixture::backward`], then [`Orthogonality::backward`], then that of the ReLU which made e, in one pass.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn backward_with_mixture<B: Backend>(
        &self,
        be: &B,
        d_e: MatMut<B::Buf>,
        d_mix: Mat<B::Buf>,
        mixture: &mut Mixture<B>,
        act: &OrthogonalityActivations<B>,
        e: Mat<B::Buf>,
        batch_rows: usize,
    ) {
        let (n, Mixture { logits, alpha, d_alpha }) = (e.rows, mixture);
        let (d_logits, d_alpha, alpha) = (logits.mat_mut(n), d_alpha.mat_mut(n), alpha.mat(n));
        let (inv_norm, scale) = (act.inv_norm.mat(n), self.scale(batch_rows));
        be.gate_orthogonality_bwd(d_logits, d_alpha, d_e, d_mix, alpha, e, inv_norm, scale);
    }

    fn scale(self, batch_rows: usize) -> f64 {
        self.weight / batch_rows as f64
    }

    /// The penalty, from sums over `rows` rows.
    pub fn penalty(&self, sums: &[f64], rows: f64) -> f64 {
        self.weight * sums[0] / rows
    }

    /// The experts `names` by each other; none of a single expert. `non_negative` says that they end in a ReLU.
    pub fn exhibit(
        &self,
        spec: &ModelSpec,
        measured: &Measured,
        names: Vec<String>,
        non_negative: bool,
    ) -> Option<Exhibit> {
        let k = self.count;
        let means = measured.means(spec).into_iter().filter(|(name, _)| name.starts_with("abs_cos."));
        let mut values = vec![None; k * k];
        for ((i, j), (_, cos)) in self.pairs().zip(means) {
            let cos = Some(cos).filter(|cos| cos.is_finite());
            (values[i * k + j], values[j * k + i]) = (cos, cos);
        }
        (k > 1).then(|| Exhibit {
            title: "Experts apart".into(),
            says: "Mean absolute cosine of the outputs of two experts over all rows: 0 when they say different things, 1 when \
                   they say the same."
                .into(),
            rows: Heads::Named(names.clone()),
            columns: Heads::Named(names),
            values,
            full: Some(1.0),
            shows: Shows::Cosines { non_negative },
        })
    }
}
