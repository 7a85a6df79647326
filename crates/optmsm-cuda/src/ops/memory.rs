//! Memory and its way to and from the device (kernels/memory.cu).

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use optmsm_core::backend::{self, Products, Write};
use optmsm_core::error::Result;
use optmsm_core::rounding::TableDtype;

use crate::cuda::{BLOCK_ROWS, Cuda, FIELDS_BY_ID, LANES};
use crate::device::Device;
use crate::error::CudaError;
use crate::kernels::Kernel;
use crate::memory::{Buf, Buffer, Ids, M, MM, Memory, Span, Table};
use crate::ops::dense::Packed;
use crate::ops::rows::{Quads, adds, expect_shape};

/// Bytes of numbers that have no padding.
///
/// # Safety
/// Implemented for primitive numbers only.
pub(crate) unsafe trait Number: Copy {}

// SAFETY: primitive numbers.
unsafe impl Number for f32 {}

// SAFETY: as above.
unsafe impl Number for u32 {}

// SAFETY: as above.
unsafe impl Number for u16 {}

impl<D: Device> Table<D> {
    /// The elements from row `first` on.
    fn elements(&self, first: usize, len: usize) -> Span<'_, D> {
        assert!(first * self.width + len <= self.rows * self.width, "{len} elements from row {first} on");
        let size = self.dtype.bytes();
        Span::bytes(&self.memory, first * self.width * size, len * size)
    }
}

impl<D: Device> backend::Memory for Cuda<D> {
    type Elem = f32;
    type Buf = Buf<D>;
    type Ids = Ids<D>;
    type Table = Table<D>;
    type Packed = Packed<D>;

    fn name(&self) -> String {
        format!("cuda ({}, {})", self.device().name(), self.precision.name())
    }

    fn lanes(&self) -> usize {
        LANES
    }

    fn block_rows(&self) -> usize {
        BLOCK_ROWS
    }

    fn product_rounding(&self) -> f64 {
        self.precision.rounding()
    }

    fn fields_by_id(&self) -> bool {
        FIELDS_BY_ID
    }

    fn run_step<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let result = f();
        self.submit();
        result
    }

    fn for_lanes<L: Send>(&self, lanes: &mut [L], f: impl Fn(usize, &mut L) + Sync) {
        lanes.iter_mut().enumerate().for_each(|(i, lane)| f(i, lane));
    }

    fn alloc(&self, len: usize) -> Result<Buf<D>> {
        zeros(self, len)
    }

    fn alloc_ids(&self, len: usize) -> Result<Ids<D>> {
        zeros(self, len)
    }

    fn len(&self, buf: &Buf<D>) -> usize {
        buf.len
    }

    fn upload_at(&self, dst: &mut Buf<D>, offset: usize, src: &[f32]) {
        upload(self, dst, offset, src);
    }

    fn upload_ids(&self, dst: &mut Ids<D>, src: &[u32]) {
        upload(self, dst, 0, src);
    }

    fn download(&self, dst: &mut [f32], src: &Buf<D>, offset: usize) -> Result<()> {
        let from = src.span(offset, dst.len());
        self.read(bytes_mut(dst), from.pointer())
    }

    fn fill(&self, dst: MM<D>, v: f64) {
        let Some(q) = Quads::over(dst.rows, dst.cols, [dst.stride]) else { return };
        self.record()
            .launch(Kernel::Fill, q.grid(), 256)
            .write(Span::mat_mut(&dst)) // float* dst
            .size(q.strides[0]) // unsigned ld_dst
            .size(q.count) // unsigned count
            .size(q.cols) // unsigned cols
            .f32(v as f32) // float v
            .go();
    }

    fn copy(&self, dst: MM<D>, write: Write, src: M<D>) {
        expect_shape("what is copied", (src.rows, src.cols), (dst.rows, dst.cols));
        let Some(q) = Quads::over(dst.rows, dst.cols, [dst.stride, src.stride]) else { return };
        launch_copy(self, &dst, write, &src, &q);
    }

    fn alloc_table(&self, rows: usize, width: usize, dtype: TableDtype) -> Result<Table<D>> {
        table(self, rows, width, dtype)
    }

    fn upload_rows(&self, dst: &mut Table<D>, first: usize, src: &[f32]) {
        let to = dst.elements(first, src.len());
        // Rounded here as `TableDtype::nearest` does.
        match dst.dtype {
            TableDtype::F32 => upload_bytes(self, to, bytes(src)),
            TableDtype::F16 => {
                let mut narrow = vec![f16::ZERO; src.len()];
                narrow.convert_from_f32_slice(src);
                upload_bytes(self, to, bytes(narrow.reinterpret_cast()));
            }
            TableDtype::Bf16 => {
                let mut narrow = vec![bf16::ZERO; src.len()];
                narrow.convert_from_f32_slice(src);
                upload_bytes(self, to, bytes(narrow.reinterpret_cast()));
            }
        }
    }

    fn download_rows(&self, dst: &mut [f32], src: &Table<D>, first: usize) -> Result<()> {
        let from = src.elements(first, dst.len());
        if src.dtype == TableDtype::F32 {
            return self.read(bytes_mut(dst), from.pointer());
        }
        let mut bits = vec![0u16; dst.len()];
        self.read(bytes_mut(&mut bits), from.pointer())?;
        if src.dtype == TableDtype::F16 {
            bits.reinterpret_cast::<f16>().convert_to_f32_slice(dst);
        } else {
            bits.reinterpret_cast::<bf16>().convert_to_f32_slice(dst);
        }
        Ok(())
    }

    fn alloc_packed(&self, groups: usize, outputs: usize, inputs: usize, _: Products) -> Result<Packed<D>> {
        Ok(Packed::new(groups, outputs, inputs))
    }

    fn packed_shape(&self, w: &Packed<D>) -> (usize, usize, usize) {
        w.shape()
    }
}

