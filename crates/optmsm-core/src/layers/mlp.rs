//! Stacks of linear layers, each with a ReLU (+ dropout): encodings (model.md §4), whole networks.

use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::error::Result;
use crate::layers::Linear;
use crate::model::{Cx, FirstLayer, Folding};
use crate::params::{Flat, ParamLayout, Tensor};

/// Linear layers, one after the other; ReLU and dropout follow all of them, except a logit.
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    reads_fields: bool,
    dropout: f64,
    first_site: u32,
}

/// Outputs of the layers before the last, and gradients.
#[derive(Debug)]
pub struct MlpActivations<B: Backend> {
    hidden: Vec<Tensor<B>>,   // [rows, width of layer i]
    d_hidden: Vec<Tensor<B>>, // the same from layer 1 on; empty when only predicting
    d_first: Tensor<B>,       // δ of layer 0, [rows, width of layer 0]; empty where the engine has it
}

impl<B: Backend> MlpActivations<B> {
    /// δ of the first layer `[rows, outputs]`, as [`Mlp::backward_to_constants`] left it.
    pub fn delta(&self, rows: usize) -> Mat<'_, B::Buf> {
        self.d_first.mat(rows)
    }
}

impl Mlp {
    /// One stack: `{name}.{i}`.
    pub fn new(params: &mut ParamLayout, name: &str, inputs: usize, widths: &[usize]) -> Self {
        let mut layers = Vec::new();
        let mut inputs = inputs;
        for (i, &width) in widths.iter().enumerate() {
            layers.push(Linear::new(params, &format!("{name}.{i}"), inputs, width, true));
            inputs = width;
        }
        Self::of(layers)
    }

    /// One stack with a last layer to `outputs` that no ReLU and no dropout follows: 1 for a logit.
    pub fn to_linear(
        params: &mut ParamLayout,
        name: &str,
        inputs: usize,
        hidden: &[usize],
        outputs: usize,
    ) -> Self {
        let mut mlp = Self::new(params, name, inputs, hidden);
        let last = hidden.last().copied().unwrap_or(inputs);
        mlp.layers.push(Linear::new(params, &format!("{name}.{}", hidden.len()), last, outputs, false));
        mlp
    }

    /// The same with no ReLU and no dropout behind the last layer.
    pub fn to_linear_end(mut self) -> Self {
        let last = self.layers.pop().map(Linear::without_relu);
        self.layers.extend(last);
        self
    }

    /// `count` stacks of one shape to a logit each, side by side: of x `[rows, count · inputs]`, in which each has its own
    /// columns, to `[rows, count]`.
    pub fn logits(
        params: &mut ParamLayout,
        name: &str,
        count: usize,
        inputs: usize,
        hidden: &[usize],
    ) -> Self {
        let mut inputs = inputs;
        let layer = |(i, &width): (usize, &usize)| {
            let shape = [std::mem::replace(&mut inputs, width), width];
            let layer = Linear::side_by_side(params, &format!("{name}.{i}"), count, shape, false);
            if i < hidden.len() { layer } else { layer.without_relu() }
        };
        Self::of(hidden.iter().chain(&[1]).enumerate().map(layer).collect())
    }

    /// These layers, each of which reads the one before.
    pub(super) fn of(layers: Vec<Linear>) -> Self {
        Self { layers, reads_fields: false, dropout: 0.0, first_site: 0 }
    }

    /// The same as the layers of a linear reader: [`Mlp::backward_to_fields`] is its way back.
    pub fn reading_fields(self) -> Self {
        Self { reads_fields: true, ..self }
    }

    /// With dropout after every ReLU; its sites are numbered from `first_site` on.
    pub fn with_dropout(self, p: f64, first_site: u32) -> Self {
        Self { dropout: p, first_site, ..self }
    }

    /// The layer that reads the input.
    pub fn first(&self) -> FirstLayer {
        let first = &self.layers[0];
        let folds = self.reads_fields.then(|| Folding { relu: first.relu(), scenario: None });
        FirstLayer { folds, ..first.first() }
    }

    /// Columns of the output.
    pub fn width(&self) -> usize {
        self.layers[self.layers.len() - 1].width()
    }

