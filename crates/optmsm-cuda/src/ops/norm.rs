//! Normalization by group and of each row (kernels/norm.cu): statistics `[G, n]` or `[B, 1]`, rows `[B, n]`.

use optmsm_core::backend::{Groups, Norm, Write};

use crate::cuda::Cuda;
use crate::device::Device;
use crate::kernels::Kernel;
use crate::memory::{Ids, M, MM, Span};
use crate::ops::reduce::by_column;
use crate::ops::rows::{Quads, expect_shape, grid_of};

impl<D: Device> Norm for Cuda<D> {
    fn deviations(&self, sums: MM<D>, squares: MM<D>, x: M<D>, center: M<D>, groups: &Ids<D>) {
        expect_shape("the sum", (sums.rows, sums.cols), (center.rows, x.cols));
        expect_shape("the sum of squares", (squares.rows, squares.cols), (center.rows, x.cols));
        expect_shape("the center", (center.rows, center.cols), (center.rows, x.cols));
        let (out, by) = ([sums, squares], Groups::Rows(groups));
        by_column(self, out, Write::Add, x.rows, by, Kernel::DeviationsParts, |launch| {
            launch
                .read(Span::mat(&x)) // const float* x
                .size(x.stride) // unsigned ld_x
                .read(Span::mat(&center)) // const float* center
                .size(center.stride) // unsigned ld_center
        });
    }

    fn moments(
        &self,
        mean: MM<D>,
        inv_std: MM<D>,
        running_mean: MM<D>,
        running_var: MM<D>,
        sums: M<D>,
        squares: M<D>,
        groups: &Ids<D>,
        eps: f64,
        momentum: f64,
    ) {
        let (rows, cols) = (mean.rows, mean.cols);
        expect_shape("1/σ", (inv_std.rows, inv_std.cols), (rows, cols));
        expect_shape("the running mean", (running_mean.rows, running_mean.cols), (rows, cols));
        expect_shape("the running variance", (running_var.rows, running_var.cols), (rows, cols));
        expect_shape("the sum", (sums.rows, sums.cols), (rows, cols));
        expect_shape("the sum of squares", (squares.rows, squares.cols), (rows, cols));
        if rows * cols == 0 {
            return;
        }
        self.record()
            .launch(Kernel::Moments, grid_of(rows * cols), 256)
            .write(Span::mat_mut(&mean)) // float* mean
            .size(mean.stride) // unsigned ld_mean
            .write(Span::mat_mut(&inv_std)) // float* inv_std
            .size(inv_std.stride) // unsigned ld_inv_std
            .write(Span::mat_mut(&running_mean)) // float* running_mean
            .size(running_mean.stride) // unsigned ld_running_mean
            .write(Span::mat_mut(&running_var)) // float* running_var
            .size(running_var.stride) // unsigned ld_running_var
            .read(Span::mat(&sums)) // const float* sums
            .size(sums.stride) // unsigned ld_sums
            .read(Span::mat(&squares)) // const float* squares
            .size(squares.stride) // unsigned ld_squares
            .read(groups.span(0, rows + 1)) // const unsigned* offsets
            .size(rows) // unsigned groups
            .size(cols) // unsigned cols
            .f32(eps as f32) // float eps
            .f32(momentum as f32) // float keep
            .f32((1.0 - momentum) as f32) // float rest
            .go();
    }

    fn running_moments(&self, mean: MM<D>, inv_std: MM<D>, running_mean: M<D>, running_var: M<D>, eps: f64) {
        let (rows, cols) = (mean.rows, mean.cols);
        expect_shape("1/σ", (inv_std.rows, inv_std.cols), (rows, cols));
        expect_shape("the running mean", (running_mean.rows, running_mean.cols), (rows, cols));
        expect_shape("the running variance", (running_var.rows, running_var.cols), (rows, cols));
        if rows * cols == 0 {
            return;
        }
        // Without groups no group has rows: running statistics are only read.
        self.record()
            .launch(Kernel::Moments, grid_of(rows * cols), 256)
            .write(Span::mat_mut(&mean)) // float* mean
            .size(mean.stride) // unsigned ld_mean
            .write(Span::mat_mut(&inv_std)) // float* inv_std
            .size(inv_std.stride) // unsigned ld_inv_std
            .read(Span::mat(&running_mean)) // float* running_mean
            .size(running_mean.stride) // unsigned ld_running_mean
            .read(Span::mat(&running_var)) // float* running_var
            .size(running_var.stride) // unsigned ld_running_var
            .read_or_null::<D>(None) // const float* sums
            .size(0) // unsigned ld_sums
            .read_or_null::<D>(None) // const float* squares
            .size(0) // unsigned ld_squares
            .read_or_null::<D>(None) // const unsigned* offsets
            .size(rows) // unsigned groups
            .size(cols) // unsigned cols
            .f32(eps as f32) // float eps
            .f32(0.0) // float keep
            .f32(0.0) // float rest
            .go();
    }

    fn normalize(&self, x_hat: MM<D>, x: M<D>, mean: M<D>, inv_std: M<D>, groups: &Ids<D>) {
        by_row(self, Kernel::Normalize, x_hat, x, [mean, inv_std], groups);
    }

    fn affine(&self, y: MM<D>, x: M<D>, scale: M<D>, shift: M<D>, groups: &Ids<D>) {
        by_row(self, Kernel::Affine, y, x, [scale, shift], groups);
    }

