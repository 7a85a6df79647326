//! Linear layers whose units a pruner weighs: h = ReLU(W x + b) ⊙ f(P x̄ + p), x̄ = [x ; z_s].
//!
//! Yang et al., CIKM 2022 (AdaSparse). With σ_α(o) = σ(α o) the factors are those of a [`Pruner`], and ρ = 1 − mean σ_α, a soft
//! share of pruned units per row, has a penalty outside a range.

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, Epilogue, Groups, Layout, Mat, MatMut, Products, Write};
use crate::error::Result;
use crate::layers::Linear;
use crate::model::Cx;
use crate::params::{Flat, ParamLayout, Tensor};

/// Factors of units, from σ_α.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pruner {
    /// β σ_α.
    Scaling,
    /// β σ_α above ε, else 0.
    Fusion,
    /// 1 where σ_α is above ε, else 0; the gradient goes through the step as if it were σ_α.
    Binary,
}

/// Constants of pruned layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pruning {
    /// Factors.
    pub pruner: Pruner,
    /// α.
    pub alpha: f64,
    /// β.
    pub beta: f64,
    /// ε.
    pub epsilon: f64,
    /// Least and largest ρ without a penalty.
    pub range: [f64; 2],
}

/// One layer and its pruner.
#[derive(Clone, Debug)]
pub struct PrunedLinear {
    linear: Linear,
    pruner: Linear,
    inputs: usize, // columns of x̄ that the layer itself reads
    pruning: Pruning,
}

/// Packed weights and constants.
#[derive(Debug)]
pub struct PrunedLinearPrepared<B: Backend> {
    linear: B::Packed,
    pruner: B::Packed,
    factors: Tensor<B>, // rows of α, of ∂π/∂σ_α and of −ε, [3, width]
    _share: Tensor<B>, // from σ_α to [mean σ_α, −mean σ_α], [2, width]; the packed weight may be a view of it
    mean: B::Packed,   // the same
    bounds: Tensor<B>, // added to them: [r_min − 1, 1 − r_max]
}

/// Activations of one block.
#[derive(Debug)]
pub struct PrunedLinearActivations<B: Backend> {
    a: Tensor<B>,        // ReLU(W x + b), [rows, width]
    d_a: Tensor<B>,      // [rows, width]
    o: Tensor<B>,        // output of the pruner, then scratch, [rows, width]
    sigma: Tensor<B>,    // σ_α(o), [rows, width]
    d_sigma: Tensor<B>,  // [rows, width]
    kept: Tensor<B>,     // 1 where σ_α > ε, else 0, [rows, width]
    pi: Tensor<B>,       // factors, [rows, width]
    excess: Tensor<B>,   // [max(r_min − ρ, 0), max(ρ − r_max, 0)], [rows, 2]
    d_excess: Tensor<B>, // [rows, 2]
    scale: Tensor<B>,    // [1, 2]
}

impl PrunedLinear {
    /// Layer `mlp.{number}`, which reads the first `inputs` columns of x̄, and `pruner.{number}`, which reads all `wide`.
    pub fn new(
        params: &mut ParamLayout,
        number: usize,
        [inputs, wide]: [usize; 2],
        width: usize,
        pruning: Pruning,
    ) -> Self {
        let linear = Linear::new(params, &format!("mlp.{number}"), inputs, width, true);
        let pruner = Linear::new(params, &format!("pruner.{number}"), wide, width, false);
        Self { linear, pruner, inputs, pruning }
    }

    /// Columns of the output.
    pub fn width(&self) -> usize {
        self.linear.width()
    }

