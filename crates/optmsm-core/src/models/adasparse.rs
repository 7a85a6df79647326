//! AdaSparse: a pruner beside each layer weighs its units, and takes some away, by what it reads and by the scenario.
//!
//! Yang et al., CIKM 2022: `h = ReLU(W_l h_l + b_l)`, `h_{l+1} = h ⊙ f(P_l [h_l ; z_s] + p_l)`, and a penalty that keeps the
//! share of pruned units in a range. Definition: docs/models.md#adasparse. The factor α is a setting and no counter of steps, and the
//! share is a soft one per row, so that no loss depends on its batch. In public code a sign that is −1 and not 0 prunes
//! nothing, and the counter is neither saved nor left alone at evaluation: not so here.

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Groups, Mat, MatMut, Products, Write};
use crate::config::{InputSpec, ModelConfig, check};
use crate::error::{Error, Result};
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::pruned_linear::{PrunedLinearActivations, PrunedLinearPrepared};
use crate::layers::{Linear, PrunedLinear, Pruner, Pruning};
use crate::model::{
    Builder, Cx, Exhibit, Fields, Grads, Heads, Measure, Measured, Model, ModelSpec, Reader, ReaderGrads,
    Shows,
};
use crate::params::{Flat, Init, ParamId, Tensor};

/// In words.
pub const ABOUT: About = About {
    title: "one network for all scenarios, its units pruned by the row and its scenario",
    paper: "Yang et al., CIKM 2022",
    forward: "h_0 = [e ; z_s]; h_{l+1} = ReLU(W_l h_l + b_l) ⊙ f(P_l [h_l ; z_s] + p_l); o = W_L h_L + b_L",
};

/// `[model.adasparse]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdasparseConfig {
    /// Widths of the hidden layers; a last layer of width 1 follows.
    pub hidden: Vec<usize>,
    /// Probability of dropping a weighed unit while training.
    pub dropout: f64,
    /// Factors of units.
    pub pruner: Pruner,
    /// α: slope of the pruner's sigmoid.
    pub alpha: f64,
    /// β: largest factor, except of `pruner = "binary"`.
    pub beta: f64,
    /// ε: a sigmoid at most so large prunes its unit, except under `pruner = "scaling"`.
    pub epsilon: f64,
    /// r_min: smallest share of pruned units without a penalty.
    pub min_pruned: f64,
    /// r_max: largest share of pruned units without a penalty.
    pub max_pruned: f64,
    /// λ: weight of the penalty.
    pub sparsity: f64,
    /// q: width of a scenario's embedding.
    pub scenario_dim: usize,
}

impl Default for AdasparseConfig {
    fn default() -> Self {
        Self {
            hidden: vec![96, 64],
            dropout: 0.0,
            pruner: Pruner::Fusion,
            alpha: 1.0,
            beta: 2.0,
            epsilon: 0.25,
            min_pruned: 0.15,
            max_pruned: 0.25,
            sparsity: 0.01,
            scenario_dim: 16,
        }
    }
}

/// Largest factor: far above any use, and far from where `f32` ends.
const LARGEST: f64 = 1e6;

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, _: &InputSpec) -> Result<()> {
    let own = &config.adasparse;
    check::some_widths("model.adasparse.hidden", &own.hidden)?;
    check::dropout("model.adasparse.dropout", own.dropout)?;
    check::width("model.adasparse.scenario_dim", own.scenario_dim)?;
    check::at_least_zero("model.adasparse.sparsity", own.sparsity)?;
    for (key, v) in [("alpha", own.alpha), ("beta", own.beta)] {
        if !(v > 0.0 && v <= LARGEST) {
            let problem = format!("must be above 0 and at most {LARGEST:e}, got {v}");
            return Err(Error::config(format!("model.adasparse.{key}"), problem, "use a number near 1"));
        }
    }
    if own.sparsity > LARGEST {
        let problem = format!("must be at most {LARGEST:e}, got {}", own.sparsity);
        return Err(Error::config("model.adasparse.sparsity", problem, "lower it"));
    }
    if !(0.0..1.0).contains(&own.epsilon) {
        let problem = format!("must be in [0, 1), got {}", own.epsilon);
        let fix = "a sigmoid is between 0 and 1; 0 prunes nothing";
        return Err(Error::config("model.adasparse.epsilon", problem, fix));
    }
    for (key, v) in [("min_pruned", own.min_pruned), ("max_pruned", own.max_pruned)] {
        if !(0.0..=1.0).contains(&v) {
            let problem = format!("must be in [0, 1], got {v}");
            return Err(Error::config(format!("model.adasparse.{key}"), problem, "use a share"));
        }
    }
    if own.min_pruned > own.max_pruned {
        let problem = format!("{} is above max_pruned = {}", own.min_pruned, own.max_pruned);
        return Err(Error::config("model.adasparse.min_pruned", problem, "lower it, or raise max_pruned"));
    }
    Ok(())
}

