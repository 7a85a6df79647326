//! A way to stop work that reads rows, which may take minutes before anything is there to be saved.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{DataError, Result};

thread_local! {
    static STOP: RefCell<Option<Interrupt>> = const { RefCell::new(None) };
}

/// Becomes true when whoever asked for rows does not want them any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt(Option<Arc<AtomicBool>>);

/// Puts back what was there.
struct Restore(Option<Interrupt>);

impl Drop for Restore {
    fn drop(&mut self) {
        STOP.set(self.0.take());
    }
}

/// Runs `work`, which ends with [`DataError::Interrupted`] at the next rows that it reads on this thread once `stop` is true.
pub fn interruptible<T>(stop: &Arc<AtomicBool>, work: impl FnOnce() -> T) -> T {
    let before = STOP.replace(Some(Interrupt(Some(stop.clone()))));
    let _restore = Restore(before);
    work()
}

impl Interrupt {
    /// That of the work that this thread is at.
    pub(super) fn here() -> Self {
        STOP.with_borrow(|stop| stop.clone().unwrap_or_default())
    }

    /// # Errors
    /// The work is to stop.
    pub(super) fn check(&self) -> Result<()> {
        match &self.0 {
            Some(stop) if stop.load(Ordering::Relaxed) => Err(DataError::Interrupted),
            _ => Ok(()),
        }
    }
}
