//! HAMUR: a backbone that all scenarios share, and behind each hidden layer an adapter of the scenario.
//!
//! Li et al., CIKM 2023. Definition: docs/models.md#hamur. An instance network gives every row a matrix I(e) `[k, k]`, which all
//! adapters use between their factors of the scenario. The adapters normalize each row, not a batch, so that no prediction
//! depends on other rows; those of a scenario are computed for its rows alone.

mod adapter;

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::config::{InputSpec, ModelConfig, check, mlp_config};
use crate::error::{Error, Result};
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::mlp::MlpActivations;
use crate::layers::{Linear, Mlp};
use crate::model::{
    Builder, Cx, Exhibit, Fields, Grads, Heads, Measured, Model, ModelSpec, Reader, ReaderGrads, Shows,
    root_mean_squares,
};
use crate::params::{Flat, Tensor};

use adapter::{Adapter, AdapterActivations, AdapterPrepared};

/// In words.
pub const ABOUT: About = About {
    title: "a shared network, adapted to the scenario behind each hidden layer",
    paper: "Li et al., CIKM 2023",
    forward: "h = ReLU(W h + b); a = σ(V_s Iᵀ U_s h + c_s); h ← h + LN_s(V'_s Iᵀ U'_s a + c'_s) with I = MLP(e)",
};

/// `[model.hamur]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HamurConfig {
    /// Widths of the backbone's hidden layers, each with an adapter; a last layer of width 1 follows.
    pub hidden: Vec<usize>,
    /// Probability of dropping an activation of the backbone while training.
    pub dropout: f64,
    /// k: rows and columns of the matrix of a row.
    pub rank: usize,
    /// The network that makes this matrix; a last layer to k·k follows.
    pub instance: InstanceConfig,
}

mlp_config!(
    /// The instance network.
    InstanceConfig,
    [32]
);

impl Default for HamurConfig {
    fn default() -> Self {
        Self { hidden: vec![96, 48], dropout: 0.0, rank: 8, instance: InstanceConfig::default() }
    }
}

/// The largest k: a row's matrix has 65536 elements.
const MAX_RANK: usize = 256;

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, _: &InputSpec) -> Result<()> {
    let HamurConfig { hidden, dropout, rank, instance } = &config.hamur;
    check::some_widths("model.hamur.hidden", hidden)?;
    check::dropout("model.hamur.dropout", *dropout)?;
    if hidden.contains(&1) {
        let fix = "use 2 or more: layer normalization makes 0 of a single unit";
        return Err(Error::config("model.hamur.hidden", "has a layer of one unit", fix));
    }
    check::some("model.hamur.rank", *rank, MAX_RANK)?;
    check::widths("model.hamur.instance.hidden", &instance.hidden)?;
    check::dropout("model.hamur.instance.dropout", instance.dropout)
}

/// Readers: the backbone's first layer, the instance network's.
const BACKBONE: usize = 0;
const INSTANCE: usize = 1;

/// Backbone, adapters, instance network.
#[derive(Clone, Debug)]
pub struct Hamur {
    spec: ModelSpec,
    layers: Vec<Linear>,
    adapters: Vec<Adapter>,
    instance: Mlp,
    dropout: f64,
    first_site: u32,
}

/// Packed weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    layers: Vec<B::Packed>,
    adapters: Vec<AdapterPrepared<B>>,
    instance: Vec<B::Packed>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    e: Tensor<B>, // [rows, Σ d]
    instance: MlpActivations<B>,
    matrix: Tensor<B>,   // I(e), [rows, k·k]
    d_matrix: Tensor<B>, // [rows, k·k]
    h: Vec<Tensor<B>>,   // output of hidden layer l, [rows, width]
    adapters: Vec<AdapterActivations<B>>,
    adapted: Vec<Tensor<B>>, // h_{l+1}, [rows, width]
    d: Vec<Tensor<B>>,       // of h_{l+1}, then of the layer's output, [rows, width]
}

