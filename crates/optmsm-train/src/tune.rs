//! A search for better settings: random values from the `[tune]` table, judged by validation rows.
//!
//! `OUT/trials.jsonl` has one line per trial, `OUT/trial-N/` is its run folder, `OUT/best.toml` the best configuration.
//! A trial that was interrupted goes on from its checkpoint. Test rows are not read.

mod judge;
mod space;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use optmsm_data::{Schema, Split, write_atomic};
use serde::{Deserialize, Serialize};
use toml::Value;

use crate::attempt::{Attempt, OPTION, Study, claim, fingerprint};
use crate::config::{Config, Monitor};
use crate::error::{Error, FileErrorKind, Result};
use crate::folder::Folder;
use crate::history::{self, Line};
use crate::markdown::{NONE, name, table};
use crate::record::{Hashes, Record};
use crate::run::Run;
use crate::trainer::{Data, Next};
use crate::{data_files, seal};

pub(crate) use judge::Judge;
pub use space::Space;

/// A line of `trials.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Its number, from 0; number 0 is the configuration as it is.
    pub trial: u64,
    /// Dotted keys and their values.
    pub values: Vec<(String, Value)>,
    /// How it ended.
    pub state: State,
    /// Why it could not be trained to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Monitored validation value of each evaluation; a log loss negative, so that higher is better.
    pub curve: Vec<f64>,
    /// Seconds of training.
    pub seconds: f64,
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// By its configuration: the last pass, or early stopping.
    Finished,
    /// By the median rule.
    Stopped,
    /// Its loss was no number any more.
    Diverged,
    /// Its values do not go together.
    Refused,
    /// The model, the device or this program failed, which is no result: a benchmark tries it again.
    Failed,
}

impl Trial {
    /// Best monitored value and the number of its evaluation, from 1; none of a trial that may not win.
    pub(crate) fn best(&self) -> Option<(f64, usize)> {
        let first = |best: (f64, usize), now: (f64, usize)| if now.0 > best.0 { now } else { best };
        let usable = matches!(self.state, State::Finished | State::Stopped);
        self.curve.iter().copied().zip(1..).reduce(first).filter(|_| usable)
    }

    /// The trial of the best value, of equal ones the first; none if no trial came to a result.
    pub(crate) fn winner(trials: &[Self]) -> Option<&Self> {
        let usable = trials.iter().filter(|t| t.best().is_some());
        usable.reduce(|best, now| if value(now) > value(best) { now } else { best })
    }

    /// Trains `base` with `values` from where the run in `folder` stands to its end, or until `judge` stops it.
    ///
    /// # Errors
    /// Whatever stops a run other than a diverging loss, or values that do not go together.
    #[expect(clippy::too_many_arguments, reason = "each is of another kind")]
    pub(crate) fn train(
        trial: u64,
        base: &Config,
        values: Vec<(String, Value)>,
        judge: &Judge,
        folder: &Path,
        schema: &Schema,
        data: &Data,
        study: &Study,
    ) -> Result<Self> {
        let ended = |state, problem, curve, seconds| {
            Ok(Self { trial, values: values.clone(), state, problem, curve, seconds })
        };
        let made = base.with_values(&format!("trial {trial}"), &values).and_then(|config| {
            config.model.validate(&schema.input_spec())?;
            Ok(config)
        });
        let config = match made {
            Ok(config) => config,
            Err(e) => return ended(State::Refused, Some(e.to_string()), Vec::new(), 0.0),
        };
        let mark = fingerprint(&config, &[], &mut Hashes::default(), &schema.fingerprint())?;
        let attempt = Attempt::new(Run::new(folder, config, schema.clone()), &mark)?;
        // Killed between the judgement and its note: judge again rather than train on.
        let judged = attempt.position()?.filter(|at| at.stretch.is_empty() && at.evaluations > 0);
        let over = judged.is_some_and(|at| judge.decide(&at) == Next::Stop);
        let done = if over { attempt.seconds() } else { attempt.train(data, study, judge) };
        let (state, problem, seconds) = match done {
            Ok(seconds) if judge.stopped() => (State::Stopped, None, seconds),
            Ok(seconds) => (State::Finished, None, seconds),
            Err(e @ Error::Diverged { .. }) => (State::Diverged, Some(e.to_string()), attempt.seconds()?),
            Err(e) => return Err(e),
        };
        ended(state, problem, curve(&attempt, &base.train.monitor)?, seconds)
    }
}

