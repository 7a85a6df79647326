//! The configuration file: `[data]`, `[model]`, `[train]`.

use std::path::{Path, PathBuf};

use optmsm_core::error::Error as CoreError;
use optmsm_core::learner::LearnerConfig;
use optmsm_core::models::ModelConfig;
use optmsm_core::optim::{AverageConfig, OptimizerConfig, ScheduleConfig};
use optmsm_core::precision::Precision;
use optmsm_data::{DataConfig, Paths, Source, is_url};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::every::Every;
pub use crate::monitor::Monitor;
use crate::origin::{Origin, element, place, split};
use crate::ranks::Ranks;

/// Most rows of a batch.
const MAX_BATCH: usize = 1 << 24;
/// Most threads of the CPU.
const MAX_THREADS: usize = 1024;

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder that relative data paths start from; the current one when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<String>,
    /// Files, columns, fields.
    pub data: DataConfig,
    /// Widths and options of the model.
    pub model: ModelConfig,
    /// How it is trained.
    pub train: TrainConfig,
    /// Where it was written.
    #[serde(skip)]
    pub origin: Origin,
    /// The `[tune]` table: what `optmsm tune` searches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tune: Option<toml::Table>,
}

/// How a model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Rows of a step.
    pub batch_size: usize,
    /// Groups that a batch is cut into, a power of two: they go through the model one after the other, or at the same time on as many
    /// ranks of a job. Results depend on it, and not on the ranks.
    pub groups: usize,
    /// Most passes over the training data.
    pub epochs: u64,
    /// Evaluations without a better one before training stops.
    pub patience: u64,
    /// Value of the validation data that early stopping watches.
    pub monitor: Monitor,
    /// How often parameters are evaluated and saved: `"pass"`, `{ steps = … }` or `{ rows = … }`; at the end of the run in any case.
    pub evaluate_every: Every,
    /// How often training is saved beside that, so that less is lost with the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<Every>,
    /// Seed of parameters, order of rows and dropout.
    pub seed: u64,
    /// Backend that trains. Checkpoints are the same: a run begun on one backend can be continued on the other.
    pub backend: BackendKind,
    /// Worker threads of the CPU; all cores when not given. Results do not depend on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Number of the CUDA device.
    pub device: usize,
    /// Type that operands of products are rounded to. `tf32` is for CUDA devices: on the CPU it is `f32`.
    pub precision: Precision,
    /// Update rule of dense parameters.
    pub optimizer: OptimizerConfig,
    /// Update rule of embedding tables, in its sparse form; what is not given is as for dense parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_optimizer: Option<OptimizerConfig>,
    /// Learning rate over the steps.
    pub schedule: ScheduleConfig,
    /// Largest global norm of the gradient; not clipped when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Average of the parameters over the steps, which is evaluated, saved and predicts; none when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average: Option<AverageConfig>,
    /// Whether the run folder gets event files for TensorBoard.
    pub tensorboard: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            batch_size: 1024,
            groups: 1,
            epochs: 20,
            patience: 3,
            monitor: Monitor::default(),
            evaluate_every: Every::Pass,
            checkpoint_every: None,
            seed: 1,
            backend: BackendKind::Cpu,
            threads: None,
            device: 0,
            precision: Precision::default(),
            optimizer: OptimizerConfig::default(),
            embedding_optimizer: None,
            schedule: ScheduleConfig::default(),
            clip_norm: None,
            average: None,
            tensorboard: false,
        }
    }
}

/// Kind of backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// Cores with SIMD products.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
}

impl TrainConfig {
    /// The part that a learner reads.
    pub fn learner(&self) -> LearnerConfig {
        LearnerConfig {
            optimizer: self.optimizer.clone(),
            embedding_optimizer: self.embedding_optimizer.clone(),
            schedule: self.schedule.clone(),
            clip_norm: self.clip_norm,
            average: self.average.clone(),
        }
    }
}

