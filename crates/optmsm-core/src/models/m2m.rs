//! M2M: attention over experts, and a residual tower, by weights that a hypernetwork generates for each scenario.
//!
//! Zhang et al., WSDM 2022, with one task. Definition: docs/models.md#m2m. The attention is over the experts of a row, not over
//! the rows of a batch. The task's embedding is left out: it could only shift the generated bias.

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Epilogue, Groups, Layout, Mat, MatMut, Products, Write};
use crate::config::{Condition, ExpertsConfig, HyperConfig, InputSpec, ModelConfig, check};
use crate::error::{Error, Result};
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::hyper::{
    GeneratedActivations, GeneratedNorms, GeneratedPrepared, HyperActivations, HyperPrepared,
};
use crate::layers::mlp::MlpActivations;
use crate::layers::{Experts, GeneratedLinear, Hyper, Linear, Mixture};
use crate::model::{
    Builder, Cx, Exhibit, Fields, Grads, Measure, Measured, Model, ModelSpec, Reader, ReaderGrads,
};
use crate::params::{Flat, Init, ParamId, Tensor};

/// In words.
pub const ABOUT: About = About {
    title: "attention over experts and a residual tower, generated for each scenario",
    paper: "Zhang et al., WSDM 2022",
    forward: "α = softmax(v · LReLU(W(s) E_k + b(s))); r = Σ_k α_k E_k; r ← LReLU(W_l(s) r + b_l(s) + r); o = w · r + c",
};

/// `[model.m2m]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct M2mConfig {
    /// The experts.
    pub experts: AttendedExpertsConfig,
    /// Generated layers behind the attention, of which there may be none.
    pub layers: usize,
    /// t: width of the hypernetwork's trunk.
    pub trunk: usize,
    /// q: width of a scenario's embedding.
    pub scenario_dim: usize,
}

/// The experts, narrow by default: the generated matrices are as wide as one of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttendedExpertsConfig {
    /// K; 0 takes the number of scenarios.
    pub count: usize,
    /// Widths of the layers; the last is m.
    pub hidden: Vec<usize>,
    /// Probability of dropping an activation while training.
    pub dropout: f64,
}

impl Default for AttendedExpertsConfig {
    fn default() -> Self {
        Self { count: 0, hidden: vec![48, 16], dropout: 0.0 }
    }
}

impl Default for M2mConfig {
    fn default() -> Self {
        Self { experts: AttendedExpertsConfig::default(), layers: 1, trunk: 32, scenario_dim: 16 }
    }
}

impl M2mConfig {
    fn experts(&self) -> ExpertsConfig {
        let AttendedExpertsConfig { count, hidden, dropout } = self.experts.clone();
        ExpertsConfig { count, hidden, dropout }
    }

    /// Whole matrices for each scenario.
    fn hyper(&self) -> HyperConfig {
        let (scenario_dim, trunk) = (self.scenario_dim, self.trunk);
        HyperConfig { scenario_dim, trunk, rank: 0, condition: Condition::Scenario }
    }
}

/// The most generated layers.
const MAX_LAYERS: usize = 64;

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, input: &InputSpec) -> Result<()> {
    let own = &config.m2m;
    check::experts("model.m2m.experts", &own.experts(), input.scenarios, "")?;
    if own.layers > MAX_LAYERS {
        let problem = format!("must be at most {MAX_LAYERS}, got {}", own.layers);
        return Err(Error::config("model.m2m.layers", problem, "lower it"));
    }
    check::width("model.m2m.trunk", own.trunk)?;
    check::width("model.m2m.scenario_dim", own.scenario_dim)
}

/// LReLU(x) = max(x, SLOPE · x).
const SLOPE: f64 = 0.01;

/// Experts, hypernetwork, attention, residual tower.
#[derive(Clone, Debug)]
pub struct M2m {
    spec: ModelSpec,
    experts: Experts,
    hyper: Hyper,
    generated: Vec<GeneratedLinear>, // the attention's layer, then those of the tower
    v: ParamId,                      // [1, m]
    logit: Linear,
}

