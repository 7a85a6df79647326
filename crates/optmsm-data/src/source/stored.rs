//! Where rows lie: on a disk, in memory, or in an object store under a URL.

use std::fs::File;
use std::io::{self, Read, Seek};

use super::data_file::DataFile;
use super::memory::Memory;
#[cfg(feature = "object-store")]
use super::object::Remote;
use crate::error::{DataError, Result};

/// An open file.
pub(super) enum Stored {
    Disk(File),
    Memory(Memory),
    #[cfg(feature = "object-store")]
    Object(Remote),
}

/// Bytes that can be read from anywhere.
pub(super) trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

impl Stored {
    pub(super) fn open(part: &DataFile) -> Result<Self> {
        if let Some(memory) = &part.memory {
            return Ok(Self::Memory(memory.clone()));
        }
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
            Self::Memory(memory) => memory.into_reader(),
            #[cfg(feature = "object-store")]
            Self::Object(remote) => Box::new(remote.reader()),
        }
    }

    /// Its bytes from the first on, of what has bytes; the place is shared with other readers of a file on disk.
    pub(super) fn reader(&self) -> io::Result<Box<dyn ReadSeek>> {
        match self {
            Self::Disk(file) => {
                let mut file = file.try_clone()?;
                file.rewind()?;
                Ok(Box::new(file))
            }
            Self::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
            #[cfg(feature = "object-store")]
            Self::Object(remote) => Ok(Box::new(remote.reader())),
        }
    }

    /// The store's error, if a read failed because of the store and not because of the file's content.
    pub(super) fn failure(&self) -> Option<DataError> {
        match self {
            Self::Disk(_) | Self::Memory(_) => None,
            #[cfg(feature = "object-store")]
            Self::Object(remote) => remote.failure(),
        }
    }
}
