//! Errors that stop a run, made to be matched.

use std::fmt::Display;
use std::io;

use optmsm_data::DataError;
pub use optmsm_data::FileErrorKind;

/// Exit code of a program that the user stopped.
pub const INTERRUPTED: u8 = 130;

/// An error that says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting, a batch, a tensor or the device.
    #[error(transparent)]
    Core(#[from] optmsm_core::error::Error),
    /// The server.
    #[cfg(feature = "serve")]
    #[error(transparent)]
    Serve(#[from] optmsm_serve::ServeError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A run that cannot be exported.
    #[error(transparent)]
    Export(optmsm_export::Error),
    /// A setting that cannot work, where it was written.
    #[error("{place}, `{key}`: {problem}; {fix}")]
    #[non_exhaustive]
    Setting {
        /// File, line and column, or the override that set it.
        place: String,
        /// Dotted key.
        key: String,
        /// The fault, with the value.
        problem: String,
        /// The remedy.
        fix: String,
    },
    /// A configuration, or an override, that is not understood or lacks a setting that is needed.
    #[error("{place}: {problem}; {fix}")]
    #[non_exhaustive]
    Configuration {
        /// File, with line and column where they are known, or the override.
        place: String,
        /// The fault.
        problem: String,
        /// The remedy.
        fix: String,
    },
    /// An argument, of the command line or of a function, that cannot be.
    #[error("{argument}: {problem}; {fix}")]
    #[non_exhaustive]
    Argument {
        /// The argument, with its value where it has one.
        argument: String,
        /// The fault.
        problem: String,
        /// The remedy.
        fix: String,
    },
    /// A file or folder that cannot be used.
    #[error("{path}{}: {problem}; {fix}", place.as_ref().map(|place| format!(" {place}")).unwrap_or_default())]
    #[non_exhaustive]
    File {
        /// As the user gave it.
        path: String,
        /// The place in it, or the setting that names it.
        place: Option<String>,
        /// The groups of faults that a program treats alike.
        kind: FileErrorKind,
        /// The fault.
        problem: String,
        /// The remedy.
        fix: String,
        /// The system's own error, where it refused.
        source: Option<io::Error>,
    },
    /// Rows that cannot serve: others than a run began with, none, or such as do not define a metric.
    #[error("{place}: {problem}; {fix}")]
    #[non_exhaustive]
    Rows {
        /// Their file, or the setting that names it.
        place: String,
        /// The fault.
        problem: String,
        /// The remedy.
        fix: String,
    },
    /// The system refused the process something that is no file.
    #[error("{what}: cannot be {action}: {source}; {fix}")]
    #[non_exhaustive]
    System {
        /// Standard output, or signals.
        what: &'static str,
        /// The verb, as in "cannot be written".
        action: &'static str,
        /// The system's own error.
        source: io::Error,
        /// The remedy.
        fix: &'static str,
    },
    /// A fault of this program.
    #[error("{place}: {problem}; report this")]
    #[non_exhaustive]
    Bug {
        /// The value or file that could not be made.
        place: String,
        /// The fault.
        problem: String,
    },
    /// The loss is no longer a number.
    #[error("step {step}: the loss is {loss}; the last finite loss was {}. {cause}", shown(*last))]
    #[non_exhaustive]
    Diverged {
        /// Step at which it was seen.
        step: u64,
        /// NaN or an infinity.
        loss: f64,
        /// The last finite loss, if there was one.
        last: Option<f64>,
        /// The likely cause, and the remedy.
        cause: String,
    },
    /// The user asked to stop; the run was saved.
    #[error("stopped at step {step}; the run is saved, continue it with: optmsm train --resume --run {run}")]
    #[non_exhaustive]
    Interrupted {
        /// Steps done.
        step: u64,
        /// Run folder.
        run: String,
    },
    /// The first rank of the job failed, and says why.
    #[error("rank 0 ended with exit code {code}")]
    #[non_exhaustive]
    Elsewhere {
        /// Exit code.
        code: u8,
    },
    /// The user asked to stop one of several runs; it was saved.
    #[error("stopped; {done} of {total} runs of the {what} are done; the same command continues it")]
    #[non_exhaustive]
    Paused {
        /// The search or comparison that the runs belong to.
        what: &'static str,
        /// Runs done.
        done: usize,
        /// Runs in all.
        total: usize,
    },
}

/// Result with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A loss for a message.
fn shown(loss: Option<f64>) -> String {
    loss.map_or("none".into(), |loss| format!("{loss:.6}"))
}

impl From<optmsm_export::Error> for Error {
    fn from(e: optmsm_export::Error) -> Self {
        match e {
            optmsm_export::Error::Core(e) => e.into(),
            optmsm_export::Error::Data(e) => e.into(),
            other => Error::Export(other),
        }
    }
}

impl Error {
    /// An [`Error::File`] without a system's error.
    pub fn file(
        kind: FileErrorKind,
        path: impl ToString,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (path, problem, fix) = (path.to_string(), problem.into(), fix.into());
        Error::File { path, place: None, kind, problem, fix, source: None }
    }

    /// An [`Error::File`] of a file that the system does not let be read, written …, as `action` says.
    pub fn io(path: impl ToString, action: &str, source: io::Error, fix: impl Into<String>) -> Self {
        let (path, problem, fix) = (path.to_string(), format!("cannot be {action}: {source}"), fix.into());
        Error::File { path, place: None, kind: (&source).into(), problem, fix, source: Some(source) }
    }

    /// An [`Error::File`] that the system's own error led to; other errors as they are.
    pub fn because(mut self, of: io::Error) -> Self {
        if let Error::File { source, .. } = &mut self {
            *source = Some(of);
        }
        self
    }

    /// An [`Error::File`] at a place in the file; other errors as they are.
    pub fn at(mut self, at: impl Into<String>) -> Self {
        if let Error::File { place, .. } = &mut self {
            *place = Some(at.into());
        }
        self
    }

    /// An [`Error::File`] with another remedy; other errors as they are.
    pub fn remedied(mut self, by: impl Into<String>) -> Self {
        if let Error::File { fix, .. } = &mut self {
            *fix = by.into();
        }
        self
    }

    /// An [`Error::Configuration`].
    pub fn configuration(place: impl ToString, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Error::Configuration { place: place.to_string(), problem: problem.into(), fix: fix.into() }
    }

    /// An [`Error::Argument`].
    pub fn argument(argument: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Error::Argument { argument: argument.into(), problem: problem.into(), fix: fix.into() }
    }

    /// An [`Error::Rows`].
    pub fn rows(place: impl ToString, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Error::Rows { place: place.to_string(), problem: problem.into(), fix: fix.into() }
    }

    /// An [`Error::System`].
    pub fn system(what: &'static str, action: &'static str, source: io::Error, fix: &'static str) -> Self {
        Error::System { what, action, source, fix }
    }

    /// An [`Error::Bug`].
    pub fn bug(place: impl ToString, problem: impl Display) -> Self {
        Error::Bug { place: place.to_string(), problem: problem.to_string() }
    }

    /// The kind of an error that is about a file or folder, those of the data included.
    pub fn file_kind(&self) -> Option<FileErrorKind> {
        match self {
            Error::File { kind, .. } => Some(*kind),
            Error::Data(e) => e.file_kind(),
            _ => None,
        }
    }

    /// The program's exit code: 130 when interrupted, 1 when training diverged, 2 for any other error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Interrupted { .. } | Error::Paused { .. } | Error::Data(DataError::Interrupted) => {
                INTERRUPTED
            }
            Error::Diverged { .. } => 1,
            Error::Elsewhere { code } => *code,
            _ => 2,
        }
    }
}
