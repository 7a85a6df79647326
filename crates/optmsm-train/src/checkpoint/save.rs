//! Writing a checkpoint: one pass to learn what there is, one that writes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use optmsm_core::params::TensorSink;
use optmsm_core::rounding::TableDtype;
use optmsm_data::{DataError, write_whole};

use super::{ENTRY, FORMAT, Header, Position, checksum};
use crate::error::{Error, Result};
use crate::tensors::{Elements, TensorFile, header, layout};

/// Names, types and shapes of what is exported; as a [`TensorSink`] it takes them and looks at the elements.
#[derive(Clone, Debug)]
pub struct Outline {
    tensors: BTreeMap<String, (TableDtype, Vec<usize>)>,
    finite: bool,
}

impl Default for Outline {
    fn default() -> Self {
        Self { tensors: BTreeMap::new(), finite: true }
    }
}

impl Outline {
    /// Whether every element so far was a finite number.
    pub fn is_finite(&self) -> bool {
        self.finite
    }
}

impl TensorSink<f32> for Outline {
    fn begin(&mut self, name: &str, shape: &[usize], dtype: TableDtype) {
        self.tensors.insert(name.to_string(), (dtype, shape.to_vec()));
    }

    fn piece(&mut self, data: &[f32]) {
        // No branch an element: this is as fast as the memory.
        self.finite &= data.iter().fold(true, |finite, v| finite & v.is_finite());
    }
}

/// Writes a checkpoint whole or not at all; `export` brings the tensors of `outline` again, in any order.
///
/// # Errors
/// When the disk or the device refuses, with the path.
pub fn save(
    path: &Path,
    outline: &Outline,
    position: &Position,
    fingerprint: &str,
    export: impl FnOnce(&mut dyn TensorSink<f32>) -> optmsm_core::error::Result<()>,
) -> Result<()> {
    let bug = |e: String| Error::bug(path.display(), e);
    let tensors = layout(outline.tensors.iter().map(|(name, (dtype, shape))| (&**name, *dtype, &**shape)));
    let entry = |sha256: String| {
        let (fingerprint, position) = (fingerprint.to_string(), position.clone());
        let entry = Header { format: FORMAT, sha256, fingerprint, position };
        serde_json::to_string(&entry).map_err(|e| bug(e.to_string()))
    };
    // A checksum of zeros has the length of the true one, which is known last.
    let preliminary = header(ENTRY, entry("0".repeat(64))?, tensors.clone()).map_err(bug)?;
    let io = |e: std::io::Error| DataError::io(&path.display().to_string(), "write", e);
    write_whole(path, |mut file: &File| {
        file.write_all(&preliminary).map_err(io)?;
        let first = preliminary.len();
        let places = tensors.iter().map(|(name, info)| (&**name, (first + info.data_offsets.0) as u64));
        let mut writer = Writer { places: places.collect(), to: Elements::new(file), failed: None };
        export(&mut writer)?;
        if let Some(e) = writer.failed {
            return Err(io(e).into());
        }
        let written = TensorFile::of(file.try_clone().map_err(io)?).map_err(io)?.map_err(bug)?;
        let (sha256, _) = checksum(&written, position, fingerprint).map_err(bug)?;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        file.write_all(&header(ENTRY, entry(sha256)?, tensors.clone()).map_err(bug)?).map_err(io)?;
        Ok(())
    })
}

/// Puts every tensor at its place.
struct Writer<'a> {
    places: BTreeMap<&'a str, u64>,
    to: Elements<'a>,
    failed: Option<std::io::Error>,
}

impl Writer<'_> {
    fn attempt(&mut self, write: impl FnOnce(&mut Elements) -> std::io::Result<()>) {
        if self.failed.is_none() {
            self.failed = write(&mut self.to).err();
        }
    }
}

impl TensorSink<f32> for Writer<'_> {
    fn begin(&mut self, name: &str, _: &[usize], dtype: TableDtype) {
        let place = self.places.get(name).copied();
        let unknown = || std::io::Error::other(format!("{name} was not there a moment ago"));
        self.attempt(|to| to.begin(place.ok_or_else(unknown)?, dtype));
    }

    fn piece(&mut self, data: &[f32]) {
        self.attempt(|to| to.write(data));
    }
}