/// Packed and generated weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    experts: Vec<B::Packed>,
    hyper: HyperPrepared<B>,
    generated: Vec<GeneratedPrepared<B>>,
    v: B::Packed,
    logit: B::Packed,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    e: Tensor<B>, // [rows, Σ d]
    experts: MlpActivations<B>,
    outputs: Tensor<B>,   // of the experts, [rows, K·m]
    d_outputs: Tensor<B>, // [rows, K·m]
    hyper: HyperActivations<B>,
    generated: Vec<GeneratedActivations<B>>,
    hidden: Tensor<B>,   // LReLU(W(s) E_k + b(s)), [rows, K·m]
    d_hidden: Tensor<B>, // [rows, K·m]
    d_expert: Tensor<B>, // of one expert, by the attention, [rows, m]
    attention: Mixture<B>,
    r: Vec<Tensor<B>>,   // r_l, [rows, m]
    d_r: Vec<Tensor<B>>, // [rows, m]
}

/// Memory of `finish`.
#[derive(Debug)]
pub struct Scratch<B: Backend> {
    d_u: Tensor<B>, // [S, t]
    generated: Vec<Tensor<B>>,
}

impl M2m {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::M2m, config, input)?;
        let own = &config.m2m;
        let mut build = Builder::new(config.embedding(), input);
        let inputs = build.embedding().width(Fields::All);
        let shape = [input.scenarios, own.scenario_dim];
        let scenario = build.params.add("scenario.weight", &shape, Init::Normal(config.init_std));
        let experts = Experts::new(&mut build, "experts", inputs, &own.experts()).reading_fields();
        let (m, count) = (experts.width(), experts.count());
        let hyper = Hyper::new(&mut build, "hyper", scenario, 0, &own.hyper());
        let names = std::iter::once("attention".into()).chain((0..own.layers).map(|l| format!("meta.{l}")));
        let layer = |name: String| GeneratedLinear::new(&mut build, &name, [m, m], false, &hyper);
        let generated = names.map(layer).collect();
        let v = build.params.add("attention.v", &[1, m], Init::Normal((1.0 / m as f64).sqrt()));
        let logit = Linear::new(&mut build.params, "logit", m, 1, false);
        let readers = vec![Reader::linear(build.embedding(), Fields::All, experts.first())];
        let spec = build.build(readers, vec![Measure::of_scenarios(count), Measure::of_scenarios(count * m)]);
        Ok(Self { spec, experts, hyper, generated, v, logit })
    }
}

impl<B: Backend> Model<B> for M2m {
    type Prepared = Prepared<B>;
    type Activations = Activations<B>;
    type Scratch = Scratch<B>;

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Prepared<B>> {
        let used = Products::of(training);
        Ok(Prepared {
            experts: self.experts.alloc(be, used)?,
            hyper: self.hyper.alloc(be, used)?,
            generated: self.generated.iter().map(|l| l.alloc(be, used)).collect::<Result<_>>()?,
            v: be.alloc_packed(1, 1, self.experts.width(), used)?,
            logit: self.logit.alloc(be, used)?,
        })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let (back, k, m) = (if training { rows } else { 0 }, self.experts.count(), self.experts.width());
        let chain =
            |rows: usize| self.generated.iter().map(|_| Tensor::new(be, rows, m)).collect::<Result<_>>();
        let generated = self.generated.iter().map(|l| l.activations(be, rows, training));
        Ok(Activations {
            e: Tensor::new(be, rows, self.spec.readers()[0].width())?,
            experts: self.experts.activations(be, rows, training)?,
            outputs: Tensor::new(be, rows, k * m)?,
            d_outputs: Tensor::new(be, back, k * m)?,
            hyper: self.hyper.activations(be, rows, training)?,
            generated: generated.collect::<Result<_>>()?,
            hidden: Tensor::new(be, rows, k * m)?,
            d_hidden: Tensor::new(be, back, k * m)?,
            d_expert: Tensor::new(be, back, m)?,
            attention: Mixture::new(be, rows, k, training)?,
            r: chain(rows)?,
            d_r: chain(back)?,
        })
    }

