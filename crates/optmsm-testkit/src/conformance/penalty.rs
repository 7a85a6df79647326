//! Orthogonality penalty (model.md §3, backward §8), bounded by running error analysis.

use optmsm_core::backend::{Backend, Gate, Penalty, Write};
use optmsm_core::reference::NORM_EPS;

use super::gate::{d_logits, each_shape};
use super::matrix::*;
use crate::bounded::Bounded;
use crate::rng::Rng;

/// Expert rows: ordinary, one all-zero expert, all of them zero, equal experts, norms on both sides of ε.
fn experts<B: Backend>(be: &B, view: View, (rows, k, m): (usize, usize, usize), rng: &mut Rng) -> Pair<B> {
    Pair::new(be, view, rows, k * m, |i, j| match i % 5 {
        1 if j / m == (i / 5) % k => 0.0,
        2 => 0.0,
        3 => 1.0 + (j % m) as f64,
        // Of an element at least, and of all of them.
        4 => {
            NORM_EPS
                * if j / m % 2 == 0 { 1.5 + rng.uniform() } else { 0.5 * rng.uniform() / (m as f64).sqrt() }
        }
        _ => rng.value(),
    })
}

fn expert(e: &Host, row: usize, k: usize, m: usize, u: f64) -> Vec<Bounded> {
    (0..m).map(|q| Bounded::exact(e.at(row, k * m + q), u)).collect()
}

/// 1 / max(‖e‖, ε).
fn inverse_norm(e: &[Bounded], u: f64) -> Bounded {
    let norm = Bounded::dot(e, e, u).sqrt();
    if norm.value < NORM_EPS { Bounded::exact(1.0 / NORM_EPS, u) } else { Bounded::exact(1.0, u) / norm }
}

fn units(e: &[Vec<Bounded>], inv_norm: &[Bounded]) -> Vec<Vec<Bounded>> {
    e.iter().zip(inv_norm).map(|(e, &inv)| e.iter().map(|&e| e * inv).collect()).collect()
}

pub(super) fn orthogonality<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(51, |(rows, k, m), out, view, rng| {
        let pairs = k * (k - 1) / 2;
        let e = experts(be, view, (rows, k, m), rng);
        let mut inv_norm = Pair::<B>::output(be, out, rows, k, Write::Set, rng);
        let mut sums = Pair::<B>::output(be, out, 1, 1 + pairs, Write::Add, rng);
        let mut terms: Vec<Vec<Bounded>> =
            (0..1 + pairs).map(|j| vec![Bounded::exact(sums.host.at(0, j), u)]).collect();
        be.orthogonality(inv_norm.mat_mut(), sums.mat_mut(), e.mat());
        oracle().orthogonality(inv_norm.host.mat_mut(), sums.host.mat_mut(), e.host.mat());

        for b in 0..rows {
            let e: Vec<_> = (0..k).map(|i| expert(&e.host, b, i, m, u)).collect();
            let inv: Vec<_> = e.iter().map(|e| inverse_norm(e, u)).collect();
            let units = units(&e, &inv);
            let mut pair = 1;
            for i in 0..k {
                for j in i + 1..k {
                    let cos = Bounded::dot(&units[i], &units[j], u);
                    terms[0].push(Bounded::rounded(2.0 / (k * (k - 1)) as f64, u) * cos * cos);
                    terms[pair].push(cos.abs());
                    pair += 1;
                }
            }
        }
        let what = format!("orthogonality, {rows} rows, {k} experts of {m}");
        inv_norm.check(be, &what, |i, j| 2.0 * inverse_norm(&expert(&e.host, i, j, m, u), u).error);
        sums.check(be, &what, |_, j| {
            let want = Bounded::sum(&terms[j], u);
            assert!((want.value - sums.host.at(0, j)).abs() < 1e-9, "the bound's own value");
            2.0 * want.error
        });
    });
}

pub(super) fn orthogonality_bwd<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(52, |(rows, k, m), out, view, rng| {
        for scale in [0.25, 3e-5] {
            let e = experts(be, view, (rows, k, m), rng);
            let inv =
                Pair::<B>::new(be, view, rows, k, |i, j| inverse_norm(&expert(&e.host, i, j, m, u), u).value);
            let mut d_e = Pair::<B>::output(be, out, rows, k * m, Write::Add, rng);
            let old = d_e.host.clone();
            be.orthogonality_bwd(d_e.mat_mut(), e.mat(), inv.mat(), scale);
            oracle().orthogonality_bwd(d_e.host.mat_mut(), e.host.mat(), inv.host.mat(), scale);
            let gradient = |b: usize, i: usize| gradient(&e.host, &inv.host, (b, i), (k, m), scale, u);
            let want: Vec<Vec<Bounded>> = (0..rows * k).map(|at| gradient(at / k, at % k)).collect();
            d_e.check(be, &format!("orthogonality_bwd, {k} experts of {m}"), |b, j| {
                let step = want[b * k + j / m][j % m];
                let sum = Bounded::exact(old.at(b, j), u) + step;
                let off = (sum.value - d_e.host.at(b, j)).abs();
                assert!(off <= 1e-9 * (1.0 + step.value.abs()), "the bound's own value is off by {off}");
                // A gradient of exactly 0 changes nothing. Else the sum over j may go to d_e term by term.
                if step.value == 0.0 && step.error == 0.0 {
                    0.0
                } else {
                    2.0 * sum.error + 2.0 * k as f64 * u * old.at(b, j).abs()
                }
            });
        }
    });
}

