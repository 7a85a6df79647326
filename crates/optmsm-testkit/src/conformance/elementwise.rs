//! Memory, and what goes element by element or row by row.

use optmsm_core::backend::{Backend, Dropout, Elementwise, Write};
use optmsm_core::philox::philox4x32;

use super::loss::{logit, sigma};

use super::matrix::*;
use crate::bounded::Bounded;
use crate::rng::Rng;

const SHAPES: [(usize, usize); 9] =
    [(0, 3), (1, 1), (2, 7), (3, 8), (5, 9), (4, 16), (7, 17), (33, 64), (65, 33)];

/// Every shape, view of the output and view of the input.
pub(super) fn each_shape(seed: u64, mut f: impl FnMut((usize, usize), View, View, &mut Rng)) {
    let mut rng = Rng::new(seed);
    for shape in SHAPES {
        for out in VIEWS {
            VIEWS.iter().for_each(|&x| f(shape, out, x, &mut rng));
        }
    }
}

pub(super) fn relu<B: Backend>(be: &B) {
    each_shape(25, |(rows, cols), view, _, rng| {
        // A diverged model must not look alive: NaN stays NaN.
        let mut y = Pair::<B>::new(be, view, rows, cols, |i, j| match (i + j) % 7 {
            6 => f64::NAN,
            _ => rng.value(),
        });
        be.relu(y.mat_mut());
        oracle().relu(y.host.mat_mut());
        y.check_exact(be, "relu");
    });
}

pub(super) fn relu_bwd<B: Backend>(be: &B) {
    each_shape(26, |(rows, cols), out, view, rng| {
        let y = Pair::<B>::random(be, view, rows, cols, rng);
        let mut d = Pair::<B>::random(be, out, rows, cols, rng);
        be.relu_bwd(d.mat_mut(), y.mat());
        oracle().relu_bwd(d.host.mat_mut(), y.host.mat());
        d.check_exact(be, "relu_bwd");
    });
}

pub(super) fn relu_bwd_into<B: Backend>(be: &B) {
    each_shape(30, |(rows, cols), view, at, rng| {
        // Zeros are not above 0.
        let y = Pair::<B>::new(be, at, rows, cols, |i, j| if (i + j) % 5 == 0 { 0.0 } else { rng.value() });
        let d = Pair::<B>::random(be, rng.pick(&VIEWS), rows, cols, rng);
        let mut out = Pair::<B>::output(be, view, rows, cols, Write::Set, rng);
        be.relu_bwd_into(out.mat_mut(), d.mat(), y.mat());
        oracle().relu_bwd_into(out.host.mat_mut(), d.host.mat(), y.host.mat());
        out.check_exact(be, "relu_bwd_into");
    });
}

pub(super) fn leaky_relu<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(35, |(rows, cols), view, _, rng| {
        for slope in [0.01, 0.0, 1.0] {
            // A diverged model must not look alive: NaN stays NaN.
            let mut y = Pair::<B>::new(be, view, rows, cols, |i, j| match (i + j) % 7 {
                5 => 0.0,
                6 => f64::NAN,
                _ => rng.value(),
            });
            let before = y.host.clone();
            be.leaky_relu(y.mat_mut(), slope);
            oracle().leaky_relu(y.host.mat_mut(), slope);
            y.check(be, "leaky_relu", |i, j| {
                leaky(&y.host, i, j, before.at(i, j), before.at(i, j), slope, u)
            });
        }
    });
}

pub(super) fn leaky_relu_bwd<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(36, |(rows, cols), out, view, rng| {
        for slope in [0.01, 0.0, 1.0] {
            // Zeros are not above 0.
            let y =
                Pair::<B>::new(be, view, rows, cols, |i, j| if (i + j) % 5 == 0 { 0.0 } else { rng.value() });
            let mut d = Pair::<B>::random(be, out, rows, cols, rng);
            let before = d.host.clone();
            be.leaky_relu_bwd(d.mat_mut(), y.mat(), slope);
            oracle().leaky_relu_bwd(d.host.mat_mut(), y.host.mat(), slope);
            d.check(be, "leaky_relu_bwd", |i, j| {
                leaky(&d.host, i, j, before.at(i, j), y.host.at(i, j), slope, u)
            });
        }
    });
}

