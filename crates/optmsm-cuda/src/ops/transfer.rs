//! Memory and its way to and from the device (kernels/transfer.cu).

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use optmsm_core::error::Result;
use optmsm_core::rounding::TableDtype;

use crate::Cuda;
use crate::device::Device;
use crate::error::CudaError;
use crate::kernels::Kernel;
use crate::memory::{Buffer, Memory, Span, Table};

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
        cuda.session()
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

pub(crate) fn download<D: Device>(
    cuda: &Cuda<D>,
    dst: &mut [f32],
    src: &Buffer<D, f32>,
    offset: usize,
) -> Result<()> {
    let from = src.span(offset, dst.len());
    cuda.read(bytes_mut(dst), from.pointer())
}

impl<D: Device> Table<D> {
    /// The elements from row `first` on.
    fn elements(&self, first: usize, len: usize) -> Span<'_, D> {
        assert!(first * self.width + len <= self.rows * self.width, "{len} elements from row {first} on");
        let size = self.dtype.bytes();
        Span::bytes(&self.memory, first * self.width * size, len * size)
    }
}

pub(crate) fn upload_rows<D: Device>(cuda: &Cuda<D>, dst: &mut Table<D>, first: usize, src: &[f32]) {
    let to = dst.elements(first, src.len());
    // Rounded here as `TableDtype::nearest` does.
    match dst.dtype {
        TableDtype::F32 => upload_bytes(cuda, to, bytes(src)),
        TableDtype::F16 => {
            let mut narrow = vec![f16::ZERO; src.len()];
            narrow.convert_from_f32_slice(src);
            upload_bytes(cuda, to, bytes(narrow.reinterpret_cast()));
        }
        TableDtype::Bf16 => {
            let mut narrow = vec![bf16::ZERO; src.len()];
            narrow.convert_from_f32_slice(src);
            upload_bytes(cuda, to, bytes(narrow.reinterpret_cast()));
        }
    }
}

pub(crate) fn download_rows<D: Device>(
    cuda: &Cuda<D>,
    dst: &mut [f32],
    src: &Table<D>,
    first: usize,
) -> Result<()> {
    let from = src.elements(first, dst.len());
    if src.dtype == TableDtype::F32 {
        return cuda.read(bytes_mut(dst), from.pointer());
    }
    let mut bits = vec![0u16; dst.len()];
    cuda.read(bytes_mut(&mut bits), from.pointer())?;
    if src.dtype == TableDtype::F16 {
        bits.reinterpret_cast::<f16>().convert_to_f32_slice(dst);
    } else {
        bits.reinterpret_cast::<bf16>().convert_to_f32_slice(dst);
    }
    Ok(())
}