impl Config {
    /// Reads a TOML file, then applies `key=value` overrides with dotted keys.
    ///
    /// # Errors
    /// An unknown key (with the nearest known one), a wrong type, a syntax error or a value that cannot be, each with its line and
    /// column, or with the override that set it.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::io(&shown, "read", e, "check the path given to --config"))?;
        Self::parse(&shown, &text, overrides)
    }

    /// [`Config::load`] of a text; `name` stands for its path in messages.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(name: &str, text: &str, overrides: &[String]) -> Result<Self> {
        let _: Config = toml::from_str(text).map_err(|e| explain(name, text, &e))?;
        let table = toml::from_str(text).map_err(|e| explain(name, text, &e))?;
        Self::with_overrides(table, overrides, Origin::of_file(name, text))
    }

    /// A configuration of a table that no file holds, with `key=value` overrides.
    ///
    /// # Errors
    /// As [`Config::load`], with keys in place of lines.
    pub fn of_table(table: toml::Table, overrides: &[String]) -> Result<Self> {
        Self::with_overrides(table, overrides, Origin::default())
    }

    /// This configuration with `key=value` overrides.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn override_with(&self, overrides: &[String]) -> Result<Self> {
        Self::with_overrides(self.table()?, overrides, self.origin.clone())
    }

    fn with_overrides(mut table: toml::Table, overrides: &[String], origin: Origin) -> Result<Self> {
        let mut given = Vec::with_capacity(overrides.len());
        for text in overrides {
            let place = format!("--set {text}");
            let Some((key, value)) = text.split_once('=') else {
                return Err(Error::configuration(
                    place,
                    "has no '='",
                    "write key=value, for example train.seed=2",
                ));
            };
            // A value that is not TOML is a string: --set data_dir=some/folder
            let parsed = toml::from_str::<toml::Table>(&format!("v = {value}"));
            let value = parsed.ok().and_then(|mut t| t.remove("v"));
            let value = value.unwrap_or_else(|| toml::Value::String(text[key.len() + 1..].to_string()));
            given.push((assign(&mut table, &place, key.trim(), value)?, text.clone()));
        }
        Self::finish(table, origin.with_overrides(given))
    }

    /// This configuration with values for dotted keys; `place` is where they come from.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn with_values(&self, place: &str, values: &[(String, toml::Value)]) -> Result<Self> {
        let mut table = self.table()?;
        values
            .iter()
            .try_for_each(|(key, value)| assign(&mut table, place, key, value.clone()).map(|_| ()))?;
        Self::finish(table, self.origin.clone())
    }

    /// As TOML, without what tables inherit: another value of the dense optimizer is theirs, too.
    fn table(&self) -> Result<toml::Table> {
        let table = toml::Table::try_from(self);
        let mut table = table.map_err(|e| Error::bug("configuration", e))?;
        if let Some(train) = table.get_mut("train").and_then(toml::Value::as_table_mut) {
            disinherit(train, "optimizer", "embedding_optimizer");
        }
        Ok(table)
    }

    fn finish(mut table: toml::Table, origin: Origin) -> Result<Self> {
        if let Some(train) = table.get_mut("train").and_then(toml::Value::as_table_mut) {
            inherit(train, "optimizer", "embedding_optimizer");
        }
        let mut config: Config =
            table.try_into().map_err(|e: toml::de::Error| explain("configuration", "", &e))?;
        config.origin = origin;
        config.validate().map_err(|e| config.origin.locate(e))?;
        Ok(config)
    }

    /// Checks all that can be checked without the data.
    fn validate(&self) -> Result<()> {
        let train = &self.train;
        self.data.validate()?;
        self.model.validate_roles(self.data.fields.iter().map(|f| f.role))?;
        train.learner().validate()?;
        train.monitor.validate(self.data.group.as_deref())?;
        if train.batch_size == 0 || train.epochs == 0 {
            let key = if train.epochs == 0 { "train.epochs" } else { "train.batch_size" };
            return Err(CoreError::config(key, "must be at least 1, got 0", "raise it").into());
        }
        if train.batch_size > MAX_BATCH {
            let problem = format!("must be at most {MAX_BATCH}, got {}", train.batch_size);
            return Err(CoreError::config("train.batch_size", problem, "lower it").into());
        }
        Ranks::default().job(train.groups)?;
        train.evaluate_every.validate("train.evaluate_every")?;
        train.checkpoint_every.map_or(Ok(()), |every| every.validate("train.checkpoint_every"))?;
        if let Some(threads) = train.threads.filter(|threads| !(1..=MAX_THREADS).contains(threads)) {
            let problem = format!("must be from 1 to {MAX_THREADS}, got {threads}");
            return Err(CoreError::config("train.threads", problem, "leave it out for all cores").into());
        }
        Ok(())
    }

    /// A path on disk as it is to be opened: beside the data, if that is on disk too.
    pub fn path(&self, path: &str) -> PathBuf {
        let folder = self.data_dir.as_ref().filter(|dir| !is_url(dir));
        folder.map_or_else(|| PathBuf::from(path), |dir| Path::new(dir).join(path))
    }

    /// Data paths as they are to be opened.
    pub fn source(&self, paths: &Paths) -> Source {
        paths.source(self.data_dir.as_deref().map(Path::new))
    }

    /// As TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::bug("configuration", e))
    }
}

