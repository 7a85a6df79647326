//! DCN V2: layers that multiply the input by a linear map of what is there so far, beside an MLP.
//!
//! Wang et al., WWW 2021, parallel structure, with the scenario as a feature: `x_0 = [e ; z_s]`,
//! `x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l`, `h = MLP(x_0)`, `o = w · [x_L ; h] + c`. Definition: docs/models.md#dcnv2. The
//! mixture of low-rank experts is left out. Public code has last layers that read one of the two parts alone: here both.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::About;
use crate::backend::{Backend, Epilogue, Groups, Layout, Mat, MatMut, Products, Write};
use crate::config::{InputSpec, ModelConfig, check};
use crate::error::{Error, Result};
use crate::gradcheck::{Case, cases_of_fields};
use crate::layers::input_mlp::{InputMlpActivations, InputMlpPrepared};
use crate::layers::{InputMlp, Linear, Mlp};
use crate::model::{
    Builder, Cx, Exhibit, Fields, Grads, Heads, Measured, Model, ModelSpec, Reader, ReaderGrads, Shows,
};
use crate::params::{Flat, Init, ParamId, ParamLayout, Tensor};

/// In words.
pub const ABOUT: About = About {
    title: "crosses of features of bounded degree beside a network, the scenario as a feature",
    paper: "Wang et al., WWW 2021",
    forward: "x_0 = [e ; z_s]; x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l; o = w · [x_L ; MLP(x_0)] + c",
};

/// `[model.dcnv2]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dcnv2Config {
    /// L: number of cross layers.
    pub cross: usize,
    /// r: rank of their matrices, W = U Vᵀ; 0 has whole matrices.
    pub rank: usize,
    /// Widths of the MLP beside them; without any there is no MLP.
    pub hidden: Vec<usize>,
    /// Probability of dropping an activation of the MLP while training.
    pub dropout: f64,
    /// q: width of a scenario's embedding.
    pub scenario_dim: usize,
}

impl Default for Dcnv2Config {
    fn default() -> Self {
        Self { cross: 2, rank: 16, hidden: vec![160, 64], dropout: 0.0, scenario_dim: 16 }
    }
}

/// Checks the settings.
pub(super) fn validate(config: &ModelConfig, input: &InputSpec) -> Result<()> {
    let Dcnv2Config { cross, rank, hidden, dropout, scenario_dim } = &config.dcnv2;
    check::layers("model.dcnv2.cross", *cross)?;
    check::widths("model.dcnv2.hidden", hidden)?;
    check::dropout("model.dcnv2.dropout", *dropout)?;
    check::width("model.dcnv2.scenario_dim", *scenario_dim)?;
    let inputs = config.embedding_dim * input.fields.len() + scenario_dim;
    if *rank > inputs {
        let problem = format!("{rank} is larger than the width of all embeddings ({inputs})");
        let fix = format!("set it to {inputs} or less, or 0 for whole matrices");
        return Err(Error::config("model.dcnv2.rank", problem, fix));
    }
    Ok(())
}

/// Readers: the cross layers, the MLP where there is one.
const CROSS: usize = 0;
const MLP: usize = 1;

/// v = W x + b of a cross layer, with W `[D, D]` or U Vᵀ.
#[derive(Clone, Debug)]
struct Cross {
    inner: Option<ParamId>, // Vᵀ, [r, D]
    outer: Linear,          // U and b, or W and b
}

/// Cross layers, MLP, last layer.
#[derive(Clone, Debug)]
pub struct Dcnv2 {
    spec: ModelSpec,
    scenario: ParamId, // [S, q]
    crosses: Vec<Cross>,
    mlp: Option<InputMlp>,
    logit: Linear,
    fields: usize,       // Σ d
    scenario_dim: usize, // q
    rank: usize,         // r
}

/// Packed weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    inner: Vec<B::Packed>, // Vᵀ of each cross layer; none of whole matrices
    outer: Vec<B::Packed>,
    mlp: Option<InputMlpPrepared<B>>,
    logit: B::Packed,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    x: Vec<Tensor<B>>,   // x_0 .. x_{L-1}, [rows, D]
    low: Vec<Tensor<B>>, // Vᵀ x_l, [rows, r]
    v: Vec<Tensor<B>>,   // W_l x_l + b_l, [rows, D]
    d_low: Tensor<B>,    // [rows, r]
    d_v: Tensor<B>,      // [rows, D]
    d_x0: Tensor<B>,     // [rows, D]
    mlp: Option<InputMlpActivations<B>>,
    both: Tensor<B>,   // [x_L ; h], [rows, D + m]
    d_both: Tensor<B>, // [rows, D + m]
}

