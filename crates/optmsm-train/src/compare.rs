//! Several configurations, trained with the same seeds on the same rows and scored on the same test rows.
//!
//! `OUT/NAME/seed-N/` is a run folder with `result.json` and `test.f32` (labels, then predictions of the test rows, then
//! their weights where metrics are weighted) once it is done; runs that are done are not repeated. Test rows choose nothing: early stopping watches validation
//! rows alone, and every seed's result counts.

mod report;
mod show;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use optmsm_data::{NegativeRate, Schema, Split, write_atomic};
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, OPTION, Study, fingerprint};
use crate::batches::Batches;
use crate::checkpoint::sha256;
use crate::config::Config;
use crate::data_files::{self, DataFile};
use crate::error::{Error, FileErrorKind, Result};
use crate::evaluate::Evaluation;
use crate::folder::Folder;
use crate::record::{Hashes, Record};
use crate::run::Run;
use crate::sampling::Weighing;
use crate::seal;
use crate::trainer::Observer;

pub use report::{Comparison, Configuration, Difference, Verdict};

/// A configuration to compare.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Name in the tables; also that of its folder.
    pub name: String,
    /// The file it came from.
    pub path: String,
    /// Resolved.
    pub config: Config,
}

/// Result of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Hash of configuration, seed, data and program version.
    pub fingerprint: String,
    /// Seed of parameters, order of rows and dropout.
    pub seed: u64,
    /// Number of parameters.
    pub parameters: u64,
    /// Passes over the training rows, with the share of the last.
    pub epochs: f64,
    /// Those that the parameters had seen that were scored.
    pub best_epoch: f64,
    /// Rows that it trained on, each as often as it was.
    pub rows: u64,
    /// From setting up to the last validation.
    pub seconds: f64,
    /// SHA-256 of `test.f32`.
    pub scores: String,
    /// Metrics of the test rows.
    pub test: Evaluation,
}

/// The test rows.
pub(crate) struct Scores {
    pub(crate) labels: Vec<f32>,
    pub(crate) predictions: Vec<f32>,
    /// Weights of the metrics; empty where every row counts once.
    pub(crate) weights: Vec<f32>,
}

/// Trains what is not done, and compares.
///
/// # Errors
/// Configurations of different data; whatever stops a run. After an interrupt, the same call goes on.
pub fn compare(entries: &[Entry], seeds: &[u64], out: &Path, study: &Study) -> Result<Comparison> {
    let Some(first) = entries.first().filter(|_| !seeds.is_empty()) else {
        return Err(Error::argument("comparison", "has no run", "give a configuration and a seed"));
    };
    let _held = Folder::take(out, OPTION)?;
    let mut hashes = Hashes::default();
    let files = same_data(first, entries, &mut hashes)?;
    let schemas = entries.iter().map(|e| data_files::fit(&e.config)).collect::<Result<Vec<_>>>()?;
    for (entry, schema) in entries.iter().zip(&schemas) {
        // The same bytes below folders of other names, which may be columns.
        if schema.scenarios != schemas[0].scenarios {
            let problem = format!("its training rows are of other scenarios than those of {}", first.path);
            return Err(Error::rows(&entry.path, problem, FIX));
        }
    }
    let whole = first.config.data.unsampled.contains(&Split::Test);
    let weighing = Weighing::of(&first.config.data, &schemas[0], whole)?;
    let total = entries.len() * seeds.len();
    let mut done = Vec::with_capacity(total);
    for (entry, schema) in entries.iter().zip(&schemas) {
        // Read when the first run needs it, for all seeds.
        let mut data = None;
        for &seed in seeds {
            let mut config = entry.config.clone();
            (config.train.seed, config.tune) = (seed, None);
            let folder = out.join(&entry.name).join(format!("seed-{seed}"));
            let fingerprint =
                fingerprint(&config, &[Split::Train, Split::Valid, Split::Test], &mut hashes, "")?;
            let attempt = Attempt::new(Run::new(&folder, config, schema.clone()), &fingerprint)?;
            if let Some(result) = finished(&folder, &fingerprint, seed, schema)? {
                done.push(result);
                continue;
            }
            let paused = || Error::Paused { what: "comparison", done: done.len(), total };
            if study.stopped() {
                return Err(paused());
            }
            study.say(&format!("{}, seed {seed} (run {} of {total})", entry.name, done.len() + 1));
            let data = match &mut data {
                Some(data) => data,
                none => {
                    let record = Record::of(&entry.config, true, &mut hashes)?;
                    none.insert(data_files::load(&entry.config, schema, true, record)?)
                }
            };
            let heard = Heard::default();
            let seconds = attempt.train(data, study, &heard).map_err(|e| match e {
                Error::Interrupted { .. } => paused(),
                Error::Diverged { step, loss, last, cause } => {
                    let cause = format!("{cause} (configuration {}, seed {seed})", entry.name);
                    Error::Diverged { step, loss, last, cause }
                }
                other => other,
            })?;
            let Some((test, predictions)) = heard.0.into_inner() else {
                return Err(data_files::missing(Split::Test));
            };
            let scored = data.test.as_ref().map(|test| test.scored(|_| Ok(()))).transpose()?;
            let batch = scored
                .as_ref()
                .map(|scored| &scored.batch)
                .ok_or_else(|| data_files::missing(Split::Test))?;
            let weights = weighing.weights(batch);
            let columns = batch.labels.iter().chain(&predictions).chain(&*weights);
            let bytes: Vec<u8> = columns.flat_map(|v| v.to_le_bytes()).collect();
            write_atomic(&folder.join(SCORES), &bytes)?;
            let [last, best] = ["last", "best"].map(|name| attempt.run.checkpoint(name));
            let (last, best) = (last?.position, best?.position);
            let result = RunResult {
                fingerprint,
                seed,
                parameters: study.trainer.parameters(&attempt.run)?,
                epochs: attempt.run.passes(&last),
                best_epoch: attempt.run.passes(&best),
                rows: Batches::of(&attempt.run).rows_at(&last),
                seconds,
                scores: sha256([bytes]),
                test,
            };
            seal::save(&folder.join(RESULT), &result)?;
            done.push(result);
        }
    }
    let comparison = Comparison::new(entries, seeds, files, &done, |entry, seed| {
        scores(&out.join(&entries[entry].name).join(format!("seed-{seed}")), !weighing.is_plain())
    })?;
    let [markdown, numbers] = FILES.map(|name| out.join(name));
    write_atomic(&markdown, comparison.markdown().as_bytes())?;
    write_atomic(&numbers, json(&comparison)?.as_bytes())?;
    Ok(comparison)
}

