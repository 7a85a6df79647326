//! Partitioned normalization: by the statistics of each scenario's rows (Sheng et al., CIKM 2021; docs/derivations.md#norm).
//!
//! `y = (x − μ_s)/√(v_s + ε) · (γ γ_s) + (β + β_s)`. In training μ_s and v_s are those of the batch's rows of scenario s, and
//! gradients flow through them; predictions use running averages, so that a row's depends on that row alone.

use crate::backend::{Backend, Groups, Mat, MatMut, Write};
use crate::error::Result;
use crate::model::{Builder, Cx, Grads};
use crate::params::{Flat, Init, ParamId, Tensor};

/// ε: the smallest variance that counts.
const EPS: f64 = 1e-5;
/// Share of the running averages that a step keeps.
const MOMENTUM: f64 = 0.9;

/// The normalization and its tensors.
#[derive(Clone, Debug)]
pub struct PartitionedNorm {
    weight: ParamId,             // γ, [n]
    bias: ParamId,               // β, [n]
    weight_by_scenario: ParamId, // γ_s, [S, n]
    bias_by_scenario: ParamId,   // β_s, [S, n]
    mean: ParamId,               // running, [S, n]
    var: ParamId,                // running, [S, n]
    sums: ParamId,               // derived: Σ (x − c), [S, n]
    squares: ParamId,            // derived: Σ (x − c)², [S, n]
    d_y: ParamId,                // derived: Σ d_y, [S, n]
    d_scale: ParamId,            // derived: Σ d_y ⊙ x̂, [S, n]
    scenarios: usize,
    width: usize, // n
}

/// Statistics in use, and the affine map after them.
#[derive(Debug)]
pub struct PartitionedNormPrepared<B: Backend> {
    mean: Tensor<B>,    // μ_s, [S, n]
    inv_std: Tensor<B>, // 1/√(v_s + ε), [S, n]
    scale: Tensor<B>,   // γ γ_s, [S, n]
    shift: Tensor<B>,   // β + β_s, [S, n]
    gain: Tensor<B>,    // inv_std ⊙ scale, [S, n]
    running: [Tensor<B>; 2],
}

/// Normalized input and sums of one block.
#[derive(Debug)]
pub struct PartitionedNormActivations<B: Backend> {
    x_hat: Tensor<B>, // [rows, n]
    sums: Tensor<B>,  // of a block, [S, n]
    squares: Tensor<B>,
}

/// Sums over the batch, by which gradients flow through the statistics.
#[derive(Debug)]
pub struct PartitionedNormScratch<B: Backend> {
    d_y: Tensor<B>,     // [S, n]
    d_scale: Tensor<B>, // [S, n]
}

impl PartitionedNorm {
    /// `{name}.weight` and so on for `width` columns; starts as the plain normalization.
    pub fn new(build: &mut Builder, name: &str, width: usize) -> Self {
        let s = build.scenarios();
        let Builder { params, derived, running, .. } = build;
        let own = |part: &str| format!("{name}.{part}");
        let shape = [s, width];
        let mut sum = |part: &str| derived.add(own(part), &shape, Init::Zero);
        let [sums, squares, d_y, d_scale] = ["sums", "squares", "d_y", "d_scale"].map(&mut sum);
        Self {
            weight: params.add(own("weight"), &[width], Init::One),
            bias: params.add(own("bias"), &[width], Init::Zero),
            weight_by_scenario: params.add(own("by_scenario.weight"), &shape, Init::One),
            bias_by_scenario: params.add(own("by_scenario.bias"), &shape, Init::Zero),
            mean: running.add(own("mean"), &shape, Init::Zero),
            var: running.add(own("var"), &shape, Init::One),
            sums,
            squares,
            d_y,
            d_scale,
            scenarios: s,
            width,
        }
    }

