//! The PTX, compiled by the driver for the device at hand.

use std::collections::HashMap;
use std::ffi::{CString, c_void};

use cudarc::driver::sys;
use optmsm_kernels::{MODULES, Module};

use super::driver::{call, failed};
use crate::error::{CudaError, DeviceResult};
use crate::kernels::Kernel;
use optmsm_core::precision::Precision;

/// Dynamic shared memory that needs no asking.
const ORDINARY_SHARED: usize = 48 << 10;
/// Bytes of the compiler's log.
const LOG: usize = 4096;

/// Loaded kernels.
#[derive(Default)]
pub(super) struct Modules {
    loaded: Vec<sys::CUmodule>,
    functions: HashMap<Kernel, sys::CUfunction>,
}

impl Modules {
    /// Loads what products of this precision, and everything else, need.
    pub(super) fn load(&mut self, precision: Precision) -> DeviceResult<()> {
        for &Module { name, text } in MODULES {
            let kernels = Kernel::ALL.iter().filter(|k| k.module() == name && k.serves(precision));
            let mut kernels = kernels.peekable();
            if kernels.peek().is_none() {
                continue;
            }
            let module = compile(name, text)?;
            self.loaded.push(module);
            for &kernel in kernels {
                let entry = CString::new(kernel.name()).map_err(|e| CudaError::Other(e.to_string()))?;
                let mut function = std::ptr::null_mut();
                call!(
                    cuModuleGetFunction(&mut function, module, entry.as_ptr()),
                    "{} of {name}",
                    kernel.name()
                )?;
                if kernel.dynamic_shared() > ORDINARY_SHARED {
                    let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                    let bytes = kernel.dynamic_shared() as i32;
                    call!(cuFuncSetAttribute(function, most, bytes), "{bytes} bytes for {}", kernel.name())?;
                }
                self.functions.insert(kernel, function);
            }
        }
        Ok(())
    }

    /// The function of a kernel.
    pub(super) fn function(&self, kernel: Kernel) -> DeviceResult<sys::CUfunction> {
        let missing = || CudaError::Other(format!("{} was not loaded: a bug", kernel.name()));
        self.functions.get(&kernel).copied().ok_or_else(missing)
    }

    pub(super) fn unload(&mut self) {
        for module in self.loaded.drain(..) {
            let _ = call!(cuModuleUnload(module), "");
        }
    }
}

fn compile(name: &str, text: &str) -> DeviceResult<sys::CUmodule> {
    use sys::CUjit_option as O;
    // The driver asks for a zero byte at the end.
    let text = CString::new(text).map_err(|e| CudaError::Other(format!("{name}.ptx: {e}")))?;
    let mut log = [0u8; LOG];
    let mut options = [O::CU_JIT_ERROR_LOG_BUFFER, O::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    // Values are passed as if they were pointers.
    let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), LOG as *mut c_void];
    let mut module = std::ptr::null_mut();
    // SAFETY: the text ends with a zero; the log has the size given.
    let code = unsafe {
        let image = text.as_ptr().cast();
        sys::cuModuleLoadDataEx(&mut module, image, 2, options.as_mut_ptr(), values.as_mut_ptr())
    };
    if code == sys::CUresult::CUDA_SUCCESS {
        return Ok(module);
    }
    let end = log.iter().position(|&b| b == 0).unwrap_or(LOG);
    let log = String::from_utf8_lossy(&log[..end]).trim().to_string();
    Err(failed("cuModuleLoadDataEx", code, format!("{name}.ptx {log}")))
}
