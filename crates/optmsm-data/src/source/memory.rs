//! Rows that a program holds in memory, or hands over once: read like those of a file.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};

use super::data_file::{DataFile, Format};
use super::decode::Batches;
use super::digest::digest;
use crate::error::{DataError, FileErrorKind, Result};

/// Begins the paths of frames.
const SCHEME: &str = "memory://";

/// A table of Arrow batches under a path of its own, `memory://…`, which works wherever the path of a data file does, in this process and
/// until this is dropped.
///
/// Nothing is copied but the rows at hand, some thousand at a time. Rows are never cached on disk for the size of the table, only for
/// that of the encoded rows.
#[derive(Debug)]
pub struct Frame {
    table: Arc<Table>,
}

#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    content: OnceLock<String>, // hash
}

/// Batches that are read once.
pub(super) struct Once {
    schema: SchemaRef,
    batches: Mutex<Option<Batches>>,
}

impl std::fmt::Debug for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Once").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// Rows that are no file's.
#[derive(Clone, Debug)]
pub(super) enum Memory {
    Table(Arc<Table>),
    Once(Arc<Once>),
}

/// The frames that there are, by path.
static FRAMES: RwLock<BTreeMap<PathBuf, Arc<Table>>> = RwLock::new(BTreeMap::new());

impl Frame {
    /// Lends out batches of one schema; `name` is to tell it from other frames in messages.
    ///
    /// # Errors
    /// A batch is not of the schema.
    pub fn new(name: &str, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("{SCHEME}{number}/{name}"));
        if let Some(at) = batches.iter().position(|batch| batch.schema().fields() != schema.fields()) {
            let problem = format!("batch {} has other columns than the table", at + 1);
            return Err(DataError::unfit(&path.display().to_string(), problem, "give batches of one schema"));
        }
        let table = Arc::new(Table { path: path.clone(), schema, batches, content: OnceLock::new() });
        FRAMES.write().unwrap_or_else(PoisonError::into_inner).insert(path, table.clone());
        Ok(Self { table })
    }

    /// Its path, for a configuration or a [`Source`](super::Source).
    pub fn path(&self) -> &Path {
        &self.table.path
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.table.rows()
    }
}

impl Table {
    fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        FRAMES.write().unwrap_or_else(PoisonError::into_inner).remove(&self.table.path);
    }
}

/// Whether a path is one of a frame, be it there or not.
pub(super) fn is_frame(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with(SCHEME))
}

/// The frame of a path.
pub(super) fn frame(path: &Path) -> Result<DataFile> {
    let frames = FRAMES.read().unwrap_or_else(PoisonError::into_inner);
    let table = frames.get(path).cloned().ok_or_else(|| {
        let problem = "these rows were in the memory of a program that has let go of them";
        let fix = "give them again, as a table or as files: --set data.train=FILE and so on";
        DataError::file(FileErrorKind::Missing, path.display().to_string(), problem, fix)
    })?;
    Ok(data_file(path.to_owned(), Memory::Table(table)))
}

/// Batches that are read once; `name` stands for the path in messages.
pub(super) fn once(name: &str, batches: Batches) -> DataFile {
    let once = Once { schema: batches.schema(), batches: Mutex::new(Some(batches)) };
    data_file(name.into(), Memory::Once(Arc::new(once)))
}

fn data_file(path: PathBuf, memory: Memory) -> DataFile {
    DataFile {
        name: path.display().to_string(),
        path,
        format: Format::Arrow,
        partitions: Vec::new(),
        bytes: None,
        memory: Some(memory),
        #[cfg(feature = "object-store")]
        object: None,
    }
}

impl Memory {
    pub(super) fn schema(&self) -> SchemaRef {
        match self {
            Self::Table(table) => table.schema.clone(),
            Self::Once(once) => once.schema.clone(),
        }
    }

    /// Number of rows; none of what is read once.
    pub(super) fn rows(&self) -> Option<usize> {
        match self {
            Self::Table(table) => Some(table.rows()),
            Self::Once(_) => None,
        }
    }

    /// The batches with some columns, all of them if not given.
    pub(super) fn batches(&self, columns: Option<Vec<usize>>) -> std::result::Result<Batches, ArrowError> {
        let schema = self.schema();
        let columns = columns.unwrap_or_else(|| (0..schema.fields().len()).collect());
        let projected = Arc::new(schema.project(&columns)?);
        let all: Batches = match self {
            Self::Table(table) => {
                let table = table.clone();
                let batches = (0..table.batches.len()).map(move |at| Ok(table.batches[at].clone()));
                Box::new(RecordBatchIterator::new(batches, schema))
            }
            Self::Once(once) => {
                let batches = once.batches.lock().unwrap_or_else(PoisonError::into_inner).take();
                batches.ok_or_else(|| ArrowError::ParseError("the stream has been read already".into()))?
            }
        };
        let project = move |batch: std::result::Result<RecordBatch, _>| batch?.project(&columns);
        Ok(Box::new(RecordBatchIterator::new(all.map(project), projected)))
    }

    /// Hash of the content; none of what is read once.
    pub(super) fn state(&self) -> Option<String> {
        let Self::Table(table) = self else { return None };
        // Where nothing is known of the content, it is that of no other table.
        let hash = || match digest(&table.schema, &table.batches) {
            Ok(hash) => format!("sha256 of values {hash}"),
            Err(_) => format!("unknown {}", table.path.display()),
        };
        Some(table.content.get_or_init(hash).clone())
    }

    /// A hash in place of bytes, where files are told apart by theirs.
    pub(super) fn into_reader(self) -> Box<dyn Read + Send> {
        Box::new(io::Cursor::new(self.state().unwrap_or_default()))
    }
}
