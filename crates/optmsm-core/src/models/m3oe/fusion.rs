//! Factors of the scenarios' experts: `c_ss = λ_s ω_s` and `c_sj = λ_s (1 − ω_s)/(S − 1)` with λ = σ(l), ω = σ(w); S = 1 has no j.
//!
//! With I the identity and R = (1 − I)/(S − 1), row s is `c_s = λ_s v_s` with `v_s = R_s + ω_s (I − R)_s`. Made once per step, and
//! taken back once: ∂λ_s = ∂c_s · v_s, ∂ω_s = λ_s ∂c_s · (I − R)_s.

use crate::backend::{Backend, Elem, Mat, Write};
use crate::error::Result;
use crate::model::{Builder, Grads};
use crate::params::{Flat, Init, ParamId, Tensor};

/// λ and ω of each scenario, before the sigmoid.
#[derive(Clone, Debug)]
pub(super) struct Fusion {
    domain: ParamId,    // l, [S, 1]
    own: ParamId,       // w, [S, 1]
    d_factors: ParamId, // derived: of c, [S, S]
    scenarios: usize,
}

/// Constants, and what is made of the parameters.
#[derive(Debug)]
pub(super) struct FusionPrepared<B: Backend> {
    others: Tensor<B>,  // R, [S, S]
    apart: Tensor<B>,   // I − R, [S, S]
    omega: Tensor<B>,   // [S, 1]
    mean: Tensor<B>,    // v, [S, S]
    lambda: Tensor<B>,  // [S, 1]
    factors: Tensor<B>, // c, [S, S]
    scenarios: usize,
}

/// Memory of [`Fusion::finish`].
#[derive(Debug)]
pub struct FusionScratch<B: Backend> {
    d_mean: Tensor<B>,  // [S, S]
    d_share: Tensor<B>, // of λ, then of ω, [S, 1]
}

impl Fusion {
    /// `{name}.domain`, `{name}.own`; both start at 0, where λ = ω = ½.
    pub(super) fn new(build: &mut Builder, name: &str) -> Self {
        let s = build.scenarios();
        let mut add = |part: &str| build.params.add(format!("{name}.{part}"), &[s, 1], Init::Zero);
        let [domain, own] = ["domain", "own"].map(&mut add);
        let d_factors = build.derived.add(format!("{name}.factors"), &[s, s], Init::Zero);
        Self { domain, own, d_factors, scenarios: s }
    }

    /// Gradient of the factors, `[S, S]`, which a block adds to.
    pub(super) fn d_factors(&self) -> ParamId {
        self.d_factors
    }

    /// Room for the factors, and the constants.
    pub(super) fn alloc<B: Backend>(&self, be: &B) -> Result<FusionPrepared<B>> {
        let s = self.scenarios;
        let constant = |on: f64, off: f64| -> Result<Tensor<B>> {
            let of = |i| B::Elem::of(if i / s == i % s { on } else { off });
            let mut tensor = Tensor::new(be, s, s)?;
            be.upload(tensor.buf_mut(), &(0..s * s).map(of).collect::<Vec<_>>());
            Ok(tensor)
        };
        let share = 1.0 / (s.max(2) - 1) as f64;
        Ok(FusionPrepared {
            others: constant(0.0, share)?,
            apart: constant(1.0, -share)?,
            omega: Tensor::new(be, s, 1)?,
            mean: Tensor::new(be, s, s)?,
            lambda: Tensor::new(be, s, 1)?,
            factors: Tensor::new(be, s, s)?,
            scenarios: s,
        })
    }

    /// Makes the factors.
    pub(super) fn prepare<B: Backend>(&self, be: &B, p: &mut FusionPrepared<B>, params: &Flat<B>) {
        let s = self.scenarios;
        be.sigmoid(p.omega.mat_mut(s), params.mat(self.own));
        be.row_scale(p.mean.mat_mut(s), Write::Set, p.omega.mat(s), p.apart.mat(s));
        be.copy(p.mean.mat_mut(s), Write::Add, p.others.mat(s));
        be.sigmoid(p.lambda.mat_mut(s), params.mat(self.domain));
        be.row_scale(p.factors.mat_mut(s), Write::Set, p.lambda.mat(s), p.mean.mat(s));
    }

    /// Memory of [`Fusion::finish`].
    pub(super) fn scratch<B: Backend>(&self, be: &B) -> Result<FusionScratch<B>> {
        let s = self.scenarios;
        Ok(FusionScratch { d_mean: Tensor::new(be, s, s)?, d_share: Tensor::new(be, s, 1)? })
    }

    /// Adds to the gradients of l and w. Once per step.
    pub(super) fn finish<B: Backend>(
        &self,
        be: &B,
        Grads { dense, derived }: &mut Grads<B>,
        FusionScratch { d_mean, d_share }: &mut FusionScratch<B>,
        p: &FusionPrepared<B>,
    ) {
        let (s, d_factors) = (self.scenarios, derived.mat(self.d_factors));
        // forward: c_s = σ(l_s) v_s with v_s = R_s + σ(w_s) (I − R)_s
        be.row_dot(d_share.mat_mut(s), Write::Set, d_factors, p.mean.mat(s));
        be.sigmoid_bwd(d_share.mat_mut(s), p.lambda.mat(s));
        be.copy(dense.mat_mut(self.domain), Write::Add, d_share.mat(s));
        be.row_scale(d_mean.mat_mut(s), Write::Set, p.lambda.mat(s), d_factors);
        be.row_dot(d_share.mat_mut(s), Write::Set, d_mean.mat(s), p.apart.mat(s));
        be.sigmoid_bwd(d_share.mat_mut(s), p.omega.mat(s));
        be.copy(dense.mat_mut(self.own), Write::Add, d_share.mat(s));
    }
}

impl<B: Backend> FusionPrepared<B> {
    /// c, `[S, S]`: row s has the factors of a row of scenario s.
    pub(super) fn factors(&self) -> Mat<'_, B::Buf> {
        self.factors.mat(self.scenarios)
    }
}