/// Pruned layers and the last one.
#[derive(Clone, Debug)]
pub struct Adasparse {
    spec: ModelSpec,
    scenario: ParamId, // [S, q]
    layers: Vec<PrunedLinear>,
    logit: Linear,
    prunes: bool,
    sparsity: f64,       // λ
    scenario_dim: usize, // q
    dropout: f64,
    first_site: u32,
}

/// Packed weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    layers: Vec<PrunedLinearPrepared<B>>,
    logit: B::Packed,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    x: Vec<Tensor<B>>,   // [h_l ; z_s] of layer l, [rows, width + q]; h_L, [rows, width]
    d_x: Vec<Tensor<B>>, // the same
    layers: Vec<PrunedLinearActivations<B>>,
}

impl Adasparse {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::Adasparse, config, input)?;
        let own = &config.adasparse;
        let mut build = Builder::new(config.embedding(), input);
        let q = own.scenario_dim;
        let shape = [input.scenarios, q];
        let scenario = build.params.add("scenario.weight", &shape, Init::Normal(config.init_std));
        let pruning = Pruning {
            pruner: own.pruner,
            alpha: own.alpha,
            beta: own.beta,
            epsilon: own.epsilon,
            range: [own.min_pruned, own.max_pruned],
        };
        let mut width = build.embedding().width(Fields::All);
        let mut layers = Vec::new();
        for (l, &outputs) in own.hidden.iter().enumerate() {
            // The first layer reads z_s as the pruners do.
            let inputs = [if l == 0 { width + q } else { width }, width + q];
            layers.push(PrunedLinear::new(&mut build.params, l, inputs, outputs, pruning));
            width = outputs;
        }
        let logit = Linear::new(&mut build.params, &format!("mlp.{}", layers.len()), width, 1, false);
        let first_site = build.dropout_sites();
        let prunes = own.pruner != Pruner::Scaling;
        let kept = layers.iter().filter(|_| prunes).map(|layer| Measure::of_scenarios(layer.width()));
        let measures = [Measure::of_rows("sparsity")].into_iter().chain(kept).collect();
        let readers = vec![Reader::embedded(build.embedding(), Fields::All)];
        Ok(Self {
            spec: build.build(readers, measures),
            scenario,
            layers,
            logit,
            prunes,
            sparsity: own.sparsity,
            scenario_dim: q,
            dropout: own.dropout,
            first_site,
        })
    }

    /// Columns of h_0 without z_s, h_1, …, h_L.
    fn widths(&self) -> impl Iterator<Item = usize> {
        [self.spec.readers()[0].width()].into_iter().chain(self.layers.iter().map(PrunedLinear::width))
    }

    fn drop<B: Backend>(&self, cx: Cx<B>, layer: usize, x: MatMut<B::Buf>) {
        cx.x.drop(cx.be, x, self.dropout, self.first_site + layer as u32);
    }
}

impl<B: Backend> Model<B> for Adasparse {
    type Prepared = Prepared<B>;
    type Activations = Activations<B>;
    type Scratch = ();

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Prepared<B>> {
        let used = Products::of(training);
        Ok(Prepared {
            layers: self.layers.iter().map(|l| l.alloc(be, used)).collect::<Result<_>>()?,
            logit: self.logit.alloc(be, used)?,
        })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let (last, q) = (self.layers.len(), self.scenario_dim);
        let inputs = |rows: usize| {
            let wide = self.widths().enumerate().map(|(l, width)| if l < last { width + q } else { width });
            wide.map(|cols| Tensor::new(be, rows, cols)).collect::<Result<_>>()
        };
        Ok(Activations {
            x: inputs(rows)?,
            d_x: inputs(if training { rows } else { 0 })?,
            layers: self.layers.iter().map(|l| l.activations(be, rows, training)).collect::<Result<_>>()?,
        })
    }

