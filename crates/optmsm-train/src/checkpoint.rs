//! Checkpoints: safetensors with the tensor names of model.md §10, and a checksum.
//!
//! They are written and read in pieces: neither needs memory that grows with the tables.

mod save;

use std::path::{Path, PathBuf};

use optmsm_core::error::{Error as CoreError, TensorErrorKind};
use optmsm_core::params::TensorSource;
use optmsm_core::rounding::TableDtype;
use optmsm_data::DataError;
use safetensors::tensor::TensorInfo;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, FileErrorKind, Result};
use crate::stretch::Stretch;
use crate::tensors::{Checked, TensorFile, are_finite, table_type};

pub use save::{Outline, save};

/// Version of the metadata.
const FORMAT: u32 = 1;

/// Where training stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Optimizer steps done.
    pub step: u64,
    /// Passes over the data done.
    pub epoch: u64,
    /// Batches of the current pass done.
    pub batch: u64,
    /// Passes done, with the share of the current one; none of older files, and before the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<f64>,
    /// Mean training loss since the last evaluation.
    pub loss: f64,
    /// Best monitored value so far.
    pub best: Option<f64>,
    /// Step of that value.
    pub best_step: u64,
    /// Evaluations since.
    pub stale: u64,
    /// Settings that the batches of the current pass follow from, in words; empty in older files.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub order: String,
    /// Name of the value that `best` is; of older files nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub monitor: String,
    /// Evaluations; of older files 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub evaluations: u64,
    /// Training since the last of them.
    #[serde(default, skip_serializing_if = "Stretch::is_empty")]
    pub stretch: Stretch,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Facts that a file holds about itself: one metadata entry, because several would be written in any order.
#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    sha256: String,
    fingerprint: String,
    #[serde(rename = "progress")]
    position: Position,
}

/// Name of the metadata entry.
const ENTRY: &str = "optmsm";

/// Bytes that are hashed at a time.
const PIECE: usize = 1 << 20;

/// SHA-256 in hexadecimal.
pub fn sha256(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut hash = Sha256::new();
    parts.into_iter().for_each(|part| hash.update(part));
    hex(&hash.finalize())
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// An open file whose content was checked: where training stood, and tensors, which are read from it when they are asked for.
#[derive(Debug)]
pub struct Checkpoint {
    /// Where training stood.
    pub position: Position,
    /// SHA-256 of what it holds.
    pub sha256: String,
    path: PathBuf,
    tensors: TensorFile,
}

impl Checkpoint {
    /// Opens a file and checks all of it.
    ///
    /// # Errors
    /// When it is missing, truncated, damaged, or of another model (`fingerprint`).
    pub fn open(path: &Path, fingerprint: &str) -> Result<Self> {
        let fail = |kind, problem: &str, fix: &str| Error::file(kind, path.display(), problem, fix);
        let again = "restore it from a copy, or train again";
        let tensors = TensorFile::open(path).map_err(|e| {
            Error::io(path.display(), "read", e, "check that the run folder holds a finished evaluation")
        })?;
        let broken = |problem: &str| fail(FileErrorKind::Damaged, problem, again);
        let damaged = |e: String| broken(&format!("is truncated or damaged ({e})"));
        let tensors = tensors.map_err(damaged)?;
        let header = tensors.entry(ENTRY).and_then(|e| serde_json::from_str::<Header>(e).ok());
        let Some(header) = header.filter(|h| h.format == FORMAT) else {
            let problem = "is not a checkpoint of this program";
            return Err(fail(FileErrorKind::Unfit, problem, "give a run folder that it wrote"));
        };
        let (found, not_finite) =
            checksum(&tensors, &header.position, &header.fingerprint).map_err(damaged)?;
        if found != header.sha256 {
            return Err(broken("is damaged: its content does not match its checksum"));
        }
        if let Some(name) = not_finite {
            return Err(broken(&format!("tensor '{name}' has NaN or an infinity")));
        }
        if header.fingerprint != fingerprint {
            let problem = "is of another model: its configuration or schema is not that of this run";
            let fix = "use the checkpoint with the config.toml and schema.json it came with";
            return Err(fail(FileErrorKind::Foreign, problem, fix));
        }
        Ok(Self { position: header.position, sha256: header.sha256, path: path.to_path_buf(), tensors })
    }

    /// Type that a tensor is stored in.
    pub fn dtype(&self, name: &str) -> Option<TableDtype> {
        table_type(self.tensors.info(name)?.dtype)
    }
}

/// Over position, fingerprint, names, types other than `f32`, and bytes; and the first tensor with an element that is not finite.
fn checksum(
    tensors: &TensorFile,
    position: &Position,
    fingerprint: &str,
) -> Checked<(String, Option<String>)> {
    let (mut hash, mut not_finite) = (Sha256::new(), None);
    hash.update(serde_json::to_string(position).map_err(|e| e.to_string())?);
    hash.update(fingerprint);
    for name in tensors.names() {
        let Some(info) = tensors.info(&name) else { continue };
        let dtype = table_type(info.dtype).ok_or_else(|| format!("{name} is stored as {:?}", info.dtype))?;
        hash.update(&name);
        hash.update(if dtype == TableDtype::F32 { "" } else { dtype.name() });
        let mut finite = true;
        tensors.bytes(
            info,
            PIECE,
            |e| e.to_string(),
            |bytes| {
                hash.update(bytes);
                finite &= are_finite(bytes, dtype);
                Ok(())
            },
        )?;
        if !finite {
            not_finite.get_or_insert(name);
        }
    }
    Ok((hex(&hash.finalize()), not_finite))
}

impl TensorSource<f32> for Checkpoint {
    fn tensor(&self, name: &str, shape: &[usize]) -> optmsm_core::error::Result<Vec<f32>> {
        let mut data = Vec::new();
        self.pieces(name, shape, &mut |piece| {
            // The file is known to hold all elements by now: the first piece makes room for them.
            data.reserve_exact(shape.iter().product::<usize>() - data.len());
            data.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(data)
    }

    fn pieces(
        &self,
        name: &str,
        shape: &[usize],
        each: &mut dyn FnMut(&[f32]) -> optmsm_core::error::Result<()>,
    ) -> optmsm_core::error::Result<()> {
        let fail = |kind| CoreError::tensor(name, kind);
        let typed = |info: &TensorInfo| table_type(info.dtype);
        let Some((info, dtype)) = self.tensors.info(name).and_then(|info| Some((info, typed(info)?))) else {
            return Err(fail(TensorErrorKind::Missing));
        };
        if info.shape != shape {
            return Err(fail(TensorErrorKind::shape(&info.shape, shape)));
        }
        let failed = |e| {
            fail(TensorErrorKind::Read(DataError::io(&self.path.display().to_string(), "read", e).into()))
        };
        self.tensors.pieces(info, dtype, failed, each)
    }
}
