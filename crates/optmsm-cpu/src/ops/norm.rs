//! Normalization by group, and of each row.

use optmsm_core::backend::{Groups, Memory, Norm, Write};

use super::{M, MM, each_group};
use crate::Cpu;
use crate::rows::{dot, put, row, row_mut, sum};

impl Norm for Cpu {
    fn deviations(&self, mut sums: MM, mut squares: MM, x: M, center: M, groups: &Vec<u32>) {
        expect_shape("the sum", &sums.as_mat(), center.rows, x.cols);
        expect_shape("the sum of squares", &squares.as_mat(), center.rows, x.cols);
        each_row(
            self,
            groups,
            center.rows,
            x.rows,
            #[inline(always)]
            |g, b| {
                let sums = row_mut(&mut sums, g).iter_mut().zip(row_mut(&mut squares, g));
                for ((sum, square), (x, c)) in sums.zip(row(&x, b).iter().zip(row(&center, g))) {
                    let d = x - c;
                    *sum += d;
                    *square += d * d;
                }
            },
        );
    }

    fn moments(
        &self,
        mut mean: MM,
        mut inv_stds: MM,
        mut running_mean: MM,
        mut running_var: MM,
        sums: M,
        squares: M,
        groups: &Vec<u32>,
        eps: f64,
        momentum: f64,
    ) {
        let (keep, rest) = (momentum as f32, (1.0 - momentum) as f32);
        for g in 0..mean.rows {
            let n = rows_of(groups, g);
            let (mean, inv_stds) = (row_mut(&mut mean, g), row_mut(&mut inv_stds, g));
            let (running_mean, running_var) = (row_mut(&mut running_mean, g), row_mut(&mut running_var, g));
            let (sums, squares) = (row(&sums, g), row(&squares, g));
            for j in 0..mean.len() {
                if n == 0.0 {
                    mean[j] = running_mean[j];
                    inv_stds[j] = inv_std(running_var[j], eps);
                    continue;
                }
                let delta = sums[j] / n;
                let var = squares[j] / n - delta * delta;
                // NaN stays NaN.
                let var = if var < 0.0 { 0.0 } else { var };
                mean[j] = running_mean[j] + delta;
                inv_stds[j] = inv_std(var, eps);
                running_mean[j] = keep * running_mean[j] + rest * mean[j];
                running_var[j] = keep * running_var[j] + rest * var;
            }
        }
    }

    fn running_moments(&self, mean: MM, mut inv_stds: MM, running_mean: M, running_var: M, eps: f64) {
        self.copy(mean, Write::Set, running_mean);
        for g in 0..running_var.rows {
            put(
                row_mut(&mut inv_stds, g),
                Write::Set,
                row(&running_var, g).iter().map(|&var| inv_std(var, eps)),
            );
        }
    }

    fn normalize(&self, mut x_hat: MM, x: M, mean: M, inv_std: M, groups: &Vec<u32>) {
        expect_shape("x̂", &x_hat.as_mat(), x.rows, x.cols);
        expect_shape("1/σ", &inv_std, mean.rows, x.cols);
        each_row(
            self,
            groups,
            mean.rows,
            x.rows,
            #[inline(always)]
            |g, b| {
                let by_group = row(&mean, g).iter().zip(row(&inv_std, g));
                let values = row(&x, b).iter().zip(by_group).map(|(x, (mean, inv))| (x - mean) * inv);
                put(row_mut(&mut x_hat, b), Write::Set, values);
            },
        );
    }

    fn affine(&self, mut y: MM, x: M, scale: M, shift: M, groups: &Vec<u32>) {
        expect_shape("y", &y.as_mat(), x.rows, x.cols);
        expect_shape("the shift", &shift, scale.rows, x.cols);
        each_row(
            self,
            groups,
            scale.rows,
            x.rows,
            #[inline(always)]
            |g, b| {
                let by_group = row(&scale, g).iter().zip(row(&shift, g));
                let values = row(&x, b).iter().zip(by_group).map(|(x, (scale, shift))| x * scale + shift);
                put(row_mut(&mut y, b), Write::Set, values);
            },
        );
    }

