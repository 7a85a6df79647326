//! Multi-gate mixture of experts: K experts read all fields, a gate by scenario weighs them, a tower by scenario follows.
//!
//! Ma et al., KDD 2018, with a scenario in a task's place: `α = softmax(G_s e + c_s)`, `o = T_s(Σ α_k E_k(e))`. Definition:
//! docs/models.md#mmoe. The gate reads the same embeddings as the experts, and trains them; towers and gates are computed for
//! the rows of their scenario alone.

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::config::{ExpertsConfig, InputSpec, ModelConfig, TowerConfig, check};
use crate::error::Result;
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::mlp::MlpActivations;
use crate::layers::scenario_linear::ScenarioTowersActivations;
use crate::layers::{Experts, Gate, Mixture, ScenarioTowers};
use crate::model::{
    Builder, Cx, Exhibit, Fields, Grads, Measure, Measured, Model, ModelSpec, Reader, ReaderGrads,
};
use crate::params::{Flat, Tensor};

/// In words.
pub const ABOUT: About = About {
    title: "experts that all scenarios share, a gate and a tower for each",
    paper: "Ma et al., KDD 2018",
    forward: "α = softmax(G_s e + c_s); o = T_s(Σ_k α_k E_k(e))",
};

/// `[model.mmoe]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MmoeConfig {
    /// The experts; `count = 0` takes the number of scenarios.
    pub experts: ExpertsConfig,
    /// Each scenario's tower.
    pub tower: TowerConfig,
}

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, input: &InputSpec) -> Result<()> {
    let MmoeConfig { experts, tower } = &config.mmoe;
    check::experts("model.mmoe.experts", experts, input.scenarios, "")?;
    check::widths("model.mmoe.tower.hidden", &tower.hidden)?;
    check::dropout("model.mmoe.tower.dropout", tower.dropout)
}

/// Readers: the experts' first layer, the gates.
const EXPERTS: usize = 0;
const GATE: usize = 1;

/// Experts, gates, towers.
#[derive(Clone, Debug)]
pub struct Mmoe {
    spec: ModelSpec,
    experts: Experts,
    gate: Gate,
    towers: ScenarioTowers,
}

/// Packed weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    experts: Vec<B::Packed>,
    gate: B::Packed,
    towers: Vec<B::Packed>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    e: Tensor<B>, // [rows, Σ d]
    experts: MlpActivations<B>,
    outputs: Tensor<B>,   // of the experts, [rows, K·m]
    d_outputs: Tensor<B>, // [rows, K·m]
    gate: Mixture<B>,
    mix: Tensor<B>,   // [rows, m]
    d_mix: Tensor<B>, // [rows, m]
    towers: ScenarioTowersActivations<B>,
}

impl Mmoe {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::Mmoe, config, input)?;
        let MmoeConfig { experts, tower } = &config.mmoe;
        let mut build = Builder::new(config.embedding(), input);
        let (s, inputs) = (input.scenarios, build.embedding().width(Fields::All));
        let experts = Experts::new(&mut build, "experts", inputs, experts).reading_fields();
        let (width, count) = (experts.width(), experts.count());
        let gate = Gate::by_scenario(&mut build, "gate", [inputs, count]);
        let dropout = (tower.dropout, build.dropout_sites());
        let towers = ScenarioTowers::new(&mut build.params, "towers", s, width, &tower.hidden, dropout);
        let readers = vec![
            Reader::linear(build.embedding(), Fields::All, experts.first()),
            Reader::embedded(build.embedding(), Fields::All),
        ];
        let spec =
            build.build(readers, vec![Measure::of_scenarios(count), Measure::of_scenarios(count * width)]);
        Ok(Self { spec, experts, gate, towers })
    }
}

