//! Stacks of linear + ReLU (+ dropout): the experts (model.md §2) and the specific encoding (§4).

use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::error::Result;
use crate::fields::FirstLayer;
use crate::inputs::Block;
use crate::layers::Linear;
use crate::params::{Flat, ParamLayout, Tensor};

/// Linear + ReLU layers, one after the other.
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    dropout: f64,
    first_site: u32,
}

/// Outputs of the layers before the last, and their gradients.
#[derive(Debug)]
pub struct MlpActivations<B: Backend> {
    hidden: Vec<Tensor<B>>,   // [rows, width of layer i]
    d_hidden: Vec<Tensor<B>>, // the same from layer 1 on; empty when only predicting
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
        Self { layers, dropout: 0.0, first_site: 0 }
    }

    /// `count` stacks of one shape that read the same input; the output is `[rows, count · m]`.
    pub fn experts(
        params: &mut ParamLayout,
        name: &str,
        count: usize,
        inputs: usize,
        widths: &[usize],
    ) -> Self {
        let mut layers = Vec::new();
        let mut inputs = inputs;
        for (i, &width) in widths.iter().enumerate() {
            let name = format!("{name}.{i}");
            layers.push(Linear::side_by_side(params, &name, count, [inputs, width], i == 0));
            inputs = width;
        }
        Self { layers, dropout: 0.0, first_site: 0 }
    }

    /// With dropout after every ReLU; its sites are numbered from `first_site` on.
    pub fn with_dropout(self, p: f64, first_site: u32) -> Self {
        Self { dropout: p, first_site, ..self }
    }

    /// Packed weights, one a layer. No gradient goes back through the first one ([`Mlp::backward`]).
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<Vec<B::Packed>> {
        let used = |i: usize| if i == 0 { Products::Forward } else { used };
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
        Ok(MlpActivations {
            hidden: inner.iter().map(alloc).collect::<Result<_>>()?,
            d_hidden: backward.map(alloc).collect::<Result<_>>()?,
        })
    }

    fn drop<B: Backend>(&self, be: &B, layer: usize, x: MatMut<B::Buf>, block: &Block<B>) {
        if let Some(drop) = block.dropout(self.dropout, self.first_site + layer as u32) {
            be.dropout(x, &drop, &block.inputs.order, block.first);
        }
    }

    /// out = the last layer's output.
    #[allow(clippy::too_many_arguments)]
    pub fn forward<B: Backend>(
        &self,
        be: &B,
        mut out: MatMut<B::Buf>,
        act: &mut MlpActivations<B>,
        x: Mat<B::Buf>,
        packed: &[B::Packed],
        params: &Flat<B>,
        block: &Block<B>,
    ) {
        let last = self.layers.len() - 1;
        for (i, layer) in self.layers.iter().enumerate() {
            let (before, after) = act.hidden.split_at_mut(i);
            let x = before.last().map_or(x, |h| h.mat(x.rows));
            let mut y = if i == last { out.again() } else { after[0].mat_mut(x.rows) };
            layer.forward(be, y.again(), x, &packed[i], params);
            self.drop(be, i, y, block);
        }
    }

    /// The layer that reads the input.
    pub fn first(&self) -> FirstLayer {
        let first = &self.layers[0];
        FirstLayer { weight: first.weight, bias: first.bias, outputs: first.width() }
    }

    /// Adds to the gradients but for what [`Model::backward`](crate::model::Model::backward) leaves out of the first layer's;
    /// sets `d_first`, the gradient of its output before the ReLU. `d_out` is the gradient of the output and is used up. It is
    /// already 0 where the output is at most 0, unless `relu` is that output.
    #[allow(clippy::too_many_arguments)]
    pub fn backward<B: Backend>(
        &self,
        be: &B,
        grads: &mut Flat<B>,
        mut d_first: MatMut<B::Buf>,
        mut d_out: MatMut<B::Buf>,
        relu: Option<Mat<B::Buf>>,
        act: &mut MlpActivations<B>,
        packed: &[B::Packed],
        block: &Block<B>,
    ) {
        let (n, last) = (d_out.rows, self.layers.len() - 1);
        match relu {
            Some(out) if last == 0 => be.relu_bwd_into(d_first.again(), d_out.as_mat(), out),
            Some(out) => be.relu_bwd(d_out.again(), out),
            None if last == 0 => be.copy(d_first.again(), Write::Set, d_out.as_mat()),
            None => {}
        }
        // A dropped output is 0, so the mask that was taken from it is the product of the ReLU's and dropout's, and
        // dropout's factor may follow; the same holds for what `linear_dx` masks by hidden outputs.
        for i in (1..=last).rev() {
            let (before, after) = act.d_hidden.split_at_mut(i - 1);
            let mut d_y = if i == last { d_out.again() } else { after[0].mat_mut(n) };
            self.drop(be, i, d_y.again(), block);
            let d_x = before.last_mut().map_or(d_first.again(), |d| d.mat_mut(n));
            let x = act.hidden[i - 1].mat(n);
            self.layers[i].backward(be, grads, (d_x, Write::Set), Some(x), d_y.as_mat(), x, &packed[i]);
        }
        self.drop(be, 0, d_first.again(), block);
        if be.fields_by_id() {
            self.layers[0].bias_backward(be, grads, d_first.as_mat());
        }
    }
}
