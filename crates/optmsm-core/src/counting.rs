//! A backend that computes nothing and counts the bytes that are allocated of it: what another backend would need.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::backend::{
    Backend, Bags, Dropout, Epilogue, Layout, Mat, MatMut, Part, Products, Segments, TableStep, TableView,
    Write,
};
use crate::error::Result;
use crate::optim::Update;
use crate::rounding::TableDtype;

/// How another backend cuts batches and stores weights: with the model, all that sizes depend on. A backend makes it from the
/// same constants and functions that it allocates by.
pub struct Sizes {
    /// Its name.
    pub name: String,
    /// [`Backend::lanes`].
    pub lanes: usize,
    /// [`Backend::min_lane_rows`].
    pub min_lane_rows: usize,
    /// [`Backend::block_rows`].
    pub block_rows: usize,
    /// [`Backend::fields_by_id`].
    pub fields_by_id: bool,
    /// Bytes of [`Backend::alloc_packed`].
    pub packed: PackedBytes,
}

/// Bytes of packed weights, from groups, outputs, inputs and products.
pub type PackedBytes = Box<dyn Fn(usize, usize, usize, Products) -> usize + Send + Sync>;

/// The counting backend; clones count together. Its operations do nothing.
#[derive(Clone)]
pub struct Counting {
    sizes: Arc<Sizes>,
    live: Arc<AtomicUsize>,
}

/// Memory that is only counted, until it is dropped.
#[derive(Debug)]
pub struct Counted {
    len: usize,
    bytes: usize,
    live: Arc<AtomicUsize>,
}

/// Packed weights that are only counted.
#[derive(Debug)]
pub struct CountedWeights {
    shape: (usize, usize, usize),
    _memory: Counted,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.live.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} bytes of {}", self.bytes(), self.sizes.name)
    }
}

impl Counting {
    /// Counts what `sizes`'s backend would allocate.
    pub fn new(sizes: Sizes) -> Self {
        Self { sizes: Arc::new(sizes), live: Arc::default() }
    }

    /// Bytes that are allocated at the moment.
    pub fn bytes(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    fn take(&self, len: usize, bytes: usize) -> Counted {
        // More than the address space is as good as all of it: the sum must not wrap.
        let bytes = bytes.min(usize::MAX / (1 << 16));
        self.live.fetch_add(bytes, Ordering::Relaxed);
        Counted { len, bytes, live: Arc::clone(&self.live) }
    }
}

type Buf = Counted;

impl Backend for Counting {
    type Elem = f32;
    type Buf = Counted;
    type Ids = Counted;
    type Table = Counted;
    type Packed = CountedWeights;

    fn name(&self) -> String {
        format!("{}, counted", self.sizes.name)
    }
    fn lanes(&self) -> usize {
        self.sizes.lanes
    }
    fn min_lane_rows(&self) -> usize {
        self.sizes.min_lane_rows
    }
    fn block_rows(&self) -> usize {
        self.sizes.block_rows
    }
    fn fields_by_id(&self) -> bool {
        self.sizes.fields_by_id
    }
    fn for_lanes<L: Send>(&self, lanes: &mut [L], f: impl Fn(usize, &mut L) + Sync) {
        lanes.iter_mut().enumerate().for_each(|(i, lane)| f(i, lane));
    }

    fn alloc(&self, len: usize) -> Result<Counted> {
        Ok(self.take(len, len.saturating_mul(size_of::<f32>())))
    }
    fn alloc_ids(&self, len: usize) -> Result<Counted> {
        Ok(self.take(len, len.saturating_mul(size_of::<u32>())))
    }
    fn alloc_table(&self, rows: usize, width: usize, dtype: TableDtype) -> Result<Counted> {
        let len = rows.saturating_mul(width);
        Ok(self.take(len, len.saturating_mul(dtype.bytes())))
    }
    fn alloc_packed(
        &self,
        groups: usize,
        outputs: usize,
        inputs: usize,
        used: Products,
    ) -> Result<CountedWeights> {
        let bytes = (self.sizes.packed)(groups, outputs, inputs, used);
        Ok(CountedWeights { shape: (groups, outputs, inputs), _memory: self.take(0, bytes) })
    }
    fn packed_shape(&self, w: &CountedWeights) -> (usize, usize, usize) {
        w.shape
    }
    fn len(&self, buf: &Counted) -> usize {
        buf.len
    }

    // ---- nothing is computed

