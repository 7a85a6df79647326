//! The process that a command runs in: the program, or another one that calls it and wants its output.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A caller within another process.
struct Caller {
    stop: Arc<AtomicBool>,
    printed: Vec<u8>,
}

thread_local! {
    /// Who called the command that this thread runs; none in the program.
    static CALLER: RefCell<Option<Caller>> = const { RefCell::new(None) };
}

/// Forgets the caller, also where the command panics.
struct Forget;

impl Drop for Forget {
    fn drop(&mut self) {
        CALLER.take();
    }
}

/// Runs a command for a caller that sets `stop` where the program would hear a signal; returns what it printed beside its result.
pub(super) fn called<T>(stop: Arc<AtomicBool>, command: impl FnOnce() -> T) -> (T, Vec<u8>) {
    CALLER.set(Some(Caller { stop, printed: Vec::new() }));
    let _forget = Forget;
    let result = command();
    (result, CALLER.take().map_or_else(Vec::new, |caller| caller.printed))
}

/// The caller's way to stop a command; none in the program, which has signals.
pub(super) fn stop() -> Option<Arc<AtomicBool>> {
    CALLER.with_borrow(|caller| caller.as_ref().map(|caller| caller.stop.clone()))
}

/// Standard output, or the caller's.
pub(super) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        CALLER.with_borrow_mut(|caller| match caller {
            Some(caller) => caller.printed.write(bytes),
            None => io::stdout().write(bytes),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        CALLER.with_borrow(|caller| if caller.is_some() { Ok(()) } else { io::stdout().flush() })
    }
}
