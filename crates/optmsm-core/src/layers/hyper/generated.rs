//! One generated layer: its parameters, and where the condition parts the ways.

use super::left::{Left, LeftPrepared};
use super::{Hyper, HyperActivations, HyperPrepared};
use crate::backend::{Backend, Groups, Layout, Mat, MatMut, Products, Write};
use crate::error::Result;
use crate::layers::Linear;
use crate::model::{Builder, Cx, Grads};
use crate::params::{Flat, Init, ParamId, Tensor};

/// y = ReLU?(h W(u)ᵀ + b(u)), or with rank r ReLU?(((h P) C(u)) Q + b(u)): generates W or C, and b.
#[derive(Clone, Debug)]
pub struct GeneratedLinear {
    /// t → r·r or out·in: A, a.
    pub(super) weight: Linear,
    /// t → out: D, d.
    pub(super) shift: Linear,
    /// P `[in, r]` and Q `[r, out]`, when r > 0.
    pub(super) factors: Option<(Left, ParamId)>,
    /// Gradients of what a step generated, if scenarios are the condition: C_s Q `[S, r·out]` or W_s `[S, out·in]`, and b_s
    /// `[S, out]`.
    pub(super) d_generated: Option<(ParamId, ParamId)>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) rank: usize,
    pub(super) relu: bool,
    pub(super) scenarios: usize, // 1 where all rows have the same weights
    pub(super) shared: bool,
    trunk: usize, // t
}

/// Packed and generated weights of one layer.
#[derive(Debug)]
pub struct GeneratedPrepared<B: Backend> {
    /// A: one group under `scenario`; under `instance` r groups of `[r, t]`, or out groups of `[in, t]`.
    pub(super) weight: B::Packed,
    pub(super) shift: B::Packed,
    pub(super) left: Option<LeftPrepared<B>>,
    pub(super) right: B::Packed,
    /// `scenario`: S groups of C_s Q `[r, out]`, or W_s `[out, in]`.
    pub(super) generated: B::Packed,
    pub(super) core: Tensor<B>,    // [S, r·r] or [S, out·in]
    pub(super) product: Tensor<B>, // C_s Q, [S, r·out]
    pub(super) bias: Tensor<B>,    // [S, out]
}

/// Activations of one layer and one block.
#[derive(Debug)]
pub struct GeneratedActivations<B: Backend> {
    pub(super) a: Tensor<B>,      // h P, [rows, r]
    pub(super) d_a: Tensor<B>,    // [rows, r]
    pub(super) c: Tensor<B>,      // instance: a C, [rows, r]
    pub(super) d_c: Tensor<B>,    // instance: [rows, r]
    pub(super) column: Tensor<B>, // instance: one generated row, [rows, r] or [rows, in]
    pub(super) shift: Tensor<B>,  // instance: b(u), [rows, out]
}

impl GeneratedLinear {
    /// `{name}.core`, `.left` and `.right`, or `{name}.full` with rank 0, and `{name}.shift`. The rank is at most that of a
    /// layer `[inputs, outputs]`. If scenarios are the condition, lanes sum the gradients of the generated weights.
    pub fn new(
        build: &mut Builder,
        name: &str,
        [inputs, outputs]: [usize; 2],
        relu: bool,
        hyper: &Hyper,
    ) -> Self {
        Self::overparameterized(build, name, [inputs, outputs], relu, hyper, 0)
    }