/// Files of the comparison, beside the folders of its configurations: a table, and all numbers.
pub const FILES: [&str; 2] = ["compare.md", "compare.json"];
const FIX: &str = "compare configurations of the same rows, labels and scenarios";
const RESULT: &str = "result.json";
const SCORES: &str = "test.f32";

fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    Ok(text.map_err(|e| Error::bug("result", e))? + "\n")
}

/// Hears of the test rows' predictions.
#[derive(Debug, Default)]
struct Heard(RefCell<Option<(Evaluation, Vec<f32>)>>);

impl Observer for Heard {
    fn tested(&self, evaluation: &Evaluation, predictions: &[f32]) {
        *self.0.borrow_mut() = Some((evaluation.clone(), predictions.to_vec()));
    }
}

/// The result of a run that is done.
fn finished(folder: &Path, fingerprint: &str, seed: u64, schema: &Schema) -> Result<Option<RunResult>> {
    let fix = "delete the folder: the run will be trained again";
    let (path, scores) = (folder.join(RESULT), folder.join(SCORES));
    let Some(result) = seal::load::<RunResult>(&path, fix)? else { return Ok(None) };
    let scenarios = schema.scenarios.iter().map(|s| &s.name);
    if result.fingerprint != fingerprint
        || result.seed != seed
        || !result.test.scenarios.iter().map(|s| &s.scenario).eq(scenarios)
    {
        return Err(Error::file(
            FileErrorKind::Foreign,
            path.display(),
            "is of another run than the configuration beside it",
            fix,
        ));
    }
    let bytes = fs::read(&scores).map_err(|e| Error::io(scores.display(), "read", e, fix))?;
    if result.scores != sha256([bytes]) {
        let problem = format!("is damaged: it does not match its checksum in {RESULT}");
        return Err(Error::file(FileErrorKind::Damaged, scores.display(), problem, fix));
    }
    Ok(Some(result))
}

/// Reads what [`finished`] has checked.
fn scores(folder: &Path, weighted: bool) -> Result<Scores> {
    let path = folder.join(SCORES);
    let bytes = fs::read(&path).map_err(|e| Error::io(path.display(), "read", e, "delete the folder"))?;
    let mut labels: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    let rows = labels.len() / if weighted { 3 } else { 2 };
    let mut predictions = labels.split_off(rows);
    let weights = predictions.split_off(rows);
    Ok(Scores { labels, predictions, weights })
}

