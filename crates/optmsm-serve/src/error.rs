//! Errors of the server for whoever starts it.

use std::io;

/// An error that says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A setting that cannot work.
    #[error("{setting}: {problem}; {fix}")]
    #[non_exhaustive]
    Setting {
        /// The option of the program.
        setting: String,
        /// The fault.
        problem: String,
        /// The remedy.
        fix: String,
    },
    /// A model that cannot be served when the server starts.
    #[error("model {name}, version {version}: {problem}")]
    #[non_exhaustive]
    Model {
        /// Name of the model.
        name: String,
        /// Name of the version.
        version: String,
        /// The fault, with its remedy.
        problem: String,
    },
    /// The system refuses a port, a file or a thread.
    #[error("{subject}: cannot {action}: {source}; {fix}")]
    #[non_exhaustive]
    System {
        /// The port, file or thread.
        subject: String,
        /// The verb.
        action: &'static str,
        /// The system's own error.
        source: io::Error,
        /// The remedy.
        fix: &'static str,
    },
}

impl ServeError {
    pub(crate) fn setting(
        setting: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::Setting { setting: setting.into(), problem: problem.into(), fix: fix.into() }
    }

    pub(crate) fn system(
        subject: impl Into<String>,
        action: &'static str,
        source: io::Error,
        fix: &'static str,
    ) -> Self {
        Self::System { subject: subject.into(), action, source, fix }
    }
}
