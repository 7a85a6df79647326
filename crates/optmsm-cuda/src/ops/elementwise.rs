//! Operations element by element, or row by row (kernels/elementwise.cu).

use optmsm_core::backend::{Dropout, Elementwise, Write};

use crate::cuda::Cuda;
use crate::device::Device;
use crate::kernels::Kernel;
use crate::memory::{Ids, M, MM, Span};
use crate::ops::memory::launch_copy;
use crate::ops::rows::{Quads, adds, expect_shape, grid_of, lanes_of};

impl<D: Device> Elementwise for Cuda<D> {
    fn relu(&self, y: MM<D>) {
        let Some(q) = Quads::over(y.rows, y.cols, [y.stride]) else { return };
        self.record()
            .launch(Kernel::Relu, q.grid(), 256)
            .write(Span::mat_mut(&y)) // float* y
            .size(q.strides[0]) // unsigned ld_y
            .size(q.count) // unsigned count
            .size(q.cols) // unsigned cols
            .go();
    }

    fn relu_bwd(&self, d: MM<D>, y: M<D>) {
        relu_bwd_to(self, &d.as_mat(), &d.as_mat(), &y);
    }

    fn relu_bwd_into(&self, out: MM<D>, d: M<D>, y: M<D>) {
        relu_bwd_to(self, &out.as_mat(), &d, &y);
    }

    fn leaky_relu(&self, y: MM<D>, slope: f64) {
        let Some(q) = Quads::over(y.rows, y.cols, [y.stride]) else { return };
        self.record()
            .launch(Kernel::LeakyRelu, q.grid(), 256)
            .write(Span::mat_mut(&y)) // float* y
            .size(q.strides[0]) // unsigned ld_y
            .size(q.count) // unsigned count
            .size(q.cols) // unsigned cols
            .f32(slope as f32) // float slope
            .go();
    }

    fn leaky_relu_bwd(&self, d: MM<D>, y: M<D>, slope: f64) {
        expect_shape("y", (y.rows, y.cols), (d.rows, d.cols));
        let Some(q) = Quads::over(d.rows, d.cols, [d.stride, y.stride]) else { return };
        self.record()
            .launch(Kernel::LeakyReluBwd, q.grid(), 256)
            .write(Span::mat_mut(&d)) // float* d
            .size(q.strides[0]) // unsigned ld_d
            .read(Span::mat(&y)) // const float* y
            .size(q.strides[1]) // unsigned ld_y
            .size(q.count) // unsigned count
            .size(q.cols) // unsigned cols
            .f32(slope as f32) // float slope
            .go();
    }

    fn dropout(&self, x: MM<D>, drop: &Dropout, rows: &Ids<D>, first: usize) {
        let Some(q) = Quads::by_row(x.rows, x.cols, [x.stride]) else { return };
        // Row 0 of quad 0: the rest of the counter, and the key, are the same for all.
        let ([_, _, site, step], [key0, key1]) = drop.counter(0, 0);
        self.record()
            .launch(Kernel::Dropout, q.grid(), 256)
            .write(Span::mat_mut(&x)) // float* x
            .size(q.strides[0]) // unsigned ld_x
            .read(rows.span(first, x.rows)) // const unsigned* rows
            .size(q.count) // unsigned count
            .size(q.cols) // unsigned cols
            .u32(site) // unsigned site
            .u32(step) // unsigned step
            .u32(key0) // unsigned key0
            .u32(key1) // unsigned key1
            .u32(drop.threshold()) // unsigned threshold
            .f32((1.0 / (1.0 - drop.p)) as f32) // float scale
            .go();
    }

    fn row_scale(&self, y: MM<D>, write: Write, s: M<D>, x: M<D>) {
        expect_shape("x", (x.rows, x.cols), (y.rows, y.cols));
        expect_shape("s", (s.rows, s.cols), (y.rows, 1));
        let Some(q) = Quads::by_row(y.rows, y.cols, [y.stride, s.stride, x.stride]) else { return };
        self.record()
            .launch(Kernel::RowScale, q.grid(), 256)
            .write(Span::mat_mut(&y)) // float* y
            .size(q.strides[0]) // unsigned ld_y
            .read(Span::mat(&s)) // const float* s
            .size(q.strides[1]) // unsigned ld_s
            .read(Span::mat(&x)) // const float* x
            .size(q.strides[2]) // unsigned ld_x
            .size(q.count) // unsigned count
            .size(q.cols) // unsigned cols
            .u32(adds(write)) // unsigned add
            .go();
    }

    fn row_dot(&self, out: MM<D>, write: Write, x: M<D>, y: M<D>) {
        expect_shape("y", (y.rows, y.cols), (x.rows, x.cols));
        expect_shape("the dot products", (out.rows, out.cols), (x.rows, 1));
        if x.rows == 0 {
            return;
        }
        let lanes = lanes_of(x.cols);
        self.record()
            .launch(Kernel::RowDot, grid_of(x.rows * lanes), 256)
            .write(Span::mat_mut(&out)) // float* out
            .size(out.stride) // unsigned ld_out
            .read(Span::mat(&x)) // const float* x
            .size(x.stride) // unsigned ld_x
            .read(Span::mat(&y)) // const float* y
            .size(y.stride) // unsigned ld_y
            .size(x.rows) // unsigned rows
            .size(x.cols) // unsigned cols
            .u32(adds(write)) // unsigned add
            .size(lanes) // unsigned lanes
            .go();
    }