/// The files of all configurations, whose rows, labels and scenarios must be the same; and there must be test rows.
fn same_data(first: &Entry, entries: &[Entry], hashes: &mut Hashes) -> Result<Vec<DataFile>> {
    for part in [Split::Train, Split::Test] {
        if !data_files::has(&first.config, part) {
            return Err(data_files::missing(part));
        }
    }
    let mut known: HashMap<PathBuf, DataFile> = HashMap::new();
    let mut hash = |config: &Config, part: Split| -> Result<Vec<DataFile>> {
        let files =
            data_files::source(config, part).map(|source| source.files()).transpose()?.unwrap_or_default();
        let mut found = Vec::new();
        for path in files {
            if !known.contains_key(&path) {
                known.insert(path.clone(), hashes.of(&path)?.0);
            }
            found.extend(known.get(&path).cloned());
        }
        Ok(found)
    };
    for other in entries {
        for ((key, mine), (_, theirs)) in settings(&first.config).iter().zip(settings(&other.config)) {
            if *mine != theirs {
                return Err(differ(first, other, key, mine, &theirs));
            }
        }
        for part in [Split::Train, Split::Valid, Split::Test] {
            let (mine, theirs) = (hash(&first.config, part)?, hash(&other.config, part)?);
            let hashes = |files: &[DataFile]| files.iter().map(|f| f.sha256.clone()).collect::<Vec<_>>();
            if hashes(&mine) != hashes(&theirs) {
                let shown = |files: Vec<DataFile>| match &files[..] {
                    [] => "not given".into(),
                    [f] => format!("{} (SHA-256 {}…)", f.path, &f.sha256[..12]),
                    [f, ..] => format!("{} and {} more files", f.path, files.len() - 1),
                };
                let key = format!("data.{}", part.name());
                return Err(differ(first, other, &key, &shown(mine), &shown(theirs)));
            }
        }
    }
    data_files::files(&first.config, hashes)
}

/// The settings that decide which rows there are, what is predicted, and how it is scored.
fn settings(config: &Config) -> Vec<(&'static str, String)> {
    let data = &config.data;
    let optional = |value: &Option<String>| value.clone().unwrap_or_else(|| "not given".into());
    let listed = |values: Option<&[String]>| values.map_or_else(|| "not given".into(), |v| format!("{v:?}"));
    let split = data
        .split
        .as_ref()
        .map(|s| format!("{{ valid = {}, test = {}, seed = {}, by = {:?} }}", s.valid, s.test, s.seed, s.by));
    let rate = data.negative_rate.as_ref().map(|rate| match rate {
        NegativeRate::All(rate) => rate.to_string(),
        NegativeRate::Each(rates) => format!("{rates:?}"),
    });
    let unsampled: Vec<String> = data.unsampled.iter().map(|part| part.name().to_string()).collect();
    let unsampled = Some(unsampled).filter(|parts| !parts.is_empty());
    vec![
        ("data.split", optional(&split)),
        ("data.label", data.label.clone()),
        ("data.scenario", data.scenario.clone()),
        ("data.unseen_scenario", format!("{:?}", data.unseen_scenario).to_lowercase()),
        ("data.negative_rate", optional(&rate)),
        ("data.unsampled", listed(unsampled.as_deref())),
        // Weights that metrics do not count are those of training alone.
        ("data.weight", data.metrics_weight().unwrap_or("not given").to_string()),
        ("data.group", optional(&data.group)),
        ("data.probability", optional(&data.probability)),
        ("data.delimiter", format!("{:?}", data.delimiter)),
        ("data.quoting", format!("{:?}", data.quoting).to_lowercase()),
        ("data.columns", if data.columns.is_empty() { "the header".into() } else { data.columns.join(", ") }),
        ("data.null_values", listed(data.null_values.as_deref())),
        ("data.label_values", listed(data.label_values.as_ref().map(<[String; 2]>::as_slice))),
    ]
}

fn differ(first: &Entry, other: &Entry, key: &str, mine: &str, theirs: &str) -> Error {
    let problem = format!("{key} is {theirs}, but {mine} in {}", first.path);
    let weights = "weigh the rows alike, or count each once in all with data.weighted_metrics = false";
    Error::configuration(&other.path, problem, if key.starts_with("data.weight") { weights } else { FIX })
}
