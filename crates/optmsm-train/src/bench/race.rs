//! The runs of a benchmark: what is done, what is to be done, and the doing of it.

use std::fs;
use std::path::{Path, PathBuf};

use optmsm_data::Schema;
use serde::{Deserialize, Serialize};

use super::contestant::{Contestant, LeftOut, Ready};
use super::report::Ended;
use super::{PARTS, Plan, workers};
use crate::attempt::{Attempt, Study, fingerprint};
use crate::config::Config;
use crate::error::{Error, FileErrorKind, Result};
use crate::record::Hashes;
use crate::run::Run;
use crate::sampling::Weighing;
use crate::scored::RunResult;
use crate::seal;
use crate::trainer::Data;
use crate::tune::{Judge, State, Trial, shown};

/// Parts that all runs of a benchmark share.
pub(super) struct Race<'a> {
    pub(super) plan: &'a Plan,
    pub(super) out: &'a Path,
    pub(super) study: &'a Study<'a>,
    pub(super) schema: &'a Schema,
    pub(super) weighing: &'a Weighing,
    pub(super) ready: &'a [Ready],
}

/// A contestant with the settings that its trials chose.
pub(super) struct Choice<'a> {
    pub(super) ready: &'a Ready,
    trials: Vec<Trial>,
    /// Number of the trial.
    trial: u64,
    config: Config,
}

/// `trial-N.json`.
#[derive(Serialize, Deserialize)]
struct Noted {
    /// Hash of all that the trial's result depends on except the rows, which those of the whole folder are.
    fingerprint: String,
    #[serde(flatten)]
    trial: Trial,
}

/// A trial that is to be made.
struct TrialTask<'a> {
    ready: &'a Ready,
    contestant: usize,
    trial: u64,
    values: Vec<(String, toml::Value)>,
    fingerprint: String,
}

/// A run with chosen settings that is to be made.
struct RunTask<'a> {
    choice: &'a Choice<'a>,
    contestant: usize,
    at: usize,
    fingerprint: String,
}

/// The runs of each contestant, or why it has none.
pub(super) type Runs = Vec<std::result::Result<Vec<RunResult>, String>>;