    fn norm_bwd(
        &self,
        mut d: MM,
        x_hat: M,
        gain: M,
        sum_d: M,
        sum_dx: M,
        groups: &Vec<u32>,
        batch: &Vec<u32>,
    ) {
        expect_shape("d", &d.as_mat(), x_hat.rows, x_hat.cols);
        expect_shape("the sum of d", &sum_d, gain.rows, x_hat.cols);
        expect_shape("the sum of d ⊙ x̂", &sum_dx, gain.rows, x_hat.cols);
        each_row(
            self,
            groups,
            gain.rows,
            x_hat.rows,
            #[inline(always)]
            |g, b| {
                let share = 1.0 / rows_of(batch, g);
                let sums = row(&sum_d, g).iter().zip(row(&sum_dx, g));
                let by_group = row(&gain, g).iter().zip(sums);
                for ((d, x), (gain, (sum_d, sum_dx))) in
                    row_mut(&mut d, b).iter_mut().zip(row(&x_hat, b)).zip(by_group)
                {
                    *d = gain * (*d - share * sum_d - x * (share * sum_dx));
                }
            },
        );
    }

    fn layer_norm(&self, mut x_hat: MM, mut inv_stds: MM, x: M, eps: f64) {
        expect_shape("x̂", &x_hat.as_mat(), x.rows, x.cols);
        expect_shape("1/σ", &inv_stds.as_mat(), x.rows, 1);
        let share = 1.0 / x.cols as f32;
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..x.rows {
                    let (x, x_hat) = (row(&x, b), row_mut(&mut x_hat, b));
                    let mean = share * sum(x);
                    put(x_hat, Write::Set, x.iter().map(|x| x - mean));
                    let inv = inv_std(share * dot(x_hat, x_hat), eps);
                    x_hat.iter_mut().for_each(|x| *x *= inv);
                    row_mut(&mut inv_stds, b)[0] = inv;
                }
            },
        );
    }

    fn layer_norm_bwd(&self, mut d: MM, x_hat: M, inv_std: M) {
        expect_shape("d", &d.as_mat(), x_hat.rows, x_hat.cols);
        expect_shape("1/σ", &inv_std, x_hat.rows, 1);
        let share = 1.0 / x_hat.cols as f32;
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..x_hat.rows {
                    let (d, x_hat, inv) = (row_mut(&mut d, b), row(&x_hat, b), row(&inv_std, b)[0]);
                    let (mean, along) = (share * sum(d), share * dot(d, x_hat));
                    d.iter_mut().zip(x_hat).for_each(|(d, x)| *d = inv * (*d - mean - x * along));
                }
            },
        );
    }
}

/// Calls `f(group, row)` for each of the rows that `groups` covers, compiled for the instruction set.
#[inline(always)]
fn each_row(cpu: &Cpu, groups: &Vec<u32>, count: usize, rows: usize, mut f: impl FnMut(usize, usize)) {
    each_group(Groups::Rows(groups), count, rows, |g, first, n| {
        cpu.isa.vectorise(
            #[inline(always)]
            || (first..first + n).for_each(|b| f(g, b)),
        );
    });
}

/// Panics unless `m` is `[rows, cols]`.
#[track_caller]
fn expect_shape(what: &str, m: &M, rows: usize, cols: usize) {
    assert!((m.rows, m.cols) == (rows, cols), "{what} is {}x{}, not {rows}x{cols}", m.rows, m.cols);
}

/// Rows of group `g`.
fn rows_of(groups: &[u32], g: usize) -> f32 {
    (groups[g + 1] - groups[g]) as f32
}

fn inv_std(var: f32, eps: f64) -> f32 {
    1.0 / (var + eps as f32).sqrt()
}