/// Result of a search.
#[derive(Clone, Debug)]
pub struct Search {
    /// In order.
    pub trials: Vec<Trial>,
    /// The best one's configuration.
    pub best: Option<Config>,
    monitor: Monitor,
    keys: Vec<String>,
    base: Config,
}

/// Result of a search, for a program to read.
#[derive(Clone, Debug, Serialize)]
pub struct Summary<'a> {
    /// Metric that judges the validation rows.
    pub monitor: &'a Monitor,
    /// The trial of `best.toml`; none if no trial came to a result.
    pub best: Option<Best>,
    /// All of them, in order.
    pub trials: &'a [Trial],
}

/// The best trial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Best {
    /// Its number.
    pub trial: u64,
    /// Its best monitored value.
    pub value: f64,
    /// The evaluation that gave it, from 1.
    pub evaluation: usize,
}

/// Name of the best configuration's file.
pub const BEST: &str = "best.toml";

/// Runs the trials that are not done.
///
/// # Errors
/// A `[tune]` table or a configuration that cannot be; whatever stops a run other than a diverging loss. After an
/// interrupt, the same call goes on.
pub fn tune(config: &Config, space: &Space, out: &Path, study: &Study) -> Result<Search> {
    if !data_files::has(config, Split::Valid) {
        return Err(data_files::missing(Split::Valid));
    }
    let _held = Folder::take(out, OPTION)?;
    let schema = data_files::fit(config)?;
    let mut hashes = Hashes::default();
    let base = Config { tune: None, ..config.clone() };
    claim(out, &fingerprint(&base, &[Split::Train, Split::Valid], &mut hashes, &space.identity())?)?;
    let path = out.join("trials.jsonl");
    let mut search = Search {
        trials: read(&path, space)?,
        best: None,
        monitor: base.train.monitor.clone(),
        keys: space.keys().map(str::to_string).collect(),
        base,
    };
    let total = space.trials as usize;
    let mut data = None;
    for trial in search.trials.len()..total {
        let done = search.trials.len();
        if study.stopped() {
            return Err(Error::Paused { what: "search", done, total });
        }
        let values = space.values(trial as u64);
        study.say(&format!("trial {trial} of {total}: {}", shown(&values)));
        let data = match &mut data {
            Some(data) => data,
            none => {
                let record = Record::of(config, false, &mut hashes)?;
                none.insert(data_files::load(config, &schema, false, record)?)
            }
        };
        let folder = out.join(format!("trial-{trial:03}"));
        let usable = search.trials.iter().filter(|t| t.best().is_some());
        let judge = Judge::new(usable.map(|t| &t.curve[..]).filter(|_| space.stop), &search.base.train);
        let ended = Trial::train(trial as u64, &search.base, values, &judge, &folder, &schema, data, study);
        search.trials.push(ended.map_err(|e| match e {
            Error::Interrupted { .. } => Error::Paused { what: "search", done, total },
            other => other,
        })?);
        write(&path, &search.trials)?;
    }
    if let Some(best) = Trial::winner(&search.trials) {
        let config = search.base.with_values("best trial", &best.values)?;
        write_atomic(&out.join(BEST), config.anchored()?.to_toml()?.as_bytes())?;
        search.best = Some(config);
    }
    write_atomic(&out.join("trials.md"), search.markdown().as_bytes())?;
    Ok(search)
}

