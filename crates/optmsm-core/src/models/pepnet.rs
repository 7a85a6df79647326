//! PEPNet: gates scale the embeddings first, then the hidden units of towers by scenario.
//!
//! Chang et al., KDD 2023: `epnet` before `ppnet`, `e' = e ⊙ 2σ(MLP([sg(e) ; z_s]))`, then `g = [sg(e') ; z_s ; e_prior]` and
//! `h_0 = e'`. Definition: docs/models.md#pepnet. The priors are the embeddings as they are in their tables, not scaled. In public
//! code side features reach the network through stop-gradients alone, so their tables never learn: not so here.

use serde::{Deserialize, Serialize};

use super::About;
use super::ppnet::{ALL, GateConfig, GatedTowerConfig, PRIOR, readers, validate_towers};
use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::config::{InputSpec, ModelConfig, check, mlp_config};
use crate::error::Result;
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::gate_unit::{GateUnitActivations, GateUnitPrepared, factors_of_fields};
use crate::layers::gated_towers::{GatedTowersActivations, GatedTowersPrepared};
use crate::layers::{GateInput, GateUnit, GatedTowers};
use crate::model::{Builder, Cx, Exhibit, Grads, Measure, Measured, Model, ModelSpec, ReaderGrads};
use crate::params::{Flat, Init, Tensor};

/// In words.
pub const ABOUT: About = About {
    title: "embeddings, then the units of a tower for each scenario, scaled by gates",
    paper: "Chang et al., KDD 2023",
    forward: "e' = e ⊙ 2σ(MLP([sg(e) ; z_s])); g = [sg(e') ; z_s ; e_prior]; h_0 = e'; h_{l+1} = ReLU(W_{s,l} h_l + b_{s,l}) ⊙ 2σ(Gate_l(g)); o = W_{s,L} h_L + b_{s,L}",
};

/// `[model.pepnet]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PepnetConfig {
    /// Hidden layers of the gate of the embeddings; a linear one to their width follows.
    pub epnet: EmbeddingGateConfig,
    /// Hidden layers of each scenario's tower; a last layer of width 1 follows.
    pub tower: GatedTowerConfig,
    /// Hidden layers of each gate of the tower; a linear one to the width of its layer follows.
    pub gate: GateConfig,
    /// Names of fields that the tower's gates read and train.
    pub prior_fields: Vec<String>,
    /// q: width of a scenario's embedding.
    pub scenario_dim: usize,
    /// Whether gates leave the embeddings of all fields alone, as in the paper.
    pub stop_gradient: bool,
}

mlp_config!(
    /// Hidden layers of the gate of the embeddings.
    EmbeddingGateConfig,
    [16]
);

impl Default for PepnetConfig {
    fn default() -> Self {
        Self {
            epnet: EmbeddingGateConfig::default(),
            tower: GatedTowerConfig::default(),
            gate: GateConfig::default(),
            prior_fields: Vec::new(),
            scenario_dim: 16,
            stop_gradient: true,
        }
    }
}

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, input: &InputSpec) -> Result<()> {
    let PepnetConfig { epnet, tower, gate, prior_fields, scenario_dim, .. } = &config.pepnet;
    check::some_widths("model.pepnet.epnet.hidden", &epnet.hidden)?;
    check::dropout("model.pepnet.epnet.dropout", epnet.dropout)?;
    validate_towers("model.pepnet", (tower, gate), prior_fields, *scenario_dim, input)
}

/// Gate of the embeddings, towers and their gates.
#[derive(Clone, Debug)]
pub struct Pepnet {
    spec: ModelSpec,
    input: GateInput, // of the gate of the embeddings
    epnet: GateUnit,
    towers: GatedTowers,
}

/// Packed weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    epnet: GateUnitPrepared<B>,
    towers: GatedTowersPrepared<B>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    x: Tensor<B>, // [e ; z_s], [rows, Σ d + q]
    epnet: GateUnitActivations<B>,
    d_scaled: Tensor<B>, // of e', [rows, Σ d]
    towers: GatedTowersActivations<B>,
}

impl Pepnet {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::Pepnet, config, input)?;
        let PepnetConfig { epnet, tower, gate, prior_fields, scenario_dim, stop_gradient } = &config.pepnet;
        let (scenario_dim, stop_gradient) = (*scenario_dim, *stop_gradient);
        let mut build = Builder::new(config.embedding(), input);
        let shape = [input.scenarios, scenario_dim];
        let scenario = build.params.add("scenario.weight", &shape, Init::Normal(config.init_std));
        let (readers, [fields, prior]) = readers(build.embedding(), "model.pepnet", prior_fields, input)?;
        let input = GateInput { scenario, fields, scenario_dim, prior: 0, stop_gradient };
        let epnet = GateUnit::new(&mut build, "gate", input, (&epnet.hidden, epnet.dropout), fields);
        let [tower, gate] = [(&tower.hidden[..], tower.dropout), (&gate.hidden[..], gate.dropout)];
        let towers = GatedTowers::new(&mut build, GateInput { prior, ..input }, tower, gate);
        let measures = [Measure::of_scenarios(fields)].into_iter().chain(towers.measures());
        Ok(Self { spec: build.build(readers, measures.collect()), input, epnet, towers })
    }
}

