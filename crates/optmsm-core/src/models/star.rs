//! STAR: normalization by scenario, layers whose weights are a shared one times the scenario's, and an auxiliary network.
//!
//! Sheng et al., CIKM 2021: `o = star(PN(e)) + MLP([e ; z_s])`. Definition: docs/models.md#star. The statistics are those of a
//! scenario's rows, not of the mixed batch; gradients flow through them; predictions use running averages. No ReLU follows
//! the last star layer.

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::config::{InputSpec, ModelConfig, check, mlp_config};
use crate::error::Result;
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::input_mlp::{InputMlpActivations, InputMlpPrepared};
use crate::layers::norm::{PartitionedNormActivations, PartitionedNormPrepared, PartitionedNormScratch};
use crate::layers::star::StarLinearPrepared;
use crate::layers::{InputMlp, Mlp, PartitionedNorm, StarLinear};
use crate::model::{
    Builder, Cx, Exhibit, Fields, Grads, Heads, Measured, Model, ModelSpec, Reader, ReaderGrads, Shows,
    root_mean_squares,
};
use crate::params::{Flat, Init, ParamId, Tensor};

/// In words.
pub const ABOUT: About = About {
    title: "shared weights times the scenario's, normalization by scenario",
    paper: "Sheng et al., CIKM 2021",
    forward: "x ← ReLU(x (W ⊙ W_s)ᵀ + b + b_s) from PN(e) on; o = x_L + MLP([e ; z_s])",
};

/// `[model.star]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StarConfig {
    /// Widths of the star layers; a last one of width 1 follows.
    pub hidden: Vec<usize>,
    /// Probability of dropping an activation of a star layer while training.
    pub dropout: f64,
    /// The auxiliary network; a last layer of width 1 follows.
    pub aux: AuxConfig,
    /// q: width of a scenario's embedding.
    pub scenario_dim: usize,
}

mlp_config!(
    /// The auxiliary network.
    AuxConfig,
    [16]
);

impl Default for StarConfig {
    fn default() -> Self {
        Self { hidden: vec![48, 24], dropout: 0.0, aux: AuxConfig::default(), scenario_dim: 16 }
    }
}

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, _: &InputSpec) -> Result<()> {
    let StarConfig { hidden, dropout, aux, scenario_dim } = &config.star;
    check::widths("model.star.hidden", hidden)?;
    check::dropout("model.star.dropout", *dropout)?;
    check::widths("model.star.aux.hidden", &aux.hidden)?;
    check::dropout("model.star.aux.dropout", aux.dropout)?;
    check::width("model.star.scenario_dim", *scenario_dim)
}

/// Readers: the normalization, the auxiliary network.
const NORM: usize = 0;
const AUX: usize = 1;

/// Normalization, star layers, auxiliary network.
#[derive(Clone, Debug)]
pub struct Star {
    spec: ModelSpec,
    norm: PartitionedNorm,
    layers: Vec<StarLinear>,
    aux: InputMlp,
    dropout: f64,
    first_site: u32,
    weights_by_scenario: ParamId, // of the first star layer, [S, out, in]
}

/// Statistics, products and packed weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    norm: PartitionedNormPrepared<B>,
    layers: Vec<StarLinearPrepared<B>>,
    aux: InputMlpPrepared<B>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    e: Tensor<B>, // [rows, Σ d]
    norm: PartitionedNormActivations<B>,
    x: Vec<Tensor<B>>,   // input of star layer l, [rows, in]
    d_x: Vec<Tensor<B>>, // of the inputs from layer 1 on
    aux: InputMlpActivations<B>,
    aux_logit: Tensor<B>, // [rows, 1]
}

