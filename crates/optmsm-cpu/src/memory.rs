//! Fresh memory.

use optmsm_core::error::{Error, Result};

/// `len` zeros, or an error where memory is short.
pub(crate) fn zeros<T: Clone + Default>(len: usize) -> Result<Vec<T>> {
    // Asked for first, so that the second request, which gets pages that are zero already, does not abort the program.
    let asked = Vec::<T>::new().try_reserve_exact(len);
    asked.map_err(|_| {
        let size = len as f64 * size_of::<T>() as f64 / 1e9;
        let problem = format!("no memory for {size:.1} GB; lower train.batch_size or the model's widths");
        Error::Backend { backend: "cpu".into(), problem }
    })?;
    Ok(vec![T::default(); len])
}
