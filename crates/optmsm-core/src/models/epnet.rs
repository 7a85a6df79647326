//! EPNet: the scenario scales each element of the embeddings, then a tower by scenario reads them.
//!
//! Chang et al., KDD 2023 (PEPNet), its half that personalizes embeddings: `e' = e ⊙ 2σ(MLP([sg(e) ; z_s]))`, `o = T_s(e')`,
//! with sg the stop-gradient. Definition: docs/models.md#epnet. Embeddings learn through e, which the gate scales, so no table
//! is reached by stop-gradients alone.

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::config::{InputSpec, ModelConfig, TowerConfig, check, mlp_config};
use crate::error::Result;
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::gate_unit::{GateUnitActivations, GateUnitPrepared, factors_of_fields};
use crate::layers::scenario_linear::ScenarioTowersActivations;
use crate::layers::{GateInput, GateUnit, ScenarioTowers};
use crate::model::{
    Builder, Cx, Exhibit, Fields, Grads, Measure, Measured, Model, ModelSpec, Reader, ReaderGrads,
};
use crate::params::{Flat, Init, Tensor};

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
    input: GateInput,
    gate: GateUnit,
    towers: ScenarioTowers,
}

/// Packed weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    gate: GateUnitPrepared<B>,
    towers: Vec<B::Packed>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    x: Tensor<B>, // [e ; z_s], [rows, Σ d + q]
    gate: GateUnitActivations<B>,
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
        let (scenario_dim, stop_gradient) = (*scenario_dim, *stop_gradient);
        let mut build = Builder::new(config.embedding(), input);
        let (s, fields) = (input.scenarios, build.embedding().width(Fields::All));
        let scenario = build.params.add("scenario.weight", &[s, scenario_dim], Init::Normal(config.init_std));
        let input = GateInput { scenario, fields, scenario_dim, prior: 0, stop_gradient };
        let gate = GateUnit::new(&mut build, "gate", input, (&gate.hidden, gate.dropout), fields);
        let dropout = (tower.dropout, build.dropout_sites());
        let towers = ScenarioTowers::new(&mut build.params, "towers", s, fields, &tower.hidden, dropout);
        let readers = vec![Reader::embedded(build.embedding(), Fields::All)];
        let spec = build.build(readers, vec![Measure::of_scenarios(fields)]);
        Ok(Self { spec, input, gate, towers })
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
        Ok(Prepared { gate: self.gate.alloc(be, used)?, towers: self.towers.alloc(be, used)? })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let GateInput { fields, .. } = self.input;
        Ok(Activations {
            x: Tensor::new(be, rows, self.input.width())?,
            gate: self.gate.activations(be, rows, training)?,
            scaled: Tensor::new(be, rows, fields)?,
            d_scaled: Tensor::new(be, if training { rows } else { 0 }, fields)?,
            towers: self.towers.activations(be, rows, training)?,
        })
    }

    fn alloc_scratch(&self, _: &B) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, _: &Flat<B>) {
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
        let (n, fields) = (cx.x.rows, self.input.fields);
        self.spec.embed(cx, 0, act.x.mat_mut(n).cols(0, fields));
        self.input.gather_scenarios(cx, act.x.mat_mut(n));
        let (scaled, x) = (act.scaled.mat_mut(n), act.x.mat(n));
        self.gate.forward(cx, scaled, &mut act.gate, x.cols(0, fields), x, &prepared.gate);
        self.towers.forward(cx, logits, &mut act.towers, act.scaled.mat(n), &prepared.towers);
    }

    fn embedded<'a>(&self, act: &'a Activations<B>, _: usize, rows: usize) -> Mat<'a, B::Buf> {
        act.x.mat(rows).cols(0, self.input.fields)
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
        let n = cx.x.rows;
        let (x, d_x) = ((act.scaled.mat(n), None), (act.d_scaled.mat_mut(n), Write::Set));
        let dense = &mut grads.dense;
        self.towers.backward(cx, dense, d_x, x, d_logits, &mut act.towers, &prepared.towers);
        let (x, d_e) = (act.x.mat(n), (readers.reader(0), Write::Set));
        let (e, d_scaled) = (x.cols(0, self.input.fields), act.d_scaled.mat(n));
        self.gate.backward_to_scaled(cx, d_e, d_scaled, e, &mut act.gate);
        self.gate.backward(cx, grads, &mut act.gate, x, &prepared.gate);
        self.gate.backward_to_fields(cx, readers.reader(0), &act.gate, &prepared.gate);
    }

    fn finish(&self, be: &B, grads: &mut Grads<B>, (): &mut (), prepared: &Prepared<B>, _: &Flat<B>) {
        self.gate.finish(be, grads, &prepared.gate);
    }

    fn measured<'a>(&self, act: &'a Activations<B>, _: usize, rows: usize) -> Mat<'a, B::Buf> {
        self.gate.factors(&act.gate, rows)
    }

    fn exhibits(&self, _: &B, _: &Prepared<B>, _: &Flat<B>, measured: &Measured) -> Result<Vec<Exhibit>> {
        Ok(vec![factors_of_fields(&self.spec, measured, 0)])
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