impl Star {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::Star, config, input)?;
        let own = &config.star;
        let mut build = Builder::new(config.embedding(), input);
        let width = build.embedding().width(Fields::All);
        let shape = [input.scenarios, own.scenario_dim];
        let scenario = build.params.add("scenario.weight", &shape, Init::Normal(config.init_std));
        let norm = PartitionedNorm::new(&mut build, "norm", width);
        let widths: Vec<usize> =
            std::iter::once(width).chain(own.hidden.iter().copied()).chain([1]).collect();
        let layer = |(l, w): (usize, &[usize])| {
            StarLinear::new(&mut build, &format!("star.{l}"), [w[0], w[1]], l < own.hidden.len())
        };
        let layers: Vec<StarLinear> = widths.windows(2).enumerate().map(layer).collect();
        let first_site = build.dropout_sites();
        let aux = InputMlp::new(&mut build, "aux", Fields::All, scenario, |build, inputs| {
            let site = build.dropout_sites();
            let mlp = Mlp::to_linear(&mut build.params, "aux", inputs, &own.aux.hidden, 1);
            mlp.with_dropout(own.aux.dropout, site)
        });
        let readers = vec![
            Reader::embedded(build.embedding(), Fields::All),
            Reader::linear(build.embedding(), Fields::All, aux.first()),
        ];
        let spec = build.build(readers, Vec::new());
        let weights_by_scenario = layers[0].weight_by_scenario();
        Ok(Self { spec, norm, layers, aux, dropout: own.dropout, first_site, weights_by_scenario })
    }

    /// Drops outputs of a star layer except the last.
    fn drop<B: Backend>(&self, cx: Cx<B>, layer: usize, x: MatMut<B::Buf>) {
        if layer + 1 < self.layers.len() {
            cx.x.drop(cx.be, x, self.dropout, self.first_site + layer as u32);
        }
    }
}

impl<B: Backend> Model<B> for Star {
    type Prepared = Prepared<B>;
    type Activations = Activations<B>;
    type Scratch = PartitionedNormScratch<B>;

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Prepared<B>> {
        let used = Products::of(training);
        Ok(Prepared {
            norm: self.norm.alloc(be, training)?,
            layers: self.layers.iter().map(|l| l.alloc(be, used)).collect::<Result<_>>()?,
            aux: self.aux.alloc(be, used)?,
        })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let width = self.spec.readers()[NORM].width();
        let inputs = || std::iter::once(width).chain(self.layers.iter().map(StarLinear::width));
        let (inner, back) = (self.layers.len(), if training { rows } else { 0 });
        Ok(Activations {
            e: Tensor::new(be, rows, width)?,
            norm: self.norm.activations(be, rows, training)?,
            x: inputs().take(inner).map(|w| Tensor::new(be, rows, w)).collect::<Result<_>>()?,
            d_x: inputs().take(inner).skip(1).map(|w| Tensor::new(be, back, w)).collect::<Result<_>>()?,
            aux: self.aux.activations(be, rows, training)?,
            aux_logit: Tensor::new(be, rows, 1)?,
        })
    }

    fn alloc_scratch(&self, be: &B) -> Result<Self::Scratch> {
        self.norm.scratch(be)
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, running: &Flat<B>) {
        self.norm.prepare(be, &mut prepared.norm, params, running);
        self.layers.iter().zip(&mut prepared.layers).for_each(|(l, p)| l.prepare(be, p, params));
        self.aux.pack(be, &mut prepared.aux, params);
    }

    fn forward(
        &self,
        cx: Cx<B>,
        mut logits: MatMut<B::Buf>,
        _: Option<MatMut<B::Buf>>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
    ) {
        let n = cx.x.rows;
        self.spec.embed(cx, NORM, act.e.mat_mut(n));
        let e = act.e.mat(n);
        self.norm.forward(cx, act.x[0].mat_mut(n), &mut act.norm, e, &prepared.norm);
        for (l, (layer, p)) in self.layers.iter().zip(&prepared.layers).enumerate() {
            let (before, after) = act.x.split_at_mut(l + 1);
            let mut y = after.first_mut().map_or(logits.again(), |x| x.mat_mut(n));
            layer.forward(cx, y.again(), before[l].mat(n), p);
            self.drop(cx, l, y);
        }
        let embed = |to: MatMut<B::Buf>| cx.be.copy(to, Write::Set, e);
        self.aux.forward(cx, act.aux_logit.mat_mut(n), &mut act.aux, embed, &prepared.aux);
        cx.be.copy(logits, Write::Add, act.aux_logit.mat(n));
    }

