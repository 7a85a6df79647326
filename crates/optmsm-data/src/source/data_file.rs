//! A file that holds rows, as far as it is known before it is read.

use std::path::{Component, Path, PathBuf};

use super::memory::Memory;
use crate::error::{DataError, FileErrorKind, Result};

/// Format of a file, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    CsvGzip,
    CsvZstd,
    Parquet,
    Arrow,
}

/// Value of a folder such as `scenario=home`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) column: String,
    /// None for the folder of rows without a value.
    pub(crate) value: Option<Vec<u8>>,
}

/// One file of a source.
#[derive(Clone, Debug)]
pub(crate) struct DataFile {
    pub(crate) path: PathBuf,
    /// The path as messages show it.
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) partitions: Vec<Partition>,
    /// Size of the file; none for what is no ordinary file.
    pub(crate) bytes: Option<u64>,
    /// The rows themselves, where no file holds them.
    pub(super) memory: Option<Memory>,
    /// Where it lies in a store, if it does.
    #[cfg(feature = "object-store")]
    pub(super) object: Option<std::sync::Arc<super::object::Object>>,
}

const KINDS: &str = ".csv, .csv.gz, .csv.zst, .parquet, .arrow, .feather or .ipc";

/// Folders inside folders: more than anyone has, so that a link to itself ends.
pub(super) const DEEPEST: usize = 32;

impl DataFile {
    /// Whether its rows are in memory.
    pub(crate) fn is_frame(&self) -> bool {
        self.memory.is_some()
    }

    /// Of an object in a store or rows in memory: what changes when the content does. None of a file on disk.
    pub(crate) fn state(&self) -> Option<String> {
        #[cfg(feature = "object-store")]
        if let Some(object) = &self.object {
            return Some(object.state());
        }
        self.memory.as_ref()?.state()
    }
}

impl Format {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let ends = |suffixes: &[&str]| suffixes.iter().any(|s| name.ends_with(s));
        Some(match () {
            () if ends(&[".parquet", ".pq", ".parq"]) => Format::Parquet,
            () if ends(&[".arrow", ".feather", ".ipc"]) => Format::Arrow,
            () if ends(&[".gz"]) => Format::CsvGzip,
            () if ends(&[".zst"]) => Format::CsvZstd,
            () if ends(&[".csv", ".tsv", ".txt"]) => Format::Csv,
            () => return None,
        })
    }

    pub(crate) fn is_csv(self) -> bool {
        matches!(self, Format::Csv | Format::CsvGzip | Format::CsvZstd)
    }
}

pub(super) fn no_pattern(pattern: &str, e: &glob::PatternError) -> DataError {
    DataError::unfit(pattern, format!("is no pattern: {}", e.msg), "write * for any text, ? for a letter")
}

pub(super) fn empty_folder(shown: &str) -> DataError {
    DataError::file(
        FileErrorKind::Missing,
        shown,
        "the folder holds no file of data",
        format!("put {KINDS} into it"),
    )
}

/// The format of a file in a folder.
pub(super) fn known_format(path: &Path) -> Result<Format> {
    Format::of(path).ok_or_else(|| {
        let fix = format!("take it out of the folder, or let its name end in {KINDS}");
        DataError::unfit(&path.display().to_string(), "is not a kind of data file", fix)
    })
}

pub(super) fn too_deep(shown: &str) -> DataError {
    let fix = "look for a link that points to a folder above it";
    DataError::unfit(shown, format!("more than {DEEPEST} folders in each other"), fix)
}

/// Whether a writer put it there for itself, such as `_SUCCESS`.
pub(super) fn hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| matches!(name.as_encoded_bytes(), [b'_' | b'.', ..]))
}

/// Columns that the folders of a path hold, as Hive and Spark write them.
pub(super) fn partitions(path: &Path) -> Vec<Partition> {
    let folders = path.parent().into_iter().flat_map(Path::components);
    let pair = |folder: Component| {
        let text = folder.as_os_str().to_str()?;
        let (column, value) = text.split_once('=').filter(|(column, _)| !column.is_empty())?;
        let missing = value == "__HIVE_DEFAULT_PARTITION__";
        let column = String::from_utf8(decode(column)).ok()?;
        Some(Partition { column, value: (!missing).then(|| decode(value)) })
    };
    folders.filter_map(pair).collect()
}

/// `%20` and the like to what they stand for.
fn decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    out
}

/// The error of files that are all empty.
pub(super) fn no_row(parts: &[DataFile]) -> DataError {
    let problem = match parts.len() {
        1 if parts[0].is_frame() => "has no row".to_owned(),
        1 => "the file has no row".to_owned(),
        n => format!("neither this file nor the {} after it has a row", n - 1),
    };
    DataError::unfit(&parts[0].name, problem, "give at least one row")
}

/// Whether a path is a URL such as `s3://bucket/key`.
pub fn is_url(path: impl AsRef<Path>) -> bool {
    let Some((scheme, _)) = path.as_ref().to_str().and_then(|text| text.split_once("://")) else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_become_columns() {
        let found = partitions(Path::new("data/day=2024-01-02/scenario=S%C3%A3o%20%2F%zz/a=b.parquet"));
        let text = |p: &Partition| (p.column.clone(), p.value.clone().map(|v| String::from_utf8(v).unwrap()));
        let wanted = [("day", "2024-01-02"), ("scenario", "São /%zz")];
        let wanted = wanted.map(|(c, v)| (c.to_owned(), Some(v.to_owned())));
        assert_eq!(found.iter().map(text).collect::<Vec<_>>(), wanted);
        let none = partitions(Path::new("x=__HIVE_DEFAULT_PARTITION__/p.csv"));
        assert_eq!(none, [Partition { column: "x".into(), value: None }]);
    }

    #[test]
    fn formats_by_name() {
        let format = |name| Format::of(Path::new(name));
        assert_eq!(format("part-0.snappy.parquet"), Some(Format::Parquet));
        assert_eq!(format("A.CSV.GZ"), Some(Format::CsvGzip));
        assert_eq!(format("a.csv.zst"), Some(Format::CsvZstd));
        assert_eq!(format("a.feather"), Some(Format::Arrow));
        assert_eq!(format("notes.md"), None);
    }

    #[test]
    fn urls_are_told_from_paths() {
        for url in ["s3://bucket/a.parquet", "gs://b", "az://c/x=1/", "file:///a", "https://h/x", "s3a://b/*"]
        {
            assert!(is_url(url), "{url}");
        }
        for path in ["a.csv", "/a/b", "C:\\a.csv", "a/b://c", "-", "://a", "part-*.csv", "a=b:c"] {
            assert!(!is_url(path), "{path}");
        }
    }
}
