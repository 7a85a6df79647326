//! PLE: levels of experts of each scenario and shared ones, each level behind gates that read the streams of the level before.
//!
//! Tang et al., RecSys 2020 (progressive layered extraction; one level is CGC), with scenarios in the place of tasks:
//! `x_s ← Σ α · experts` with `α = softmax(G_s x_s + c_s)` over the scenario's experts of x_s and the shared ones of x_0, a shared
//! stream `x_0` over all experts, `o = T_s(x_s)`. Definition: docs/models.md#ple. Every gate reads the streams of its own level,
//! not e again; at the last level the row's own scenario's experts and the shared ones are all that is computed.

mod last;
mod wide;

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::config::{InputSpec, ModelConfig, TowerConfig, check};
use crate::error::Result;
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::ScenarioTowers;
use crate::layers::scenario_linear::ScenarioTowersActivations;
use crate::model::{
    Builder, Cx, Exhibit, Fields, Grads, Measure, Measured, Model, ModelSpec, Reader, ReaderGrads,
};
use crate::params::{Flat, Tensor};
use last::{Last, LastActivations, LastPrepared};
use wide::{Wide, WideActivations, WidePrepared};

/// In words.
pub const ABOUT: About = About {
    title: "levels of each scenario's experts and shared ones, gates between the levels, a tower for each",
    paper: "Tang et al., RecSys 2020",
    forward: "x_s ← Σ_j α_j O_sj(x_s) + Σ_k α_k H_k(x_0), α = softmax(G_s x_s + c_s), x_0 alike over all experts; o = T_s(x_s)",
};

/// `[model.ple]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PleConfig {
    /// L: levels; 1 is CGC.
    pub levels: usize,
    /// Experts of each scenario at each level.
    pub own: usize,
    /// Experts at each level that all scenarios share.
    pub shared: usize,
    /// Widths of an expert's layers; the last is m.
    pub hidden: Vec<usize>,
    /// Probability of dropping an activation of an expert while training.
    pub dropout: f64,
    /// Each scenario's tower.
    pub tower: TowerConfig,
}

impl Default for PleConfig {
    fn default() -> Self {
        Self { levels: 2, own: 1, shared: 1, hidden: vec![40], dropout: 0.0, tower: TowerConfig::default() }
    }
}

/// Most experts that a scenario has of its own at a level: each has dropout masks of its own, and those are numbered.
const MAX_OWN: usize = 256;

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, input: &InputSpec) -> Result<()> {
    let PleConfig { levels, own, shared, hidden, dropout, tower } = &config.ple;
    check::layers("model.ple.levels", *levels)?;
    check::some("model.ple.own", *own, MAX_OWN)?;
    check::count("model.ple.shared", *shared)?;
    check::some_widths("model.ple.hidden", hidden)?;
    check::dropout("model.ple.dropout", *dropout)?;
    check::widths("model.ple.tower.hidden", &tower.hidden)?;
    check::dropout("model.ple.tower.dropout", tower.dropout)?;
    // Before the last level the experts of all scenarios are computed.
    if *levels == 1 {
        return Ok(());
    }
    let s = input.scenarios;
    check::on_every_row("ple with more than one level", s)?;
    check::each_on_every_row("model.ple.own", s, *own)?;
    check::gates_on_every_row("model.ple.shared", s, *shared, *own)
}

/// Readers: gates, and with one level own experts; the first layers of the first level's experts, own ones first.
const GATES: usize = 0;
const EXPERTS: usize = 1;

/// Levels and towers.
#[derive(Clone, Debug)]
pub struct Ple {
    spec: ModelSpec,
    wide: Vec<Wide>,
    last: Last,
    towers: ScenarioTowers,
}

/// Packed weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    wide: Vec<WidePrepared<B>>,
    last: LastPrepared<B>,
    towers: Vec<B::Packed>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    e: Tensor<B>, // [rows, Σ d]
    wide: Vec<WideActivations<B>>,
    x: Tensor<B>, // the scenario's stream before the last level, if that is not the first, [rows, m]
    d_x: Tensor<B>, // the same
    last: LastActivations<B>,
    mix: Tensor<B>,   // the scenario's stream behind the last level, [rows, m]
    d_mix: Tensor<B>, // [rows, m]
    towers: ScenarioTowersActivations<B>,
}

