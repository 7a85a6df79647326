//! EPNet: the scenario scales each element of the embeddings, then a tower by scenario reads them.
//!
//! Chang et al., KDD 2023 (PEPNet), its half that personalizes embeddings: `e' = e ⊙ 2σ(MLP([sg(e) ; z_s]))`, `o = T_s(e')`,
//! with sg the stop-gradient. Definition: docs/models.md#epnet. Embeddings learn through e, which the gate scales, so no table
//! is reached by stop-gradients alone.

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Groups, Layout, Mat, MatMut, Products, Write};
use crate::config::{InputSpec, ModelConfig, TowerConfig, check, mlp_config};
use crate::error::Result;
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::mlp::MlpActivations;
use crate::layers::scenario_linear::ScenarioTowersActivations;
use crate::layers::{Mlp, ScenarioTowers};
use crate::model::{Builder, Cx, Fields, Grads, Model, ModelSpec, Reader, ReaderGrads};
use crate::params::{Flat, Init, ParamId, Tensor};

/// In words.
pub const ABOUT: About = About {
    title: "embeddings scaled by a gate of the scenario, a tower for each",
    paper: "Chang et al., KDD 2023 (the first half of PEPNet)",
    forward: "e' = e ⊙ 2σ(MLP([sg(e) ; z_s])); o = T_s(e')",
};

/// `[model.epnet]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EpnetConfig {
    /// Hidden layers of the gate; a linear one to the width of the embeddings follows.
    pub gate: GateConfig,
    /// Each scenario's tower.
    pub tower: TowerConfig,
    /// q: width of a scenario's embedding.
    pub scenario_dim: usize,
    /// Whether the gate leaves the embeddings that it reads alone, as in the paper.
    pub stop_gradient: bool,
}

mlp_config!(
    /// Hidden layers of the gate.
    GateConfig,
    [96]
);

impl Default for EpnetConfig {
    fn default() -> Self {
        Self {
            gate: GateConfig::default(),
            tower: TowerConfig::default(),
            scenario_dim: 16,
            stop_gradient: true,
        }
    }
}

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, _: &InputSpec) -> Result<()> {
    let EpnetConfig { gate, tower, scenario_dim, .. } = &config.epnet;
    check::some_widths("model.epnet.gate.hidden", &gate.hidden)?;
    check::dropout("model.epnet.gate.dropout", gate.dropout)?;
    check::widths("model.epnet.tower.hidden", &tower.hidden)?;
    check::dropout("model.epnet.tower.dropout", tower.dropout)?;
    check::width("model.epnet.scenario_dim", *scenario_dim)
}

/// Gate and towers.
#[derive(Clone, Debug)]
pub struct Epnet {
    spec: ModelSpec,
    scenario: ParamId, // [S, q]
    gate: Mlp,
    towers: ScenarioTowers,
    d_by_scenario: ParamId, // δ of the gate's first layer, summed by scenario, [S, h]
    width: usize,           // Σ d
    scenario_dim: usize,    // q
    stop_gradient: bool,
}

/// Packed weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    gate: Vec<B::Packed>,
    fields: B::Packed,   // columns of the gate's first layer that read e
    scenario: B::Packed, // those that read z_s
    towers: Vec<B::Packed>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    x: Tensor<B>, // [e ; z_s], [rows, Σ d + q]
    gate: MlpActivations<B>,
    o: Tensor<B>,        // output of the gate, then its gradient, [rows, Σ d]
    g: Tensor<B>,        // 2σ(o), [rows, Σ d]
    scaled: Tensor<B>,   // e', [rows, Σ d]
    d_scaled: Tensor<B>, // [rows, Σ d]
    towers: ScenarioTowersActivations<B>,
}

impl Epnet {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::Epnet, config, input)?;
        let EpnetConfig { gate, tower, scenario_dim, stop_gradient } = &config.epnet;
        let mut build = Builder::new(config.embedding(), input);
        let (s, width) = (input.scenarios, build.embedding().width(Fields::All));
        let scenario =
            build.params.add("scenario.weight", &[s, *scenario_dim], Init::Normal(config.init_std));
        let [gate_site, tower_site] = [build.dropout_sites(), build.dropout_sites()];
        let gate_inputs = width + scenario_dim;
        let gate = Mlp::to_linear(&mut build.params, "gate", gate_inputs, &gate.hidden, width)
            .with_dropout(gate.dropout, gate_site);
        let dropout = (tower.dropout, tower_site);
        let towers = ScenarioTowers::new(&mut build.params, "towers", s, width, &tower.hidden, dropout);
        let shape = [s, gate.first().outputs];
        let d_by_scenario = build.derived.add("gate.0.by_scenario", &shape, Init::Zero);
        let readers = vec![Reader::embedded(build.embedding(), Fields::All)];
        let spec = build.build(readers, Vec::new());
        let (scenario_dim, stop_gradient) = (*scenario_dim, *stop_gradient);
        Ok(Self { spec, scenario, gate, towers, d_by_scenario, width, scenario_dim, stop_gradient })
    }
}

