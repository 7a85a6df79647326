//! Every operation of a training step that is not a product, on the standard shapes.

use optmsm_core::backend::{
    Backend, Dropout, FieldLookup, FieldSum, Groups, Mat, MatMut, Segments, TableStep, TableView, Write,
};
use optmsm_core::config::{FieldKind, InputSpec, ModelConfig, Role};
use optmsm_core::model::Model;
use optmsm_core::models::OptMsm;
use optmsm_core::optim::{OptimizerConfig, Update};
use optmsm_core::plan::Plan;
use optmsm_core::rounding::{Rounding, TableDtype};

use super::{Measured, Result, Rotation, Timer};
use crate::work::{random, rows};

/// Experts and their width.
const K: usize = 3;
const M: usize = 128;
/// Width of the first layer's output.
const FIRST: usize = 768;

/// Times them over `n` rows; each result goes to `each`.
///
/// # Errors
/// When memory is short, the device failed, or `each` does.
pub fn measure<B: Backend<Elem = f32>>(
    t: &Timer<B>,
    standard: &(ModelConfig, InputSpec),
    n: usize,
    each: &mut dyn FnMut(Measured) -> Result<()>,
) -> Result<()> {
    elementwise(t, n, each)?;
    gate(t, n, each)?;
    fields(t, standard, n, each)?;
    dense(t, standard, each)
}

/// An operation that moves `elements` numbers of four bytes.
fn moved(name: &str, rows: usize, elements: usize, seconds: f64) -> Measured {
    Measured { name: name.into(), rows, seconds, bytes: 4.0 * elements as f64, flop: 0.0 }
}

fn elementwise<B: Backend<Elem = f32>>(
    t: &Timer<B>,
    n: usize,
    each: &mut dyn FnMut(Measured) -> Result<()>,
) -> Result<()> {
    let (be, cols) = (t.be, K * M);
    let slots = t.slots(8 * n * cols);
    let (x, mut y) = (Rotation::new(be, slots, n, cols, "x")?, Rotation::new(be, slots, n, cols, "y")?);
    let mut places = be.alloc_ids(n)?;
    be.upload_ids(&mut places, &(0..n as u32).collect::<Vec<_>>());
    each(moved("fill", n, n * cols, t.call(|i| be.fill(y.mat_mut(i), 0.5))?))?;
    each(moved("copy", n, 2 * n * cols, t.call(|i| be.copy(y.mat_mut(i), Write::Set, x.mat(i)))?))?;
    each(moved("copy, add", n, 3 * n * cols, t.call(|i| be.copy(y.mat_mut(i), Write::Add, x.mat(i)))?))?;
    each(moved("relu_bwd", n, 3 * n * cols, t.call(|i| be.relu_bwd(y.mat_mut(i), x.mat(i)))?))?;
    let drop = Dropout { p: 0.1, seed: 1, step: 1, site: 0 };
    each(moved("dropout", n, 2 * n * cols, t.call(|i| be.dropout(y.mat_mut(i), &drop, &places, 0))?))?;
    let d_y = Rotation::new(be, t.slots(4 * n * FIRST), n, FIRST, "d_y")?;
    let mut sums = be.alloc(FIRST)?;
    let whole = t.call(|i| {
        be.col_sum(MatMut::new(&mut sums, 1, FIRST), Write::Set, d_y.mat(i), Groups::One(0));
    })?;
    each(moved("col_sum", n, n * FIRST, whole))
}

fn gate<B: Backend<Elem = f32>>(
    t: &Timer<B>,
    n: usize,
    each: &mut dyn FnMut(Measured) -> Result<()>,
) -> Result<()> {
    let be = t.be;
    let slots = t.slots(8 * n * K * M);
    let of = |cols, name| Rotation::new(be, slots, n, cols, name);
    let (e, logits, d_mix) = (of(K * M, "e")?, of(K, "logits")?, of(M, "d_mix")?);
    let (mut mix, mut alpha, mut d_e) = (of(M, "mix")?, of(K, "alpha")?, of(K * M, "d_e")?);
    let (mut d_logits, mut d_alpha, mut inv_norm) = (of(K, "a")?, of(K, "b")?, of(K, "c")?);
    let mut sums = be.alloc(1 + K * (K - 1) / 2)?;
    let pairs = 1 + K * (K - 1) / 2;
    let seconds = t.call(|i| be.gate(mix.mat_mut(i), alpha.mat_mut(i), logits.mat(i), e.mat(i)))?;
    each(moved("gate", n, n * (2 * K + K * M + M), seconds))?;
    let seconds =
        t.call(|i| be.orthogonality(inv_norm.mat_mut(i), MatMut::new(&mut sums, 1, pairs), e.mat(i)))?;
    each(moved("orthogonality", n, n * (K * M + K), seconds))?;
    let scale = 0.1 / n as f64;
    let seconds = t.call(|i| {
        let (alpha, inv_norm) = (alpha.mat(i), inv_norm.mat(i));
        let (d_logits, d_alpha) = (d_logits.mat_mut(i), d_alpha.mat_mut(i));
        be.gate_orthogonality_bwd(
            d_logits,
            d_alpha,
            d_e.mat_mut(i),
            d_mix.mat(i),
            alpha,
            e.mat(i),
            inv_norm,
            scale,
        );
    })?;
    each(moved("gate_orthogonality_bwd", n, n * (2 * K * M + M + 4 * K), seconds))?;
    let (o, mut d_o) = (of(1, "o")?, of(1, "d_o")?);
    let (mut labels, mut weights, mut sum) = (be.alloc(n)?, be.alloc(n)?, be.alloc(1)?);
    let binary = |v: &f32| f32::from(*v > 0.0);
    be.upload(&mut labels, &random(n, "labels").iter().map(binary).collect::<Vec<_>>());
    be.upload(&mut weights, &vec![1.0; n]);
    let seconds = t.call(|i| {
        let sum = MatMut::new(&mut sum, 1, 1);
        be.bce_with_logits(d_o.mat_mut(i), sum, o.mat(i), &labels, &weights, 0, 1.0 / n as f64);
    })?;
    each(moved("bce_with_logits", n, 4 * n, seconds))
}

