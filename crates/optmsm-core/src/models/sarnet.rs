//! SAR-Net: embeddings transformed by the scenario, experts of its own beside shared ones, one network behind a gate over both.
//!
//! Shen et al., CIKM 2021: `e' = e ⊙ a_s + b_s`, `α = softmax(G_s e' + c_s)` over the scenario's experts and the shared ones,
//! `o = MLP(Σ α · experts)`. Definition: docs/models.md#sarnet. The paper's fairness coefficient of samples is left out: a
//! sample weight can carry it. Own experts and gates are computed for the rows of their scenario alone.

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Groups, Mat, MatMut, Products, Write};
use crate::config::{InputSpec, ModelConfig, check};
use crate::error::Result;
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::mlp::MlpActivations;
use crate::layers::{Gate, Linear, Mixture, Mlp, ScenarioLinear};
use crate::model::{
    Builder, Cx, Exhibit, Fields, Grads, Heads, Measure, Measured, Model, ModelSpec, Reader, ReaderGrads,
    Shows, root_mean_squares,
};
use crate::params::{Flat, Init, ParamId, Tensor};

/// In words.
pub const ABOUT: About = About {
    title: "embeddings transformed by the scenario, its own experts beside shared ones",
    paper: "Shen et al., CIKM 2021",
    forward: "e' = e ⊙ a_s + b_s; α = softmax(G_s e' + c_s); o = MLP(Σ_j α_j O_sj(e') + Σ_k α_k H_k(e'))",
};

/// `[model.sarnet]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SarnetConfig {
    /// m: width of an expert, which is one layer.
    pub width: usize,
    /// Experts of each scenario.
    pub own: usize,
    /// Experts that all scenarios share.
    pub shared: usize,
    /// Hidden layers of the network behind the experts; a last layer to the logit follows.
    pub hidden: Vec<usize>,
    /// Probability of dropping an activation of an expert or a hidden layer while training.
    pub dropout: f64,
}

impl Default for SarnetConfig {
    fn default() -> Self {
        Self { width: 48, own: 1, shared: 3, hidden: vec![32], dropout: 0.0 }
    }
}

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, _: &InputSpec) -> Result<()> {
    let SarnetConfig { width, own, shared, hidden, dropout } = &config.sarnet;
    check::width("model.sarnet.width", *width)?;
    check::count("model.sarnet.own", *own)?;
    check::count("model.sarnet.shared", *shared)?;
    check::widths("model.sarnet.hidden", hidden)?;
    check::dropout("model.sarnet.dropout", *dropout)
}

/// Transform, experts, gate, network.
#[derive(Clone, Debug)]
pub struct Sarnet {
    spec: ModelSpec,
    scale: ParamId, // a, [S, Σ d]
    shift: ParamId, // b, [S, Σ d]
    own: Vec<ScenarioLinear>,
    shared: Linear,
    gate: Gate,
    mlp: Mlp,
    dropout: f64,
    site: u32,
    width: usize, // m
}

/// Packed weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    own: Vec<B::Packed>,
    shared: B::Packed,
    gate: B::Packed,
    mlp: Vec<B::Packed>,
    zero: Tensor<B>, // no shift, [S, Σ d]
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    e: Tensor<B>,         // [rows, Σ d]
    x: Tensor<B>,         // e', [rows, Σ d]
    d_x: Tensor<B>,       // [rows, Σ d]
    outputs: Tensor<B>,   // of the own experts, then of the shared ones, [rows, (own + shared)·m]
    d_outputs: Tensor<B>, // the same
    gate: Mixture<B>,
    mix: Tensor<B>,   // [rows, m]
    d_mix: Tensor<B>, // [rows, m]
    mlp: MlpActivations<B>,
}

