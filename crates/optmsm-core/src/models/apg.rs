//! APG: a network of which every layer is generated from a condition, by scenario or for every row.
//!
//! Yan et al., NeurIPS 2022. Definition: docs/models.md#apg. It is OptMSM's generated tower with all embedded fields as
//! its input and a condition of its own. A condition that is the scenario alone generates once per step.

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::config::{Condition, HyperConfig, InputSpec, ModelConfig, TowerConfig, check};
use crate::error::{Error, Result};
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::hyper::GeneratedNorms;
use crate::layers::tower::{TowerActivations, TowerPrepared, TowerScratch};
use crate::layers::{Tower, TowerSpec};
use crate::model::{Builder, Cx, Exhibit, Fields, Grads, Measured, Model, ModelSpec, Reader, ReaderGrads};
use crate::params::{Flat, Init, Tensor};

/// In words.
pub const ABOUT: About = About {
    title: "a network of which every layer is generated from a condition",
    paper: "Yan et al., NeurIPS 2022",
    forward: "u = ReLU(W_u c + b_u); h ← ReLU(((h P) C(u)) Q + b(u)) from e on, with a condition c of z_s and fields",
};

/// `[model.apg]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApgConfig {
    /// Widths of the hidden layers; a last layer of width 1 follows.
    pub hidden: Vec<usize>,
    /// Probability of dropping an activation while training.
    pub dropout: f64,
    /// r: rank of the generated weights.
    pub rank: usize,
    /// t: width of the hypernetwork's trunk.
    pub trunk: usize,
    /// q: width of a scenario's embedding.
    pub scenario_dim: usize,
    /// c: what the weights are generated from.
    pub condition: ApgCondition,
    /// The fields of `condition = "group"`.
    pub fields: Vec<String>,
    /// k: if above 0, the left factor P is the product of two, `[in, k]` and `[k, r]`.
    pub overparameterize: usize,
}

/// Input that weights are generated from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApgCondition {
    /// z_s: once per step.
    Scenario,
    /// z_s and the embeddings of some fields, for every row.
    Group,
    /// z_s and the sum of the embeddings of all fields, for every row.
    Instance,
}

impl Default for ApgConfig {
    fn default() -> Self {
        Self {
            hidden: vec![256, 128],
            dropout: 0.0,
            rank: 16,
            trunk: 32,
            scenario_dim: 16,
            condition: ApgCondition::Scenario,
            fields: Vec::new(),
            overparameterize: 0,
        }
    }
}

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, input: &InputSpec) -> Result<()> {
    let own = &config.apg;
    check::widths("model.apg.hidden", &own.hidden)?;
    check::dropout("model.apg.dropout", own.dropout)?;
    check::width("model.apg.rank", own.rank)?;
    check::width("model.apg.trunk", own.trunk)?;
    check::width("model.apg.scenario_dim", own.scenario_dim)?;
    if own.overparameterize > 0 {
        check::width("model.apg.overparameterize", own.overparameterize)?;
    }
    check::fields("model.apg.fields", &own.fields, input)?;
    match (own.condition, own.fields.is_empty()) {
        (ApgCondition::Group, true) => {
            let problem = "is empty, and condition = \"group\" generates weights from fields";
            let fix = "name some fields, or set model.apg.condition = \"instance\"";
            Err(Error::config("model.apg.fields", problem, fix))
        }
        (ApgCondition::Scenario | ApgCondition::Instance, false) => {
            let problem = "is read by condition = \"group\" alone";
            Err(Error::config(
                "model.apg.fields",
                problem,
                "leave it out, or set model.apg.condition = \"group\"",
            ))
        }
        _ => Ok(()),
    }
}

/// Generated layers, and the fields of their condition.
#[derive(Clone, Debug)]
pub struct Apg {
    spec: ModelSpec,
    tower: Tower,
    condition: ApgCondition,
    fields: Vec<usize>, // of the condition, each a place in e
    dim: usize,         // d
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    e: Tensor<B>,   // [rows, Σ d]
    g: Tensor<B>,   // what the condition has besides z_s, [rows, p]
    d_g: Tensor<B>, // [rows, p]
    tower: TowerActivations<B>,
}

impl Apg {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::Apg, config, input)?;
        let own = &config.apg;
        let mut build = Builder::new(config.embedding(), input);
        let (inputs, dim) = (build.embedding().width(Fields::All), build.embedding().dim());
        let shape = [input.scenarios, own.scenario_dim];
        let scenario = build.params.add("scenario.weight", &shape, Init::Normal(config.init_std));
        let named = check::fields("model.apg.fields", &own.fields, input)?;
        let (condition, row, fields) = match own.condition {
            ApgCondition::Scenario => (Condition::Scenario, 0, Vec::new()),
            ApgCondition::Group => (Condition::Instance, named.len() * dim, named),
            ApgCondition::Instance => (Condition::Instance, dim, (0..input.fields.len()).collect()),
        };
        let tower = TowerConfig { hidden: own.hidden.clone(), dropout: own.dropout };
        let (scenario_dim, trunk, rank) = (own.scenario_dim, own.trunk, own.rank);
        let hyper = HyperConfig { scenario_dim, trunk, rank, condition };
        let overparameterize = own.overparameterize;
        let tower = TowerSpec { scenario, inputs, row, tower: &tower, hyper: &hyper, overparameterize };
        let tower = Tower::new(&mut build, tower);
        let readers = vec![Reader::embedded(build.embedding(), Fields::All)];
        let spec = build.build(readers, Vec::new());
        Ok(Self { spec, tower, condition: own.condition, fields, dim })
    }

    /// For each field of the condition its first column in e, its first column in g, and how it is written there.
    fn places(&self) -> impl Iterator<Item = (usize, usize, Write)> {
        let sum = self.condition == ApgCondition::Instance;
        let place = move |(i, &field): (usize, &usize)| {
            let write = if sum && i > 0 { Write::Add } else { Write::Set };
            (field * self.dim, if sum { 0 } else { i * self.dim }, write)
        };
        self.fields.iter().enumerate().map(place)
    }
}

