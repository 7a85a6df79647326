//! Normalization by group and of each row, by its definition.

use optmsm_core::backend::{Backend, Norm, Write};

use super::matrix::*;
use crate::bounded::Bounded;
use crate::rng::Rng;

/// Rows, columns, groups. The last has more rows than one block of a device sums.
const SHAPES: [(usize, usize, usize); 10] = [
    (0, 3, 2),
    (1, 1, 1),
    (2, 7, 1),
    (5, 8, 3),
    (9, 4, 5),
    (33, 17, 2),
    (65, 33, 4),
    (40, 130, 3),
    (7, 2, 40),
    (300, 5, 4),
];

/// Every shape with offsets of its groups, view of the outputs and view of the inputs.
fn each_shape(seed: u64, mut f: impl FnMut((usize, usize), &[u32], View, View, &mut Rng)) {
    let mut rng = Rng::new(seed);
    for (rows, cols, groups) in SHAPES {
        for out in VIEWS {
            for x in VIEWS {
                let groups = offsets(groups, rows, &mut rng);
                f((rows, cols), &groups, out, x, &mut rng);
            }
        }
    }
}

/// The group of row `b`.
fn group_of(groups: &[u32], b: usize) -> usize {
    groups.iter().rposition(|&first| first as usize <= b).expect("groups begin with row 0")
}

fn rows_of(groups: &[u32], g: usize) -> f64 {
    f64::from(groups[g + 1] - groups[g])
}

/// Statistics of groups: random, NaN in those without rows, which must not be read.
fn by_group<B: Backend>(
    be: &B,
    groups: &[u32],
    cols: usize,
    mut value: impl FnMut() -> f64,
    view: View,
) -> Pair<B> {
    Pair::new(
        be,
        view,
        groups.len() - 1,
        cols,
        |g, _| if rows_of(groups, g) > 0.0 { value() } else { f64::NAN },
    )
}

pub(super) fn deviations<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(111, |(rows, cols), groups, out, view, rng| {
        let count = groups.len() - 1;
        // Far from 0, as a mean may be: squares of x itself would have no digits left.
        let x = Pair::<B>::new(be, view, rows, cols, |_, _| 1000.0 + rng.value());
        let center = by_group(be, groups, cols, || 1000.0 + rng.value(), out);
        let mut sums = Pair::<B>::output(be, out, count, cols, Write::Add, rng);
        let mut squares = Pair::<B>::output(be, rng.pick(&VIEWS), count, cols, Write::Add, rng);
        let before = [&sums, &squares].map(|m| m.host.clone());
        be.deviations(sums.mat_mut(), squares.mat_mut(), x.mat(), center.mat(), &ids(be, groups));
        let (to_sums, to_squares) = (sums.host.mat_mut(), squares.host.mat_mut());
        oracle().deviations(to_sums, to_squares, x.host.mat(), center.host.mat(), &groups.to_vec());
        let terms = |g: usize, j: usize| {
            let c = Bounded::exact(center.host.at(g, j), u);
            (groups[g] as usize..groups[g + 1] as usize).map(move |b| (b, c))
        };
        let sum_of = |before: &Host, g: usize, j: usize, power: fn(Bounded) -> Bounded| {
            let deviations = terms(g, j).map(|(b, c)| power(Bounded::exact(x.host.at(b, j), u) - c));
            let terms: Vec<_> = deviations.chain([Bounded::exact(before.at(g, j), u)]).collect();
            Bounded::sum(&terms, u)
        };
        sums.check(be, "deviations, sums", |g, j| defined(&sums.host, g, j, sum_of(&before[0], g, j, |d| d)));
        squares.check(be, "deviations, squares", |g, j| {
            defined(&squares.host, g, j, sum_of(&before[1], g, j, |d| d * d))
        });
    });
}

/// 1/√(var + eps).
fn inv_std(var: Bounded, eps: f64, u: f64) -> Bounded {
    Bounded::exact(1.0, u) / (var + Bounded::rounded(eps, u)).sqrt()
}

