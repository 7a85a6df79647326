//! `optmsm train`.

mod baseline;

use std::path::{Path, PathBuf};

use clap::Args;
use optmsm_core::backend::Backend;
use optmsm_core::learner::Learner;
use optmsm_core::model::AnyModel;
use optmsm_core::models::Kind;
use optmsm_core::profile::Profiled;
use optmsm_data::SynthConfig;
use optmsm_train::config::{BackendKind, Config};
use optmsm_train::data_files;
use optmsm_train::error::{Error, FileErrorKind, Result};
use optmsm_train::evaluate::Evaluation;
use optmsm_train::findings::{self, Finding};
use optmsm_train::folder::{Folder, is_there};
use optmsm_train::init;
use optmsm_train::profile;
use optmsm_train::record::{Hashes, Record};
use optmsm_train::resume;
use optmsm_train::run::Run;
use optmsm_train::say;
use optmsm_train::trainer::{self, Control, Data};
use optmsm_train::world;
use serde::Serialize;

use super::{Device, Output};

#[derive(Args)]
pub(super) struct Options {
    /// Configuration file; built-in synthetic data without one.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Change one value: --set train.seed=2
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// What computes: short for --set train.backend=…
    #[arg(long, value_enum)]
    backend: Option<BackendKind>,
    /// Run folder; a new one under runs/ when not given.
    #[arg(long)]
    run: Option<PathBuf>,
    /// Continue the run in --run where it stopped.
    #[arg(long, requires = "run")]
    resume: bool,
    /// With --resume: go on though rows that the run is trained on or judged by have changed.
    #[arg(long, requires = "resume")]
    allow_changed_data: bool,
    /// Rows of the built-in data.
    #[arg(long, conflicts_with = "config")]
    rows: Option<u64>,
    /// Stop and save after this many steps in all, as an interrupt would.
    #[arg(long)]
    max_steps: Option<u64>,
    /// Time every operation of the training steps, and print where the time went.
    #[arg(long, conflicts_with = "json")]
    profile: bool,
    /// Print the final table only.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    output: Output,
}

/// Output of `--json` at the end.
#[derive(Serialize)]
struct Done {
    /// Run folder.
    run: String,
    /// Evaluation of the test file by the best parameters; null without one.
    test: Option<Evaluation>,
    /// Warnings about the model, on the validation rows.
    findings: Vec<Finding>,
    /// Evaluation of the same rows by `dnn`, on the built-in data.
    #[serde(skip_serializing_if = "Option::is_none")]
    dnn: Option<Evaluation>,
}

/// A run that is ready to train.
struct Job {
    run: Run,
    data: Data,
    device: Device,
    /// It goes on from a checkpoint.
    resume: bool,
    /// Its folder, held to the end.
    held: Folder,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let stop = super::signals::stop_on_interrupt()?;
    let Job { run, data, device, resume, held: _held } = match &options.run {
        Some(folder) if options.resume => reopen(folder, options)?,
        _ => start(options)?,
    };
    let Options { max_steps, quiet, .. } = *options;
    let control = Control { resume, stop, max_steps, quiet, observer: None };
    let (test, findings) = match device {
        Device::Cpu(be) if options.profile => {
            let mut learner = begin(Profiled::new(be), &run, resume, options)?;
            let done = trainer::train(&mut learner, &run, &data, &control);
            // Of an interrupted run, too.
            let be = learner.backend();
            super::print(format!("{}\n", profile::table(&be.take(), be.inner().threads())).as_bytes())?;
            (done?, findings::after_training(&mut learner, &run, &data)?)
        }
        Device::Cpu(be) => train(&mut begin(be, &run, resume, options)?, &run, &data, &control)?,
        Device::Cuda(be) => train(&mut begin(be, &run, resume, options)?, &run, &data, &control)?,
    };
    findings.iter().for_each(|finding| say::warning(&finding.to_string()));
    let compared = is_built_in(&run) && run.config.model.kind != Kind::Dnn;
    let dnn = if compared { baseline::train(&run, &data, &control) } else { Ok(None) };
    // The run itself is done, and its results are not lost with the other one's.
    let (dnn, ended) = dnn.map_or_else(|e| (None, Err(e)), |dnn| (dnn, Ok(())));
    let folder = run.folder.display().to_string();
    if options.output.json {
        super::print_json(&Done { run: folder, test, findings, dnn })?;
        return ended;
    }
    let beside = dnn.as_ref().map(|dnn| (Kind::Dnn.name(), dnn));
    let table = test.map_or(String::new(), |test| format!("{}\n", test.table_beside(beside)));
    super::print(format!("{table}run folder: {folder}\n").as_bytes())?;
    ended
}