    /// The same, with `k` above 0 as the inner width of `{name}.left.outer` and `{name}.left.inner`, the product of which is P.
    pub fn overparameterized(
        build: &mut Builder,
        name: &str,
        [inputs, outputs]: [usize; 2],
        relu: bool,
        hyper: &Hyper,
        k: usize,
    ) -> Self {
        let (t, rank) = (hyper.config.trunk, hyper.config.rank.min(inputs).min(outputs));
        let std = |fan_in: usize| Init::Normal((2.0 / fan_in as f64).sqrt());
        let own = |part: &str| format!("{name}.{part}");
        let (weight, factors) = if rank > 0 {
            let (shape, init) = ([t, rank * rank], [std(t * rank), Init::Identity(rank)]);
            let core = Linear::with_init(&mut build.params, &own("core"), shape, false, init[0], init[1]);
            let left = Left::new(build, &own("left"), [inputs, rank], k);
            let right = build.params.add(own("right"), &[rank, outputs], std(rank));
            (core, Some((left, right)))
        } else {
            let shape = [t, outputs * inputs];
            let init = [std(t * inputs), Init::Zero];
            (Linear::with_init(&mut build.params, &own("full"), shape, false, init[0], init[1]), None)
        };
        let (scenarios, Builder { params, derived, once, .. }) = (hyper.scenarios, build);
        let shared = hyper.shared();
        let init = Init::Normal((0.2 / t as f64).sqrt());
        let shift = Linear::with_init(params, &own("shift"), [t, outputs], false, init, Init::Zero);
        let rows = if rank > 0 { rank } else { inputs };
        let d_generated = (!hyper.by_row()).then(|| {
            once.extend(weight.parameters().into_iter().chain(shift.parameters()));
            once.extend(factors.map(|(_, right)| right));
            let weight = derived.add(own("generated"), &[scenarios, rows * outputs], Init::Zero);
            (weight, derived.add(own("bias"), &[scenarios, outputs], Init::Zero))
        });
        Self { weight, shift, factors, d_generated, inputs, outputs, rank, relu, scenarios, shared, trunk: t }
    }

    /// Columns of h.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Rows and columns of a generated matrix as stored: `[r, r]`, or `[out, in]`.
    pub(super) fn generated_shape(&self) -> (usize, usize) {
        if self.rank > 0 { (self.rank, self.rank) } else { (self.outputs, self.inputs) }
    }

    /// Room for what is made once per step.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<GeneratedPrepared<B>> {
        let scenario = self.d_generated.is_some();
        let s = if scenario { self.scenarios } else { 0 };
        let (rows, cols) = self.generated_shape();
        let weight = match scenario {
            true => self.weight.alloc(be, used)?,
            false => be.alloc_packed(rows, cols, self.trunk, used)?,
        };
        let inputs = if self.rank > 0 { self.rank } else { self.inputs };
        let generated = be.alloc_packed(s, self.outputs, inputs, used)?;
        Ok(GeneratedPrepared {
            weight,
            shift: self.shift.alloc(be, used)?,
            left: self.factors.map(|(left, _)| left.alloc(be, used)).transpose()?,
            right: be.alloc_packed(1, self.outputs, self.rank, used)?,
            generated,
            core: Tensor::new(be, s, rows * cols)?,
            product: Tensor::new(be, s, self.rank * self.outputs)?,
            bias: Tensor::new(be, s, self.outputs)?,
        })
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(
        &self,
        be: &B,
        rows: usize,
        training: bool,
    ) -> Result<GeneratedActivations<B>> {
        let own = if self.d_generated.is_some() { 0 } else { rows };
        let grad = |rows: usize| if training { rows } else { 0 };
        let r = self.rank;
        Ok(GeneratedActivations {
            a: Tensor::new(be, rows, r)?,
            d_a: Tensor::new(be, grad(rows), r)?,
            c: Tensor::new(be, own, r)?,
            d_c: Tensor::new(be, grad(own), r)?,
            column: Tensor::new(be, own, self.generated_shape().1)?,
            shift: Tensor::new(be, own, self.outputs)?,
        })
    }

    /// Memory of [`GeneratedLinear::finish`]: ∂C_s `[S, r·r]`.
    pub fn scratch<B: Backend>(&self, be: &B) -> Result<Tensor<B>> {
        let scenarios = if self.d_generated.is_some() { self.scenarios } else { 0 };
        Tensor::new(be, scenarios, self.rank * self.rank)
    }

