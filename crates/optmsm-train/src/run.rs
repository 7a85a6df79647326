//! The folder of a run.

use std::fs;
use std::path::{Path, PathBuf};

use optmsm_core::config::{EmbeddingsConfig, InputSpec};
use optmsm_core::models::ModelConfig;
use optmsm_data::{Schema, Split, write_atomic};
use serde::Serialize;

use crate::batches::Batches;
use crate::checkpoint::{Checkpoint, Position, sha256};
use crate::config::Config;
use crate::error::{Error, FileErrorKind, Result};
use crate::folder::{holds_checkpoints, is_there};
use crate::history::{self, Line};
use crate::ranks::Ranks;
use crate::record::Record;
use crate::{data_files, note, paths, say, tensorboard};

/// The way out where the parameters of the best pass are there, and those to go on from are not.
const WITHOUT_LAST: &str = "restore it from a copy, or begin a new run; evaluate and predict do not need it";

/// `config.toml`, `config.json`, `schema.json`, `data.json`, `metrics.jsonl`, `checkpoints/last.safetensors`,
/// `checkpoints/best.safetensors`, and with `train.tensorboard` an event file.
#[derive(Debug)]
pub struct Run {
    /// The folder.
    pub folder: PathBuf,
    /// Resolved configuration.
    pub config: Config,
    /// Fitted schema.
    pub schema: Schema,
    /// Files it was made from, of a run that was opened and knows it.
    pub record: Option<Record>,
    /// Who trains it; the first of them alone writes the folder.
    pub ranks: Ranks,
}

impl Run {
    /// A run that is to be written to a folder that has none yet.
    pub fn new(folder: &Path, config: Config, schema: Schema) -> Self {
        Self { folder: folder.to_path_buf(), config, schema, record: None, ranks: Ranks::default() }
    }

    /// Writes configuration and schema of a new run.
    ///
    /// # Errors
    /// When its schedule comes to a rate of 0 before its end, or the disk refuses; nothing is left then.
    pub fn create(&self) -> Result<()> {
        let train = &self.config.train;
        train.schedule.validate_run("train.schedule", Batches::of(self).steps(train.epochs))?;
        if !self.ranks.leads() {
            return Ok(());
        }
        self.write().inspect_err(|_| {
            // Not `config.toml`, which is written last, and whole or not at all: one that is there was there before.
            for name in ["schema.json", note::NAME] {
                fs::remove_file(self.folder.join(name)).ok();
            }
            fs::remove_dir(self.folder.join("checkpoints")).ok();
        })
    }

    fn write(&self) -> Result<()> {
        let Self { folder, schema, .. } = self;
        fs::create_dir_all(folder.join("checkpoints"))
            .map_err(|e| Error::io(folder.display(), "made", e, "choose another --run"))?;
        schema.save(folder.join("schema.json"))?;
        // Last, because it is what makes the folder a run.
        self.save_config()
    }

