//! Checkpoints: safetensors with the tensor names of model.md §10, and a checksum.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use half::{bf16, f16};
use optmsm_core::error::Error as CoreError;
use optmsm_core::params::{TensorSink, TensorSource};
use optmsm_core::rounding::TableDtype;
use optmsm_data::write_atomic;
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Version of the metadata.
const FORMAT: u32 = 1;

/// Where training stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimizer steps done.
    pub step: u64,
    /// Passes over the data done.
    pub epoch: u64,
    /// Batches of the current pass done.
    pub batch: u64,
    /// The last training loss that was read.
    pub loss: f64,
    /// Best monitored value so far.
    pub best: Option<f64>,
    /// Step of that value.
    pub best_step: u64,
    /// Evaluations since.
    pub stale: u64,
    /// What the batches of the current pass follow from; of older files nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub order: String,
}

/// Tensors in the type that each is stored in, where training stands, and what they belong to. It is a
/// [`TensorSink`], which fills it, and a [`TensorSource`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Where training stood.
    pub progress: Progress,
    /// Hash of model configuration and schema.
    pub fingerprint: String,
    tensors: BTreeMap<String, Stored>,
    /// The tensor that began last.
    open: String,
}

/// A tensor as the file has it.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    dtype: TableDtype,
    shape: Vec<usize>,
    bytes: Vec<u8>, // little-endian
}

/// What a file says of itself: one metadata entry, because several would be written in any order.
#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    sha256: String,
    fingerprint: String,
    progress: Progress,
}

/// Name of the metadata entry.
const ENTRY: &str = "optmsm";

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

impl Checkpoint {
    /// No tensors yet.
    pub fn new(progress: Progress, fingerprint: String) -> Self {
        Self { progress, fingerprint, ..Self::default() }
    }

    /// Type that a tensor is stored in.
    pub fn dtype(&self, name: &str) -> Option<TableDtype> {
        self.tensors.get(name).map(|t| t.dtype)
    }

    /// Whether every element of every tensor is a finite number.
    pub fn is_finite(&self) -> bool {
        self.tensors.values().all(|t| {
            let mut finite = true;
            t.pieces(&mut |piece| {
                finite &= piece.iter().all(|v| v.is_finite());
                Ok(())
            })
            .is_ok_and(|()| finite)
        })
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses, with the path.
    pub fn save(&self, path: &Path) -> Result<()> {
        let fail = |e: &dyn std::fmt::Display| Error::file(path.display(), e.to_string(), "report this");
        let header = Header {
            format: FORMAT,
            sha256: self.checksum().map_err(|e| fail(&e))?,
            fingerprint: self.fingerprint.clone(),
            progress: self.progress.clone(),
        };
        let header = serde_json::to_string(&header).map_err(|e| fail(&e))?;
        let metadata = HashMap::from([(ENTRY.to_string(), header)]);
        let file = safetensors::serialize(&self.tensors, Some(metadata)).map_err(|e| fail(&e))?;
        Ok(write_atomic(path, &file)?)
    }

    /// Reads a file and checks it.
    ///
    /// # Errors
    /// When it is missing, truncated, damaged, or of another model (`fingerprint`).
    pub fn load(path: &Path, fingerprint: &str) -> Result<Self> {
        let fail = |problem: &str, fix: &str| Error::file(path.display(), problem, fix);
        let again = "restore it from a copy, or train again";
        let file = std::fs::read(path).map_err(|e| {
            fail(&format!("cannot be read: {e}"), "check that the run folder holds a finished evaluation")
        })?;
        let damaged = |e: &dyn std::fmt::Display| fail(&format!("is truncated or damaged ({e})"), again);
        let (_, header) = SafeTensors::read_metadata(&file).map_err(|e| damaged(&e))?;
        let tensors = SafeTensors::deserialize(&file).map_err(|e| damaged(&e))?;
        let entry = header.metadata().as_ref().and_then(|m| m.get(ENTRY));
        let header = entry.and_then(|e| serde_json::from_str::<Header>(e).ok());
        let Some(header) = header.filter(|h| h.format == FORMAT) else {
            return Err(fail("is not a checkpoint of this program", "give a run folder that it wrote"));
        };
        let mut loaded = Self::new(header.progress, header.fingerprint);
        for (name, view) in tensors.iter() {
            let dtype = TableDtype::ALL.into_iter().find(|d| file_type(*d) == view.dtype());
            let dtype = dtype.ok_or_else(|| damaged(&format!("{name} is stored as {:?}", view.dtype())))?;
            let (shape, bytes) = (view.shape().to_vec(), view.data().to_vec());
            loaded.tensors.insert(name.to_string(), Stored { dtype, shape, bytes });
        }
        if loaded.checksum().map_err(|e| damaged(&e))? != header.sha256 {
            return Err(fail("is damaged: its content does not match its checksum", again));
        }
        if loaded.fingerprint != fingerprint {
            let problem = "is of another model: its configuration or schema is not that of this run";
            return Err(fail(
                problem,
                "use the checkpoint with the config.toml and schema.json it came with",
            ));
        }
        Ok(loaded)
    }

    /// Over progress, fingerprint, names, types other than `f32`, and bytes.
    fn checksum(&self) -> serde_json::Result<String> {
        let progress = serde_json::to_string(&self.progress)?;
        let head = [progress.as_bytes(), self.fingerprint.as_bytes()];
        let tensors = self.tensors.iter().flat_map(|(name, t)| {
            let dtype = if t.dtype == TableDtype::F32 { "" } else { t.dtype.name() };
            [name.as_bytes(), dtype.as_bytes(), t.bytes.as_slice()]
        });
        Ok(sha256(head.into_iter().chain(tensors)))
    }

    /// The tensor of this name and shape.
    fn find(&self, name: &str, shape: &[usize]) -> optmsm_core::error::Result<&Stored> {
        let fail = |problem: String| CoreError::Tensor { name: name.into(), problem };
        let missing = || fail("is missing from the checkpoint; it is of another model".into());
        let t = self.tensors.get(name).ok_or_else(missing)?;
        match t.shape == shape {
            true => Ok(t),
            false => Err(fail(format!("has shape {:?}, the model needs {shape:?}", t.shape))),
        }
    }
}

impl TensorSink<f32> for Checkpoint {
    fn begin(&mut self, name: &str, shape: &[usize], dtype: TableDtype) {
        let bytes = Vec::with_capacity(shape.iter().product::<usize>() * dtype.bytes());
        self.tensors.insert(name.to_string(), Stored { dtype, shape: shape.to_vec(), bytes });
        self.open = name.to_string();
    }

