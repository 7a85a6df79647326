//! Hypernetwork and the prediction tower that it generates (model.md §5; docs/derivations.md#hyper).
//!
//! With `condition = "scenario"` a step generates S towers once and all rows share them. The core C_s and
//! the right factor Q are multiplied once a scenario, so a row takes two products, `(h P)(C_s Q)`, not
//! three. With `condition = "instance"` every row has its own C; it is never stored: column by column,
//! `c_ij = Σ a_i (A_i u + a_i)_j`.

mod generated;
mod instance;
mod norms;
mod scenario;

use crate::backend::{Backend, Mat, MatMut, Part, Products, Write};
use crate::config::{Condition, HyperConfig, TowerConfig};
use crate::error::Result;
use crate::layers::Linear;
use crate::model::{Builder, Cx, Grads};
use crate::params::{Flat, ParamId, Tensor};

use generated::{Generated, GeneratedActivations, GeneratedPacked};

pub use norms::GeneratedNorms;

/// Trunk and generated layers.
#[derive(Clone, Debug)]
pub struct Tower {
    scenario: ParamId, // [S, q]
    trunk: Linear,
    layers: Vec<Generated>,
    condition: Condition,
    scenarios: usize,
    scenario_dim: usize,
    trunk_width: usize,
    specific: usize,
    dropout: f64,
    first_site: u32,
}

/// Packed and generated weights.
#[derive(Debug)]
pub struct TowerPrepared<B: Backend> {
    trunk: B::Packed,
    u: Tensor<B>, // [S, t]
    layers: Vec<GeneratedPacked<B>>,
}

/// What a block keeps of the tower, and scratch for the step's end.
#[derive(Debug)]
pub struct TowerActivations<B: Backend> {
    h: Vec<Tensor<B>>,   // input of layer l > 0, [rows, in]
    d_h: Vec<Tensor<B>>, // the same
    layers: Vec<GeneratedActivations<B>>,
    z: Tensor<B>,   // instance: [rows, q + p]
    d_z: Tensor<B>, // instance: the same
    u: Tensor<B>,   // instance: [rows, t]
    d_u: Tensor<B>, // instance: the same
}

/// The tower's place in a model.
#[derive(Clone, Copy, Debug)]
pub struct TowerSpec<'a> {
    /// The scenarios' embeddings, `[S, q]`.
    pub scenario: ParamId,
    /// Columns of its input h_0.
    pub inputs: usize,
    /// p: the last columns of h_0, the specific encoding.
    pub specific: usize,
    /// Hidden widths and dropout.
    pub tower: &'a TowerConfig,
    /// The hypernetwork.
    pub hyper: &'a HyperConfig,
}

impl TowerSpec<'_> {
    /// Widths from the input to the logit.
    pub fn widths(&self) -> Vec<usize> {
        let hidden = self.tower.hidden.iter().copied();
        std::iter::once(self.inputs).chain(hidden).chain([1]).collect()
    }
}

impl Tower {
    /// Trunk and generated layers; under `condition = "scenario"` lanes sum the gradients of the generated weights.
    pub fn new(build: &mut Builder, spec: TowerSpec) -> Self {
        let TowerSpec { scenario, specific, tower, hyper, .. } = spec;
        let scenarios = build.scenarios();
        let inputs = match hyper.condition {
            Condition::Scenario => hyper.scenario_dim,
            Condition::Instance => hyper.scenario_dim + specific,
        };
        let trunk = Linear::new(&mut build.params, "hyper.trunk", inputs, hyper.trunk, true);
        let widths = spec.widths();
        let layer = |(l, w): (usize, &[usize])| {
            let relu = l + 2 < widths.len();
            let Builder { params, derived, .. } = &mut *build;
            Generated::new(params, derived, l, [w[0], w[1]], relu, hyper, scenarios)
        };
        let layers = widths.windows(2).enumerate().map(layer).collect();
        Self {
            scenario,
            trunk,
            layers,
            condition: hyper.condition,
            scenarios,
            scenario_dim: hyper.scenario_dim,
            trunk_width: hyper.trunk,
            specific,
            dropout: tower.dropout,
            first_site: build.dropout_sites(),
        }
    }

