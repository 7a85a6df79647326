//! A network of its own for each scenario, on tables that all share: o = T_s(e).
//!
//! The other end from `dnn`: what do scenarios gain from each other at all? Definition: docs/models.md#separate.

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::config::{InputSpec, ModelConfig, check};
use crate::error::Result;
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::ScenarioTowers;
use crate::layers::scenario_linear::ScenarioTowersActivations;
use crate::model::{Builder, Cx, Fields, Grads, Model, ModelSpec, Reader, ReaderGrads};
use crate::params::{Flat, Tensor};

/// In words.
pub const ABOUT: About = About {
    title: "a network of its own for each scenario, tables alone are shared",
    paper: "the usual baseline",
    forward: "o = T_s(e)",
};

/// `[model.separate]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeparateConfig {
    /// Widths of the hidden layers; a last layer of width 1 follows.
    pub hidden: Vec<usize>,
    /// Probability of dropping an activation while training.
    pub dropout: f64,
}

impl Default for SeparateConfig {
    fn default() -> Self {
        Self { hidden: vec![64, 32], dropout: 0.0 }
    }
}

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, _: &InputSpec) -> Result<()> {
    let SeparateConfig { hidden, dropout } = &config.separate;
    check::widths("model.separate.hidden", hidden)?;
    check::dropout("model.separate.dropout", *dropout)
}

/// The networks.
#[derive(Clone, Debug)]
pub struct Separate {
    spec: ModelSpec,
    towers: ScenarioTowers,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    e: Tensor<B>, // [rows, Σ d]
    towers: ScenarioTowersActivations<B>,
}

impl Separate {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::Separate, config, input)?;
        let SeparateConfig { hidden, dropout } = &config.separate;
        let mut build = Builder::new(config.embedding(), input);
        let (width, dropout) = (build.embedding().width(Fields::All), (*dropout, build.dropout_sites()));
        let params = &mut build.params;
        let towers = ScenarioTowers::new(params, "towers", input.scenarios, width, hidden, dropout);
        let readers = vec![Reader::embedded(build.embedding(), Fields::All)];
        Ok(Self { spec: build.build(readers, Vec::new()), towers })
    }
}

impl<B: Backend> Model<B> for Separate {
    type Prepared = Vec<B::Packed>;
    type Activations = Activations<B>;
    type Scratch = ();

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Self::Prepared> {
        self.towers.alloc(be, Products::of(training))
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        Ok(Activations {
            e: Tensor::new(be, rows, self.spec.readers()[0].width())?,
            towers: self.towers.activations(be, rows, training)?,
        })
    }

    fn alloc_scratch(&self, _: &B) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, be: &B, prepared: &mut Self::Prepared, params: &Flat<B>, _: &Flat<B>) {
        self.towers.pack(be, prepared, params);
    }

    fn forward(
        &self,
        cx: Cx<B>,
        logits: MatMut<B::Buf>,
        _: Option<MatMut<B::Buf>>,
        act: &mut Activations<B>,
        prepared: &Self::Prepared,
    ) {
        let n = cx.x.rows;
        self.spec.embed(cx, 0, act.e.mat_mut(n));
        self.towers.forward(cx, logits, &mut act.towers, act.e.mat(n), prepared);
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
        prepared: &Self::Prepared,
        _: usize,
    ) {
        let (e, d_e) = ((act.e.mat(cx.x.rows), None), (readers.reader(0), Write::Set));
        self.towers.backward(cx, &mut grads.dense, d_e, e, d_logits, &mut act.towers, prepared);
    }

    fn finish(&self, _: &B, _: &mut Grads<B>, (): &mut (), _: &Self::Prepared, _: &Flat<B>) {}
}

/// Options and fields of every kind.
pub(super) fn cases() -> Vec<Case> {
    let own = |hidden: &[usize], dropout| SeparateConfig { hidden: hidden.to_vec(), dropout };
    let case = |name, own| Case::of(super::Kind::Separate, name, |c| c.config.separate = own);
    cases_of_fields(super::Kind::Separate, |c, hidden| c.config.separate = own(hidden, 0.0))
        .chain([
            case("dropout", own(&[5, 4], 0.3)),
            case("no hidden layer", own(&[], 0.0)),
            Case::of(super::Kind::Separate, "one scenario", |c| {
                c.config.separate = own(&[5, 4], 0.0);
                c.input.scenarios = 1;
            }),
        ])
        .collect()
}