    fn piece(&mut self, data: &[f32]) {
        if let Some(t) = self.tensors.get_mut(&self.open) {
            t.push(data);
        }
    }
}

impl TensorSource<f32> for Checkpoint {
    fn tensor(&self, name: &str, shape: &[usize]) -> optmsm_core::error::Result<Vec<f32>> {
        let mut data = Vec::with_capacity(shape.iter().product());
        self.pieces(name, shape, &mut |piece| {
            data.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(data)
    }

    fn pieces(&self, name: &str, shape: &[usize], each: &mut Each) -> optmsm_core::error::Result<()> {
        self.find(name, shape)?.pieces(each)
    }
}

/// What takes a piece of a tensor.
type Each<'a> = dyn FnMut(&[f32]) -> optmsm_core::error::Result<()> + 'a;

impl Stored {
    /// Appends elements that the type holds exactly.
    fn push(&mut self, data: &[f32]) {
        match self.dtype {
            TableDtype::F32 => self.bytes.extend(data.iter().flat_map(|v| v.to_le_bytes())),
            TableDtype::F16 => self.bytes.extend(data.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes())),
            TableDtype::Bf16 => self.bytes.extend(data.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes())),
        }
    }

    /// The elements, in pieces of whole rows.
    fn pieces(&self, each: &mut Each) -> optmsm_core::error::Result<()> {
        /// Elements that are widened at a time.
        const PIECE: usize = 1 << 16;
        let row = self.shape.last().copied().unwrap_or(1).max(1);
        let len = (PIECE / row).max(1) * row;
        let mut wide = Vec::with_capacity(len.min(self.bytes.len() / self.dtype.bytes()));
        self.bytes.chunks(len * self.dtype.bytes()).try_for_each(|bytes| {
            let pairs = bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
            wide.clear();
            match self.dtype {
                TableDtype::F32 => {
                    wide.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
                }
                TableDtype::F16 => wide.extend(pairs.map(|b| f16::from_le_bytes(b).to_f32())),
                TableDtype::Bf16 => wide.extend(pairs.map(|b| bf16::from_le_bytes(b).to_f32())),
            }
            each(&wide)
        })
    }
}

/// The name of a type in safetensors.
fn file_type(dtype: TableDtype) -> Dtype {
    match dtype {
        TableDtype::F32 => Dtype::F32,
        TableDtype::F16 => Dtype::F16,
        TableDtype::Bf16 => Dtype::BF16,
    }
}

impl View for &Stored {
    fn dtype(&self) -> Dtype {
        file_type(self.dtype)
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
