//! Loss and probabilities (model.md §6), bounded by running error analysis.

use optmsm_core::backend::{Backend, Loss, Write};

use super::matrix::*;
use crate::bounded::Bounded;
use crate::rng::Rng;

/// Logits from ordinary to where e^o overflows.
pub(super) fn logit(i: usize, rng: &mut Rng) -> f64 {
    rng.value() * [1.0, 10.0, 50.0, 5000.0][i % 4]
}

pub(super) fn sigma(o: Bounded, u: f64) -> Bounded {
    let (one, e) = (Bounded::exact(1.0, u), (-o.abs()).exp());
    if o.value >= 0.0 { one / (one + e) } else { e / (one + e) }
}

pub(super) fn bce_with_logits<B: Backend>(be: &B) {
    let u = unit::<B>();
    let mut rng = Rng::new(61);
    for rows in [0, 1, 7, 8, 33, 300] {
        for (view, first, scale) in [(View::Dense, 0, 1.0 / 300.0), (View::Inside, 3, 0.7)] {
            let logits = Pair::<B>::new(be, view, rows, 1, |i, _| logit(i, &mut rng));
            let labels = Pair::<B>::column(be, first, rows, || rng.pick(&[0.0, 1.0]));
            let weights = Pair::<B>::column(be, first, rows, || rng.pick(&[0.0, 1.0, 0.3, 2.5]));
            let mut d = Pair::<B>::output(be, view, rows, 1, Write::Set, &mut rng);
            let mut sum = Pair::<B>::output(be, view, 1, 1, Write::Add, &mut rng);
            let mut terms = vec![Bounded::exact(sum.host.at(0, 0), u)];
            be.bce_with_logits(
                d.mat_mut(),
                sum.mat_mut(),
                logits.mat(),
                &labels.buf,
                &weights.buf,
                first,
                scale,
            );
            let (d_host, sum_host) = (d.host.mat_mut(), sum.host.mat_mut());
            let (y, w) = (&labels.host.data, &weights.host.data);
            oracle().bce_with_logits(d_host, sum_host, logits.host.mat(), y, w, first, scale);

            let at =
                |b: usize| [logits.host.at(b, 0), y[first + b], w[first + b]].map(|v| Bounded::exact(v, u));
            terms.extend((0..rows).map(|b| {
                let [o, y, w] = at(b);
                w * (o.relu() - o * y + (-o.abs()).exp().ln_1p())
            }));
            sum.check(be, "bce_with_logits, sum", |_, _| {
                let want = Bounded::sum(&terms, u);
                let off = (want.value - sum.host.at(0, 0)).abs();
                assert!(off <= 1e-9 * (1.0 + want.value.abs()), "the bound's own value");
                2.0 * want.error + tiny::<B>() * rows as f64
            });
            d.check(be, "bce_with_logits, d_logits", |b, _| {
                let [o, y, w] = at(b);
                2.0 * (w * (sigma(o, u) - y) * Bounded::rounded(scale, u)).error + 4.0 * tiny::<B>()
            });
        }
    }
}

pub(super) fn sigmoid<B: Backend>(be: &B) {
    let u = unit::<B>();
    super::elementwise::each_shape(62, |(rows, cols), out, view, rng| {
        let o = Pair::<B>::new(be, view, rows, cols, |i, j| logit(i + j, rng));
        let mut p = Pair::<B>::output(be, out, rows, cols, Write::Set, rng);
        be.sigmoid(p.mat_mut(), o.mat());
        oracle().sigmoid(p.host.mat_mut(), o.host.mat());
        p.check(be, "sigmoid", |i, j| 2.0 * sigma(Bounded::exact(o.host.at(i, j), u), u).error + tiny::<B>());
    });
}

pub(super) fn sigmoid_bwd<B: Backend>(be: &B) {
    let u = unit::<B>();
    super::elementwise::each_shape(63, |(rows, cols), out, view, rng| {
        // A probability is from 0 to 1, both included.
        let p = Pair::<B>::new(be, view, rows, cols, |i, j| match (i + j) % 9 {
            7 => 0.0,
            8 => 1.0,
            _ => rng.uniform(),
        });
        let mut d = Pair::<B>::random(be, out, rows, cols, rng);
        let before = d.host.clone();
        be.sigmoid_bwd(d.mat_mut(), p.mat());
        oracle().sigmoid_bwd(d.host.mat_mut(), p.host.mat());
        d.check(be, "sigmoid_bwd", |i, j| {
            let [d_p, p] = [&before, &p.host].map(|m| Bounded::exact(m.at(i, j), u));
            defined(&d.host, i, j, d_p * p * (Bounded::exact(1.0, u) - p))
        });
    });
}
