//! What can go wrong through a user's input or a device.

/// An error that says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot work.
    #[error("config `{key}`: {problem}; {fix}")]
    Config {
        /// Dotted key, as written in the configuration file.
        key: String,
        /// What is wrong, with the value.
        problem: String,
        /// What to do about it.
        fix: String,
    },
    /// A batch that does not fit the model's inputs.
    #[error("{place}: {problem}")]
    Batch {
        /// Field and row.
        place: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Tensors that do not fit the model, by name.
    #[error("tensor `{name}`: {problem}")]
    Tensor {
        /// Checkpoint name of the tensor.
        name: String,
        /// What is wrong, with both shapes, and what to do.
        problem: String,
    },
    /// A device or its memory failed.
    #[error("backend {backend}: {problem}")]
    Backend {
        /// Name of the backend.
        backend: String,
        /// What failed, with sizes.
        problem: String,
    },
}

/// Result with this crate's [`enum@Error`], unless another is named: code that imports it keeps `Result<T, Box<dyn Error>>`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A [`Error::Config`].
    pub fn config(key: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Error::Config { key: key.into(), problem: problem.into(), fix: fix.into() }
    }
}