/// Places of the gradients of a level's inputs.
enum Sources<'a, 'g, B: Backend> {
    /// The fields, which all streams are before the first level.
    Fields(&'a mut ReaderGrads<'g, B>),
    /// The scenarios' streams `[rows, S·m]`, before the last level the row's own one `[rows, m]`; the shared stream `[rows, m]`.
    Streams(MatMut<'a, B::Buf>, MatMut<'a, B::Buf>),
}

impl<B: Backend> Sources<'_, '_, B> {
    /// Gradient of the scenarios' streams.
    fn x(&mut self) -> MatMut<'_, B::Buf> {
        match self {
            Sources::Fields(readers) => readers.reader(GATES),
            Sources::Streams(d_x, _) => d_x.again(),
        }
    }

    /// Gradient of the shared stream, and how it is written first: before the first level, after that of the scenarios' streams.
    fn x_0(&mut self) -> (MatMut<'_, B::Buf>, Write) {
        match self {
            Sources::Fields(readers) => (readers.reader(GATES), Write::Add),
            Sources::Streams(_, d_x_0) => (d_x_0.again(), Write::Set),
        }
    }
}

impl Ple {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::Ple, config, input)?;
        let PleConfig { levels, own, shared, hidden, dropout, tower } = &config.ple;
        let mut build = Builder::new(config.embedding(), input);
        let (fields, m) = (build.embedding().width(Fields::All), hidden[hidden.len() - 1]);
        let (counts, layers) = ((*own, *shared), (&hidden[..], *dropout));
        let name = |l| format!("levels.{l}");
        let inputs = |l| if l == 0 { fields } else { m };
        let wide = |l| Wide::new(&mut build, &name(l), inputs(l), counts, layers, l == 0);
        let wide: Vec<Wide> = (0..levels - 1).map(wide).collect();
        let (l, only) = (levels - 1, wide.is_empty());
        let last = Last::new(&mut build, &name(l), inputs(l), counts, layers, only);
        let dropout = (tower.dropout, build.dropout_sites());
        let s = input.scenarios;
        let towers = ScenarioTowers::new(&mut build.params, "towers", s, m, &tower.hidden, dropout);
        let first = match wide.first() {
            Some(level) => level.own.iter().chain([&level.shared]).map(|e| e.first()).collect(),
            None => vec![last.shared.first()],
        };
        let linear = first.into_iter().map(|f| Reader::linear(build.embedding(), Fields::All, f));
        let gates = Reader::embedded(build.embedding(), Fields::All);
        let readers = std::iter::once(gates).chain(linear).collect();
        let spec = build.build(readers, vec![Measure::of_scenarios(own + shared)]);
        Ok(Self { spec, wide, last, towers })
    }
}

impl<B: Backend> Model<B> for Ple {
    type Prepared = Prepared<B>;
    type Activations = Activations<B>;
    type Scratch = ();

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Prepared<B>> {
        let used = Products::of(training);
        Ok(Prepared {
            wide: self.wide.iter().map(|l| l.alloc(be, used)).collect::<Result<_>>()?,
            last: self.last.alloc(be, used)?,
            towers: self.towers.alloc(be, used)?,
        })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let back = if training { rows } else { 0 };
        let m = self.last.width();
        let stream = if self.wide.is_empty() { 0 } else { m };
        Ok(Activations {
            e: Tensor::new(be, rows, self.spec.readers()[GATES].width())?,
            wide: self.wide.iter().map(|l| l.activations(be, rows, training)).collect::<Result<_>>()?,
            x: Tensor::new(be, rows, stream)?,
            d_x: Tensor::new(be, back, stream)?,
            last: self.last.activations(be, rows, training)?,
            mix: Tensor::new(be, rows, m)?,
            d_mix: Tensor::new(be, back, m)?,
            towers: self.towers.activations(be, rows, training)?,
        })
    }

