//! Normalization by group, timed.

use super::{Buf, Profiled, Work};
use crate::backend::{Backend, Mat, MatMut, Norm};

impl<B: Backend> Norm for Profiled<B> {
    fn deviations(
        &self,
        sums: MatMut<Buf<B>>,
        squares: MatMut<Buf<B>>,
        x: Mat<Buf<B>>,
        center: Mat<Buf<B>>,
        groups: &B::Ids,
    ) {
        self.time("deviations", Work::on(&x, 1), || self.inner.deviations(sums, squares, x, center, groups));
    }
    fn moments(
        &self,
        mean: MatMut<Buf<B>>,
        inv_std: MatMut<Buf<B>>,
        running_mean: MatMut<Buf<B>>,
        running_var: MatMut<Buf<B>>,
        sums: Mat<Buf<B>>,
        squares: Mat<Buf<B>>,
        groups: &B::Ids,
        eps: f64,
        momentum: f64,
    ) {
        self.time("moments", Work::on(&sums, 8), || {
            self.inner.moments(
                mean,
                inv_std,
                running_mean,
                running_var,
                sums,
                squares,
                groups,
                eps,
                momentum,
            );
        });
    }
    fn running_moments(
        &self,
        mean: MatMut<Buf<B>>,
        inv_std: MatMut<Buf<B>>,
        running_mean: Mat<Buf<B>>,
        running_var: Mat<Buf<B>>,
        eps: f64,
    ) {
        self.time("running_moments", Work::on(&running_mean, 4), || {
            self.inner.running_moments(mean, inv_std, running_mean, running_var, eps);
        });
    }
    fn normalize(
        &self,
        x_hat: MatMut<Buf<B>>,
        x: Mat<Buf<B>>,
        mean: Mat<Buf<B>>,
        inv_std: Mat<Buf<B>>,
        groups: &B::Ids,
    ) {
        self.time("normalize", Work::on(&x, 2), || self.inner.normalize(x_hat, x, mean, inv_std, groups));
    }
    fn affine(
        &self,
        y: MatMut<Buf<B>>,
        x: Mat<Buf<B>>,
        scale: Mat<Buf<B>>,
        shift: Mat<Buf<B>>,
        groups: &B::Ids,
    ) {
        self.time("affine", Work::on(&x, 2), || self.inner.affine(y, x, scale, shift, groups));
    }
    fn norm_bwd(
        &self,
        d: MatMut<Buf<B>>,
        x_hat: Mat<Buf<B>>,
        gain: Mat<Buf<B>>,
        sum_d: Mat<Buf<B>>,
        sum_dx: Mat<Buf<B>>,
        groups: &B::Ids,
        batch: &B::Ids,
    ) {
        self.time("norm_bwd", Work::on(&x_hat, 3), || {
            self.inner.norm_bwd(d, x_hat, gain, sum_d, sum_dx, groups, batch);
        });
    }
    fn layer_norm(&self, x_hat: MatMut<Buf<B>>, inv_std: MatMut<Buf<B>>, x: Mat<Buf<B>>, eps: f64) {
        self.time("layer_norm", Work::on(&x, 2), || self.inner.layer_norm(x_hat, inv_std, x, eps));
    }
    fn layer_norm_bwd(&self, d: MatMut<Buf<B>>, x_hat: Mat<Buf<B>>, inv_std: Mat<Buf<B>>) {
        self.time("layer_norm_bwd", Work::on(&x_hat, 3), || self.inner.layer_norm_bwd(d, x_hat, inv_std));
    }
}
