//! Orthogonality penalty (model.md §3, backward §8), bounded by running error analysis.

use optmsm_core::backend::{Backend, Write};
use optmsm_core::reference::NORM_EPS;

use super::gate::{d_logits, each_shape};
use super::matrix::*;
use crate::bounded::Bounded;
use crate::rng::Rng;

/// Expert rows: ordinary, one all-zero expert, all of them zero, equal experts, norms near ε.
fn experts<B: Backend>(be: &B, view: View, (rows, k, m): (usize, usize, usize), rng: &mut Rng) -> Pair<B> {
    Pair::new(be, view, rows, k * m, |i, j| match i % 5 {
        1 if j / m == (i / 5) % k => 0.0,
        2 => 0.0,
        3 => 1.0 + (j % m) as f64,
        4 => 1e-8 * rng.value(),
        _ => rng.value(),
    })
}

fn expert(e: &Host, row: usize, k: usize, m: usize, u: f64) -> Vec<Bounded> {
    (0..m).map(|q| Bounded::exact(e.at(row, k * m + q), u)).collect()
}

fn inverse_norm(e: &[Bounded], u: f64) -> Bounded {
    Bounded::exact(1.0, u) / (Bounded::dot(e, e, u).sqrt() + Bounded::rounded(NORM_EPS, u))
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
            let mut pair = 1;
            for i in 0..k {
                for j in i + 1..k {
                    let cos = Bounded::dot(&e[i], &e[j], u) * inv[i] * inv[j];
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
    let squared = Bounded::dot(&parts[i], &parts[i], u);
    if k < 2 || squared.value == 0.0 {
        return vec![Bounded::exact(0.0, u); m];
    }
    let c = Bounded::rounded(4.0 * scale / (k * (k - 1)) as f64, u);
    let weights: Vec<_> = (0..k)
        .map(|j| {
            if j == i {
                Bounded::exact(0.0, u)
            } else {
                c * (Bounded::dot(&parts[i], &parts[j], u) * inv[i] * inv[j]) * inv[j]
            }
        })
        .collect();
    let v: Vec<_> =
        (0..m).map(|q| Bounded::dot(&weights, &parts.iter().map(|p| p[q]).collect::<Vec<_>>(), u)).collect();
    let pull = Bounded::dot(&parts[i], &v, u) * inv[i] * inv[i] / squared.sqrt();
    // Terms, not their difference, set the size of the roundings: they may reach d_e one by one.
    v.iter().zip(&parts[i]).map(|(&v, &e)| v * inv[i] - e * pull).collect()
}