impl Sarnet {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::Sarnet, config, input)?;
        let SarnetConfig { width, own, shared, hidden, dropout } = &config.sarnet;
        let mut build = Builder::new(config.embedding(), input);
        let (s, inputs) = (input.scenarios, build.embedding().width(Fields::All));
        let scale = build.params.add("transform.scale", &[s, inputs], Init::One);
        let shift = build.params.add("transform.shift", &[s, inputs], Init::Zero);
        let shape = [inputs, *width];
        let one = |j| ScenarioLinear::new(&mut build.params, &format!("own.{j}"), s, shape, true);
        let experts: Vec<ScenarioLinear> = (0..*own).map(one).collect();
        let common = Linear::side_by_side(&mut build.params, "experts.0", *shared, shape, true);
        let gate = Gate::by_scenario(&mut build, "gate", [inputs, own + shared]);
        let [site, mlp_site] = [build.dropout_sites(), build.dropout_sites()];
        let mlp =
            Mlp::to_linear(&mut build.params, "mlp", *width, hidden, 1).with_dropout(*dropout, mlp_site);
        let readers = vec![Reader::embedded(build.embedding(), Fields::All)];
        let spec = build.build(
            readers,
            vec![Measure::of_scenarios(own + shared), Measure::of_scenarios((own + shared) * width)],
        );
        let (shared, dropout, width) = (common, *dropout, *width);
        Ok(Self { spec, scale, shift, own: experts, shared, gate, mlp, dropout, site, width })
    }

    /// Columns of own expert `j`.
    fn place(&self, j: usize) -> (usize, usize) {
        (j * self.width, self.width)
    }

    /// Columns of the shared experts.
    fn shared_place(&self) -> (usize, usize) {
        (self.own.len() * self.width, self.shared.width())
    }
}

impl<B: Backend> Model<B> for Sarnet {
    type Prepared = Prepared<B>;
    type Activations = Activations<B>;
    type Scratch = ();

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Prepared<B>> {
        let (used, s) = (Products::of(training), if training { self.spec.input().scenarios } else { 0 });
        Ok(Prepared {
            own: self.own.iter().map(|l| l.alloc(be, used)).collect::<Result<_>>()?,
            shared: self.shared.alloc(be, used)?,
            gate: self.gate.alloc(be, used)?,
            mlp: self.mlp.alloc(be, used)?,
            zero: Tensor::new(be, s, self.spec.readers()[0].width())?,
        })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let forward = |cols: usize| Tensor::new(be, rows, cols);
        let backward = |cols: usize| Tensor::new(be, if training { rows } else { 0 }, cols);
        let (inputs, (first, rest)) = (self.spec.readers()[0].width(), self.shared_place());
        Ok(Activations {
            e: forward(inputs)?,
            x: forward(inputs)?,
            d_x: backward(inputs)?,
            outputs: forward(first + rest)?,
            d_outputs: backward(first + rest)?,
            gate: self.gate.activations(be, rows, training)?,
            mix: forward(self.width)?,
            d_mix: backward(self.width)?,
            mlp: self.mlp.activations(be, rows, training)?,
        })
    }

