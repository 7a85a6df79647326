//! Encoded rows on disk: what a file becomes once, for every later pass and run.
//!
//! A cache belongs to one schema and one state of its source files: its name is a hash of both, so another schema or a
//! changed file finds another cache, and a run that finds its own skips decoding. Rows lie in blocks of [`BLOCK_ROWS`],
//! each with a checksum; a block is read with one call into memory that is used again, so a pass needs no more memory
//! than the blocks it holds. It is not mapped: a mapped file that another program cuts takes this one down, and its
//! pages would count as this one's memory.
//!
//! The file: a magic number, the blocks, an index as JSON, its length and checksum, the magic number again. Numbers are
//! in the byte order of the machine, which is part of the name. It is whole or not there, and one process at a time
//! makes it.

mod block;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use optmsm_core::batch::Batch;
use optmsm_core::config::InputSpec;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::extra::{Extra, Need};
use super::reader::RowReader;
use crate::config::BLOCK_ROWS;
use crate::error::{DataError, FileErrorKind, Result};
use crate::schema::Schema;
use crate::source::{DataFile, Source, Split, SplitConfig, empty_split};
use crate::util::{Lock, read_at, remove_unlocked, write_whole};

const MAGIC: &[u8; 8] = b"optmsmC1";
/// Bytes at both ends of a source file that its hash reads; its size and time of change stand for the rest.
const SAMPLE: u64 = 1 << 20;

/// The part of a file's rows that is meant; all of them without one.
pub type Selection<'a> = Option<(&'a SplitConfig, Split)>;

/// One block in the file.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Entry {
    offset: u64,
    bytes: u64,
    rows: u32,
    crc: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Index {
    key: String,
    rows: u64,
    blocks: Vec<Entry>,
}

/// Encoded rows of one source, open to be read in any order.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    file: File,
    index: Index,
    input: InputSpec,
}

/// Outcome of [`Cache::prepare`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// The cache was there.
    Found,
    /// There was none, or one of another schema or of other files: it was made.
    Made,
    /// There was one, but damaged as said here: it was made again.
    Rebuilt(String),
}