    /// Room for statistics and the affine map.
    pub fn alloc<B: Backend>(&self, be: &B, training: bool) -> Result<PartitionedNormPrepared<B>> {
        let room = |rows: usize| Tensor::new(be, rows, self.width);
        let (s, back) = (self.scenarios, if training { self.scenarios } else { 0 });
        Ok(PartitionedNormPrepared {
            mean: room(s)?,
            inv_std: room(s)?,
            scale: room(s)?,
            shift: room(s)?,
            gain: room(back)?,
            running: [room(back)?, room(back)?],
        })
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(
        &self,
        be: &B,
        rows: usize,
        training: bool,
    ) -> Result<PartitionedNormActivations<B>> {
        let s = if training { self.scenarios } else { 0 };
        let room = |rows: usize| Tensor::new(be, rows, self.width);
        Ok(PartitionedNormActivations { x_hat: room(rows)?, sums: room(s)?, squares: room(s)? })
    }

    /// Memory of [`PartitionedNorm::finish`].
    pub fn scratch<B: Backend>(&self, be: &B) -> Result<PartitionedNormScratch<B>> {
        let room = || Tensor::new(be, self.scenarios, self.width);
        Ok(PartitionedNormScratch { d_y: room()?, d_scale: room()? })
    }

    /// The running statistics, and the affine map.
    pub fn prepare<B: Backend>(
        &self,
        be: &B,
        p: &mut PartitionedNormPrepared<B>,
        params: &Flat<B>,
        running: &Flat<B>,
    ) {
        let s = self.scenarios;
        let (mean, inv_std) = (p.mean.mat_mut(s), p.inv_std.mat_mut(s));
        be.running_moments(mean, inv_std, running.mat(self.mean), running.mat(self.var), EPS);
        let (weight, by_scenario) = (params.mat(self.weight), params.mat(self.weight_by_scenario));
        be.mul(p.scale.mat_mut(s), Write::Set, by_scenario, weight);
        be.copy(p.shift.mat_mut(s), Write::Set, params.mat(self.bias_by_scenario));
        be.add_row(p.shift.mat_mut(s), params.mat(self.bias));
    }

    /// Adds a block's sums, from the running mean that [`PartitionedNorm::prepare`] left.
    pub fn measure<B: Backend>(
        &self,
        cx: Cx<B>,
        derived: &mut Flat<B>,
        act: &mut PartitionedNormActivations<B>,
        x: Mat<B::Buf>,
        p: &PartitionedNormPrepared<B>,
    ) {
        let (be, s) = (cx.be, self.scenarios);
        be.fill(act.sums.mat_mut(s), 0.0);
        be.fill(act.squares.mat_mut(s), 0.0);
        let (sums, squares) = (act.sums.mat_mut(s), act.squares.mat_mut(s));
        be.deviations(sums, squares, x, p.mean.mat(s), cx.x.groups);
        be.copy(derived.mat_mut(self.sums), Write::Add, act.sums.mat(s));
        be.copy(derived.mat_mut(self.squares), Write::Add, act.squares.mat(s));
    }

    /// The statistics of the batch; moves the running ones only when `moving`.
    pub fn settle<B: Backend>(
        &self,
        be: &B,
        p: &mut PartitionedNormPrepared<B>,
        derived: &Flat<B>,
        running: &mut Flat<B>,
        batch: &B::Ids,
        moving: bool,
    ) {
        let s = self.scenarios;
        let PartitionedNormPrepared { mean, inv_std, scale, gain, running: [run_mean, run_var], .. } = p;
        be.copy(run_mean.mat_mut(s), Write::Set, running.mat(self.mean));
        be.copy(run_var.mat_mut(s), Write::Set, running.mat(self.var));
        let (sums, squares) = (derived.mat(self.sums), derived.mat(self.squares));
        be.moments(
            mean.mat_mut(s),
            inv_std.mat_mut(s),
            run_mean.mat_mut(s),
            run_var.mat_mut(s),
            sums,
            squares,
            batch,
            EPS,
            if moving { MOMENTUM } else { 1.0 },
        );
        be.copy(running.mat_mut(self.mean), Write::Set, run_mean.mat(s));
        be.copy(running.mat_mut(self.var), Write::Set, run_var.mat(s));
        be.mul(gain.mat_mut(s), Write::Set, inv_std.mat(s), scale.mat(s));
    }

    /// y `[rows, n]` of x.
    pub fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        y: MatMut<B::Buf>,
        act: &mut PartitionedNormActivations<B>,
        x: Mat<B::Buf>,
        p: &PartitionedNormPrepared<B>,
    ) {
        let s = self.scenarios;
        self.normalize(cx, act, x, p);
        cx.be.affine(y, act.x_hat.mat(x.rows), p.scale.mat(s), p.shift.mat(s), cx.x.groups);
    }

