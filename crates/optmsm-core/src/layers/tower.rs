//! Prediction tower of generated layers: h_0 → logit (model.md §5; docs/derivations.md#tower).

use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::config::{HyperConfig, TowerConfig};
use crate::error::Result;
use crate::layers::hyper::{
    GeneratedActivations, GeneratedNorms, GeneratedPrepared, HyperActivations, HyperPrepared,
};
use crate::layers::{GeneratedLinear, Hyper};
use crate::model::{Builder, Cx, Grads};
use crate::params::{Flat, ParamId, Tensor};

/// Hypernetwork and generated layers; ReLU and dropout follow all of them, except the logit.
#[derive(Clone, Debug)]
pub struct Tower {
    hyper: Hyper,
    layers: Vec<GeneratedLinear>,
    dropout: f64,
    first_site: u32,
}

/// Packed and generated weights.
#[derive(Debug)]
pub struct TowerPrepared<B: Backend> {
    hyper: HyperPrepared<B>,
    layers: Vec<GeneratedPrepared<B>>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct TowerActivations<B: Backend> {
    h: Vec<Tensor<B>>,   // input of layer l > 0, [rows, in]
    d_h: Vec<Tensor<B>>, // the same
    layers: Vec<GeneratedActivations<B>>,
    hyper: HyperActivations<B>,
}

/// Memory of [`Tower::finish`].
#[derive(Debug)]
pub struct TowerScratch<B: Backend> {
    hyper: Tensor<B>,       // [S, t]
    layers: Vec<Tensor<B>>, // [S, r·r]
}

/// The tower's place in a model.
#[derive(Clone, Copy, Debug)]
pub struct TowerSpec<'a> {
    /// The scenarios' embeddings, `[S, q]`.
    pub scenario: ParamId,
    /// Columns of its input h_0.
    pub inputs: usize,
    /// p: columns of g, which the weights of a row are generated from with `condition = "instance"`.
    pub row: usize,
    /// Hidden widths and dropout.
    pub tower: &'a TowerConfig,
    /// The hypernetwork.
    pub hyper: &'a HyperConfig,
    /// k: if above 0, the left factor of a layer is the product of two, `[in, k]` and `[k, r]`.
    pub overparameterize: usize,
}

impl TowerSpec<'_> {
    /// Widths from the input to the logit.
    pub fn widths(&self) -> Vec<usize> {
        let hidden = self.tower.hidden.iter().copied();
        std::iter::once(self.inputs).chain(hidden).chain([1]).collect()
    }
}

impl Tower {
    /// `hyper.trunk`, and `tower.{l}` for layer l.
    pub fn new(build: &mut Builder, spec: TowerSpec) -> Self {
        let TowerSpec { scenario, row, tower, hyper, overparameterize: k, .. } = spec;
        let hyper = Hyper::new(build, "hyper", scenario, row, hyper);
        let widths = spec.widths();
        let layer = |(l, w): (usize, &[usize])| {
            let relu = l + 2 < widths.len();
            GeneratedLinear::overparameterized(build, &format!("tower.{l}"), [w[0], w[1]], relu, &hyper, k)
        };
        let layers = widths.windows(2).enumerate().map(layer).collect();
        Self { hyper, layers, dropout: tower.dropout, first_site: build.dropout_sites() }
    }

    /// Room for what is made once per step.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<TowerPrepared<B>> {
        let layers = self.layers.iter().map(|l| l.alloc(be, used)).collect::<Result<_>>()?;
        Ok(TowerPrepared { hyper: self.hyper.alloc(be, used)?, layers })
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(
        &self,
        be: &B,
        rows: usize,
        training: bool,
    ) -> Result<TowerActivations<B>> {
        let inner = |rows: usize| {
            self.layers[1..].iter().map(|l| Tensor::new(be, rows, l.inputs())).collect::<Result<_>>()
        };
        let layers = self.layers.iter().map(|l| l.activations(be, rows, training)).collect::<Result<_>>()?;
        Ok(TowerActivations {
            h: inner(rows)?,
            d_h: inner(if training { rows } else { 0 })?,
            layers,
            hyper: self.hyper.activations(be, rows, training)?,
        })
    }

    /// Memory of [`Tower::finish`].
    pub fn scratch<B: Backend>(&self, be: &B) -> Result<TowerScratch<B>> {
        let layers = self.layers.iter().map(|l| l.scratch(be)).collect::<Result<_>>()?;
        Ok(TowerScratch { hyper: self.hyper.scratch(be)?, layers })
    }

