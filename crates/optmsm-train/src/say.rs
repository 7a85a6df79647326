//! Lines on standard error. One that cannot be written is dropped: nobody reads it any more, and the work goes on.

use std::io::Write;

use optmsm_data::printable;

/// One line on the way; control characters are escaped, as names in it come from data.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(text));
}

/// A line about something that the user will want to know, though it stops nothing.
pub fn warning(text: &str) {
    line(&format!("warning: {text}"));
}
