//! Errors of an export.

use optmsm_data::DataError;

/// A model that cannot be exported, or a file that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is too large for the format.
    #[error("{what} has {bytes} bytes, but {format} holds at most {most}; {fix}")]
    TooLarge {
        /// Part that is too large.
        what: String,
        /// Its size.
        bytes: u64,
        /// Format.
        format: &'static str,
        /// Its limit.
        most: u64,
        /// The remedy.
        fix: &'static str,
    },
    /// A tensor cannot be read.
    #[error(transparent)]
    Core(#[from] optmsm_core::error::Error),
    /// A file cannot be written.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// Result of an export.
pub type Result<T> = std::result::Result<T, Error>;
