//! Linear maps with weights by scenario, and towers of them.
//!
//! The rows of a block are grouped by scenario, so a layer is one ragged product: no row meets another scenario's weights.

use crate::backend::{Backend, Epilogue, Groups, Layout, Mat, MatMut, Products, Write};
use crate::error::Result;
use crate::model::Cx;
use crate::params::{Flat, Init, ParamId, ParamLayout, Tensor};

/// y = x W_sᵀ + b_s for the rows of scenario s, then ReLU if asked; or y = x W_sᵀ.
#[derive(Clone, Debug)]
pub struct ScenarioLinear {
    weight: ParamId,       // [S, out, in]
    bias: Option<ParamId>, // [S, out]
    scenarios: usize,
    inputs: usize,
    outputs: usize,
    relu: bool,
}

impl ScenarioLinear {
    /// Weights start normal with variance 2 / in, biases at 0.
    pub fn new(
        params: &mut ParamLayout,
        name: &str,
        scenarios: usize,
        [inputs, outputs]: [usize; 2],
        relu: bool,
    ) -> Self {
        let linear = Self::without_bias(params, name, scenarios, [inputs, outputs]);
        let bias = params.add(format!("{name}.bias"), &[scenarios, outputs], Init::Zero);
        Self { bias: Some(bias), relu, ..linear }
    }

    /// y = x W_sᵀ, with weights as those of [`ScenarioLinear::new`].
    pub fn without_bias(
        params: &mut ParamLayout,
        name: &str,
        scenarios: usize,
        [inputs, outputs]: [usize; 2],
    ) -> Self {
        let init = Init::Normal((2.0 / inputs as f64).sqrt());
        let weight = params.add(format!("{name}.weight"), &[scenarios, outputs, inputs], init);
        Self { weight, bias: None, scenarios, inputs, outputs, relu: false }
    }

    /// Room for the packed weights.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<B::Packed> {
        be.alloc_packed(self.scenarios, self.outputs, self.inputs, used)
    }

    /// Packs the weights.
    pub fn pack<B: Backend>(&self, be: &B, w: &mut B::Packed, params: &Flat<B>) {
        be.pack(w, params.mat(self.weight), Layout::OutIn);
    }

    /// y = ReLU?(x W_sᵀ + b_s).
    pub fn forward<B: Backend>(&self, cx: Cx<B>, y: MatMut<B::Buf>, x: Mat<B::Buf>, w: &B::Packed) {
        let then = Epilogue { bias: self.bias.map(|bias| cx.params.mat(bias)), relu: self.relu };
        cx.be.linear(y, x, w, Groups::Rows(cx.x.groups), then);
    }

    /// Adds to the gradients of the parameters, and writes that of x: before the ReLU that made it, if `relu` is x. `d_y` is the
    /// gradient before this layer's ReLU.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        (d_x, write): (MatMut<B::Buf>, Write),
        relu: Option<Mat<B::Buf>>,
        d_y: Mat<B::Buf>,
        x: Mat<B::Buf>,
        w: &B::Packed,
    ) {
        // forward: y = x W_sᵀ + b_s, so d_W_s = d_yᵀ x and d_b_s = Σ d_y over the rows of s, d_x = d_y W_s
        let rows = Groups::Rows(cx.x.groups);
        let d_w = grads.mat_as_mut(self.weight, self.scenarios * self.outputs);
        cx.be.linear_dw(d_w, Write::Add, d_y, x, rows);
        if let Some(bias) = self.bias {
            cx.be.col_sum(grads.mat_mut(bias), Write::Add, d_y, rows);
        }
        cx.be.linear_dx(d_x, write, d_y, w, rows, relu);
    }
}

/// T_s: hidden layers with ReLU (+ dropout), then one logit, all by scenario.
#[derive(Clone, Debug)]
pub struct ScenarioTowers {
    layers: Vec<ScenarioLinear>,
    dropout: f64,
    first_site: u32,
}

/// Hidden outputs and their gradients.
#[derive(Debug)]
pub struct ScenarioTowersActivations<B: Backend> {
    hidden: Vec<Tensor<B>>,   // output of layer l before the last, [rows, out]
    d_hidden: Vec<Tensor<B>>, // the same
}

