//! The CUDA backend: from-scratch kernels (`kernels/`), shipped as PTX and run through the driver.
//!
//! Needs an NVIDIA driver at run time and nothing at build time. [`Cuda::probe`] says whether a device can be used, and why
//! not. Operations are queued; a training step is handed to the device as one graph, whose branches run side by side and which is
//! updated, not rebuilt, from step to step. Two runs on one device are bit-equal: sums have a fixed order, and no
//! floating-point number is added atomically.
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

mod backend;
mod device;
mod error;
mod gpu;
mod hazards;
mod kernels;
mod launch;
mod memory;
mod ops;
mod queue;
mod work;

use std::sync::Arc;

pub use backend::counting;
pub use device::{Device, Stage};
pub use error::{CudaError, DeviceResult};
pub use gpu::{DeviceInfo, Gpu};
pub use hazards::Hazards;
pub use kernels::Kernel;
pub use memory::{Buffer, Table};
pub use ops::dense::Packed;
pub use queue::RESERVED;
pub use work::{Argument, Launch, Region, Work};

use launch::Session;
use memory::Shared;
use optmsm_core::error::Result;
use serde::{Deserialize, Serialize};

/// What operands of products are rounded to; sums, and everything else, are `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Not rounded: products on the ordinary units.
    F32,
    /// 11 bits of precision (unit roundoff 2⁻¹¹) on tensor cores.
    #[default]
    Tf32,
    /// 8 bits of precision (unit roundoff 2⁻⁸) on tensor cores, at twice the rate of tf32.
    Bf16,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 3] = [Self::F32, Self::Tf32, Self::Bf16];

    /// Name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }

    /// Unit roundoff of the operands; 0 where they are not rounded.
    pub fn rounding(self) -> f64 {
        match self {
            Self::F32 => 0.0,
            Self::Tf32 => 1.0 / 2048.0,
            Self::Bf16 => 1.0 / 256.0,
        }
    }

    /// The PTX of its products.
    fn module(self) -> &'static str {
        match self {
            Self::F32 => "gemm_f32",
            Self::Tf32 => "gemm_tf32",
            Self::Bf16 => "gemm_bf16",
        }
    }
}

/// How a device is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CudaOptions {
    /// Number of the device, as the driver counts them.
    pub device: usize,
    /// What operands of products are rounded to.
    pub precision: Precision,
}

/// A CUDA device with its queue.
#[derive(Debug)]
pub struct Cuda<D: Device = Gpu> {
    shared: Arc<Shared<D>>,
    precision: Precision,
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

    /// What operands of products are rounded to.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.shared.device
    }

    /// The launches of one operation.
    pub(crate) fn session(&self) -> Session<'_, D> {
        Session::new(&self.shared)
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