    fn mul(&self, y: MM<D>, write: Write, x: M<D>, v: M<D>) {
        expect_shape("x", (x.rows, x.cols), (y.rows, y.cols));
        let one = v.rows == 1;
        expect_shape("v", (v.rows, v.cols), (if one { 1 } else { y.rows }, y.cols));
        let q = if one {
            Quads::by_row(y.rows, y.cols, [y.stride, x.stride, 0])
        } else {
            Quads::over(y.rows, y.cols, [y.stride, x.stride, v.stride])
        };
        let Some(q) = q else { return };
        self.record()
            .launch(Kernel::Mul, q.grid(), 256)
            .write(Span::mat_mut(&y)) // float* y
            .size(q.strides[0]) // unsigned ld_y
            .read(Span::mat(&x)) // const float* x
            .size(q.strides[1]) // unsigned ld_x
            .read(Span::mat(&v)) // const float* v
            .size(q.strides[2]) // unsigned ld_v
            .size(q.count) // unsigned count
            .size(q.cols) // unsigned cols
            .u32(adds(write)) // unsigned add
            .go();
    }

    // Copies a row again and again: its stride is 0.
    fn add_row(&self, y: MM<D>, v: M<D>) {
        expect_shape("v", (v.rows, v.cols), (1, y.cols));
        let Some(q) = Quads::by_row(y.rows, y.cols, [y.stride, 0]) else { return };
        launch_copy(self, &y, Write::Add, &v, &q);
    }

    fn sigmoid_gate(&self, y: MM<D>, g: MM<D>, x: M<D>, o: M<D>) {
        expect_shape("g", (g.rows, g.cols), (y.rows, y.cols));
        expect_shape("x", (x.rows, x.cols), (y.rows, y.cols));
        expect_shape("o", (o.rows, o.cols), (y.rows, y.cols));
        let strides = [y.stride, g.stride, x.stride, o.stride];
        let Some(q) = Quads::over(y.rows, y.cols, strides) else { return };
        self.record()
            .launch(Kernel::SigmoidGate, q.grid(), 256)
            .write(Span::mat_mut(&y)) // float* y
            .size(q.strides[0]) // unsigned ld_y
            .write(Span::mat_mut(&g)) // float* g
            .size(q.strides[1]) // unsigned ld_g
            .read(Span::mat(&x)) // const float* x
            .size(q.strides[2]) // unsigned ld_x
            .read(Span::mat(&o)) // const float* o
            .size(q.strides[3]) // unsigned ld_o
            .size(q.count) // unsigned count
            .size(q.cols) // unsigned cols
            .go();
    }

    fn sigmoid_gate_bwd(&self, d_o: MM<D>, d_x: MM<D>, write: Write, d_y: M<D>, x: M<D>, g: M<D>) {
        expect_shape("o's gradient", (d_o.rows, d_o.cols), (x.rows, x.cols));
        expect_shape("x's gradient", (d_x.rows, d_x.cols), (x.rows, x.cols));
        expect_shape("y's gradient", (d_y.rows, d_y.cols), (x.rows, x.cols));
        expect_shape("g", (g.rows, g.cols), (x.rows, x.cols));
        let strides = [d_o.stride, d_x.stride, d_y.stride, x.stride, g.stride];
        let Some(q) = Quads::over(x.rows, x.cols, strides) else { return };
        self.record()
            .launch(Kernel::SigmoidGateBwd, q.grid(), 256)
            .write(Span::mat_mut(&d_o)) // float* d_o
            .size(q.strides[0]) // unsigned ld_d_o
            .write(Span::mat_mut(&d_x)) // float* d_x
            .size(q.strides[1]) // unsigned ld_d_x
            .read(Span::mat(&d_y)) // const float* d_y
            .size(q.strides[2]) // unsigned ld_d_y
            .read(Span::mat(&x)) // const float* x
            .size(q.strides[3]) // unsigned ld_x
            .read(Span::mat(&g)) // const float* g
            .size(q.strides[4]) // unsigned ld_g
            .size(q.count) // unsigned count
            .size(q.cols) // unsigned cols
            .u32(adds(write)) // unsigned add
            .go();
    }
}

fn relu_bwd_to<D: Device>(cuda: &Cuda<D>, out: &M<D>, d: &M<D>, y: &M<D>) {
    expect_shape("d", (d.rows, d.cols), (out.rows, out.cols));
    expect_shape("y", (y.rows, y.cols), (out.rows, out.cols));
    let Some(q) = Quads::over(out.rows, out.cols, [out.stride, d.stride, y.stride]) else { return };
    cuda.record()
        .launch(Kernel::ReluBwd, q.grid(), 256)
        .write(Span::mat(out)) // float* out
        .size(q.strides[0]) // unsigned ld_out
        .read(Span::mat(d)) // const float* d
        .size(q.strides[1]) // unsigned ld_d
        .read(Span::mat(y)) // const float* y
        .size(q.strides[2]) // unsigned ld_y
        .size(q.count) // unsigned count
        .size(q.cols) // unsigned cols
        .go();
}
