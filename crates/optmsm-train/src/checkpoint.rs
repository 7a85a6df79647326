//! Checkpoints: safetensors with the tensor names of model.md §10, and a checksum.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use optmsm_core::error::Error as CoreError;
use optmsm_core::params::{HostTensor, TensorSource};
use optmsm_data::write_atomic;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
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
}

/// Tensors, where training stands, and what they belong to.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Where training stood.
    pub progress: Progress,
    /// Hash of model configuration and schema.
    pub fingerprint: String,
    tensors: HashMap<String, HostTensor<f32>>,
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
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

impl Checkpoint {
    /// Gathers tensors.
    pub fn new(progress: Progress, fingerprint: String, tensors: Vec<HostTensor<f32>>) -> Self {
        let tensors = tensors.into_iter().map(|t| (t.name.clone(), t)).collect();
        Self { progress, fingerprint, tensors }
    }

    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// When the disk refuses, with the path.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes: BTreeMap<&str, Vec<u8>> = self
            .tensors
            .iter()
            .map(|(name, t)| (name.as_str(), t.data.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let fail = |e: &dyn std::fmt::Display| Error::file(path.display(), e.to_string(), "report this");
        let mut views = BTreeMap::new();
        for (&name, data) in &bytes {
            let shape = self.tensors[name].shape.clone();
            views.insert(name, TensorView::new(Dtype::F32, shape, data).map_err(|e| fail(&e))?);
        }
        let header = Header {
            format: FORMAT,
            sha256: checksum(&self.progress, &self.fingerprint, &bytes).map_err(|e| fail(&e))?,
            fingerprint: self.fingerprint.clone(),
            progress: self.progress.clone(),
        };
        let header = serde_json::to_string(&header).map_err(|e| fail(&e))?;
        let metadata = HashMap::from([(ENTRY.to_string(), header)]);
        let file = safetensors::serialize(views, Some(metadata)).map_err(|e| fail(&e))?;
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
        let bytes: BTreeMap<&str, Vec<u8>> =
            tensors.iter().map(|(name, view)| (name, view.data().to_vec())).collect();
        let sum = checksum(&header.progress, &header.fingerprint, &bytes).map_err(|e| damaged(&e))?;
        if sum != header.sha256 {
            return Err(fail("is damaged: its content does not match its checksum", again));
        }
        if header.fingerprint != fingerprint {
            let problem = "is of another model: its configuration or schema is not that of this run";
            return Err(fail(
                problem,
                "use the checkpoint with the config.toml and schema.json it came with",
            ));
        }
        let tensor = |(name, view): (&str, TensorView)| {
            let floats = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            let tensor =
                HostTensor { name: name.to_string(), shape: view.shape().to_vec(), data: floats.collect() };
            (name.to_string(), tensor)
        };
        let Header { progress, fingerprint, .. } = header;
        Ok(Self { progress, fingerprint, tensors: tensors.iter().map(tensor).collect() })
    }
}

/// Over progress, fingerprint, names and bytes.
fn checksum(
    progress: &Progress,
    fingerprint: &str,
    tensors: &BTreeMap<&str, Vec<u8>>,
) -> serde_json::Result<String> {
    let progress = serde_json::to_string(progress)?;
    let head = [progress.as_bytes(), fingerprint.as_bytes()];
    let tensors = tensors.iter().flat_map(|(name, data)| [name.as_bytes(), data.as_slice()]);
    Ok(sha256(head.into_iter().chain(tensors)))
}

impl TensorSource<f32> for Checkpoint {
    fn tensor(&self, name: &str, shape: &[usize]) -> optmsm_core::error::Result<Vec<f32>> {
        let fail = |problem: String| CoreError::Tensor { name: name.into(), problem };
        let t = self
            .tensors
            .get(name)
            .ok_or_else(|| fail("is missing from the checkpoint; it is of another model".into()))?;
        if t.shape != shape {
            return Err(fail(format!("has shape {:?}, the model needs {shape:?}", t.shape)));
        }
        Ok(t.data.clone())
    }
}
