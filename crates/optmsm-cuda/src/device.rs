//! The seam between the backend and what runs its kernels: a GPU, or the host in tests.

use std::fmt::Debug;
use std::ptr::NonNull;

use crate::error::DeviceResult;
use crate::work::Work;

/// Slots of uploads.
pub(crate) const SLOTS: usize = 2;

/// Memory of a device, and the execution of queued work on it.
///
/// Work is submitted in order: what a later [`Device::submit`] or [`Device::read`] touches, an earlier one has written.
pub trait Device: Debug + Send + Sync + 'static {
    /// Name of the device.
    fn name(&self) -> String;

    /// `bytes` of memory, at a multiple of 256; its contents are undefined.
    ///
    /// # Errors
    /// When memory is short, with what was asked for and what is free.
    fn alloc(&self, bytes: usize) -> DeviceResult<u64>;

    /// Gives memory back.
    ///
    /// # Safety
    /// `ptr` came from [`Device::alloc`] of this device, is given back once, and nothing submitted later uses it.
    unsafe fn free(&self, ptr: u64);

    /// Room for uploads of at least `bytes`, free to write. What was written there by the submissions before the last
    /// is no longer needed: the call waits for it.
    fn stage(&self, bytes: usize) -> DeviceResult<Stage>;

    /// Starts queued work; does not wait for it.
    fn submit(&self, work: &Work) -> DeviceResult<()>;

    /// Copies from the device after everything submitted, and reports what failed there.
    fn read(&self, dst: &mut [u8], src: u64) -> DeviceResult<()>;
}

/// Memory that exists on both sides: what is written on the host is copied when the work that uses it is submitted.
#[derive(Debug)]
pub struct Stage {
    /// Number of the slot.
    pub slot: usize,
    /// Where to write.
    pub host: NonNull<u8>,
    /// Where kernels read it.
    pub device: u64,
    /// Bytes.
    pub capacity: usize,
}

// SAFETY: a stage is the only handle of its slot until it is submitted.
unsafe impl Send for Stage {}
