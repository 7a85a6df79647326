//! [`Device`] on the CPU: the same launches as on a GPU, in another order each time.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use optmsm_cuda::{Cuda, CudaError, Device, DeviceResult, Hazards, Kernel, Launch, Precision, Stage, Work};

use crate::{HostKernels, Memory};

/// Slots of uploads, as a GPU has.
const SLOTS: usize = 2;

/// The CPU in place of a GPU.
///
/// Launches that the hazards leave unordered run in an order drawn from the seed, and so do the blocks and threads of each: results may
/// depend on none of it. Uploads are gone once their slot is asked for again, fresh memory is NaN, and memory ends at a page that faults.
pub struct Host {
    kernels: Arc<HostKernels>,
    state: Mutex<State>,
}

struct State {
    random: u64,
    memory: BTreeMap<u64, Memory>,
    /// Both sides of each slot, in words of 16 bytes.
    slots: [[Vec<u128>; 2]; SLOTS],
    used: [usize; SLOTS],
    next: usize,
    hazards: Hazards,
    pointers: Vec<*mut c_void>,
    launched: BTreeSet<&'static str>,
}

// SAFETY: `pointers` holds addresses only while a submission runs, under the lock.
unsafe impl Send for State {}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

/// The workspace's kernels, compiled and loaded once a process; without a C++ compiler, why not.
pub fn kernels() -> Result<Arc<HostKernels>, String> {
    static KERNELS: OnceLock<Result<Arc<HostKernels>, String>> = OnceLock::new();
    KERNELS.get_or_init(|| HostKernels::load().map(Arc::new)).clone()
}

/// The CUDA backend on the CPU, if this machine has a C++ compiler; else the test that asks is skipped, or fails under
/// `OPTMSM_REQUIRE=c++`.
///
/// # Panics
/// When the kernels do not compile.
pub fn cuda(precision: Precision, seed: u64) -> Option<Cuda<Host>> {
    match kernels() {
        Ok(kernels) => Some(Cuda::on(Host::new(kernels, seed), precision)),
        Err(problem) => {
            assert!(problem.starts_with("no C++ compiler"), "{problem}");
            optmsm_testkit::require("c++", false);
            None
        }
    }
}

fn other(problem: impl ToString) -> CudaError {
    CudaError::Other(problem.to_string())
}

impl Host {
    /// A device whose random orders follow from `seed`.
    pub fn new(kernels: Arc<HostKernels>, seed: u64) -> Self {
        let state = State {
            random: seed,
            memory: BTreeMap::new(),
            slots: Default::default(),
            used: [0; SLOTS],
            next: 0,
            hazards: Hazards::default(),
            pointers: Vec::new(),
            launched: BTreeSet::new(),
        };
        Self { kernels, state: Mutex::new(state) }
    }

    /// Names of the kernels that ran so far.
    pub fn launched(&self) -> BTreeSet<&'static str> {
        self.state().launched.clone()
    }

    /// Bytes that are allocated at the moment, stages of uploads left out.
    pub fn held(&self) -> usize {
        self.state().memory.values().map(Memory::len).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a launch's arguments are what the compiled kernel takes.
    fn check(&self, work: &Work, launch: &Launch) -> DeviceResult<()> {
        let name = launch.kernel.name();
        let widths: Vec<usize> = work.arguments(launch).iter().map(|a| a.bytes).collect();
        let wanted = self.kernels.parameter_sizes(name).ok_or_else(|| other(format!("no kernel {name}")))?;
        if widths != wanted {
            return Err(other(format!(
                "{name} takes arguments of {wanted:?} bytes, the launch has {widths:?}"
            )));
        }
        Ok(())
    }
}

impl State {
    /// Uniform below `n`.
    fn below(&mut self, n: usize) -> usize {
        // A linear congruential generator; its upper bits are good enough to shuffle by.
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) % n as u64) as usize
    }
}

