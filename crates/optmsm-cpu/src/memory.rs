//! Fresh memory.

use optmsm_core::error::{BackendErrorKind, Error, Result};

/// `len` zeros, or an error where memory is short.
pub(crate) fn zeros<T: Clone + Default>(len: usize) -> Result<Vec<T>> {
    // Asked for first, so that the second request, which gets pages that are zero already, does not abort the program.
    let asked = Vec::<T>::new().try_reserve_exact(len);
    asked.map_err(|_| {
        let size = len as f64 * size_of::<T>() as f64 / 1e9;
        let problem = format!("no memory for {size:.1} GB; lower train.batch_size or the model's widths");
        out_of_memory(len.saturating_mul(size_of::<T>()), problem)
    })?;
    Ok(vec![T::default(); len])
}

/// The error of `asked` bytes that there are not; `problem` says what to do too.
pub(crate) fn out_of_memory(asked: usize, problem: String) -> Error {
    Error::backend("cpu", BackendErrorKind::OutOfMemory { asked, free: None }, problem)
}
