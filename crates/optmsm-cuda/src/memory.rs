//! Buffers in device memory, shared with the queue that still may use them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use optmsm_core::backend::{Mat, MatMut};
use optmsm_core::rounding::TableDtype;

use crate::device::Device;
use crate::error::DeviceResult;
use crate::queue::Queue;
use crate::work::Region;

/// A device with its queue; buffers keep it alive.
#[derive(Debug)]
pub(crate) struct Shared<D: Device> {
    pub(crate) device: D,
    queue: Mutex<Queue>,
}

impl<D: Device> Shared<D> {
    pub(crate) fn new(device: D) -> Self {
        Self { device, queue: Mutex::default() }
    }

    /// The queue. What a panic leaves of a launch is not launched: the lock stays usable.
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `bytes` of memory.
    pub(crate) fn alloc(self: &Arc<Self>, bytes: usize) -> DeviceResult<Memory<D>> {
        let ptr = if bytes == 0 { 0 } else { self.queue().alloc(&self.device, bytes)? };
        Ok(Memory { shared: Arc::clone(self), ptr, bytes })
    }
}

impl<D: Device> Drop for Shared<D> {
    fn drop(&mut self) {
        let queue = self.queue.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The last buffer is gone: what is queued has no reader any more.
        queue.abandon(&self.device);
    }
}

/// An allocation.
pub(crate) struct Memory<D: Device> {
    pub(crate) shared: Arc<Shared<D>>,
    pub(crate) ptr: u64,
    pub(crate) bytes: usize,
}

impl<D: Device> fmt::Debug for Memory<D> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} bytes at {:#x}", self.bytes, self.ptr)
    }
}

impl<D: Device> Drop for Memory<D> {
    fn drop(&mut self) {
        if self.ptr != 0 {
            // Queued launches may use it: it is given back once they were submitted.
            self.shared.queue().retire(self.ptr);
        }
    }
}

/// Elements on a device.
#[derive(Debug)]
pub struct Buffer<D: Device, T> {
    pub(crate) memory: Arc<Memory<D>>,
    pub(crate) len: usize,
    element: std::marker::PhantomData<T>,
}

impl<D: Device, T> Buffer<D, T> {
    pub(crate) fn new(memory: Memory<D>, len: usize) -> Self {
        Self { memory: Arc::new(memory), len, element: std::marker::PhantomData }
    }

    /// Elements from `first` on.
    pub(crate) fn span(&self, first: usize, len: usize) -> Span<'_, D> {
        assert!(first + len <= self.len, "elements {first}+{len} of a buffer of {}", self.len);
        let size = size_of::<T>();
        Span::bytes(&self.memory, first * size, len * size)
    }
}

/// `f32` in device memory.
pub(crate) type Buf<D> = Buffer<D, f32>;
/// `u32` in device memory.
pub(crate) type Ids<D> = Buffer<D, u32>;
/// A matrix to read.
pub(crate) type M<'a, D> = Mat<'a, Buf<D>>;
/// A matrix to write.
pub(crate) type MM<'a, D> = MatMut<'a, Buf<D>>;

/// An embedding table on a device.
#[derive(Debug)]
pub struct Table<D: Device> {
    pub(crate) memory: Memory<D>,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) dtype: TableDtype,
}

impl<D: Device> Table<D> {
    /// Whether it is of the shape of `table`, in `f32`, as averages are.
    pub(crate) fn follows(&self, table: &Self) -> bool {
        self.dtype == TableDtype::F32 && (self.rows, self.width) == (table.rows, table.width)
    }

    /// All of it.
    pub(crate) fn span(&self) -> Span<'_, D> {
        Span::bytes(&self.memory, 0, self.memory.bytes)
    }
}

/// A part of an allocation, as a kernel's argument.
#[derive(Debug)]
pub(crate) struct Span<'a, D: Device> {
    memory: &'a Memory<D>,
    start: u64,
    end: u64,
    stride: u64,
    width: u64,
}

impl<D: Device> Clone for Span<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for Span<'_, D> {}

impl<'a, D: Device> Span<'a, D> {
    pub(crate) fn bytes(memory: &'a Memory<D>, start: usize, len: usize) -> Self {
        assert!(start + len <= memory.bytes, "bytes {start}+{len} of an allocation of {}", memory.bytes);
        Self { memory, start: start as u64, end: (start + len) as u64, stride: len as u64, width: len as u64 }
    }

    /// A matrix of `f32`. Its place is checked here, once for every kernel.
    pub(crate) fn mat(m: &Mat<'a, Buffer<D, f32>>) -> Self {
        let end = m.end();
        assert!(m.cols <= m.stride || m.rows <= 1, "{} columns with a stride of {}", m.cols, m.stride);
        assert!(end <= m.buf.len, "{}x{} at {} of {}", m.rows, m.cols, m.offset, m.buf.len);
        let of = |elements: usize| 4 * elements as u64;
        let memory = &*m.buf.memory;
        // Rows of no columns have no bytes: any stride will do.
        let stride = of(m.stride.max(1));
        Self { memory, start: of(m.offset.min(end)), end: of(end), stride, width: of(m.cols) }
    }

    pub(crate) fn mat_mut(m: &'a MatMut<'_, Buffer<D, f32>>) -> Self {
        Self::mat(&m.as_mat())
    }

    pub(crate) fn pointer(&self) -> u64 {
        self.memory.ptr + self.start
    }

    pub(crate) fn region(&self, write: bool) -> Region {
        let (base, Self { start, end, stride, width, .. }) = (self.memory.ptr, *self);
        Region { base, start, end, stride, width, write }
    }
}
