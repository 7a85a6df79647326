//! Fresh memory.

use std::ops::{Deref, DerefMut};

use optmsm_core::error::{BackendErrorKind, Error, Result};

/// Elements of a cache line.
pub(crate) const LINE: usize = 64 / size_of::<f32>();

/// Numbers from the start of a cache line on, so that no load of a whole register crosses one, which costs 8 to 20 % of a
/// product's rate on some machines (docs/performance.md).
#[derive(Debug, Default)]
pub struct Buffer {
    /// Room for the numbers and what lies before the first line.
    room: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// A buffer without room, for statics.
    pub(crate) const EMPTY: Buffer = Buffer { room: Vec::new(), start: 0, len: 0 };

    /// `len` zeros, or an error where memory is short.
    pub(crate) fn zeros(len: usize) -> Result<Self> {
        // Pages that nothing has written stay free: the room comes as zeros from the system.
        let room = zeros::<f32>(Self::room(len)).map_err(|_| no_memory::<f32>(len))?;
        Ok(Self::within(room, len))
    }

    /// Elements with which `len` of them can begin at a line.
    fn room(len: usize) -> usize {
        if len == 0 { 0 } else { len.saturating_add(LINE - 1) }
    }

    /// The first line of `room` on, which has [`Buffer::room`] of `len` elements.
    fn within(room: Vec<f32>, len: usize) -> Self {
        let start = if len == 0 { 0 } else { room.as_ptr().align_offset(LINE * size_of::<f32>()) };
        Self { room, start, len }
    }

    /// Room for at least `len` elements; what they hold is of no use after it grew. As a `Vec`, it ends the program where memory is
    /// short.
    pub(crate) fn at_least(&mut self, len: usize) {
        if self.len < len {
            *self = Self::within(vec![0.0; Self::room(len)], len);
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    #[inline(always)]
    fn deref(&self) -> &[f32] {
        &self.room[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.room[self.start..self.start + self.len]
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::from(&self[..])
    }
}

impl From<&[f32]> for Buffer {
    fn from(numbers: &[f32]) -> Self {
        let mut buffer = Self::within(vec![0.0; Self::room(numbers.len())], numbers.len());
        buffer.copy_from_slice(numbers);
        buffer
    }
}

impl FromIterator<f32> for Buffer {
    fn from_iter<I: IntoIterator<Item = f32>>(numbers: I) -> Self {
        Self::from(&numbers.into_iter().collect::<Vec<_>>()[..])
    }
}

/// `len` zeros, or an error where memory is short.
pub(crate) fn zeros<T: Clone + Default>(len: usize) -> Result<Vec<T>> {
    // Asked for first, so that the second request, which gets pages that are zero already, does not abort the program.
    Vec::<T>::new().try_reserve_exact(len).map_err(|_| no_memory::<T>(len))?;
    Ok(vec![T::default(); len])
}

/// The error of `len` elements that there is no room for.
fn no_memory<T>(len: usize) -> Error {
    let size = len as f64 * size_of::<T>() as f64 / 1e9;
    let problem = format!("no memory for {size:.1} GB; lower train.batch_size or the model's widths");
    out_of_memory(len.saturating_mul(size_of::<T>()), problem)
}

/// The error of `asked` bytes that there are not; `problem` says what to do too.
pub(crate) fn out_of_memory(asked: usize, problem: String) -> Error {
    Error::backend("cpu", BackendErrorKind::OutOfMemory { asked, free: None }, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_starts_at_a_cache_line_wherever_it_is_made() {
        for len in [1, 15, 16, 1000, 100_000] {
            let mut buffer = Buffer::zeros(len).unwrap();
            assert_eq!(buffer.len(), len);
            buffer[len - 1] = 3.0;
            let copy = buffer.clone();
            assert_eq!(copy[..], buffer[..]);
            for buffer in [&buffer, &copy] {
                assert_eq!(buffer.as_ptr().addr() % 64, 0);
            }
        }
        assert!(Buffer::zeros(0).unwrap().is_empty());
    }
}
