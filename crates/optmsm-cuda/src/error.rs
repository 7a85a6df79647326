//! Errors of a driver or a device, with the way out of them.

use optmsm_core::error::{BackendErrorKind, Error};

/// An error of the driver or of a device.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// The driver's library is not on this machine.
    #[error("no NVIDIA driver: libcuda was not found; install one of CUDA 12.0 or later, or use the CPU")]
    NoDriver,
    /// The driver is there, but sees no device.
    #[error(
        "the NVIDIA driver sees no device ({0}); check nvidia-smi and CUDA_VISIBLE_DEVICES, or use the CPU"
    )]
    NoDevice(String),
    /// The driver does not load the PTX that this was built with.
    #[error("the driver is of CUDA {major}.{minor}, at least 12.0 is needed; update it, or use the CPU")]
    OldDriver {
        /// CUDA version of the driver.
        major: i32,
        /// The same.
        minor: i32,
    },
    /// No such device.
    #[error("there is no device {ordinal}: the driver sees {count}, numbered from 0")]
    Ordinal {
        /// The number asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// The device is of an architecture before Ampere.
    #[error("{name} has compute capability {major}.{minor}, at least 8.0 is needed; use the CPU")]
    OldDevice {
        /// Name of the device.
        name: String,
        /// Its compute capability.
        major: i32,
        /// The same.
        minor: i32,
    },
    /// Device memory is short.
    #[error(
        "no memory on the device for {asked} more: {free} of {total} are free; lower train.batch_size, the \
         vocabularies or the model's widths, or set model.embeddings.dtype = \"bf16\"",
        asked = bytes(*asked), free = bytes(*free), total = bytes(*total)
    )]
    OutOfMemory {
        /// Bytes asked for.
        asked: usize,
        /// Bytes free.
        free: usize,
        /// Bytes of the device.
        total: usize,
    },
    /// A matrix has more elements than kernels count.
    #[error(
        "{elements} elements of one matrix are more than kernels count (2^32 - 1); lower train.batch_size or the model's widths, \
         or where it is a table's optimizer state use train.embedding_optimizer = {{ rule = \"rowwise_adagrad\" }}"
    )]
    TooMany {
        /// Elements asked for.
        elements: usize,
    },
    /// A call of the driver failed.
    #[error("{call} failed with {code} ({detail})")]
    Call {
        /// Name of the call.
        call: &'static str,
        /// The driver's name of the error.
        code: String,
        /// Sizes and names of what it was asked to do.
        detail: String,
    },
    /// A fault of the program, or of a stand-in for a device.
    #[error("{0}")]
    Other(String),
}

/// Result of calls to a device.
pub type DeviceResult<T> = Result<T, CudaError>;

impl From<CudaError> for Error {
    /// An error whose source is `e`.
    fn from(e: CudaError) -> Self {
        let kind = match e {
            CudaError::NoDriver
            | CudaError::NoDevice(_)
            | CudaError::OldDriver { .. }
            | CudaError::Ordinal { .. }
            | CudaError::OldDevice { .. } => BackendErrorKind::Unavailable,
            CudaError::OutOfMemory { asked, free, .. } => {
                BackendErrorKind::OutOfMemory { asked, free: Some(free) }
            }
            CudaError::TooMany { .. } => BackendErrorKind::TooLarge,
            CudaError::Call { .. } | CudaError::Other(_) => BackendErrorKind::Failed,
        };
        Error::backend("cuda", kind, e)
    }
}

/// A number of bytes for people.
fn bytes(n: usize) -> String {
    match n {
        0..10_000 => format!("{n} B"),
        10_000..10_000_000 => format!("{:.1} KB", n as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}
