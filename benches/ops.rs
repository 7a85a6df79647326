//! Every operation of the standard work that is not a product, one block of 256 rows on one thread. Throughput counts the
//! bytes that an operation must read and write.
#![allow(missing_docs)]

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use optmsm_benches::standard;
use optmsm_benches::work::{cpu, random, rows, zeros};
use optmsm_core::backend::{
    Bags, Dense, Dropout, Elementwise, Embedding, Gate, Groups, Loss, Mat, MatMut, Memory, Penalty, Segments,
    TableStep, TableView, Update, Write,
};
use optmsm_core::batch::Column;
use optmsm_core::model::Model;
use optmsm_core::models::OptMsm;
use optmsm_core::optim::{self, OptimizerConfig, Rule};
use optmsm_core::plan::Plan;
use optmsm_core::rounding::{Rounding, TableDtype};
use optmsm_cpu::{Buffer, Cpu};

/// Rows of a block, experts, their width, the width of the shared fields together, of one of them, and scenarios.
const B: usize = 256;
const K: usize = 3;
const M: usize = 128;
const SHARED: usize = 256;
const D: usize = 16;
const S: usize = 3;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// One operation; `moved` counts the elements of four bytes that it reads and writes.
fn op(group: &mut Group, name: &str, moved: usize, mut f: impl FnMut()) {
    group.throughput(Throughput::Bytes(4 * moved as u64)).sample_size(20);
    group.bench_function(name, |b| b.iter(&mut f));
}

fn ops(c: &mut Criterion) {
    let be = cpu(1).unwrap();
    let mut group = c.benchmark_group("ops");
    elementwise(&mut group, &be);
    embedding(&mut group, &be);
    gate(&mut group, &be);
    penalty_and_loss(&mut group, &be);
    updates(&mut group, &be);
}

/// On the experts' outputs, `[B, K·m]`.
fn elementwise(group: &mut Group, be: &Cpu) {
    let (n, cols) = (B * K * M, K * M);
    let (x, z, s) = (random(n, "x"), random(n, "z"), random(B, "s"));
    let (mut y, mut sums, mut dots) = (random(n, "y"), zeros(cols), zeros(B));
    let places: Vec<u32> = (0..B as u32).collect();
    let drop = Dropout { p: 0.1, seed: 1, step: 1, site: 0 };
    op(group, "fill", n, || be.fill(MatMut::new(&mut y, B, cols), 0.0));
    op(group, "copy", 2 * n, || be.copy(MatMut::new(&mut y, B, cols), Write::Set, Mat::new(&x, B, cols)));
    op(group, "copy, add", 3 * n, || {
        be.copy(MatMut::new(&mut y, B, cols), Write::Add, Mat::new(&x, B, cols))
    });
    op(group, "relu", 2 * n, || be.relu(MatMut::new(&mut y, B, cols)));
    y.copy_from_slice(&x);
    op(group, "relu_bwd", 3 * n, || be.relu_bwd(MatMut::new(&mut y, B, cols), Mat::new(&z, B, cols)));
    op(group, "dropout", 2 * n, || {
        // From fresh numbers: repeated masks would leave only zeros.
        y.copy_from_slice(&x);
        be.dropout(MatMut::new(&mut y, B, cols), &drop, &places, 0);
    });
    op(group, "dropout, narrow", 2 * B * D, || {
        y[..B * D].copy_from_slice(&x[..B * D]);
        be.dropout(MatMut::new(&mut y, B, D), &drop, &places, 0);
    });
    let mut gate = zeros(n);
    op(group, "sigmoid_gate", 4 * n, || {
        let (y, g) = (MatMut::new(&mut y, B, cols), MatMut::new(&mut gate, B, cols));
        be.sigmoid_gate(y, g, Mat::new(&x, B, cols), Mat::new(&z, B, cols));
    });
    op(group, "col_sum", n, || {
        be.col_sum(MatMut::new(&mut sums, 1, cols), Write::Set, Mat::new(&x, B, cols), Groups::One(0));
    });
    op(group, "row_scale", 2 * n, || {
        be.row_scale(MatMut::new(&mut y, B, cols), Write::Set, Mat::new(&s, B, 1), Mat::new(&x, B, cols));
    });
    op(group, "row_dot", 2 * n, || {
        be.row_dot(MatMut::new(&mut dots, B, 1), Write::Set, Mat::new(&x, B, cols), Mat::new(&z, B, cols));
    });
}

