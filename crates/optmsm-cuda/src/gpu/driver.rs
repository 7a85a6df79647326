//! Calls of the driver with typed errors.

use std::ffi::CStr;

use cudarc::driver::sys;

use crate::error::CudaError;

/// Calls the driver: `call!(name(arguments), "what it was asked for")`.
macro_rules! call {
    ($name:ident($($argument:expr),* $(,)?), $($detail:tt)+) => {{
        // SAFETY: handles come from the driver and are alive, pointers are to live memory of the sizes given beside
        // them: checked at each place of use.
        #[allow(unused_unsafe)]
        let code = unsafe { cudarc::driver::sys::$name($($argument),*) };
        if code == cudarc::driver::sys::CUresult::CUDA_SUCCESS {
            Ok(())
        } else {
            Err($crate::gpu::driver::failed(stringify!($name), code, format!($($detail)+)))
        }
    }};
}
pub(super) use call;

/// The error of a call.
pub(super) fn failed(call: &'static str, code: sys::CUresult, detail: String) -> CudaError {
    let text = |get: unsafe fn(sys::CUresult, *mut *const std::ffi::c_char) -> sys::CUresult| {
        let mut text = std::ptr::null();
        // SAFETY: `text` is where the driver puts the address of a constant string.
        let known = unsafe { get(code, &mut text) } == sys::CUresult::CUDA_SUCCESS && !text.is_null();
        // SAFETY: the driver's strings end with a zero and live as long as the program.
        known.then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    };
    let name = text(sys::cuGetErrorName).unwrap_or_else(|| format!("error {}", code as u32));
    let words = text(sys::cuGetErrorString).unwrap_or_default();
    let detail = match (detail.is_empty(), words.is_empty()) {
        (true, _) => words,
        (false, true) => detail,
        (false, false) => format!("{words}: {detail}"),
    };
    CudaError::Call { call, code: name, detail }
}