    fn alloc_scratch(&self, _: &B) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, _: &Flat<B>) {
        self.layers.iter().zip(&mut prepared.layers).for_each(|(l, p)| l.pack(be, p, params));
        self.logit.pack(be, &mut prepared.logit, params);
    }

    fn forward(
        &self,
        cx: Cx<B>,
        logits: MatMut<B::Buf>,
        mut sums: Option<MatMut<B::Buf>>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
    ) {
        let (be, n, last) = (cx.be, cx.x.rows, self.layers.len());
        let z = cx.params.mat(self.scenario);
        for (x, width) in act.x[..last].iter_mut().zip(self.widths()) {
            let to = x.mat_mut(n).cols(width, self.scenario_dim);
            be.gather_rows(to, z, cx.x.inputs.scenarios(), cx.x.first);
        }
        let width = self.spec.readers()[0].width();
        self.spec.embed(cx, 0, act.x[0].mat_mut(n).cols(0, width));
        for (l, layer) in self.layers.iter().enumerate() {
            let (before, after) = act.x.split_at_mut(l + 1);
            let mut h = after[0].mat_mut(n).cols(0, layer.width());
            let (own, sum) = (&mut act.layers[l], sums.as_mut().map(|s| s.again().cols(0, 1)));
            layer.forward(cx, h.again(), sum, own, before[l].mat(n), &prepared.layers[l]);
            self.drop(cx, l, h);
        }
        self.logit.forward(be, logits, act.x[last].mat(n), &prepared.logit, cx.params);
    }

    fn embedded<'a>(&self, act: &'a Activations<B>, _: usize, rows: usize) -> Mat<'a, B::Buf> {
        act.x[0].mat(rows).cols(0, self.spec.readers()[0].width())
    }

    fn backward(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        readers: &mut ReaderGrads<B>,
        d_logits: MatMut<B::Buf>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
        batch_rows: usize,
    ) {
        let (be, n, last, dense) = (cx.be, cx.x.rows, self.layers.len(), &mut grads.dense);
        let (h, d_h) = (act.x[last].mat(n), (act.d_x[last].mat_mut(n), Write::Set));
        self.logit.backward(be, dense, d_h, None, d_logits.as_mat(), h, &prepared.logit);
        let penalty = self.sparsity / batch_rows as f64;
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let (before, after) = act.d_x.split_at_mut(l + 1);
            let mut d_h = after[0].mat_mut(n).cols(0, layer.width());
            self.drop(cx, l, d_h.again());
            let (x, own, p) = (act.x[l].mat(n), &mut act.layers[l], &prepared.layers[l]);
            layer.backward(cx, dense, before[l].mat_mut(n), d_h.as_mat(), own, x, penalty, p);
        }
        for (d_x, width) in act.d_x[..last].iter().zip(self.widths()) {
            let d_z = d_x.mat(n).cols(width, self.scenario_dim);
            be.col_sum(dense.mat_mut(self.scenario), Write::Add, d_z, Groups::Rows(cx.x.groups));
        }
        let width = self.spec.readers()[0].width();
        be.copy(readers.reader(0), Write::Set, act.d_x[0].mat(n).cols(0, width));
    }

    fn finish(&self, _: &B, _: &mut Grads<B>, (): &mut (), _: &Prepared<B>, _: &Flat<B>) {}

    fn penalty(&self, sums: &[f64], rows: f64) -> f64 {
        self.sparsity * sums[0] / rows
    }

    fn measured<'a>(&self, act: &'a Activations<B>, measure: usize, rows: usize) -> Mat<'a, B::Buf> {
        // The measure over rows comes before those of the layers.
        self.layers[measure - 1].kept(&act.layers[measure - 1], rows)
    }

    fn exhibits(&self, _: &B, _: &Prepared<B>, _: &Flat<B>, measured: &Measured) -> Result<Vec<Exhibit>> {
        if !self.prunes {
            return Ok(Vec::new());
        }
        let layers = 0..self.layers.len();
        let pruned = |kept: Vec<f64>| 1.0 - kept.iter().sum::<f64>() / kept.len() as f64;
        let columns: Vec<Vec<Option<Vec<f64>>>> =
            layers.clone().map(|l| measured.scenario_means(l)).collect();
        let row = |s: usize| columns.iter().map(move |column| column[s].clone().map(pruned));
        Ok(vec![Exhibit {
            title: "Pruned units by scenario".into(),
            says: "Mean share of a layer's units that the pruner sets to 0 for the rows of a scenario."
                .into(),
            rows: Heads::Scenarios,
            columns: Heads::Named(layers.map(|l| format!("layer {l}")).collect()),
            values: (0..measured.rows.len()).flat_map(row).collect(),
            full: Some(1.0),
            shows: Shows::Values,
        }])
    }
}

/// Options and fields of every kind. Differences see a step as it is and not as σ, so of `pruner = "binary"` PyTorch is the judge.
pub(super) fn cases() -> Vec<Case> {
    let own = |hidden: &[usize], pruner, alpha, dropout| AdasparseConfig {
        hidden: hidden.to_vec(),
        dropout,
        pruner,
        alpha,
        beta: 1.5,
        sparsity: 0.7,
        scenario_dim: 2,
        ..AdasparseConfig::default()
    };
    let case = |name, own| Case::of(super::Kind::Adasparse, name, |c| c.config.adasparse = own);
    let range = |min_pruned, max_pruned| AdasparseConfig {
        min_pruned,
        max_pruned,
        ..own(&[5, 4], Pruner::Fusion, 1.0, 0.0)
    };
    cases_of_fields(super::Kind::Adasparse, |c, hidden| {
        c.config.adasparse = own(hidden, Pruner::Fusion, 1.0, 0.0);
    })
    .chain([
        case("dropout", own(&[5, 4], Pruner::Fusion, 1.0, 0.3)),
        case("scaling", own(&[5, 4], Pruner::Scaling, 1.0, 0.0)),
        case("a steeper sigmoid", own(&[5, 4], Pruner::Fusion, 2.5, 0.0)),
        case("three layers, scaling", own(&[4, 3, 5], Pruner::Scaling, 0.5, 0.0)),
        case("too few are pruned", range(0.9, 1.0)),
        case("too many are pruned", range(0.0, 0.1)),
        case("no penalty", range(0.0, 1.0)),
        Case::of(super::Kind::Adasparse, "one scenario", |c| {
            c.config.adasparse = own(&[5, 4], Pruner::Fusion, 1.0, 0.0);
            c.input.scenarios = 1;
        }),
    ])
    .collect()
}