    fn norm_bwd(
        &self,
        d: MM<D>,
        x_hat: M<D>,
        gain: M<D>,
        sum_d: M<D>,
        sum_dx: M<D>,
        groups: &Ids<D>,
        batch: &Ids<D>,
    ) {
        let count = gain.rows;
        expect_shape("d", (d.rows, d.cols), (x_hat.rows, x_hat.cols));
        expect_shape("the gain", (gain.rows, gain.cols), (count, x_hat.cols));
        expect_shape("the sum of d", (sum_d.rows, sum_d.cols), (count, x_hat.cols));
        expect_shape("the sum of d ⊙ x̂", (sum_dx.rows, sum_dx.cols), (count, x_hat.cols));
        let strides = [d.stride, x_hat.stride, gain.stride, sum_d.stride, sum_dx.stride];
        let Some(q) = Quads::by_row(d.rows, d.cols, strides) else { return };
        self.record()
            .launch(Kernel::NormBwd, q.grid(), 256)
            .write(Span::mat_mut(&d)) // float* d
            .size(q.strides[0]) // unsigned ld_d
            .read(Span::mat(&x_hat)) // const float* x_hat
            .size(q.strides[1]) // unsigned ld_x_hat
            .read(Span::mat(&gain)) // const float* gain
            .size(q.strides[2]) // unsigned ld_gain
            .read(Span::mat(&sum_d)) // const float* sum_d
            .size(q.strides[3]) // unsigned ld_sum_d
            .read(Span::mat(&sum_dx)) // const float* sum_dx
            .size(q.strides[4]) // unsigned ld_sum_dx
            .read(groups.span(0, count + 1)) // const unsigned* offsets
            .read(batch.span(0, count + 1)) // const unsigned* batch
            .size(count) // unsigned groups
            .size(q.count) // unsigned count
            .size(q.cols) // unsigned cols
            .go();
    }

    fn layer_norm(&self, x_hat: MM<D>, inv_std: MM<D>, x: M<D>, eps: f64) {
        expect_shape("x̂", (x_hat.rows, x_hat.cols), (x.rows, x.cols));
        expect_shape("1/σ", (inv_std.rows, inv_std.cols), (x.rows, 1));
        if x.rows * x.cols == 0 {
            return;
        }
        self.record()
            .launch(Kernel::LayerNorm, grid_of(x.rows * 32), 256)
            .write(Span::mat_mut(&x_hat)) // float* x_hat
            .size(x_hat.stride) // unsigned ld_x_hat
            .write(Span::mat_mut(&inv_std)) // float* inv_std
            .size(inv_std.stride) // unsigned ld_inv_std
            .read(Span::mat(&x)) // const float* x
            .size(x.stride) // unsigned ld_x
            .size(x.rows) // unsigned rows
            .size(x.cols) // unsigned cols
            .f32(eps as f32) // float eps
            .go();
    }

    fn layer_norm_bwd(&self, d: MM<D>, x_hat: M<D>, inv_std: M<D>) {
        expect_shape("d", (d.rows, d.cols), (x_hat.rows, x_hat.cols));
        expect_shape("1/σ", (inv_std.rows, inv_std.cols), (x_hat.rows, 1));
        if d.rows * d.cols == 0 {
            return;
        }
        self.record()
            .launch(Kernel::LayerNormBwd, grid_of(d.rows * 32), 256)
            .write(Span::mat_mut(&d)) // float* d
            .size(d.stride) // unsigned ld_d
            .read(Span::mat(&x_hat)) // const float* x_hat
            .size(x_hat.stride) // unsigned ld_x_hat
            .read(Span::mat(&inv_std)) // const float* inv_std
            .size(inv_std.stride) // unsigned ld_inv_std
            .size(d.rows) // unsigned rows
            .size(d.cols) // unsigned cols
            .go();
    }
}

/// Rows of x to rows of y by two numbers for each group and column.
fn by_row<D: Device>(cuda: &Cuda<D>, kernel: Kernel, y: MM<D>, x: M<D>, [a, b]: [M<D>; 2], groups: &Ids<D>) {
    expect_shape("the result", (y.rows, y.cols), (x.rows, x.cols));
    expect_shape("the first of the groups' numbers", (a.rows, a.cols), (a.rows, x.cols));
    expect_shape("the second of the groups' numbers", (b.rows, b.cols), (a.rows, x.cols));
    let Some(q) = Quads::by_row(x.rows, x.cols, [y.stride, x.stride, a.stride, b.stride]) else { return };
    cuda.record()
        .launch(kernel, q.grid(), 256)
        .write(Span::mat_mut(&y)) // float* y
        .size(q.strides[0]) // unsigned ld_y
        .read(Span::mat(&x)) // const float* x
        .size(q.strides[1]) // unsigned ld_x
        .read(Span::mat(&a)) // const float* mean, or scale
        .size(q.strides[2]) // unsigned ld_mean, or ld_scale
        .read(Span::mat(&b)) // const float* inv_std, or shift
        .size(q.strides[3]) // unsigned ld_inv_std, or ld_shift
        .read(groups.span(0, a.rows + 1)) // const unsigned* offsets
        .size(a.rows) // unsigned groups
        .size(q.count) // unsigned count
        .size(q.cols) // unsigned cols
        .go();
}
