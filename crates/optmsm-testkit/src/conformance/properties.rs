//! Properties that hold whatever the numbers are.

use optmsm_core::backend::{
    Backend, Bags, Dropout, Elem, Epilogue, Groups, Layout, MatMut, Memory, Products, TableView, Write,
};
use optmsm_core::rounding::TableDtype;

use super::matrix::*;
use super::table::TablePair;
use crate::rng::Rng;

pub(super) fn for_lanes<B: Backend>(be: &B) {
    assert!(be.lanes() > 0 && be.block_rows() > 0, "{} lanes of {} rows", be.lanes(), be.block_rows());
    for count in [0, 1, be.lanes(), 100] {
        let mut lanes = vec![(usize::MAX, 0); count];
        be.for_lanes(&mut lanes, |i, lane| *lane = (i, lane.1 + 1));
        assert!(lanes.iter().enumerate().all(|(i, &lane)| lane == (i, 1)), "each lane once: {lanes:?}");
    }
}

/// Work that is queued is done as if in order: random pieces of three buffers are read and written again and again,
/// within a step and outside. Small whole numbers, so that nothing is rounded.
pub(super) fn order<B: Backend>(be: &B) {
    const SHAPE: [usize; 2] = [6, 9];
    for seed in 0..10 {
        let rng = &mut Rng::new(820 + seed);
        let numbers = |rng: &mut Rng| {
            Pair::<B>::new(be, View::Dense, SHAPE[0], SHAPE[1], |_, _| rng.below(17) as f64 - 8.0)
        };
        let mut pairs = [(); 3].map(|()| numbers(rng));
        let mut work = || {
            for _ in 0..60 {
                let at = rng.below(3);
                let [n, m] = SHAPE.map(|most| 1 + rng.below(most));
                let mut place = || [SHAPE[0] - n, SHAPE[1] - m].map(|free| rng.below(free + 1));
                let ([row, column], [from_row, from_column]) = (place(), place());
                let (before, rest) = pairs.split_at_mut(at);
                let (to, after) = rest.split_first_mut().expect("one of three");
                let other = before.first().or(after.first()).expect("two more");
                let fresh = numbers(rng);
                match rng.below(5) {
                    0 => {
                        let v = rng.below(9) as f64;
                        be.fill(to.mat_mut().rows(row, n).cols(column, m), v);
                        oracle().fill(to.host.mat_mut().rows(row, n).cols(column, m), v);
                    }
                    // The start of it comes from the host.
                    1 => {
                        let len = n * m;
                        let data: Vec<_> = fresh.host.data[..len].iter().map(|&v| B::Elem::of(v)).collect();
                        be.upload(&mut to.buf, &data);
                        to.host.data[..len].copy_from_slice(&fresh.host.data[..len]);
                    }
                    2 => {
                        let from = other.mat().rows(from_row, n).cols(from_column, m);
                        be.copy(to.mat_mut().rows(row, n).cols(column, m), Write::Set, from);
                        let from = other.host.mat().rows(from_row, n).cols(from_column, m);
                        oracle().copy(to.host.mat_mut().rows(row, n).cols(column, m), Write::Set, from);
                    }
                    // From memory that is dropped at once.
                    _ => {
                        let write = rng.pick(&WRITES);
                        let from = fresh.mat().rows(from_row, n).cols(from_column, m);
                        be.copy(to.mat_mut().rows(row, n).cols(column, m), write, from);
                        let from = fresh.host.mat().rows(from_row, n).cols(from_column, m);
                        oracle().copy(to.host.mat_mut().rows(row, n).cols(column, m), write, from);
                    }
                }
            }
        };
        if seed % 2 == 0 {
            be.run_step(work)
        } else {
            work()
        }
        pairs.iter().for_each(|pair| pair.check_exact(be, "order of work"));
    }
}

const ROWS: usize = 37;

