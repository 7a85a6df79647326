//! Results on standard output: what cannot be written is an error, but a reader that has seen enough ends the program quietly.

use std::io::{self, ErrorKind, Write};

use super::host::Stdout;
use crate::error::{Error, Result};

/// Writes all bytes.
pub(super) fn write(bytes: &[u8]) -> Result<()> {
    done(Stdout.write_all(bytes))
}

/// Outcome of a write; what waits in the buffer is written first.
pub(super) fn done(written: io::Result<()>) -> Result<()> {
    match written.and_then(|()| Stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Error::system("standard output", "written", e, "check where it goes"))
        }
        _ => Ok(()),
    }
}

/// Has `write` write piece by piece.
///
/// # Errors
/// Those of `write`, unless it ended because standard output did: see [`done`].
pub(super) fn fill(write: impl FnOnce(&mut Noted<Stdout>) -> Result<()>) -> Result<()> {
    let mut out = Noted::new(Stdout);
    let filled = write(&mut out);
    match out.failed {
        Some(e) => done(Err(e)),
        None => filled.and_then(|()| done(Ok(()))),
    }
}

/// Remembers what the system said, which writers of formats wrap in errors of their own.
pub(super) struct Noted<W> {
    out: W,
    failed: Option<io::Error>,
}

impl<W: Write> Noted<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, failed: None }
    }

    /// Whether who read it has seen enough.
    pub(super) fn is_closed(&self) -> bool {
        self.failed.as_ref().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
    }

    fn noted<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|e| {
            let kind = e.kind();
            let passed_on = io::Error::new(kind, e.to_string());
            if kind != ErrorKind::Interrupted {
                self.failed = Some(e);
            }
            passed_on
        })
    }
}

impl<W: Write> Write for Noted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.noted(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.noted(flushed)
    }
}