pub(super) fn gate_orthogonality_bwd<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(53, |(rows, k, m), out, view, rng| {
        let e = experts(be, view, (rows, k, m), rng);
        let inv =
            Pair::<B>::new(be, view, rows, k, |i, j| inverse_norm(&expert(&e.host, i, j, m, u), u).value);
        let alpha = Pair::<B>::new(be, view, rows, k, |_, _| rng.uniform());
        let d_mix = Pair::<B>::random(be, view, rows, m, rng);
        let mut d_alpha = Pair::<B>::output(be, out, rows, k, Write::Set, rng);
        let mut d_l = Pair::<B>::output(be, out, rows, k, Write::Set, rng);
        let mut d_e = Pair::<B>::output(be, out, rows, k * m, Write::Set, rng);
        let (l, a, x, scale) = (d_l.mat_mut(), d_alpha.mat_mut(), d_e.mat_mut(), 0.25);
        be.gate_orthogonality_bwd(l, a, x, d_mix.mat(), alpha.mat(), e.mat(), inv.mat(), scale);
        let mut size_alpha = d_alpha.host.clone();
        let (l, a, x) = (d_l.host.mat_mut(), d_alpha.host.mat_mut(), d_e.host.mat_mut());
        let (g, s, y, n) = (d_mix.host.mat(), alpha.host.mat(), e.host.mat(), inv.host.mat());
        oracle().gate_orthogonality_bwd(l, a, x, g, s, y, n, scale);
        let mut unused = e.host.clone();
        let (g, s, y) = (d_mix.host.abs(), alpha.host.abs(), e.host.abs());
        oracle().mix_bwd(size_alpha.mat_mut(), unused.mat_mut(), Write::Set, g.mat(), s.mat(), y.mat());

        let what = format!("gate_orthogonality_bwd, {rows} rows, {k} experts of {m}");
        d_alpha.check(be, &what, product::<B>(&size_alpha, m));
        let given = [&d_mix.host, &alpha.host, &e.host];
        d_l.check(be, &what, |i, j| 2.0 * d_logits(given, i, (k, m), u)[j].error);
        let gradient = |b: usize, i: usize| gradient(&e.host, &inv.host, (b, i), (k, m), scale, u);
        let want: Vec<Vec<Bounded>> = (0..rows * k).map(|at| gradient(at / k, at % k)).collect();
        d_e.check(be, &what, |b, j| {
            if e.host.at(b, j) <= 0.0 {
                return 0.0;
            }
            let mixed =
                Bounded::exact(alpha.host.at(b, j / m), u) * Bounded::exact(d_mix.host.at(b, j % m), u);
            let step = want[b * k + j / m][j % m];
            let sum = mixed + step;
            let off = (sum.value - d_e.host.at(b, j)).abs();
            assert!(off <= 1e-9 * (1.0 + step.value.abs()), "the bound's own value is off by {off}");
            // As in `orthogonality_bwd`: terms of the step may be added one by one.
            2.0 * sum.error + 2.0 * k as f64 * u * mixed.value.abs()
        });
    });
}

/// ∂/∂e_i of row b.
fn gradient(
    e: &Host,
    inv_norm: &Host,
    (b, i): (usize, usize),
    (k, m): (usize, usize),
    scale: f64,
    u: f64,
) -> Vec<Bounded> {
    let parts: Vec<_> = (0..k).map(|j| expert(e, b, j, m, u)).collect();
    let inv: Vec<_> = (0..k).map(|j| Bounded::exact(inv_norm.at(b, j), u)).collect();
    if k < 2 {
        return vec![Bounded::exact(0.0, u); m];
    }
    let units = units(&parts, &inv);
    let c = Bounded::rounded(4.0 * scale / (k * (k - 1)) as f64, u);
    let weights: Vec<_> = (0..k)
        .map(|j| if j == i { Bounded::exact(0.0, u) } else { c * Bounded::dot(&units[i], &units[j], u) })
        .collect();
    let v: Vec<_> =
        (0..m).map(|q| Bounded::dot(&weights, &units.iter().map(|p| p[q]).collect::<Vec<_>>(), u)).collect();
    let along = match inv[i].value < 1.0 / NORM_EPS {
        true => Bounded::dot(&units[i], &v, u),
        false => Bounded::exact(0.0, u),
    };
    // Terms, not their difference, set the size of the roundings: they may reach d_e one by one.
    v.iter().zip(&units[i]).map(|(&v, &e)| v * inv[i] - e * (along * inv[i])).collect()
}