    fn alloc_scratch(&self, be: &B) -> Result<Scratch<B>> {
        let generated = self.generated.iter().map(|l| l.scratch(be)).collect::<Result<_>>()?;
        Ok(Scratch { d_u: self.hyper.scratch(be)?, generated })
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, _: &Flat<B>) {
        let Prepared { experts, hyper, generated, v, logit } = prepared;
        self.experts.pack(be, experts, params);
        self.hyper.prepare(be, hyper, params);
        for (layer, p) in self.generated.iter().zip(generated) {
            layer.pack(be, p, params);
            layer.generate(be, p, hyper, params);
        }
        be.pack(v, params.mat(self.v), Layout::OutIn);
        self.logit.pack(be, logit, params);
    }

    fn forward(
        &self,
        cx: Cx<B>,
        logits: MatMut<B::Buf>,
        _: Option<MatMut<B::Buf>>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
    ) {
        let (be, n, m) = (cx.be, cx.x.rows, self.experts.width());
        self.spec.embed_for_layer(cx, 0, act.e.mat_mut(n));
        let e = act.e.mat(n);
        self.experts.forward(cx, act.outputs.mat_mut(n), &mut act.experts, e, &prepared.experts);
        let (attend, p) = (&self.generated[0], &prepared.generated[0]);
        for k in 0..self.experts.count() {
            let (y, expert) = (act.hidden.mat_mut(n).cols(k * m, m), act.outputs.mat(n).cols(k * m, m));
            attend.forward(cx, y, &mut act.generated[0], expert, &act.hyper, p);
        }
        be.leaky_relu(act.hidden.mat_mut(n), SLOPE);
        for k in 0..self.experts.count() {
            let (a, hidden) = (act.attention.logits_mut(n).cols(k, 1), act.hidden.mat(n).cols(k * m, m));
            be.linear(a, hidden, &prepared.v, Groups::One(0), Epilogue::NONE);
        }
        act.attention.forward(be, act.r[0].mat_mut(n), act.outputs.mat(n));
        for (l, layer) in self.generated.iter().enumerate().skip(1) {
            let (before, after) = act.r.split_at_mut(l);
            let (r, mut y) = (before[l - 1].mat(n), after[0].mat_mut(n));
            layer.forward(cx, y.again(), &mut act.generated[l], r, &act.hyper, &prepared.generated[l]);
            be.copy(y.again(), Write::Add, r);
            be.leaky_relu(y, SLOPE);
        }
        let r = act.r[self.generated.len() - 1].mat(n);
        self.logit.forward(be, logits, r, &prepared.logit, cx.params);
    }

