//! Memory of a device, and how work runs on it.

use std::fmt::Debug;

use super::{Mat, MatMut, Products, Write};
use crate::elem::Elem;
use crate::error::Result;
use crate::rounding::TableDtype;

/// Memory of one device, with its element type, and the execution of work on it.
pub trait Memory: Send + Sync + Sized + 'static {
    /// Element type.
    type Elem: Elem;
    /// Memory of elements.
    type Buf: Send + Sync + Debug;
    /// Memory of `u32`.
    type Ids: Send + Sync + Debug;
    /// Embedding tables, which may be stored in a narrower type.
    type Table: Send + Sync + Debug;
    /// Weights of linear maps in the form that products read fastest, made once per step.
    type Packed: Send + Sync + Debug;
    /// Name with what was chosen at run time, for example `cpu (avx512, 2 threads)`.
    fn name(&self) -> String;
    /// Number of gradient accumulators. Fixed for a backend, never the number of threads, so that results
    /// do not depend on it.
    fn lanes(&self) -> usize;
    /// Fewest rows that are worth a second lane, at least 1. Fixed for a backend, as [`Memory::lanes`]; a
    /// batch of at most that many rows uses one lane.
    fn min_lane_rows(&self) -> usize {
        1
    }
    /// Most rows that one block of a lane takes through the model at a time.
    fn block_rows(&self) -> usize;
    /// Unit roundoff of the type that both operands of a product may be rounded to before they are multiplied: 2⁻¹¹ for
    /// tf32, 2⁻⁸ for bf16, 0 where all are multiplied as they are. Products are [`Dense::linear`](super::Dense::linear),
    /// [`Dense::linear_dx`](super::Dense::linear_dx), [`Dense::linear_dw`](super::Dense::linear_dw) and the two of
    /// [`Embedding::linear_bwd_by_value`](super::Embedding::linear_bwd_by_value); they are summed in [`Memory::Elem`]
    /// in any case.
    fn product_rounding(&self) -> f64 {
        0.0
    }
    /// Whether gradients of fields are made from the distinct ids of a batch (docs/derivations.md#fields) and not from
    /// its rows. Rows pay where products are nearly free and sums over rows are not; a backend that answers `false`
    /// has one lane, and takes a whole batch in one block.
    fn fields_by_id(&self) -> bool {
        true
    }
    /// Runs `f`, a whole training step, where operations start fastest, for example on a worker thread.
    fn run_step<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        f()
    }
    /// Runs `f` once for every lane, in any order or at the same time; a single lane on the calling thread.
    fn for_lanes<L: Send>(&self, lanes: &mut [L], f: impl Fn(usize, &mut L) + Sync);
    /// `len` zeros; writing them may be queued.
    ///
    /// # Errors
    /// When memory is short.
    fn alloc(&self, len: usize) -> Result<Self::Buf>;
    /// `len` zeros, as [`Memory::alloc`].
    fn alloc_ids(&self, len: usize) -> Result<Self::Ids>;
    /// Elements that a buffer holds.
    fn len(&self, buf: &Self::Buf) -> usize;
    /// Copies `src` to the elements of `dst` from `offset` on, which are at least as many. May be queued behind
    /// earlier work; `src` may change as soon as this returns.
    fn upload_at(&self, dst: &mut Self::Buf, offset: usize, src: &[Self::Elem]);
    /// Copies `src` to the start of `dst`, as [`Memory::upload_at`].
    fn upload(&self, dst: &mut Self::Buf, src: &[Self::Elem]) {
        self.upload_at(dst, 0, src);
    }
    /// Copies `src` to the start of `dst`, as [`Memory::upload`].
    fn upload_ids(&self, dst: &mut Self::Ids, src: &[u32]);
    /// Copies `dst.len()` elements from `offset` on, after all queued work; the place where errors of a device surface.
    fn download(&self, dst: &mut [Self::Elem], src: &Self::Buf, offset: usize) -> Result<()>;
    /// Sets every element.
    fn fill(&self, dst: MatMut<Self::Buf>, v: f64);
    /// dst ← src, or dst += src; equal shapes.
    fn copy(&self, dst: MatMut<Self::Buf>, write: Write, src: Mat<Self::Buf>);
    /// `rows` zero rows of `width` elements that are stored as `dtype`; writing them may be queued. Tables are too
    /// large for a second copy, so rows come and go in pieces.
    ///
    /// # Errors
    /// When memory is short, with what is needed.
    fn alloc_table(&self, rows: usize, width: usize, dtype: TableDtype) -> Result<Self::Table>;
    /// Replaces the rows from `first` on by `src`, row after row, each element by [`TableDtype::nearest`].
    /// May be queued, as [`Memory::upload`].
    fn upload_rows(&self, dst: &mut Self::Table, first: usize, src: &[Self::Elem]);
    /// Copies the rows from `first` on that fill `dst`, after all queued work.
    fn download_rows(&self, dst: &mut [Self::Elem], src: &Self::Table, first: usize) -> Result<()>;
    /// Room for `groups` weights of `inputs → outputs`, which only the products `used` will read.
    fn alloc_packed(
        &self,
        groups: usize,
        outputs: usize,
        inputs: usize,
        used: Products,
    ) -> Result<Self::Packed>;
    /// Groups, outputs and inputs of a packed weight.
    fn packed_shape(&self, w: &Self::Packed) -> (usize, usize, usize);
}
