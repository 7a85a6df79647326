//! One run of a larger piece of work: done, to be continued, or to be begun, which the fingerprint in its folder tells.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use optmsm_core::models::ModelConfig;
use optmsm_data::{Split, StreamConfig};
use serde::{Deserialize, Serialize, Serializer};

use crate::checkpoint::{Position, sha256};
use crate::config::Config;
use crate::data_files;
use crate::error::{Error, FileErrorKind, Result};
use crate::evaluate::Evaluation;
use crate::folder::{Folder, is_there};
use crate::record::{self, Hashes};
use crate::run::Run;
use crate::trainer::{Control, Data, Next, Observer};
use crate::{say, seal};

/// The program's choice of backend and architecture.
pub trait Trainer: Sync {
    /// Number of parameters of a run's model.
    ///
    /// # Errors
    /// The configuration cannot make a model.
    fn parameters(&self, run: &Run) -> Result<u64>;

    /// [`crate::trainer::train`] of a run, which is written first unless it is resumed.
    ///
    /// # Errors
    /// As there.
    fn train(&self, run: &Run, data: &Data, control: &Control) -> Result<()>;
}

/// Context that the runs of a piece of work share.
#[derive(Clone, Copy)]
pub struct Study<'a> {
    /// Trainer of the runs.
    pub trainer: &'a dyn Trainer,
    /// Becomes true when the user asks to stop.
    pub stop: &'a AtomicBool,
    /// Steps of a run after which to stop and save, as if the user had asked.
    pub max_steps: Option<u64>,
    /// Print nothing on the way.
    pub quiet: bool,
}

impl Study<'_> {
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A line on the way, on standard error.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            say::line(text);
        }
    }
}

/// Hash of all that a run's result depends on. Threads are no part of it, as results do not depend on them, nor are settings of models
/// of other kinds, nor is where files lie: of the files of `parts` the content counts.
///
/// # Errors
/// One of the files cannot be read.
pub(crate) fn fingerprint(
    config: &Config,
    parts: &[Split],
    known: &mut Hashes,
    more: &str,
) -> Result<String> {
    let bug = |e| Error::bug("settings", e);
    let ModelConfig { kind, embedding_dim, init_std, embeddings, .. } = &config.model;
    let common = (kind, embedding_dim, init_std, embeddings);
    let own = serde_json::to_string(&(common, Own(&config.model))).map_err(bug)?;
    hash(config, parts, known, &[&own, more])
}

/// The same without the model, for work on several.
///
/// # Errors
/// As [`fingerprint`].
pub(crate) fn fingerprint_without_model(
    config: &Config,
    parts: &[Split],
    known: &mut Hashes,
) -> Result<String> {
    hash(config, parts, known, &[])
}

/// Settings that the model's kind alone reads.
pub(crate) struct Own<'a>(pub(crate) &'a ModelConfig);

impl Serialize for Own<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        self.0.serialize_own(to)
    }
}

/// Hash of data, training, version, and `more`.
fn hash(config: &Config, parts: &[Split], known: &mut Hashes, more: &[&str]) -> Result<String> {
    let mut plain = config.clone();
    plain.train.threads = None;
    (plain.data_dir, plain.data.stream.folder) = (None, StreamConfig::default().folder);
    let mut hashes = Vec::new();
    for &part in parts {
        let source = data_files::source(config, part);
        for file in source.map(|source| source.described()).transpose()?.unwrap_or_default() {
            let content = known.of(&file.path)?.0.sha256;
            // Folders such as scenario=home are columns.
            hashes.push(format!("{} {content} {:?}", part.name(), record::folders(&file, config)));
        }
    }
    (plain.data.train, plain.data.valid, plain.data.test) = (None, None, None);
    for field in &mut plain.data.fields {
        let (from, values) = (field.init_from.take(), field.init_values.take());
        let from = from.as_ref().and_then(|from| from.rsplit_once(':'));
        hashes.extend(from.map(|(_, tensor)| tensor.to_string()));
        for path in from.map(|(path, _)| path).into_iter().chain(values.as_deref()) {
            hashes.push(data_files::hash(&config.path(path))?.sha256);
        }
    }
    let mut settings = toml::Table::try_from(&plain).map_err(|e| Error::bug("settings", e))?;
    settings.remove("model");
    let (settings, hashes) = (settings.to_string(), hashes.join(" "));
    let all = [&settings, &hashes, env!("CARGO_PKG_VERSION")];
    Ok(sha256(all.into_iter().chain(more.iter().copied())))
}