    fn embedded<'a>(&self, act: &'a Activations<B>, _: usize, rows: usize) -> Mat<'a, B::Buf> {
        act.e.mat(rows)
    }

    fn backward(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        readers: &mut ReaderGrads<B>,
        d_logits: MatMut<B::Buf>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
        _: usize,
    ) {
        let (be, n, m, last) = (cx.be, cx.x.rows, self.experts.width(), self.generated.len() - 1);
        let (d_r, r) = ((act.d_r[last].mat_mut(n), Write::Set), act.r[last].mat(n));
        self.logit.backward(be, &mut grads.dense, d_r, None, d_logits.as_mat(), r, &prepared.logit);
        for (l, layer) in self.generated.iter().enumerate().skip(1).rev() {
            // forward: r_{l+1} = LReLU(W_l(s) r_l + b_l(s) + r_l)
            let (before, after) = act.d_r.split_at_mut(l);
            let (mut d_r, mut d_y) = (before[l - 1].mat_mut(n), after[0].mat_mut(n));
            be.leaky_relu_bwd(d_y.again(), act.r[l].mat(n), SLOPE);
            let (r, own, p) = ((act.r[l - 1].mat(n), None), &mut act.generated[l], &prepared.generated[l]);
            layer.backward(cx, grads, d_r.again(), d_y.as_mat(), own, r, &mut act.hyper, p);
            be.copy(d_r, Write::Add, d_y.as_mat());
        }
        act.attention.backward(be, act.d_outputs.mat_mut(n), act.d_r[0].mat(n), act.outputs.mat(n));
        // forward: a_k = v · hidden_k
        for k in 0..self.experts.count() {
            let (d_a, hidden) = (act.attention.d_logits(n).cols(k, 1), act.hidden.mat(n).cols(k * m, m));
            be.linear_dw(grads.dense.mat_mut(self.v), Write::Add, d_a, hidden, Groups::One(0));
            let d_hidden = act.d_hidden.mat_mut(n).cols(k * m, m);
            be.linear_dx(d_hidden, Write::Set, d_a, &prepared.v, Groups::One(0), None);
        }
        be.leaky_relu_bwd(act.d_hidden.mat_mut(n), act.hidden.mat(n), SLOPE);
        let (attend, p) = (&self.generated[0], &prepared.generated[0]);
        for k in 0..self.experts.count() {
            let (d_y, expert) = (act.d_hidden.mat(n).cols(k * m, m), act.outputs.mat(n).cols(k * m, m));
            let (d_expert, own) = (act.d_expert.mat_mut(n), &mut act.generated[0]);
            attend.backward(cx, grads, d_expert, d_y, own, (expert, None), &mut act.hyper, p);
            be.copy(act.d_outputs.mat_mut(n).cols(k * m, m), Write::Add, act.d_expert.mat(n));
        }
        let (delta, d_outputs) = (readers.reader(0), act.d_outputs.mat_mut(n));
        let (own, outputs, packed) = (&mut act.experts, act.outputs.mat(n), &prepared.experts);
        self.experts.backward_to_fields(cx, &mut grads.dense, delta, d_outputs, Some(outputs), own, packed);
    }

    fn finish(
        &self,
        be: &B,
        grads: &mut Grads<B>,
        scratch: &mut Scratch<B>,
        prepared: &Prepared<B>,
        params: &Flat<B>,
    ) {
        let Scratch { d_u, generated } = scratch;
        let mut write = Write::Set;
        for ((layer, p), own) in self.generated.iter().zip(&prepared.generated).zip(generated).rev() {
            layer.finish(be, grads, (d_u, write), own, &prepared.hyper, p, params);
            write = Write::Add;
        }
        self.hyper.finish(be, &mut grads.dense, d_u, &prepared.hyper, params);
    }

    fn measured<'a>(&self, act: &'a Activations<B>, measure: usize, rows: usize) -> Mat<'a, B::Buf> {
        if measure == 0 { act.attention.alpha(rows) } else { act.outputs.mat(rows) }
    }

    fn exhibits(
        &self,
        be: &B,
        prepared: &Prepared<B>,
        params: &Flat<B>,
        measured: &Measured,
    ) -> Result<Vec<Exhibit>> {
        let layers = self.generated.iter().zip(&prepared.generated);
        let norms: Vec<GeneratedNorms> =
            layers.filter_map(|(l, p)| l.norms(be, p, params).transpose()).collect::<Result<_>>()?;
        let name = |l: usize| if l == 0 { "the attention".into() } else { format!("layer {}", l - 1) };
        let attention = Exhibit::gate(measured, 0, self.experts.names());
        let outputs = Exhibit::outputs(measured, 1, self.experts.names());
        let mut shown = vec![Exhibit { title: "Attention by scenario".into(), ..attention }, outputs];
        let generated = GeneratedNorms::exhibit(&norms, name);
        let title = "Generated attention and tower by scenario".to_string();
        shown.extend(generated.map(|e| Exhibit { title, ..e }));
        Ok(shown)
    }
}

/// Options and fields of every kind.
pub(super) fn cases() -> Vec<Case> {
    let own = |count, hidden: &[usize], layers, dropout| M2mConfig {
        experts: AttendedExpertsConfig { count, hidden: hidden.to_vec(), dropout },
        layers,
        trunk: 4,
        scenario_dim: 3,
    };
    let case = |name, own| Case::of(super::Kind::M2m, name, |c| c.config.m2m = own);
    cases_of_fields(super::Kind::M2m, |c, hidden| c.config.m2m = own(2, hidden, 1, 0.0))
        .chain([
            case("dropout", own(3, &[5, 4], 1, 0.3)),
            case("one expert", own(1, &[5, 4], 1, 0.0)),
            case("an expert per scenario", own(0, &[5, 4], 1, 0.0)),
            case("attention alone", own(3, &[4], 0, 0.0)),
            case("three layers", own(2, &[4], 3, 0.0)),
            Case::of(super::Kind::M2m, "one scenario", |c| {
                c.input.scenarios = 1;
                c.config.m2m = own(2, &[5, 4], 1, 0.0);
            }),
        ])
        .collect()
}
