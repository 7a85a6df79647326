//! Errors of the engine as the classes of `optmsm.errors`, with the same text as the program.

use optmsm_core::error::Error as CoreError;
use optmsm_data::{DataError, FileErrorKind};
use optmsm_train::error::Error;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// Name of the class of an error.
fn class(error: &Error) -> &'static str {
    match error {
        Error::Core(CoreError::Config { .. })
        | Error::Data(DataError::Config(_))
        | Error::Setting { .. }
        | Error::Configuration { .. } => "ConfigError",
        Error::Core(CoreError::Backend { .. }) => "DeviceError",
        Error::Argument { .. } => "ArgumentError",
        // It is there and whole, but its rows are not what is asked for.
        Error::Data(DataError::File { kind: FileErrorKind::Unfit, .. }) => "DataError",
        Error::Data(DataError::File { .. } | DataError::Io { .. }) | Error::File { .. } => "FileError",
        Error::Data(DataError::Row { .. } | DataError::Value { .. }) | Error::Rows { .. } => "DataError",
        Error::Diverged { .. } => "DivergedError",
        Error::Interrupted { .. } | Error::Paused { .. } | Error::Data(DataError::Interrupted) => "Stopped",
        _ => "Error",
    }
}

/// An error for Python.
pub(crate) fn raised(error: impl Into<Error>) -> PyErr {
    let error = error.into();
    Python::attach(|py| made(py, class(&error), &error.to_string()).unwrap_or_else(|e| e))
}

/// An error of a class of `optmsm.errors`.
pub(crate) fn of_class(name: &str, text: &str) -> PyErr {
    Python::attach(|py| made(py, name, text).unwrap_or_else(|e| e))
}

fn made(py: Python<'_>, name: &str, text: &str) -> PyResult<PyErr> {
    let module = ERRORS.get_or_try_init(py, || py.import("optmsm.errors").map(Bound::unbind))?;
    Ok(PyErr::from_value(module.bind(py).getattr(name)?.call1((text,))?))
}

/// Whether an exception is what Ctrl-C raises.
pub(crate) fn is_interrupt(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyKeyboardInterrupt>(py)
}