impl Hamur {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::Hamur, config, input)?;
        let HamurConfig { hidden, dropout, rank, instance } = &config.hamur;
        let mut build = Builder::new(config.embedding(), input);
        let inputs = build.embedding().width(Fields::All);
        let widths: Vec<usize> = std::iter::once(inputs).chain(hidden.iter().copied()).chain([1]).collect();
        let layer = |(l, w): (usize, &[usize])| {
            Linear::new(&mut build.params, &format!("mlp.{l}"), w[0], w[1], l < hidden.len())
        };
        let layers: Vec<Linear> = widths.windows(2).enumerate().map(layer).collect();
        let [site, first_site] = [build.dropout_sites(), build.dropout_sites()];
        let instance = Mlp::to_linear(&mut build.params, "instance", inputs, &instance.hidden, rank * rank)
            .with_dropout(instance.dropout, site)
            .reading_fields();
        let adapter =
            |(l, &width): (usize, &usize)| Adapter::new(&mut build, &format!("adapters.{l}"), width, *rank);
        let adapters = hidden.iter().enumerate().map(adapter).collect();
        let readers = vec![
            Reader::linear(build.embedding(), Fields::All, layers[0].first()),
            Reader::linear(build.embedding(), Fields::All, instance.first()),
        ];
        let spec = build.build(readers, Vec::new());
        Ok(Self { spec, layers, adapters, instance, dropout: *dropout, first_site })
    }

    /// Drops outputs of a hidden layer.
    fn drop<B: Backend>(&self, cx: Cx<B>, layer: usize, x: MatMut<B::Buf>) {
        cx.x.drop(cx.be, x, self.dropout, self.first_site + layer as u32);
    }
}

impl<B: Backend> Model<B> for Hamur {
    type Prepared = Prepared<B>;
    type Activations = Activations<B>;
    type Scratch = ();

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Prepared<B>> {
        let used = Products::of(training);
        // The engine takes the gradient back through the layer that reads fields.
        let used_by = |l: usize| if l == 0 { Products::Forward } else { used };
        Ok(Prepared {
            layers: (self.layers.iter().enumerate())
                .map(|(l, w)| w.alloc(be, used_by(l)))
                .collect::<Result<_>>()?,
            adapters: self.adapters.iter().map(|a| a.alloc(be, training)).collect::<Result<_>>()?,
            instance: self.instance.alloc(be, used)?,
        })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let back = if training { rows } else { 0 };
        let hidden = |rows: usize| {
            self.layers[..self.adapters.len()]
                .iter()
                .map(|l| Tensor::new(be, rows, l.width()))
                .collect::<Result<_>>()
        };
        Ok(Activations {
            e: Tensor::new(be, rows, self.spec.readers()[BACKBONE].width())?,
            instance: self.instance.activations(be, rows, training)?,
            matrix: Tensor::new(be, rows, self.instance.width())?,
            d_matrix: Tensor::new(be, back, self.instance.width())?,
            h: hidden(rows)?,
            adapters: self
                .adapters
                .iter()
                .map(|a| a.activations(be, rows, training))
                .collect::<Result<_>>()?,
            adapted: hidden(rows)?,
            d: hidden(back)?,
        })
    }