impl Search {
    /// Everything that a table shows.
    pub fn summary(&self) -> Summary<'_> {
        let best = Trial::winner(&self.trials).and_then(|t| Some((t.trial, t.best()?)));
        let best = best.map(|(trial, (value, evaluation))| Best {
            trial,
            value: self.monitor.sign() * value,
            evaluation,
        });
        Summary { monitor: &self.monitor, best, trials: &self.trials }
    }

    /// One line per trial, the best first.
    pub fn markdown(&self) -> String {
        let metric = format!("valid {}", name(&self.monitor.title()));
        let mut order: Vec<&Trial> = self.trials.iter().collect();
        order.sort_by(|a, b| value(b).total_cmp(&value(a)));
        let keys: Vec<String> = self.keys.iter().map(|k| name(k)).collect();
        let header = ["trial"].into_iter().chain(keys.iter().map(String::as_str));
        let header: Vec<&str> =
            header.chain([&*metric, "best evaluation", "evaluations", "seconds", "ended"]).collect();
        let rows = order.into_iter().map(|t| {
            let mut cells = vec![t.trial.to_string()];
            cells.extend(self.keys.iter().map(|key| {
                let value = t.values.iter().find(|(k, _)| k == key);
                value.map_or("as it is".into(), |(_, v)| name(&v.to_string()))
            }));
            let best = t.best();
            cells.push(best.map_or(NONE.into(), |(v, _)| format!("{:.4}", self.monitor.sign() * v)));
            cells.push(best.map_or(NONE.into(), |(_, number)| number.to_string()));
            cells.push(t.curve.len().to_string());
            cells.push(format!("{:.2}", t.seconds));
            cells.push(match t.state {
                State::Finished => "finished".into(),
                State::Stopped => "stopped".into(),
                State::Diverged => "diverged".into(),
                State::Refused | State::Failed => name(t.problem.as_deref().unwrap_or("refused")),
            });
            cells
        });
        table(&header, &rows.collect::<Vec<_>>())
    }
}

/// The monitored values in a run's `metrics.jsonl`.
fn curve(attempt: &Attempt, monitor: &Monitor) -> Result<Vec<f64>> {
    let lines = history::read(&attempt.run.folder)?;
    let at = attempt.position()?.unwrap_or_default();
    if let Some(gap) = attempt.run.gap(&lines, &at) {
        let fix = "restore the file, or delete the folder: the trial will be trained again";
        let path = history::file(&attempt.run.folder);
        return Err(Error::file(FileErrorKind::Damaged, path.display(), gap, fix));
    }
    let value = |line: &Line| monitor.value(&line.evaluation).filter(|_| line.split == "valid");
    Ok(lines.iter().filter_map(value).collect())
}

/// Best monitored value of a trial; below all others where there is none.
fn value(trial: &Trial) -> f64 {
    trial.best().map_or(f64::NEG_INFINITY, |(v, _)| v)
}

/// Values in one line.
pub(crate) fn shown(values: &[(String, Value)]) -> String {
    let each: Vec<String> = values.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    if each.is_empty() { "the configuration as it is".into() } else { each.join(", ") }
}

/// The trials that are done.
fn read(path: &Path, space: &Space) -> Result<Vec<Trial>> {
    let fix = "restore the file, or delete the folder of the search";
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(path.display(), "read", e, fix)),
    };
    let mut trials = Vec::new();
    for (i, line) in String::from_utf8_lossy(&bytes).split_terminator('\n').enumerate() {
        let fail =
            |kind, problem| Error::file(kind, path.display(), problem, fix).at(format!("line {}", i + 1));
        let trial: Trial = seal::parse(line).map_err(|problem| fail(FileErrorKind::Damaged, problem))?;
        if trial.trial != i as u64 || trial.values != space.values(i as u64) {
            return Err(fail(FileErrorKind::Foreign, "is not that trial of this search".into()));
        }
        trials.push(trial);
    }
    Ok(trials)
}

/// Writes all of them, whole or not at all.
fn write(path: &Path, trials: &[Trial]) -> Result<()> {
    let mut text = String::new();
    for trial in trials {
        let line = seal::line(trial);
        text += &line.map_err(|e| Error::bug(path.display(), e))?;
        text.push('\n');
    }
    Ok(write_atomic(path, text.as_bytes())?)
}
