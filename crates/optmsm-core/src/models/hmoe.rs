//! HMoE: mixtures of experts for every scenario, whose predictions for a row are weighed by how the scenarios relate.
//!
//! Li et al., CIKM 2020: `t_i = T_i(Σ_k α^i_k E_k(e))` with `α^i = softmax(G_i e + c_i)` for every scenario i,
//! `w = softmax(MLP([e ; z_s]))`, `o = Σ_i w_i t̃_i`, where `t̃_i = sg(t_i)` except of the row's own scenario. Definition:
//! docs/models.md#hmoe. All scenarios' predictions for a row are weighed, so every gate and tower is computed for every row.

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::config::{ExpertsConfig, InputSpec, ModelConfig, check, mlp_config};
use crate::error::Result;
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::input_mlp::{InputMlpActivations, InputMlpPrepared};
use crate::layers::mlp::MlpActivations;
use crate::layers::{Experts, InputMlp, Linear, Mlp};
use crate::model::{
    Builder, Cx, Exhibit, Fields, Grads, Heads, Measure, Measured, Model, ModelSpec, Reader, ReaderGrads,
};
use crate::params::{Flat, Init, Tensor};

/// In words.
pub const ABOUT: About = About {
    title: "every scenario's prediction for a row, weighed by how scenarios relate",
    paper: "Li et al., CIKM 2020",
    forward: "α^i = softmax(G_i e + c_i); t_i = T_i(Σ_k α^i_k E_k(e)); w = softmax(MLP([e ; z_s])); \
              o = w_s t_s + Σ_{i≠s} w_i sg(t_i)",
};

/// `[model.hmoe]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HmoeConfig {
    /// The experts; `count = 0` takes the number of scenarios.
    pub experts: ExpertsConfig,
    /// Each scenario's tower.
    pub tower: ScenarioTowerConfig,
    /// The network that weighs the scenarios; a last layer to as many numbers follows.
    pub relation: RelationConfig,
    /// q: width of a scenario's embedding.
    pub scenario_dim: usize,
    /// Whether a row trains the tower of its own scenario alone, as in the paper.
    pub stop_gradient: bool,
}

mlp_config!(
    /// Each scenario's tower; a last layer to the logit follows.
    ScenarioTowerConfig,
    [16]
);

mlp_config!(
    /// Hidden layers of the network that weighs the scenarios.
    RelationConfig,
    [16]
);

impl Default for HmoeConfig {
    fn default() -> Self {
        let (experts, tower) = Default::default();
        Self { experts, tower, relation: RelationConfig::default(), scenario_dim: 16, stop_gradient: true }
    }
}

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, input: &InputSpec) -> Result<()> {
    let HmoeConfig { experts, tower, relation, scenario_dim, .. } = &config.hmoe;
    check::on_every_row("hmoe", input.scenarios)?;
    check::experts("model.hmoe.experts", experts, input.scenarios, "")?;
    let (s, count) = (input.scenarios, experts.count(input.scenarios));
    check::gates_on_every_row("model.hmoe.experts.count", s, count, 0)?;
    check::widths("model.hmoe.tower.hidden", &tower.hidden)?;
    check::dropout("model.hmoe.tower.dropout", tower.dropout)?;
    check::widths("model.hmoe.relation.hidden", &relation.hidden)?;
    check::dropout("model.hmoe.relation.dropout", relation.dropout)?;
    check::width("model.hmoe.scenario_dim", *scenario_dim)
}

/// Readers: the experts' first layer, the gates, the relation network's first layer.
const EXPERTS: usize = 0;
const GATES: usize = 1;
const RELATION: usize = 2;

/// Experts, gates and towers of all scenarios, relation network.
#[derive(Clone, Debug)]
pub struct Hmoe {
    spec: ModelSpec,
    experts: Experts,
    gates: Linear,
    towers: Mlp,
    relation: InputMlp,
    stop_gradient: bool,
}

/// Packed weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    experts: Vec<B::Packed>,
    gates: B::Packed,
    towers: Vec<B::Packed>,
    relation: InputMlpPrepared<B>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    e: Tensor<B>, // [rows, Σ d]
    experts: MlpActivations<B>,
    outputs: Tensor<B>,   // of the experts, [rows, K·m]
    d_outputs: Tensor<B>, // [rows, K·m]
    logits: Tensor<B>,    // of all gates, [rows, S·K]
    alpha: Tensor<B>,     // [rows, S·K]
    d_alpha: Tensor<B>,   // [rows, S·K]
    mix: Tensor<B>,       // input of each tower, [rows, S·m]
    d_mix: Tensor<B>,     // [rows, S·m]
    towers: MlpActivations<B>,
    t: Tensor<B>,   // [rows, S]
    d_t: Tensor<B>, // [rows, S]
    relation: InputMlpActivations<B>,
    scores: Tensor<B>, // output of the relation network, then its gradient, [rows, S]
    w: Tensor<B>,      // [rows, S]
    d_w: Tensor<B>,    // [rows, S]
    d_own: Tensor<B>,  // gradient of the own tower's output, [rows, 1]
}

