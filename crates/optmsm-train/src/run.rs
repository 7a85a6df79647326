//! The folder of a run.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use optmsm_core::config::{EmbeddingsConfig, InputSpec, ModelConfig};
use optmsm_data::{Schema, write_atomic};
use serde::Serialize;

use crate::checkpoint::{Checkpoint, sha256};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tensorboard;

/// `config.toml`, `schema.json`, `metrics.jsonl`, `checkpoints/last.safetensors`, `checkpoints/best.safetensors`, and with
/// `train.tensorboard` an event file.
#[derive(Debug)]
pub struct Run {
    /// The folder.
    pub folder: PathBuf,
    /// Resolved configuration.
    pub config: Config,
    /// Fitted schema.
    pub schema: Schema,
}

impl Run {
    /// A run that is to be written to a folder that has none yet.
    pub fn new(folder: &Path, config: Config, schema: Schema) -> Self {
        Self { folder: folder.to_path_buf(), config, schema }
    }

    /// Writes configuration and schema of a new run.
    ///
    /// # Errors
    /// When the folder holds a run, or the disk refuses.
    pub fn create(&self) -> Result<()> {
        let Self { folder, config, schema } = self;
        Self::refuse_existing(folder)?;
        let io = |e: std::io::Error| {
            Error::file(folder.display(), format!("cannot be made: {e}"), "choose another --run")
        };
        fs::create_dir_all(folder.join("checkpoints")).map_err(io)?;
        schema.save(folder.join("schema.json"))?;
        // Last, because it is what makes the folder a run.
        Ok(write_atomic(&folder.join("config.toml"), config.to_toml()?.as_bytes())?)
    }

    /// An error when the folder holds a run.
    pub fn refuse_existing(folder: &Path) -> Result<()> {
        match folder.join("config.toml").exists() {
            true => {
                let fix = "continue it with --resume, or choose another folder with --run";
                Err(Error::file(folder.display(), "holds a run already", fix))
            }
            false => Ok(()),
        }
    }

    /// Opens a run.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("config.toml");
        if !path.exists() {
            let fix = "give the folder that optmsm train wrote";
            return Err(Error::file(folder.display(), "holds no run (no config.toml)", fix));
        }
        let config = Config::load(&path, &[])?;
        let schema = Schema::load(folder.join("schema.json"))?;
        Ok(Self { folder: folder.to_path_buf(), config, schema })
    }

    /// What the model needs to know of its inputs.
    pub fn input_spec(&self) -> InputSpec {
        let mut spec = self.schema.input_spec();
        for (field, config) in spec.fields.iter_mut().zip(&self.config.data.fields) {
            field.frozen = config.freeze;
        }
        spec
    }

    /// Hash of the model's configuration and the schema: what a checkpoint belongs to. How tables are stored is no
    /// part of it: a checkpoint is converted when it is read.
    pub fn fingerprint(&self) -> Result<String> {
        let model = ModelConfig { embeddings: EmbeddingsConfig::default(), ..self.config.model.clone() };
        let model = toml::to_string(&model)
            .map_err(|e| Error::file("configuration", e.to_string(), "report this"))?;
        Ok(sha256([model, self.schema.fingerprint()]))
    }

    /// Path of a checkpoint: `last` or `best`.
    pub fn checkpoint_path(&self, name: &str) -> PathBuf {
        self.folder.join("checkpoints").join(format!("{name}.safetensors"))
    }

    /// Opens a checkpoint: `last` or `best`.
    pub fn checkpoint(&self, name: &str) -> Result<Checkpoint> {
        Checkpoint::open(&self.checkpoint_path(name), &self.fingerprint()?)
    }

    /// Appends a line to `metrics.jsonl`.
    pub fn log(&self, line: &impl Serialize) -> Result<()> {
        let path = self.folder.join("metrics.jsonl");
        let fail = |e: &dyn std::fmt::Display| {
            Error::file(path.display(), format!("cannot be written: {e}"), "free some space")
        };
        let mut text = serde_json::to_string(line).map_err(|e| fail(&e))?;
        text.push('\n');
        let mut file: File =
            OpenOptions::new().create(true).append(true).open(&path).map_err(|e| fail(&e))?;
        file.write_all(text.as_bytes()).and_then(|()| file.flush()).map_err(|e| fail(&e))
    }

    /// Drops the lines of `metrics.jsonl`, and the scalars for TensorBoard, that a run continued at `step` will write again.
    pub fn rewind(&self, step: u64) -> Result<()> {
        tensorboard::rewind(&self.folder, step)?;
        let path = self.folder.join("metrics.jsonl");
        let Ok(text) = fs::read_to_string(&path) else { return Ok(()) };
        let keep = |line: &&str| {
            serde_json::from_str::<serde_json::Value>(line)
                .is_ok_and(|v| v["split"] != "test" && v["step"].as_u64().is_some_and(|at| at <= step))
        };
        let kept: String = text.lines().filter(keep).flat_map(|line| [line, "\n"]).collect();
        Ok(write_atomic(&path, kept.as_bytes())?)
    }
}