    fn alloc_scratch(&self, _: &B) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, _: &Flat<B>) {
        self.wide.iter().zip(&mut prepared.wide).for_each(|(l, p)| l.pack(be, p, params));
        self.last.pack(be, &mut prepared.last, params);
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
        self.spec.embed(cx, GATES, act.e.mat_mut(n));
        let e = act.e.mat(n);
        for (l, (level, p)) in self.wide.iter().zip(&prepared.wide).enumerate() {
            let (before, after) = act.wide.split_at_mut(l);
            let streams = before.last().map_or((e, e), |b| (b.x.mat(n), b.x_0.mat(n)));
            level.forward(cx, &mut after[0], streams, p);
        }
        let streams = act.wide.last().map_or((e, e), |before| {
            cx.be.select(act.x.mat_mut(n), before.x.mat(n), cx.x.groups);
            (act.x.mat(n), before.x_0.mat(n))
        });
        self.last.forward(cx, act.mix.mat_mut(n), &mut act.last, streams, &prepared.last);
        self.towers.forward(cx, logits, &mut act.towers, act.mix.mat(n), &prepared.towers);
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
        let n = cx.x.rows;
        let (x, d_x) = ((act.mix.mat(n), None), (act.d_mix.mat_mut(n), Write::Set));
        self.towers.backward(cx, dense, d_x, x, d_logits, &mut act.towers, &prepared.towers);
        let Activations { e, wide, x, d_x, last, d_mix, .. } = act;
        let (e, d_mix) = (e.mat(n), d_mix.mat(n));
        if let Some(before) = wide.last_mut() {
            let to = Sources::Streams(d_x.mat_mut(n), before.d_x_0.mat_mut(n));
            let streams = (x.mat(n), before.x_0.mat(n));
            self.last.backward(cx, dense, to, d_mix, last, streams, &prepared.last);
            cx.be.select_bwd(before.d_x.mat_mut(n), Write::Set, d_x.mat(n), cx.x.groups);
        } else {
            self.last.backward(cx, dense, Sources::Fields(readers), d_mix, last, (e, e), &prepared.last);
        }
        for (l, (level, p)) in self.wide.iter().zip(&prepared.wide).enumerate().rev() {
            let (before, after) = wide.split_at_mut(l);
            let (to, streams) = match before.last_mut() {
                Some(b) => {
                    let to = Sources::Streams(b.d_x.mat_mut(n), b.d_x_0.mat_mut(n));
                    (to, (b.x.mat(n), b.x_0.mat(n)))
                }
                None => (Sources::Fields(&mut *readers), (e, e)),
            };
            level.backward(cx, dense, to, &mut after[0], streams, p);
        }
    }

    fn finish(&self, _: &B, _: &mut Grads<B>, (): &mut (), _: &Prepared<B>, _: &Flat<B>) {}

    fn measured<'a>(&self, act: &'a Activations<B>, _: usize, rows: usize) -> Mat<'a, B::Buf> {
        self.last.alpha(&act.last, rows)
    }

    fn exhibits(&self, _: &B, _: &Prepared<B>, _: &Flat<B>, measured: &Measured) -> Result<Vec<Exhibit>> {
        let shown = Exhibit::gate(measured, 0, self.last.names());
        Ok(vec![Exhibit { title: "Gate of the last level by scenario".into(), ..shown }])
    }
}

/// Options and fields of every kind.
pub(super) fn cases() -> Vec<Case> {
    let own = |levels, (own, shared), hidden: &[usize], tower: &[usize], dropout| PleConfig {
        levels,
        own,
        shared,
        hidden: hidden.to_vec(),
        dropout,
        tower: TowerConfig { hidden: tower.to_vec(), dropout },
    };
    let case = |name, own| Case::of(super::Kind::Ple, name, |c| c.config.ple = own);
    cases_of_fields(super::Kind::Ple, |c, hidden| c.config.ple = own(2, (1, 1), hidden, &[3], 0.0))
        .chain([
            case("dropout", own(3, (2, 1), &[4, 3], &[3], 0.3)),
            case("one level", own(1, (2, 2), &[5, 4], &[3], 0.0)),
            case("three levels, several experts", own(3, (2, 3), &[4], &[3], 0.0)),
            case("two own experts, a tower without hidden layer", own(2, (2, 1), &[5, 3], &[], 0.0)),
            Case::of(super::Kind::Ple, "one scenario", |c| {
                c.input.scenarios = 1;
                c.config.ple = own(2, (1, 1), &[4], &[3], 0.0);
            }),
        ])
        .collect()
}
