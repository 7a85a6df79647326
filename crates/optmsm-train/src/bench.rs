//! Many models on one data set: the same rows and fields, as many trials for each, then several seeds of what the trials chose.
//!
//! `OUT/NAME/trial-N.json` is a finished trial of a contestant, `OUT/NAME/trial-N/seed-M/` a run with the settings of the trial that
//! it chose ([`crate::scored`]). Trials are judged by validation rows. Test rows are scored once by each of these runs, and choose
//! nothing. Runs stand on threads beside each other, so that rows are read and held once for all.

mod contestant;
mod peer;
mod report;
mod show;
mod space;
mod summary;
mod workers;

use std::fs;
use std::path::{Path, PathBuf};

use optmsm_data::{Schema, Split, write_atomic};
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, OPTION, Study, claim, fingerprint};
use crate::config::Config;
use crate::data_files;
use crate::error::{Error, FileErrorKind, Result};
use crate::folder::Folder;
use crate::record::{Hashes, Record};
use crate::run::Run;
use crate::sampling::Weighing;
use crate::scored::RunResult;
use crate::seal;
use crate::trainer::Data;
use crate::tune::{Judge, State, Trial, shown};

use contestant::Ready;
use report::Ended;

pub use contestant::{Contestant, LeftOut};
pub use peer::Peer;
pub use report::{Bench, Chosen, Measure, Model, Standing};
pub use summary::{FILES as SUMMARY, Summary};

/// Files of a benchmark, beside the folders of its contestants: tables, all numbers, and a page.
pub const FILES: [&str; 3] = ["bench.md", "bench.json", "bench.html"];

/// A benchmark that is to be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the data.
    pub name: String,
    /// Where the rows are and how a model is trained, except for what each contestant fixes.
    pub config: Config,
    /// At least one.
    pub contestants: Vec<Contestant>,
    /// Predictions of other programs.
    pub peers: Vec<Peer>,
    /// Trials of each contestant, the configuration as it is included.
    pub trials: u64,
    /// Seeds of the runs with the chosen settings.
    pub seeds: Vec<u64>,
    /// Runs that stand beside each other.
    pub jobs: usize,
}

/// All parts of the data.
const PARTS: [Split; 3] = [Split::Train, Split::Valid, Split::Test];

/// Trains what is not done, and writes [`FILES`].
///
/// # Errors
/// A part of the data is missing; peers of other rows; the folder holds other work; whatever stops all runs. What stops one contestant
/// alone is noted. After an interrupt, the same call goes on.
pub fn bench(plan: &Plan, out: &Path, study: &Study) -> Result<Bench> {
    let mut base = Config { tune: None, ..plan.config.clone() };
    if let Some(part) = PARTS.into_iter().find(|&part| !data_files::has(&base, part)) {
        return Err(data_files::missing(part));
    }
    let _held = Folder::take(out, OPTION)?;
    let schema = data_files::fit(&base)?;
    let mut hashes = Hashes::default();
    claim(out, &fingerprint(&base, &PARTS, &mut hashes, "bench")?)?;
    // Runs beside each other leave no core to share.
    base.train.threads = Some(1);
    let (mut ready, mut left_out) = (Vec::new(), Vec::new());
    for contestant in &plan.contestants {
        match contestant.ready(&base, &schema)? {
            Ok(fits) => ready.push(fits),
            Err(unfit) => left_out.push(unfit),
        }
    }
    let record = Record::of(&base, true, &mut hashes)?;
    let data = data_files::load(&base, &schema, true, record)?;
    let weighing = Weighing::of(&base.data, &schema, base.data.unsampled.contains(&Split::Test))?;
    let mut field = Vec::new();
    // Before anything is trained, so that one of other rows is found now.
    for peer in &plan.peers {
        field.push(peer.read(&plan.name, &plan.seeds, &data, &schema, &weighing)?);
    }
    let race = Race { plan, out, study, schema: &schema, weighing: &weighing, ready: &ready };
    let (data, trials) = race.search(data)?;
    let chosen = race.choose(&trials, &mut left_out)?;
    let runs = race.runs(&data, &chosen, &mut hashes)?;
    for (chosen, runs) in chosen.into_iter().zip(runs) {
        match runs {
            Ok(runs) => field.push(race.ended(chosen, runs)?),
            Err(reason) => left_out.push(LeftOut { name: chosen.ready.name.clone(), reason }),
        }
    }
    if field.is_empty() {
        let problem = left_out
            .first()
            .map_or("there is none".into(), |l| format!("none came to a result: {}", l.reason));
        return Err(Error::argument(
            "contestants",
            problem,
            "see why each is left out, and change the configuration",
        ));
    }
    let files = data_files::files(&base, &mut hashes)?;
    let bench = Bench::new(plan, files, field, left_out)?;
    let json = serde_json::to_string_pretty(&bench).map_err(|e| Error::bug("result", e))? + "\n";
    let texts = [bench.markdown(), json, crate::report::bench_page(&bench)?];
    for (name, text) in FILES.iter().zip(texts) {
        write_atomic(&out.join(name), text.as_bytes())?;
    }
    Ok(bench)
}

/// What all runs of a benchmark share.
struct Race<'a> {
    plan: &'a Plan,
    out: &'a Path,
    study: &'a Study<'a>,
    schema: &'a Schema,
    weighing: &'a Weighing,
    ready: &'a [Ready],
}

/// A contestant with the settings that its trials chose.
struct Choice<'a> {
    ready: &'a Ready,
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
type Runs = Vec<std::result::Result<Vec<RunResult>, String>>;

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
    fn search(&self, mut data: Data) -> Result<(Data, Vec<Vec<Trial>>)> {
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
        if self.interrupted(ended)? || done < self.ready.len() * self.plan.trials as usize {
            return Err(self.paused(done));
        }
        let mut trials = vec![Vec::new(); self.ready.len()];
        found.sort_by_key(|(_, trial)| trial.trial);
        found.into_iter().for_each(|(contestant, trial)| trials[contestant].push(trial));
        data.test = test;
        Ok((data, trials))
    }

    /// Whether runs ended because the user asked for it; other errors as they are.
    fn interrupted(&self, ended: Result<()>) -> Result<bool> {
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
        let fix = "delete it: the trial will be trained again";
        let Some(noted) = seal::load::<Noted>(&path, fix)? else { return Ok(None) };
        if noted.fingerprint != fingerprint {
            let problem = "is of another trial than this benchmark's";
            return Err(Error::file(FileErrorKind::Foreign, path.display(), problem, fix));
        }
        Ok(Some(noted.trial))
    }

    /// Trains a trial and notes it. Its run folder goes: parameters that are not chosen are of no use.
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
    fn choose(&self, trials: &[Vec<Trial>], left_out: &mut Vec<LeftOut>) -> Result<Vec<Choice<'_>>> {
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
    fn runs(&self, data: &Data, chosen: &[Choice], hashes: &mut Hashes) -> Result<Runs> {
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
        if self.interrupted(ended)? || done < self.total() {
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

    /// What the tables show of a contestant.
    fn ended(&self, choice: Choice, runs: Vec<RunResult>) -> Result<Ended> {
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