    /// Packs the parameters.
    pub fn pack<B: Backend>(&self, be: &B, p: &mut GeneratedPrepared<B>, params: &Flat<B>) {
        // The rows of A are in the order that both groupings need.
        self.weight.pack(be, &mut p.weight, params);
        self.shift.pack(be, &mut p.shift, params);
        if let (Some((left, right)), Some(own)) = (self.factors, &mut p.left) {
            left.pack(be, own, params);
            be.pack(&mut p.right, params.mat(right), Layout::InOut);
        }
    }

    /// After [`Hyper::prepare`] and [`GeneratedLinear::pack`]: if scenarios are the condition, generates their weights.
    pub fn generate<B: Backend>(
        &self,
        be: &B,
        p: &mut GeneratedPrepared<B>,
        hyper: &HyperPrepared<B>,
        params: &Flat<B>,
    ) {
        if self.d_generated.is_some() {
            self.generate_scenarios(be, p, hyper.u.mat(self.scenarios), params);
        }
    }

    /// y `[rows, out]` of h `[rows, in]`, after [`Hyper::forward`].
    pub fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        y: MatMut<B::Buf>,
        act: &mut GeneratedActivations<B>,
        h: Mat<B::Buf>,
        hyper: &HyperActivations<B>,
        p: &GeneratedPrepared<B>,
    ) {
        match self.d_generated {
            Some(_) => self.forward_scenario(cx, y, act, h, p),
            None => self.forward_instance(cx, y, act, h, hyper.u.mat(h.rows), p),
        }
    }

    /// Sets d_h, before the ReLU that made h when `relu` is h; adds to the gradients, or to those of what a step generated, and
    /// to ∂u of rows. `d_y` is the gradient before this layer's ReLU.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        d_h: MatMut<B::Buf>,
        d_y: Mat<B::Buf>,
        act: &mut GeneratedActivations<B>,
        h: (Mat<B::Buf>, Option<Mat<B::Buf>>),
        hyper: &mut HyperActivations<B>,
        p: &GeneratedPrepared<B>,
    ) {
        match self.d_generated {
            Some(generated) => self.backward_scenario(cx, grads, generated, d_h, d_y, act, h, p),
            None => {
                let n = d_y.rows;
                let u = (hyper.u.mat(n), hyper.d_u.mat_mut(n));
                self.backward_instance(cx, grads, d_h, d_y, act, h, u, p);
            }
        }
    }

    /// From the summed gradients of what a step made to those of the parameters and, if scenarios are the condition, writes ∂u
    /// `[S, t]` before its ReLU. Once per step.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn finish<B: Backend>(
        &self,
        be: &B,
        grads: &mut Grads<B>,
        (d_u, write): (&mut Tensor<B>, Write),
        scratch: &mut Tensor<B>,
        hyper: &HyperPrepared<B>,
        p: &GeneratedPrepared<B>,
        params: &Flat<B>,
    ) {
        let s = self.scenarios;
        if let (Some((left, _)), Some(own)) = (self.factors, &p.left) {
            left.finish(be, grads, own, params);
        }
        if let Some(generated) = self.d_generated {
            self.finish_scenarios(be, grads, generated, (d_u.mat_mut(s), write), scratch, hyper.u.mat(s), p);
        }
    }

    /// Which rows have the same weights, where a step generates them.
    pub(super) fn groups<'a, B: Backend>(&self, cx: Cx<'a, B>) -> Groups<'a, B::Ids> {
        if self.shared { Groups::One(0) } else { Groups::Rows(cx.x.groups) }
    }

    /// Rows `i` of A that generate row `i` of the matrix: `[cols, t]`.
    pub(super) fn row_group(&self, i: usize) -> (usize, usize) {
        let cols = self.generated_shape().1;
        (i * cols, cols)
    }

    /// a as `[rows, cols]`: one bias row per generated row.
    pub(super) fn bias_rows<'a, B: Backend>(&self, params: &'a Flat<B>) -> Mat<'a, B::Buf> {
        params.mat_as(self.weight.bias, self.generated_shape().0)
    }
}
