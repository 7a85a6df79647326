//! Lines on the way: on standard error, or to whoever listens in another process's library.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use optmsm_data::printable;

/// Weight of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Progress.
    Line,
    /// Something that the user will want to know, though it stops nothing.
    Warning,
}

/// Hears lines, from any thread; control characters in them are escaped.
pub type Listener = Box<dyn Fn(Level, &str) + Send + Sync>;

static LISTENER: OnceLock<Listener> = OnceLock::new();
static SILENT: AtomicBool = AtomicBool::new(false);

/// Sends lines to a listener from now on, the first that is given.
pub fn listen(listener: Listener) {
    LISTENER.set(listener).ok();
}

/// Says nothing from now on: another process of the job does.
pub(crate) fn leave_it_to_others() {
    SILENT.store(true, Ordering::Relaxed);
}

/// One line on the way; control characters are escaped, as names in it come from data.
pub fn line(text: &str) {
    say(Level::Line, text);
}

/// A line about something that the user will want to know, though it stops nothing.
pub fn warning(text: &str) {
    say(Level::Warning, text);
}

fn say(level: Level, text: &str) {
    if SILENT.load(Ordering::Relaxed) {
        return;
    }
    let text = printable(text);
    if let Some(listener) = LISTENER.get() {
        return listener(level, &text);
    }
    let mark = if level == Level::Warning { "warning: " } else { "" };
    // Where it cannot be written, nobody reads it any more, and the work goes on.
    let _ = writeln!(std::io::stderr().lock(), "{mark}{text}");
}