    /// Packed weights, one per layer.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<Vec<B::Packed>> {
        // The engine takes the gradient back through a layer that reads fields.
        let used = |i: usize| if i == 0 && self.reads_fields { Products::Forward } else { used };
        self.layers.iter().enumerate().map(|(i, l)| l.alloc(be, used(i))).collect()
    }

    /// Packs the weights.
    pub fn pack<B: Backend>(&self, be: &B, packed: &mut [B::Packed], params: &Flat<B>) {
        self.layers.iter().zip(packed).for_each(|(l, w)| l.pack(be, w, params));
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(&self, be: &B, rows: usize, training: bool) -> Result<MlpActivations<B>> {
        let inner = &self.layers[..self.layers.len() - 1];
        let alloc = |l: &Linear| Tensor::new(be, rows, l.width());
        let backward = inner.iter().skip(1).filter(|_| training);
        let own = if training && !self.reads_fields { rows } else { 0 };
        Ok(MlpActivations {
            hidden: inner.iter().map(alloc).collect::<Result<_>>()?,
            d_hidden: backward.map(alloc).collect::<Result<_>>()?,
            d_first: Tensor::new(be, own, self.layers[0].width())?,
        })
    }

    fn drop<B: Backend>(&self, cx: Cx<B>, layer: usize, x: MatMut<B::Buf>) {
        if self.layers[layer].relu() {
            cx.x.drop(cx.be, x, self.dropout, self.first_site + layer as u32);
        }
    }

    /// out = the last layer's output. The first layer's is not made again where the engine has it, of an MLP that reads fields.
    pub fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        mut out: MatMut<B::Buf>,
        act: &mut MlpActivations<B>,
        x: Mat<B::Buf>,
        packed: &[B::Packed],
    ) {
        let last = self.layers.len() - 1;
        let folded = if self.reads_fields { cx.x.folded(self.layers[0].weight) } else { None };
        if let Some(y) = folded.filter(|_| last == 0) {
            cx.be.copy(out.again(), Write::Set, y);
        }
        for (i, layer) in self.layers.iter().enumerate().skip(folded.is_some().into()) {
            let (before, after) = act.hidden.split_at_mut(i);
            let x = match folded.filter(|_| i == 1) {
                Some(y) => y,
                None => before.last().map_or(x, |h| h.mat(x.rows)),
            };
            let mut y = if i == last { out.again() } else { after[0].mat_mut(x.rows) };
            layer.forward(cx.be, y.again(), x, &packed[i], cx.params);
            self.drop(cx, i, y);
        }
    }

    /// Adds to the gradients, except what [`Model::backward`](crate::model::Model::backward) leaves out of a linear reader's
    /// layer; sets `d_first`, the gradient of the first layer's output before the ReLU. `d_out` is the gradient of the output
    /// and is used up. It is already 0 where a ReLU's output is at most 0, unless `relu` is that output.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn backward_to_fields<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        mut d_first: MatMut<B::Buf>,
        d_out: MatMut<B::Buf>,
        relu: Option<Mat<B::Buf>>,
        act: &mut MlpActivations<B>,
        packed: &[B::Packed],
    ) {
        let MlpActivations { hidden, d_hidden, .. } = act;
        self.backward_to_first(cx, grads, d_first.again(), d_out, relu, (hidden, d_hidden), packed);
        self.layers[0].backward_to_fields(cx.be, grads, d_first.as_mat());
    }

    /// Adds to the gradients, and writes that of the input, before the ReLU that made it when `x_relu`. `d_out` and `relu` as in
    /// [`Mlp::backward_to_fields`].
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        d_x: (MatMut<B::Buf>, Write),
        (x, x_relu): (Mat<B::Buf>, bool),
        d_out: MatMut<B::Buf>,
        relu: Option<Mat<B::Buf>>,
        act: &mut MlpActivations<B>,
        packed: &[B::Packed],
    ) {
        let MlpActivations { hidden, d_hidden, d_first } = act;
        let d_first = &mut d_first.mat_mut(x.rows);
        self.backward_to_first(cx, grads, d_first.again(), d_out, relu, (hidden, d_hidden), packed);
        let relu = x_relu.then_some(x);
        self.layers[0].backward(cx.be, grads, d_x, relu, d_first.as_mat(), x, &packed[0]);
    }

    /// Adds to the gradients of the parameters and returns δ of the first layer `[rows, outputs]`: of an input that has no
    /// gradient, or only in part.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn backward_to_constants<'a, B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        x: Mat<B::Buf>,
        d_out: MatMut<B::Buf>,
        relu: Option<Mat<B::Buf>>,
        act: &'a mut MlpActivations<B>,
        packed: &[B::Packed],
    ) -> Mat<'a, B::Buf> {
        let MlpActivations { hidden, d_hidden, d_first } = act;
        self.backward_to_first(cx, grads, d_first.mat_mut(x.rows), d_out, relu, (hidden, d_hidden), packed);
        self.layers[0].parameters_backward(cx.be, (grads, Write::Add), d_first.mat(x.rows), x);
        d_first.mat(x.rows)
    }

    /// Layers from the last to the second; sets `d_first`.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    fn backward_to_first<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        mut d_first: MatMut<B::Buf>,
        mut d_out: MatMut<B::Buf>,
        relu: Option<Mat<B::Buf>>,
        (hidden, d_hidden): (&[Tensor<B>], &mut [Tensor<B>]),
        packed: &[B::Packed],
    ) {
        let (be, n, last) = (cx.be, d_out.rows, self.layers.len() - 1);
        match relu {
            Some(out) if last == 0 => be.relu_bwd_into(d_first.again(), d_out.as_mat(), out),
            Some(out) => be.relu_bwd(d_out.again(), out),
            None if last == 0 => be.copy(d_first.again(), Write::Set, d_out.as_mat()),
            None => {}
        }
        // A dropped output is 0, so the mask that was taken from it is the product of the ReLU's and dropout's, and
        // dropout's factor may follow; the same holds for what `linear_dx` masks by hidden outputs.
        for i in (1..=last).rev() {
            let (before, after) = d_hidden.split_at_mut(i - 1);
            let mut d_y = if i == last { d_out.again() } else { after[0].mat_mut(n) };
            self.drop(cx, i, d_y.again());
            let d_x = before.last_mut().map_or(d_first.again(), |d| d.mat_mut(n));
            let x = hidden[i - 1].mat(n);
            self.layers[i].backward(be, grads, (d_x, Write::Set), Some(x), d_y.as_mat(), x, &packed[i]);
        }
        self.drop(cx, 0, d_first);
    }
}
