//! Element by element, or row by row (kernels/elementwise.cu).

use optmsm_core::backend::Write;

use crate::Cuda;
use crate::backend::{M, MM};
use crate::device::Device;
use crate::kernels::Kernel;
use crate::memory::Span;

/// How an element-wise kernel cuts its matrices, which are `N`: a thread takes four columns of a row.
pub(crate) struct Quads<const N: usize> {
    /// Quads of all rows.
    pub(crate) count: usize,
    /// Columns of a row.
    pub(crate) cols: usize,
    /// Elements from row to row of each matrix.
    pub(crate) strides: [usize; N],
}

impl<const N: usize> Quads<N> {
    /// For matrices of `rows` rows and `cols` columns; `None` where they have no elements. Rows without gaps make one.
    pub(crate) fn over(rows: usize, cols: usize, strides: [usize; N]) -> Option<Self> {
        let len = rows * cols;
        if len == 0 {
            return None;
        }
        if rows == 1 || (strides.iter().all(|&s| s == cols) && u32::try_from(len).is_ok()) {
            return Some(Self { count: len.div_ceil(4), cols: len, strides: [0; N] });
        }
        Self::by_row(rows, cols, strides)
    }

    /// The same for kernels to which rows are not alike.
    pub(crate) fn by_row(rows: usize, cols: usize, strides: [usize; N]) -> Option<Self> {
        (rows * cols > 0).then(|| Self { count: rows * cols.div_ceil(4), cols, strides })
    }

    /// One thread a quad.
    pub(crate) fn grid(&self) -> [usize; 3] {
        grid_of(self.count)
    }
}

/// Blocks of 256 threads for `threads` threads.
pub(crate) fn grid_of(threads: usize) -> [usize; 3] {
    [threads.div_ceil(256), 1, 1]
}

/// Lanes that share a row of `width` columns, four a lane at a time: those that would have nothing to do take another row.
pub(crate) fn lanes_of(width: usize) -> usize {
    match width {
        0..=32 => 8,
        33..=64 => 16,
        _ => 32,
    }
}

/// Panics where a matrix is not as large as the operation's others say.
#[track_caller]
pub(crate) fn expect_shape(what: &str, is: (usize, usize), should: (usize, usize)) {
    assert!(is == should, "{what} is {}x{}, not {}x{}", is.0, is.1, should.0, should.1);
}

/// Whether a kernel adds, as its `unsigned add`.
pub(crate) fn adds(write: Write) -> u32 {
    u32::from(write == Write::Add)
}

pub(crate) fn fill<D: Device>(cuda: &Cuda<D>, dst: MM<D>, v: f32) {
    let Some(q) = Quads::over(dst.rows, dst.cols, [dst.stride]) else { return };
    cuda.session()
        .launch(Kernel::Fill, q.grid(), 256)
        .write(Span::mat_mut(&dst)) // float* dst
        .size(q.strides[0]) // unsigned ld_dst
        .size(q.count) // unsigned count
        .size(q.cols) // unsigned cols
        .f32(v) // float v
        .go();
}

pub(crate) fn copy<D: Device>(cuda: &Cuda<D>, dst: MM<D>, write: Write, src: M<D>) {
    expect_shape("what is copied", (src.rows, src.cols), (dst.rows, dst.cols));
    let Some(q) = Quads::over(dst.rows, dst.cols, [dst.stride, src.stride]) else { return };
    launch_copy(cuda, &dst, write, &src, &q);
}

fn launch_copy<D: Device>(cuda: &Cuda<D>, dst: &MM<D>, write: Write, src: &M<D>, q: &Quads<2>) {
    cuda.session()
        .launch(Kernel::Copy, q.grid(), 256)
        .write(Span::mat_mut(dst)) // float* dst
        .size(q.strides[0]) // unsigned ld_dst
        .read(Span::mat(src)) // const float* src
        .size(q.strides[1]) // unsigned ld_src
        .size(q.count) // unsigned count
        .size(q.cols) // unsigned cols
        .u32(adds(write)) // unsigned add
        .go();
}

pub(crate) fn relu<D: Device>(cuda: &Cuda<D>, y: MM<D>) {
    let Some(q) = Quads::over(y.rows, y.cols, [y.stride]) else { return };
    cuda.session()
        .launch(Kernel::Relu, q.grid(), 256)
        .write(Span::mat_mut(&y)) // float* y
        .size(q.strides[0]) // unsigned ld_y
        .size(q.count) // unsigned count
        .size(q.cols) // unsigned cols
        .go();
}