impl<B: Backend> Model<B> for Mmoe {
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
            gate: self.gate.alloc(be, used)?,
            towers: self.towers.alloc(be, used)?,
        })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let forward = |cols: usize| Tensor::new(be, rows, cols);
        let backward = |cols: usize| Tensor::new(be, if training { rows } else { 0 }, cols);
        let (count, width) = (self.experts.count(), self.experts.width());
        Ok(Activations {
            e: forward(self.spec.readers()[EXPERTS].width())?,
            experts: self.experts.activations(be, rows, training)?,
            outputs: forward(count * width)?,
            d_outputs: backward(count * width)?,
            gate: self.gate.activations(be, rows, training)?,
            mix: forward(width)?,
            d_mix: backward(width)?,
            towers: self.towers.activations(be, rows, training)?,
        })
    }

    fn alloc_scratch(&self, _: &B) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, _: &Flat<B>) {
        self.experts.pack(be, &mut prepared.experts, params);
        self.gate.pack(be, &mut prepared.gate, params);
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
        let n = cx.x.rows;
        self.spec.embed(cx, EXPERTS, act.e.mat_mut(n));
        let e = act.e.mat(n);
        self.experts.forward(cx, act.outputs.mat_mut(n), &mut act.experts, e, &prepared.experts);
        self.gate.forward(cx, &mut act.gate, e, &prepared.gate);
        act.gate.forward(cx.be, act.mix.mat_mut(n), act.outputs.mat(n));
        self.towers.forward(cx, logits, &mut act.towers, act.mix.mat(n), &prepared.towers);
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
        let (n, dense) = (cx.x.rows, &mut grads.dense);
        let (x, d_x) = ((act.mix.mat(n), None), (act.d_mix.mat_mut(n), Write::Set));
        self.towers.backward(cx, dense, d_x, x, d_logits, &mut act.towers, &prepared.towers);
        let outputs = act.outputs.mat(n);
        act.gate.backward(cx.be, act.d_outputs.mat_mut(n), act.d_mix.mat(n), outputs);
        let d_e = (readers.reader(GATE), Write::Set);
        self.gate.backward(cx, dense, d_e, &act.gate, act.e.mat(n), &prepared.gate);
        let (delta, d_outputs) = (readers.reader(EXPERTS), act.d_outputs.mat_mut(n));
        let (own, packed) = (&mut act.experts, &prepared.experts);
        self.experts.backward_to_fields(cx, dense, delta, d_outputs, Some(outputs), own, packed);
    }

    fn finish(&self, _: &B, _: &mut Grads<B>, (): &mut (), _: &Prepared<B>, _: &Flat<B>) {}

    fn measured<'a>(&self, act: &'a Activations<B>, measure: usize, rows: usize) -> Mat<'a, B::Buf> {
        if measure == 0 { act.gate.alpha(rows) } else { act.outputs.mat(rows) }
    }

    fn exhibits(&self, _: &B, _: &Prepared<B>, _: &Flat<B>, measured: &Measured) -> Result<Vec<Exhibit>> {
        let names = || self.experts.names();
        Ok(vec![Exhibit::gate(measured, 0, names()), Exhibit::outputs(measured, 1, names())])
    }
}

/// Options and fields of every kind.
pub(super) fn cases() -> Vec<Case> {
    let own = |count, hidden: &[usize], tower: &[usize], dropout| MmoeConfig {
        experts: ExpertsConfig { count, hidden: hidden.to_vec(), dropout },
        tower: TowerConfig { hidden: tower.to_vec(), dropout },
    };
    let case = |name, own| Case::of(super::Kind::Mmoe, name, |c| c.config.mmoe = own);
    cases_of_fields(super::Kind::Mmoe, |c, hidden| c.config.mmoe = own(2, hidden, &[3], 0.0))
        .chain([
            case("dropout", own(3, &[5, 4], &[4, 3], 0.3)),
            case("one expert", own(1, &[5, 4], &[3], 0.0)),
            case("an expert per scenario", own(0, &[5, 4], &[3], 0.0)),
            case("seven experts", own(7, &[4], &[3], 0.0)),
            case("towers without hidden layer", own(2, &[5, 4], &[], 0.0)),
        ])
        .collect()
}