impl Cross {
    /// `{name}.weight` and `{name}.bias`, or `{name}.v.weight`, `{name}.u.weight` and `{name}.u.bias`.
    fn new(params: &mut ParamLayout, name: &str, width: usize, rank: usize) -> Self {
        if rank == 0 {
            return Self { inner: None, outer: Linear::new(params, name, width, width, false) };
        }
        let init = Init::Normal((2.0 / width as f64).sqrt());
        let inner = params.add(format!("{name}.v.weight"), &[rank, width], init);
        let outer = Linear::new(params, &format!("{name}.u"), rank, width, false);
        Self { inner: Some(inner), outer }
    }
}

impl Dcnv2 {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::Dcnv2, config, input)?;
        let Dcnv2Config { cross, rank, hidden, dropout, scenario_dim } = &config.dcnv2;
        let (rank, scenario_dim) = (*rank, *scenario_dim);
        let mut build = Builder::new(config.embedding(), input);
        let shape = [input.scenarios, scenario_dim];
        let scenario = build.params.add("scenario.weight", &shape, Init::Normal(config.init_std));
        let fields = build.embedding().width(Fields::All);
        let inputs = fields + scenario_dim;
        let layer = |l| Cross::new(&mut build.params, &format!("cross.{l}"), inputs, rank);
        let crosses = (0..*cross).map(layer).collect();
        let mlp = (!hidden.is_empty()).then(|| {
            InputMlp::new(&mut build, "mlp", Fields::All, scenario, |build, inputs| {
                let site = build.dropout_sites();
                Mlp::new(&mut build.params, "mlp", inputs, hidden).with_dropout(*dropout, site)
            })
        });
        let beside = mlp.as_ref().map_or(0, InputMlp::width);
        let logit = Linear::new(&mut build.params, "logit", inputs + beside, 1, false);
        let mut readers = vec![Reader::embedded(build.embedding(), Fields::All)];
        readers.extend(mlp.as_ref().map(|m| Reader::linear(build.embedding(), Fields::All, m.first())));
        let spec = build.build(readers, Vec::new());
        Ok(Self { spec, scenario, crosses, mlp, logit, fields, scenario_dim, rank })
    }

    /// D: columns of x_0.
    fn width(&self) -> usize {
        self.fields + self.scenario_dim
    }

    /// Columns of the last layer's input.
    fn both(&self) -> usize {
        self.width() + self.mlp.as_ref().map_or(0, InputMlp::width)
    }

    /// Squares of the elements of the first cross layer's matrix, summed over the rows and columns of each pair of `parts`.
    ///
    /// # Errors
    /// When the device failed.
    fn squares<B: Backend>(&self, be: &B, params: &Flat<B>, parts: &[Range<usize>]) -> Result<Vec<f64>> {
        let (first, width) = (&self.crosses[0], self.width());
        let outer = params.to_host(be, first.outer.weight)?;
        let inner = first.inner.map(|inner| params.to_host(be, inner)).transpose()?;
        let mut sums = Vec::with_capacity(parts.len() * parts.len());
        for i in parts {
            let mut own = vec![0.0; parts.len()];
            for a in i.clone() {
                let row = match &inner {
                    None => outer[a * width..][..width].to_vec(),
                    // Row a of U Vᵀ: the whole matrix is never made.
                    Some(inner) => row_times(&outer[a * self.rank..][..self.rank], inner, width),
                };
                own.iter_mut()
                    .zip(parts)
                    .for_each(|(sum, j)| *sum += row[j.clone()].iter().map(|w| w * w).sum::<f64>());
            }
            sums.extend(own);
        }
        Ok(sums)
    }
}

/// Σ_k u_k v_k of rows v_k of `width` elements.
fn row_times(u: &[f64], v: &[f64], width: usize) -> Vec<f64> {
    let mut sum = vec![0.0; width];
    for (u, v) in u.iter().zip(v.chunks(width)) {
        sum.iter_mut().zip(v).for_each(|(sum, v)| *sum += u * v);
    }
    sum
}

