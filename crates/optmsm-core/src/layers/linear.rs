//! Linear maps with an optional ReLU, one or several side by side (docs/derivations.md#linear).

use crate::backend::{Backend, Epilogue, Groups, Layout, Mat, MatMut, Products, Write};
use crate::error::Result;
use crate::model::FirstLayer;
use crate::params::{Flat, Init, ParamId, ParamLayout};

/// y = x Wᵀ + b, then ReLU if asked; `groups` of them read and write their own columns.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`, or `[K, out, in]`.
    pub weight: ParamId,
    /// `[out]`, or `[K, out]`.
    pub bias: ParamId,
    groups: usize,
    outputs: usize,
    inputs: usize,
    relu: bool,
}

impl Linear {
    /// One map; weights start normal with variance 2 / in, the bias at 0.
    pub fn new(params: &mut ParamLayout, name: &str, inputs: usize, outputs: usize, relu: bool) -> Self {
        let init = Init::Normal((2.0 / inputs as f64).sqrt());
        Self::with_init(params, name, [inputs, outputs], relu, init, Init::Zero)
    }

    /// One map with its own start.
    pub fn with_init(
        params: &mut ParamLayout,
        name: &str,
        [inputs, outputs]: [usize; 2],
        relu: bool,
        weight: Init,
        bias: Init,
    ) -> Self {
        Self {
            weight: params.add(format!("{name}.weight"), &[outputs, inputs], weight),
            bias: params.add(format!("{name}.bias"), &[outputs], bias),
            groups: 1,
            outputs,
            inputs,
            relu,
        }
    }

    /// `count` maps followed by ReLU. When all read the same `input` they are one map to `count · outputs`.
    pub fn side_by_side(
        params: &mut ParamLayout,
        name: &str,
        count: usize,
        [inputs, outputs]: [usize; 2],
        same_input: bool,
    ) -> Self {
        let init = Init::Normal((2.0 / inputs as f64).sqrt());
        let (groups, wide) = if same_input { (1, count * outputs) } else { (count, outputs) };
        Self {
            weight: params.add(format!("{name}.weight"), &[count, outputs, inputs], init),
            bias: params.add(format!("{name}.bias"), &[count, outputs], Init::Zero),
            groups,
            outputs: wide,
            inputs,
            relu: true,
        }
    }

    /// The same with no ReLU behind it.
    pub fn without_relu(self) -> Self {
        Self { relu: false, ..self }
    }

    /// Columns of y.
    pub fn width(&self) -> usize {
        self.groups * self.outputs
    }

    /// As the map that reads a model's fields.
    pub fn first(&self) -> FirstLayer {
        FirstLayer { weight: self.weight, bias: self.bias, outputs: self.width(), folds: None }
    }

    /// Its parameters.
    pub fn parameters(&self) -> [ParamId; 2] {
        [self.weight, self.bias]
    }

    /// Whether a ReLU follows.
    pub fn relu(&self) -> bool {
        self.relu
    }

    /// Room for the packed weight.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<B::Packed> {
        be.alloc_packed(self.groups, self.outputs, self.inputs, used)
    }

    /// Packs the weight.
    pub fn pack<B: Backend>(&self, be: &B, w: &mut B::Packed, params: &Flat<B>) {
        be.pack(w, params.mat(self.weight), Layout::OutIn);
    }

    fn by<I>(&self) -> Groups<'static, I> {
        if self.groups == 1 { Groups::One(0) } else { Groups::Columns }
    }

    /// y = ReLU?(x Wᵀ + b).
    pub fn forward<B: Backend>(
        &self,
        be: &B,
        y: MatMut<B::Buf>,
        x: Mat<B::Buf>,
        w: &B::Packed,
        params: &Flat<B>,
    ) {
        let bias = Some(params.mat_as(self.bias, self.groups));
        be.linear(y, x, w, self.by(), Epilogue { bias, relu: self.relu });
    }

    /// The gradients of weight and bias; `d_y` as in [`Linear::backward`].
    pub fn parameters_backward<B: Backend>(
        &self,
        be: &B,
        (grads, write): (&mut Flat<B>, Write),
        d_y: Mat<B::Buf>,
        x: Mat<B::Buf>,
    ) {
        let rows = self.groups * self.outputs;
        let d_b = grads.offset(self.bias);
        be.linear_dw_bias(grads.mat_as_mut(self.weight, rows), d_b, write, d_y, x, self.by());
    }

    /// As a linear reader's layer: adds to the gradient of the bias, unless the engine does. `d_y` as in [`Linear::backward`].
    pub fn backward_to_fields<B: Backend>(&self, be: &B, grads: &mut Flat<B>, d_y: Mat<B::Buf>) {
        if be.fields_by_id() {
            be.col_sum(grads.mat_as_mut(self.bias, 1), Write::Add, d_y, Groups::One(0));
        }
    }

    /// Adds to the gradients of the parameters. `d_y` is the gradient before this layer's ReLU; with `relu` (x itself),
    /// d_x is the gradient before the ReLU that made x.
    #[allow(clippy::too_many_arguments)]
    pub fn backward<B: Backend>(
        &self,
        be: &B,
        grads: &mut Flat<B>,
        (d_x, write): (MatMut<B::Buf>, Write),
        relu: Option<Mat<B::Buf>>,
        d_y: Mat<B::Buf>,
        x: Mat<B::Buf>,
        w: &B::Packed,
    ) {
        // forward: y = x Wᵀ + b, so d_W = d_yᵀ x, d_b = Σ_rows d_y, d_x = d_y W
        self.parameters_backward(be, (grads, Write::Add), d_y, x);
        be.linear_dx(d_x, write, d_y, w, self.by(), relu);
    }
}
