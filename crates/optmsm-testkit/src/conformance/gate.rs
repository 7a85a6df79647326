//! Gate and selection (model.md §4).

use optmsm_core::backend::{Backend, Gate, Write};

use super::matrix::*;
use crate::bounded::Bounded;
use crate::rng::Rng;

/// Rows, experts, width.
const SHAPES: [(usize, usize, usize); 14] = [
    (0, 3, 4),
    (1, 1, 1),
    (5, 1, 8),
    (3, 2, 7),
    (9, 3, 16),
    (4, 4, 17),
    (7, 5, 33),
    (2, 6, 3),
    (33, 7, 9),
    (6, 8, 32),
    (65, 3, 8),
    // Wide, many, and more than fit where a device keeps what is one row's.
    (6, 3, 150),
    (9, 40, 5),
    (5, 160, 2),
];

/// Every shape, view of the outputs and view of the inputs.
pub(super) fn each_shape(seed: u64, mut f: impl FnMut((usize, usize, usize), View, View, &mut Rng)) {
    let mut rng = Rng::new(seed);
    for shape in SHAPES {
        for out in VIEWS {
            VIEWS.iter().for_each(|&x| f(shape, out, x, &mut rng));
        }
    }
}

pub(super) fn softmax<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(41, |(rows, k, _), out, view, rng| {
        // Ordinary logits; far apart; equal; so large that e^l overflows.
        let logits = Pair::<B>::new(be, view, rows, k, |i, _| match i % 4 {
            0 => rng.value(),
            1 => 60.0 * rng.value(),
            2 => 3.0,
            _ => 1e4 + rng.value(),
        });
        let mut alpha = Pair::<B>::output(be, out, rows, k, Write::Set, rng);
        be.softmax(alpha.mat_mut(), logits.mat());
        oracle().softmax(alpha.host.mat_mut(), logits.host.mat());
        alpha.check(be, "softmax", |i, j| {
            let want = shares(&logits.host, i, k, u)[j];
            assert!((want.value - alpha.host.at(i, j)).abs() < 1e-12, "the bound's own value");
            2.0 * want.error + 2.0 * tiny::<B>()
        });
    });
}

/// Softmax of row `i`.
fn shares(logits: &Host, i: usize, k: usize, u: f64) -> Vec<Bounded> {
    let l: Vec<_> = (0..k).map(|j| Bounded::exact(logits.at(i, j), u)).collect();
    let max = l.iter().copied().reduce(|a, b| if b.value > a.value { b } else { a }).expect("K > 0");
    let e: Vec<_> = l.iter().map(|&l| (l - max).exp()).collect();
    e.iter().map(|&e_j| e_j / Bounded::sum(&e, u)).collect()
}

/// Elements `first..first + len` of row `i`.
pub(super) fn part(x: &Host, i: usize, first: usize, len: usize, u: f64) -> Vec<Bounded> {
    (first..first + len).map(|j| Bounded::exact(x.at(i, j), u)).collect()
}

/// d_logits of row `i` from d_mix, α and e.
pub(super) fn d_logits(
    [d_mix, alpha, e]: [&Host; 3],
    i: usize,
    (k, m): (usize, usize),
    u: f64,
) -> Vec<Bounded> {
    let (d_mix, alpha) = (part(d_mix, i, 0, m, u), part(alpha, i, 0, k, u));
    let beta: Vec<_> = (0..k).map(|j| Bounded::dot(&d_mix, &part(e, i, j * m, m, u), u)).collect();
    let mean = Bounded::dot(&alpha, &beta, u);
    alpha.iter().zip(&beta).map(|(&a, &b)| a * (b - mean)).collect()
}