    /// Packs the weights and, under `condition = "scenario"`, generates every scenario's tower.
    pub fn prepare<B: Backend>(&self, be: &B, prepared: &mut TowerPrepared<B>, params: &Flat<B>) {
        let TowerPrepared { hyper, layers } = prepared;
        self.hyper.prepare(be, hyper, params);
        self.layers.iter().zip(&mut *layers).for_each(|(l, p)| l.pack(be, p, params));
        self.layers.iter().zip(layers).for_each(|(l, p)| l.generate(be, p, hyper, params));
    }

    /// Logits `[rows, 1]` from h_0 `[rows, in]`; with `condition = "instance"` by weights of g `[rows, p]`.
    pub fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        mut logits: MatMut<B::Buf>,
        act: &mut TowerActivations<B>,
        h0: Mat<B::Buf>,
        g: Mat<B::Buf>,
        prepared: &TowerPrepared<B>,
    ) {
        let n = cx.x.rows;
        self.hyper.forward(cx, &mut act.hyper, g, &prepared.hyper);
        for (l, layer) in self.layers.iter().enumerate() {
            let (before, after) = act.h.split_at_mut(l);
            let h = before.last().map_or(h0, |h| h.mat(n));
            let mut y = after.first_mut().map_or(logits.again(), |y| y.mat_mut(n));
            layer.forward(cx, y.again(), &mut act.layers[l], h, &act.hyper, &prepared.layers[l]);
            self.drop(cx, l, y);
        }
    }

    fn drop<B: Backend>(&self, cx: Cx<B>, layer: usize, x: MatMut<B::Buf>) {
        if layer + 1 < self.layers.len() {
            cx.x.drop(cx.be, x, self.dropout, self.first_site + layer as u32);
        }
    }

    /// Sets d_h0 and adds to the gradients; `d_logits` is used up. [`Tower::backward_to_condition`] follows.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        mut d_h0: MatMut<B::Buf>,
        mut d_logits: MatMut<B::Buf>,
        act: &mut TowerActivations<B>,
        h0: Mat<B::Buf>,
        prepared: &TowerPrepared<B>,
    ) {
        let n = cx.x.rows;
        self.hyper.begin_backward(cx, &mut act.hyper);
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let (before, after) = act.d_h.split_at_mut(l);
            let mut d_y = after.first_mut().map_or(d_logits.again(), |d| d.mat_mut(n));
            // d_y is the gradient before the ReLU; a dropped output is 0, so only dropout's factor is missing.
            self.drop(cx, l, d_y.again());
            let relu = (l > 0).then(|| act.h[l - 1].mat(n));
            let h = (relu.unwrap_or(h0), relu);
            let d_h = before.last_mut().map_or(d_h0.again(), |d| d.mat_mut(n));
            let (own, packed) = (&mut act.layers[l], &prepared.layers[l]);
            layer.backward(cx, grads, d_h, d_y.as_mat(), own, h, &mut act.hyper, packed);
        }
    }

    /// Adds to the gradients of what generates the weights and, with `condition = "instance"`, writes that of g.
    pub fn backward_to_condition<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        d_g: (MatMut<B::Buf>, Write),
        act: &mut TowerActivations<B>,
        prepared: &TowerPrepared<B>,
    ) {
        self.hyper.backward(cx, grads, d_g, &mut act.hyper, &prepared.hyper);
    }

    /// From the gradients of the generated weights, summed over the batch, to those of the hypernetwork. Once per step.
    pub fn finish<B: Backend>(
        &self,
        be: &B,
        grads: &mut Grads<B>,
        prepared: &TowerPrepared<B>,
        scratch: &mut TowerScratch<B>,
        params: &Flat<B>,
    ) {
        let TowerScratch { hyper: d_u, layers } = scratch;
        let mut write = Write::Set;
        // Backward, as their gradients came: a device that runs operations side by side then waits for the first layer's alone.
        for ((layer, packed), own) in self.layers.iter().zip(&prepared.layers).zip(layers).rev() {
            layer.finish(be, grads, (d_u, write), own, &prepared.hyper, packed, params);
            write = Write::Add;
        }
        self.hyper.finish(be, &mut grads.dense, d_u, &prepared.hyper, params);
    }

    /// Norms of what [`Tower::prepare`] generated, one entry per layer; none under `condition = "instance"`.
    ///
    /// # Errors
    /// When the device failed.
    pub fn norms<B: Backend>(
        &self,
        be: &B,
        prepared: &TowerPrepared<B>,
        params: &Flat<B>,
    ) -> Result<Vec<GeneratedNorms>> {
        let layers = self.layers.iter().zip(&prepared.layers);
        layers.filter_map(|(l, p)| l.norms(be, p, params).transpose()).collect()
    }
}
