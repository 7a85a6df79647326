//! One run as the program trains it: begun in a folder or continued there, to its end.

use std::path::{Path, PathBuf};

use optmsm_core::backend::Backend;
use optmsm_core::learner::Learner;
use optmsm_core::model::AnyModel;
use optmsm_data::{Schema, printable};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::device::{self, Device};
use crate::error::{Error, FileErrorKind, Result};
use crate::evaluate::Evaluation;
use crate::findings::{self, Finding};
use crate::folder::{Folder, is_there};
use crate::ranks::Ranks;
use crate::record::{Hashes, Record};
use crate::run::Run;
use crate::trainer::{self, Control, Data};
use crate::{data_files, init, paths, resume, say};

/// Names the folder of a run.
pub(crate) const OPTION: &str = "--run";

/// A run that is ready to train.
pub struct Session {
    /// The run; a new one is not written yet.
    pub run: Run,
    /// Its encoded rows.
    pub data: Data,
    /// Its device.
    pub device: Device,
    /// Whether it goes on from a checkpoint.
    pub resume: bool,
    /// Parameters that a new run begins with; fresh ones when not given.
    pub from: Option<Checkpoint>,
    /// Its folder, held until this is dropped; by the first of several ranks.
    pub held: Option<Folder>,
}

/// Outcome of a run.
#[derive(Debug, Serialize)]
pub struct Ended {
    /// Evaluation of the test rows by the best parameters; none without such rows.
    pub test: Option<Evaluation>,
    /// Warnings about the model, on the validation rows.
    pub findings: Vec<Finding>,
}

/// Differences that a continued run may have.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// `key=value` overrides of its configuration.
    pub set: Vec<String>,
    /// Go on though rows that the run is trained on or judged by have changed.
    pub allow_changed_data: bool,
}

impl Session {
    /// A new run: data is read and the configuration checked before anything is written. It begins with the best parameters of the run
    /// `from`, and has its vocabularies and statistics, where one is given.
    ///
    /// # Errors
    /// The folder holds a run; the device cannot be opened; the data cannot be trained on; the model is another than that of `from`.
    pub fn start(held: Folder, config: Config, from: Option<&Run>) -> Result<Self> {
        Run::refuse_existing(held.path())?;
        // Before anything is read that takes long.
        let device = Device::open(config.train.backend, &config.train)?;
        let (run, data) = read(held.path(), config, from)?;
        let from = from.map(|from| from.checkpoint("best")).transpose()?;
        Ok(Self { run, data, device, resume: false, from, held: Some(held) })
    }

    /// A run that goes on from its last checkpoint, or begins again if it has none. `check` sees its configuration before data is read.
    ///
    /// # Errors
    /// The folder holds no run, another process writes it, or a change would make it another run.
    pub fn reopen(folder: &Path, changes: &Changes, check: impl Fn(&Config) -> Result<()>) -> Result<Self> {
        if folder.is_dir() && !is_there(&folder.join("config.toml"))? {
            let fix = "if it stopped before it wrote one, begin it again without --resume";
            return Err(Error::file(
                FileErrorKind::Missing,
                folder.display(),
                "holds no run (no config.toml)",
                fix,
            ));
        }
        // Before it is taken, so that nothing is made where no run is.
        Run::refuse_missing(folder)?;
        let held = Folder::take(folder, OPTION)?;
        let open = |config: &Config| -> Result<Device> {
            check(config)?;
            Device::open(config.train.backend, &config.train)
        };
        let resume = Run::has_begun(folder)?;
        if !resume {
            let before = Run::open_config(folder)?;
            let mut config = before.override_with(&changes.set)?;
            config.seen_from_here()?;
            let device = open(&config)?;
            say::line(&format!(
                "{}: stopped before its first checkpoint, and begins again",
                folder.display()
            ));
            resume::say_changes(&before, &config)?;
            let (run, data) = read(folder, config, None)?;
            return Ok(Self { run, data, device, resume, from: None, held: Some(held) });
        }
        let mut run = Run::open(folder)?;
        let mut config = run.config.override_with(&changes.set)?;
        config.seen_from_here()?;
        let before = std::mem::replace(&mut run.config, config);
        let Run { config, schema, record: known, .. } = &run;
        resume::allow_settings(&run, &before).map_err(|e| config.origin.locate(e))?;
        let device = open(config)?;
        let anew = "--set data_dir=… or --set data.train=… and so on";
        let record = Record::of(config, true, &mut Hashes::known(known.as_ref()));
        let record = record.map_err(|e| data_files::gone(e, anew))?;
        resume::allow_data(known.as_ref(), &record, changes.allow_changed_data)?;
        let data = data_files::load(config, schema, true, record).map_err(|e| config.origin.locate(e))?;
        Ok(Self { run, data, device, resume, from: None, held: Some(held) })
    }