pub(super) fn softmax_bwd<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(42, |(rows, k, _), out, view, rng| {
        let alpha = Pair::<B>::new(be, view, rows, k, |_, _| rng.uniform());
        let d_alpha = Pair::<B>::random(be, view, rows, k, rng);
        let mut d_logits = Pair::<B>::output(be, out, rows, k, Write::Set, rng);
        be.softmax_bwd(d_logits.mat_mut(), d_alpha.mat(), alpha.mat());
        oracle().softmax_bwd(d_logits.host.mat_mut(), d_alpha.host.mat(), alpha.host.mat());
        d_logits.check(be, "softmax_bwd", |i, j| {
            let row = |x: &Host| (0..k).map(|j| Bounded::exact(x.at(i, j), u)).collect::<Vec<_>>();
            let (a, d) = (row(&alpha.host), row(&d_alpha.host));
            2.0 * (a[j] * (d[j] - Bounded::dot(&a, &d, u))).error
        });
    });
}

pub(super) fn mix<B: Backend>(be: &B) {
    each_shape(43, |(rows, k, m), out, view, rng| {
        let alpha = Pair::<B>::random(be, view, rows, k, rng);
        let e = Pair::<B>::random(be, view, rows, k * m, rng);
        let mut mix = Pair::<B>::output(be, out, rows, m, Write::Set, rng);
        be.mix(mix.mat_mut(), alpha.mat(), e.mat());
        let mut size = mix.host.clone();
        oracle().mix(size.mat_mut(), alpha.host.abs().mat(), e.host.abs().mat());
        oracle().mix(mix.host.mat_mut(), alpha.host.mat(), e.host.mat());
        mix.check(be, "mix", product::<B>(&size, k));
    });
}

pub(super) fn mix_bwd<B: Backend>(be: &B) {
    each_shape(44, |(rows, k, m), out, view, rng| {
        for write in WRITES {
            let alpha = Pair::<B>::random(be, view, rows, k, rng);
            let e = Pair::<B>::random(be, view, rows, k * m, rng);
            let d_mix = Pair::<B>::random(be, view, rows, m, rng);
            let mut d_alpha = Pair::<B>::output(be, out, rows, k, Write::Set, rng);
            let mut d_e = Pair::<B>::output(be, out, rows, k * m, write, rng);
            be.mix_bwd(d_alpha.mat_mut(), d_e.mat_mut(), write, d_mix.mat(), alpha.mat(), e.mat());
            let gradient = |d_alpha: &mut Host, d_e: &mut Host, [d_mix, alpha, e]: [&Host; 3]| {
                let (d_alpha, d_e) = (d_alpha.mat_mut(), d_e.mat_mut());
                oracle().mix_bwd(d_alpha, d_e, write, d_mix.mat(), alpha.mat(), e.mat());
            };
            let (mut size_alpha, mut size_e) = (d_alpha.host.clone(), d_e.host.abs());
            gradient(&mut size_alpha, &mut size_e, [&d_mix.host.abs(), &alpha.host.abs(), &e.host.abs()]);
            gradient(&mut d_alpha.host, &mut d_e.host, [&d_mix.host, &alpha.host, &e.host]);
            d_alpha.check(be, "mix_bwd, d_alpha", product::<B>(&size_alpha, m));
            d_e.check(be, "mix_bwd, d_e", product::<B>(&size_e, 1));
        }
    });
}

pub(super) fn gate<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(47, |(rows, k, m), out, view, rng| {
        let logits = Pair::<B>::new(be, view, rows, k, |i, _| [1.0, 60.0][i % 2] * rng.value());
        let e = Pair::<B>::random(be, view, rows, k * m, rng);
        let mut alpha = Pair::<B>::output(be, out, rows, k, Write::Set, rng);
        let mut mix = Pair::<B>::output(be, out, rows, m, Write::Set, rng);
        be.gate(mix.mat_mut(), alpha.mat_mut(), logits.mat(), e.mat());
        oracle().gate(mix.host.mat_mut(), alpha.host.mat_mut(), logits.host.mat(), e.host.mat());
        let shares: Vec<_> = (0..rows).map(|i| shares(&logits.host, i, k, u)).collect();
        alpha.check(be, "gate, alpha", |i, j| 2.0 * shares[i][j].error + 2.0 * tiny::<B>());
        mix.check(be, "gate, mix", |i, j| {
            let e: Vec<_> = (0..k).map(|k| Bounded::exact(e.host.at(i, k * m + j), u)).collect();
            let want = Bounded::dot(&shares[i], &e, u);
            assert!((want.value - mix.host.at(i, j)).abs() < 1e-12, "the bound's own value");
            // Elements of e are below 2; what α may lose to underflow is multiplied by them.
            2.0 * want.error + 4.0 * k as f64 * tiny::<B>()
        });
    });
}