    fn alloc_scratch(&self, _: &B) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, _: &Flat<B>) {
        self.layers.iter().zip(&mut prepared.layers).for_each(|(l, w)| l.pack(be, w, params));
        self.adapters.iter().zip(&mut prepared.adapters).for_each(|(a, p)| a.pack(be, p, params));
        self.instance.pack(be, &mut prepared.instance, params);
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
        self.spec.embed(cx, BACKBONE, act.e.mat_mut(n));
        let e = act.e.mat(n);
        self.instance.forward(cx, act.matrix.mat_mut(n), &mut act.instance, e, &prepared.instance);
        for (l, adapter) in self.adapters.iter().enumerate() {
            let (before, after) = act.adapted.split_at_mut(l);
            let x = before.last().map_or(e, |h| h.mat(n));
            self.layers[l].forward(cx.be, act.h[l].mat_mut(n), x, &prepared.layers[l], cx.params);
            self.drop(cx, l, act.h[l].mat_mut(n));
            let (h, own) = (act.h[l].mat(n), &mut act.adapters[l]);
            adapter.forward(cx, after[0].mat_mut(n), own, h, act.matrix.mat(n), &prepared.adapters[l]);
        }
        let last = self.adapters.len();
        let h = act.adapted[last - 1].mat(n);
        self.layers[last].forward(cx.be, logits, h, &prepared.layers[last], cx.params);
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
        let (be, n, dense, last) = (cx.be, cx.x.rows, &mut grads.dense, self.adapters.len());
        let (d_h, h) = ((act.d[last - 1].mat_mut(n), Write::Set), act.adapted[last - 1].mat(n));
        self.layers[last].backward(be, dense, d_h, None, d_logits.as_mat(), h, &prepared.layers[last]);
        let mut write = Write::Set;
        for (l, adapter) in self.adapters.iter().enumerate().rev() {
            let (before, after) = act.d.split_at_mut(l);
            let (mut d, h, own) = (after[0].mat_mut(n), act.h[l].mat(n), &mut act.adapters[l]);
            let matrix = (act.matrix.mat(n), act.d_matrix.mat_mut(n), write);
            adapter.backward(cx, dense, d.again(), own, h, matrix, &prepared.adapters[l]);
            write = Write::Add;
            // A dropped output is 0, so the ReLU's mask takes it out, and only dropout's factor is missing.
            let Some(d_x) = before.last_mut() else {
                let mut delta = readers.reader(BACKBONE);
                be.relu_bwd_into(delta.again(), d.as_mat(), h);
                self.drop(cx, l, delta.again());
                self.layers[l].backward_to_fields(be, dense, delta.as_mat());
                continue;
            };
            be.relu_bwd(d.again(), h);
            self.drop(cx, l, d.again());
            let (d_x, x) = ((d_x.mat_mut(n), Write::Set), act.adapted[l - 1].mat(n));
            self.layers[l].backward(be, dense, d_x, None, d.as_mat(), x, &prepared.layers[l]);
        }
        let (delta, d_matrix) = (readers.reader(INSTANCE), act.d_matrix.mat_mut(n));
        let (own, packed) = (&mut act.instance, &prepared.instance);
        self.instance.backward_to_fields(cx, dense, delta, d_matrix, None, own, packed);
    }

    fn finish(&self, _: &B, _: &mut Grads<B>, (): &mut (), _: &Prepared<B>, _: &Flat<B>) {}

    fn exhibits(&self, be: &B, _: &Prepared<B>, params: &Flat<B>, _: &Measured) -> Result<Vec<Exhibit>> {
        let s = self.spec.input().scenarios;
        let mut values = vec![None; s * self.adapters.len()];
        for (l, adapter) in self.adapters.iter().enumerate() {
            let scale = params.to_host(be, adapter.scale())?;
            for (s, own) in root_mean_squares(&scale, s, 0.0).enumerate() {
                values[s * self.adapters.len() + l] = Some(own);
            }
        }
        Ok(vec![Exhibit {
            title: "Scale of the adapters".into(),
            says: "Root mean square of γ_s, which scales what the adapter of a scenario adds to a hidden layer: 0 where the \
                   scenario uses the shared layer as it is; it starts at 1."
                .into(),
            rows: Heads::Scenarios,
            columns: Heads::Named((0..self.adapters.len()).map(|l| format!("layer {l}")).collect()),
            values,
            full: None,
            shows: Shows::Values,
        }])
    }
}

/// Options and fields of every kind.
pub(super) fn cases() -> Vec<Case> {
    let own = |hidden: &[usize], rank, instance: &[usize], dropout| HamurConfig {
        hidden: hidden.to_vec(),
        dropout,
        rank,
        instance: InstanceConfig { hidden: instance.to_vec(), dropout },
    };
    let case = |name, own| Case::of(super::Kind::Hamur, name, |c| c.config.hamur = own);
    cases_of_fields(super::Kind::Hamur, |c, hidden| c.config.hamur = own(hidden, 2, &[3], 0.0))
        .chain([
            case("dropout", own(&[5, 4], 2, &[4, 3], 0.3)),
            case("rank 1", own(&[5, 4], 1, &[3], 0.0)),
            case("rank above the widths", own(&[4, 3], 5, &[3], 0.0)),
            case("instance network without hidden layer", own(&[5, 4], 3, &[], 0.0)),
            Case::of(super::Kind::Hamur, "one scenario", |c| {
                c.input.scenarios = 1;
                c.config.hamur = own(&[5, 4], 2, &[3], 0.0);
            }),
        ])
        .collect()
}