pub(super) fn moments<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(112, |(_, cols), groups, out, view, rng| {
        let (count, eps) = (groups.len() - 1, 1e-3);
        let momentum = rng.pick(&[0.0, 0.9, 0.99]);
        let sums = Pair::<B>::new(be, view, count, cols, |g, _| match rows_of(groups, g) {
            0.0 => f64::NAN,
            n => n * rng.value(),
        });
        // Above the square of the mean's shift; now and then rounded to below it, where the variance is 0.
        let squares = Pair::<B>::new(be, rng.pick(&VIEWS), count, cols, |g, j| {
            let n = rows_of(groups, g);
            let least = sums.host.at(g, j) * sums.host.at(g, j) / n;
            if (g + j) % 5 == 0 { least * (1.0 - 1e-6) } else { least + n * rng.uniform() }
        });
        let mut running_mean = Pair::<B>::random(be, rng.pick(&VIEWS), count, cols, rng);
        let mut running_var = Pair::<B>::new(be, rng.pick(&VIEWS), count, cols, |_, _| 2.0 * rng.uniform());
        let mut mean = Pair::<B>::output(be, out, count, cols, Write::Set, rng);
        let mut inv = Pair::<B>::output(be, rng.pick(&VIEWS), count, cols, Write::Set, rng);
        let before = [&running_mean, &running_var].map(|m| m.host.clone());
        be.moments(
            mean.mat_mut(),
            inv.mat_mut(),
            running_mean.mat_mut(),
            running_var.mat_mut(),
            sums.mat(),
            squares.mat(),
            &ids(be, groups),
            eps,
            momentum,
        );
        oracle().moments(
            mean.host.mat_mut(),
            inv.host.mat_mut(),
            running_mean.host.mat_mut(),
            running_var.host.mat_mut(),
            sums.host.mat(),
            squares.host.mat(),
            &groups.to_vec(),
            eps,
            momentum,
        );
        // (mean, variance, running mean, running variance) by definition.
        let want = |g: usize, j: usize| {
            let [old_mean, old_var] = before.each_ref().map(|m| Bounded::exact(m.at(g, j), u));
            if rows_of(groups, g) == 0.0 {
                return [old_mean, old_var, old_mean, old_var];
            }
            let n = Bounded::exact(rows_of(groups, g), u);
            let delta = Bounded::exact(sums.host.at(g, j), u) / n;
            let var = (Bounded::exact(squares.host.at(g, j), u) / n - delta * delta).relu();
            let new_mean = old_mean + delta;
            let (keep, rest) = (Bounded::rounded(momentum, u), Bounded::rounded(1.0 - momentum, u));
            [new_mean, var, keep * old_mean + rest * new_mean, keep * old_var + rest * var]
        };
        mean.check(be, "moments, mean", |g, j| defined(&mean.host, g, j, want(g, j)[0]));
        inv.check(be, "moments, inv_std", |g, j| defined(&inv.host, g, j, inv_std(want(g, j)[1], eps, u)));
        running_mean
            .check(be, "moments, running mean", |g, j| defined(&running_mean.host, g, j, want(g, j)[2]));
        running_var
            .check(be, "moments, running variance", |g, j| defined(&running_var.host, g, j, want(g, j)[3]));
    });
    // A diverged model must not look alive: a variance of NaN is not 0.
    let one = |v: f64| Pair::<B>::new(be, View::Dense, 1, 1, |_, _| v);
    let [mut mean, mut inv, mut running_mean, mut running_var] = [f64::NAN, f64::NAN, 0.0, 1.0].map(one);
    let (m, i, rm, rv) = (mean.mat_mut(), inv.mat_mut(), running_mean.mat_mut(), running_var.mat_mut());
    be.moments(m, i, rm, rv, one(f64::NAN).mat(), one(f64::NAN).mat(), &ids(be, &[0, 2]), 1e-3, 0.9);
    for (what, pair) in [("mean", mean), ("inv_std", inv), ("mean", running_mean), ("variance", running_var)]
    {
        assert!(pair.download(be)[0].is_nan(), "a {what} of NaN");
    }
}