/// The tolerance of an element: v as it is where `by` is above 0, else `slope` · v.
fn leaky(reference: &Host, i: usize, j: usize, v: f64, by: f64, slope: f64, u: f64) -> f64 {
    let v = Bounded::exact(v, u);
    match v.value.is_nan() {
        // The comparison asks for NaN.
        true => 0.0,
        false if by > 0.0 => defined(reference, i, j, v),
        false => defined(reference, i, j, Bounded::rounded(slope, u) * v),
    }
}

pub(super) fn dropout<B: Backend>(be: &B) {
    each_shape(27, |(rows, cols), view, _, rng| {
        for (p, first) in [(0.0, 0), (0.3, 2), (0.999, 0)] {
            let drop = Dropout { p, seed: 0x1234_5678_9abc_def0, step: 7, site: 3 };
            let mut places = vec![u32::MAX; first];
            places.extend((0..rows).map(|_| rng.bits()));
            let at = ids(be, &places);
            let mut x = Pair::<B>::random(be, view, rows, cols, rng);
            let before = x.host.clone();
            be.dropout(x.mat_mut(), &drop, &at, first);
            oracle().dropout(x.host.mat_mut(), &drop, &places, first);
            // The scale is rounded, and the product.
            x.check(be, "dropout", |i, j| 4.0 * unit::<B>() * x.host.at(i, j).abs());
            for i in 0..rows {
                for j in 0..cols {
                    let (counter, key) = drop.counter(places[first + i], (j / 4) as u32);
                    let kept = philox4x32(counter, key)[j % 4] >= drop.threshold();
                    assert_eq!(x.host.at(i, j) != 0.0, kept && before.at(i, j) != 0.0, "mask at ({i}, {j})");
                }
            }
        }
    });
}

pub(super) fn row_scale<B: Backend>(be: &B) {
    each_shape(28, |(rows, cols), out, view, rng| {
        for write in WRITES {
            let s = Pair::<B>::random(be, view, rows, 1, rng);
            let x = Pair::<B>::random(be, view, rows, cols, rng);
            let mut y = Pair::<B>::output(be, out, rows, cols, write, rng);
            be.row_scale(y.mat_mut(), write, s.mat(), x.mat());
            let mut size = y.host.abs();
            oracle().row_scale(size.mat_mut(), write, s.host.abs().mat(), x.host.abs().mat());
            oracle().row_scale(y.host.mat_mut(), write, s.host.mat(), x.host.mat());
            y.check(be, "row_scale", product::<B>(&size, 1));
        }
    });
}

pub(super) fn row_dot<B: Backend>(be: &B) {
    each_shape(29, |(rows, cols), out, view, rng| {
        for write in WRITES {
            let x = Pair::<B>::random(be, view, rows, cols, rng);
            let y = Pair::<B>::random(be, view, rows, cols, rng);
            let mut dot = Pair::<B>::output(be, out, rows, 1, write, rng);
            be.row_dot(dot.mat_mut(), write, x.mat(), y.mat());
            let mut size = dot.host.abs();
            oracle().row_dot(size.mat_mut(), write, x.host.abs().mat(), y.host.abs().mat());
            oracle().row_dot(dot.host.mat_mut(), write, x.host.mat(), y.host.mat());
            dot.check(be, "row_dot", product::<B>(&size, cols + 1));
        }
    });
}

pub(super) fn mul<B: Backend>(be: &B) {
    each_shape(31, |(rows, cols), out, view, rng| {
        for (write, factors) in WRITES.into_iter().flat_map(|write| [rows, 1].map(|n| (write, n))) {
            let x = Pair::<B>::random(be, view, rows, cols, rng);
            let v = Pair::<B>::random(be, rng.pick(&VIEWS), factors, cols, rng);
            let mut y = Pair::<B>::output(be, out, rows, cols, write, rng);
            let before = y.host.clone();
            be.mul(y.mat_mut(), write, x.mat(), v.mat());
            oracle().mul(y.host.mat_mut(), write, x.host.mat(), v.host.mat());
            let u = unit::<B>();
            y.check(be, &format!("mul, {write:?}, {factors} rows of v"), |i, j| {
                let k = if factors == 1 { 0 } else { i };
                let mut want = Bounded::exact(x.host.at(i, j), u) * Bounded::exact(v.host.at(k, j), u);
                if write == Write::Add {
                    want = want + Bounded::exact(before.at(i, j), u);
                }
                defined(&y.host, i, j, want)
            });
        }
    });
}

