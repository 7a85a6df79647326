//! M3oE: a star layer, shared experts behind a gate, and an expert of each scenario, mixed by two learned numbers of the row's
//! scenario.
//!
//! Zhang et al., SIGIR 2024, with one task: `f = Σ_k α_k E_k(x) + λ_s (ω_s D_s(x) + (1 − ω_s)/(S − 1) Σ_{j≠s} D_j(x))`,
//! `o = T_s(f)`. Definition: docs/models.md#m3oe. Every scenario's expert answers for every row; the factors of all of them are
//! one matrix `[S, S]`, made once per step. Left out: the search for λ and ω on held-out rows; the loss trains them.

mod fusion;

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Groups, Mat, MatMut, Products, Write};
use crate::config::{ExpertsConfig, InputSpec, ModelConfig, TowerConfig, check};
use crate::error::Result;
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::mlp::MlpActivations;
use crate::layers::scenario_linear::ScenarioTowersActivations;
use crate::layers::star::StarLinearPrepared;
use crate::layers::{Experts, ScenarioLinear, ScenarioTowers, StarLinear};
use crate::model::{
    Builder, Cx, Exhibit, Fields, Grads, Heads, Measure, Measured, Model, ModelSpec, Reader, ReaderGrads,
    Shows,
};
use crate::params::{Flat, Tensor};
use fusion::{Fusion, FusionPrepared, FusionScratch};

/// In words.
pub const ABOUT: About = About {
    title: "shared experts behind a gate, and every scenario's expert by factors that its rows learn",
    paper: "Zhang et al., SIGIR 2024",
    forward: "x = ReLU(e (W ⊙ W_s)ᵀ + b + b_s); f = Σ_k α_k E_k(x) + λ_s (ω_s D_s(x) + (1 − ω_s) mean_{j≠s} D_j(x)); o = T_s(f)",
};

/// `[model.m3oe]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct M3oeConfig {
    /// Width of the star layer.
    pub star: usize,
    /// Probability of dropping an output of the star layer while training.
    pub dropout: f64,
    /// The shared experts; those of the scenarios have the same shape.
    pub experts: SharedExpertsConfig,
    /// Each scenario's tower.
    pub tower: TowerConfig,
}

/// The shared experts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedExpertsConfig {
    /// K.
    pub count: usize,
    /// Widths of the layers; the last is m.
    pub hidden: Vec<usize>,
    /// Probability of dropping an activation while training.
    pub dropout: f64,
}

impl Default for SharedExpertsConfig {
    fn default() -> Self {
        Self { count: 2, hidden: vec![32], dropout: 0.0 }
    }
}

impl SharedExpertsConfig {
    /// So many experts of this shape.
    fn times(&self, count: usize) -> ExpertsConfig {
        ExpertsConfig { count, hidden: self.hidden.clone(), dropout: self.dropout }
    }
}

impl Default for M3oeConfig {
    fn default() -> Self {
        let (experts, tower) = Default::default();
        Self { star: 48, dropout: 0.0, experts, tower }
    }
}

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, input: &InputSpec) -> Result<()> {
    let M3oeConfig { star, dropout, experts, tower } = &config.m3oe;
    check::width("model.m3oe.star", *star)?;
    check::dropout("model.m3oe.dropout", *dropout)?;
    check::count("model.m3oe.experts.count", experts.count)?;
    check::some_widths("model.m3oe.experts.hidden", &experts.hidden)?;
    check::dropout("model.m3oe.experts.dropout", experts.dropout)?;
    check::on_every_row("m3oe", input.scenarios)?;
    check::widths("model.m3oe.tower.hidden", &tower.hidden)?;
    check::dropout("model.m3oe.tower.dropout", tower.dropout)
}

/// Star layer, experts, gate, factors, towers.
#[derive(Clone, Debug)]
pub struct M3oe {
    spec: ModelSpec,
    star: StarLinear,
    experts: Experts,
    domains: Experts,
    gate: ScenarioLinear,
    fusion: Fusion,
    towers: ScenarioTowers,
    dropout: f64,
    site: u32,
}

/// Products, factors and packed weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    star: StarLinearPrepared<B>,
    experts: Vec<B::Packed>,
    domains: Vec<B::Packed>,
    gate: B::Packed,
    fusion: FusionPrepared<B>,
    towers: Vec<B::Packed>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    e: Tensor<B>,   // [rows, Σ d]
    x: Tensor<B>,   // [rows, star]
    d_x: Tensor<B>, // before its ReLU, [rows, star]
    experts: MlpActivations<B>,
    domains: MlpActivations<B>,
    outputs: Tensor<B>,   // of the shared experts, then of the scenarios', [rows, (K + S)·m]
    d_outputs: Tensor<B>, // the same
    logits: Tensor<B>,    // of the gate, then their gradient, [rows, K]
    factors: Tensor<B>,   // α, then the factors of the scenarios' experts, [rows, K + S]
    d_factors: Tensor<B>, // the same
    f: Tensor<B>,         // [rows, m]
    d_f: Tensor<B>,       // [rows, m]
    towers: ScenarioTowersActivations<B>,
}

