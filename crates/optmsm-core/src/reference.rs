//! The definition of each operation: scalar loops, `f32` or `f64`, one thread.
//!
//! Every other backend is compared with this one; this one is compared with finite differences and with
//! PyTorch. It is written to be read, not to be fast.

mod dense;
mod elementwise;
mod embedding;
mod gate;
mod loss;
mod memory;
mod norm;
mod penalty;
mod table;
mod update;

use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};

use crate::backend::{Mat, MatMut, Write};
use crate::elem::Elem;

pub use dense::Packed;
pub use table::Table;

/// ε of the penalty (model.md §3): an expert's output is divided by its norm or by this, whichever is larger. A power
/// of two, so that 1 / ε is exact in every type.
pub const NORM_EPS: f64 = 1.0 / 1024.0;

/// Scalar loops over `Vec<T>`.
///
/// Runs a batch in one lane and one block unless [`Reference::with_lanes`] asks for more, which is how the
/// lanes of faster backends are checked in `f64`.
#[derive(Clone, Debug)]
pub struct Reference<T> {
    lanes: usize,
    block_rows: usize,
    fields_by_id: bool,
    elem: std::marker::PhantomData<T>,
}

impl<T: Elem> Default for Reference<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Elem> Reference<T> {
    /// One lane, one block.
    pub fn new() -> Self {
        Self::with_lanes(1, usize::MAX)
    }

    /// `lanes` accumulators and blocks of at most `block_rows` rows.
    pub fn with_lanes(lanes: usize, block_rows: usize) -> Self {
        assert!(lanes > 0 && block_rows > 0, "{lanes} lanes of {block_rows} rows");
        Self { lanes, block_rows, fields_by_id: true, elem: std::marker::PhantomData }
    }

    /// The same with [`Memory::fields_by_id`](crate::backend::Memory::fields_by_id) off, which needs one lane and one
    /// block.
    pub fn with_whole_fields(self) -> Self {
        Self { fields_by_id: false, ..self }
    }
}

fn view<'a, T>(m: Mat<'a, Vec<T>>) -> ArrayView2<'a, T> {
    let data = &m.buf[m.offset.min(m.buf.len())..];
    let view = match m.rows * m.cols {
        0 => ArrayView2::from_shape((m.rows, m.cols), &data[..0]),
        _ => ArrayView2::from_shape((m.rows, m.cols).strides((m.stride, 1)), data),
    };
    view.expect("invariant: a Mat lies inside its buffer")
}

fn view_mut<'a, T>(m: MatMut<'a, Vec<T>>) -> ArrayViewMut2<'a, T> {
    let start = m.offset.min(m.buf.len());
    let data = &mut m.buf[start..];
    let view = match m.rows * m.cols {
        0 => ArrayViewMut2::from_shape((m.rows, m.cols), &mut data[..0]),
        _ => ArrayViewMut2::from_shape((m.rows, m.cols).strides((m.stride, 1)), data),
    };
    view.expect("invariant: a MatMut lies inside its buffer")
}

fn put<T: Elem>(dst: &mut T, write: Write, v: T) {
    match write {
        Write::Set => *dst = v,
        Write::Add => *dst += v,
    }
}

/// max(v, 0), but NaN stays NaN: a diverged model must not look alive.
fn relu<T: Elem>(v: T) -> T {
    if v < T::zero() { T::zero() } else { v }
}

/// Σ x[b, x0 + q] · y[c, y0 + q] for q below n.
fn dot<T: Elem>(x: ArrayView2<T>, b: usize, x0: usize, y: ArrayView2<T>, c: usize, y0: usize, n: usize) -> T {
    (0..n).fold(T::zero(), |sum, q| sum + x[[b, x0 + q]] * y[[c, y0 + q]])
}
