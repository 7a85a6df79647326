//! PPNet: towers by scenario, whose hidden units a gate scales that knows the scenario and priors.
//!
//! Chang et al., KDD 2023 (PEPNet), its half that personalizes parameters: `g = [sg(e) ; z_s ; e_prior]`,
//! `h_{l+1} = ReLU(W_{s,l} h_l + b_{s,l}) ⊙ 2σ(Gate_l(g))`, with sg the stop-gradient. Definition: docs/models.md#ppnet. In public
//! code side features reach the network through stop-gradients alone, so their tables never learn: here h_0 = e trains all of
//! them, and the priors learn through the gates, too.

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Mat, MatMut, Products};
use crate::config::{InputSpec, ModelConfig, check, mlp_config};
use crate::error::Result;
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::gated_towers::{GatedTowersActivations, GatedTowersPrepared};
use crate::layers::{Embedding, GateInput, GatedTowers};
use crate::model::{Builder, Cx, Exhibit, Fields, Grads, Measured, Model, ModelSpec, Reader, ReaderGrads};
use crate::params::{Flat, Init};

/// In words.
pub const ABOUT: About = About {
    title: "a tower for each scenario, its units scaled by gates of scenario and priors",
    paper: "Chang et al., KDD 2023 (the second half of PEPNet)",
    forward: "g = [sg(e) ; z_s ; e_prior]; h_0 = e; h_{l+1} = ReLU(W_{s,l} h_l + b_{s,l}) ⊙ 2σ(Gate_l(g)); o = W_{s,L} h_L + b_{s,L}",
};

/// `[model.ppnet]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PpnetConfig {
    /// Hidden layers of each scenario's tower; a last layer of width 1 follows.
    pub tower: GatedTowerConfig,
    /// Hidden layers of each gate; a linear one to the width of the tower's layer follows.
    pub gate: GateConfig,
    /// Names of fields that the gates read and train.
    pub prior_fields: Vec<String>,
    /// q: width of a scenario's embedding.
    pub scenario_dim: usize,
    /// Whether the gates leave the embeddings of all fields alone, as in the paper.
    pub stop_gradient: bool,
}

mlp_config!(
    /// Hidden layers of a gated tower.
    GatedTowerConfig,
    [64, 32]
);

mlp_config!(
    /// Hidden layers of a gate.
    GateConfig,
    [16]
);

impl Default for PpnetConfig {
    fn default() -> Self {
        Self {
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
    let PpnetConfig { tower, gate, prior_fields, scenario_dim, .. } = &config.ppnet;
    validate_towers("model.ppnet", (tower, gate), prior_fields, *scenario_dim, input)
}

/// Checks the settings of gated towers, which stand in the table `key`.
pub(super) fn validate_towers(
    key: &str,
    (tower, gate): (&GatedTowerConfig, &GateConfig),
    prior_fields: &[String],
    scenario_dim: usize,
    input: &InputSpec,
) -> Result<()> {
    check::some_widths(&format!("{key}.tower.hidden"), &tower.hidden)?;
    check::dropout(&format!("{key}.tower.dropout"), tower.dropout)?;
    check::some_widths(&format!("{key}.gate.hidden"), &gate.hidden)?;
    check::dropout(&format!("{key}.gate.dropout"), gate.dropout)?;
    check::fields(&format!("{key}.prior_fields"), prior_fields, input)?;
    check::width(&format!("{key}.scenario_dim"), scenario_dim)
}

/// Readers of all fields, and of the priors where there are any; the widths of both.
pub(super) fn readers(
    embedding: &Embedding,
    key: &str,
    prior_fields: &[String],
    input: &InputSpec,
) -> Result<(Vec<Reader>, [usize; 2])> {
    let mut readers = vec![Reader::embedded(embedding, Fields::All)];
    let priors = check::fields(&format!("{key}.prior_fields"), prior_fields, input)?;
    if !priors.is_empty() {
        readers.push(Reader::numbered(embedding, &priors));
    }
    let widths = [readers[ALL].width(), readers.get(PRIOR).map_or(0, Reader::width)];
    Ok((readers, widths))
}

/// Readers: all fields, the priors where there are any.
pub(super) const ALL: usize = 0;
pub(super) const PRIOR: usize = 1;

/// Towers and gates.
#[derive(Clone, Debug)]
pub struct Ppnet {
    spec: ModelSpec,
    towers: GatedTowers,
}

impl Ppnet {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::Ppnet, config, input)?;
        let PpnetConfig { tower, gate, prior_fields, scenario_dim, stop_gradient } = &config.ppnet;
        let (scenario_dim, stop_gradient) = (*scenario_dim, *stop_gradient);
        let mut build = Builder::new(config.embedding(), input);
        let shape = [input.scenarios, scenario_dim];
        let scenario = build.params.add("scenario.weight", &shape, Init::Normal(config.init_std));
        let (readers, [fields, prior]) = readers(build.embedding(), "model.ppnet", prior_fields, input)?;
        let input = GateInput { scenario, fields, scenario_dim, prior, stop_gradient };
        let [tower, gate] = [(&tower.hidden[..], tower.dropout), (&gate.hidden[..], gate.dropout)];
        let towers = GatedTowers::new(&mut build, input, tower, gate);
        Ok(Self { spec: build.build(readers, towers.measures().collect()), towers })
    }
}