    /// Room for what is made once per step.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<TowerPrepared<B>> {
        let layers = self.layers.iter().map(|l| l.alloc(be, used)).collect::<Result<_>>()?;
        Ok(TowerPrepared {
            trunk: self.trunk.alloc(be, used)?,
            u: Tensor::new(be, self.scenarios, self.trunk_width)?,
            layers,
        })
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(
        &self,
        be: &B,
        rows: usize,
        training: bool,
    ) -> Result<TowerActivations<B>> {
        let instance = self.condition == Condition::Instance;
        let own = if instance { rows } else { 0 };
        let grad = |rows: usize| if training { rows } else { 0 };
        let inner = || self.layers[1..].iter();
        let layers = self.layers.iter().map(|l| l.activations(be, rows, training)).collect::<Result<_>>()?;
        let inputs = self.scenario_dim + self.specific;
        Ok(TowerActivations {
            h: inner().map(|l| Tensor::new(be, rows, l.inputs)).collect::<Result<_>>()?,
            d_h: inner().map(|l| Tensor::new(be, grad(rows), l.inputs)).collect::<Result<_>>()?,
            layers,
            z: Tensor::new(be, own, inputs)?,
            d_z: Tensor::new(be, grad(own), inputs)?,
            u: Tensor::new(be, own, self.trunk_width)?,
            d_u: Tensor::new(be, grad(own), self.trunk_width)?,
        })
    }

    /// Packs the weights and, under `condition = "scenario"`, generates every scenario's tower.
    pub fn prepare<B: Backend>(&self, be: &B, prepared: &mut TowerPrepared<B>, params: &Flat<B>) {
        self.trunk.pack(be, &mut prepared.trunk, params);
        self.layers.iter().zip(&mut prepared.layers).for_each(|(l, p)| l.pack(be, p, params));
        if self.condition == Condition::Scenario {
            let z = params.mat(self.scenario);
            self.trunk.forward(be, prepared.u.mat_mut(self.scenarios), z, &prepared.trunk, params);
            let u = prepared.u.mat(self.scenarios);
            self.layers.iter().zip(&mut prepared.layers).for_each(|(l, p)| l.generate(be, p, u, params));
        }
    }