impl<B: Backend> Model<B> for Epnet {
    type Prepared = Prepared<B>;
    type Activations = Activations<B>;
    type Scratch = ();

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Prepared<B>> {
        let used = Products::of(training);
        let (outputs, fields) = (self.gate.first().outputs, if self.stop_gradient { 0 } else { self.width });
        Ok(Prepared {
            gate: self.gate.alloc(be, used)?,
            fields: be.alloc_packed(1, outputs, fields, used)?,
            scenario: be.alloc_packed(1, outputs, self.scenario_dim, used)?,
            towers: self.towers.alloc(be, used)?,
        })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let forward = |cols: usize| Tensor::new(be, rows, cols);
        Ok(Activations {
            x: forward(self.width + self.scenario_dim)?,
            gate: self.gate.activations(be, rows, training)?,
            o: forward(self.width)?,
            g: forward(self.width)?,
            scaled: forward(self.width)?,
            d_scaled: Tensor::new(be, if training { rows } else { 0 }, self.width)?,
            towers: self.towers.activations(be, rows, training)?,
        })
    }

    fn alloc_scratch(&self, _: &B) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, _: &Flat<B>) {
        self.gate.pack(be, &mut prepared.gate, params);
        let first = params.mat(self.gate.first().weight);
        be.pack(&mut prepared.scenario, first.cols(self.width, self.scenario_dim), Layout::OutIn);
        if !self.stop_gradient {
            be.pack(&mut prepared.fields, first.cols(0, self.width), Layout::OutIn);
        }
        self.towers.pack(be, &mut prepared.towers, params);
    }

    fn forward(
        &self,
        cx: Cx<B>,
        logits: MatMut<B::Buf>,
        _: Option<MatMut<B::Buf>>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
    ) {
        let (be, n, width) = (cx.be, cx.x.rows, self.width);
        self.spec.embed(cx, 0, act.x.mat_mut(n).cols(0, width));
        let z = act.x.mat_mut(n).cols(width, self.scenario_dim);
        be.gather_rows(z, cx.params.mat(self.scenario), cx.x.inputs.scenarios(), cx.x.first);
        self.gate.forward(cx, act.o.mat_mut(n), &mut act.gate, act.x.mat(n), &prepared.gate);
        let e = act.x.mat(n).cols(0, width);
        be.sigmoid_gate(act.scaled.mat_mut(n), act.g.mat_mut(n), e, act.o.mat(n));
        self.towers.forward(cx, logits, &mut act.towers, act.scaled.mat(n), &prepared.towers);
    }

    fn embedded<'a>(&self, act: &'a Activations<B>, _: usize, rows: usize) -> Mat<'a, B::Buf> {
        act.x.mat(rows).cols(0, self.width)
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
        let Grads { dense, derived } = grads;
        let (x, d_x) = ((act.scaled.mat(n), None), (act.d_scaled.mat_mut(n), Write::Set));
        self.towers.backward(cx, dense, d_x, x, d_logits, &mut act.towers, &prepared.towers);
        // forward: e' = e ⊙ g with g = 2σ(o)
        let (e, g, d_scaled) = (act.x.mat(n).cols(0, self.width), act.g.mat(n), act.d_scaled.mat(n));
        be.sigmoid_gate_bwd(act.o.mat_mut(n), readers.reader(0), Write::Set, d_scaled, e, g);
        // forward: o = MLP([sg(e) ; z_s])
        let (d_o, own) = (act.o.mat_mut(n), &mut act.gate);
        let delta = self.gate.backward_to_constants(cx, dense, act.x.mat(n), d_o, None, own, &prepared.gate);
        let by_scenario = derived.mat_mut(self.d_by_scenario);
        be.col_sum(by_scenario, Write::Add, delta, Groups::Rows(cx.x.groups));
        if !self.stop_gradient {
            be.linear_dx(readers.reader(0), Write::Add, delta, &prepared.fields, Groups::One(0), None);
        }
    }

    fn finish(
        &self,
        be: &B,
        Grads { dense, derived }: &mut Grads<B>,
        (): &mut (),
        prepared: &Prepared<B>,
        _: &Flat<B>,
    ) {
        // forward: y = … + z W_zᵀ, and the rows of a scenario share z_s
        let delta = derived.mat(self.d_by_scenario);
        let d_z = dense.mat_mut(self.scenario);
        be.linear_dx(d_z, Write::Add, delta, &prepared.scenario, Groups::One(0), None);
    }
}

/// Options and fields of every kind. Differences know no stop-gradient, so the gate trains the embeddings here; with it, PyTorch
/// is the judge.
pub(super) fn cases() -> Vec<Case> {
    let own = |gate: &[usize], tower: &[usize], dropout| EpnetConfig {
        gate: GateConfig { hidden: gate.to_vec(), dropout },
        tower: TowerConfig { hidden: tower.to_vec(), dropout },
        scenario_dim: 2,
        stop_gradient: false,
    };
    let case = |name, own| Case::of(super::Kind::Epnet, name, |c| c.config.epnet = own);
    cases_of_fields(super::Kind::Epnet, |c, hidden| c.config.epnet = own(hidden, &[3], 0.0))
        .chain([
            case("dropout", own(&[5, 4], &[4, 3], 0.3)),
            case("towers without hidden layer", own(&[5], &[], 0.0)),
        ])
        .collect()
}
