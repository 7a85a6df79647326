//! Hypernetwork: weights of linear layers that are generated from a condition (model.md §5; docs/derivations.md#hyper).
//!
//! [`Hyper`] is the trunk u = ReLU(W_u z + b_u), of which every [`GeneratedLinear`] makes its weights. With
//! `condition = "scenario"`, z = z_s: a step generates the weights of S scenarios once and all rows share them. With
//! `condition = "instance"`, z = [z_s ; g] with columns g of the row: every row has its own weights, which are never stored. With
//! `condition = "shared"`, z is a parameter: the same as of a single scenario, which all rows are of.

mod generated;
mod instance;
mod left;
mod norms;
mod scenario;

use crate::backend::{Backend, Groups, Mat, MatMut, Products, Write};
use crate::config::{Condition, HyperConfig};
use crate::error::Result;
use crate::layers::Linear;
use crate::model::{Builder, Cx};
use crate::params::{Flat, Init, ParamId, Tensor};

pub use generated::{GeneratedActivations, GeneratedLinear, GeneratedPrepared};
pub use norms::GeneratedNorms;

/// The trunk.
#[derive(Clone, Debug)]
pub struct Hyper {
    scenario: ParamId, // [S, q]; [1, q] where all share a condition
    trunk: Linear,
    config: HyperConfig,
    scenarios: usize, // 1 where all share a condition
    row: usize,       // p: columns of g
}

/// Packed weights, and u of the scenarios.
#[derive(Debug)]
pub struct HyperPrepared<B: Backend> {
    trunk: B::Packed,
    u: Tensor<B>, // scenario: [S, t]
}

/// Input and output of the trunk, of one block: empty where scenarios are the condition.
#[derive(Debug)]
pub struct HyperActivations<B: Backend> {
    z: Tensor<B>,   // [rows, q + p]
    d_z: Tensor<B>, // [rows, q + p]
    u: Tensor<B>,   // [rows, t]
    d_u: Tensor<B>, // [rows, t]
}

impl Hyper {
    /// `{name}.trunk` of the scenarios' embeddings `scenario` `[S, q]` and, with `condition = "instance"`, of `row` columns more; with
    /// `condition = "shared"` of `{name}.condition` `[1, q]` instead.
    pub fn new(build: &mut Builder, name: &str, scenario: ParamId, row: usize, config: &HyperConfig) -> Self {
        let inputs = match config.condition {
            Condition::Scenario | Condition::Shared => config.scenario_dim,
            Condition::Instance => config.scenario_dim + row,
        };
        let trunk = Linear::new(&mut build.params, &format!("{name}.trunk"), inputs, config.trunk, true);
        let (scenario, scenarios) = match config.condition {
            Condition::Shared => {
                let init = Init::Normal(1.0);
                (build.params.add(format!("{name}.condition"), &[1, config.scenario_dim], init), 1)
            }
            Condition::Scenario | Condition::Instance => (scenario, build.scenarios()),
        };
        let hyper = Self { scenario, trunk, config: config.clone(), scenarios, row };
        if !hyper.by_row() {
            build.once.extend(hyper.trunk.parameters());
        }
        hyper
    }

    /// Whether every row has its own weights.
    fn by_row(&self) -> bool {
        self.config.condition == Condition::Instance
    }

    /// Vectors u that a step makes.
    fn conditions(&self) -> usize {
        if self.by_row() { 0 } else { self.scenarios }
    }

    /// Whether all rows have the same weights.
    fn shared(&self) -> bool {
        self.config.condition == Condition::Shared
    }

    /// Room for what is made once per step.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<HyperPrepared<B>> {
        let u = Tensor::new(be, self.conditions(), self.config.trunk)?;
        Ok(HyperPrepared { trunk: self.trunk.alloc(be, used)?, u })
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(
        &self,
        be: &B,
        rows: usize,
        training: bool,
    ) -> Result<HyperActivations<B>> {
        let rows = if self.by_row() { rows } else { 0 };
        let back = if training { rows } else { 0 };
        let (z, u) = (self.config.scenario_dim + self.row, self.config.trunk);
        Ok(HyperActivations {
            z: Tensor::new(be, rows, z)?,
            d_z: Tensor::new(be, back, z)?,
            u: Tensor::new(be, rows, u)?,
            d_u: Tensor::new(be, back, u)?,
        })
    }

