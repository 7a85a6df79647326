//! The compiled kernels and their launch.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use libloading::Library;

use crate::build;

/// `optmsm_host::Kernel` of cuda_host.h.
#[repr(C)]
struct Entry {
    name: *const c_char,
    call: *const c_void,
    sizes: *const c_uint,
    parameters: c_uint,
    bound: c_uint,
}

type Table = unsafe extern "C" fn(*mut c_uint) -> *const Entry;
type Launch = unsafe extern "C" fn(*const Entry, *const c_uint, c_uint, c_uint, *const *mut c_void, u64);

struct Kernel {
    entry: *const Entry,
    launch: Launch,
    sizes: Vec<usize>,
    bound: u32,
}

/// All kernels of a folder of .cu files, by name.
pub struct HostKernels {
    kernels: BTreeMap<String, Kernel>,
    /// Libraries that the entries point into.
    _libraries: Vec<Library>,
}

// SAFETY: `entry` points to a constant table of a library that `_libraries` keeps loaded; launches hold LAUNCHING.
unsafe impl Send for HostKernels {}
// SAFETY: as above.
unsafe impl Sync for HostKernels {}

/// A library runs one launch at a time, whichever `HostKernels` it is used through.
static LAUNCHING: Mutex<()> = Mutex::new(());

/// Limits of compute capability 8.0.
const MAX_THREADS: u32 = 1024;
const MAX_GRID: [u32; 3] = [i32::MAX as u32, 65535, 65535];

impl HostKernels {
    /// The workspace's kernels/, compiled on first use.
    ///
    /// # Errors
    /// There is no C++ compiler, or it refuses a file (its message).
    pub fn load() -> Result<Self, String> {
        Self::load_from(&workspace().join("kernels"))
    }

    /// The .cu files of another folder, compiled with the workspace's headers.
    ///
    /// # Errors
    /// As [`HostKernels::load`].
    pub fn load_from(folder: &Path) -> Result<Self, String> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
        let paths = build::libraries(folder, &workspace().join("kernels"), &target.join("host-kernels"))?;
        let mut kernels = BTreeMap::new();
        let mut libraries = Vec::new();
        for path in paths {
            // SAFETY: the library is ours; loading it runs no code but C++'s initialisation of vectors.
            let library = unsafe { Library::new(&path) }.map_err(|e| format!("{}: {e}", path.display()))?;
            // SAFETY: the generated file defines this function with this signature.
            let table = unsafe { library.get::<Table>(b"optmsm_host_kernels\0") }
                .map_err(|e| format!("{}: {e}", path.display()))?;
            // SAFETY: cuda_host.cpp defines this function with this signature.
            let launch = unsafe { library.get::<Launch>(b"optmsm_host_launch\0") }
                .map_err(|e| format!("{}: {e}", path.display()))?;
            let mut count = 0;
            // SAFETY: writes the number of entries and returns their constant array.
            let entries = unsafe {
                let first = table(&mut count);
                std::slice::from_raw_parts(first, count as usize)
            };
            for entry in entries {
                // SAFETY: a string literal of the library.
                let name = unsafe { CStr::from_ptr(entry.name) }.to_string_lossy().into_owned();
                // SAFETY: `sizes` holds `parameters` numbers.
                let sizes = unsafe { std::slice::from_raw_parts(entry.sizes, entry.parameters as usize) };
                let sizes = sizes.iter().map(|&s| s as usize).collect();
                let kernel = Kernel { entry, launch: *launch, sizes, bound: entry.bound };
                if kernels.insert(name.clone(), kernel).is_some() {
                    return Err(format!(
                        "two kernels have the name {name}: rename one, names are unique over all .cu files"
                    ));
                }
            }
            libraries.push(library);
        }
        Ok(Self { kernels, _libraries: libraries })
    }

    /// The names of all kernels, sorted.
    pub fn kernels(&self) -> Vec<String> {
        self.kernels.keys().cloned().collect()
    }

    /// The bytes of each parameter of `kernel`, in order; `None` when there is no such kernel.
    pub fn parameter_sizes(&self, kernel: &str) -> Option<&[usize]> {
        self.kernels.get(kernel).map(|k| &*k.sizes)
    }

    /// Runs `kernel` over `grid` blocks of `block` threads with `shared` bytes of dynamic shared memory, and returns when it is done.
    /// `seed` chooses the order in which blocks and threads run: results must not depend on it.
    ///
    /// A kernel that breaks a rule of the block (a barrier that some threads never reach, a partial mask, a write beside dynamic shared
    /// memory) ends the process with a message; an access past an allocation's guard page ends it by a signal.
    ///
    /// # Errors
    /// No such kernel, a grid or block that a GPU would refuse, another number of arguments than the kernel has.
    ///
    /// # Safety
    /// `args[i]` points to as many bytes as `parameter_sizes(kernel)[i]`, of the parameter's type; what the kernel reads and writes through
    /// its pointers is valid and used by nothing else meanwhile.
    pub unsafe fn launch(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: u32,
        shared: u32,
        args: &[*mut c_void],
        seed: u64,
    ) -> Result<(), String> {
        let found = self
            .kernels
            .get(kernel)
            .ok_or_else(|| format!("there is no kernel {kernel} in the .cu files"))?;
        if args.len() != found.sizes.len() {
            return Err(format!(
                "kernel {kernel} has {} parameters, the launch {}",
                found.sizes.len(),
                args.len()
            ));
        }
        if block == 0
            || !block.is_multiple_of(32)
            || block > MAX_THREADS
            || (found.bound != 0 && block > found.bound)
        {
            let most = if found.bound == 0 { MAX_THREADS } else { found.bound };
            return Err(format!(
                "kernel {kernel}: {block} threads a block; they are a multiple of 32 from 32 to {most}"
            ));
        }
        if (0..3).any(|i| grid[i] == 0 || grid[i] > MAX_GRID[i]) {
            return Err(format!("kernel {kernel}: the grid {grid:?}; its sides are from 1 to {MAX_GRID:?}"));
        }
        let _one = LAUNCHING.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the entry is of this library and LAUNCHING is held; the arguments are the caller's promise.
        unsafe { (found.launch)(found.entry, grid.as_ptr(), block, shared, args.as_ptr(), seed) };
        Ok(())
    }
}

/// The workspace's root: this crate lies in its crates/.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}