pub(crate) fn relu_bwd<D: Device>(cuda: &Cuda<D>, d: MM<D>, y: M<D>) {
    relu_bwd_to(cuda, &d.as_mat(), &d.as_mat(), &y);
}

pub(crate) fn relu_bwd_into<D: Device>(cuda: &Cuda<D>, out: MM<D>, d: M<D>, y: M<D>) {
    relu_bwd_to(cuda, &out.as_mat(), &d, &y);
}

fn relu_bwd_to<D: Device>(cuda: &Cuda<D>, out: &M<D>, d: &M<D>, y: &M<D>) {
    expect_shape("d", (d.rows, d.cols), (out.rows, out.cols));
    expect_shape("y", (y.rows, y.cols), (out.rows, out.cols));
    let Some(q) = Quads::over(out.rows, out.cols, [out.stride, d.stride, y.stride]) else { return };
    cuda.session()
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

pub(crate) fn row_scale<D: Device>(cuda: &Cuda<D>, y: MM<D>, write: Write, s: M<D>, x: M<D>) {
    expect_shape("x", (x.rows, x.cols), (y.rows, y.cols));
    expect_shape("s", (s.rows, s.cols), (y.rows, 1));
    let Some(q) = Quads::by_row(y.rows, y.cols, [y.stride, s.stride, x.stride]) else { return };
    cuda.session()
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

pub(crate) fn row_dot<D: Device>(cuda: &Cuda<D>, out: MM<D>, write: Write, x: M<D>, y: M<D>) {
    expect_shape("y", (y.rows, y.cols), (x.rows, x.cols));
    expect_shape("the dot products", (out.rows, out.cols), (x.rows, 1));
    if x.rows == 0 {
        return;
    }
    let lanes = lanes_of(x.cols);
    cuda.session()
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

pub(crate) fn mul<D: Device>(cuda: &Cuda<D>, y: MM<D>, write: Write, x: M<D>, v: M<D>) {
    expect_shape("x", (x.rows, x.cols), (y.rows, y.cols));
    let one = v.rows == 1;
    expect_shape("v", (v.rows, v.cols), (if one { 1 } else { y.rows }, y.cols));
    let q = if one {
        Quads::by_row(y.rows, y.cols, [y.stride, x.stride, 0])
    } else {
        Quads::over(y.rows, y.cols, [y.stride, x.stride, v.stride])
    };
    let Some(q) = q else { return };
    cuda.session()
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

/// Copies a row again and again: its stride is 0.
pub(crate) fn add_row<D: Device>(cuda: &Cuda<D>, y: MM<D>, v: M<D>) {
    expect_shape("v", (v.rows, v.cols), (1, y.cols));
    let Some(q) = Quads::by_row(y.rows, y.cols, [y.stride, 0]) else { return };
    launch_copy(cuda, &y, Write::Add, &v, &q);
}

pub(crate) fn sigmoid_gate<D: Device>(cuda: &Cuda<D>, y: MM<D>, g: MM<D>, x: M<D>, o: M<D>) {
    expect_shape("g", (g.rows, g.cols), (y.rows, y.cols));
    expect_shape("x", (x.rows, x.cols), (y.rows, y.cols));
    expect_shape("o", (o.rows, o.cols), (y.rows, y.cols));
    let strides = [y.stride, g.stride, x.stride, o.stride];
    let Some(q) = Quads::over(y.rows, y.cols, strides) else { return };
    cuda.session()
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

pub(crate) fn sigmoid_gate_bwd<D: Device>(
    cuda: &Cuda<D>,
    d_o: MM<D>,
    d_x: MM<D>,
    write: Write,
    d_y: M<D>,
    x: M<D>,
    g: M<D>,
) {
    expect_shape("o's gradient", (d_o.rows, d_o.cols), (x.rows, x.cols));
    expect_shape("x's gradient", (d_x.rows, d_x.cols), (x.rows, x.cols));
    expect_shape("y's gradient", (d_y.rows, d_y.cols), (x.rows, x.cols));
    expect_shape("g", (g.rows, g.cols), (x.rows, x.cols));
    let strides = [d_o.stride, d_x.stride, d_y.stride, x.stride, g.stride];
    let Some(q) = Quads::over(x.rows, x.cols, strides) else { return };
    cuda.session()
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
