//! Files in object stores, behind the feature `object-store`.
//!
//! The stores' client is asynchronous, what decodes is not: one thread of its own does all input and output
//! ([`mod@net`]), and whoever reads waits for the answers it asked for. Reads go ahead of the decoder in large ranges
//! ([`mod@ahead`]), never one request for a small read ([`mod@chunks`] for Parquet). An object that changes while it is
//! read is an error, not a mixture: every answer must be of the object that was found first.

mod ahead;
mod chunks;
mod fault;
mod footers;
mod list;
mod net;
mod scheme;
mod url;

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore};

use crate::error::{DataError, FileErrorKind, Result};
use ahead::{Ahead, Reader};
use chunks::Chunks;
use footers::Footers;
pub(super) use list::data_files;
use net::Pending;
use scheme::Scheme;

/// An object as it was found.
#[derive(Debug)]
pub(crate) struct Object {
    /// Its URL.
    name: String,
    scheme: Scheme,
    store: Arc<dyn ObjectStore>,
    meta: ObjectMeta,
    /// Its place among the Parquet files of a source.
    footers: OnceLock<(Arc<Footers>, usize)>,
}

impl Object {
    /// Text that changes when the content does: size, e-tag, version and time of change.
    pub(super) fn state(&self) -> String {
        let ObjectMeta { size, e_tag, version, last_modified, .. } = &self.meta;
        format!("{size} {e_tag:?} {version:?} {}", last_modified.to_rfc3339())
    }

    fn size(&self) -> u64 {
        self.meta.size
    }

    /// Asks for bytes, all of which are inside the object.
    fn ask(self: &Arc<Self>, range: Range<u64>) -> Result<Pending<Result<Bytes>>> {
        let object = self.clone();
        net::start(&self.name, async move { object.get(range).await })
    }

    async fn get(&self, range: Range<u64>) -> Result<Bytes> {
        let wanted = range.end - range.start;
        if wanted == 0 {
            return Ok(Bytes::new()); // an empty range is an error of the stores
        }
        let failed = |e| fault::explain(&self.name, self.scheme, e);
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let answer = self.store.get_opts(&self.meta.location, options).await.map_err(failed)?;
        // Some stores list an e-tag without the quotes that an answer has.
        let tag = |meta: &ObjectMeta| meta.e_tag.as_ref().map(|t| t.trim_matches('"').to_owned());
        let other_tag = tag(&self.meta).zip(tag(&answer.meta)).is_some_and(|(a, b)| a != b);
        if answer.meta.size != self.meta.size || other_tag {
            return Err(fault::changed(&self.name));
        }
        let bytes = answer.bytes().await.map_err(failed)?;
        if bytes.len() as u64 != wanted {
            let problem = format!("{} bytes came where {wanted} were asked for", bytes.len());
            return Err(DataError::file(
                FileErrorKind::System,
                &self.name,
                problem,
                "try again; if it stays, check the store",
            ));
        }
        Ok(bytes)
    }
}

/// An object that is open, and why reading it failed.
#[derive(Clone)]
pub(super) struct Remote {
    object: Arc<Object>,
    failed: Arc<Mutex<Option<DataError>>>,
}

impl Remote {
    pub(super) fn new(object: Arc<Object>) -> Self {
        Self { object, failed: Arc::default() }
    }

    /// Its bytes from the first on.
    pub(super) fn reader(&self) -> Reader {
        Reader::new(self.clone())
    }

    /// For what stands at the end of a Parquet file.
    pub(super) fn footer(&self) -> std::io::Result<Chunks> {
        Chunks::footer(self.clone())
    }

    /// For the column chunks of a row group.
    pub(super) fn chunks(&self, ranges: Vec<(u64, u64)>) -> std::io::Result<Chunks> {
        Chunks::new(self.clone(), ranges)
    }

    /// Takes the first error of the store since the file was opened. Faults in the file's content are not among them.
    pub(super) fn failure(&self) -> Option<DataError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The error for a reader, which those that parse may turn into text: so it is kept, too.
    fn fail(&self, error: DataError) -> std::io::Error {
        let copy = match &error {
            DataError::File { path, kind, problem, fix } => DataError::file(*kind, path, problem, fix),
            other => {
                DataError::file(FileErrorKind::System, &self.object.name, other.to_string(), "try again")
            }
        };
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        std::io::Error::other(copy)
    }

    fn ahead(&self, range: Range<u64>, step: usize, most: usize) -> Ahead {
        Ahead::new(self.object.clone(), range, step, most)
    }
}