pub(super) fn gate_bwd<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(48, |(rows, k, m), out, view, rng| {
        let alpha = Pair::<B>::new(be, view, rows, k, |_, _| rng.uniform());
        let e = Pair::<B>::random(be, view, rows, k * m, rng);
        let d_mix = Pair::<B>::random(be, view, rows, m, rng);
        let mut d_alpha = Pair::<B>::output(be, out, rows, k, Write::Set, rng);
        let mut d_l = Pair::<B>::output(be, out, rows, k, Write::Set, rng);
        let mut d_e = Pair::<B>::output(be, out, rows, k * m, Write::Set, rng);
        let (l, a, x) = (d_l.mat_mut(), d_alpha.mat_mut(), d_e.mat_mut());
        be.gate_bwd(l, a, x, d_mix.mat(), alpha.mat(), e.mat());
        let gradient = |[d_l, d_alpha, d_e]: [&mut Host; 3], [d_mix, alpha, e]: [&Host; 3]| {
            let (l, a, x) = (d_l.mat_mut(), d_alpha.mat_mut(), d_e.mat_mut());
            oracle().gate_bwd(l, a, x, d_mix.mat(), alpha.mat(), e.mat());
        };
        let [mut size_l, mut size_alpha, mut size_e] = [&d_l, &d_alpha, &d_e].map(|p| p.host.clone());
        let absolute = [&d_mix, &alpha, &e].map(|p| p.host.abs());
        gradient([&mut size_l, &mut size_alpha, &mut size_e], absolute.each_ref());
        let given = [&d_mix.host, &alpha.host, &e.host];
        gradient([&mut d_l.host, &mut d_alpha.host, &mut d_e.host], given);
        d_alpha.check(be, "gate_bwd, d_alpha", product::<B>(&size_alpha, m));
        d_e.check(be, "gate_bwd, d_e", product::<B>(&size_e, 1));
        d_l.check(be, "gate_bwd, d_logits", |i, j| 2.0 * d_logits(given, i, (k, m), u)[j].error);
    });
}

pub(super) fn select<B: Backend>(be: &B) {
    each_shape(45, |(rows, k, m), out, view, rng| {
        let groups = offsets(k, rows, rng);
        let e = Pair::<B>::random(be, view, rows, k * m, rng);
        let mut mix = Pair::<B>::output(be, out, rows, m, Write::Set, rng);
        be.select(mix.mat_mut(), e.mat(), &ids(be, &groups));
        oracle().select(mix.host.mat_mut(), e.host.mat(), &groups);
        mix.check_exact(be, "select");
    });
}

pub(super) fn select_bwd<B: Backend>(be: &B) {
    each_shape(46, |(rows, k, m), out, view, rng| {
        for write in WRITES {
            let groups = offsets(k, rows, rng);
            let d_mix = Pair::<B>::random(be, view, rows, m, rng);
            let mut d_e = Pair::<B>::output(be, out, rows, k * m, write, rng);
            be.select_bwd(d_e.mat_mut(), write, d_mix.mat(), &ids(be, &groups));
            oracle().select_bwd(d_e.host.mat_mut(), write, d_mix.host.mat(), &groups);
            let u = if write == Write::Set { 0.0 } else { unit::<B>() };
            d_e.check(be, "select_bwd", |i, j| u * d_e.host.at(i, j).abs());
        }
    });
}