/// Name of a cache: a hash of format, program, byte order, schema, part of the rows, and the files as they are now.
fn key(schema: &Schema, files: &[DataFile], part: Selection) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(MAGIC);
    hash.update(env!("CARGO_PKG_VERSION")); // another version may read or encode a value in another way
    hash.update(u32::to_ne_bytes(1));
    hash.update(schema.fingerprint());
    if let Some((split, part)) = part {
        hash.update(format!("{split:?} {part:?}"));
    }
    let mut sample = Vec::new();
    for part in files {
        let name = &part.name;
        let io = |e| DataError::io(name, "read", e);
        if let Some(state) = part.state() {
            // A frame has another name each time.
            hash.update(if part.is_frame() { "" } else { name });
            hash.update(state);
            continue;
        }
        // Not by its folder: a path is written in many ways, and may be moved. Folders such as scenario=home are
        // columns.
        hash.update(format!("{:?} {:?}", part.path.file_name(), part.partitions));
        let mut file = File::open(&part.path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        hash.update(meta.len().to_le_bytes());
        if let Ok(changed) = meta.modified().map_err(io)?.duration_since(std::time::UNIX_EPOCH) {
            hash.update(changed.as_nanos().to_le_bytes());
        }
        for start in [0, meta.len().saturating_sub(SAMPLE)] {
            sample.clear();
            file.seek(SeekFrom::Start(start)).map_err(io)?;
            (&mut file).take(SAMPLE).read_to_end(&mut sample).map_err(io)?;
            hash.update(&sample);
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

impl Cache {
    /// Opens the cache of labelled files, or of one part of their rows, in `folder`, making it where there is none that
    /// fits. `say` gets a line when another process is making it: this one waits and then finds it.
    ///
    /// # Errors
    /// The file or a row of it cannot be used, or the folder cannot be written; nothing half-written stays.
    pub fn prepare(
        source: &Source,
        schema: &Schema,
        part: Selection,
        folder: &Path,
        say: impl FnMut(&str),
    ) -> Result<(Self, Prepared)> {
        let files = source.data_files()?;
        let key = key(schema, &files, part)?;
        let stem = files.first().and_then(|f| f.path.file_stem()).unwrap_or_default().to_string_lossy();
        let path = folder.join(format!("{stem}-{}.cache", &key[..16]));
        let open = || Self::open(&path, &key, schema);
        // One may have been killed when its cache was whole.
        sweep(folder);
        // Without a lock: it may be in a folder that cannot be written.
        if let Ok(cache) = open() {
            return Ok((cache, Prepared::Found));
        }
        fs::create_dir_all(folder).map_err(|e| DataError::io(&folder.display().to_string(), "write", e))?;
        let _lock = Lock::take(&folder.join(format!(".{stem}-{}.lock", &key[..16])), say)?;
        let mut prepared = Prepared::Made;
        if path.exists() {
            match open() {
                Ok(cache) => return Ok((cache, Prepared::Found)),
                Err(problem) => prepared = Prepared::Rebuilt(problem),
            }
        }
        write(&path, &key, source, schema, part)?;
        let cache = open().map_err(|problem| {
            DataError::file(
                FileErrorKind::Damaged,
                path.display().to_string(),
                problem,
                "check the disk that it was just written to",
            )
        })?;
        Ok((cache, prepared))
    }

    /// Opens a cache and checks every byte of it; says what is wrong.
    fn open(path: &Path, key: &str, schema: &Schema) -> std::result::Result<Self, String> {
        let mut file = File::open(path).map_err(|e| e.to_string())?;
        let index = read_index(&mut file)?;
        if index.key != key {
            return Err("it belongs to another schema or to other files".into());
        }
        let cache = Self { path: path.to_path_buf(), file, index, input: schema.input_spec() };
        let (mut batch, mut extra, mut bytes) = (cache.batch(), Extra::default(), Vec::new());
        for number in 0..cache.blocks() {
            batch.clear();
            extra.clear();
            cache.decode(number, &mut batch, &mut extra, &mut bytes)?;
            // Checksums are those of what was written, which need not be rows of this schema.
            block::check(&batch, &extra, schema).map_err(|problem| format!("block {number}: {problem}"))?;
        }
        Ok(cache)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.index.rows as usize
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.index.blocks.len()
    }

    /// Rows of a block: [`BLOCK_ROWS`], except in the last.
    pub fn block_rows(&self, number: usize) -> usize {
        self.index.blocks[number].rows as usize
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.index.blocks.last().map_or(0, |b| b.offset + b.bytes)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the rows of a block.
    ///
    /// # Errors
    /// The disk failed, or the file was changed since it was opened.
    pub fn read(
        &self,
        number: usize,
        batch: &mut Batch,
        extra: &mut Extra,
        bytes: &mut Vec<u64>,
    ) -> Result<()> {
        let fail = |problem: String| {
            let problem = format!("block {number} cannot be read: {problem}");
            DataError::file(
                FileErrorKind::Damaged,
                self.path.display().to_string(),
                problem,
                "delete the file: it will be made anew",
            )
        };
        self.decode(number, batch, extra, bytes).map_err(fail)
    }

    /// Appends the rows of a block, or says what is wrong with it.
    fn decode(
        &self,
        number: usize,
        batch: &mut Batch,
        extra: &mut Extra,
        bytes: &mut Vec<u64>,
    ) -> std::result::Result<(), String> {
        let mut reader = block::Reader::new(self.load(number, bytes)?);
        let read = reader.rows(self.block_rows(number), batch, extra);
        read.map_err(|problem| format!("block {number}: {problem}"))
    }

    /// The bytes of a block, checked.
    fn load<'a>(&self, number: usize, words: &'a mut Vec<u64>) -> std::result::Result<&'a [u8], String> {
        let entry = self.index.blocks[number];
        words.resize(entry.bytes.div_ceil(8) as usize, 0);
        let bytes = &mut bytemuck::cast_slice_mut::<u64, u8>(words)[..entry.bytes as usize];
        read_at(&self.file, bytes, entry.offset).map_err(|e| e.to_string())?;
        let found = crc32fast::hash(bytes);
        match found == entry.crc {
            true => Ok(bytes),
            false => Err(format!("the checksum of block {number} is {found:08x}, not {:08x}", entry.crc)),
        }
    }

    /// An empty batch for its rows.
    pub fn batch(&self) -> Batch {
        Batch::new(&self.input)
    }
}

/// Reads the index from the end of a file.
fn read_index(file: &mut File) -> std::result::Result<Index, String> {
    let text = |e: std::io::Error| e.to_string();
    let size = file.metadata().map_err(text)?.len();
    let tail = 8 + 4 + 8; // length, checksum, magic number
    let mut end = [0; 20];
    let cut = || "it was cut or is no cache".to_string();
    file.seek(SeekFrom::Start(size.checked_sub(tail).ok_or_else(cut)?)).map_err(text)?;
    file.read_exact(&mut end).map_err(text)?;
    if &end[12..] != MAGIC {
        return Err(cut());
    }
    let length = end[..8].iter().rev().fold(0u64, |v, &b| v << 8 | u64::from(b));
    let crc = end[8..12].iter().rev().fold(0u32, |v, &b| v << 8 | u32::from(b));
    let start = (size - tail).checked_sub(length).ok_or_else(cut)?;
    let mut json = vec![0; usize::try_from(length).map_err(|_| cut())?];
    file.seek(SeekFrom::Start(start)).map_err(text)?;
    file.read_exact(&mut json).map_err(text)?;
    if crc32fast::hash(&json) != crc {
        return Err("the checksum of its index differs".into());
    }
    let index: Index = serde_json::from_slice(&json).map_err(|e| e.to_string())?;
    // Blocks lie one after the other, and all but the last are full.
    let mut end = Some(MAGIC.len() as u64);
    let (mut rows, most) = (0, BLOCK_ROWS as u32);
    let fits = index.blocks.iter().enumerate().all(|(i, b)| {
        let begins = end == Some(b.offset);
        end = b.offset.checked_add(b.bytes);
        rows += u64::from(b.rows);
        begins && if i + 1 < index.blocks.len() { b.rows == most } else { (1..=most).contains(&b.rows) }
    });
    match fits && end == Some(start) && rows == index.rows && rows > 0 {
        true => Ok(index),
        false => Err("its index does not fit its blocks".into()),
    }
}

/// Removes the locks of killed processes.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let key = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(".lock")?.rsplit_once('-'));
        if key.is_some_and(|(_, key)| key.len() == 16 && key.bytes().all(|b| b.is_ascii_hexdigit())) {
            remove_unlocked(&entry.path()).ok();
        }
    }
}