/// A run to its end, and the findings of its model.
fn train<B: Backend<Elem = f32>>(
    learner: &mut Learner<B, AnyModel<B>>,
    run: &Run,
    data: &Data,
    control: &Control,
) -> Result<(Option<Evaluation>, Vec<Finding>)> {
    let test = trainer::train(learner, run, data, control)?;
    Ok((test, findings::after_training(learner, run, data)?))
}

/// The learner of a run; a new run is written once there is memory for it.
fn begin<B: Backend<Elem = f32>>(
    be: B,
    run: &Run,
    resume: bool,
    options: &Options,
) -> Result<Learner<B, AnyModel<B>>> {
    let config = &run.config.train;
    let make = || -> Result<_> {
        let model = super::model(run)?;
        let mut learner = Learner::new(be, model, config.learner(), config.batch_size, config.seed)?;
        if !resume {
            let preloaded = init::preload(&mut learner, run)?;
            preloaded.iter().filter(|_| !options.quiet).for_each(|table| say::line(&table.to_string()));
            run.create()?;
        }
        Ok(learner)
    };
    make().map_err(|e| run.config.origin.locate(e)).inspect_err(|_| forget(&run.folder, options))
}

/// A new run: data is read and the configuration checked before anything is written.
fn start(options: &Options) -> Result<Job> {
    let config = options.config.as_deref().map(|path| Config::load(path, &overrides(options))).transpose()?;
    let name = options.config.as_deref().map_or("default".into(), super::name);
    let held = match &options.run {
        Some(folder) => Folder::take(folder, OPTION)?,
        None => Folder::take_free(folders(&name), OPTION)?,
    };
    let folder = held.path();
    Run::refuse_existing(folder)?;
    let (run, data, device) = match config {
        Some(config) => {
            let device = open(&config, options)?;
            create(folder, config, device)?
        }
        None => {
            let data = folder.join(DATA);
            if is_there(&data)? && !held.abandoned() {
                let fix = format!("choose another folder with {OPTION}");
                return Err(Error::file(
                    FileErrorKind::Exists,
                    data.display(),
                    "is there already, and not of this run",
                    fix,
                ));
            }
            let config = synthetic(folder, options)?;
            let device = open(&config, options)?;
            write_data(folder, options)
                .and_then(|()| create(folder, config, device))
                .inspect_err(|_| forget(folder, options))?
        }
    };
    Ok(Job { run, data, device, resume: false, held })
}

/// Names the folder of a run.
const OPTION: &str = "--run";
/// The built-in data's folder in that of its run.
const DATA: &str = "data";

fn overrides(options: &Options) -> Vec<String> {
    super::overrides(&options.set, options.backend)
}

/// The backend, before anything is read that takes long or anything is written.
fn open(config: &Config, options: &Options) -> Result<Device> {
    if options.profile && config.train.backend == BackendKind::Cuda {
        let fix =
            "leave it out, and look at the program with a profiler of CUDA: nsys profile optmsm train …";
        return Err(Error::argument("--profile", "times operations of the CPU only", fix));
    }
    super::open(config.train.backend, &config.train)
}

fn create(folder: &Path, config: Config, device: Device) -> Result<(Run, Data, Device)> {
    let read = || {
        let schema = data_files::fit(&config)?;
        let record = Record::of(&config, true, &mut Hashes::default())?;
        let data = data_files::load(&config, &schema, true, record)?;
        Ok((schema, data))
    };
    let (schema, data) = read().map_err(|e| config.origin.locate(e))?;
    Ok((Run::new(folder, config, schema), data, device))
}