    fn upload_at(&self, _: &mut Buf, _: usize, _: &[f32]) {}
    fn upload_ids(&self, _: &mut Counted, _: &[u32]) {}
    fn download(&self, _: &mut [f32], _: &Buf, _: usize) -> Result<()> {
        Ok(())
    }
    fn fill(&self, _: MatMut<Buf>, _: f64) {}
    fn copy(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>) {}
    fn upload_rows(&self, _: &mut Counted, _: usize, _: &[f32]) {}
    fn download_rows(&self, _: &mut [f32], _: &Counted, _: usize) -> Result<()> {
        Ok(())
    }
    fn pack(&self, _: &mut CountedWeights, _: Mat<Buf>, _: Layout) {}
    fn linear(&self, _: MatMut<Buf>, _: Mat<Buf>, _: &CountedWeights, _: Part<Counted>, _: Epilogue<Buf>) {}
    fn linear_dx(
        &self,
        _: MatMut<Buf>,
        _: Write,
        _: Mat<Buf>,
        _: &CountedWeights,
        _: Part<Counted>,
        _: Option<Mat<Buf>>,
    ) {
    }
    fn linear_dw(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: Mat<Buf>, _: Part<Counted>) {}
    fn col_sum(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: Part<Counted>) {}
    fn col_dot(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: Mat<Buf>, _: Part<Counted>) {}
    fn relu(&self, _: MatMut<Buf>) {}
    fn relu_bwd(&self, _: MatMut<Buf>, _: Mat<Buf>) {}
    fn dropout(&self, _: MatMut<Buf>, _: &Dropout, _: &Counted, _: usize) {}
    fn row_scale(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: Mat<Buf>) {}
    fn row_dot(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: Mat<Buf>) {}
    fn mul(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: Mat<Buf>) {}
    fn add_row(&self, _: MatMut<Buf>, _: Mat<Buf>) {}
    fn sigmoid_gate(&self, _: MatMut<Buf>, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>) {}
    fn sigmoid_gate_bwd(
        &self,
        _: MatMut<Buf>,
        _: MatMut<Buf>,
        _: Write,
        _: Mat<Buf>,
        _: Mat<Buf>,
        _: Mat<Buf>,
    ) {
    }
    fn gather_rows(&self, _: MatMut<Buf>, _: Mat<Buf>, _: &Counted, _: usize) {}
    fn lookup(&self, _: MatMut<Buf>, _: TableView<Self>, _: &Counted, _: usize) {}
    fn lookup_bags(&self, _: MatMut<Buf>, _: TableView<Self>, _: Bags<Counted, Buf>, _: usize) {}
    fn numeric_embed(&self, _: MatMut<Buf>, _: Mat<Buf>, _: &Buf, _: usize) {}
    fn reduce_rows<'a>(
        &self,
        _: MatMut<Buf>,
        _: Segments<Counted, Buf>,
        _: usize,
        _: impl Fn(usize) -> Mat<'a, Buf> + Sync,
    ) {
    }
    fn linear_bwd_by_value<'a>(
        &self,
        _: MatMut<Buf>,
        _: MatMut<Buf>,
        _: Mat<Buf>,
        _: Mat<Buf>,
        _: Segments<Counted, Buf>,
        _: usize,
        _: impl Fn(usize) -> Mat<'a, Buf> + Sync,
    ) {
    }
    fn softmax(&self, _: MatMut<Buf>, _: Mat<Buf>) {}
    fn softmax_bwd(&self, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>) {}
    fn mix(&self, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>) {}
    fn mix_bwd(&self, _: MatMut<Buf>, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: Mat<Buf>, _: Mat<Buf>) {}
    fn select(&self, _: MatMut<Buf>, _: Mat<Buf>, _: &Counted) {}
    fn select_bwd(&self, _: MatMut<Buf>, _: Write, _: Mat<Buf>, _: &Counted) {}
    fn deviations(&self, _: MatMut<Buf>, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>, _: &Counted) {}
    fn moments(
        &self,
        _: MatMut<Buf>,
        _: MatMut<Buf>,
        _: MatMut<Buf>,
        _: MatMut<Buf>,
        _: Mat<Buf>,
        _: Mat<Buf>,
        _: &Counted,
        _: f64,
        _: f64,
    ) {
    }
    fn running_moments(&self, _: MatMut<Buf>, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>, _: f64) {}
    fn normalize(&self, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>, _: Mat<Buf>, _: &Counted) {}
    fn affine(&self, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>, _: Mat<Buf>, _: &Counted) {}
    fn norm_bwd(
        &self,
        _: MatMut<Buf>,
        _: Mat<Buf>,
        _: Mat<Buf>,
        _: Mat<Buf>,
        _: Mat<Buf>,
        _: &Counted,
        _: &Counted,
    ) {
    }
    fn orthogonality(&self, _: MatMut<Buf>, _: MatMut<Buf>, _: Mat<Buf>) {}
    fn orthogonality_bwd(&self, _: MatMut<Buf>, _: Mat<Buf>, _: Mat<Buf>, _: f64) {}
    fn bce_with_logits(
        &self,
        _: MatMut<Buf>,
        _: MatMut<Buf>,
        _: Mat<Buf>,
        _: &Buf,
        _: &Buf,
        _: usize,
        _: f64,
    ) {
    }
    fn sigmoid(&self, _: MatMut<Buf>, _: Mat<Buf>) {}
    fn accumulate<'a>(&self, _: &mut Buf, _: usize, _: impl Fn(usize) -> &'a Buf + Sync, _: Range<usize>) {}
    fn sum_sq(&self, _: &mut Buf, _: Write, _: &Buf, _: usize) {}
    fn step_dense(&self, _: &mut Buf, _: &Buf, _: &mut [Buf], _: usize, _: &Update<Buf>) {}
    fn average(&self, _: &mut Buf, _: &Buf, _: usize, _: f64) {}
    fn step_rows(&self, _: TableStep<Self>, _: &Update<Buf>) {}
    fn settle_rows(&self, _: &mut Counted, _: f64, _: Option<(&mut Counted, [f64; 2])>) {}
}