    fn alloc_scratch(&self, _: &B) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, _: &Flat<B>) {
        self.own.iter().zip(&mut prepared.own).for_each(|(l, w)| l.pack(be, w, params));
        self.shared.pack(be, &mut prepared.shared, params);
        self.gate.pack(be, &mut prepared.gate, params);
        self.mlp.pack(be, &mut prepared.mlp, params);
    }

    fn forward(
        &self,
        cx: Cx<B>,
        logits: MatMut<B::Buf>,
        _: Option<MatMut<B::Buf>>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
    ) {
        let (be, n) = (cx.be, cx.x.rows);
        self.spec.embed(cx, 0, act.e.mat_mut(n));
        let (scale, shift) = (cx.params.mat(self.scale), cx.params.mat(self.shift));
        be.affine(act.x.mat_mut(n), act.e.mat(n), scale, shift, cx.x.groups);
        let x = act.x.mat(n);
        for (j, (own, w)) in self.own.iter().zip(&prepared.own).enumerate() {
            let (first, m) = self.place(j);
            own.forward(cx, act.outputs.mat_mut(n).cols(first, m), x, w);
        }
        let (first, width) = self.shared_place();
        let outputs = act.outputs.mat_mut(n).cols(first, width);
        self.shared.forward(be, outputs, x, &prepared.shared, cx.params);
        cx.x.drop(be, act.outputs.mat_mut(n), self.dropout, self.site);
        self.gate.forward(cx, &mut act.gate, x, &prepared.gate);
        act.gate.forward(be, act.mix.mat_mut(n), act.outputs.mat(n));
        self.mlp.forward(cx, logits, &mut act.mlp, act.mix.mat(n), &prepared.mlp);
    }

    fn embedded<'a>(&self, act: &'a Activations<B>, _: usize, rows: usize) -> Mat<'a, B::Buf> {
        act.e.mat(rows)
    }

    fn backward(
        &self,
        cx: Cx<B>,
        Grads { dense, .. }: &mut Grads<B>,
        readers: &mut ReaderGrads<B>,
        d_logits: MatMut<B::Buf>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
        _: usize,
    ) {
        let (be, n) = (cx.be, cx.x.rows);
        let (mix, d_mix) = ((act.mix.mat(n), false), (act.d_mix.mat_mut(n), Write::Set));
        self.mlp.backward(cx, dense, d_mix, mix, d_logits, None, &mut act.mlp, &prepared.mlp);
        let (x, outputs) = (act.x.mat(n), act.outputs.mat(n));
        act.gate.backward(be, act.d_outputs.mat_mut(n), act.d_mix.mat(n), outputs);
        self.gate.backward(cx, dense, (act.d_x.mat_mut(n), Write::Set), &act.gate, x, &prepared.gate);
        // A dropped output is 0, so the ReLU's mask holds dropout's; only its factor is missing.
        be.relu_bwd(act.d_outputs.mat_mut(n), outputs);
        cx.x.drop(be, act.d_outputs.mat_mut(n), self.dropout, self.site);
        let d_outputs = act.d_outputs.mat(n);
        for (j, (own, w)) in self.own.iter().zip(&prepared.own).enumerate() {
            let ((first, m), d_x) = (self.place(j), (act.d_x.mat_mut(n), Write::Add));
            own.backward(cx, dense, d_x, None, d_outputs.cols(first, m), x, w);
        }
        let ((first, width), d_x) = (self.shared_place(), (act.d_x.mat_mut(n), Write::Add));
        self.shared.backward(be, dense, d_x, None, d_outputs.cols(first, width), x, &prepared.shared);
        // forward: e' = e ⊙ a_s + b_s
        let (d_x, rows) = (act.d_x.mat(n), Groups::Rows(cx.x.groups));
        be.col_dot(dense.mat_mut(self.scale), Write::Add, d_x, act.e.mat(n), rows);
        be.col_sum(dense.mat_mut(self.shift), Write::Add, d_x, rows);
        let (scale, zero) = (cx.params.mat(self.scale), prepared.zero.mat(self.spec.input().scenarios));
        be.affine(readers.reader(0), d_x, scale, zero, cx.x.groups);
    }

    fn finish(&self, _: &B, _: &mut Grads<B>, (): &mut (), _: &Prepared<B>, _: &Flat<B>) {}

    fn measured<'a>(&self, act: &'a Activations<B>, measure: usize, rows: usize) -> Mat<'a, B::Buf> {
        if measure == 0 { act.gate.alpha(rows) } else { act.outputs.mat(rows) }
    }

    fn exhibits(
        &self,
        be: &B,
        _: &Prepared<B>,
        params: &Flat<B>,
        measured: &Measured,
    ) -> Result<Vec<Exhibit>> {
        let (own, all) = (self.own.len(), self.spec.measures()[0].len());
        let names = (0..own).map(|j| format!("own {j}")).chain((0..all - own).map(|k| format!("shared {k}")));
        let s = self.spec.input().scenarios;
        let [scale, shift] = [params.to_host(be, self.scale)?, params.to_host(be, self.shift)?];
        let (scale, shift) = (root_mean_squares(&scale, s, 1.0), root_mean_squares(&shift, s, 0.0));
        let transform = Exhibit {
            title: "Transform by scenario".into(),
            says:
                "Root mean square of a_s − 1 and of b_s: 0 where a scenario takes the embeddings as they are."
                    .into(),
            rows: Heads::Scenarios,
            columns: Heads::Named(vec!["scale from 1".into(), "shift".into()]),
            values: scale.zip(shift).flat_map(|(a, b)| [Some(a), Some(b)]).collect(),
            full: None,
            shows: Shows::Values,
        };
        let names: Vec<String> = names.collect();
        Ok(vec![Exhibit::gate(measured, 0, names.clone()), Exhibit::outputs(measured, 1, names), transform])
    }
}

/// Options and fields of every kind.
pub(super) fn cases() -> Vec<Case> {
    let own = |width, own, shared, hidden: &[usize], dropout| SarnetConfig {
        width,
        own,
        shared,
        hidden: hidden.to_vec(),
        dropout,
    };
    let case = |name, own| Case::of(super::Kind::Sarnet, name, |c| c.config.sarnet = own);
    cases_of_fields(super::Kind::Sarnet, |c, hidden| c.config.sarnet = own(4, 1, 2, &hidden[1..], 0.0))
        .chain([
            case("dropout", own(5, 2, 2, &[4, 3], 0.3)),
            case("several own experts", own(4, 3, 1, &[4], 0.0)),
            case("no hidden layer", own(5, 1, 1, &[], 0.0)),
            Case::of(super::Kind::Sarnet, "one scenario", |c| {
                c.input.scenarios = 1;
                c.config.sarnet = own(4, 1, 2, &[3], 0.0);
            }),
        ])
        .collect()
}
