//! Where a file lies: on a disk, or in an object store under a URL.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

#[cfg(feature = "object-store")]
use super::object::Remote;
use super::parts::{Part, parts};
use crate::error::{DataError, Result};

/// Whether a path is a URL such as `s3://bucket/key`.
pub fn is_url(path: impl AsRef<Path>) -> bool {
    let Some((scheme, _)) = path.as_ref().to_str().and_then(|text| text.split_once("://")) else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// An open file.
pub(super) enum Stored {
    Disk(File),
    #[cfg(feature = "object-store")]
    Object(Remote),
}

/// Bytes that can be read from anywhere.
pub(super) trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

impl Stored {
    pub(super) fn open(part: &Part) -> Result<Self> {
        #[cfg(feature = "object-store")]
        if let Some(object) = &part.object {
            return Ok(Self::Object(Remote::new(object.clone())));
        }
        File::open(&part.path).map(Self::Disk).map_err(|e| DataError::io(&part.name, "open", e))
    }

    /// All bytes in order.
    pub(super) fn into_reader(self) -> Box<dyn Read + Send> {
        match self {
            Self::Disk(file) => Box::new(file),
            #[cfg(feature = "object-store")]
            Self::Object(remote) => Box::new(remote.reader()),
        }
    }

    /// Its bytes from the first on; the place is shared with other readers of a file on disk.
    pub(super) fn reader(&self) -> io::Result<Box<dyn ReadSeek>> {
        match self {
            Self::Disk(file) => {
                let mut file = file.try_clone()?;
                file.rewind()?;
                Ok(Box::new(file))
            }
            #[cfg(feature = "object-store")]
            Self::Object(remote) => Ok(Box::new(remote.reader())),
        }
    }

    /// What the store said, where a read failed because of it and not because of what the file holds.
    pub(super) fn failure(&self) -> Option<DataError> {
        match self {
            Self::Disk(_) => None,
            #[cfg(feature = "object-store")]
            Self::Object(remote) => remote.failure(),
        }
    }
}

/// A data file, from its first byte to its last: on disk or under a URL.
pub struct InputFile {
    reader: Box<dyn Read + Send>,
    bytes: Option<u64>,
}

impl InputFile {
    /// Opens one file, as [`Source::files`](super::Source::files) names it.
    ///
    /// # Errors
    /// There is no such file, or it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if !is_url(path) {
            let io = |e| DataError::io(&path.display().to_string(), "open", e);
            let file = File::open(path).map_err(io)?;
            let meta = file.metadata().map_err(io)?;
            return Ok(Self { reader: Box::new(file), bytes: meta.is_file().then_some(meta.len()) });
        }
        match &parts(&[path.to_owned()])?[..] {
            [part] => Ok(Self { reader: Stored::open(part)?.into_reader(), bytes: part.bytes }),
            _ => Err(DataError::unfit(&path.display().to_string(), "is a folder", "name one file")),
        }
    }

    /// Its size; none for what is no ordinary file.
    pub fn bytes(&self) -> Option<u64> {
        self.bytes
    }
}

impl Read for InputFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// The files behind a URL: one, a folder's, or those that a pattern names.
#[cfg(feature = "object-store")]
pub(super) use super::object::parts as url_parts;

/// The error of a program that was built without object stores.
#[cfg(not(feature = "object-store"))]
pub(super) fn url_parts(url: &str, _: &mut Vec<Part>) -> Result<()> {
    let fix = "build it with --features object-store, or copy the files to a disk";
    Err(DataError::unfit(url, "this program was built without support for URLs", fix))
}

#[cfg(test)]
mod tests {
    use super::*;

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
