//! Errors of a user's data, made to be matched.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// An error that says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A setting that cannot work.
    #[error(transparent)]
    Config(#[from] optmsm_core::error::Error),
    /// A whole file that cannot be used.
    #[error("{path}: {problem}; {fix}")]
    #[non_exhaustive]
    File {
        /// As the user gave it.
        path: String,
        /// The groups of faults that a program treats alike.
        kind: FileErrorKind,
        /// The fault.
        problem: String,
        /// The remedy.
        fix: String,
    },
    /// The system failed to read or write a file.
    #[error("{path}: cannot {action}: {source}{}", way_out(source))]
    #[non_exhaustive]
    Io {
        /// As the user gave it.
        path: String,
        /// The verb: `read`, `write`, ….
        action: &'static str,
        /// The system's own error.
        source: io::Error,
    },
    /// A header or a row that cannot be used.
    #[error("{path} {place}: {problem}; {fix}")]
    #[non_exhaustive]
    Row {
        /// As the user gave it.
        path: String,
        /// Its place in the file.
        place: Place,
        /// The fault.
        problem: String,
        /// The remedy.
        fix: String,
    },
    /// A value that cannot be used.
    #[error("{path} {place}, column '{column}': {problem}; {fix}")]
    #[non_exhaustive]
    Value {
        /// As the user gave it.
        path: String,
        /// Its place in the file.
        place: Place,
        /// Name of the column.
        column: String,
        /// The fault, with the value.
        problem: String,
        /// The remedy.
        fix: String,
    },
    /// The system does not start a thread.
    #[error("a thread: cannot start: {source}; end other processes, or raise the limit on them (ulimit -u)")]
    #[non_exhaustive]
    Thread {
        /// The system's own error.
        source: io::Error,
    },
    /// Who asked for rows does not want them any more.
    #[error("stopped while rows were read")]
    Interrupted,
}

/// Groups of faults of a file or folder that a program treats alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileErrorKind {
    /// There is nothing at the path: leave it out, or wait for it.
    Missing,
    /// Something is there that would be written over: choose another path.
    Exists,
    /// Another process writes it: wait.
    Busy,
    /// It is cut or changed since it was written: restore it from a copy.
    Damaged,
    /// It is whole, but of another run, model, configuration or version.
    Foreign,
    /// It does not hold what is asked of it.
    Unfit,
    /// The system, or the store of an object, refuses it.
    System,
}

impl From<&io::Error> for FileErrorKind {
    fn from(e: &io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::NotFound => FileErrorKind::Missing,
            io::ErrorKind::AlreadyExists => FileErrorKind::Exists,
            io::ErrorKind::UnexpectedEof => FileErrorKind::Damaged,
            io::ErrorKind::InvalidData => FileErrorKind::Unfit,
            _ => FileErrorKind::System,
        }
    }
}

/// A remedy for an error of the system, where it suggests one.
fn way_out(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::NotFound => "; check the path",
        io::ErrorKind::PermissionDenied => "; check its permissions",
        io::ErrorKind::StorageFull => "; free some space",
        _ => "",
    }
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// Line of a text on which the row begins, from 1.
    Line(u64),
    /// Row of a columnar file, from 1.
    Row(u64),
    /// Row group of a Parquet file or record batch of an Arrow file, from 1.
    Group(u64),
    /// The description of the columns of a columnar file.
    Columns,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(n) => write!(f, "line {n}"),
            Place::Row(n) => write!(f, "row {n}"),
            Place::Group(n) => write!(f, "row group {n}"),
            Place::Columns => f.write_str("columns"),
        }
    }
}

/// Result with this crate's [`DataError`].
pub type Result<T> = std::result::Result<T, DataError>;

impl DataError {
    /// A [`DataError::File`].
    pub fn file(
        kind: FileErrorKind,
        path: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        DataError::File { path: path.into(), kind, problem: problem.into(), fix: fix.into() }
    }

    /// A file of the kind [`FileErrorKind::Unfit`].
    pub(crate) fn unfit(path: &str, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::file(FileErrorKind::Unfit, path, problem, fix)
    }

    /// A [`DataError::Row`].
    pub fn row(
        path: impl Into<String>,
        place: Place,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        DataError::Row { path: path.into(), place, problem: problem.into(), fix: fix.into() }
    }

    /// The same of the value in a column; errors that are not of a row stay as they are.
    pub fn in_column(self, column: impl Into<String>) -> Self {
        match self {
            DataError::Row { path, place, problem, fix } => {
                DataError::Value { path, place, column: column.into(), problem, fix }
            }
            other => other,
        }
    }

    /// The kind of an error that is about a whole file, those of the system included.
    pub fn file_kind(&self) -> Option<FileErrorKind> {
        match self {
            DataError::File { kind, .. } => Some(*kind),
            DataError::Io { source, .. } => Some(source.into()),
            _ => None,
        }
    }

    /// The error of a reader of this crate that `source` carries, or else a [`DataError::Io`].
    pub fn io(path: &str, action: &'static str, source: io::Error) -> Self {
        match source.downcast::<Self>() {
            Ok(inside) => inside,
            Err(source) => DataError::Io { path: path.into(), action, source },
        }
    }

    /// A [`DataError::Thread`].
    pub fn thread(source: io::Error) -> Self {
        DataError::Thread { source }
    }

    /// Whether a reader of this crate failed, which says itself what is wrong.
    pub(crate) fn is_inside(source: &io::Error) -> bool {
        source.get_ref().is_some_and(|e| e.is::<Self>())
    }
}

/// Quotes a value for a message: control characters escaped, long ones cut.
pub fn quote(value: &str) -> String {
    const LONGEST: usize = 60; // characters: a message stays on a line or two
    match value.char_indices().nth(LONGEST) {
        None => format!("{value:?}"),
        Some((cut, _)) => format!("{:?}… ({} characters)", &value[..cut], value.chars().count()),
    }
}

/// Whether a character steers what shows it: control characters, ends of lines and paragraphs, and what turns the direction of text
/// (embeddings, overrides, isolates).
pub fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes control characters, so that a name out of a stranger's data can neither move the cursor of a terminal nor begin a line,
/// nor turn the direction of what is written behind it.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_control(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown.into()
}

/// Joins names for a message; a long list is cut.
pub(crate) fn list<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const MOST: usize = 20;
    let total = names.len();
    let mut text = names.take(MOST).collect::<Vec<_>>().join(", ");
    if total > MOST {
        text.push_str(&format!(", … ({} more)", total - MOST));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_all_others_stay() {
        assert_eq!(printable("é 日本"), "é 日本");
        assert_eq!(printable("a\u{1b}[2Jb\r\n\u{9b}"), r"a\u{1b}[2Jb\r\n\u{9b}");
        assert_eq!(printable("a\u{202e}b\u{2028}c\u{2067}\0"), r"a\u{202e}b\u{2028}c\u{2067}\u{0}");
        assert_eq!(printable("12\u{202f}000 \u{200d}שלום"), "12\u{202f}000 \u{200d}שלום");
    }

    #[test]
    fn long_values_and_lists_are_cut() {
        assert_eq!(quote("a\nb"), r#""a\nb""#);
        let long = "é".repeat(70);
        assert_eq!(quote(&long), format!("\"{}\"… (70 characters)", "é".repeat(60)));
        let names: Vec<String> = (0..22).map(|i| i.to_string()).collect();
        let text = list(names.iter().map(String::as_str));
        assert!(text.ends_with("18, 19, … (2 more)"), "{text}");
    }
}
