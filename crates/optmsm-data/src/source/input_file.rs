//! One data file as bytes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::data_file::is_url;
use super::interrupt::Interrupt;
use super::listing::data_files;
use super::stored::Stored;
use crate::error::{DataError, Result};

/// A data file, from its first byte to its last: on disk or under a URL. Of a [`Frame`](super::Frame), a hash stands for its bytes.
pub struct InputFile {
    reader: Box<dyn Read + Send>,
    bytes: Option<u64>,
    interrupt: Interrupt,
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
            let bytes = meta.is_file().then_some(meta.len());
            return Ok(Self { reader: Box::new(file), bytes, interrupt: Interrupt::here() });
        }
        match &data_files(&[path.to_owned()])?[..] {
            [part] => {
                let (reader, bytes) = (Stored::open(part)?.into_reader(), part.bytes);
                Ok(Self { reader, bytes, interrupt: Interrupt::here() })
            }
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
        self.interrupt.check().map_err(io::Error::other)?;
        self.reader.read(buffer)
    }
}
