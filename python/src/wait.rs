//! Work that takes long: on a thread of its own, while the caller's looks for signals and hears what it says on the way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use optmsm_data::DataError;
use optmsm_train::error::{Error, Result};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::errors::{is_interrupt, raised};
use crate::logging;

/// Time between two looks for signals.
const LOOK: Duration = Duration::from_millis(20);

/// Runs `work` until it ends. `hear` gets what it sends on the way; an exception that it raises, and Ctrl-C, set the flag that `work` has.
///
/// # Errors
/// Those of `hear`, Ctrl-C, and those of `work`, in this order.
pub(crate) fn wait<T: Send, E: Send>(
    py: Python<'_>,
    work: impl FnOnce(Arc<AtomicBool>, Sender<E>) -> Result<T> + Send,
    mut hear: impl FnMut(Python<'_>, E, &AtomicBool) -> PyResult<()>,
) -> PyResult<T> {
    logging::begin();
    let stop = Arc::new(AtomicBool::new(false));
    let mut raised_here = None;
    let done = std::thread::scope(|scope| {
        let (sender, events) = channel();
        // Locked by this thread alone: `detach` wants to be sure of that.
        let events = Mutex::new(events);
        let stop_work = stop.clone();
        let thread = Builder::new().name("optmsm-work".into());
        let thread = thread.spawn_scoped(scope, move || work(stop_work, sender));
        let thread =
            thread.map_err(|e| PyRuntimeError::new_err(format!("a thread cannot be started: {e}")))?;
        loop {
            let heard =
                py.detach(|| events.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(LOOK));
            let looked = match heard {
                Ok(event) => hear(py, event, &stop).and_then(|()| py.check_signals()),
                Err(RecvTimeoutError::Timeout) => py.check_signals(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Err(e) = looked {
                stop.store(true, Ordering::Relaxed);
                raised_here.get_or_insert(e);
            }
        }
        Ok::<_, PyErr>(py.detach(|| thread.join()))
    })?;
    let done = match done {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    match (raised_here, done) {
        (Some(e), done) => {
            // The way to go on is worth more than a bare KeyboardInterrupt.
            if let Err(of_work @ (Error::Interrupted { .. } | Error::Paused { .. })) = done
                && is_interrupt(py, &e)
            {
                optmsm_train::say::warning(&of_work.to_string());
            }
            Err(e)
        }
        (None, done) => done.map_err(raised),
    }
}

/// [`wait`] for work that says nothing on the way.
///
/// # Errors
/// Ctrl-C and those of `work`.
pub(crate) fn quietly<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(Arc<AtomicBool>) -> Result<T> + Send,
) -> PyResult<T> {
    wait(
        py,
        |stop, silent: Sender<()>| {
            let result = work(stop);
            drop(silent);
            result
        },
        |_, (), _| Ok(()),
    )
}

/// An error once the work is to stop.
pub(crate) fn check(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) { Err(DataError::Interrupted.into()) } else { Ok(()) }
}
