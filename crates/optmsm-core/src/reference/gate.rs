//! Gate and selection (model.md §4).

use ndarray::Zip;

use super::dense::pieces;
use super::{Reference, dot, put, view, view_mut};
use crate::backend::{Gate, Groups, Mat, MatMut, Write};
use crate::elem::Elem;

impl<T: Elem> Gate for Reference<T> {
    fn softmax(&self, alpha: MatMut<Vec<T>>, logits: Mat<Vec<T>>) {
        let mut alpha = view_mut(alpha);
        for (mut alpha, logits) in alpha.outer_iter_mut().zip(view(logits).outer_iter()) {
            let max = logits.fold(T::neg_infinity(), |m, &v| m.max(v));
            Zip::from(&mut alpha).and(logits).for_each(|a, &l| *a = (l - max).exp());
            let sum = alpha.iter().fold(T::zero(), |sum, &a| sum + a);
            alpha.mapv_inplace(|a| a / sum);
        }
    }

    fn softmax_bwd(&self, d_logits: MatMut<Vec<T>>, d_alpha: Mat<Vec<T>>, alpha: Mat<Vec<T>>) {
        let (mut d_logits, d_alpha, alpha) = (view_mut(d_logits), view(d_alpha), view(alpha));
        for b in 0..alpha.nrows() {
            let mean = dot(alpha, b, 0, d_alpha, b, 0, alpha.ncols());
            for k in 0..alpha.ncols() {
                d_logits[[b, k]] = alpha[[b, k]] * (d_alpha[[b, k]] - mean);
            }
        }
    }

    fn mix(&self, mix: MatMut<Vec<T>>, alpha: Mat<Vec<T>>, e: Mat<Vec<T>>) {
        let (alpha, e) = (view(alpha), view(e));
        let m = mix.cols;
        for ((b, j), mix) in view_mut(mix).indexed_iter_mut() {
            *mix = (0..alpha.ncols()).fold(T::zero(), |sum, k| sum + alpha[[b, k]] * e[[b, k * m + j]]);
        }
    }

    fn mix_bwd(
        &self,
        d_alpha: MatMut<Vec<T>>,
        d_e: MatMut<Vec<T>>,
        write: Write,
        d_mix: Mat<Vec<T>>,
        alpha: Mat<Vec<T>>,
        e: Mat<Vec<T>>,
    ) {
        let (mut d_alpha, mut d_e) = (view_mut(d_alpha), view_mut(d_e));
        let (d_mix, alpha, e) = (view(d_mix), view(alpha), view(e));
        let m = d_mix.ncols();
        for ((b, k), &a) in alpha.indexed_iter() {
            d_alpha[[b, k]] = dot(d_mix, b, 0, e, b, k * m, m);
            for j in 0..m {
                put(&mut d_e[[b, k * m + j]], write, a * d_mix[[b, j]]);
            }
        }
    }

    fn select(&self, mix: MatMut<Vec<T>>, e: Mat<Vec<T>>, groups: &Vec<u32>) {
        let (mut mix, e) = (view_mut(mix), view(e));
        let m = mix.ncols();
        for (g, rows, ..) in pieces(Groups::Rows(groups), e.ncols() / m, e.nrows(), 0, 0) {
            for b in rows {
                (0..m).for_each(|j| mix[[b, j]] = e[[b, g * m + j]]);
            }
        }
    }

    fn select_bwd(&self, d_e: MatMut<Vec<T>>, write: Write, d_mix: Mat<Vec<T>>, groups: &Vec<u32>) {
        let (mut d_e, d_mix) = (view_mut(d_e), view(d_mix));
        if write == Write::Set {
            d_e.fill(T::zero());
        }
        let m = d_mix.ncols();
        for (g, rows, ..) in pieces(Groups::Rows(groups), d_e.ncols() / m, d_e.nrows(), 0, 0) {
            for b in rows {
                (0..m).for_each(|j| d_e[[b, g * m + j]] += d_mix[[b, j]]);
            }
        }
    }
}
