//! Errors of a user's input or of a device, made to be matched.
//!
//! The variant says what failed, its fields where and by how much; the text says what to do about it.
//!
//! ```
//! use optmsm_core::error::{BackendErrorKind, Error, Result};
//!
//! /// Halves the rows per batch until memory suffices.
//! fn fit<T>(mut rows: usize, build: impl Fn(usize) -> Result<T>) -> Result<T> {
//!     loop {
//!         match build(rows) {
//!             Err(Error::Backend { kind: BackendErrorKind::OutOfMemory { .. }, .. }) if rows > 1 => rows /= 2,
//!             done => return done,
//!         }
//!     }
//! }
//! # let limited = |rows| match rows {
//! #     ..=100 => Ok(rows),
//! #     _ => Err(Error::backend("gpu", BackendErrorKind::OutOfMemory { asked: rows, free: Some(100) }, "no memory")),
//! # };
//! # assert_eq!(fit(512, limited)?, 64);
//! # Ok::<(), Error>(())
//! ```

use optmsm_comm::CommError;

/// Any error, of any thread: the source of an error of a device or of a reader of tensors.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// An error that says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot work.
    #[error("config `{key}`: {problem}; {fix}")]
    #[non_exhaustive]
    Config {
        /// Dotted key, as written in the configuration file.
        key: String,
        /// The fault, with the value.
        problem: String,
        /// The remedy.
        fix: String,
    },
    /// A batch that does not fit the model's inputs.
    #[error("{}: {problem}", place(part, *row))]
    #[non_exhaustive]
    Batch {
        /// The part of the batch that is wrong.
        part: BatchPart,
        /// The row, from 0, where it is one row that is wrong.
        row: Option<usize>,
        /// The fault with the value, and the remedy.
        problem: String,
    },
    /// A tensor that does not fit the model.
    #[error("tensor `{name}`: {kind}")]
    #[non_exhaustive]
    Tensor {
        /// Checkpoint name of the tensor.
        name: String,
        /// How it does not fit.
        #[source]
        kind: TensorErrorKind,
    },
    /// The ranks of a job cannot go on together.
    #[error("ranks: {0}")]
    Ranks(#[from] CommError),
    /// A device or its memory failed.
    #[error("backend {backend}: {source}")]
    #[non_exhaustive]
    Backend {
        /// Name of the backend.
        backend: String,
        /// The groups of failures that a program treats alike.
        kind: BackendErrorKind,
        /// The backend's own error.
        source: Source,
    },
}

/// Result with this crate's [`enum@Error`], unless another is named: code that imports it keeps `Result<T, Box<dyn Error>>`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The part of a batch that an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchPart {
    /// All of it, or a whole row.
    Batch,
    /// The scenarios.
    Scenario,
    /// The labels.
    Label,
    /// The sample weights.
    Weight,
    /// The values of the field of this name.
    Field(String),
    /// The room for predictions.
    Predictions,
}

/// A part and a row for a message; a part without a row means all of its values.
fn place(part: &BatchPart, row: Option<usize>) -> String {
    let mut place = match part {
        BatchPart::Batch => "batch".into(),
        BatchPart::Scenario => "scenario".into(),
        BatchPart::Label => "label".into(),
        BatchPart::Weight => "weight".into(),
        BatchPart::Field(name) => format!("field '{name}'"),
        BatchPart::Predictions => "predictions".into(),
    };
    match (part, row) {
        (_, Some(row)) => place += &format!(", row {row}"),
        (BatchPart::Scenario | BatchPart::Label | BatchPart::Weight, None) => place.push('s'),
        _ => {}
    }
    place
}

/// How a tensor does not fit the model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorErrorKind {
    /// There is no tensor of that name.
    #[error("is missing; the tensors are of another model")]
    Missing,
    /// The tensor has another shape.
    #[error("has shape {found:?}, the model needs {expected:?}; it is of another model")]
    #[non_exhaustive]
    Shape {
        /// Its shape.
        found: Vec<usize>,
        /// The shape in the model.
        expected: Vec<usize>,
    },
    /// The model has no embedding table of that name.
    #[error("is not an embedding table of the model")]
    Unknown,
    /// Rows that do not fit an embedding table.
    #[error("{numbers} numbers from row {first} on do not fit {table:?}")]
    #[non_exhaustive]
    Rows {
        /// The first row to be replaced.
        first: usize,
        /// The numbers given.
        numbers: usize,
        /// Rows and width of the table.
        table: [usize; 2],
    },
    /// A number that the type of an embedding table does not hold.
    #[error(
        "row {row} holds {value:e}, out of the range of {dtype}{}; use model.embeddings.dtype = \"f32\", or \"bf16\" \
         for its range",
        if *decaying { " for rows that decay" } else { "" }
    )]
    #[non_exhaustive]
    Range {
        /// Row of the table.
        row: usize,
        /// The number.
        value: f64,
        /// Name of the table's type.
        dtype: &'static str,
        /// Whether the table stores its rows divided by how far they have decayed.
        decaying: bool,
    },
    /// Its source failed.
    #[error("{0}")]
    Read(#[source] Source),
}

/// Groups of failures of a backend that a program treats alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendErrorKind {
    /// Memory is short: lower the rows per batch, the vocabularies or the widths.
    OutOfMemory {
        /// Bytes asked for.
        asked: usize,
        /// Bytes free, where the backend knows them.
        free: Option<usize>,
    },
    /// One matrix is larger than the backend's kernels count: lower the same.
    TooLarge,
    /// This machine lacks the device, its driver or an instruction set: use another backend.
    Unavailable,
    /// A call failed: work on the device is lost.
    Failed,
}

impl Error {
    /// An [`Error::Config`].
    pub fn config(key: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Error::Config { key: key.into(), problem: problem.into(), fix: fix.into() }
    }

    /// An [`Error::Batch`]; `problem` says what to do too.
    pub fn batch(part: BatchPart, row: impl Into<Option<usize>>, problem: impl Into<String>) -> Self {
        Error::Batch { part, row: row.into(), problem: problem.into() }
    }

    /// An [`Error::Tensor`].
    pub fn tensor(name: impl Into<String>, kind: TensorErrorKind) -> Self {
        Error::Tensor { name: name.into(), kind }
    }

    /// An [`Error::Backend`]; `source` says what failed, with sizes, and what to do.
    pub fn backend(backend: impl Into<String>, kind: BackendErrorKind, source: impl Into<Source>) -> Self {
        Error::Backend { backend: backend.into(), kind, source: source.into() }
    }
}

impl TensorErrorKind {
    /// A [`TensorErrorKind::Shape`].
    pub fn shape(found: &[usize], expected: &[usize]) -> Self {
        TensorErrorKind::Shape { found: found.into(), expected: expected.into() }
    }
}