impl<B: Backend> Model<B> for Pepnet {
    type Prepared = Prepared<B>;
    type Activations = Activations<B>;
    type Scratch = ();

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Prepared<B>> {
        let used = Products::of(training);
        Ok(Prepared { epnet: self.epnet.alloc(be, used)?, towers: self.towers.alloc(be, used)? })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        Ok(Activations {
            x: Tensor::new(be, rows, self.input.width())?,
            epnet: self.epnet.activations(be, rows, training)?,
            d_scaled: Tensor::new(be, if training { rows } else { 0 }, self.input.fields)?,
            towers: self.towers.activations(be, rows, training)?,
        })
    }

    fn alloc_scratch(&self, _: &B) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, _: &Flat<B>) {
        self.epnet.pack(be, &mut prepared.epnet, params);
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
        self.spec.embed(cx, ALL, act.x.mat_mut(n).cols(0, fields));
        self.input.gather_scenarios(cx, act.x.mat_mut(n));
        let (scaled, x) = (self.towers.input_mut(&mut act.towers, n), act.x.mat(n));
        self.epnet.forward(cx, scaled, &mut act.epnet, x.cols(0, fields), x, &prepared.epnet);
        let prior = |p: MatMut<B::Buf>| self.spec.embed(cx, PRIOR, p);
        self.towers.forward(cx, logits, &mut act.towers, prior, &prepared.towers);
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
        let (d_scaled, towers) = (act.d_scaled.mat_mut(n), &mut act.towers);
        self.towers.backward(cx, grads, d_scaled, d_logits.as_mat(), towers, &prepared.towers);
        if self.spec.readers().len() > PRIOR {
            self.towers.backward_to_prior(cx, readers.reader(PRIOR), &act.towers, &prepared.towers);
        }
        let (x, d_e) = (act.x.mat(n), (readers.reader(ALL), Write::Set));
        let (e, d_scaled) = (x.cols(0, self.input.fields), act.d_scaled.mat(n));
        self.epnet.backward_to_scaled(cx, d_e, d_scaled, e, &mut act.epnet);
        self.epnet.backward(cx, grads, &mut act.epnet, x, &prepared.epnet);
        self.epnet.backward_to_fields(cx, readers.reader(ALL), &act.epnet, &prepared.epnet);
    }

    fn finish(&self, be: &B, grads: &mut Grads<B>, (): &mut (), prepared: &Prepared<B>, _: &Flat<B>) {
        self.epnet.finish(be, grads, &prepared.epnet);
        self.towers.finish(be, grads, &prepared.towers);
    }

    fn measured<'a>(&self, act: &'a Activations<B>, measure: usize, rows: usize) -> Mat<'a, B::Buf> {
        match measure {
            0 => self.epnet.factors(&act.epnet, rows),
            _ => self.towers.measured(&act.towers, measure - 1, rows),
        }
    }

    fn exhibits(&self, _: &B, _: &Prepared<B>, _: &Flat<B>, measured: &Measured) -> Result<Vec<Exhibit>> {
        Ok(vec![factors_of_fields(&self.spec, measured, 0), self.towers.exhibit(measured, 1)])
    }
}

/// Options and fields of every kind. Differences know no stop-gradient, so the gates train the embeddings here; with it, PyTorch is
/// the judge.
pub(super) fn cases() -> Vec<Case> {
    let own = |epnet: &[usize], tower: &[usize], gate: &[usize], prior: &[&str], dropout| PepnetConfig {
        epnet: EmbeddingGateConfig { hidden: epnet.to_vec(), dropout },
        tower: GatedTowerConfig { hidden: tower.to_vec(), dropout },
        gate: GateConfig { hidden: gate.to_vec(), dropout },
        prior_fields: prior.iter().map(|&name| name.into()).collect(),
        scenario_dim: 2,
        stop_gradient: false,
    };
    let case = |name, own| Case::of(super::Kind::Pepnet, name, |c| c.config.pepnet = own);
    cases_of_fields(super::Kind::Pepnet, |c, hidden| c.config.pepnet = own(&[3], hidden, &[3], &[], 0.0))
        .chain([
            case("dropout", own(&[4, 3], &[5, 4], &[4, 3], &["tags"], 0.3)),
            case("priors of every kind", own(&[4, 3], &[5, 4], &[3], &["age", "user", "tags"], 0.0)),
            Case::of(super::Kind::Pepnet, "priors of a shared table, one scenario", |c| {
                c.config.pepnet = own(&[3], &[5, 4], &[3], &["slot", "user"], 0.0);
                c.share(&["user", "slot"]);
                c.input.scenarios = 1;
            }),
        ])
        .collect()
}
