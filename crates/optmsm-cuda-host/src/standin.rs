//! NVIDIA's driver, stood in for: what the backend tells the driver is tested without one.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::path::Path;
use std::sync::OnceLock;

use libloading::Library;

use crate::{HostKernels, build, kernels};

type Run = extern "C" fn(*const c_char, *const c_uint, c_uint, c_uint, *mut *mut c_void) -> c_int;
type Sizes = extern "C" fn(*const c_char, *mut c_uint, c_uint) -> c_uint;

/// The loaded stand-in (driver/libcuda.cpp). A process that loads it has no other driver.
#[derive(Debug)]
pub struct StandIn {
    library: Library,
}

/// Objects that the driver holds for its users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Allocations on the device.
    pub memory: u64,
    /// Allocations of pinned memory.
    pub pinned: u64,
    /// Streams.
    pub streams: u64,
    /// Events.
    pub events: u64,
    /// Graphs.
    pub graphs: u64,
    /// Executable graphs.
    pub executables: u64,
}

impl StandIn {
    /// Puts the stand-in in the driver's place, once a process and before the backend looks for the driver; without a C++ compiler
    /// the test that asks is skipped, or fails under `OPTMSM_REQUIRE=c++`.
    ///
    /// # Panics
    /// When it, or the kernels, do not compile.
    pub fn load() -> Option<&'static StandIn> {
        static LOADED: OnceLock<Option<StandIn>> = OnceLock::new();
        let load = || {
            let kernels = match kernels() {
                Ok(kernels) => kernels,
                Err(problem) => {
                    assert!(problem.starts_with("no C++ compiler"), "{problem}");
                    optmsm_testkit::require("c++", false);
                    return None;
                }
            };
            KERNELS.get_or_init(|| kernels);
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("driver/libcuda.cpp");
            let path = build::driver(&source).expect("the stand-in compiles");
            // SAFETY: the library is ours. Its SONAME is libcuda.so, so it is what a later search for that name finds.
            let library = unsafe { Library::new(&path) }.expect("the stand-in loads");
            // It stays mapped.
            std::fs::remove_file(&path).ok();
            let stand_in = StandIn { library };
            // SAFETY: the stand-in defines it with this signature.
            unsafe { stand_in.symbol::<unsafe extern "C" fn(Run, Sizes)>("standin_kernels")(run, sizes) };
            Some(stand_in)
        };
        LOADED.get_or_init(load).as_ref()
    }

    /// # Safety
    /// `F` is the signature of the function.
    unsafe fn symbol<F: Copy>(&self, name: &str) -> F {
        // SAFETY: promised by the caller.
        *unsafe { self.library.get::<F>(name.as_bytes()) }.expect("a function of the stand-in")
    }

    /// Sets a property: `devices`, `version`, `major`, `minor`, `memory` (bytes) or `seed`.
    pub fn set(&self, what: &str, value: i64) {
        let what = CString::new(what).expect("no zero");
        // SAFETY: the stand-in defines it with this signature; the string lives.
        unsafe {
            let set = self.symbol::<unsafe extern "C" fn(*const c_char, c_long)>("standin_set");
            set(what.as_ptr(), value);
        }
    }

    /// Makes a call fail with this code, after it worked `after` more times; 0 ends that.
    pub fn fail(&self, call: &str, code: i32, after: i64) {
        let call = CString::new(call).expect("no zero");
        // SAFETY: the stand-in defines it with this signature; the string lives.
        unsafe {
            let fail = self.symbol::<unsafe extern "C" fn(*const c_char, c_int, c_long)>("standin_fail");
            fail(call.as_ptr(), code, after);
        }
    }

    /// How often a call was made.
    pub fn count(&self, call: &str) -> u64 {
        let call = CString::new(call).expect("no zero");
        // SAFETY: the stand-in defines it with this signature; the string lives.
        unsafe {
            self.symbol::<unsafe extern "C" fn(*const c_char) -> c_ulong>("standin_count")(call.as_ptr())
        }
    }

    /// Objects held now.
    pub fn held(&self) -> Held {
        let mut held = [0; 6];
        // SAFETY: the stand-in writes six numbers.
        unsafe { self.symbol::<unsafe extern "C" fn(*mut c_ulong)>("standin_held")(held.as_mut_ptr()) };
        let [memory, pinned, streams, events, graphs, executables] = held;
        Held { memory, pinned, streams, events, graphs, executables }
    }
}

static KERNELS: OnceLock<std::sync::Arc<HostKernels>> = OnceLock::new();

fn name<'a>(name: *const c_char) -> &'a str {
    // SAFETY: the stand-in's names end with a zero and outlive the call.
    unsafe { CStr::from_ptr(name) }.to_str().unwrap_or_default()
}

extern "C" fn sizes(kernel: *const c_char, to: *mut c_uint, room: c_uint) -> c_uint {
    let found = KERNELS.get().and_then(|k| k.parameter_sizes(name(kernel))).unwrap_or_default();
    assert!(found.len() <= room as usize, "{} parameters", found.len());
    // SAFETY: `to` has room for `room` numbers.
    found.iter().enumerate().for_each(|(i, &size)| unsafe { *to.add(i) = size as c_uint });
    found.len() as c_uint
}

extern "C" fn run(
    kernel: *const c_char,
    grid: *const c_uint,
    block: c_uint,
    shared: c_uint,
    args: *mut *mut c_void,
) -> c_int {
    let (Some(kernels), kernel) = (KERNELS.get(), name(kernel)) else { return 1 };
    let count = kernels.parameter_sizes(kernel).map_or(0, |s| s.len());
    // SAFETY: the stand-in passes one pointer a parameter and a grid of three numbers.
    let (args, grid) = unsafe { (std::slice::from_raw_parts(args, count), *grid.cast::<[c_uint; 3]>()) };
    // SAFETY: the arguments have the widths that `sizes` told; a kernel's mistake in addresses is a crash of the test.
    match unsafe { kernels.launch(kernel, grid, block, shared, args, 7) } {
        Ok(()) => 0,
        Err(problem) => {
            eprintln!("{problem}");
            1
        }
    }
}