/// Runs `op(out, first, n)` on all rows, on each row alone and on a shifted part: the same bits.
fn alone<B: Backend>(be: &B, what: &str, cols: usize, op: impl Fn(MatMut<B::Buf>, usize, usize)) {
    let run = |first: usize, n: usize| {
        let mut out = Pair::<B>::new(be, View::Dense, n, cols, |_, _| f64::NAN);
        op(out.mat_mut(), first, n);
        out.download(be)[..n * cols].iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let whole = run(0, ROWS);
    for row in 0..ROWS {
        assert_eq!(run(row, 1), whole[row * cols..(row + 1) * cols], "{what}: row {row} alone");
    }
    for first in 1..18 {
        assert_eq!(run(first, ROWS - first), whole[first * cols..], "{what}: rows from {first} on");
    }
}

/// A row's result depends on nothing but the row: not on its neighbours, not on its place.
pub(super) fn rows_alone<B: Backend>(be: &B) {
    let rng = &mut Rng::new(81);
    let (k, m, outputs) = (3, 21, 37);
    let e = Pair::<B>::random(be, View::Inside, ROWS, k * m, rng);
    let x = Pair::<B>::random(be, View::Inside, ROWS, m, rng);
    let d_y = Pair::<B>::random(be, View::Inside, ROWS, outputs, rng);
    let d_wide = Pair::<B>::random(be, View::Inside, ROWS, k * outputs, rng);
    let alpha = Pair::<B>::random(be, View::Inside, ROWS, k, rng);
    let labels = Pair::<B>::column(be, 0, ROWS, || rng.pick(&[0.0, 1.0]));
    let ones = Pair::<B>::column(be, 0, ROWS, || 1.0);
    let w = Pair::<B>::random(be, View::Dense, k * outputs, m, rng);
    let bias = Pair::<B>::random(be, View::Dense, k, outputs, rng);
    let mut packed = be.alloc_packed(k, outputs, m, Products::Both).expect("memory for a test");
    be.pack(&mut packed, w.mat(), Layout::OutIn);
    let then = Epilogue { bias: Some(bias.mat()), relu: true };
    let scratch = |cols| Pair::<B>::new(be, View::Dense, ROWS, cols, |_, _| 0.0);

    alone(be, "linear", outputs, |y, first, n| {
        be.linear(y, x.mat().rows(first, n), &packed, Groups::One(1), then);
    });
    alone(be, "linear of all groups", k * outputs, |y, first, n| {
        be.linear(y, e.mat().rows(first, n), &packed, Groups::Columns, then);
    });
    alone(be, "linear_dx", m, |d_x, first, n| {
        be.linear_dx(d_x, Write::Set, d_y.mat().rows(first, n), &packed, Groups::One(2), None);
    });
    alone(be, "linear_dx of all groups", k * m, |d_x, first, n| {
        be.linear_dx(d_x, Write::Set, d_wide.mat().rows(first, n), &packed, Groups::Columns, None);
    });
    // Rows of one group in one call, then each row in a call of its own.
    alone(be, "linear of a row group", outputs, |y, first, n| {
        let at = ids(be, &[0, 0, n as u32, n as u32]);
        be.linear(y, x.mat().rows(first, n), &packed, Groups::Rows(&at), then);
    });
    alone(be, "softmax", k, |out, first, n| be.softmax(out, alpha.mat().rows(first, n)));
    alone(be, "softmax_bwd", k, |out, first, n| {
        be.softmax_bwd(out, e.mat().cols(0, k).rows(first, n), alpha.mat().rows(first, n));
    });
    alone(be, "mix", m, |out, first, n| be.mix(out, alpha.mat().rows(first, n), e.mat().rows(first, n)));
    alone(be, "mix_bwd", k, |out, first, n| {
        let mut d_e = scratch(k * m);
        let (x, alpha, e) = (x.mat().rows(first, n), alpha.mat().rows(first, n), e.mat().rows(first, n));
        be.mix_bwd(out, d_e.mat_mut().rows(0, n), Write::Set, x, alpha, e);
    });
    alone(be, "row_dot", 1, |out, first, n| {
        be.row_dot(out, Write::Set, x.mat().rows(first, n), e.mat().cols(m, m).rows(first, n));
    });
    alone(be, "mul by one row", m, |y, first, n| {
        be.mul(y, Write::Set, x.mat().rows(first, n), w.mat().rows(0, 1));
    });
    alone(be, "sigmoid_gate", m, |y, first, n| {
        let (x, o) = (x.mat().rows(first, n), e.mat().cols(m, m).rows(first, n));
        be.sigmoid_gate(y, scratch(m).mat_mut().rows(0, n), x, o);
    });
    alone(be, "normalize", m, |y, first, n| {
        let at = ids(be, &[0, 0, n as u32, n as u32]);
        let [mean, inv] = [0, 3].map(|first| w.mat().rows(first, 3));
        be.normalize(y, x.mat().rows(first, n), mean, inv, &at);
    });
    alone(be, "affine", m, |y, first, n| {
        let at = ids(be, &[0, 0, n as u32, n as u32]);
        let [scale, shift] = [0, 3].map(|first| w.mat().rows(first, 3));
        be.affine(y, x.mat().rows(first, n), scale, shift, &at);
    });
    alone(be, "orthogonality", k, |out, first, n| {
        be.orthogonality(out, scratch(4).mat_mut().rows(0, 1), e.mat().rows(first, n));
    });
    let mut inv_norm = scratch(k);
    be.orthogonality(inv_norm.mat_mut(), scratch(4).mat_mut().rows(0, 1), e.mat());
    alone(be, "orthogonality_bwd", k * m, |mut d_e, first, n| {
        be.fill(d_e.again(), 0.0);
        be.orthogonality_bwd(d_e, e.mat().rows(first, n), inv_norm.mat().rows(first, n), 0.3);
    });
    alone(be, "bce_with_logits", 1, |d, first, n| {
        let logits = x.mat().cols(2, 1).rows(first, n);
        let mut sum = scratch(1);
        be.bce_with_logits(d, sum.mat_mut().rows(0, 1), logits, &labels.buf, &ones.buf, first, 0.1);
    });
    alone(be, "sigmoid", m, |p, first, n| be.sigmoid(p, x.mat().rows(first, n)));
    let places = ids(be, &(0..ROWS as u32).map(|i| i * 7).collect::<Vec<_>>());
    alone(be, "dropout", m, |mut y, first, n| {
        be.copy(y.again(), Write::Set, x.mat().rows(first, n));
        be.dropout(y, &Dropout { p: 0.4, seed: 1, step: 2, site: 3 }, &places, first);
    });
    let bag_ids = ids(be, &(0..2 * ROWS as u32).map(|i| i * i % k as u32).collect::<Vec<_>>());
    let bag_offsets = ids(be, &(0..=ROWS as u32).map(|i| 2 * i).collect::<Vec<_>>());
    let coefs = Pair::<B>::column(be, 0, 2 * ROWS, || rng.value());
    for dtype in TableDtype::ALL {
        let table = TablePair::<B>::new(be, k, m, dtype, |_, _| rng.value());
        alone(be, "lookup_bags", m, |y, first, n| {
            let bags = Bags { offsets: &bag_offsets, ids: &bag_ids, coefs: &coefs.buf };
            be.lookup_bags(y, TableView::of(&table.dev), bags, first);
            assert!(n > 0);
        });
    }
}
