//! Loss and probabilities (model.md §6).

use ndarray::Zip;

use super::{Reference, view, view_mut};
use crate::backend::{Loss, Mat, MatMut};
use crate::elem::Elem;

impl<T: Elem> Loss for Reference<T> {
    fn bce_with_logits(
        &self,
        d_logits: MatMut<Vec<T>>,
        sum: MatMut<Vec<T>>,
        logits: Mat<Vec<T>>,
        labels: &Vec<T>,
        weights: &Vec<T>,
        first: usize,
        scale: f64,
    ) {
        let (mut d_logits, mut sum, logits) = (view_mut(d_logits), view_mut(sum), view(logits));
        for b in 0..logits.nrows() {
            let (o, y, w) = (logits[[b, 0]], labels[first + b], weights[first + b]);
            sum[[0, 0]] += w * (o.max(T::zero()) - o * y + (-o.abs()).exp().ln_1p());
            d_logits[[b, 0]] = w * (sigmoid(o) - y) * T::of(scale);
        }
    }

    fn sigmoid(&self, p: MatMut<Vec<T>>, logits: Mat<Vec<T>>) {
        Zip::from(view_mut(p)).and(view(logits)).for_each(|p, &o| *p = sigmoid(o));
    }

    fn sigmoid_bwd(&self, d: MatMut<Vec<T>>, p: Mat<Vec<T>>) {
        Zip::from(view_mut(d)).and(view(p)).for_each(|d, &p| *d = *d * p * (T::one() - p));
    }
}

pub(super) fn sigmoid<T: Elem>(o: T) -> T {
    // e^{-|o|} never overflows.
    let e = (-o.abs()).exp();
    if o >= T::zero() { T::one() / (T::one() + e) } else { e / (T::one() + e) }
}