impl M3oe {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::M3oe, config, input)?;
        let M3oeConfig { star: width, dropout, experts, tower } = &config.m3oe;
        let mut build = Builder::new(config.embedding(), input);
        let (s, fields) = (input.scenarios, build.embedding().width(Fields::All));
        let star = StarLinear::new(&mut build, "star", [fields, *width], true);
        let site = build.dropout_sites();
        let domains = Experts::new(&mut build, "domains", *width, &experts.times(s));
        let experts = Experts::new(&mut build, "experts", *width, &experts.times(experts.count));
        let gate = ScenarioLinear::new(&mut build.params, "gate", s, [*width, experts.count()], false);
        let fusion = Fusion::new(&mut build, "fusion");
        let (m, tower_dropout) = (experts.width(), (tower.dropout, build.dropout_sites()));
        let towers = ScenarioTowers::new(&mut build.params, "towers", s, m, &tower.hidden, tower_dropout);
        let readers = vec![Reader::embedded(build.embedding(), Fields::All)];
        let spec =
            build.build(readers, vec![Measure::of_scenarios(experts.count()), Measure::of_scenarios(s)]);
        Ok(Self { spec, star, experts, domains, gate, fusion, towers, dropout: *dropout, site })
    }

    /// Columns of the shared experts' outputs, and of the scenarios'.
    fn places(&self) -> [(usize, usize); 2] {
        let [shared, own] = [&self.experts, &self.domains].map(|e| e.count() * e.width());
        [(0, shared), (shared, own)]
    }
}

impl<B: Backend> Model<B> for M3oe {
    type Prepared = Prepared<B>;
    type Activations = Activations<B>;
    type Scratch = FusionScratch<B>;

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Prepared<B>> {
        let used = Products::of(training);
        Ok(Prepared {
            star: self.star.alloc(be, used)?,
            experts: self.experts.alloc(be, used)?,
            domains: self.domains.alloc(be, used)?,
            gate: self.gate.alloc(be, used)?,
            fusion: self.fusion.alloc(be)?,
            towers: self.towers.alloc(be, used)?,
        })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let forward = |cols: usize| Tensor::new(be, rows, cols);
        let backward = |cols: usize| Tensor::new(be, if training { rows } else { 0 }, cols);
        let (star, [(_, shared), (_, own)]) = (self.star.width(), self.places());
        let (k, s, m) = (self.experts.count(), self.domains.count(), self.experts.width());
        Ok(Activations {
            e: forward(self.spec.readers()[0].width())?,
            x: forward(star)?,
            d_x: backward(star)?,
            experts: self.experts.activations(be, rows, training)?,
            domains: self.domains.activations(be, rows, training)?,
            outputs: forward(shared + own)?,
            d_outputs: backward(shared + own)?,
            logits: forward(k)?,
            factors: forward(k + s)?,
            d_factors: backward(k + s)?,
            f: forward(m)?,
            d_f: backward(m)?,
            towers: self.towers.activations(be, rows, training)?,
        })
    }

    fn alloc_scratch(&self, be: &B) -> Result<FusionScratch<B>> {
        self.fusion.scratch(be)
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, _: &Flat<B>) {
        self.star.prepare(be, &mut prepared.star, params);
        self.experts.pack(be, &mut prepared.experts, params);
        self.domains.pack(be, &mut prepared.domains, params);
        self.gate.pack(be, &mut prepared.gate, params);
        self.fusion.prepare(be, &mut prepared.fusion, params);
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
        let (be, n) = (cx.be, cx.x.rows);
        self.spec.embed(cx, 0, act.e.mat_mut(n));
        self.star.forward(cx, act.x.mat_mut(n), act.e.mat(n), &prepared.star);
        cx.x.drop(be, act.x.mat_mut(n), self.dropout, self.site);
        let (x, [(at, width), (rest, own)]) = (act.x.mat(n), self.places());
        let shared = act.outputs.mat_mut(n).cols(at, width);
        self.experts.forward(cx, shared, &mut act.experts, x, &prepared.experts);
        let domains = act.outputs.mat_mut(n).cols(rest, own);
        self.domains.forward(cx, domains, &mut act.domains, x, &prepared.domains);
        self.gate.forward(cx, act.logits.mat_mut(n), x, &prepared.gate);
        let (k, s) = (self.experts.count(), self.domains.count());
        be.softmax(act.factors.mat_mut(n).cols(0, k), act.logits.mat(n));
        let (of_domains, by_scenario) = (act.factors.mat_mut(n).cols(k, s), prepared.fusion.factors());
        be.gather_rows(of_domains, by_scenario, cx.x.inputs.scenarios(), cx.x.first);
        be.mix(act.f.mat_mut(n), act.factors.mat(n), act.outputs.mat(n));
        self.towers.forward(cx, logits, &mut act.towers, act.f.mat(n), &prepared.towers);
    }

