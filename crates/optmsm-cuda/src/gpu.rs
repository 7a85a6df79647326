//! The NVIDIA driver, loaded at run time.
//!
//! One stream computes; a second one carries uploads, so that the copy for a step runs beside the step before it. Uploads
//! have two slots of pinned memory, each with its twin on the device: a slot is written again once the work that read it
//! is done, which also keeps the host at most two submissions ahead.

mod driver;
mod graph;
mod module;

use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use cudarc::driver::sys;

use crate::device::{Device, SLOTS, Stage};
use crate::error::{CudaError, DeviceResult};
use crate::work::Work;
use driver::call;
use graph::Graphs;
use module::Modules;
use optmsm_core::precision::Precision;

/// First compute capability of what `kernels/ptx` was made for.
const ORDINARY: (i32, i32) = (8, 0);
/// First driver that loads the PTX's ISA 8.0.
const DRIVER: i32 = 12_000;
/// Properties of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Number for [`crate::CudaOptions::device`].
    pub ordinal: usize,
    /// Name.
    pub name: String,
    /// Compute capability.
    pub capability: (i32, i32),
    /// Bytes of memory.
    pub memory: usize,
}

/// An NVIDIA GPU.
pub struct Gpu {
    info: DeviceInfo,
    device: sys::CUdevice,
    context: sys::CUcontext,
    compute: sys::CUstream,
    copies: sys::CUstream,
    modules: Modules,
    state: Mutex<State>,
}

// SAFETY: handles of the driver may be used from any thread that made the context current, which every call here does;
// what is mutable is behind the mutex.
unsafe impl Send for Gpu {}
// SAFETY: as above.
unsafe impl Sync for Gpu {}

#[derive(Default)]
struct State {
    slots: [Slot; SLOTS],
    next: usize,
    graphs: Graphs,
    pointers: Vec<*mut c_void>,
}

/// Memory for uploads on both sides.
struct Slot {
    host: *mut u8,
    device: u64,
    capacity: usize,
    /// Recorded behind the copy, and behind the work that reads it.
    copied: sys::CUevent,
    read: sys::CUevent,
}

impl Default for Slot {
    fn default() -> Self {
        let null = std::ptr::null_mut::<c_void>();
        Self { host: null.cast(), device: 0, capacity: 0, copied: null.cast(), read: null.cast() }
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Gpu").field("info", &self.info).finish_non_exhaustive()
    }
}

/// The devices of this machine, or why there is none to use. Never panics.
pub(crate) fn probe() -> DeviceResult<Vec<DeviceInfo>> {
    // SAFETY: it only tries to open the library.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    let none = |e: CudaError| CudaError::NoDevice(e.to_string());
    call!(cuInit(0), "no arguments").map_err(none)?;
    let mut version = 0;
    call!(cuDriverGetVersion(&mut version), "")?;
    if version < DRIVER {
        return Err(CudaError::OldDriver { major: version / 1000, minor: version % 1000 / 10 });
    }
    let mut count = 0;
    call!(cuDeviceGetCount(&mut count), "").map_err(none)?;
    if count == 0 {
        return Err(CudaError::NoDevice("it counts 0".into()));
    }
    (0..count).map(|ordinal| Ok(describe(ordinal)?.0)).collect()
}