impl Race<'_> {
    /// Runs in all.
    fn total(&self) -> usize {
        self.ready.len() * (self.plan.trials as usize + self.plan.seeds.len())
    }

    fn paused(&self, done: usize) -> Error {
        Error::Paused { what: "benchmark", done, total: self.total() }
    }

    fn folder(&self, ready: &Ready) -> PathBuf {
        self.out.join(Contestant::folder(&ready.name))
    }

    /// All trials of each contestant. The test rows are not there meanwhile.
    ///
    /// # Errors
    /// An interrupt; whatever stops all runs.
    pub(super) fn search(&self, mut data: Data) -> Result<(Data, Vec<Vec<Trial>>)> {
        let test = data.test.take();
        let (mut found, mut tasks) = (Vec::new(), Vec::new());
        for (contestant, ready) in self.ready.iter().enumerate() {
            for trial in 0..self.plan.trials {
                let values = ready.space.values(trial);
                let more = format!("{} {}", shown(&values), self.schema.fingerprint());
                let fingerprint = fingerprint(&ready.config, &[], &mut Hashes::default(), &more)?;
                match self.noted(ready, trial, &fingerprint)? {
                    Some(done) => found.push((contestant, done)),
                    None => tasks.push(TrialTask { ready, contestant, trial, values, fingerprint }),
                }
            }
        }
        let mut done = found.len();
        let seen = |task: &TrialTask, trial: Trial| {
            done += 1;
            let what = format!("{}, trial {}", task.ready.name, task.trial);
            self.say(done, &what, &self.ending(&trial), trial.seconds);
            found.push((task.contestant, trial));
        };
        let stop = || self.study.stopped();
        let ended = workers::each(&tasks, self.plan.jobs, stop, |task| self.trial(task, &data), seen);
        if Self::interrupted(ended)? || done < self.ready.len() * self.plan.trials as usize {
            return Err(self.paused(done));
        }
        let mut trials = vec![Vec::new(); self.ready.len()];
        found.sort_by_key(|(_, trial)| trial.trial);
        found.into_iter().for_each(|(contestant, trial)| trials[contestant].push(trial));
        data.test = test;
        Ok((data, trials))
    }

    /// Whether runs ended because the user asked for it; other errors as they are.
    fn interrupted(ended: Result<()>) -> Result<bool> {
        match ended {
            Err(Error::Interrupted { .. }) => Ok(true),
            ended => ended.map(|()| false),
        }
    }

    fn say(&self, done: usize, what: &str, ending: &str, seconds: f64) {
        self.study.say(&format!("{done} of {}: {what}: {ending}, {seconds:.1} s", self.total()));
    }

    /// A trial's result in words.
    fn ending(&self, trial: &Trial) -> String {
        let monitor = &self.plan.config.train.monitor;
        let value =
            trial.best().map(|(value, _)| format!("valid {} {:.4}", monitor.title(), monitor.sign() * value));
        let found = value.or_else(|| trial.problem.clone()).unwrap_or_default();
        format!("{found} ({})", shown(&trial.values))
    }

    /// The trial's note, if it is done.
    fn noted(&self, ready: &Ready, trial: u64, fingerprint: &str) -> Result<Option<Trial>> {
        let folder = self.folder(ready);
        let path = folder.join(format!("trial-{trial:03}.json"));
        let fix = format!("delete {}: {} will be trained again", folder.display(), ready.name);
        let Some(noted) = seal::load::<Noted>(&path, &fix)? else { return Ok(None) };
        if noted.fingerprint != fingerprint {
            let problem = "is of other settings of the model than this benchmark's";
            return Err(Error::file(FileErrorKind::Foreign, path.display(), problem, fix));
        }
        Ok(Some(noted.trial))
    }

    /// Trains a trial and notes it. Its run folder goes: parameters of a search are of no use. A failure is not noted, so that the
    /// same command tries again.
    fn trial(&self, task: &TrialTask, data: &Data) -> Result<Trial> {
        let TrialTask { ready, trial, values, .. } = task;
        let path = self.folder(ready).join(format!("trial-{trial:03}.json"));
        let folder = path.with_file_name(format!("trial-{trial:03}")).join("search");
        let judge = Judge::new(std::iter::empty(), &ready.config.train);
        let made = workers::caught(|| {
            Trial::train(
                *trial,
                &ready.config,
                values.clone(),
                &judge,
                &folder,
                self.schema,
                data,
                &self.quiet(),
            )
        });
        match made {
            Ok(trial) => {
                let noted = Noted { fingerprint: task.fingerprint.clone(), trial };
                seal::save(&path, &noted)?;
                fs::remove_dir_all(&folder).ok();
                // Only when nothing else is in it.
                if let Some(parent) = folder.parent() {
                    fs::remove_dir(parent).ok();
                }
                Ok(noted.trial)
            }
            Err(e) if is_own(&e) => {
                let (values, problem) = (values.clone(), Some(e.to_string()));
                Ok(Trial {
                    trial: *trial,
                    values,
                    state: State::Failed,
                    problem,
                    curve: Vec::new(),
                    seconds: 0.0,
                })
            }
            Err(e) => Err(e),
        }
    }

    /// Training says nothing of its own where several go on at a time.
    fn quiet(&self) -> Study<'_> {
        Study { quiet: true, ..*self.study }
    }

    /// The settings of each contestant's best trial; one without any is left out.
    ///
    /// # Errors
    /// A bug: the values were trained with.
    pub(super) fn choose(
        &self,
        trials: &[Vec<Trial>],
        left_out: &mut Vec<LeftOut>,
    ) -> Result<Vec<Choice<'_>>> {
        let mut chosen = Vec::new();
        for (ready, trials) in self.ready.iter().zip(trials) {
            let Some(best) = Trial::winner(trials) else {
                let problem = trials.iter().find_map(|trial| trial.problem.clone()).unwrap_or_default();
                let reason = format!("no trial came to a result: {problem}");
                left_out.push(LeftOut { name: ready.name.clone(), reason });
                continue;
            };
            let config = ready.config.with_values("chosen trial", &best.values)?;
            chosen.push(Choice { ready, trials: trials.clone(), trial: best.trial, config });
        }
        Ok(chosen)
    }

    fn run_folder(&self, choice: &Choice, seed: u64) -> PathBuf {
        self.folder(choice.ready).join(format!("trial-{:03}", choice.trial)).join(format!("seed-{seed}"))
    }

    /// The runs of each contestant with the settings that it chose.
    ///
    /// # Errors
    /// As [`Race::search`].
    pub(super) fn runs(&self, data: &Data, chosen: &[Choice], hashes: &mut Hashes) -> Result<Runs> {
        let seeds = &self.plan.seeds;
        let mut results: Vec<Vec<Option<std::result::Result<RunResult, String>>>> =
            vec![vec![None; seeds.len()]; chosen.len()];
        let mut tasks = Vec::new();
        for (contestant, choice) in chosen.iter().enumerate() {
            for (at, &seed) in seeds.iter().enumerate() {
                let fingerprint = fingerprint(&seeded(choice, seed), &PARTS, hashes, "")?;
                let folder = self.run_folder(choice, seed);
                match RunResult::load(&folder, &fingerprint, seed, self.schema)? {
                    Some(done) => results[contestant][at] = Some(Ok(done)),
                    None => tasks.push(RunTask { choice, contestant, at, fingerprint }),
                }
            }
        }
        // Contestants without a usable trial have no run to wait for.
        let mut done = self.total() - tasks.len();
        let seen = |task: &RunTask, result: std::result::Result<RunResult, String>| {
            done += 1;
            let what = format!("{}, seed {}", task.choice.ready.name, seeds[task.at]);
            let ending = result.as_ref().map_or_else(String::clone, |_| "scored".into());
            self.say(done, &what, &ending, result.as_ref().map_or(0.0, |run| run.seconds));
            results[task.contestant][task.at] = Some(result);
        };
        let stop = || self.study.stopped();
        let ended = workers::each(&tasks, self.plan.jobs, stop, |task| self.run(task, data), seen);
        if Self::interrupted(ended)? || done < self.total() {
            return Err(self.paused(done));
        }
        Ok(results.into_iter().map(|of| of.into_iter().flatten().collect()).collect())
    }

    /// Trains and scores a run, or says why that is not possible. Only the parameters that were scored stay.
    fn run(&self, task: &RunTask, data: &Data) -> Result<std::result::Result<RunResult, String>> {
        let seed = self.plan.seeds[task.at];
        let folder = self.run_folder(task.choice, seed);
        let made = workers::caught(|| {
            let run = Run::new(&folder, seeded(task.choice, seed), self.schema.clone());
            let attempt = Attempt::new(run, &task.fingerprint)?;
            let result =
                RunResult::make(&attempt, task.fingerprint.clone(), data, self.weighing, &self.quiet())?;
            fs::remove_file(attempt.run.checkpoint_path("last")).ok();
            Ok(result)
        });
        match made {
            Ok(result) => Ok(Ok(result)),
            Err(e) if is_own(&e) => Ok(Err(format!("seed {seed}: {e}"))),
            Err(e) => Err(e),
        }
    }

    /// Results of a contestant, as the tables show them.
    ///
    /// # Errors
    /// As [`Ended::model`].
    pub(super) fn ended(&self, choice: Choice, runs: Vec<RunResult>) -> Result<Ended> {
        let folders = self.plan.seeds.iter().map(|&seed| self.run_folder(&choice, seed)).collect();
        let Choice { ready, trials, trial, mut config } = choice;
        config.train.threads = self.plan.config.train.threads;
        let input = self.schema.input_spec();
        Ended::model(ready, trials, trial, &config, &input, runs, folders, !self.weighing.is_plain())
    }
}

/// The configuration of a run with the chosen settings.
fn seeded(choice: &Choice, seed: u64) -> Config {
    let mut config = choice.config.clone();
    config.train.seed = seed;
    config
}

/// Whether an error is of one run rather than of all: of its loss, its model, the memory that it needs, or a fault in its code.
fn is_own(e: &Error) -> bool {
    matches!(e, Error::Diverged { .. } | Error::Core(_) | Error::Bug { .. })
}