impl Hmoe {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::Hmoe, config, input)?;
        let HmoeConfig { experts, tower, relation, scenario_dim, stop_gradient } = &config.hmoe;
        let mut build = Builder::new(config.embedding(), input);
        let (s, inputs) = (input.scenarios, build.embedding().width(Fields::All));
        let scenario =
            build.params.add("scenario.weight", &[s, *scenario_dim], Init::Normal(config.init_std));
        let experts = Experts::new(&mut build, "experts", inputs, experts).reading_fields();
        let shape = [inputs, experts.count()];
        let gates = Linear::side_by_side(&mut build.params, "gate", s, shape, true).without_relu();
        let site = build.dropout_sites();
        let towers = Mlp::logits(&mut build.params, "towers", s, experts.width(), &tower.hidden)
            .with_dropout(tower.dropout, site);
        let relation = InputMlp::new(&mut build, "relation", Fields::All, scenario, |build, inputs| {
            let site = build.dropout_sites();
            Mlp::to_linear(&mut build.params, "relation", inputs, &relation.hidden, s)
                .with_dropout(relation.dropout, site)
        });
        let read = |first| Reader::linear(build.embedding(), Fields::All, first);
        let readers = vec![read(experts.first()), read(gates.first()), read(relation.first())];
        let spec = build.build(
            readers,
            vec![Measure::of_scenarios(s), Measure::of_scenarios(experts.count() * experts.width())],
        );
        Ok(Self { spec, experts, gates, towers, relation, stop_gradient: *stop_gradient })
    }

    /// Columns of scenario `i`'s gate, and of its tower's input.
    fn places(&self, i: usize) -> [(usize, usize); 2] {
        [self.experts.count(), self.experts.width()].map(|width| (i * width, width))
    }
}

impl<B: Backend> Model<B> for Hmoe {
    type Prepared = Prepared<B>;
    type Activations = Activations<B>;
    type Scratch = ();

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Prepared<B>> {
        let used = Products::of(training);
        Ok(Prepared {
            experts: self.experts.alloc(be, used)?,
            // The engine takes the gradient back through them.
            gates: self.gates.alloc(be, Products::Forward)?,
            towers: self.towers.alloc(be, used)?,
            relation: self.relation.alloc(be, used)?,
        })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let forward = |cols: usize| Tensor::new(be, rows, cols);
        let backward = |cols: usize| Tensor::new(be, if training { rows } else { 0 }, cols);
        let (s, k, m) = (self.spec.input().scenarios, self.experts.count(), self.experts.width());
        Ok(Activations {
            e: forward(self.spec.readers()[EXPERTS].width())?,
            experts: self.experts.activations(be, rows, training)?,
            outputs: forward(k * m)?,
            d_outputs: backward(k * m)?,
            logits: forward(s * k)?,
            alpha: forward(s * k)?,
            d_alpha: backward(s * k)?,
            mix: forward(s * m)?,
            d_mix: backward(s * m)?,
            towers: self.towers.activations(be, rows, training)?,
            t: forward(s)?,
            d_t: backward(s)?,
            relation: self.relation.activations(be, rows, training)?,
            scores: forward(s)?,
            w: forward(s)?,
            d_w: backward(s)?,
            d_own: backward(1)?,
        })
    }

