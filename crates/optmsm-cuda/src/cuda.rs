//! A CUDA device with its queue.

use std::sync::Arc;

use optmsm_core::counting::{Counting, Sizes};
use optmsm_core::error::Result;

use crate::device::Device;
use crate::error::DeviceResult;
use crate::gpu::{self, DeviceInfo, Gpu};
use crate::launch::Recording;
use crate::memory::Shared;
use optmsm_core::precision::Precision;

/// The device itself takes rows side by side.
pub(crate) const LANES: usize = 1;
pub(crate) const BLOCK_ROWS: usize = usize::MAX;
/// Products are nearly free on a device, sums over the rows of an id are not.
pub(crate) const FIELDS_BY_ID: bool = false;

/// Counts what a [`Cuda`] allocates in device memory for what it is asked, without a device; [`crate::RESERVED`] comes on top,
/// and what the driver takes for itself.
pub fn counting() -> Counting {
    Counting::new(Sizes {
        name: "cuda".into(),
        lanes: LANES,
        min_lane_rows: 1,
        block_rows: BLOCK_ROWS,
        fields_by_id: FIELDS_BY_ID,
        // Weights are read where they are.
        packed: Box::new(|_, _, _, _| 0),
    })
}

/// How a device is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CudaOptions {
    /// Number of the device, as the driver counts them.
    pub device: usize,
    /// Type that operands of products are rounded to.
    pub precision: Precision,
}

/// A CUDA device with its queue.
#[derive(Debug)]
pub struct Cuda<D: Device = Gpu> {
    pub(crate) shared: Arc<Shared<D>>,
    pub(crate) precision: Precision,
}

impl Cuda {
    /// The devices of this machine, or why there is none to use. Never panics.
    ///
    /// # Errors
    /// Without a driver or a device, or with one that is too old.
    pub fn probe() -> DeviceResult<Vec<DeviceInfo>> {
        gpu::probe()
    }

    /// Opens a device; its driver compiles the kernels, which takes seconds the first time and is cached.
    ///
    /// # Errors
    /// As [`Cuda::probe`], and when there is no such device or its memory is short.
    pub fn new(options: CudaOptions) -> Result<Self> {
        Ok(Self::on(Gpu::open(options.device, options.precision)?, options.precision))
    }
}

impl<D: Device> Cuda<D> {
    /// The backend on a device that is open already.
    pub fn on(device: D, precision: Precision) -> Self {
        Self { shared: Arc::new(Shared::new(device)), precision }
    }

    /// Type that operands of products are rounded to.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.shared.device
    }

    /// Records the launches of one operation.
    pub(crate) fn record(&self) -> Recording<'_, D> {
        Recording::new(&self.shared)
    }

    /// Hands everything that is queued to the device.
    pub(crate) fn submit(&self) {
        self.shared.queue().submit(&self.shared.device);
    }

    /// Copies from the device after everything queued.
    pub(crate) fn read(&self, dst: &mut [u8], src: u64) -> Result<()> {
        if dst.is_empty() {
            return Ok(());
        }
        Ok(self.shared.queue().read(&self.shared.device, dst, src)?)
    }
}