pub(super) fn running_moments<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(113, |(_, cols), groups, out, view, rng| {
        let (count, eps) = (groups.len() - 1, 1e-3);
        let running_mean = Pair::<B>::random(be, view, count, cols, rng);
        let running_var = Pair::<B>::new(be, rng.pick(&VIEWS), count, cols, |_, _| 2.0 * rng.uniform());
        let mut mean = Pair::<B>::output(be, out, count, cols, Write::Set, rng);
        let mut inv = Pair::<B>::output(be, rng.pick(&VIEWS), count, cols, Write::Set, rng);
        be.running_moments(mean.mat_mut(), inv.mat_mut(), running_mean.mat(), running_var.mat(), eps);
        let (to_mean, to_inv) = (mean.host.mat_mut(), inv.host.mat_mut());
        oracle().running_moments(to_mean, to_inv, running_mean.host.mat(), running_var.host.mat(), eps);
        mean.check(be, "running_moments, mean", |g, j| {
            defined(&mean.host, g, j, Bounded::exact(running_mean.host.at(g, j), u))
        });
        inv.check(be, "running_moments, inv_std", |g, j| {
            defined(&inv.host, g, j, inv_std(Bounded::exact(running_var.host.at(g, j), u), eps, u))
        });
    });
}

pub(super) fn normalize<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(114, |(rows, cols), groups, out, view, rng| {
        let x = Pair::<B>::random(be, view, rows, cols, rng);
        let mean = by_group::<B>(be, groups, cols, || rng.value(), view);
        let inv = by_group::<B>(be, groups, cols, || 0.1 + 3.0 * rng.uniform(), View::Inside);
        let mut x_hat = Pair::<B>::output(be, out, rows, cols, Write::Set, rng);
        be.normalize(x_hat.mat_mut(), x.mat(), mean.mat(), inv.mat(), &ids(be, groups));
        let to = x_hat.host.mat_mut();
        oracle().normalize(to, x.host.mat(), mean.host.mat(), inv.host.mat(), &groups.to_vec());
        x_hat.check(be, "normalize", |b, j| {
            let g = group_of(groups, b);
            let [x, mean, inv] =
                [(&x, b), (&mean, g), (&inv, g)].map(|(m, i)| Bounded::exact(m.host.at(i, j), u));
            defined(&x_hat.host, b, j, (x - mean) * inv)
        });
    });
}

pub(super) fn affine<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(115, |(rows, cols), groups, out, view, rng| {
        let x = Pair::<B>::random(be, view, rows, cols, rng);
        let scale = by_group::<B>(be, groups, cols, || rng.value(), view);
        let shift = by_group::<B>(be, groups, cols, || rng.value(), View::Inside);
        let mut y = Pair::<B>::output(be, out, rows, cols, Write::Set, rng);
        be.affine(y.mat_mut(), x.mat(), scale.mat(), shift.mat(), &ids(be, groups));
        oracle().affine(y.host.mat_mut(), x.host.mat(), scale.host.mat(), shift.host.mat(), &groups.to_vec());
        y.check(be, "affine", |b, j| {
            let g = group_of(groups, b);
            let [x, scale, shift] =
                [(&x, b), (&scale, g), (&shift, g)].map(|(m, i)| Bounded::exact(m.host.at(i, j), u));
            defined(&y.host, b, j, x * scale + shift)
        });
    });
}

pub(super) fn norm_bwd<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(116, |(rows, cols), groups, out, view, rng| {
        // The block is a part of the batch: of each of its groups there are as many rows or more.
        let mut batch = vec![0];
        for g in 0..groups.len() - 1 {
            batch.push(batch[g] + groups[g + 1] - groups[g] + rng.pick(&[0, 0, 1, 1000]));
        }
        let x_hat = Pair::<B>::random(be, view, rows, cols, rng);
        let [gain, sum_d, sum_dx] =
            [view, out, View::Inside].map(|view| by_group::<B>(be, groups, cols, || rng.value(), view));
        let mut d = Pair::<B>::random(be, out, rows, cols, rng);
        let before = d.host.clone();
        let (block, whole) = (ids(be, groups), ids(be, &batch));
        be.norm_bwd(d.mat_mut(), x_hat.mat(), gain.mat(), sum_d.mat(), sum_dx.mat(), &block, &whole);
        let [by, s, s_x] = [&gain, &sum_d, &sum_dx].map(|m| m.host.mat());
        oracle().norm_bwd(d.host.mat_mut(), x_hat.host.mat(), by, s, s_x, &groups.to_vec(), &batch);
        d.check(be, "norm_bwd", |b, j| {
            let g = group_of(groups, b);
            let [gain, s, s_x] = [&gain, &sum_d, &sum_dx].map(|m| Bounded::exact(m.host.at(g, j), u));
            let (d_y, x) = (Bounded::exact(before.at(b, j), u), Bounded::exact(x_hat.host.at(b, j), u));
            // A sum is multiplied by 1/N, a rounding more than divided by N.
            let share = Bounded::exact(1.0, u) / Bounded::exact(rows_of(&batch, g), u);
            defined(&d.host, b, j, gain * (d_y - s * share - x * (s_x * share)))
        });
    });
}

