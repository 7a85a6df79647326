//! The engine as the Python module `optmsm._internal`. What users see is in the folder `optmsm`.
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

mod command;
mod config;
mod errors;
mod frame;
mod logging;
mod model;
mod train;
mod wait;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _internal {
    #[pymodule_export]
    use crate::command::{command, program};
    #[pymodule_export]
    use crate::config::{Config, settings, starter};
    #[pymodule_export]
    use crate::frame::{Frame, spool};
    #[pymodule_export]
    use crate::model::Model;
    #[pymodule_export]
    use crate::train::train;

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