    /// Memory of [`Hyper::finish`]: ∂u `[S, t]`, which [`GeneratedLinear::finish`] makes.
    pub fn scratch<B: Backend>(&self, be: &B) -> Result<Tensor<B>> {
        Tensor::new(be, self.conditions(), self.config.trunk)
    }

    /// Packs the weights and, if scenarios are the condition, makes their u. [`GeneratedLinear::generate`] follows.
    pub fn prepare<B: Backend>(&self, be: &B, p: &mut HyperPrepared<B>, params: &Flat<B>) {
        self.trunk.pack(be, &mut p.trunk, params);
        if !self.by_row() {
            let z = params.mat(self.scenario);
            self.trunk.forward(be, p.u.mat_mut(self.scenarios), z, &p.trunk, params);
        }
    }

    /// If rows are the condition, makes their u of g `[rows, p]`. [`GeneratedLinear::forward`] follows.
    pub fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        act: &mut HyperActivations<B>,
        g: Mat<B::Buf>,
        p: &HyperPrepared<B>,
    ) {
        if !self.by_row() {
            return;
        }
        let (Cx { be, params, x }, n, q) = (cx, cx.x.rows, self.config.scenario_dim);
        be.gather_rows(act.z.mat_mut(n).cols(0, q), params.mat(self.scenario), x.inputs.scenarios(), x.first);
        be.copy(act.z.mat_mut(n).cols(q, self.row), Write::Set, g);
        self.trunk.forward(be, act.u.mat_mut(n), act.z.mat(n), &p.trunk, params);
    }

    /// Sets ∂u to 0: every [`GeneratedLinear::backward`] adds to it.
    pub fn begin_backward<B: Backend>(&self, cx: Cx<B>, act: &mut HyperActivations<B>) {
        if self.by_row() {
            cx.be.fill(act.d_u.mat_mut(cx.x.rows), 0.0);
        }
    }

    /// After the generated layers': adds to the gradients and, if rows are the condition, writes d_g `[rows, p]`.
    pub fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        (d_g, write): (MatMut<B::Buf>, Write),
        act: &mut HyperActivations<B>,
        p: &HyperPrepared<B>,
    ) {
        if !self.by_row() {
            return;
        }
        let (be, n, q) = (cx.be, cx.x.rows, self.config.scenario_dim);
        be.relu_bwd(act.d_u.mat_mut(n), act.u.mat(n));
        let (d_z, d_u, z) = (act.d_z.mat_mut(n), act.d_u.mat(n), act.z.mat(n));
        self.trunk.backward(be, grads, (d_z, Write::Set), None, d_u, z, &p.trunk);
        // forward: z = [z_s ; g]
        let d_z = act.d_z.mat(n);
        be.col_sum(grads.mat_mut(self.scenario), Write::Add, d_z.cols(0, q), Groups::Rows(cx.x.groups));
        be.copy(d_g, write, d_z.cols(q, self.row));
    }

    /// If scenarios are the condition: from ∂u `[S, t]` to the gradients of the parameters. Once per step.
    pub fn finish<B: Backend>(
        &self,
        be: &B,
        grads: &mut Flat<B>,
        d_u: &Tensor<B>,
        p: &HyperPrepared<B>,
        params: &Flat<B>,
    ) {
        if self.by_row() {
            return;
        }
        // The scenario's embedding is a parameter, so its gradient is the trunk's input gradient.
        let (d_u, z) = (d_u.mat(self.scenarios), params.mat(self.scenario));
        self.trunk.parameters_backward(be, (&mut *grads, Write::Set), d_u, z);
        let d_z = grads.mat_mut(self.scenario);
        be.linear_dx(d_z, Write::Add, d_u, &p.trunk, Groups::One(0), None);
    }
}
