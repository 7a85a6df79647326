//! The PTX under `kernels/ptx`: what it holds ([`parse`]), what it was made from ([`manifest`]), which units it is
//! compiled from ([`units`]), and what `ptxas` says about it ([`ptxas`]).
//!
//! Not published: `cargo xtask ptx` makes the PTX, tests check it.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

pub mod manifest;
pub mod parse;
pub mod ptxas;
mod token;
pub mod units;

pub use manifest::{Manifest, verify};
pub use parse::{Entry, Kind, Module, Param};

/// PTX ISA that committed files declare: the newest that the first drivers of CUDA 12 load (PTX ISA 8.0 came with CUDA
/// 12.0). A newer nvcc declares its own ISA, which older drivers refuse, although code for compute_80 needs nothing of
/// it.
pub const ISA: &str = "8.0";

/// Architecture that committed files are for: drivers compile it for that one and every later one.
pub const TARGET: &str = "sm_80";

/// Flags of nvcc, which is called in `kernels/`. Paths are relative: none gets into the output.
pub const FLAGS: &[&str] = &["-ptx", "-arch=compute_80", "-O3", "-std=c++17", "-I", "include"];

/// Where cargo builds, as `CARGO_TARGET_DIR` says; `target` in the repository `root` when it is not set.
pub fn target_dir(root: &Path) -> PathBuf {
    root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// A fault of kernels, their PTX, or the tools for them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
    /// A text is not what it should be.
    #[error("line {line}: {what}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// The text found, and the one expected.
        what: String,
    },
    /// Kernels that cannot be compiled as they are laid out.
    #[error("{0}")]
    Layout(String),
    /// `ptxas` cannot be run or refuses a file.
    #[error("{0}")]
    Ptxas(String),
}

impl Error {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }

    fn syntax(line: usize, what: impl Into<String>) -> Self {
        Self::Syntax { line, what: what.into() }
    }
}

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
