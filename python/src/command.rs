//! Commands of the program, within this process or as it.

use std::ffi::OsString;

use optmsm_data::interruptible;
use optmsm_train::cli;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::wait::quietly;

/// Runs a command; returns its exit code and what it printed.
#[pyfunction]
pub(crate) fn command<'py>(py: Python<'py>, args: Vec<String>) -> PyResult<(u8, Bound<'py, PyBytes>)> {
    let (code, printed) = quietly(py, |stop| interruptible(&stop, || cli::call(&args, stop.clone())))?;
    Ok((code, PyBytes::new(py, &printed)))
}

/// Is the program: signals are its own, and lines go to standard error. Returns the exit code.
#[pyfunction]
pub(crate) fn program(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| cli::main(args))
}
