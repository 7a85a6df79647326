//! What can stop a run.

use optmsm_data::DataError;

/// Exit code of a program that the user stopped.
pub const INTERRUPTED: u8 = 130;

/// An error that says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting, a batch, a tensor or the device.
    #[error(transparent)]
    Core(#[from] optmsm_core::error::Error),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A setting that cannot work, where it was written.
    #[error("{place}, `{key}`: {problem}; {fix}")]
    Setting {
        /// File, line and column, or the override that set it.
        place: String,
        /// Dotted key.
        key: String,
        /// What is wrong, with the value.
        problem: String,
        /// What to do about it.
        fix: String,
    },
    /// A file or folder that cannot be used.
    #[error("{path}: {problem}; {fix}")]
    File {
        /// As the user gave it.
        path: String,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        fix: String,
    },
    /// The loss is no longer a number.
    #[error("step {step}: the loss is {loss}; the last finite loss was {last}. {cause}")]
    Diverged {
        /// Step at which it was seen.
        step: u64,
        /// NaN or an infinity.
        loss: f64,
        /// The last finite loss, or that there was none.
        last: String,
        /// What is likely to blame, and what to do.
        cause: String,
    },
    /// The user asked to stop; the run was saved.
    #[error("stopped at step {step}; the run is saved, continue it with: optmsm train --resume --run {run}")]
    Interrupted {
        /// Steps done.
        step: u64,
        /// Run folder.
        run: String,
    },
    /// The user asked to stop one of several runs; it was saved.
    #[error("stopped; {done} of {total} runs of the {what} are done; the same command continues it")]
    Paused {
        /// What the runs belong to.
        what: &'static str,
        /// Runs done.
        done: usize,
        /// Runs in all.
        total: usize,
    },
}

/// Result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A [`Error::File`].
    pub fn file(path: impl ToString, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Error::File { path: path.to_string(), problem: problem.into(), fix: fix.into() }
    }

    /// The program's exit code: 130 when interrupted, 1 when training diverged, 2 for bad input.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Interrupted { .. } | Error::Paused { .. } => INTERRUPTED,
            Error::Diverged { .. } => 1,
            _ => 2,
        }
    }
}