/// Removes the built-in data of a run that did not begin.
fn forget(folder: &Path, options: &Options) {
    if options.config.is_none() && !options.resume {
        std::fs::remove_dir_all(folder.join(DATA)).ok();
    }
}

/// A run that goes on from its last checkpoint, or begins again if it has none.
fn reopen(folder: &Path, options: &Options) -> Result<Job> {
    if options.config.is_some() {
        let fix = "leave out --config: a run continues with its own";
        return Err(Error::argument("--resume", "takes no --config", fix));
    }
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
    let resume = Run::has_begun(folder)?;
    if !resume {
        let before = Run::open_config(folder)?;
        let mut config = before.override_with(&overrides(options))?;
        config.seen_from_here()?;
        let device = open(&config, options)?;
        say::line(&format!("{}: stopped before its first checkpoint, and begins again", folder.display()));
        resume::say_changes(&before, &config)?;
        let (run, data, device) = create(folder, config, device)?;
        return Ok(Job { run, data, device, resume, held });
    }
    let mut run = Run::open(folder)?;
    let mut config = run.config.override_with(&overrides(options))?;
    config.seen_from_here()?;
    let before = std::mem::replace(&mut run.config, config);
    let Run { config, schema, record: known, .. } = &run;
    resume::allow_settings(&run, &before).map_err(|e| config.origin.locate(e))?;
    let device = open(config, options)?;
    let anew = "--set data_dir=… or --set data.train=… and so on";
    let record = Record::of(config, true, &mut Hashes::known(known.as_ref()));
    let record = record.map_err(|e| data_files::gone(e, anew))?;
    resume::allow_data(known.as_ref(), &record, options.allow_changed_data)?;
    let data = data_files::load(config, schema, true, record).map_err(|e| config.origin.locate(e))?;
    Ok(Job { run, data, device, resume, held })
}

/// `runs/name`, `runs/name-2`, `runs/name-3`, ….
fn folders(name: &str) -> impl Iterator<Item = PathBuf> {
    let first = PathBuf::from(format!("runs/{name}"));
    std::iter::once(first).chain((2..=u32::MAX).map(move |n| PathBuf::from(format!("runs/{name}-{n}"))))
}

/// The built-in data's rows.
fn synth_config(options: &Options) -> SynthConfig {
    let demo = SynthConfig::default();
    SynthConfig { rows: options.rows.unwrap_or(demo.rows), ..demo }
}

fn data_path(folder: &Path, split: &str) -> PathBuf {
    folder.join(built_in(split))
}

/// Whether a run's rows are the built-in ones, which lie in its own folder.
fn is_built_in(run: &Run) -> bool {
    let train = run.config.data.train.as_ref();
    run.folder.join(DATA).is_dir() && train.is_some_and(|path| *path == built_in("train").into())
}

/// A part of the built-in data, from the run folder.
fn built_in(split: &str) -> String {
    format!("{DATA}/{split}.csv")
}

/// The configuration of the built-in data, which lies in the run folder.
fn synthetic(folder: &Path, options: &Options) -> Result<Config> {
    synth_config(options).validate()?;
    let mut config = world::config(folder.display().to_string())?;
    let path = |split: &str| Some(built_in(split).into());
    (config.data.train, config.data.valid, config.data.test) = (path("train"), path("valid"), path("test"));
    config.override_with(&overrides(options))
}

/// Writes the built-in data; from there on it is a run like any other.
fn write_data(folder: &Path, options: &Options) -> Result<()> {
    let synth = synth_config(options);
    let data = folder.join(DATA);
    std::fs::create_dir_all(&data)
        .map_err(|e| Error::io(data.display(), "written", e, "choose another --run"))?;
    for (split, range) in ["train", "valid", "test"].into_iter().zip(synth.splits()) {
        let path = data_path(folder, split);
        super::synth::write_beside(&path, |out| {
            super::synth::write(&synth, super::synth::Format::Csv, range, out, &path)
        })?;
    }
    Ok(())
}
