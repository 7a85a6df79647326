//! Shared bottom: one MLP reads all fields, and each scenario has a tower on it: o = T_s(MLP(e)).
//!
//! Caruana, Machine Learning 28, 1997. Definition: docs/models.md#shared_bottom. Towers are computed for the rows of their
//! scenario alone, not all towers for all rows under a mask.

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::config::{InputSpec, ModelConfig, TowerConfig, check, mlp_config};
use crate::error::Result;
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::mlp::MlpActivations;
use crate::layers::scenario_linear::ScenarioTowersActivations;
use crate::layers::{Mlp, ScenarioTowers};
use crate::model::{Builder, Cx, Fields, Grads, Model, ModelSpec, Reader, ReaderGrads};
use crate::params::{Flat, Tensor};

/// In words.
pub const ABOUT: About = About {
    title: "a bottom that all scenarios share, a tower for each",
    paper: "Caruana, Machine Learning 28, 1997",
    forward: "o = T_s(MLP(e))",
};

/// `[model.shared_bottom]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedBottomConfig {
    /// The shared MLP.
    pub bottom: BottomConfig,
    /// Each scenario's tower.
    pub tower: TowerConfig,
}

mlp_config!(
    /// The shared MLP.
    BottomConfig,
    [160, 64]
);

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, _: &InputSpec) -> Result<()> {
    let SharedBottomConfig { bottom, tower } = &config.shared_bottom;
    check::some_widths("model.shared_bottom.bottom.hidden", &bottom.hidden)?;
    check::dropout("model.shared_bottom.bottom.dropout", bottom.dropout)?;
    check::widths("model.shared_bottom.tower.hidden", &tower.hidden)?;
    check::dropout("model.shared_bottom.tower.dropout", tower.dropout)
}

/// Bottom and towers.
#[derive(Clone, Debug)]
pub struct SharedBottom {
    spec: ModelSpec,
    bottom: Mlp,
    towers: ScenarioTowers,
}

/// Packed weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    bottom: Vec<B::Packed>,
    towers: Vec<B::Packed>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    e: Tensor<B>, // [rows, Σ d]
    bottom: MlpActivations<B>,
    h: Tensor<B>,   // output of the bottom, [rows, m]
    d_h: Tensor<B>, // [rows, m]
    towers: ScenarioTowersActivations<B>,
}

impl SharedBottom {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::SharedBottom, config, input)?;
        let SharedBottomConfig { bottom, tower } = &config.shared_bottom;
        let mut build = Builder::new(config.embedding(), input);
        let width = build.embedding().width(Fields::All);
        let [bottom_site, tower_site] = [build.dropout_sites(), build.dropout_sites()];
        let bottom = Mlp::new(&mut build.params, "bottom", width, &bottom.hidden)
            .with_dropout(bottom.dropout, bottom_site)
            .reading_fields();
        let (m, dropout) = (bottom.width(), (tower.dropout, tower_site));
        let towers =
            ScenarioTowers::new(&mut build.params, "towers", input.scenarios, m, &tower.hidden, dropout);
        let readers = vec![Reader::linear(build.embedding(), Fields::All, bottom.first())];
        Ok(Self { spec: build.build(readers, Vec::new()), bottom, towers })
    }
}

impl<B: Backend> Model<B> for SharedBottom {
    type Prepared = Prepared<B>;
    type Activations = Activations<B>;
    type Scratch = ();

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Prepared<B>> {
        let used = Products::of(training);
        Ok(Prepared { bottom: self.bottom.alloc(be, used)?, towers: self.towers.alloc(be, used)? })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let back = if training { rows } else { 0 };
        Ok(Activations {
            e: Tensor::new(be, rows, self.spec.readers()[0].width())?,
            bottom: self.bottom.activations(be, rows, training)?,
            h: Tensor::new(be, rows, self.bottom.width())?,
            d_h: Tensor::new(be, back, self.bottom.width())?,
            towers: self.towers.activations(be, rows, training)?,
        })
    }

    fn alloc_scratch(&self, _: &B) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, _: &Flat<B>) {
        self.bottom.pack(be, &mut prepared.bottom, params);
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
        self.spec.embed_for_layer(cx, 0, act.e.mat_mut(n));
        self.bottom.forward(cx, act.h.mat_mut(n), &mut act.bottom, act.e.mat(n), &prepared.bottom);
        self.towers.forward(cx, logits, &mut act.towers, act.h.mat(n), &prepared.towers);
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
        let (h, d_h) = (act.h.mat(n), (act.d_h.mat_mut(n), Write::Set));
        // d_h comes back as the gradient before the bottom's last ReLU.
        self.towers.backward(cx, dense, d_h, (h, Some(h)), d_logits, &mut act.towers, &prepared.towers);
        let (delta, d_h) = (readers.reader(0), act.d_h.mat_mut(n));
        self.bottom.backward_to_fields(cx, dense, delta, d_h, None, &mut act.bottom, &prepared.bottom);
    }

    fn finish(&self, _: &B, _: &mut Grads<B>, (): &mut (), _: &Prepared<B>, _: &Flat<B>) {}
}

/// Options and fields of every kind.
pub(super) fn cases() -> Vec<Case> {
    let own = |hidden: &[usize], tower: &[usize], dropout| SharedBottomConfig {
        bottom: BottomConfig { hidden: hidden.to_vec(), dropout },
        tower: TowerConfig { hidden: tower.to_vec(), dropout },
    };
    let case = |name, hidden, tower, dropout| {
        Case::of(super::Kind::SharedBottom, name, |c| c.config.shared_bottom = own(hidden, tower, dropout))
    };
    cases_of_fields(super::Kind::SharedBottom, |c, hidden| {
        c.config.shared_bottom = own(hidden, &[3], 0.0);
    })
    .chain([
        case("dropout", &[5, 4], &[4, 3], 0.3),
        case("towers without hidden layer", &[5, 4], &[], 0.0),
        case("two hidden layers in towers", &[5], &[4, 3], 0.0),
    ])
    .collect()
}