impl<B: Backend> Model<B> for Apg {
    type Prepared = TowerPrepared<B>;
    type Activations = Activations<B>;
    type Scratch = TowerScratch<B>;

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<TowerPrepared<B>> {
        self.tower.alloc(be, Products::of(training))
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let g = match self.condition {
            ApgCondition::Instance => self.dim,
            ApgCondition::Scenario | ApgCondition::Group => self.fields.len() * self.dim,
        };
        Ok(Activations {
            e: Tensor::new(be, rows, self.spec.readers()[0].width())?,
            g: Tensor::new(be, rows, g)?,
            d_g: Tensor::new(be, if training { rows } else { 0 }, g)?,
            tower: self.tower.activations(be, rows, training)?,
        })
    }

    fn alloc_scratch(&self, be: &B) -> Result<TowerScratch<B>> {
        self.tower.scratch(be)
    }

    fn prepare(&self, be: &B, prepared: &mut TowerPrepared<B>, params: &Flat<B>, _: &Flat<B>) {
        self.tower.prepare(be, prepared, params);
    }

    fn forward(
        &self,
        cx: Cx<B>,
        logits: MatMut<B::Buf>,
        _: Option<MatMut<B::Buf>>,
        act: &mut Activations<B>,
        prepared: &TowerPrepared<B>,
    ) {
        let (n, d) = (cx.x.rows, self.dim);
        self.spec.embed(cx, 0, act.e.mat_mut(n));
        let e = act.e.mat(n);
        for (from, to, write) in self.places() {
            cx.be.copy(act.g.mat_mut(n).cols(to, d), write, e.cols(from, d));
        }
        self.tower.forward(cx, logits, &mut act.tower, e, act.g.mat(n), prepared);
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
        prepared: &TowerPrepared<B>,
        _: usize,
    ) {
        let (n, d, e) = (cx.x.rows, self.dim, act.e.mat(cx.x.rows));
        self.tower.backward(cx, grads, readers.reader(0), d_logits, &mut act.tower, e, prepared);
        let d_g = (act.d_g.mat_mut(n), Write::Set);
        self.tower.backward_to_condition(cx, &mut grads.dense, d_g, &mut act.tower, prepared);
        for (from, to, _) in self.places() {
            cx.be.copy(readers.reader(0).cols(from, d), Write::Add, act.d_g.mat(n).cols(to, d));
        }
    }

    fn finish(
        &self,
        be: &B,
        grads: &mut Grads<B>,
        scratch: &mut TowerScratch<B>,
        prepared: &TowerPrepared<B>,
        params: &Flat<B>,
    ) {
        self.tower.finish(be, grads, prepared, scratch, params);
    }

    fn exhibits(
        &self,
        be: &B,
        prepared: &TowerPrepared<B>,
        params: &Flat<B>,
        _: &Measured,
    ) -> Result<Vec<Exhibit>> {
        let norms = self.tower.norms(be, prepared, params)?;
        Ok(GeneratedNorms::exhibit(&norms, |l| format!("layer {l}")).into_iter().collect())
    }
}

/// Options and fields of every kind.
pub(super) fn cases() -> Vec<Case> {
    use ApgCondition::{Group, Instance, Scenario};
    let own = |hidden: &[usize], rank, condition, overparameterize| ApgConfig {
        hidden: hidden.to_vec(),
        dropout: 0.0,
        rank,
        trunk: 4,
        scenario_dim: 3,
        condition,
        fields: Vec::new(),
        overparameterize,
    };
    let group = |c: &mut Case, fields: &[&str], own| {
        c.config.apg = ApgConfig { fields: fields.iter().map(|&f| f.into()).collect(), ..own };
    };
    let case = |name, own| Case::of(super::Kind::Apg, name, |c| c.config.apg = own);
    cases_of_fields(super::Kind::Apg, |c, hidden| c.config.apg = own(hidden, 2, Instance, 0))
        .chain([
            case("scenario", own(&[5, 4], 2, Scenario, 0)),
            case("rank above the widths", own(&[5, 4], 9, Scenario, 0)),
            case("no hidden layer", own(&[], 3, Scenario, 0)),
            case("overparameterized", own(&[5, 4], 2, Scenario, 7)),
            case("instance, overparameterized", own(&[4], 3, Instance, 2)),
            case("dropout", ApgConfig { dropout: 0.3, ..own(&[5, 4], 2, Scenario, 0) }),
            case("dropout, instance", ApgConfig { dropout: 0.3, ..own(&[5, 4], 2, Instance, 3) }),
            Case::of(super::Kind::Apg, "group of one field", |c| {
                group(c, &["slot"], own(&[5, 4], 2, Group, 0))
            }),
            Case::of(super::Kind::Apg, "group of fields of every kind", |c| {
                group(c, &["words", "user", "tags"], own(&[5, 4], 2, Group, 0));
            }),
            Case::of(super::Kind::Apg, "one scenario", |c| {
                c.input.scenarios = 1;
                c.config.apg = own(&[5, 4], 2, Scenario, 0);
            }),
        ])
        .collect()
}