pub(super) fn add_row<B: Backend>(be: &B) {
    each_shape(32, |(rows, cols), out, view, rng| {
        let v = Pair::<B>::random(be, view, 1, cols, rng);
        let mut y = Pair::<B>::output(be, out, rows, cols, Write::Add, rng);
        let before = y.host.clone();
        be.add_row(y.mat_mut(), v.mat());
        oracle().add_row(y.host.mat_mut(), v.host.mat());
        let u = unit::<B>();
        y.check(be, "add_row", |i, j| {
            let want = Bounded::exact(before.at(i, j), u) + Bounded::exact(v.host.at(0, j), u);
            defined(&y.host, i, j, want)
        });
    });
}

pub(super) fn sigmoid_gate<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(33, |(rows, cols), out, view, rng| {
        let o = Pair::<B>::new(be, view, rows, cols, |i, j| logit(i + j, rng));
        let x = Pair::<B>::random(be, rng.pick(&VIEWS), rows, cols, rng);
        let mut g = Pair::<B>::output(be, rng.pick(&VIEWS), rows, cols, Write::Set, rng);
        let mut y = Pair::<B>::output(be, out, rows, cols, Write::Set, rng);
        be.sigmoid_gate(y.mat_mut(), g.mat_mut(), x.mat(), o.mat());
        oracle().sigmoid_gate(y.host.mat_mut(), g.host.mat_mut(), x.host.mat(), o.host.mat());
        let gate = |i: usize, j: usize| Bounded::exact(2.0, u) * sigma(Bounded::exact(o.host.at(i, j), u), u);
        // The gate's loss to underflow is multiplied by elements of x below 2.
        g.check(be, "sigmoid_gate, g", |i, j| defined(&g.host, i, j, gate(i, j)) + 2.0 * tiny::<B>());
        y.check(be, "sigmoid_gate, y", |i, j| {
            defined(&y.host, i, j, Bounded::exact(x.host.at(i, j), u) * gate(i, j)) + 4.0 * tiny::<B>()
        });
    });
}

pub(super) fn sigmoid_gate_bwd<B: Backend>(be: &B) {
    let u = unit::<B>();
    each_shape(34, |(rows, cols), out, view, rng| {
        for write in WRITES {
            let d_y = Pair::<B>::random(be, view, rows, cols, rng);
            let x = Pair::<B>::random(be, rng.pick(&VIEWS), rows, cols, rng);
            // A gate is from 0 to 2, both included.
            let g = Pair::<B>::new(be, rng.pick(&VIEWS), rows, cols, |i, j| match (i + j) % 9 {
                7 => 0.0,
                8 => 2.0,
                _ => 2.0 * rng.uniform(),
            });
            let mut d_o = Pair::<B>::output(be, rng.pick(&VIEWS), rows, cols, Write::Set, rng);
            let mut d_x = Pair::<B>::output(be, out, rows, cols, write, rng);
            let before = d_x.host.clone();
            be.sigmoid_gate_bwd(d_o.mat_mut(), d_x.mat_mut(), write, d_y.mat(), x.mat(), g.mat());
            let (to_o, to_x) = (d_o.host.mat_mut(), d_x.host.mat_mut());
            oracle().sigmoid_gate_bwd(to_o, to_x, write, d_y.host.mat(), x.host.mat(), g.host.mat());
            let at = |m: &Pair<B>, i: usize, j: usize| Bounded::exact(m.host.at(i, j), u);
            d_o.check(be, "sigmoid_gate_bwd, d_o", |i, j| {
                // ∂g/∂o = 2 σ (1 − σ) with σ = g/2.
                let (d_y, x, g) = (at(&d_y, i, j), at(&x, i, j), at(&g, i, j));
                let slope = g * (Bounded::exact(1.0, u) - Bounded::exact(0.5, u) * g);
                defined(&d_o.host, i, j, d_y * x * slope)
            });
            d_x.check(be, &format!("sigmoid_gate_bwd, d_x, {write:?}"), |i, j| {
                let mut want = at(&d_y, i, j) * at(&g, i, j);
                if write == Write::Add {
                    want = want + Bounded::exact(before.at(i, j), u);
                }
                defined(&d_x.host, i, j, want)
            });
        }
    });
}