impl ScenarioTowers {
    /// `{name}.{l}`; dropout sites are numbered from `first_site` on.
    pub fn new(
        params: &mut ParamLayout,
        name: &str,
        scenarios: usize,
        inputs: usize,
        hidden: &[usize],
        (dropout, first_site): (f64, u32),
    ) -> Self {
        let mut tower = Self::without_logit(params, name, scenarios, inputs, hidden, (dropout, first_site));
        let last = [hidden.last().copied().unwrap_or(inputs), 1];
        let name = format!("{name}.{}", hidden.len());
        tower.layers.push(ScenarioLinear::new(params, &name, scenarios, last, false));
        tower
    }

    /// The hidden layers alone, of which there is at least one: experts of the scenario. The output stands for the logits below,
    /// and its gradient is that before the last ReLU.
    pub fn without_logit(
        params: &mut ParamLayout,
        name: &str,
        scenarios: usize,
        inputs: usize,
        hidden: &[usize],
        (dropout, first_site): (f64, u32),
    ) -> Self {
        let mut inputs = inputs;
        let layer = |(l, &width): (usize, &usize)| {
            let shape = [std::mem::replace(&mut inputs, width), width];
            ScenarioLinear::new(params, &format!("{name}.{l}"), scenarios, shape, true)
        };
        Self { layers: hidden.iter().enumerate().map(layer).collect(), dropout, first_site }
    }

    /// Room for the packed weights.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<Vec<B::Packed>> {
        self.layers.iter().map(|l| l.alloc(be, used)).collect()
    }

    /// Packs the weights.
    pub fn pack<B: Backend>(&self, be: &B, packed: &mut [B::Packed], params: &Flat<B>) {
        self.layers.iter().zip(packed).for_each(|(l, w)| l.pack(be, w, params));
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(
        &self,
        be: &B,
        rows: usize,
        training: bool,
    ) -> Result<ScenarioTowersActivations<B>> {
        let hidden = |rows: usize| {
            let inner = self.layers[..self.layers.len() - 1].iter();
            inner.map(|l| Tensor::new(be, rows, l.outputs)).collect::<Result<_>>()
        };
        Ok(ScenarioTowersActivations {
            hidden: hidden(rows)?,
            d_hidden: hidden(if training { rows } else { 0 })?,
        })
    }

    /// Logits `[rows, 1]` of x `[rows, in]`.
    pub fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        mut logits: MatMut<B::Buf>,
        act: &mut ScenarioTowersActivations<B>,
        x: Mat<B::Buf>,
        packed: &[B::Packed],
    ) {
        for (l, layer) in self.layers.iter().enumerate() {
            let (before, after) = act.hidden.split_at_mut(l);
            let x = before.last().map_or(x, |h| h.mat(x.rows));
            let mut y = after.first_mut().map_or(logits.again(), |h| h.mat_mut(x.rows));
            layer.forward(cx, y.again(), x, &packed[l]);
            self.drop(cx, l, y);
        }
    }

    fn drop<B: Backend>(&self, cx: Cx<B>, layer: usize, x: MatMut<B::Buf>) {
        if self.layers[layer].relu {
            cx.x.drop(cx.be, x, self.dropout, self.first_site + layer as u32);
        }
    }

    /// Adds to the gradients, and writes that of x: before the ReLU that made it, if `relu` is x.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        (mut d_x, write): (MatMut<B::Buf>, Write),
        (x, relu): (Mat<B::Buf>, Option<Mat<B::Buf>>),
        mut d_logits: MatMut<B::Buf>,
        act: &mut ScenarioTowersActivations<B>,
        packed: &[B::Packed],
    ) {
        let n = x.rows;
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let (before, after) = act.d_hidden.split_at_mut(l);
            let mut d_y = after.first_mut().map_or(d_logits.again(), |d| d.mat_mut(n));
            // A dropped output is 0, which `linear_dx` took for the ReLU's 0: only dropout's factor is missing.
            self.drop(cx, l, d_y.again());
            let (d_in, x, relu) = match before.last_mut() {
                Some(d) => {
                    let h = act.hidden[l - 1].mat(n);
                    ((d.mat_mut(n), Write::Set), h, Some(h))
                }
                None => ((d_x.again(), write), x, relu),
            };
            layer.backward(cx, grads, d_in, relu, d_y.as_mat(), x, &packed[l]);
        }
    }
}