impl Device for Host {
    fn name(&self) -> String {
        "host".into()
    }

    fn alloc(&self, bytes: usize) -> DeviceResult<u64> {
        let memory = Memory::alloc(bytes).map_err(other)?;
        let ptr = memory.as_ptr() as u64;
        self.state().memory.insert(ptr, memory);
        Ok(ptr)
    }

    unsafe fn free(&self, ptr: u64) {
        let memory = self.state().memory.remove(&ptr).expect("memory of this device, given back once");
        memory.free().expect("nothing is written beside an allocation");
    }

    fn stage(&self, bytes: usize) -> DeviceResult<Stage> {
        let mut state = self.state();
        let slot = state.next;
        state.next = (slot + 1) % SLOTS;
        let words = bytes.div_ceil(16);
        let used = std::mem::take(&mut state.used[slot]);
        for side in &mut state.slots[slot] {
            // Earlier uploads are gone.
            side.iter_mut().take(used.div_ceil(16)).for_each(|word| *word = u128::MAX);
            if side.len() < words {
                *side = vec![0; words];
            }
        }
        let [host, device] = &mut state.slots[slot];
        let at = NonNull::new(host.as_mut_ptr().cast()).ok_or_else(|| other("memory at address 0"))?;
        Ok(Stage { slot, host: at, device: device.as_mut_ptr() as u64, capacity: 16 * words })
    }

    fn submit(&self, work: &Work) -> DeviceResult<()> {
        let mut state = self.state();
        if let Some((slot, used)) = work.stage {
            let [host, device] = &mut state.slots[slot];
            let words = used.div_ceil(16);
            device[..words].copy_from_slice(&host[..words]);
            state.used[slot] = used;
        }
        let mut hazards = std::mem::take(&mut state.hazards);
        hazards.find(work);
        let launches = work.launches();
        let mut waits: Vec<usize> = (0..launches.len()).map(|n| hazards.of(n).len()).collect();
        let mut ready: Vec<usize> = (0..launches.len()).filter(|&n| waits[n] == 0).collect();
        let mut after = vec![Vec::new(); launches.len()];
        (0..launches.len()).for_each(|n| hazards.of(n).iter().for_each(|&b| after[b as usize].push(n)));
        state.hazards = hazards;
        while !ready.is_empty() {
            let next = state.below(ready.len());
            let number = ready.swap_remove(next);
            let launch = &launches[number];
            self.check(work, launch)?;
            let mut pointers = std::mem::take(&mut state.pointers);
            work.pointers(launch, &mut pointers);
            let seed = state.below(1 << 31) as u64;
            let (name, Launch { grid, block, shared, .. }) = (launch.kernel.name(), launch);
            // SAFETY: widths were checked; regions are bounds-checked where they are made, and a mistake in a kernel meets a
            // guard page.
            let done = unsafe { self.kernels.launch(name, *grid, *block, *shared, &pointers, seed) };
            done.map_err(other)?;
            state.pointers = pointers;
            state.launched.insert(name);
            for &n in &after[number] {
                waits[n] -= 1;
                if waits[n] == 0 {
                    ready.push(n);
                }
            }
        }
        Ok(())
    }

    fn read(&self, dst: &mut [u8], src: u64) -> DeviceResult<()> {
        let state = self.state();
        let (start, memory) =
            state.memory.range(..=src).next_back().ok_or_else(|| other("a read of no memory"))?;
        let from = (src - start) as usize;
        assert!(from + dst.len() <= memory.len(), "{from}+{} of {} bytes", dst.len(), memory.len());
        // SAFETY: inside the allocation by the assertion.
        unsafe { std::ptr::copy_nonoverlapping(src as *const u8, dst.as_mut_ptr(), dst.len()) };
        Ok(())
    }
}

/// All kernels that a launcher knows.
pub fn known() -> BTreeSet<&'static str> {
    Kernel::ALL.iter().map(|k| k.name()).collect()
}
