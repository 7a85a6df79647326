//! Softmax gates: α = softmax(W x + b) weighs K vectors, mix = Σ_k α_k e_k (model.md §4; docs/derivations.md#gate).
//!
//! [`Gate`] makes the logits, [`Mixture`] what follows from any logits: a model whose logits come from elsewhere has the
//! second without the first.

use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::error::Result;
use crate::layers::{Linear, ScenarioLinear};
use crate::model::{Builder, Cx};
use crate::params::{Flat, Tensor};

/// Logits of K weights, linear in x.
#[derive(Clone, Debug)]
pub struct Gate {
    map: Map,
    count: usize, // K
}

/// Whose weights the logits are made with.
#[derive(Clone, Debug)]
enum Map {
    Shared(Linear),
    ByScenario(ScenarioLinear),
}

impl Gate {
    /// One gate for all rows: `{name}.weight` `[K, in]`.
    pub fn shared(build: &mut Builder, name: &str, [inputs, count]: [usize; 2]) -> Self {
        Self { map: Map::Shared(Linear::new(&mut build.params, name, inputs, count, false)), count }
    }

    /// A gate for each scenario: `{name}.weight` `[S, K, in]`.
    pub fn by_scenario(build: &mut Builder, name: &str, [inputs, count]: [usize; 2]) -> Self {
        let s = build.scenarios();
        let map = ScenarioLinear::new(&mut build.params, name, s, [inputs, count], false);
        Self { map: Map::ByScenario(map), count }
    }

    /// Room for the packed weights.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<B::Packed> {
        match &self.map {
            Map::Shared(map) => map.alloc(be, used),
            Map::ByScenario(map) => map.alloc(be, used),
        }
    }

    /// Packs the weights.
    pub fn pack<B: Backend>(&self, be: &B, w: &mut B::Packed, params: &Flat<B>) {
        match &self.map {
            Map::Shared(map) => map.pack(be, w, params),
            Map::ByScenario(map) => map.pack(be, w, params),
        }
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(&self, be: &B, rows: usize, training: bool) -> Result<Mixture<B>> {
        Mixture::new(be, rows, self.count, training)
    }

    /// Logits of x `[rows, in]`; [`Mixture::forward`] follows.
    pub fn forward<B: Backend>(&self, cx: Cx<B>, mix: &mut Mixture<B>, x: Mat<B::Buf>, w: &B::Packed) {
        let logits = mix.logits_mut(x.rows);
        match &self.map {
            Map::Shared(map) => map.forward(cx.be, logits, x, w, cx.params),
            Map::ByScenario(map) => map.forward(cx, logits, x, w),
        }
    }

    /// After [`Mixture::backward`]: adds to the gradients of the parameters, and writes that of x.
    pub fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        d_x: (MatMut<B::Buf>, Write),
        mix: &Mixture<B>,
        x: Mat<B::Buf>,
        w: &B::Packed,
    ) {
        let d_logits = mix.d_logits(x.rows);
        match &self.map {
            Map::Shared(map) => map.backward(cx.be, grads, d_x, None, d_logits, x, w),
            Map::ByScenario(map) => map.backward(cx, grads, d_x, None, d_logits, x, w),
        }
    }
}

/// Weights of K vectors, and the state of their mixture.
#[derive(Debug)]
pub struct Mixture<B: Backend> {
    pub(super) logits: Tensor<B>,  // then their gradient, [rows, K]
    pub(super) alpha: Tensor<B>,   // [rows, K]
    pub(super) d_alpha: Tensor<B>, // [rows, K]
}

impl<B: Backend> Mixture<B> {
    /// Memory for `rows` rows of `count` weights.
    pub fn new(be: &B, rows: usize, count: usize, training: bool) -> Result<Self> {
        let room = |rows: usize| Tensor::new(be, rows, count);
        Ok(Self { logits: room(rows)?, alpha: room(rows)?, d_alpha: room(if training { rows } else { 0 })? })
    }

    /// Logits `[rows, K]`, to be set before [`Mixture::forward`].
    pub fn logits_mut(&mut self, rows: usize) -> MatMut<'_, B::Buf> {
        self.logits.mat_mut(rows)
    }

    /// Gradient of the logits `[rows, K]`, as [`Mixture::backward`] left it in their place.
    pub fn d_logits(&self, rows: usize) -> Mat<'_, B::Buf> {
        self.logits.mat(rows)
    }

    /// α `[rows, K]`, as [`Mixture::forward`] left it.
    pub fn alpha(&self, rows: usize) -> Mat<'_, B::Buf> {
        self.alpha.mat(rows)
    }

    /// α = softmax(logits), out `[rows, m]` = Σ_k α_k e_k of e `[rows, K·m]`.
    pub fn forward(&mut self, be: &B, out: MatMut<B::Buf>, e: Mat<B::Buf>) {
        let n = e.rows;
        be.gate(out, self.alpha.mat_mut(n), self.logits.mat(n), e);
    }

    /// Sets d_e `[rows, K·m]` and the gradient of the logits.
    pub fn backward(&mut self, be: &B, d_e: MatMut<B::Buf>, d_out: Mat<B::Buf>, e: Mat<B::Buf>) {
        // forward: out = Σ_k α_k e_k with α = softmax(logits)
        let n = e.rows;
        let (d_logits, d_alpha) = (self.logits.mat_mut(n), self.d_alpha.mat_mut(n));
        be.gate_bwd(d_logits, d_alpha, d_e, d_out, self.alpha.mat(n), e);
    }
}