/// Mean of terms, in any order.
fn mean_of(terms: &[Bounded], u: f64) -> Bounded {
    Bounded::sum(terms, u) / Bounded::exact(terms.len() as f64, u)
}

pub(super) fn layer_norm<B: Backend>(be: &B) {
    let u = unit::<B>();
    super::elementwise::each_shape(117, |(rows, cols), out, view, rng| {
        // Far from 0, as rows may be: squares of x itself would have few digits left. Every third row has no variance.
        let x =
            Pair::<B>::new(be, view, rows, cols, |i, _| if i % 3 == 2 { 2.5 } else { 10.0 + rng.value() });
        let eps = rng.pick(&[1e-5, 1e-2]);
        let mut x_hat = Pair::<B>::output(be, out, rows, cols, Write::Set, rng);
        let mut inv = Pair::<B>::output(be, rng.pick(&VIEWS), rows, 1, Write::Set, rng);
        be.layer_norm(x_hat.mat_mut(), inv.mat_mut(), x.mat(), eps);
        oracle().layer_norm(x_hat.host.mat_mut(), inv.host.mat_mut(), x.host.mat(), eps);
        // Centred elements of row `b`, and 1/σ.
        let want = |b: usize| {
            let own: Vec<_> = (0..cols).map(|j| Bounded::exact(x.host.at(b, j), u)).collect();
            let mean = mean_of(&own, u);
            let centered: Vec<_> = own.into_iter().map(|x| x - mean).collect();
            let squares: Vec<_> = centered.iter().map(|&d| d * d).collect();
            (centered, inv_std(mean_of(&squares, u), eps, u))
        };
        inv.check(be, "layer_norm, inv_std", |b, _| defined(&inv.host, b, 0, want(b).1));
        x_hat.check(be, "layer_norm, x_hat", |b, j| {
            let (centered, inv) = want(b);
            defined(&x_hat.host, b, j, centered[j] * inv)
        });
    });
}

pub(super) fn layer_norm_bwd<B: Backend>(be: &B) {
    let u = unit::<B>();
    super::elementwise::each_shape(118, |(rows, cols), out, view, rng| {
        let x_hat = Pair::<B>::random(be, view, rows, cols, rng);
        let inv = Pair::<B>::new(be, rng.pick(&VIEWS), rows, 1, |_, _| 0.1 + 3.0 * rng.uniform());
        let mut d = Pair::<B>::random(be, out, rows, cols, rng);
        let before = d.host.clone();
        be.layer_norm_bwd(d.mat_mut(), x_hat.mat(), inv.mat());
        oracle().layer_norm_bwd(d.host.mat_mut(), x_hat.host.mat(), inv.host.mat());
        d.check(be, "layer_norm_bwd", |b, j| {
            let of = |m: &Host| (0..cols).map(|j| Bounded::exact(m.at(b, j), u)).collect::<Vec<_>>();
            let (d_y, x) = (of(&before), of(&x_hat.host));
            let products: Vec<_> = d_y.iter().zip(&x).map(|(&d, &x)| d * x).collect();
            let (mean, along) = (mean_of(&d_y, u), mean_of(&products, u));
            defined(&d.host, b, j, Bounded::exact(inv.host.at(b, 0), u) * (d_y[j] - mean - x[j] * along))
        });
    });
}