    fn embedded<'a>(&self, act: &'a Activations<B>, _: usize, rows: usize) -> Mat<'a, B::Buf> {
        act.e.mat(rows)
    }

    fn backward(
        &self,
        cx: Cx<B>,
        Grads { dense, derived }: &mut Grads<B>,
        readers: &mut ReaderGrads<B>,
        d_logits: MatMut<B::Buf>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
        _: usize,
    ) {
        let (be, n) = (cx.be, cx.x.rows);
        let (f, d_f) = ((act.f.mat(n), None), (act.d_f.mat_mut(n), Write::Set));
        self.towers.backward(cx, dense, d_f, f, d_logits, &mut act.towers, &prepared.towers);
        // forward: f = Σ_k α_k E_k + Σ_j c_sj D_j with α = softmax(G_s x + c_s)
        let (factors, outputs) = (act.factors.mat(n), act.outputs.mat(n));
        let (d_factors, d_outputs) = (act.d_factors.mat_mut(n), act.d_outputs.mat_mut(n));
        be.mix_bwd(d_factors, d_outputs, Write::Set, act.d_f.mat(n), factors, outputs);
        let (k, s, d_factors) = (self.experts.count(), self.domains.count(), act.d_factors.mat(n));
        let by_scenario = derived.mat_mut(self.fusion.d_factors());
        be.col_sum(by_scenario, Write::Add, d_factors.cols(k, s), Groups::Rows(cx.x.groups));
        be.softmax_bwd(act.logits.mat_mut(n), d_factors.cols(0, k), factors.cols(0, k));

        // Each of the three adds the gradient before x's ReLU.
        let (x, d_x) = (act.x.mat(n), &mut act.d_x);
        let d_in = (d_x.mat_mut(n), Write::Set);
        self.gate.backward(cx, dense, d_in, Some(x), act.logits.mat(n), x, &prepared.gate);
        let [(at, width), (rest, own)] = self.places();
        let (d, out) = (act.d_outputs.mat_mut(n).cols(at, width), Some(outputs.cols(at, width)));
        let (d_in, w) = ((d_x.mat_mut(n), Write::Add), &prepared.experts);
        self.experts.backward(cx, dense, d_in, (x, true), d, out, &mut act.experts, w);
        let (d, out) = (act.d_outputs.mat_mut(n).cols(rest, own), Some(outputs.cols(rest, own)));
        let (d_in, w) = ((d_x.mat_mut(n), Write::Add), &prepared.domains);
        self.domains.backward(cx, dense, d_in, (x, true), d, out, &mut act.domains, w);
        // A dropped output is 0, so the ReLU's mask holds dropout's; only its factor is missing.
        cx.x.drop(be, d_x.mat_mut(n), self.dropout, self.site);
        self.star.backward(cx, derived, readers.reader(0), None, d_x.mat(n), act.e.mat(n), &prepared.star);
    }

    fn finish(
        &self,
        be: &B,
        grads: &mut Grads<B>,
        scratch: &mut FusionScratch<B>,
        prepared: &Prepared<B>,
        params: &Flat<B>,
    ) {
        self.star.finish(be, grads, params);
        self.fusion.finish(be, grads, scratch, &prepared.fusion);
    }

    fn measured<'a>(&self, act: &'a Activations<B>, measure: usize, rows: usize) -> Mat<'a, B::Buf> {
        let shared = self.experts.count();
        match measure {
            0 => act.factors.mat(rows).cols(0, shared),
            _ => act.factors.mat(rows).cols(shared, self.domains.count()),
        }
    }

    fn exhibits(&self, _: &B, _: &Prepared<B>, _: &Flat<B>, measured: &Measured) -> Result<Vec<Exhibit>> {
        Ok(vec![
            Exhibit::gate(measured, 0, self.experts.names()),
            Exhibit {
                title: "Experts of the scenarios".into(),
                says: "Factor that the rows of a scenario (down) give the expert of each scenario (across): λ_s ω_s for its own, \
                       λ_s (1 − ω_s)/(S − 1) for the others."
                    .into(),
                shows: Shows::Values,
                ..Exhibit::gate(measured, 1, Heads::Scenarios)
            },
        ])
    }
}

/// Options and fields of every kind.
pub(super) fn cases() -> Vec<Case> {
    let own = |star, count, hidden: &[usize], tower: &[usize], dropout| M3oeConfig {
        star,
        dropout,
        experts: SharedExpertsConfig { count, hidden: hidden.to_vec(), dropout },
        tower: TowerConfig { hidden: tower.to_vec(), dropout },
    };
    let case = |name, own| Case::of(super::Kind::M3oe, name, |c| c.config.m3oe = own);
    cases_of_fields(super::Kind::M3oe, |c, hidden| c.config.m3oe = own(6, 2, hidden, &[3], 0.0))
        .chain([
            case("dropout", own(6, 2, &[5, 4], &[4, 3], 0.3)),
            case("one expert", own(5, 1, &[4], &[3], 0.0)),
            case("towers without hidden layer", own(5, 3, &[4], &[], 0.0)),
            Case::of(super::Kind::M3oe, "one scenario", |c| {
                c.input.scenarios = 1;
                c.config.m3oe = own(5, 2, &[4], &[3], 0.0);
            }),
        ])
        .collect()
}