    fn alloc_scratch(&self, _: &B) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, _: &Flat<B>) {
        self.experts.pack(be, &mut prepared.experts, params);
        self.gates.pack(be, &mut prepared.gates, params);
        self.towers.pack(be, &mut prepared.towers, params);
        self.relation.pack(be, &mut prepared.relation, params);
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
        self.spec.embed(cx, EXPERTS, act.e.mat_mut(n));
        let e = act.e.mat(n);
        self.experts.forward(cx, act.outputs.mat_mut(n), &mut act.experts, e, &prepared.experts);
        self.gates.forward(be, act.logits.mat_mut(n), e, &prepared.gates, cx.params);
        for i in 0..self.spec.input().scenarios {
            let [(gate, k), (place, m)] = self.places(i);
            let (mix, alpha) = (act.mix.mat_mut(n).cols(place, m), act.alpha.mat_mut(n).cols(gate, k));
            be.gate(mix, alpha, act.logits.mat(n).cols(gate, k), act.outputs.mat(n));
        }
        self.towers.forward(cx, act.t.mat_mut(n), &mut act.towers, act.mix.mat(n), &prepared.towers);
        let embed = |to: MatMut<B::Buf>| be.copy(to, Write::Set, e);
        self.relation.forward(cx, act.scores.mat_mut(n), &mut act.relation, embed, &prepared.relation);
        be.softmax(act.w.mat_mut(n), act.scores.mat(n));
        be.row_dot(logits, Write::Set, act.w.mat(n), act.t.mat(n));
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
        let (be, n) = (cx.be, cx.x.rows);
        // forward: o = Σ_i w_i t̃_i with w = softmax(MLP([e ; z_s]))
        be.row_scale(act.d_w.mat_mut(n), Write::Set, d_logits.as_mat(), act.t.mat(n));
        be.row_scale(act.d_t.mat_mut(n), Write::Set, d_logits.as_mat(), act.w.mat(n));
        if self.stop_gradient {
            be.select(act.d_own.mat_mut(n), act.d_t.mat(n), cx.x.groups);
            be.select_bwd(act.d_t.mat_mut(n), Write::Set, act.d_own.mat(n), cx.x.groups);
        }
        be.softmax_bwd(act.scores.mat_mut(n), act.d_w.mat(n), act.w.mat(n));
        let (delta, d_scores) = (readers.reader(RELATION), act.scores.mat_mut(n));
        self.relation.backward(cx, grads, delta, d_scores, None, &mut act.relation, &prepared.relation);

        let dense = &mut grads.dense;
        let (mix, d_mix) = ((act.mix.mat(n), false), (act.d_mix.mat_mut(n), Write::Set));
        let (d_t, own) = (act.d_t.mat_mut(n), &mut act.towers);
        self.towers.backward(cx, dense, d_mix, mix, d_t, None, own, &prepared.towers);
        // forward: input i = Σ_k α^i_k E_k with α^i = softmax(G_i e + c_i)
        let (outputs, mut write) = (act.outputs.mat(n), Write::Set);
        for i in 0..self.spec.input().scenarios {
            let [(gate, k), (place, m)] = self.places(i);
            let (d_mix, alpha) = (act.d_mix.mat(n).cols(place, m), act.alpha.mat(n).cols(gate, k));
            let (d_alpha, d_outputs) = (act.d_alpha.mat_mut(n).cols(gate, k), act.d_outputs.mat_mut(n));
            be.mix_bwd(d_alpha, d_outputs, write, d_mix, alpha, outputs);
            be.softmax_bwd(readers.reader(GATES).cols(gate, k), act.d_alpha.mat(n).cols(gate, k), alpha);
            write = Write::Add;
        }
        self.gates.backward_to_fields(be, dense, readers.reader(GATES).as_mat());
        let (delta, d_outputs) = (readers.reader(EXPERTS), act.d_outputs.mat_mut(n));
        let (own, packed) = (&mut act.experts, &prepared.experts);
        self.experts.backward_to_fields(cx, dense, delta, d_outputs, Some(outputs), own, packed);
    }

    fn finish(&self, be: &B, grads: &mut Grads<B>, (): &mut (), prepared: &Prepared<B>, params: &Flat<B>) {
        self.relation.finish(be, grads, &prepared.relation, params);
    }

    fn measured<'a>(&self, act: &'a Activations<B>, measure: usize, rows: usize) -> Mat<'a, B::Buf> {
        if measure == 0 { act.w.mat(rows) } else { act.outputs.mat(rows) }
    }

    fn exhibits(&self, _: &B, _: &Prepared<B>, _: &Flat<B>, measured: &Measured) -> Result<Vec<Exhibit>> {
        Ok(vec![Exhibit {
            title: "Relations of scenarios".into(),
            says: "Mean weight that the rows of a scenario (down) give each scenario's prediction (across); a row sums to 1."
                .into(),
            ..Exhibit::gate(measured, 0, Heads::Scenarios)
        }, Exhibit::outputs(measured, 1, self.experts.names())])
    }
}

/// Options and fields of every kind. Differences know no stop-gradient, so a row trains all towers here; with it, PyTorch is
/// the judge.
pub(super) fn cases() -> Vec<Case> {
    let own = |count, experts: &[usize], tower: &[usize], relation: &[usize], dropout| HmoeConfig {
        experts: ExpertsConfig { count, hidden: experts.to_vec(), dropout },
        tower: ScenarioTowerConfig { hidden: tower.to_vec(), dropout },
        relation: RelationConfig { hidden: relation.to_vec(), dropout },
        scenario_dim: 2,
        stop_gradient: false,
    };
    let case = |name, own| Case::of(super::Kind::Hmoe, name, |c| c.config.hmoe = own);
    cases_of_fields(super::Kind::Hmoe, |c, hidden| c.config.hmoe = own(2, hidden, &[3], &hidden[1..], 0.0))
        .chain([
            case("dropout", own(2, &[5, 4], &[4, 3], &[4, 3], 0.3)),
            case("one expert", own(1, &[4], &[3], &[3], 0.0)),
            case("an expert per scenario", own(0, &[5, 4], &[3], &[3], 0.0)),
            case("no hidden layer behind the experts", own(2, &[4], &[], &[], 0.0)),
            Case::of(super::Kind::Hmoe, "one scenario", |c| {
                c.input.scenarios = 1;
                c.config.hmoe = own(2, &[4], &[3], &[3], 0.0);
            }),
        ])
        .collect()
}