    /// Writes the configuration, with paths that do not depend on the current folder.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn save_config(&self) -> Result<()> {
        let config = self.config.anchored()?;
        note::write(&self.folder, &config)?;
        Ok(write_atomic(&self.folder.join("config.toml"), config.to_toml()?.as_bytes())?)
    }

    /// An error when the folder holds a run, or what may be left of one.
    pub fn refuse_existing(folder: &Path) -> Result<()> {
        let (problem, fix) = match (is_there(&folder.join("config.toml"))?, holds_checkpoints(folder)) {
            (false, false) => return Ok(()),
            (true, true) => ("holds a run already", "continue it with --resume"),
            (true, false) => {
                ("holds a run that stopped before its first checkpoint", "begin it again with --resume")
            }
            (false, true) => ("holds checkpoints, but no config.toml", "restore that file from a copy"),
        };
        Err(Error::file(
            FileErrorKind::Exists,
            folder.display(),
            problem,
            format!("{fix}, or choose another folder with --run"),
        ))
    }

    /// An error when the folder holds no run.
    pub fn refuse_missing(folder: &Path) -> Result<()> {
        if is_there(&folder.join("config.toml"))? {
            return Ok(());
        }
        let fix = "give the folder that optmsm train wrote";
        Err(Error::file(FileErrorKind::Missing, folder.display(), "holds no run (no config.toml)", fix))
    }

    /// Opens a run.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let config = Self::open_config(folder)?;
        let schema = Schema::load(folder.join("schema.json"))?;
        Ok(Self {
            folder: folder.to_path_buf(),
            config,
            schema,
            record: Record::load(folder)?,
            ranks: Ranks::default(),
        })
    }

    /// Reads the configuration of a run.
    ///
    /// # Errors
    /// As [`Run::open`].
    pub fn open_config(folder: &Path) -> Result<Config> {
        Self::refuse_missing(folder)?;
        let mut config = Config::load(&folder.join("config.toml"), &[])?;
        note::compare(folder, &config)?;
        if let Some(record) = Record::load(folder)? {
            config.follow(record.folder(), &paths::whole(folder)?);
        }
        Ok(config)
    }

    /// Whether the run in a folder can go on from a checkpoint; one that was stopped before its first is to begin again.
    ///
    /// # Errors
    /// It has trained, but what it would go on from is gone.
    pub fn has_begun(folder: &Path) -> Result<bool> {
        let [last, best] = ["last", "best"].map(|name| Self::checkpoint_in(folder, name));
        let trained = folder.join("metrics.jsonl").metadata().is_ok_and(|log| log.len() > 0);
        match (is_there(&last)?, is_there(&best)?) {
            (true, _) => Ok(true),
            (false, false) if !trained => Ok(false),
            (false, best) => {
                let fix = if best { WITHOUT_LAST } else { "restore it from a copy, or begin a new run" };
                Err(Error::file(
                    FileErrorKind::Missing,
                    last.display(),
                    "is missing, though the run has trained",
                    fix,
                ))
            }
        }
    }

    /// Description of the inputs, as the model needs it.
    pub fn input_spec(&self) -> InputSpec {
        let mut spec = self.schema.input_spec();
        for (field, config) in spec.fields.iter_mut().zip(&self.config.data.fields) {
            field.frozen = config.freeze;
        }
        spec
    }

    /// Hash of the settings that the model reads and of the schema: what a checkpoint belongs to. How tables are stored is no
    /// part of it: a checkpoint is converted when it is read.
    pub fn fingerprint(&self) -> Result<String> {
        let model = ModelConfig { embeddings: EmbeddingsConfig::default(), ..self.config.model.read() };
        let model = toml::to_string(&model).map_err(|e| Error::bug("configuration", e))?;
        Ok(sha256([model, self.schema.fingerprint()]))
    }

    /// Path of a checkpoint: `last` or `best`.
    pub fn checkpoint_path(&self, name: &str) -> PathBuf {
        Self::checkpoint_in(&self.folder, name)
    }

    pub(crate) fn checkpoint_in(folder: &Path, name: &str) -> PathBuf {
        folder.join("checkpoints").join(format!("{name}.safetensors"))
    }

    /// Opens a checkpoint: `last` or `best`.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn checkpoint(&self, name: &str) -> Result<Checkpoint> {
        let open = |name| Checkpoint::open(&self.checkpoint_path(name), &self.fingerprint()?);
        open(name).map_err(|e| match e {
            Error::File { .. } if name == "last" && open("best").is_ok() => e.remedied(WITHOUT_LAST),
            other => other,
        })
    }

    /// Passes over the training rows that were done by a position of this run, with the share of one that is not at its end.
    pub fn passes(&self, at: &Position) -> f64 {
        // Batches may have had another size then.
        at.passes.unwrap_or_else(|| Batches::of(self).passes_at(at))
    }

    /// Appends a line to `metrics.jsonl`.
    pub fn log(&self, line: &impl Serialize) -> Result<()> {
        if self.ranks.leads() { history::append(&self.folder, line) } else { Ok(()) }
    }

    /// Value that early stopping watches, as it was on the validation rows after a step; none of a step that no line is of.
    ///
    /// # Errors
    /// When a line is damaged.
    pub(crate) fn monitored(&self, step: u64) -> Result<Option<f64>> {
        let lines = history::read(&self.folder)?;
        let line = lines.iter().find(|line| line.split == "valid" && line.step == step);
        Ok(line.and_then(|line| self.config.train.monitor.value(&line.evaluation)))
    }

    /// Drops the lines of `metrics.jsonl`, and the scalars for TensorBoard, that a run continued at a position will write again.
    ///
    /// # Errors
    /// When a line is damaged, or the disk refuses.
    pub fn rewind(&self, at: &Position) -> Result<()> {
        if !self.ranks.leads() {
            return Ok(());
        }
        let lines = history::retain(&self.folder, |line| line.split != "test" && line.step <= at.step)?;
        if let Some(gap) = self.gap(&lines, at) {
            say::warning(&format!("{}: {gap}", history::file(&self.folder).display()));
        }
        tensorboard::rewind(&self.folder, at.step)
    }

    /// Says that evaluations of a run that stands `at` are not in `metrics.jsonl`, if they are not.
    pub(crate) fn gap(&self, lines: &[Line], at: &Position) -> Option<String> {
        data_files::has(&self.config, Split::Valid).then(|| history::gap(lines, at)).flatten()
    }
}
