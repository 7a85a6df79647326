//! Lines of the engine as records of the logger `optmsm`.

use std::sync::Once;

use optmsm_train::say::{Level, listen};
use pyo3::prelude::*;

/// Sends lines to Python from now on. The program, which writes them on standard error, does not call it.
pub(crate) fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| listen(Box::new(log)));
}

fn log(level: Level, text: &str) {
    let method = if level == Level::Warning { "warning" } else { "info" };
    // While Python ends nobody hears it.
    let logged = Python::try_attach(|py| -> PyResult<()> {
        let logger = py.import("logging")?.call_method1("getLogger", ("optmsm",))?;
        // As an argument, so that a percent sign in it means nothing.
        logger.call_method1(method, ("%s", text)).map(|_| ())
    });
    drop(logged);
}
