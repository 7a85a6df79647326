//! Where rows come from: files of several kinds, in one stream.

mod arrow;
mod bounds;
mod cell;
mod column;
mod column_files;
mod csv;
mod csv_files;
mod csv_rows;
mod data_file;
mod decode;
mod digest;
mod file;
mod foreign;
mod guard;
mod header;
mod input_file;
mod int96;
mod interrupt;
mod ipc;
mod listing;
mod memory;
mod nearest;
#[cfg(feature = "object-store")]
mod object;
mod paths;
mod pool;
mod progress;
mod reading;
mod records;
mod rows;
mod split;
mod stored;
mod sweep;
mod text;
mod values;
mod whole;

use std::path::{Path, PathBuf};

pub(crate) use cell::{Cell, Elements, List, utf8};
pub(crate) use column::{Dictionary, can_be_read};
pub(crate) use data_file::DataFile;
pub use data_file::is_url;
pub use input_file::InputFile;
pub use interrupt::interruptible;
pub use memory::Frame;
pub use paths::Paths;
pub(crate) use pool::{Done, Stream, Work};
pub(crate) use progress::PROGRESS_ROWS;
pub use progress::Progress;
pub use reading::{NULLS, NUMBER_NULLS, Quoting, Reading, Spelling};
pub(crate) use reading::{Speller, respell, two_values};
pub(crate) use records::Records;
pub(crate) use rows::Rows;
pub use split::{BY_ROW, Split, SplitConfig};
pub(crate) use split::{Selector, empty_split};
pub(crate) use sweep::{Known, Sweep, look_up};
pub(crate) use values::{AnyColumn, Span, Values, with_values};
pub(crate) use whole::Whole;

use crate::error::Result;
use data_file::Format;
use listing::data_files;

/// Files of rows: each path is a file, a glob such as `part-*.parquet`, or a folder with everything below it.
///
/// By name: `.csv`, `.csv.gz` and `.csv.zst` are text, `.parquet` is Parquet, `.arrow`, `.feather` and `.ipc`
/// are Arrow; any other single file is taken for a CSV. The files of a glob or folder come in the order of
/// their names; those that begin with `_` or `.` are left out. A folder such as `scenario=home` gives all rows
/// below it a column `scenario`. `-` alone is a CSV on the standard input.
///
/// With the feature `object-store`, a path may be a URL of an object store: `s3://bucket/key`, `gs://bucket/key`,
/// `az://container/key` or `file:///path`, where a key is a file, a glob or a folder, and is taken as it is (no `%20`).
/// Settings and credentials come from the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`).
///
/// The path of a [`Frame`] stands for rows in memory.
#[derive(Clone, Debug)]
pub struct Source {
    paths: Vec<PathBuf>,
    threads: Option<usize>,
}

/// One file of a [`Source`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Path or URL.
    pub path: PathBuf,
    /// Columns that its folders hold, and their value; none for a missing one.
    pub folders: Vec<(String, Option<String>)>,
    /// Of an object in a store: size, e-tag, version and time of change; of a [`Frame`] a hash.
    pub state: Option<String>,
}

impl<P: AsRef<Path>> From<P> for Source {
    fn from(path: P) -> Self {
        Self::list([path])
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let paths: Vec<_> = self.paths.iter().map(|p| p.display().to_string()).collect();
        f.write_str(&paths.join(", "))
    }
}

impl Source {
    /// Several paths, one after the other.
    pub fn list<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self { paths: paths.into_iter().map(|p| p.as_ref().to_owned()).collect(), threads: None }
    }

    /// The same, decoded by this many threads, at least 1; what is read does not depend on it.
    ///
    /// Without it, as many as the machine has cores, up to 8. The standard input is read by the thread that asks for its rows.
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads: Some(threads.max(1)), ..self }
    }

    /// The files, in the order of their rows; none of the standard input.
    ///
    /// # Errors
    /// A path, glob or folder names none, or files that do not go together.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        Ok(self.data_files()?.into_iter().map(|part| part.path).collect())
    }

    /// Those of [`Source::files`] whose path, glob or folder can still be listed.
    pub fn files_there(&self) -> Vec<PathBuf> {
        let each = self.paths.iter().filter(|_| !self.is_stdin());
        each.filter_map(|path| data_files(std::slice::from_ref(path)).ok())
            .flatten()
            .map(|part| part.path)
            .collect()
    }

    /// The files with what is known of them without reading them, in the order of their rows.
    ///
    /// # Errors
    /// As [`Source::files`].
    pub fn described(&self) -> Result<Vec<SourceFile>> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let described = |part: DataFile| SourceFile {
            state: part.state(),
            folders: part.partitions.into_iter().map(|p| (p.column, p.value.map(text))).collect(),
            path: part.path,
        };
        Ok(self.data_files()?.into_iter().map(described).collect())
    }

    /// About the size of all files as plain text: packed and columnar ones count four times. What has none, such as a pipe, counts as 0.
    ///
    /// # Errors
    /// As [`Source::files`].
    pub fn text_bytes(&self) -> Result<u64> {
        let size = |part: &DataFile| {
            let times = if part.format == Format::Csv { 1 } else { 4 };
            part.bytes.unwrap_or(0).saturating_mul(times)
        };
        Ok(self.data_files()?.iter().map(size).fold(0, u64::saturating_add))
    }

    pub(crate) fn data_files(&self) -> Result<Vec<DataFile>> {
        if self.is_stdin() { Ok(Vec::new()) } else { data_files(&self.paths) }
    }

    /// Whether it is the standard input.
    pub fn is_stdin(&self) -> bool {
        self.paths.iter().any(|p| p == Path::new("-"))
    }
}