/// One shared field of `large` (200,000 rows), at places of the `[B, 256]` encoding.
fn embedding(group: &mut Group, be: &Cpu) {
    let (_, input) = standard(true);
    let batch = rows(&input, B as u64, 1);
    let Column::Categorical(ids) = &batch.columns[0] else {
        unreachable!("the standard work is categorical")
    };
    let mut plan = Plan::<f32>::default();
    plan.build(&batch, &input, true).unwrap();
    let column = &plan.columns[0];
    let (vocab, unique) = (200_000, column.unique.len());
    let table = table(be, vocab);
    let (mut e, mut g) = (zeros(B * SHARED), zeros(B * D));
    op(group, "lookup", B * (1 + 2 * D), || {
        be.lookup(MatMut::new(&mut e, B, SHARED).cols(32, D), TableView::of(&table), ids, 0);
    });
    let (offsets, coefs) = ((0..=B as u32).collect::<Vec<_>>(), (0..B).map(|_| 1.0).collect::<Buffer>());
    op(group, "lookup_bags, one id each", B * (3 + 2 * D), || {
        let out = MatMut::new(&mut e, B, SHARED).cols(32, D);
        let bags = Bags { offsets: &offsets, ids, coefs: &coefs };
        be.lookup_bags(out, TableView::of(&table), bags, 0);
    });
    let (values, vector) = (random(B, "values"), random(D, "vector"));
    op(group, "numeric_embed", B * (1 + D), || {
        let out = MatMut::new(&mut e, B, SHARED).cols(32, D);
        be.numeric_embed(out, Mat::new(&vector, 1, D), &values, 0);
    });
    let d_e = random(B * SHARED, "d_e");
    op(group, "reduce_rows", B * (1 + D) + unique * (1 + D), || {
        let segments = Segments { count: unique, starts: &column.starts, rows: &column.rows, coefs: None };
        let lane = |_| Mat::new(&d_e, B, SHARED).cols(32, D);
        be.reduce_rows(MatMut::new(&mut g, unique, D), segments, B, lane);
    });
    // The first layer's backward for this field: N = 768.
    let n = K * 256;
    let (delta, w, x) = (random(B * n, "delta"), random(n * SHARED, "w"), random(unique * D, "x"));
    let mut d_w = zeros(n * D);
    op(group, "linear_bwd_by_value", B * n + unique * 2 * D + 2 * n * D, || {
        let segments = Segments { count: unique, starts: &column.starts, rows: &column.rows, coefs: None };
        let (g, d_w) = (MatMut::new(&mut g, unique, D), MatMut::new(&mut d_w, n, D));
        let (x, w) = (Mat::new(&x, unique, D), Mat::new(&w, n, SHARED).cols(32, D));
        be.linear_bwd_by_value(g, d_w, x, w, segments, B, |_| Mat::new(&delta, B, n));
    });
}

/// A table of `rows` random rows.
fn table(be: &Cpu, rows: usize) -> optmsm_cpu::Table {
    let mut table = be.alloc_table(rows, D, TableDtype::F32).unwrap();
    be.upload_rows(&mut table, 0, &random(rows * D, "table"));
    table
}

fn gate(group: &mut Group, be: &Cpu) {
    let (logits, d_alpha_in) = (random(B * K, "logits"), random(B * K, "d_alpha"));
    let (e, d_mix) = (random(B * K * M, "e"), random(B * M, "d_mix"));
    let (mut alpha, mut d_alpha, mut d_logits) = (zeros(B * K), zeros(B * K), zeros(B * K));
    let (mut mix, mut d_e) = (zeros(B * M), zeros(B * K * M));
    let groups: Vec<u32> = (0..=S).map(|s| (s * B / S) as u32).collect();
    op(group, "softmax", 2 * B * K, || {
        be.softmax(MatMut::new(&mut alpha, B, K), Mat::new(&logits, B, K));
    });
    op(group, "softmax_bwd", 3 * B * K, || {
        let (d_alpha, alpha) = (Mat::new(&d_alpha_in, B, K), Mat::new(&alpha, B, K));
        be.softmax_bwd(MatMut::new(&mut d_logits, B, K), d_alpha, alpha);
    });
    op(group, "mix", B * (K + K * M + M), || {
        be.mix(MatMut::new(&mut mix, B, M), Mat::new(&alpha, B, K), Mat::new(&e, B, K * M));
    });
    op(group, "mix_bwd", B * (2 * K + 2 * K * M + M), || {
        let (d_alpha, d_e) = (MatMut::new(&mut d_alpha, B, K), MatMut::new(&mut d_e, B, K * M));
        let (d_mix, alpha, e) = (Mat::new(&d_mix, B, M), Mat::new(&alpha, B, K), Mat::new(&e, B, K * M));
        be.mix_bwd(d_alpha, d_e, Write::Set, d_mix, alpha, e);
    });
    op(group, "select", 2 * B * M, || {
        be.select(MatMut::new(&mut mix, B, M), Mat::new(&e, B, K * M), &groups);
    });
    op(group, "select_bwd", B * (M + K * M), || {
        let d_mix = Mat::new(&d_mix, B, M);
        be.select_bwd(MatMut::new(&mut d_e, B, K * M), Write::Set, d_mix, &groups);
    });
}

