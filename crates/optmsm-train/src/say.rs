//! Lines on standard error. One that cannot be written is dropped: nobody reads it any more, and the work goes on.

use std::io::Write;

/// A line on the way.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A line about something that the user will want to know, though it stops nothing.
pub fn warning(text: &str) {
    line(&format!("warning: {text}"));
}