/// Gives the table `of` the keys of the table `from` that it lacks, if both are there.
fn inherit(tables: &mut toml::Table, from: &str, of: &str) {
    let Some(from) = tables.get(from).and_then(toml::Value::as_table).cloned() else { return };
    if let Some(of) = tables.get_mut(of).and_then(toml::Value::as_table_mut) {
        for (key, value) in from {
            of.entry(key).or_insert(value);
        }
    }
}

/// Takes the keys of the table `of` away whose values are those of the table `from`, and the table if none is left.
fn disinherit(tables: &mut toml::Table, from: &str, of: &str) {
    let Some(from) = tables.get(from).and_then(toml::Value::as_table).cloned() else { return };
    let Some(own) = tables.get_mut(of).and_then(toml::Value::as_table_mut) else { return };
    own.retain(|key, value| from.get(key) != Some(value));
    if own.is_empty() {
        tables.remove(of);
    }
}

/// Sets a dotted key to a value that a configuration can have there; returns the key as errors name it.
fn assign(table: &mut toml::Table, place: &str, key: &str, value: toml::Value) -> Result<String> {
    let named = set(table, key, value).map_err(|(problem, fix)| Error::configuration(place, problem, fix))?;
    let whole = toml::to_string(table).unwrap_or_default();
    let _: Config = toml::from_str(&whole).map_err(|e| explain(place, "", &e))?;
    Ok(named)
}

/// The key that was set, with names in place of indices; or problem and fix of a key that leads nowhere.
type Set = std::result::Result<String, (String, String)>;

/// Sets a dotted key of a table, which gets the tables on the way there.
fn set(table: &mut toml::Table, key: &str, value: toml::Value) -> Set {
    let (first, rest) = split(key);
    if first.is_empty() || key.ends_with('.') {
        return Err((format!("'{key}' is no key"), "write words with dots between them: train.seed".into()));
    }
    if rest.is_empty() {
        table.insert(first.to_string(), value);
        return Ok(first.to_string());
    }
    let inner = table.entry(first).or_insert_with(|| toml::Table::new().into());
    Ok(format!("{first}{}", set_inside(inner, rest, value)?))
}

/// Sets what `rest` leads to inside a value: elements of an array are found by index or name, and none is made.
fn set_inside(outer: &mut toml::Value, rest: &str, value: toml::Value) -> Set {
    let list = match outer {
        toml::Value::Table(table) => return Ok(format!(".{}", set(table, rest, value)?)),
        toml::Value::Array(list) => list,
        _ => return Err((format!("'{rest}' is inside a value"), "check the key".into())),
    };
    let Some((at, after)) = element(list.iter().map(name_of), rest).filter(|(at, _)| *at < list.len()) else {
        let wanted = rest.rsplit_once('.').map_or(rest, |(name, _)| name);
        let names: Vec<&str> = list.iter().filter_map(name_of).collect();
        let fix = match &names[..] {
            [] => format!("give an index below {}, as in [0]", list.len()),
            names => known("names", wanted, names),
        };
        return Err((format!("nothing in the list is named '{wanted}'"), fix));
    };
    let here = name_of(&list[at]).map_or(format!("[{at}]"), |name| format!(".{name}"));
    if after.is_empty() {
        list[at] = value;
        return Ok(here);
    }
    Ok(here + &set_inside(&mut list[at], after, value)?)
}

/// The `name` of a table in an array.
fn name_of(value: &toml::Value) -> Option<&str> {
    value.as_table()?.get("name")?.as_str()
}

/// The known name that an unknown one is most like, or all known `what`.
pub fn known(what: &str, unknown: &str, known: &[&str]) -> String {
    let score = |name: &&&str| (strsim::jaro_winkler(unknown, name) * 1e6) as u64;
    match known.iter().max_by_key(score) {
        Some(name) if strsim::jaro_winkler(unknown, name) > 0.8 => format!("did you mean '{name}'?"),
        _ => format!("known {what}: {}", known.join(", ")),
    }
}

/// Adds line and column, and to an unknown key the nearest known one.
fn explain(name: &str, text: &str, error: &toml::de::Error) -> Error {
    let span = error.span().filter(|_| !text.is_empty());
    let place = span.map_or(name.to_string(), |span| place(name, text, span.start));
    let message = error.message();
    if message.starts_with("unknown variant") {
        return Error::configuration(place, message, "give one of these");
    }
    if message.starts_with("missing field") {
        return Error::configuration(place, message, "add it");
    }
    if !message.starts_with("unknown field") {
        let is_toml = toml::de::DeTable::parse(text).is_ok();
        let fix = if is_toml { "give a value of that type" } else { "correct it: a configuration is TOML" };
        return Error::configuration(place, message, fix);
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    let fix = self::known("keys", unknown, &known);
    Error::configuration(place, format!("unknown key '{unknown}'"), fix)
}