fn penalty_and_loss(group: &mut Group, be: &Cpu) {
    let e = random(B * K * M, "e");
    let (mut inv_norm, mut sums, mut d_e) = (zeros(B * K), zeros(1 + K), zeros(B * K * M));
    op(group, "orthogonality", B * (K * M + K), || {
        let (inv_norm, sums) = (MatMut::new(&mut inv_norm, B, K), MatMut::new(&mut sums, 1, 1 + K));
        be.orthogonality(inv_norm, sums, Mat::new(&e, B, K * M));
    });
    op(group, "orthogonality_bwd", B * (3 * K * M + K), || {
        let (d_e, e) = (MatMut::new(&mut d_e, B, K * M), Mat::new(&e, B, K * M));
        be.orthogonality_bwd(d_e, e, Mat::new(&inv_norm, B, K), 1e-4);
    });
    let (logits, labels, weights) =
        (random(B, "logits"), random(B, "labels"), (0..B).map(|_| 1.0).collect::<Buffer>());
    let labels: Buffer = labels.iter().map(|&v| f32::from(v > 0.0)).collect();
    let (mut d_logits, mut p, mut sum) = (zeros(B), zeros(B), zeros(1));
    op(group, "bce_with_logits", 4 * B, || {
        let (d_logits, sum) = (MatMut::new(&mut d_logits, B, 1), MatMut::new(&mut sum, 1, 1));
        be.bce_with_logits(d_logits, sum, Mat::new(&logits, B, 1), &labels, &weights, 0, 1.0 / 4096.0);
    });
    op(group, "sigmoid", 2 * B, || be.sigmoid(MatMut::new(&mut p, B, 1), Mat::new(&logits, B, 1)));
}

/// Passes over all dense parameters, and the update of one table at the rows of a batch of 4096.
fn updates(group: &mut Group, be: &Cpu) {
    let (config, input) = standard(true);
    let model = OptMsm::new(&config, &input).unwrap();
    let len = Model::<Cpu>::spec(&model).params().len();
    let (g, mut w, mut sum) = (random(len, "g"), random(len, "w"), zeros(1));
    op(group, "accumulate", 3 * len, || be.accumulate(&mut w, 1, |_| &g, 0..len));
    op(group, "sum_sq", len, || be.sum_sq(&mut sum, Write::Set, &g, len));
    let mut plan = Plan::<f32>::default();
    plan.build(&rows(&input, 4096, 1), &input, true).unwrap();
    let (ids, vocab) = (&plan.columns[0].unique, 200_000);
    let (g_rows, mut table) = (random(ids.len() * D, "g_rows"), table(be, vocab));
    for rule in [Rule::Sgd, Rule::Adam, Rule::Adagrad, Rule::RowwiseAdagrad] {
        let config = OptimizerConfig { rule, ..OptimizerConfig::default() };
        let (buffers, per_row) = config.state();
        let update = || optim::Update::new(&config, 1000, 1.0, None);
        if rule != Rule::RowwiseAdagrad {
            let mut state = vec![zeros(len); buffers];
            op(group, &format!("step_dense {rule:?}"), (3 + 2 * buffers) * len, || {
                be.step_dense(&mut w, &g, &mut state, len, &update());
            });
        }
        let width = if per_row { 1 } else { D };
        let mut state = vec![zeros(vocab * width); buffers];
        let moved = ids.len() * (1 + 3 * D + 2 * buffers * width);
        op(group, &format!("step_rows {rule:?}, {} rows", ids.len()), moved, || {
            let (g, rounding) = (Mat::new(&g_rows, ids.len(), D), Rounding::new(1, 1, 0));
            let (table, state) = (&mut table, &mut state[..]);
            be.step_rows(TableStep { table, g, state, average: None, rows: ids, rounding }, &update());
        });
    }
}

criterion_group!(benches, ops);
criterion_main!(benches);
