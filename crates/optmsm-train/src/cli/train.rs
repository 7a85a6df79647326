//! `optmsm train`.

mod baseline;

use std::path::{Path, PathBuf};

use clap::Args;
use optmsm_core::models::Kind;
use optmsm_core::profile::Profiled;
use optmsm_data::{SynthConfig, interruptible};
use serde::Serialize;

use super::Output;
use crate::config::{BackendKind, Config};
use crate::device::Device;
use crate::error::{Error, FileErrorKind, Result};
use crate::evaluate::Evaluation;
use crate::findings;
use crate::folder::{self, Folder, is_there};
use crate::profile;
use crate::ranks::Ranks;
use crate::run::Run;
use crate::say;
use crate::session::{self, Changes, Ended, OPTION, Session};
use crate::trainer::{self, Control};
use crate::world;

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
    #[serde(flatten)]
    ended: Ended,
    /// Evaluation of the same rows by `dnn`, on the built-in data.
    #[serde(skip_serializing_if = "Option::is_none")]
    dnn: Option<Evaluation>,
}

pub(super) fn run(ranks: &Ranks, options: &Options) -> Result<()> {
    let stop = super::signals::stop_on_interrupt()?;
    let Options { max_steps, quiet, .. } = *options;
    let begun = interruptible(&stop, || {
        Session::on(ranks, || match &options.run {
            Some(folder) if options.resume => reopen(folder, ranks, options),
            _ => start(ranks, options),
        })
    });
    let Session { run, data, device, resume, held: _held, .. } = begun?;
    let control = Control { resume, stop: &stop, max_steps, quiet, observer: None };
    let forget = |_: &Error| {
        if ranks.leads() {
            forget(&run.folder, options);
        }
    };
    let done = match device {
        Device::Cpu(be) if options.profile => {
            let mut learner = session::begin(Profiled::new(be), &run, None, &control).inspect_err(forget)?;
            let test = trainer::train(&mut learner, &run, &data, &control);
            // Of an interrupted run, too.
            let be = learner.backend();
            if ranks.leads() {
                super::print(format!("{}\n", profile::table(&be.take(), be.inner().threads())).as_bytes())?;
            }
            Ended { test: test?, findings: findings::after_training(&mut learner, &run, &data)? }
        }
        Device::Cpu(be) => {
            let mut learner = session::begin(be, &run, None, &control).inspect_err(forget)?;
            session::train(&mut learner, &run, &data, &control)?
        }
        Device::Cuda(be) => {
            let mut learner = session::begin(be, &run, None, &control).inspect_err(forget)?;
            session::train(&mut learner, &run, &data, &control)?
        }
    };
    done.findings.iter().for_each(|finding| say::warning(&finding.to_string()));
    let compared = is_built_in(&run) && run.config.model.kind != Kind::Dnn;
    let dnn = if compared { baseline::train(&run, &data, &control) } else { Ok(None) };
    // The run itself is done, and its results are not lost with the other one's.
    let (dnn, ended) = dnn.map_or_else(|e| (None, Err(e)), |dnn| (dnn, Ok(())));
    if !ranks.leads() {
        return ended;
    }
    let folder = run.folder.display().to_string();
    if options.output.json {
        super::print_json(&Done { run: folder, ended: done, dnn })?;
        return ended;
    }
    let beside = dnn.as_ref().map(|dnn| (Kind::Dnn.name(), dnn));
    let table = done.test.map_or(String::new(), |test| format!("{}\n", test.table_beside(beside)));
    super::print(format!("{table}run folder: {folder}\n").as_bytes())?;
    ended
}

/// A new run; nothing but built-in data is written.
fn start(ranks: &Ranks, options: &Options) -> Result<Session> {
    let config = options.config.as_deref().map(|path| Config::load(path, &overrides(options))).transpose()?;
    let name = options.config.as_deref().map_or("default".into(), super::name);
    let held = match &options.run {
        Some(folder) => Folder::take(folder, OPTION)?,
        None => Folder::take_free(folder::named(&name), OPTION)?,
    };
    if let Some(config) = config {
        can_be_trained(&config, ranks, options)?;
        return Session::start(held, config, None);
    }
    let folder = held.path();
    Run::refuse_existing(folder)?;
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
    can_be_trained(&config, ranks, options)?;
    let device = Device::open(config.train.backend, &config.train)?;
    let (run, data) = write_data(folder, options)
        .and_then(|()| session::read(folder, config, None))
        .inspect_err(|_| forget(folder, options))?;
    Ok(Session { run, data, device, resume: false, from: None, held: Some(held) })
}

/// The built-in data's folder in that of its run.
const DATA: &str = "data";

fn overrides(options: &Options) -> Vec<String> {
    super::overrides(&options.set, options.backend)
}

/// Refuses what these ranks cannot do together, and `--profile` on a GPU.
fn can_be_trained(config: &Config, ranks: &Ranks, options: &Options) -> Result<()> {
    ranks.check(&config.train).map_err(|e| config.origin.locate(e))?;
    if options.profile && config.train.backend == BackendKind::Cuda {
        let fix =
            "leave it out, and look at the program with a profiler of CUDA: nsys profile optmsm train …";
        return Err(Error::argument("--profile", "times operations of the CPU only", fix));
    }
    Ok(())
}

/// Removes the built-in data of a run that did not begin.
fn forget(folder: &Path, options: &Options) {
    if options.config.is_none() && !options.resume {
        std::fs::remove_dir_all(folder.join(DATA)).ok();
    }
}

/// A run that goes on from its last checkpoint, or begins again if it has none.
fn reopen(folder: &Path, ranks: &Ranks, options: &Options) -> Result<Session> {
    if options.config.is_some() {
        let fix = "leave out --config: a run continues with its own";
        return Err(Error::argument("--resume", "takes no --config", fix));
    }
    let changes = Changes { set: overrides(options), allow_changed_data: options.allow_changed_data };
    Session::reopen(folder, &changes, |config| can_be_trained(config, ranks, options))
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