    fn embedded<'a>(&self, act: &'a Activations<B>, _: usize, rows: usize) -> Mat<'a, B::Buf> {
        act.e.mat(rows)
    }

    fn backward(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        readers: &mut ReaderGrads<B>,
        mut d_logits: MatMut<B::Buf>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
        _: usize,
    ) {
        let n = cx.x.rows;
        // forward: o = x_L + MLP([e ; z_s]), so both have the gradient of o
        cx.be.copy(act.aux_logit.mat_mut(n), Write::Set, d_logits.as_mat());
        let (delta, d_aux) = (readers.reader(AUX), act.aux_logit.mat_mut(n));
        self.aux.backward(cx, grads, delta, d_aux, None, &mut act.aux, &prepared.aux);
        let derived = &mut grads.derived;
        for (l, (layer, p)) in self.layers.iter().zip(&prepared.layers).enumerate().rev() {
            let (before, after) = act.d_x.split_at_mut(l);
            let mut d_y = after.first_mut().map_or(d_logits.again(), |d| d.mat_mut(n));
            self.drop(cx, l, d_y.again());
            let x = act.x[l].mat(n);
            let (d_x, relu) = match before.last_mut() {
                Some(d) => (d.mat_mut(n), Some(x)),
                None => (readers.reader(NORM), None),
            };
            layer.backward(cx, derived, d_x, relu, d_y.as_mat(), x, p);
        }
        self.norm.backward(cx, derived, readers.reader(NORM).as_mat(), &act.norm);
    }

    fn finish(
        &self,
        be: &B,
        grads: &mut Grads<B>,
        scratch: &mut Self::Scratch,
        prepared: &Prepared<B>,
        params: &Flat<B>,
    ) {
        self.norm.finish(be, grads, scratch, params);
        self.layers.iter().for_each(|l| l.finish(be, grads, params));
        self.aux.finish(be, grads, &prepared.aux, params);
    }

    fn batch_statistics(&self) -> bool {
        true
    }

    fn measure(&self, cx: Cx<B>, sums: &mut Flat<B>, act: &mut Activations<B>, prepared: &Prepared<B>) {
        let n = cx.x.rows;
        self.spec.embed(cx, NORM, act.e.mat_mut(n));
        self.norm.measure(cx, sums, &mut act.norm, act.e.mat(n), &prepared.norm);
    }

    fn settle(
        &self,
        be: &B,
        prepared: &mut Prepared<B>,
        sums: &Flat<B>,
        running: &mut Flat<B>,
        batch: &B::Ids,
        moving: bool,
    ) {
        self.norm.settle(be, &mut prepared.norm, sums, running, batch, moving);
    }

    fn correct(
        &self,
        cx: Cx<B>,
        readers: &mut ReaderGrads<B>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
        scratch: &Self::Scratch,
    ) {
        let n = cx.x.rows;
        self.spec.embed(cx, NORM, act.e.mat_mut(n));
        let (d, e) = (readers.reader(NORM), act.e.mat(n));
        self.norm.correct(cx, d, &mut act.norm, e, &prepared.norm, scratch);
    }

    fn exhibits(&self, be: &B, _: &Prepared<B>, params: &Flat<B>, _: &Measured) -> Result<Vec<Exhibit>> {
        let w = params.to_host(be, self.weights_by_scenario)?;
        Ok(vec![Exhibit {
            title: "Scenario weights of the first layer".into(),
            says: "Root mean square of W_s − 1: 0 where a scenario uses the shared weights as they are."
                .into(),
            rows: Heads::Scenarios,
            columns: Heads::Named(vec!["distance from 1".into()]),
            values: root_mean_squares(&w, self.spec.input().scenarios, 1.0).map(Some).collect(),
            full: None,
            shows: Shows::Values,
        }])
    }
}

/// Options and fields of every kind.
pub(super) fn cases() -> Vec<Case> {
    let own = |hidden: &[usize], aux: &[usize], dropout| StarConfig {
        hidden: hidden.to_vec(),
        dropout,
        aux: AuxConfig { hidden: aux.to_vec(), dropout },
        scenario_dim: 2,
    };
    let case = |name, own| Case::of(super::Kind::Star, name, |c| c.config.star = own);
    cases_of_fields(super::Kind::Star, |c, hidden| c.config.star = own(hidden, &[3], 0.0))
        .chain([case("dropout", own(&[5, 4], &[4, 3], 0.3)), case("no hidden layer", own(&[], &[], 0.0))])
        .collect()
}