/// Lookups, their gradients and the tables' update, all shared fields at once. The tables themselves are what the cache holds of them.
fn fields<B: Backend<Elem = f32>>(
    t: &Timer<B>,
    (config, input): &(ModelConfig, InputSpec),
    n: usize,
    each: &mut dyn FnMut(Measured) -> Result<()>,
) -> Result<()> {
    let (be, d) = (t.be, config.embedding_dim);
    let mut plan = Plan::<f32>::default();
    plan.build(&rows(input, n as u64, 1), input, true)?;
    let upload = |v: &[u32]| -> Result<B::Ids> {
        let mut ids = be.alloc_ids(v.len())?;
        be.upload_ids(&mut ids, v);
        Ok(ids)
    };
    let mut fields = Vec::<Field<B>>::new();
    for (spec, column) in input.fields.iter().zip(&plan.columns) {
        let (FieldKind::Categorical { vocab }, Role::Shared) = (spec.kind, spec.role) else { continue };
        let adam = || -> Result<Vec<B::Buf>> {
            Ok((0..2).map(|_| be.alloc(vocab * d)).collect::<std::result::Result<_, _>>()?)
        };
        fields.push(Field {
            table: be.alloc_table(vocab, d, TableDtype::F32)?,
            state: adam()?,
            g: be.alloc(column.unique.len() * d)?,
            count: column.unique.len(),
            ids: upload(&column.ids)?,
            unique: upload(&column.unique)?,
            starts: upload(&column.starts)?,
            rows: upload(&column.rows)?,
        });
    }
    let width = d * fields.len();
    let unique: usize = fields.iter().map(|f| f.count).sum();
    let mut e = Rotation::new(be, t.slots(4 * n * width), n, width, "e")?;
    let seconds = t.call(|i| {
        let all = fields.iter().enumerate().map(|(at, f)| FieldLookup {
            table: TableView::of(&f.table),
            ids: &f.ids,
            column: at * d,
            width: d,
        });
        be.lookup_fields(e.mat_mut(i), all, 0);
    })?;
    each(moved("lookup_fields", n, n * (fields.len() + width) + unique * d, seconds))?;
    let seconds = t.call(|i| {
        let d_e = e.mat(i);
        be.reduce_fields(fields.iter_mut().enumerate().map(|(at, f)| FieldSum {
            g: MatMut::new(&mut f.g, f.count, d),
            segments: Segments { count: f.count, starts: &f.starts, rows: &f.rows, coefs: None },
            d_out: d_e.cols(at * d, d),
        }));
    })?;
    each(moved("reduce_fields", n, n * (fields.len() + width) + unique * (1 + d), seconds))?;
    let adam = OptimizerConfig::default();
    let seconds = t.call(|i| {
        let steps = fields.iter_mut().enumerate().map(|(number, f)| TableStep {
            table: &mut f.table,
            g: Mat::new(&f.g, f.count, d),
            state: &mut f.state,
            average: None,
            rows: &f.unique,
            rounding: Rounding::new(1, i as u32, number),
        });
        be.step_tables(steps, &Update::new(&adam, 1000, 1.0, None));
    })?;
    each(moved("step_tables, Adam", n, unique * (1 + 7 * d), seconds))
}

struct Field<B: Backend> {
    table: B::Table,
    state: Vec<B::Buf>,
    g: B::Buf,
    count: usize,
    ids: B::Ids,
    unique: B::Ids,
    starts: B::Ids,
    rows: B::Ids,
}

/// Passes over all dense parameters; the cache holds them, as in a step.
fn dense<B: Backend<Elem = f32>>(
    t: &Timer<B>,
    (config, input): &(ModelConfig, InputSpec),
    each: &mut dyn FnMut(Measured) -> Result<()>,
) -> Result<()> {
    let be = t.be;
    let len = Model::<B>::spec(&OptMsm::new(config, input)?).params().len();
    let (mut w, mut g, mut sum) = (be.alloc(len)?, be.alloc(len)?, be.alloc(1)?);
    be.upload(&mut g, &random(len, "g"));
    be.upload(&mut w, &random(len, "w"));
    each(moved("sum_sq", 0, len, t.call(|_| be.sum_sq(&mut sum, Write::Set, &g, len))?))?;
    let adam = OptimizerConfig::default();
    let mut state = vec![be.alloc(len)?, be.alloc(len)?];
    let seconds = t.call(|_| {
        be.step_dense(&mut w, &g, &mut state, len, &Update::new(&adam, 1000, 1.0, None));
    })?;
    each(moved("step_dense, Adam", 0, 7 * len, seconds))
}