    /// Logits `[rows, 1]` from h_0 `[rows, m + p]`, whose last p columns are the specific encoding.
    pub fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        mut logits: MatMut<B::Buf>,
        act: &mut TowerActivations<B>,
        h0: Mat<B::Buf>,
        prepared: &TowerPrepared<B>,
    ) {
        let Cx { be, params, x } = cx;
        let (n, q, p) = (x.rows, self.scenario_dim, self.specific);
        if self.condition == Condition::Instance {
            let z_s = params.mat(self.scenario);
            be.gather_rows(act.z.mat_mut(n).cols(0, q), z_s, &x.inputs.scenarios, x.first);
            be.copy(act.z.mat_mut(n).cols(q, p), Write::Set, h0.cols(h0.cols - p, p));
            self.trunk.forward(be, act.u.mat_mut(n), act.z.mat(n), &prepared.trunk, params);
        }
        for (l, layer) in self.layers.iter().enumerate() {
            let (before, after) = act.h.split_at_mut(l);
            let h = before.last().map_or(h0, |h| h.mat(n));
            let mut y = after.first_mut().map_or(logits.again(), |y| y.mat_mut(n));
            match self.condition {
                Condition::Scenario => {
                    layer.forward_scenario(
                        be,
                        y.again(),
                        &mut act.layers[l],
                        h,
                        &prepared.layers[l],
                        x.groups,
                    );
                }
                Condition::Instance => {
                    let u = act.u.mat(n);
                    layer.forward_instance(
                        be,
                        y.again(),
                        &mut act.layers[l],
                        h,
                        u,
                        &prepared.layers[l],
                        params,
                    );
                }
            }
            if l + 1 < self.layers.len() {
                self.drop(cx, l, y);
            }
        }
    }

    fn drop<B: Backend>(&self, cx: Cx<B>, layer: usize, x: MatMut<B::Buf>) {
        cx.x.drop(cx.be, x, self.dropout, self.first_site + layer as u32);
    }

    /// Sets d_h0 and adds to the gradients; `d_logits` is used up.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        Grads { dense: grads, derived }: &mut Grads<B>,
        mut d_h0: MatMut<B::Buf>,
        mut d_logits: MatMut<B::Buf>,
        act: &mut TowerActivations<B>,
        h0: Mat<B::Buf>,
        prepared: &TowerPrepared<B>,
    ) {
        let Cx { be, params, x } = cx;
        let (n, q, p) = (x.rows, self.scenario_dim, self.specific);
        if self.condition == Condition::Instance {
            be.fill(act.d_u.mat_mut(n), 0.0);
        }
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let (before, after) = act.d_h.split_at_mut(l);
            let mut d_y = after.first_mut().map_or(d_logits.again(), |d| d.mat_mut(n));
            // d_y is the gradient before the ReLU; a dropped output is 0, so only dropout's factor is missing.
            if l + 1 < self.layers.len() {
                self.drop(cx, l, d_y.again());
            }
            let relu = (l > 0).then(|| act.h[l - 1].mat(n));
            let h = relu.unwrap_or(h0);
            let d_h = before.last_mut().map_or(d_h0.again(), |d| d.mat_mut(n));
            let (packed, own) = (&prepared.layers[l], &mut act.layers[l]);
            match self.condition {
                Condition::Scenario => {
                    let d_y = d_y.as_mat();
                    layer.backward_scenario(be, grads, derived, d_h, d_y, own, h, relu, packed, x.groups);
                }
                Condition::Instance => {
                    let (u, d_u) = (act.u.mat(n), act.d_u.mat_mut(n));
                    let d_y = d_y.as_mat();
                    layer.backward_instance(be, grads, d_h, d_u, d_y, own, h, relu, u, packed, params);
                }
            }
        }
        if self.condition == Condition::Instance {
            be.relu_bwd(act.d_u.mat_mut(n), act.u.mat(n));
            let (d_z, d_u, z) = (act.d_z.mat_mut(n), act.d_u.mat(n), act.z.mat(n));
            self.trunk.backward(be, grads, (d_z, Write::Set), None, d_u, z, &prepared.trunk);
            // forward: z = [z_s ; g]
            let d_z = act.d_z.mat(n);
            let part = Part::Rows(x.groups);
            be.col_sum(grads.mat_mut(self.scenario), Write::Add, d_z.cols(0, q), part);
            let m = d_h0.cols - p;
            be.copy(d_h0.cols(m, p), Write::Add, d_z.cols(q, p));
        }
    }

    /// Under `condition = "scenario"`: from the gradients of the generated weights, summed over the batch,
    /// to those of the hypernetwork. Once per step.
    pub fn finish<B: Backend>(
        &self,
        be: &B,
        Grads { dense: grads, derived }: &mut Grads<B>,
        prepared: &TowerPrepared<B>,
        scratch: &mut TowerScratch<B>,
        params: &Flat<B>,
    ) {
        if self.condition == Condition::Instance {
            return;
        }
        let s = self.scenarios;
        let u = prepared.u.mat(s);
        let mut write = Write::Set;
        // Backward, as their gradients came: a device that runs operations side by side then waits for the first layer's alone.
        for ((layer, packed), d_core) in
            self.layers.iter().zip(&prepared.layers).zip(&mut scratch.d_core).rev()
        {
            layer.finish(be, grads, derived, (scratch.d_u.mat_mut(s), write), d_core, u, packed);
            write = Write::Add;
        }
        // The scenario's embedding is a parameter, so its gradient is the trunk's input gradient.
        let (d_u, z) = (scratch.d_u.mat(s), params.mat(self.scenario));
        self.trunk.parameters_backward(be, grads, d_u, z);
        let d_z = grads.mat_mut(self.scenario);
        be.linear_dx(d_z, Write::Add, d_u, &prepared.trunk, Part::Group(0), None);
    }

    /// Memory of [`Tower::finish`].
    pub fn scratch<B: Backend>(&self, be: &B) -> Result<TowerScratch<B>> {
        Ok(TowerScratch {
            d_u: Tensor::new(be, self.scenarios, self.trunk_width)?,
            d_core: self
                .layers
                .iter()
                .map(|l| Tensor::new(be, self.scenarios, l.rank * l.rank))
                .collect::<Result<_>>()?,
        })
    }
}

/// Memory of [`Tower::finish`].
#[derive(Debug)]
pub struct TowerScratch<B: Backend> {
    d_u: Tensor<B>,         // [S, t]
    d_core: Vec<Tensor<B>>, // [S, r·r]
}