    /// Room for packed weights, and the constants.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<PrunedLinearPrepared<B>> {
        let (width, Pruning { pruner, alpha, beta, epsilon, range: [least, most] }) =
            (self.width(), self.pruning);
        let rows = |values: &[f64]| -> Result<Tensor<B>> {
            let mut rows = Tensor::new(be, values.len(), width)?;
            for (i, &v) in values.iter().enumerate() {
                be.fill(rows.mat_mut(values.len()).rows(i, 1), v);
            }
            Ok(rows)
        };
        let share = 1.0 / width as f64;
        let mut bounds = Tensor::new(be, 1, 2)?;
        be.fill(bounds.mat_mut(1).cols(0, 1), least - 1.0);
        be.fill(bounds.mat_mut(1).cols(1, 1), 1.0 - most);
        let slope = if pruner == Pruner::Binary { 1.0 } else { beta };
        let (share, mut mean) = (rows(&[share, -share])?, be.alloc_packed(1, 2, width, used)?);
        be.pack(&mut mean, share.mat(2), Layout::OutIn);
        Ok(PrunedLinearPrepared {
            linear: self.linear.alloc(be, used)?,
            pruner: self.pruner.alloc(be, used)?,
            factors: rows(&[alpha, slope, -epsilon])?,
            _share: share,
            mean,
            bounds,
        })
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(
        &self,
        be: &B,
        rows: usize,
        training: bool,
    ) -> Result<PrunedLinearActivations<B>> {
        let (width, back) = (self.width(), if training { rows } else { 0 });
        let kept = if self.pruning.pruner == Pruner::Scaling { 0 } else { rows };
        Ok(PrunedLinearActivations {
            a: Tensor::new(be, rows, width)?,
            d_a: Tensor::new(be, back, width)?,
            o: Tensor::new(be, rows, width)?,
            sigma: Tensor::new(be, rows, width)?,
            d_sigma: Tensor::new(be, back, width)?,
            kept: Tensor::new(be, kept, width)?,
            pi: Tensor::new(be, rows, width)?,
            excess: Tensor::new(be, rows, 2)?,
            d_excess: Tensor::new(be, back, 2)?,
            scale: Tensor::new(be, 1, 2)?,
        })
    }

    /// Packs the weights.
    pub fn pack<B: Backend>(&self, be: &B, packed: &mut PrunedLinearPrepared<B>, params: &Flat<B>) {
        self.linear.pack(be, &mut packed.linear, params);
        self.pruner.pack(be, &mut packed.pruner, params);
    }

    /// h `[rows, width]` of x̄ `[rows, wide]`. Adds Σ_rows max(r_min − ρ, ρ − r_max, 0)² to `sum` `[1, 1]`.
    pub fn forward<B: Backend>(
        &self,
        Cx { be, params, .. }: Cx<B>,
        h: MatMut<B::Buf>,
        sum: Option<MatMut<B::Buf>>,
        act: &mut PrunedLinearActivations<B>,
        x: Mat<B::Buf>,
        p: &PrunedLinearPrepared<B>,
    ) {
        let (n, pruner) = (x.rows, self.pruning.pruner);
        let [alpha, beta, threshold] = [0, 1, 2].map(|i| p.factors.mat(3).rows(i, 1));
        self.linear.forward(be, act.a.mat_mut(n), x.cols(0, self.inputs), &p.linear, params);
        self.pruner.forward(be, act.o.mat_mut(n), x, &p.pruner, params);
        if self.pruning.alpha == 1.0 {
            be.sigmoid(act.sigma.mat_mut(n), act.o.mat(n));
        } else {
            be.mul(act.pi.mat_mut(n), Write::Set, act.o.mat(n), alpha);
            be.sigmoid(act.sigma.mat_mut(n), act.pi.mat(n));
        }
        if pruner != Pruner::Scaling {
            be.copy(act.o.mat_mut(n), Write::Set, act.sigma.mat(n));
            be.add_row(act.o.mat_mut(n), threshold);
            be.fill(act.kept.mat_mut(n), 1.0);
            be.relu_bwd(act.kept.mat_mut(n), act.o.mat(n));
        }
        match pruner {
            Pruner::Binary => be.copy(act.pi.mat_mut(n), Write::Set, act.kept.mat(n)),
            Pruner::Scaling | Pruner::Fusion => {
                be.mul(act.pi.mat_mut(n), Write::Set, act.sigma.mat(n), beta);
            }
        }
        if pruner == Pruner::Fusion {
            be.relu_bwd(act.pi.mat_mut(n), act.kept.mat(n));
        }
        be.mul(h, Write::Set, act.a.mat(n), act.pi.mat(n));
        if let Some(mut sum) = sum {
            let then = Epilogue { bias: Some(p.bounds.mat(1)), relu: true };
            be.linear(act.excess.mat_mut(n), act.sigma.mat(n), &p.mean, Groups::One(0), then);
            for side in [0, 1] {
                let excess = act.excess.mat(n).cols(side, 1);
                be.col_dot(sum.again(), Write::Add, excess, excess, Groups::One(0));
            }
        }
    }