impl<B: Backend> Model<B> for Ppnet {
    type Prepared = GatedTowersPrepared<B>;
    type Activations = GatedTowersActivations<B>;
    type Scratch = ();

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Self::Prepared> {
        self.towers.alloc(be, Products::of(training))
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Self::Activations> {
        self.towers.activations(be, rows, training)
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
        act: &mut Self::Activations,
        prepared: &Self::Prepared,
    ) {
        self.spec.embed(cx, ALL, self.towers.input_mut(act, cx.x.rows));
        self.towers.forward(cx, logits, act, |p| self.spec.embed(cx, PRIOR, p), prepared);
    }

    fn embedded<'a>(&self, act: &'a Self::Activations, _: usize, rows: usize) -> Mat<'a, B::Buf> {
        self.towers.input(act, rows)
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
        self.towers.backward(cx, grads, readers.reader(ALL), d_logits.as_mat(), act, prepared);
        if self.spec.readers().len() > PRIOR {
            self.towers.backward_to_prior(cx, readers.reader(PRIOR), act, prepared);
        }
    }

    fn finish(&self, be: &B, grads: &mut Grads<B>, (): &mut (), prepared: &Self::Prepared, _: &Flat<B>) {
        self.towers.finish(be, grads, prepared);
    }

    fn measured<'a>(&self, act: &'a Self::Activations, layer: usize, rows: usize) -> Mat<'a, B::Buf> {
        self.towers.measured(act, layer, rows)
    }

    fn exhibits(&self, _: &B, _: &Self::Prepared, _: &Flat<B>, measured: &Measured) -> Result<Vec<Exhibit>> {
        Ok(vec![self.towers.exhibit(measured, 0)])
    }
}

/// Options and fields of every kind. Differences know no stop-gradient, so the gates train the embeddings here; with it, PyTorch is
/// the judge.
pub(super) fn cases() -> Vec<Case> {
    let own = |tower: &[usize], gate: &[usize], prior: &[&str], dropout| PpnetConfig {
        tower: GatedTowerConfig { hidden: tower.to_vec(), dropout },
        gate: GateConfig { hidden: gate.to_vec(), dropout },
        prior_fields: prior.iter().map(|&name| name.into()).collect(),
        scenario_dim: 2,
        stop_gradient: false,
    };
    let case = |name, own| Case::of(super::Kind::Ppnet, name, |c| c.config.ppnet = own);
    cases_of_fields(super::Kind::Ppnet, |c, hidden| c.config.ppnet = own(hidden, &[3], &[], 0.0))
        .chain([
            case("dropout", own(&[5, 4], &[4, 3], &["tags"], 0.3)),
            case("priors of every kind", own(&[5, 4], &[3], &["age", "user", "tags"], 0.0)),
            case(
                "all fields are priors",
                own(&[4], &[4, 3], &["user", "tags", "price", "slot", "words", "age"], 0.0),
            ),
            Case::of(super::Kind::Ppnet, "priors of a shared table, one scenario", |c| {
                c.config.ppnet = own(&[5, 4], &[3], &["slot", "user"], 0.0);
                c.share(&["user", "slot"]);
                c.input.scenarios = 1;
            }),
        ])
        .collect()
}
