//! A backend that computes nothing and counts the bytes that are allocated of it: what another backend would need.

mod ops;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::backend::{Mat, MatMut, Memory, Products, Write};
use crate::error::Result;
use crate::rounding::TableDtype;

/// How another backend cuts batches and stores weights: with the model, all that sizes depend on. A backend makes it
/// from the same constants and functions that it allocates by.
pub struct Sizes {
    /// Its name.
    pub name: String,
    /// [`Memory::lanes`].
    pub lanes: usize,
    /// [`Memory::min_lane_rows`].
    pub min_lane_rows: usize,
    /// [`Memory::block_rows`].
    pub block_rows: usize,
    /// [`Memory::fields_by_id`].
    pub fields_by_id: bool,
    /// Bytes of [`Memory::alloc_packed`].
    pub packed: PackedBytes,
}

impl fmt::Debug for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { name, lanes, min_lane_rows, block_rows, fields_by_id, packed: _ } = self;
        let mut f = f.debug_struct("Sizes");
        f.field("name", name).field("lanes", lanes).field("min_lane_rows", min_lane_rows);
        f.field("block_rows", block_rows).field("fields_by_id", fields_by_id).finish_non_exhaustive()
    }
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

impl Memory for Counting {
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
}
