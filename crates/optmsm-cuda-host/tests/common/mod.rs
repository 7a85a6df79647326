//! Shared by the tests of launches.
// Each test program uses a part of it.
#![allow(dead_code)]

use std::ffi::c_void;
use std::path::Path;

use optmsm_cuda_host::{HostKernels, Memory};

/// The kernels of tests/kernels/; `None`, said aloud, where there is no C++ compiler.
pub(crate) fn kernels() -> Option<HostKernels> {
    if !optmsm_testkit::require("c++", optmsm_cuda_host::has_compiler()) {
        return None;
    }
    Some(HostKernels::load_from(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels")).unwrap())
}

/// Numbers that a kernel may read and write.
pub(crate) struct Array<T> {
    memory: Memory,
    of: std::marker::PhantomData<T>,
}

impl<T: Copy> Array<T> {
    pub(crate) fn new(values: &[T]) -> Self {
        let array = Self::fresh(values.len());
        // SAFETY: as many bytes as `fresh` asked for; the two do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), array.memory.as_ptr().cast(), values.len()) };
        array
    }

    /// All bytes 0xFF.
    pub(crate) fn fresh(len: usize) -> Self {
        Self { memory: Memory::alloc(len * size_of::<T>()).unwrap(), of: std::marker::PhantomData }
    }

    pub(crate) fn pointer(&self) -> *mut T {
        self.memory.as_ptr().cast()
    }

    /// The content, having checked the bytes beside it.
    pub(crate) fn get(&self) -> Vec<T> {
        self.memory.check().unwrap();
        // SAFETY: initialised when allocated; T is a number, of any bits.
        unsafe { std::slice::from_raw_parts(self.pointer(), self.memory.len() / size_of::<T>()) }.to_vec()
    }
}

/// A pointer to an argument.
pub(crate) fn arg<T>(value: &mut T) -> *mut c_void {
    std::ptr::from_mut(value).cast()
}

/// Launches a kernel; the arguments are variables or expressions of the parameters' types.
macro_rules! launch {
    ($kernels:expr, $name:expr, $grid:expr, $block:expr, $shared:expr, $seed:expr, $($argument:expr),*) => {{
        // SAFETY: each test passes what its kernel declares, and keeps the arrays. The arguments live until the statement's end.
        unsafe {
            $kernels.launch($name, $grid, $block, $shared, &[$($crate::common::arg(&mut { $argument })),*], $seed)
        }
        .unwrap();
    }};
}
pub(crate) use launch;
