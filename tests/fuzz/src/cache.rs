//! A cache of encoded rows: its index and blocks are signed, then it is opened and read.
//!
//! An input is a cache without its key, which follows from the sample's file.

use std::path::PathBuf;
use std::sync::OnceLock;

use optmsm_data::{Cache, Dataset, Extra, Prepared, Source};
use serde_json::Value;

use crate::memory;
use crate::signed::sample;

/// Bytes that begin and end a file.
const MAGIC: &[u8] = b"optmsmC1";

/// The sample's cache, and the rows in it.
struct Good {
    path: PathBuf,
    bytes: Vec<u8>,
    key: Value,
    rows: Dataset,
}

fn prepare() -> (Cache, Prepared) {
    let sample = sample();
    let folder = sample.folder().join("cache");
    let source = Source::from(&sample.path).with_threads(1);
    Cache::prepare(&source, &sample.schema, None, &folder, |_| {}).expect("a good file")
}

fn good() -> &'static Good {
    static GOOD: OnceLock<Good> = OnceLock::new();
    GOOD.get_or_init(|| {
        let path = prepare().0.path().to_owned();
        let bytes = std::fs::read(&path).expect("the cache");
        let (_, index) = parts(&bytes).expect("a good cache");
        let key = serde_json::from_slice::<Value>(index).expect("a good index")["key"].clone();
        let sample = sample();
        let rows = Dataset::load(&sample.path, &sample.schema).expect("a good file");
        Good { path, bytes, key, rows }
    })
}

/// Blocks and index of a cache.
fn parts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (rest, tail) = bytes.split_at_checked(bytes.len().checked_sub(20)?)?;
    let length = u64::from_le_bytes(*tail.first_chunk()?);
    rest.split_at_checked(rest.len().checked_sub(usize::try_from(length).ok()?)?)
}

/// The cache with the key and checksums that it should have; as it is where it has no index.
fn sign(bytes: &[u8]) -> Vec<u8> {
    let signed = || {
        let (blocks, index) = parts(bytes)?;
        let mut index: Value = serde_json::from_slice(index).ok()?;
        index["key"] = good().key.clone();
        for block in index["blocks"].as_array_mut()? {
            let place = |name| usize::try_from(block[name].as_u64()?).ok();
            let (start, length) = (place("offset")?, place("bytes")?);
            if let Some(block_bytes) = start.checked_add(length).and_then(|end| blocks.get(start..end)) {
                block["crc"] = crc32fast::hash(block_bytes).into();
            }
        }
        let index = serde_json::to_vec(&index).ok()?;
        let (length, crc) = ((index.len() as u64).to_le_bytes(), crc32fast::hash(&index).to_le_bytes());
        Some([blocks, &index, &length, &crc, MAGIC].concat())
    };
    signed().unwrap_or_else(|| bytes.to_vec())
}

/// A good cache.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![good().bytes.clone()]
}

/// Opens a cache and reads it: its rows are of the schema, or it is made anew.
pub fn run(bytes: &[u8]) {
    let (good, spec) = (good(), sample().schema.input_spec());
    let signed = sign(bytes);
    memory::within(64, || {
        std::fs::write(&good.path, &signed).expect("a temporary file");
        let (cache, prepared) = prepare();
        let mut set = Dataset { batch: cache.batch(), extra: Extra::default() };
        for block in 0..cache.blocks() {
            cache
                .read(block, &mut set.batch, &mut set.extra, &mut Vec::new())
                .expect("a block that was checked");
        }
        set.batch.validate(&spec).expect("rows that fit their schema");
        assert_eq!(set.rows(), cache.rows());
        if prepared != Prepared::Found {
            assert!(set == good.rows, "other rows than those of the file");
        }
    });
}