/// Decodes the source into a new cache.
fn write(path: &Path, key: &str, source: &Source, schema: &Schema, part: Selection) -> Result<()> {
    let name = path.display().to_string();
    let io = |e| DataError::io(&name, "write", e);
    write_whole(path, |file| {
        let mut to = BufWriter::with_capacity(1 << 20, file);
        to.write_all(MAGIC).map_err(io)?;
        let mut reader = RowReader::open(source.clone(), schema, Need::Labelled)?;
        if let Some((split, part)) = part {
            reader = reader.select(split, part)?;
        }
        let (mut batch, mut extra) = (Batch::new(&schema.input_spec()), Extra::default());
        let (mut bytes, mut offset) = (Vec::new(), MAGIC.len() as u64);
        let mut index = Index { key: key.into(), rows: 0, blocks: Vec::new() };
        loop {
            batch.clear();
            extra.clear();
            let rows = reader.read(&mut batch, &mut extra, BLOCK_ROWS)?;
            if rows == 0 {
                break;
            }
            bytes.clear();
            block::write(&mut bytes, &batch, &extra);
            to.write_all(&bytes).map_err(io)?;
            let (size, crc) = (bytes.len() as u64, crc32fast::hash(&bytes));
            index.blocks.push(Entry { offset, bytes: size, rows: rows as u32, crc });
            (index.rows, offset) = (index.rows + rows as u64, offset + size);
        }
        if let Some((_, part)) = part.filter(|_| index.rows == 0) {
            return Err(empty_split(reader.name(), part));
        }
        let json = serde_json::to_vec(&index).map_err(|e| io(e.into()))?;
        to.write_all(&json).map_err(io)?;
        to.write_all(&(json.len() as u64).to_le_bytes()).map_err(io)?;
        to.write_all(&crc32fast::hash(&json).to_le_bytes()).map_err(io)?;
        to.write_all(MAGIC).and_then(|()| to.flush()).map_err(io)
    })
}