/// Names the folder of a piece of work.
pub(crate) const OPTION: &str = "--out";

/// Makes a folder that is held that of one piece of work, by its fingerprint.
///
/// # Errors
/// When it holds another one.
pub(crate) fn claim(folder: &Path, fingerprint: &str) -> Result<()> {
    let path = folder.join(FINGERPRINT);
    let other = match seal::load::<Claim>(&path, "delete the folder to begin again")? {
        Some(found) => found.fingerprint != fingerprint,
        None => is_there(&folder.join("config.toml"))?,
    };
    if other {
        let problem = "holds work of another configuration, data, or version of this program";
        return Err(Error::file(
            FileErrorKind::Foreign,
            folder.display(),
            problem,
            "choose another folder with --out, or delete it",
        ));
    }
    seal::save(&path, &Claim { fingerprint: fingerprint.into() })
}

/// Files beside the run's own.
const FINGERPRINT: &str = "fingerprint";
const SECONDS: &str = "seconds";

/// Owner of a folder.
#[derive(Serialize, Deserialize)]
struct Claim {
    fingerprint: String,
}

/// Time that a run took so far.
#[derive(Serialize, Deserialize)]
struct Taken {
    seconds: f64,
}

/// A run in a folder that is its own.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) run: Run,
    _held: Folder,
}

impl Attempt {
    /// Takes the folder and claims it.
    ///
    /// # Errors
    /// As [`Folder::take`] and [`claim`].
    pub(crate) fn new(run: Run, fingerprint: &str) -> Result<Self> {
        let _held = Folder::take(&run.folder, OPTION)?;
        claim(&run.folder, fingerprint)?;
        Ok(Self { run, _held })
    }

    /// Where it stands, if it has begun.
    ///
    /// # Errors
    /// When its checkpoint is damaged.
    pub(crate) fn position(&self) -> Result<Option<Position>> {
        let begun = is_there(&self.run.checkpoint_path("last"))?;
        begun.then(|| Ok(self.run.checkpoint("last")?.position)).transpose()
    }

    /// Begins or continues; returns the seconds that it took in all, from setting up to the last evaluation.
    ///
    /// # Errors
    /// As [`crate::trainer::train`].
    pub(crate) fn train(&self, data: &Data, study: &Study, observer: &dyn Observer) -> Result<f64> {
        let resume = is_there(&self.run.checkpoint_path("last"))?;
        let log = self.run.folder.join("metrics.jsonl");
        // Of a run whose checkpoints are gone: there is nothing to continue.
        if !resume && is_there(&log)? {
            fs::remove_file(&log)
                .map_err(|e| Error::io(log.display(), "replaced", e, "delete the folder"))?;
        }
        let path = self.run.folder.join(SECONDS);
        let before = if resume { self.seconds()? } else { 0.0 };
        let watch = Watch { inner: observer, began: Instant::now(), before, at: Cell::new(before), path };
        let Study { trainer, stop, max_steps, quiet } = *study;
        let control = Control { resume, stop, max_steps, quiet, observer: Some(&watch) };
        let done = trainer.train(&self.run, data, &control);
        if let Err(Error::Interrupted { .. }) = done {
            watch.note();
        }
        done.map(|()| watch.at.get())
    }

    /// Seconds that were noted.
    ///
    /// # Errors
    /// When the note is damaged.
    pub(crate) fn seconds(&self) -> Result<f64> {
        let noted: Option<Taken> = seal::load(&self.run.folder.join(SECONDS), "delete it: time counts anew")?;
        Ok(noted.map_or(0.0, |noted| noted.seconds))
    }
}

/// Notes the time at every evaluation.
#[derive(Debug)]
struct Watch<'a> {
    inner: &'a dyn Observer,
    began: Instant,
    before: f64,
    at: Cell<f64>,
    path: PathBuf,
}

impl Watch<'_> {
    fn note(&self) {
        self.at.set(self.before + self.began.elapsed().as_secs_f64());
        // Only a figure of the report hangs on it; a full disk stops the checkpoint, which says so.
        seal::save(&self.path, &Taken { seconds: self.at.get() }).ok();
    }
}

impl Observer for Watch<'_> {
    fn trained(&self, rows: u64, loss: Option<f64>) {
        self.inner.trained(rows, loss);
    }

    fn evaluated(&self, at: &Position, valid: Option<&Evaluation>) -> Next {
        self.note();
        self.inner.evaluated(at, valid)
    }

    fn tested(&self, evaluation: &Evaluation, predictions: &[f32]) {
        self.inner.tested(evaluation, predictions);
    }
}
