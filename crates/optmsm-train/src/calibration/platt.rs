//! Platt's method: a logistic regression of the label on the logit, σ(a z + b).
//!
//! Labels are smoothed as Platt (1999) proposes, so that rows that are told apart without error do not end at an infinite slope, and the
//! likelihood is maximised by Newton's method with the step halving of Lin, Lin and Weng (Machine Learning 68, 2007).

use super::{Row, log1p_exp, sigmoid};

/// Most steps: from the start at b alone, a dozen are usual.
const STEPS: usize = 100;
/// Largest gradient that is left, over the weight of all rows.
const LEFT: f64 = 1e-12;
/// Largest gradient with which a whole step is taken: the gain is too small to be seen in the loss.
const NEAR: f64 = 1e-6;
/// Shortest step that is tried.
const SHORTEST: f64 = 1e-10;

/// Slope a and intercept b of rows of both labels. Where the label does not rise with the logit, a line would turn the ranking around: there
/// a is 1, and b moves the level alone.
pub(super) fn fit(rows: &[Row]) -> (f64, f64) {
    // By numbers of rows, so that weights in another unit change nothing.
    let positives = rows.iter().filter(|r| r.positive).count() as f64;
    let negatives = rows.len() as f64 - positives;
    let targets = [1.0 / (negatives + 2.0), (positives + 1.0) / (positives + 2.0)];
    let weight: f64 = rows.iter().map(|r| r.weight).sum();
    let targeted: Vec<[f64; 3]> =
        rows.iter().map(|r| [r.logit, targets[usize::from(r.positive)], r.weight / weight]).collect();
    match line(&targeted) {
        (a, b) if a > 0.0 && a.is_finite() && b.is_finite() => (a, b),
        _ => (1.0, level(&targeted)),
    }
}

/// The line of least cross-entropy through rows of logit, target and share of the weight.
fn line(rows: &[[f64; 3]]) -> (f64, f64) {
    let sum = |of: &dyn Fn(&[f64; 3]) -> f64| rows.iter().map(of).sum::<f64>();
    // In units of the spread, so that the curvature is of one size in both directions.
    let middle = sum(&|[z, _, w]| w * z);
    let spread = sum(&|[z, _, w]| w * (z - middle).powi(2)).sqrt();
    let points: Vec<[f64; 3]> = rows.iter().map(|[z, t, w]| [(z - middle) / spread, *t, *w]).collect();
    let loss = |a: f64, b: f64| {
        points.iter().map(|[z, t, w]| w * (log1p_exp(a * z + b) - t * (a * z + b))).sum::<f64>()
    };
    let share = sum(&|[_, t, w]| w * t);
    let (mut a, mut b) = (0.0, (share / (1.0 - share)).ln());
    let mut here = loss(a, b);
    for _ in 0..STEPS {
        let (mut gradient, mut hessian) = ([0.0; 2], [1e-12, 0.0, 1e-12]);
        for [z, t, w] in &points {
            let p = sigmoid(a * z + b);
            let (d, h) = (w * (p - t), w * p * (1.0 - p));
            gradient = [gradient[0] + d * z, gradient[1] + d];
            hessian = [hessian[0] + h * z * z, hessian[1] + h * z, hessian[2] + h];
        }
        if gradient.iter().all(|g| g.abs() < LEFT) {
            break;
        }
        let det = hessian[0] * hessian[2] - hessian[1] * hessian[1];
        let step = [
            (hessian[1] * gradient[1] - hessian[2] * gradient[0]) / det,
            (hessian[1] * gradient[0] - hessian[0] * gradient[1]) / det,
        ];
        let near = gradient.iter().all(|g| g.abs() < NEAR);
        let slope = gradient[0] * step[0] + gradient[1] * step[1];
        let mut size = 1.0;
        let next = loop {
            let next = (a + size * step[0], b + size * step[1]);
            let there = loss(next.0, next.1);
            if near || there < here + 1e-4 * size * slope {
                break Some((next, there));
            }
            size /= 2.0;
            if size < SHORTEST {
                break None; // rounding leaves nothing to gain
            }
        };
        let Some((next, there)) = next else { break };
        ((a, b), here) = (next, there);
    }
    (a / spread, b - a * middle / spread)
}

/// The b with which probabilities σ(z + b) have the mean of the targets, by bisection.
fn level(rows: &[[f64; 3]]) -> f64 {
    let sum = |of: &dyn Fn(&[f64; 3]) -> f64| rows.iter().map(of).sum::<f64>();
    let share = sum(&|[_, t, w]| w * t);
    let logit = (share / (1.0 - share)).ln();
    let [least, most] = rows
        .iter()
        .fold([f64::INFINITY, f64::NEG_INFINITY], |[least, most], [z, ..]| [least.min(*z), most.max(*z)]);
    let (mut low, mut high) = (logit - most, logit - least);
    loop {
        let middle = low + 0.5 * (high - low);
        if middle <= low || middle >= high {
            return middle;
        }
        if sum(&|[z, _, w]| w * sigmoid(z + middle)) < share { low = middle } else { high = middle }
    }
}