impl<B: Backend> Model<B> for Dcnv2 {
    type Prepared = Prepared<B>;
    type Activations = Activations<B>;
    type Scratch = ();

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Prepared<B>> {
        let used = Products::of(training);
        let inner = self.crosses.iter().filter_map(|c| c.inner);
        Ok(Prepared {
            inner: inner.map(|_| be.alloc_packed(1, self.rank, self.width(), used)).collect::<Result<_>>()?,
            outer: self.crosses.iter().map(|c| c.outer.alloc(be, used)).collect::<Result<_>>()?,
            mlp: self.mlp.as_ref().map(|m| m.alloc(be, used)).transpose()?,
            logit: self.logit.alloc(be, used)?,
        })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let (width, back) = (self.width(), if training { rows } else { 0 });
        let each = |cols: usize| self.crosses.iter().map(|_| Tensor::new(be, rows, cols)).collect();
        let (x, low, v): (Result<_>, Result<_>, Result<_>) = (each(width), each(self.rank), each(width));
        Ok(Activations {
            x: x?,
            low: low?,
            v: v?,
            d_low: Tensor::new(be, back, self.rank)?,
            d_v: Tensor::new(be, back, width)?,
            d_x0: Tensor::new(be, back, width)?,
            mlp: self.mlp.as_ref().map(|m| m.activations(be, rows, training)).transpose()?,
            both: Tensor::new(be, rows, self.both())?,
            d_both: Tensor::new(be, back, self.both())?,
        })
    }