fn describe(ordinal: i32) -> DeviceResult<(DeviceInfo, sys::CUdevice)> {
    use sys::CUdevice_attribute as A;
    let mut device = 0;
    call!(cuDeviceGet(&mut device, ordinal), "device {ordinal}")?;
    let mut name = [0 as c_char; 256];
    call!(cuDeviceGetName(name.as_mut_ptr(), name.len() as i32, device), "device {ordinal}")?;
    // SAFETY: the driver ends the name with a zero inside the array.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
    let attribute = |which| {
        let mut value = 0;
        call!(cuDeviceGetAttribute(&mut value, which, device), "device {ordinal}")?;
        Ok(value)
    };
    let capability = (
        attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    let mut memory = 0;
    call!(cuDeviceTotalMem_v2(&mut memory, device), "device {ordinal}")?;
    Ok((DeviceInfo { ordinal: ordinal as usize, name, capability, memory }, device))
}

impl Gpu {
    /// Opens a device and loads the kernels for products of this precision.
    ///
    /// # Errors
    /// When there is no driver or no such device, it is too old, or its memory is short.
    pub(crate) fn open(ordinal: usize, precision: Precision) -> DeviceResult<Self> {
        let devices = probe()?;
        let count = devices.len();
        let info = devices.into_iter().nth(ordinal).ok_or(CudaError::Ordinal { ordinal, count })?;
        if info.capability < ORDINARY {
            let (name, (major, minor)) = (info.name, info.capability);
            return Err(CudaError::OldDevice { name, major, minor });
        }
        let (_, device) = describe(ordinal as i32)?;
        let mut context = std::ptr::null_mut();
        call!(cuDevicePrimaryCtxRetain(&mut context, device), "device {ordinal}")?;
        let null = std::ptr::null_mut::<c_void>();
        // From here on dropping it gives back what it holds.
        let mut gpu = Self {
            info,
            device,
            context,
            compute: null.cast(),
            copies: null.cast(),
            modules: Modules::default(),
            state: Mutex::default(),
        };
        gpu.enter()?;
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        call!(cuStreamCreate(&mut gpu.compute, flags), "")?;
        call!(cuStreamCreate(&mut gpu.copies, flags), "")?;
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        let state = gpu.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for slot in &mut state.slots {
            call!(cuEventCreate(&mut slot.copied, flags), "")?;
            call!(cuEventCreate(&mut slot.read, flags), "")?;
        }
        gpu.modules.load(precision)?;
        Ok(gpu)
    }

    /// Its properties.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Makes the context current on this thread.
    fn enter(&self) -> DeviceResult<()> {
        call!(cuCtxSetCurrent(self.context), "")
    }

    /// Bytes free and in all.
    fn memory(&self) -> DeviceResult<(usize, usize)> {
        let (mut free, mut total) = (0, 0);
        call!(cuMemGetInfo_v2(&mut free, &mut total), "")?;
        Ok((free, total))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error of memory says what would fit.
    fn or_memory<T>(&self, result: DeviceResult<T>, asked: usize) -> DeviceResult<T> {
        result.map_err(|e| match (&e, self.memory()) {
            (CudaError::Call { code, .. }, Ok((free, total))) if code == "CUDA_ERROR_OUT_OF_MEMORY" => {
                CudaError::OutOfMemory { asked, free, total }
            }
            _ => e,
        })
    }
}

impl Device for Gpu {
    fn name(&self) -> String {
        self.info.name.clone()
    }

    fn alloc(&self, bytes: usize) -> DeviceResult<u64> {
        self.enter()?;
        let mut ptr = 0;
        self.or_memory(call!(cuMemAlloc_v2(&mut ptr, bytes), "{bytes} bytes"), bytes)?;
        Ok(ptr)
    }

    unsafe fn free(&self, ptr: u64) {
        // An error here is of earlier work, and the next read returns it.
        let done =
            self.enter().and_then(|()| call!(cuStreamSynchronize(self.compute), "before memory is freed"));
        if done.is_ok() {
            let _ = call!(cuMemFree_v2(ptr), "");
        }
    }

    fn stage(&self, bytes: usize) -> DeviceResult<Stage> {
        self.enter()?;
        let mut state = self.state();
        let number = state.next;
        state.next = (number + 1) % SLOTS;
        let slot = &mut state.slots[number];
        // Also when it was never recorded: then it is complete.
        call!(cuEventSynchronize(slot.read), "slot {number} of the uploads")?;
        if slot.capacity < bytes {
            slot.release();
            let mut host = std::ptr::null_mut();
            // Write-combined: the host only writes it, front to back.
            let flags = sys::CU_MEMHOSTALLOC_WRITECOMBINED;
            call!(cuMemHostAlloc(&mut host, bytes, flags), "{bytes} bytes of pinned memory")?;
            slot.host = host.cast();
            self.or_memory(call!(cuMemAlloc_v2(&mut slot.device, bytes), "{bytes} bytes"), bytes)?;
            slot.capacity = bytes;
        }
        let host =
            NonNull::new(slot.host).ok_or_else(|| CudaError::Other("pinned memory at address 0".into()))?;
        Ok(Stage { slot: number, host, device: slot.device, capacity: slot.capacity })
    }

    fn submit(&self, work: &Work) -> DeviceResult<()> {
        self.enter()?;
        let mut state = self.state();
        let State { slots, graphs, pointers, .. } = &mut *state;
        if let Some((number, used)) = work.stage {
            let slot = &slots[number];
            let (to, from) = (slot.device, slot.host.cast());
            call!(cuMemcpyHtoDAsync_v2(to, from, used, self.copies), "{used} bytes of uploads")?;
            call!(cuEventRecord(slot.copied, self.copies), "")?;
            call!(cuStreamWaitEvent(self.compute, slot.copied, 0), "")?;
        }
        graphs.launch(work, &self.modules, self.compute, pointers)?;
        if let Some((number, _)) = work.stage {
            call!(cuEventRecord(slots[number].read, self.compute), "")?;
        }
        Ok(())
    }

    fn read(&self, dst: &mut [u8], src: u64) -> DeviceResult<()> {
        self.enter()?;
        let (to, bytes) = (dst.as_mut_ptr().cast(), dst.len());
        call!(cuMemcpyDtoHAsync_v2(to, src, bytes, self.compute), "{bytes} bytes")?;
        call!(cuStreamSynchronize(self.compute), "after a download of {bytes} bytes")
    }
}

impl Slot {
    fn release(&mut self) {
        self.capacity = 0;
        if !self.host.is_null() {
            let _ = call!(cuMemFreeHost(self.host.cast()), "");
            self.host = std::ptr::null_mut();
        }
        if self.device != 0 {
            let _ = call!(cuMemFree_v2(self.device), "");
            self.device = 0;
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // A device that failed refuses these too; there is nobody to tell.
        let _ = self.enter();
        // Both: after a failed submission nobody waits for its copy, which reads a slot.
        for stream in [self.compute, self.copies] {
            if !stream.is_null() {
                let _ = call!(cuStreamSynchronize(stream), "");
                let _ = call!(cuStreamDestroy_v2(stream), "");
            }
        }
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.graphs.destroy();
        for slot in &mut state.slots {
            slot.release();
            for event in [slot.copied, slot.read] {
                if !event.is_null() {
                    let _ = call!(cuEventDestroy_v2(event), "");
                }
            }
        }
        self.modules.unload();
        let _ = call!(cuDevicePrimaryCtxRelease_v2(self.device), "");
    }
}
