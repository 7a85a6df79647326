//! Normalization by group, and of each row.

use ndarray::Zip;

use super::dense::pieces;
use super::{Reference, view, view_mut};
use crate::backend::{Groups, Mat, MatMut, Norm};
use crate::elem::Elem;

impl<T: Elem> Norm for Reference<T> {
    fn deviations(
        &self,
        sums: MatMut<Vec<T>>,
        squares: MatMut<Vec<T>>,
        x: Mat<Vec<T>>,
        center: Mat<Vec<T>>,
        groups: &Vec<u32>,
    ) {
        let (mut sums, mut squares, x, center) = (view_mut(sums), view_mut(squares), view(x), view(center));
        assert!(
            sums.dim() == center.dim() && squares.dim() == center.dim(),
            "shapes of the sums and the center"
        );
        each_row(groups, center.nrows(), x.nrows(), |g, b| {
            for j in 0..x.ncols() {
                let d = x[[b, j]] - center[[g, j]];
                sums[[g, j]] += d;
                squares[[g, j]] += d * d;
            }
        });
    }

    fn moments(
        &self,
        mean: MatMut<Vec<T>>,
        inv_stds: MatMut<Vec<T>>,
        running_mean: MatMut<Vec<T>>,
        running_var: MatMut<Vec<T>>,
        sums: Mat<Vec<T>>,
        squares: Mat<Vec<T>>,
        groups: &Vec<u32>,
        eps: f64,
        momentum: f64,
    ) {
        let (mut mean, mut inv_stds) = (view_mut(mean), view_mut(inv_stds));
        let (mut running_mean, mut running_var) = (view_mut(running_mean), view_mut(running_var));
        let (sums, squares) = (view(sums), view(squares));
        let (keep, rest) = (T::of(momentum), T::of(1.0 - momentum));
        for ((g, j), mean) in mean.indexed_iter_mut() {
            let (n, at) = (rows_of::<T>(groups, g), [g, j]);
            let (running_mean, running_var) = (&mut running_mean[at], &mut running_var[at]);
            if n == T::zero() {
                *mean = *running_mean;
                inv_stds[at] = inv_std(*running_var, eps);
                continue;
            }
            let delta = sums[at] / n;
            let var = squares[at] / n - delta * delta;
            // NaN stays NaN.
            let var = if var < T::zero() { T::zero() } else { var };
            *mean = *running_mean + delta;
            inv_stds[at] = inv_std(var, eps);
            *running_mean = keep * *running_mean + rest * *mean;
            *running_var = keep * *running_var + rest * var;
        }
    }

    fn running_moments(
        &self,
        mean: MatMut<Vec<T>>,
        inv_stds: MatMut<Vec<T>>,
        running_mean: Mat<Vec<T>>,
        running_var: Mat<Vec<T>>,
        eps: f64,
    ) {
        view_mut(mean).assign(&view(running_mean));
        view_mut(inv_stds).zip_mut_with(&view(running_var), |inv, &var| *inv = inv_std(var, eps));
    }

    fn normalize(
        &self,
        x_hat: MatMut<Vec<T>>,
        x: Mat<Vec<T>>,
        mean: Mat<Vec<T>>,
        inv_std: Mat<Vec<T>>,
        groups: &Vec<u32>,
    ) {
        let (mut x_hat, x, mean, inv_std) = (view_mut(x_hat), view(x), view(mean), view(inv_std));
        each_row(groups, mean.nrows(), x.nrows(), |g, b| {
            for j in 0..x.ncols() {
                x_hat[[b, j]] = (x[[b, j]] - mean[[g, j]]) * inv_std[[g, j]];
            }
        });
    }

    fn affine(
        &self,
        y: MatMut<Vec<T>>,
        x: Mat<Vec<T>>,
        scale: Mat<Vec<T>>,
        shift: Mat<Vec<T>>,
        groups: &Vec<u32>,
    ) {
        let (mut y, x, scale, shift) = (view_mut(y), view(x), view(scale), view(shift));
        each_row(groups, scale.nrows(), x.nrows(), |g, b| {
            for j in 0..x.ncols() {
                y[[b, j]] = x[[b, j]] * scale[[g, j]] + shift[[g, j]];
            }
        });
    }

    fn norm_bwd(
        &self,
        d: MatMut<Vec<T>>,
        x_hat: Mat<Vec<T>>,
        gain: Mat<Vec<T>>,
        sum_d: Mat<Vec<T>>,
        sum_dx: Mat<Vec<T>>,
        groups: &Vec<u32>,
        batch: &Vec<u32>,
    ) {
        let (mut d, x_hat, gain) = (view_mut(d), view(x_hat), view(gain));
        let (sum_d, sum_dx) = (view(sum_d), view(sum_dx));
        each_row(groups, gain.nrows(), x_hat.nrows(), |g, b| {
            let n = rows_of::<T>(batch, g);
            for j in 0..x_hat.ncols() {
                let (at, of) = ([b, j], [g, j]);
                d[at] = gain[of] * (d[at] - sum_d[of] / n - x_hat[at] * (sum_dx[of] / n));
            }
        });
    }

    fn layer_norm(&self, x_hat: MatMut<Vec<T>>, inv_stds: MatMut<Vec<T>>, x: Mat<Vec<T>>, eps: f64) {
        let (mut x_hat, mut inv_stds, x) = (view_mut(x_hat), view_mut(inv_stds), view(x));
        assert_eq!((x_hat.dim(), inv_stds.dim()), (x.dim(), (x.nrows(), 1)), "shapes of x̂ and 1/σ");
        let n = T::of(x.ncols() as f64);
        for (b, x) in x.outer_iter().enumerate() {
            let mean = x.sum() / n;
            let inv = inv_std(x.fold(T::zero(), |sum, &x| sum + (x - mean) * (x - mean)) / n, eps);
            Zip::from(x_hat.row_mut(b)).and(x).for_each(|x_hat, &x| *x_hat = (x - mean) * inv);
            inv_stds[[b, 0]] = inv;
        }
    }

    fn layer_norm_bwd(&self, d: MatMut<Vec<T>>, x_hat: Mat<Vec<T>>, inv_std: Mat<Vec<T>>) {
        let (mut d, x_hat, inv_std) = (view_mut(d), view(x_hat), view(inv_std));
        assert_eq!((d.dim(), inv_std.dim()), (x_hat.dim(), (d.nrows(), 1)), "shapes of d and 1/σ");
        let n = T::of(d.ncols() as f64);
        for (b, x_hat) in x_hat.outer_iter().enumerate() {
            let (mut d, inv) = (d.row_mut(b), inv_std[[b, 0]]);
            let (mean, along) = (d.sum() / n, d.dot(&x_hat) / n);
            Zip::from(&mut d).and(x_hat).for_each(|d, &x| *d = inv * (*d - mean - x * along));
        }
    }
}

/// Calls `f(group, row)` for each of the rows that `groups` covers.
fn each_row(groups: &Vec<u32>, count: usize, rows: usize, mut f: impl FnMut(usize, usize)) {
    for (g, rows, ..) in pieces(Groups::Rows(groups), count, rows, 0, 0) {
        rows.for_each(|b| f(g, b));
    }
}

/// Rows of group `g`.
fn rows_of<T: Elem>(groups: &[u32], g: usize) -> T {
    T::of(f64::from(groups[g + 1] - groups[g]))
}

fn inv_std<T: Elem>(var: T, eps: f64) -> T {
    T::one() / (var + T::of(eps)).sqrt()
}

#[cfg(test)]
mod tests;
