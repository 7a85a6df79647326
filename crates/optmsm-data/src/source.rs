//! Where rows come from: files of several kinds, in one stream.

mod cell;
mod column;
mod columns;
mod csv;
mod csv_parts;
mod file;
#[cfg(feature = "object-store")]
mod object;
mod parts;
mod paths;
mod pool;
mod stored;
mod whole;

use std::io::Read;
use std::path::{Path, PathBuf};

use ::csv::ByteRecord;

#[cfg(test)]
pub(crate) use cell::Elements;
pub(crate) use cell::{Cell, List};
pub(crate) use column::{Entry, can_be_read};
pub(crate) use parts::Part;
pub use paths::Paths;
pub use stored::{InputFile, is_url};
pub(crate) use whole::Whole;

use crate::error::{DataError, Result, list};
use crate::parse::Fault;
use columns::{ColumnParts, ColumnRow};
use csv_parts::{CsvParts, CsvRow};

/// How far a pass over a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Size of the file in bytes, where it is known: not for a pipe.
    pub total_bytes: Option<u64>,
}

/// Rows between two calls of a progress callback.
pub(crate) const PROGRESS_ROWS: u64 = 8192; // a few ms of reading: smooth to look at, free to call

/// Threads that decode columnar files, at most, unless the user says otherwise.
const MOST_THREADS: usize = 8;

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
#[derive(Clone, Debug)]
pub struct Source {
    paths: Vec<PathBuf>,
    threads: Option<usize>,
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
    /// Without it, as many as the machine has cores, up to 8. A CSV is read by one.
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads: Some(threads.max(1)), ..self }
    }

    /// The files, in the order of their rows; none of the standard input.
    ///
    /// # Errors
    /// A path, glob or folder names none, or files that do not go together.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        Ok(self.parts()?.into_iter().map(|part| part.path).collect())
    }

    /// Size of all files; what has none, such as a pipe, counts as 0.
    ///
    /// # Errors
    /// As [`Source::files`].
    pub fn bytes(&self) -> Result<u64> {
        Ok(self.parts()?.iter().map(|part| part.bytes.unwrap_or(0)).sum())
    }

    pub(crate) fn parts(&self) -> Result<Vec<Part>> {
        if self.is_stdin() { Ok(Vec::new()) } else { parts::parts(&self.paths) }
    }

    /// Whether it is the standard input.
    pub fn is_stdin(&self) -> bool {
        self.paths.iter().any(|p| p == Path::new("-"))
    }
}

/// One row, by the numbers of [`Records::find`].
pub(crate) trait Row: Copy {
    /// A value.
    fn cell(&self, column: usize) -> Cell<'_>;

    /// Its place in a dictionary, if the file has one.
    fn entry(&self, column: usize) -> Option<Entry<'_>>;
}

/// A row of either kind of file; who matches on it has code of its own for each, which is what makes it fast.
pub(crate) enum AnyRow<'a> {
    Csv(CsvRow<'a>),
    Columns(ColumnRow<'a>),
}

/// A stream of rows: first the columns are found, then rows are read one at a time.
pub(crate) enum Records {
    Csv(Box<CsvParts>),
    Columns(ColumnParts),
}

impl Records {
    /// Opens the first file.
    pub(crate) fn open(source: &Source, delimiter: char) -> Result<Self> {
        if source.is_stdin() {
            if source.paths.len() > 1 {
                let fix = "give it alone";
                return Err(DataError::file("standard input", "cannot be one of several files", fix));
            }
            return Ok(Self::Csv(Box::new(CsvParts::stdin(delimiter)?)));
        }
        let parts = parts::parts(&source.paths)?;
        let Some(first) = parts.first() else {
            return Err(DataError::file("data", "no file is named", "give at least one path"));
        };
        if first.format.is_csv() {
            return Ok(Self::Csv(Box::new(CsvParts::open(parts, delimiter)?)));
        }
        let cores = || std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        Ok(Self::Columns(ColumnParts::open(parts, source.threads.unwrap_or_else(cores))?))
    }

    /// Reads a CSV from anything; `name` stands for the path in messages.
    pub(crate) fn from_reader(name: &str, reader: Box<dyn Read + Send>, delimiter: char) -> Result<Self> {
        Ok(Self::Csv(Box::new(CsvParts::from_reader(name, reader, delimiter)?)))
    }

    /// Number of a column; `key` is the setting that names it. Only columns that were asked for are read.
    pub(crate) fn find(&mut self, column: &str, key: &str) -> Result<usize> {
        match self {
            Self::Csv(file) => file.find(column, key),
            Self::Columns(files) => files.find(column, key),
        }
    }

    /// Goes to the next row; false at the end. No row at all is an error.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<bool> {
        match self {
            Self::Csv(file) => file.next(),
            Self::Columns(files) => files.next(),
        }
    }

    /// The row that [`Records::next`] went to.
    #[inline]
    pub(crate) fn row(&self) -> AnyRow<'_> {
        match self {
            Self::Csv(file) => AnyRow::Csv(file.row()),
            Self::Columns(files) => AnyRow::Columns(files.row()),
        }
    }

    /// Places a fault in a column of the row.
    #[cold]
    pub(crate) fn value_error(&self, column: usize, fault: Fault) -> DataError {
        match self {
            Self::Csv(file) => file.value_error(column, fault),
            Self::Columns(files) => files.value_error(column, fault),
        }
    }

    /// Names of the values of [`Records::take`].
    pub(crate) fn header(&self) -> &ByteRecord {
        match self {
            Self::Csv(file) => file.header(),
            Self::Columns(files) => files.header(),
        }
    }

    /// Moves the row into `record`, to be written out again: a CSV's as it is, else its number from 1.
    pub(crate) fn take(&mut self, record: &mut ByteRecord) {
        match self {
            Self::Csv(file) => file.take(record),
            Self::Columns(files) => files.take(record),
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Csv(file) => file.name(),
            Self::Columns(files) => files.name(),
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        match self {
            Self::Csv(file) => file.progress(),
            Self::Columns(files) => files.progress(),
        }
    }
}

/// What to do about a column that is not there.
fn nearest(column: &str, columns: &[&str]) -> String {
    let have = list(columns.iter().copied());
    let wanted = column.to_lowercase();
    let likeness = |c: &str| strsim::normalized_damerau_levenshtein(&wanted, &c.to_lowercase());
    let nearest = columns.iter().map(|c| (likeness(c), c)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, near)) if likeness >= 0.6 => {
            format!("did you mean '{near}'? The columns are: {have}")
        }
        _ => format!("name one of the columns: {have}"),
    }
}