    /// The session that the first of several ranks makes, on all of them: the others read the same files with its schema, and write
    /// nothing.
    ///
    /// # Errors
    /// Those of `make`; another rank cannot read the files.
    pub fn on(ranks: &Ranks, make: impl FnOnce() -> Result<Self>) -> Result<Self> {
        let mut made = None;
        let told = ranks.share(|| {
            let session = make()?;
            let told = Told::of(&session)?;
            made = Some(session);
            Ok(told)
        })?;
        let mut session = match made {
            Some(session) => session,
            None => told.session()?,
        };
        session.run.ranks = ranks.clone();
        // Nothing is written before all can begin.
        ranks.wait()?;
        Ok(session)
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// As [`trainer::train`]; a new run cannot be written.
    pub fn train(self, control: &Control) -> Result<Ended> {
        let Self { run, data, device, resume, from, held: _held } = self;
        let from = from.as_ref();
        let control = Control { resume, ..*control };
        match device {
            Device::Cpu(be) => train(&mut begin(be, &run, from, &control)?, &run, &data, &control),
            Device::Cuda(be) => train(&mut begin(be, &run, from, &control)?, &run, &data, &control),
        }
    }
}

/// A session as the first of several ranks tells the others of it.
#[derive(Serialize, Deserialize)]
struct Told {
    folder: PathBuf,
    config: String,
    schema: String,
    record: Record,
    resume: bool,
}

impl Told {
    fn of(Session { run, data, resume, .. }: &Session) -> Result<Self> {
        let schema = run.schema.to_json().map_err(|e| Error::bug("schema", e))?;
        Ok(Self {
            folder: paths::whole(&run.folder)?,
            config: run.config.anchored()?.to_toml()?,
            schema: String::from_utf8_lossy(&schema).into(),
            record: data.record.clone(),
            resume: *resume,
        })
    }

    fn session(self) -> Result<Session> {
        let Self { folder, config, schema, record, resume } = self;
        let config = Config::parse("the configuration of rank 0", &config, &[])?;
        let schema = Schema::from_json(schema.as_bytes(), "the schema of rank 0")?;
        let device = Device::open(config.train.backend, &config.train)?;
        let here = Record::of(&config, true, &mut Hashes::known(Some(&record)))?;
        if let Some(change) = here.changes(&record).into_iter().next() {
            let fix = "give all ranks the same files: a folder that their machines share, or equal copies";
            return Err(Error::rows(change.place, "has other content than what rank 0 reads", fix));
        }
        let data = data_files::load(&config, &schema, true, record)?;
        let run = Run::new(&folder, config, schema);
        Ok(Session { run, data, device, resume, from: None, held: None })
    }
}

/// A new run of a configuration, with the schema of another one where that is given, and its encoded rows; nothing is written.
///
/// # Errors
/// The data cannot be trained on; the other run has other fields or another model.
pub fn read(folder: &Path, config: Config, from: Option<&Run>) -> Result<(Run, Data)> {
    let read = || {
        let mut schema = data_files::fit(&config)?;
        if let Some(from) = from {
            same_model(&config, from)?;
            schema = counted(from, &schema)?;
        }
        let record = Record::of(&config, true, &mut Hashes::default())?;
        let data = data_files::load(&config, &schema, true, record)?;
        Ok((schema, data))
    };
    let (schema, data) = read().map_err(|e| config.origin.locate(e))?;
    Ok((Run::new(folder, config, schema), data))
}

/// Whether the parameters of a run are those of a model of this configuration.
fn same_model(config: &Config, from: &Run) -> Result<()> {
    let differs = match () {
        () if config.model != from.config.model => "model",
        () if config.data.fields != from.config.data.fields => "data.fields",
        () => return Ok(()),
    };
    let problem =
        format!("is another than that of {}, whose parameters are to be trained on", from.folder.display());
    let fix = "leave it as it was there, or begin with fresh parameters";
    Err(optmsm_core::error::Error::config(differs, problem, fix).into())
}

/// The schema of a run, with the counts of the rows that another schema was fitted on.
fn counted(from: &Run, rows: &Schema) -> Result<Schema> {
    let mut schema = Schema { rows: rows.rows, ..from.schema.clone() };
    let known = |name: &str| from.schema.scenarios.iter().any(|s| s.name == name);
    if let Some(new) = rows.scenarios.iter().find(|s| !known(&s.name)) {
        let problem = format!(
            "has the scenario '{}', on which {} was not trained",
            printable(&new.name),
            from.folder.display()
        );
        return Err(Error::rows("data.train", problem, "leave its rows out, or begin with fresh parameters"));
    }
    for scenario in &mut schema.scenarios {
        let now = rows.scenarios.iter().find(|s| s.name == scenario.name);
        (scenario.rows, scenario.positives) = now.map_or((0, 0), |now| (now.rows, now.positives));
    }
    Ok(schema)
}

/// The learner of a run, with the parameters of a checkpoint where one is given; a new run is written once there is memory for it.
///
/// # Errors
/// The configuration cannot make a model, there is no memory for it, or the disk refuses.
pub fn begin<B: Backend<Elem = f32>>(
    be: B,
    run: &Run,
    from: Option<&Checkpoint>,
    control: &Control,
) -> Result<Learner<B, AnyModel<B>>> {
    let make = || -> Result<_> {
        let mut learner = device::learner(be, run)?;
        if let Some(from) = from {
            learner.import(from)?;
        } else if !control.resume {
            let preloaded = init::preload(&mut learner, run)?;
            preloaded.iter().filter(|_| !control.quiet).for_each(|table| say::line(&table.to_string()));
        }
        if !control.resume {
            run.create()?;
        }
        Ok(learner)
    };
    make().map_err(|e| run.config.origin.locate(e))
}

/// A run to its end, and the findings of its model.
///
/// # Errors
/// As [`trainer::train`].
pub fn train<B: Backend<Elem = f32>>(
    learner: &mut Learner<B, AnyModel<B>>,
    run: &Run,
    data: &Data,
    control: &Control,
) -> Result<Ended> {
    let test = trainer::train(learner, run, data, control)?;
    Ok(Ended { test, findings: findings::after_training(learner, run, data)? })
}
