//! Fault of one value, before its place is known.

/// A value that cannot be used, before the file, line and column are known.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) problem: String,
    pub(crate) fix: String,
}

/// A value, or what is wrong with it.
pub(crate) type Parsed<T> = std::result::Result<T, Fault>;

#[cold]
pub(crate) fn fault<T>(problem: impl Into<String>, fix: impl Into<String>) -> Parsed<T> {
    Err(Fault { problem: problem.into(), fix: fix.into() })
}