fn bytes<T: Number>(v: &[T]) -> &[u8] {
    // SAFETY: every byte of a `Number` is initialised, and u8 has no alignment.
    unsafe { std::slice::from_raw_parts(v.as_ptr().cast(), size_of_val(v)) }
}

fn bytes_mut<T: Number>(v: &mut [T]) -> &mut [u8] {
    // SAFETY: as in `bytes`; any bit pattern is a `Number`.
    unsafe { std::slice::from_raw_parts_mut(v.as_mut_ptr().cast(), size_of_val(v)) }
}

/// `words` words of zeros.
fn zero_memory<D: Device>(cuda: &Cuda<D>, words: usize) -> Result<Memory<D>> {
    let memory = cuda.shared.alloc(4 * words)?;
    if words > 0 {
        let grid = [words.div_ceil(1024).min(2048), 1, 1];
        cuda.record()
            .launch(Kernel::ZeroWords, grid, 256)
            .write(Span::bytes(&memory, 0, 4 * words)) // unsigned* dst
            .u64(words as u64) // unsigned long long words
            .go();
    }
    Ok(memory)
}

pub(crate) fn zeros<D: Device, T>(cuda: &Cuda<D>, len: usize) -> Result<Buffer<D, T>> {
    assert!(size_of::<T>() == 4, "elements of four bytes");
    // Here, so that no launch meets a matrix that its arguments cannot describe.
    if u32::try_from(len).is_err() {
        return Err(CudaError::TooMany { elements: len }.into());
    }
    Ok(Buffer::new(zero_memory(cuda, len)?, len))
}

pub(crate) fn table<D: Device>(
    cuda: &Cuda<D>,
    rows: usize,
    width: usize,
    dtype: TableDtype,
) -> Result<Table<D>> {
    let memory = zero_memory(cuda, (rows * width * dtype.bytes()).div_ceil(4))?;
    Ok(Table { memory, rows, width, dtype })
}

fn upload_bytes<D: Device>(cuda: &Cuda<D>, to: Span<D>, src: &[u8]) {
    cuda.shared.queue().upload(&cuda.shared.device, to.pointer(), to.region(true), src);
}

pub(crate) fn upload<D: Device, T: Number>(cuda: &Cuda<D>, dst: &mut Buffer<D, T>, offset: usize, src: &[T]) {
    upload_bytes(cuda, dst.span(offset, src.len()), bytes(src));
}

/// Queues dst (+)= src by quads; a source of stride 0 is one row for all.
pub(super) fn launch_copy<D: Device>(cuda: &Cuda<D>, dst: &MM<D>, write: Write, src: &M<D>, q: &Quads<2>) {
    cuda.record()
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
