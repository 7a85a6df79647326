//! One network for all scenarios, with the scenario as a feature: o = MLP([e ; z_s]).
//!
//! The question before all others: is a multi-scenario model worth it? Definition: docs/models.md#dnn.

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Mat, MatMut, Products};
use crate::config::{InputSpec, ModelConfig, check};
use crate::error::Result;
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::input_mlp::{InputMlpActivations, InputMlpPrepared};
use crate::layers::{InputMlp, Mlp};
use crate::model::{Builder, Cx, Fields, Grads, Model, ModelSpec, Reader, ReaderGrads};
use crate::params::{Flat, Init};

/// In words.
pub const ABOUT: About = About {
    title: "one network for all scenarios, the scenario as a feature",
    paper: "the usual baseline",
    forward: "o = MLP([e ; z_s])",
};

/// `[model.dnn]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnnConfig {
    /// Widths of the hidden layers; a last layer of width 1 follows.
    pub hidden: Vec<usize>,
    /// Probability of dropping an activation while training.
    pub dropout: f64,
    /// q: width of a scenario's embedding.
    pub scenario_dim: usize,
}

impl Default for DnnConfig {
    fn default() -> Self {
        Self { hidden: vec![192, 64], dropout: 0.0, scenario_dim: 16 }
    }
}

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, _: &InputSpec) -> Result<()> {
    let DnnConfig { hidden, dropout, scenario_dim } = &config.dnn;
    check::widths("model.dnn.hidden", hidden)?;
    check::dropout("model.dnn.dropout", *dropout)?;
    check::width("model.dnn.scenario_dim", *scenario_dim)
}

/// The network.
#[derive(Clone, Debug)]
pub struct Dnn {
    spec: ModelSpec,
    mlp: InputMlp,
}

impl Dnn {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::Dnn, config, input)?;
        let own = &config.dnn;
        let mut build = Builder::new(config.embedding(), input);
        let shape = [input.scenarios, own.scenario_dim];
        let scenario = build.params.add("scenario.weight", &shape, Init::Normal(config.init_std));
        let mlp = InputMlp::new(&mut build, "mlp", Fields::All, scenario, |build, inputs| {
            let site = build.dropout_sites();
            Mlp::to_linear(&mut build.params, "mlp", inputs, &own.hidden, 1).with_dropout(own.dropout, site)
        });
        let readers = vec![Reader::linear(build.embedding(), Fields::All, mlp.first())];
        Ok(Self { spec: build.build(readers, Vec::new()), mlp })
    }
}

impl<B: Backend> Model<B> for Dnn {
    type Prepared = InputMlpPrepared<B>;
    type Activations = InputMlpActivations<B>;
    type Scratch = ();

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Self::Prepared> {
        self.mlp.alloc(be, Products::of(training))
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Self::Activations> {
        self.mlp.activations(be, rows, training)
    }

    fn alloc_scratch(&self, _: &B) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, be: &B, prepared: &mut Self::Prepared, params: &Flat<B>, _: &Flat<B>) {
        self.mlp.pack(be, prepared, params);
    }

    fn forward(
        &self,
        cx: Cx<B>,
        logits: MatMut<B::Buf>,
        _: Option<MatMut<B::Buf>>,
        act: &mut Self::Activations,
        prepared: &Self::Prepared,
    ) {
        self.mlp.forward(cx, logits, act, |e| self.spec.embed(cx, 0, e), prepared);
    }

    fn embedded<'a>(&self, act: &'a Self::Activations, _: usize, rows: usize) -> Mat<'a, B::Buf> {
        self.mlp.embedded(act, rows)
    }

    fn backward(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        readers: &mut ReaderGrads<B>,
        d_logits: MatMut<B::Buf>,
        act: &mut Self::Activations,
        prepared: &Self::Prepared,
        _: usize,
    ) {
        self.mlp.backward(cx, grads, readers.reader(0), d_logits, None, act, prepared);
    }

    fn finish(&self, be: &B, grads: &mut Grads<B>, (): &mut (), prepared: &Self::Prepared, params: &Flat<B>) {
        self.mlp.finish(be, grads, prepared, params);
    }
}

/// Options and fields of every kind.
pub(super) fn cases() -> Vec<Case> {
    cases_of_fields(super::Kind::Dnn, |c, hidden| {
        c.config.dnn = DnnConfig { hidden: hidden.to_vec(), dropout: 0.0, scenario_dim: 2 };
    })
    .chain([Case::of(super::Kind::Dnn, "dropout", |c| {
        c.config.dnn = DnnConfig { hidden: vec![5, 4], dropout: 0.3, scenario_dim: 2 };
    })])
    .collect()
}
