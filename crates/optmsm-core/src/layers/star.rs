//! Linear maps whose weight is a shared one times one of the scenario: y = ReLU?(x (W ⊙ W_s)ᵀ + b + b_s).
//!
//! Sheng et al., CIKM 2021, the star topology. The products are made once per step and packed as S groups.

use crate::backend::{Backend, Epilogue, Groups, Layout, Mat, MatMut, Products, Write};
use crate::error::Result;
use crate::model::{Builder, Cx, Grads};
use crate::params::{Flat, Init, ParamId, Tensor};

/// One layer.
#[derive(Clone, Debug)]
pub struct StarLinear {
    weight: ParamId,             // W, [out, in]
    bias: ParamId,               // b, [out]
    weight_by_scenario: ParamId, // W_s, [S, out, in]
    bias_by_scenario: ParamId,   // b_s, [S, out]
    d_weight: ParamId,           // derived: of W ⊙ W_s, [S, out, in]
    d_bias: ParamId,             // derived: of b + b_s, [S, out]
    scenarios: usize,
    inputs: usize,
    outputs: usize,
    relu: bool,
}

/// W ⊙ W_s and b + b_s.
#[derive(Debug)]
pub struct StarLinearPrepared<B: Backend> {
    product: Tensor<B>, // [S, out·in]
    packed: B::Packed,
    bias: Tensor<B>, // [S, out]
}

impl StarLinear {
    /// W starts normal with variance 2 / in, W_s at 1, biases at 0.
    pub fn new(build: &mut Builder, name: &str, [inputs, outputs]: [usize; 2], relu: bool) -> Self {
        let s = build.scenarios();
        let Builder { params, derived, once, .. } = build;
        let init = Init::Normal((2.0 / inputs as f64).sqrt());
        let own = |part: &str| format!("{name}.{part}");
        let layer = Self {
            weight: params.add(own("weight"), &[outputs, inputs], init),
            bias: params.add(own("bias"), &[outputs], Init::Zero),
            weight_by_scenario: params.add(own("by_scenario.weight"), &[s, outputs, inputs], Init::One),
            bias_by_scenario: params.add(own("by_scenario.bias"), &[s, outputs], Init::Zero),
            d_weight: derived.add(own("weight"), &[s, outputs, inputs], Init::Zero),
            d_bias: derived.add(own("bias"), &[s, outputs], Init::Zero),
            scenarios: s,
            inputs,
            outputs,
            relu,
        };
        once.extend([layer.weight, layer.bias, layer.weight_by_scenario, layer.bias_by_scenario]);
        layer
    }

    /// W_s, `[S, out, in]`.
    pub fn weight_by_scenario(&self) -> ParamId {
        self.weight_by_scenario
    }

    /// Columns of the output.
    pub fn width(&self) -> usize {
        self.outputs
    }

    /// Room for the products.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<StarLinearPrepared<B>> {
        let s = self.scenarios;
        Ok(StarLinearPrepared {
            product: Tensor::new(be, s, self.outputs * self.inputs)?,
            packed: be.alloc_packed(s, self.outputs, self.inputs, used)?,
            bias: Tensor::new(be, s, self.outputs)?,
        })
    }

    /// Multiplies, adds and packs.
    pub fn prepare<B: Backend>(&self, be: &B, p: &mut StarLinearPrepared<B>, params: &Flat<B>) {
        let s = self.scenarios;
        let (w, w_s) = (params.mat_as(self.weight, 1), params.mat_as(self.weight_by_scenario, s));
        be.mul(p.product.mat_mut(s), Write::Set, w_s, w);
        let rows = Mat::new(p.product.buf(), s * self.outputs, self.inputs);
        be.pack(&mut p.packed, rows, Layout::OutIn);
        be.copy(p.bias.mat_mut(s), Write::Set, params.mat(self.bias_by_scenario));
        be.add_row(p.bias.mat_mut(s), params.mat(self.bias));
    }

    /// y `[rows, out]` of x `[rows, in]`.
    pub fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        y: MatMut<B::Buf>,
        x: Mat<B::Buf>,
        p: &StarLinearPrepared<B>,
    ) {
        let then = Epilogue { bias: Some(p.bias.mat(self.scenarios)), relu: self.relu };
        cx.be.linear(y, x, &p.packed, Groups::Rows(cx.x.groups), then);
    }

    /// Adds to the gradients of W ⊙ W_s and b + b_s, and sets that of x: before the ReLU that made it, if `relu` is x. `d_y` is
    /// the gradient before this layer's ReLU.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        derived: &mut Flat<B>,
        d_x: MatMut<B::Buf>,
        relu: Option<Mat<B::Buf>>,
        d_y: Mat<B::Buf>,
        x: Mat<B::Buf>,
        p: &StarLinearPrepared<B>,
    ) {
        let rows = Groups::Rows(cx.x.groups);
        let d_w = derived.mat_as_mut(self.d_weight, self.scenarios * self.outputs);
        cx.be.linear_dw(d_w, Write::Add, d_y, x, rows);
        cx.be.col_sum(derived.mat_mut(self.d_bias), Write::Add, d_y, rows);
        cx.be.linear_dx(d_x, Write::Set, d_y, &p.packed, rows, relu);
    }

    /// Sets the gradients of the parameters. Once per step.
    pub fn finish<B: Backend>(&self, be: &B, Grads { dense, derived }: &mut Grads<B>, params: &Flat<B>) {
        let (s, all) = (self.scenarios, Groups::One(0));
        let (w, w_s) = (params.mat_as(self.weight, 1), params.mat_as(self.weight_by_scenario, s));
        let (d_w, d_b) = (derived.mat_as(self.d_weight, s), derived.mat(self.d_bias));
        // forward: W ⊙ W_s and b + b_s
        be.mul(dense.mat_as_mut(self.weight_by_scenario, s), Write::Set, d_w, w);
        be.col_dot(dense.mat_as_mut(self.weight, 1), Write::Set, d_w, w_s, all);
        be.copy(dense.mat_mut(self.bias_by_scenario), Write::Set, d_b);
        be.col_sum(dense.mat_mut(self.bias), Write::Set, d_b, all);
    }
}