    fn alloc_scratch(&self, _: &B) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, _: &Flat<B>) {
        let inner = self.crosses.iter().filter_map(|c| c.inner);
        inner.zip(&mut prepared.inner).for_each(|(v, w)| be.pack(w, params.mat(v), Layout::OutIn));
        self.crosses.iter().zip(&mut prepared.outer).for_each(|(c, w)| c.outer.pack(be, w, params));
        if let (Some(mlp), Some(packed)) = (&self.mlp, &mut prepared.mlp) {
            mlp.pack(be, packed, params);
        }
        self.logit.pack(be, &mut prepared.logit, params);
    }

    fn forward(
        &self,
        cx: Cx<B>,
        logits: MatMut<B::Buf>,
        _: Option<MatMut<B::Buf>>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
    ) {
        let (be, n, width) = (cx.be, cx.x.rows, self.width());
        self.spec.embed(cx, CROSS, act.x[0].mat_mut(n).cols(0, self.fields));
        let z = act.x[0].mat_mut(n).cols(self.fields, self.scenario_dim);
        be.gather_rows(z, cx.params.mat(self.scenario), cx.x.inputs.scenarios(), cx.x.first);
        for (l, cross) in self.crosses.iter().enumerate() {
            let (before, after) = act.x.split_at_mut(l + 1);
            let (x0, x) = (before[0].mat(n), before[l].mat(n));
            let mut inner = x;
            if cross.inner.is_some() {
                be.linear(act.low[l].mat_mut(n), x, &prepared.inner[l], Groups::One(0), Epilogue::NONE);
                inner = act.low[l].mat(n);
            }
            cross.outer.forward(be, act.v[l].mat_mut(n), inner, &prepared.outer[l], cx.params);
            let mut y = match after.first_mut() {
                Some(y) => y.mat_mut(n),
                None => act.both.mat_mut(n).cols(0, width),
            };
            be.mul(y.again(), Write::Set, x0, act.v[l].mat(n));
            be.copy(y, Write::Add, x);
        }
        if let (Some(mlp), Some(own), Some(packed)) = (&self.mlp, &mut act.mlp, &prepared.mlp) {
            let e = act.x[0].mat(n).cols(0, self.fields);
            let embed = |to: MatMut<B::Buf>| be.copy(to, Write::Set, e);
            mlp.forward(cx, act.both.mat_mut(n).cols(width, mlp.width()), own, embed, packed);
        }
        self.logit.forward(be, logits, act.both.mat(n), &prepared.logit, cx.params);
    }

    fn embedded<'a>(&self, act: &'a Activations<B>, _: usize, rows: usize) -> Mat<'a, B::Buf> {
        act.x[0].mat(rows).cols(0, self.fields)
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
        let (be, n, width, all) = (cx.be, cx.x.rows, self.width(), Groups::One(0));
        let (both, d_both) = (act.both.mat(n), (act.d_both.mat_mut(n), Write::Set));
        let dense = &mut grads.dense;
        self.logit.backward(be, dense, d_both, None, d_logits.as_mat(), both, &prepared.logit);
        if let (Some(mlp), Some(own), Some(packed)) = (&self.mlp, &mut act.mlp, &prepared.mlp) {
            let (h, m) = (both.cols(width, mlp.width()), mlp.width());
            let (delta, d_h) = (readers.reader(MLP), act.d_both.mat_mut(n).cols(width, m));
            mlp.backward(cx, grads, delta, d_h, Some(h), own, packed);
        }
        // forward: v = W x + b and y = x_0 ⊙ v + x, so d_v = d_y ⊙ x_0, d_x_0 = Σ d_y ⊙ v, and d_x = d_y + d_v W
        let (x0, dense, mut write) = (act.x[0].mat(n), &mut grads.dense, Write::Set);
        for (l, cross) in self.crosses.iter().enumerate().rev() {
            let d_y = act.d_both.mat(n).cols(0, width);
            be.mul(act.d_v.mat_mut(n), Write::Set, d_y, x0);
            be.mul(act.d_x0.mat_mut(n), write, d_y, act.v[l].mat(n));
            write = Write::Add;
            let (x, d_v, outer) = (act.x[l].mat(n), act.d_v.mat(n), &prepared.outer[l]);
            let d_x = act.d_both.mat_mut(n).cols(0, width);
            if let Some(inner) = cross.inner {
                let (low, d_low) = (act.low[l].mat(n), (act.d_low.mat_mut(n), Write::Set));
                cross.outer.backward(be, dense, d_low, None, d_v, low, outer);
                let d_low = act.d_low.mat(n);
                be.linear_dw(dense.mat_mut(inner), Write::Add, d_low, x, all);
                be.linear_dx(d_x, Write::Add, d_low, &prepared.inner[l], all, None);
            } else {
                cross.outer.backward(be, dense, (d_x, Write::Add), None, d_v, x, outer);
            }
        }
        be.copy(act.d_x0.mat_mut(n), Write::Add, act.d_both.mat(n).cols(0, width));
        be.copy(readers.reader(CROSS), Write::Set, act.d_x0.mat(n).cols(0, self.fields));
        let d_z = act.d_x0.mat(n).cols(self.fields, self.scenario_dim);
        be.col_sum(dense.mat_mut(self.scenario), Write::Add, d_z, Groups::Rows(cx.x.groups));
    }

    fn finish(&self, be: &B, grads: &mut Grads<B>, (): &mut (), prepared: &Prepared<B>, params: &Flat<B>) {
        if let (Some(mlp), Some(packed)) = (&self.mlp, &prepared.mlp) {
            mlp.finish(be, grads, packed, params);
        }
    }

    fn exhibits(&self, be: &B, _: &Prepared<B>, params: &Flat<B>, _: &Measured) -> Result<Vec<Exhibit>> {
        let (d, named) = (self.spec.embedding().dim(), self.spec.input().fields.iter());
        let names: Vec<String> = named.map(|f| f.name.clone()).chain(["the scenario".to_string()]).collect();
        let mut parts: Vec<Range<usize>> = (0..self.fields).step_by(d).map(|at| at..at + d).collect();
        parts.push(self.fields..self.width());
        let norms: Vec<f64> = self.squares(be, params, &parts)?.into_iter().map(f64::sqrt).collect();
        Ok(vec![Exhibit {
            title: "Crosses of the first layer".into(),
            says: "Frobenius norm of the weights by which the field of a column meets the field of a row: how much their \
                   product counts."
                .into(),
            rows: Heads::Named(names.clone()),
            columns: Heads::Named(names),
            full: Some(norms.iter().fold(0.0, |a: f64, &b| a.max(b))),
            shows: Shows::Values,
            values: norms.into_iter().map(Some).collect(),
        }])
    }
}

/// Options and fields of every kind.
pub(super) fn cases() -> Vec<Case> {
    let own = |cross, rank, hidden: &[usize], dropout| Dcnv2Config {
        cross,
        rank,
        hidden: hidden.to_vec(),
        dropout,
        scenario_dim: 2,
    };
    let case = |name, own| Case::of(super::Kind::Dcnv2, name, |c| c.config.dcnv2 = own);
    cases_of_fields(super::Kind::Dcnv2, |c, hidden| c.config.dcnv2 = own(2, 3, hidden, 0.0))
        .chain([
            case("dropout", own(2, 3, &[5, 4], 0.3)),
            case("whole matrices", own(2, 0, &[5, 4], 0.0)),
            case("one cross layer", own(1, 3, &[4], 0.0)),
            case("three whole cross layers, no MLP", own(3, 0, &[], 0.0)),
            case("no MLP", own(2, 3, &[], 0.0)),
            Case::of(super::Kind::Dcnv2, "one scenario", |c| {
                c.config.dcnv2 = own(2, 3, &[5, 4], 0.0);
                c.input.scenarios = 1;
            }),
        ])
        .collect()
}