    fn normalize<B: Backend>(
        &self,
        cx: Cx<B>,
        act: &mut PartitionedNormActivations<B>,
        x: Mat<B::Buf>,
        p: &PartitionedNormPrepared<B>,
    ) {
        let s = self.scenarios;
        cx.be.normalize(act.x_hat.mat_mut(x.rows), x, p.mean.mat(s), p.inv_std.mat(s), cx.x.groups);
    }

    /// Adds the sums of d_y, from which [`PartitionedNorm::finish`] and [`PartitionedNorm::correct`] make all gradients.
    pub fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        derived: &mut Flat<B>,
        d_y: Mat<B::Buf>,
        act: &PartitionedNormActivations<B>,
    ) {
        let rows = Groups::Rows(cx.x.groups);
        cx.be.col_sum(derived.mat_mut(self.d_y), Write::Add, d_y, rows);
        cx.be.col_dot(derived.mat_mut(self.d_scale), Write::Add, d_y, act.x_hat.mat(d_y.rows), rows);
    }

    /// Adds to the gradients of the parameters. Once per step.
    pub fn finish<B: Backend>(
        &self,
        be: &B,
        Grads { dense, derived }: &mut Grads<B>,
        scratch: &mut PartitionedNormScratch<B>,
        params: &Flat<B>,
    ) {
        let (s, all) = (self.scenarios, Groups::One(0));
        let (d_y, d_scale) = (derived.mat(self.d_y), derived.mat(self.d_scale));
        // forward: y = x̂ ⊙ (γ γ_s) + (β + β_s)
        be.copy(dense.mat_mut(self.bias_by_scenario), Write::Add, d_y);
        be.col_sum(dense.mat_mut(self.bias), Write::Add, d_y, all);
        let (weight, by_scenario) = (params.mat(self.weight), params.mat(self.weight_by_scenario));
        be.mul(dense.mat_mut(self.weight_by_scenario), Write::Add, d_scale, weight);
        be.col_dot(dense.mat_mut(self.weight), Write::Add, d_scale, by_scenario, all);
        be.copy(scratch.d_y.mat_mut(s), Write::Set, d_y);
        be.copy(scratch.d_scale.mat_mut(s), Write::Set, d_scale);
    }

    /// From d_y to d_x of a block, in place.
    pub fn correct<B: Backend>(
        &self,
        cx: Cx<B>,
        d: MatMut<B::Buf>,
        act: &mut PartitionedNormActivations<B>,
        x: Mat<B::Buf>,
        p: &PartitionedNormPrepared<B>,
        scratch: &PartitionedNormScratch<B>,
    ) {
        let s = self.scenarios;
        self.normalize(cx, act, x, p);
        // With N rows of s: d_x = γ γ_s/√(v_s + ε) · (d_y − Σ d_y / N − x̂ Σ d_y ⊙ x̂ / N)
        let (sum_d, sum_dx) = (scratch.d_y.mat(s), scratch.d_scale.mat(s));
        let (x_hat, gain) = (act.x_hat.mat(x.rows), p.gain.mat(s));
        cx.be.norm_bwd(d, x_hat, gain, sum_d, sum_dx, cx.x.groups, cx.x.inputs.groups());
    }
}