/// Sizes of experts: none, squares that underflow, both sides of ε, ordinary, squares that overflow.
const SIZES: [f64; 12] = [0.0, 1e-38, 1e-30, 1e-22, 1e-10, 3e-4, 3e-3, 1.0, 1e10, 1e20, 1e38, 3e38];

/// Norms from 0 to where a square is out of an `f32`'s range, every pair of them side by side.
pub(super) fn orthogonality_of_any_size<B: Backend>(be: &B) {
    let (u, rng) = (unit::<B>(), &mut Rng::new(54));
    let (k, m, scale) = (3, 9, 0.25);
    let rows = SIZES.len() * SIZES.len();
    let size = |b: usize, k: usize| [SIZES[b / SIZES.len()], SIZES[b % SIZES.len()], 1.0][k];
    // The first experts have a direction, so their norm is at most 2 and at least 1 times their size.
    let e = Pair::<B>::new(be, View::Inside, rows, k * m, |b, j| {
        size(b, j / m) * if j % m == 0 { 1.0 } else { 0.5 * rng.uniform() }
    });
    let mut inv = Pair::<B>::output(be, View::Dense, rows, k, Write::Set, rng);
    let mut sums = Pair::<B>::new(be, View::Dense, 1, 4, |_, _| 0.0);
    be.orthogonality(inv.mat_mut(), sums.mat_mut(), e.mat());
    oracle().orthogonality(inv.host.mat_mut(), sums.host.mat_mut(), e.host.mat());
    // Roundings of a cosine: two of the norms and products of m elements. What underflows in it is below `tiny` each time, and
    // what underflows in the result is a rounding of a subnormal number.
    let (cos, subnormal) = (2.0 * (3 * m + 8) as f64 * u + m as f64 * tiny::<B>(), 2.0 * u * tiny::<B>());
    inv.check(be, "inverse norms of any size", |b, i| cos * inv.host.at(b, i) + subnormal);
    sums.check(be, "penalty of any size", |_, _| rows as f64 * (2.0 * cos + rows as f64 * u));

    // The gradient of the inverse norms that the backend found.
    let inverse = inv.download(be);
    let found = Pair::<B>::new(be, View::Dense, rows, k, |b, i| inverse[b * k + i]);
    let c = 4.0 * scale / (k * (k - 1)) as f64;
    let bound = |b: usize, j: usize| k as f64 * (4.0 * cos * c * found.host.at(b, j / m) + 4.0 * subnormal);
    let mut d_e = Pair::<B>::new(be, View::Dense, rows, k * m, |_, _| 0.0);
    be.orthogonality_bwd(d_e.mat_mut(), e.mat(), found.mat(), scale);
    oracle().orthogonality_bwd(d_e.host.mat_mut(), e.host.mat(), found.host.mat(), scale);
    d_e.check(be, "gradient of any size", bound);
    for b in 0..rows {
        for i in 0..k {
            let gradient = (0..m).map(|q| d_e.host.at(b, i * m + q).powi(2)).sum::<f64>().sqrt();
            let most = (k - 1) as f64 * c / NORM_EPS;
            assert!(gradient <= most, "{gradient} > {most} at sizes {}, {}", size(b, 0), size(b, 1));
        }
    }

    // The same where the gate's gradient is 0; the elements of e are positive or belong to an expert of zeros.
    let alpha = Pair::<B>::new(be, View::Dense, rows, k, |_, _| 0.25);
    let d_mix = Pair::<B>::new(be, View::Dense, rows, m, |_, _| 0.0);
    let mut d_gate = [(); 2].map(|()| Pair::<B>::output(be, View::Dense, rows, k, Write::Set, rng));
    let [d_logits, d_alpha] = &mut d_gate;
    let mut d_e = Pair::<B>::output(be, View::Dense, rows, k * m, Write::Set, rng);
    let (l, a, x) = (d_logits.mat_mut(), d_alpha.mat_mut(), d_e.mat_mut());
    be.gate_orthogonality_bwd(l, a, x, d_mix.mat(), alpha.mat(), e.mat(), found.mat(), scale);
    let (l, a, x) = (d_logits.host.mat_mut(), d_alpha.host.mat_mut(), d_e.host.mat_mut());
    let (g, s, y, n) = (d_mix.host.mat(), alpha.host.mat(), e.host.mat(), found.host.mat());
    oracle().gate_orthogonality_bwd(l, a, x, g, s, y, n, scale);
    d_gate.iter().for_each(|d| d.check_exact(be, "no gradient of the gate"));
    d_e.check(be, "gradient of any size under a gate", bound);
}