    /// Which units were kept `[rows, width]`, 1 or 0, as [`PrunedLinear::forward`] left it; nothing under [`Pruner::Scaling`], which
    /// keeps all.
    pub fn kept<'a, B: Backend>(&self, act: &'a PrunedLinearActivations<B>, rows: usize) -> Mat<'a, B::Buf> {
        act.kept.mat(rows)
    }

    /// Adds to the gradients, and sets that of x̄; `penalty` is the factor of what [`PrunedLinear::forward`] summed.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn backward<B: Backend>(
        &self,
        Cx { be, .. }: Cx<B>,
        grads: &mut Flat<B>,
        mut d_x: MatMut<B::Buf>,
        d_h: Mat<B::Buf>,
        act: &mut PrunedLinearActivations<B>,
        x: Mat<B::Buf>,
        penalty: f64,
        p: &PrunedLinearPrepared<B>,
    ) {
        let (n, all) = (x.rows, Groups::One(0));
        let [alpha, slope] = [0, 1].map(|i| p.factors.mat(3).rows(i, 1));
        // forward: h = a ⊙ π, so d_a = d_h ⊙ π and d_π = d_h ⊙ a
        be.mul(act.d_a.mat_mut(n), Write::Set, d_h, act.pi.mat(n));
        be.relu_bwd(act.d_a.mat_mut(n), act.a.mat(n));
        be.mul(act.o.mat_mut(n), Write::Set, d_h, act.a.mat(n));
        // forward: π = β σ_α where kept; a step counts as σ_α
        be.mul(act.d_sigma.mat_mut(n), Write::Set, act.o.mat(n), slope);
        if self.pruning.pruner == Pruner::Fusion {
            be.relu_bwd(act.d_sigma.mat_mut(n), act.kept.mat(n));
        }
        // forward: penalty Σ excess², excess = ReLU(σ_α Cᵀ + c)
        if penalty > 0.0 {
            be.fill(act.scale.mat_mut(1), 2.0 * penalty);
            be.mul(act.d_excess.mat_mut(n), Write::Set, act.excess.mat(n), act.scale.mat(1));
            be.linear_dx(act.d_sigma.mat_mut(n), Write::Add, act.d_excess.mat(n), &p.mean, all, None);
        }
        // forward: σ_α = σ(α o)
        be.sigmoid_bwd(act.d_sigma.mat_mut(n), act.sigma.mat(n));
        let d_o = if self.pruning.alpha == 1.0 {
            act.d_sigma.mat(n)
        } else {
            be.mul(act.o.mat_mut(n), Write::Set, act.d_sigma.mat(n), alpha);
            act.o.mat(n)
        };
        self.pruner.backward(be, grads, (d_x.again(), Write::Set), None, d_o, x, &p.pruner);
        let (d_x, x) = (d_x.cols(0, self.inputs), x.cols(0, self.inputs));
        self.linear.backward(be, grads, (d_x, Write::Add), None, act.d_a.mat(n), x, &p.linear);
    }
}
