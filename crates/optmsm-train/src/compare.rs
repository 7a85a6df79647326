//! Several configurations, trained with the same seeds on the same rows and scored on the same test rows.
//!
//! `OUT/NAME/seed-N/` is a run folder, with its result once it is done ([`RunResult`]); runs that are done are not repeated. Test rows
//! choose nothing: early stopping watches validation rows alone, and every seed's result counts.

pub(crate) mod report;
mod show;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use optmsm_data::{NegativeRate, Split, write_atomic};
use serde::Serialize;

use crate::attempt::{Attempt, OPTION, Study, fingerprint};
use crate::config::Config;
use crate::data_files::{self, DataFile};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::record::{Hashes, Record};
use crate::run::Run;
use crate::sampling::Weighing;
use crate::scored::Scores;

pub use crate::scored::RunResult;
pub use report::{Comparison, Configuration, Difference, Scored, Verdict};

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
            if let Some(result) = RunResult::load(&folder, &fingerprint, seed, schema)? {
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
            let made = RunResult::make(&attempt, fingerprint, data, &weighing, study);
            let result = made.map_err(|e| match e {
                Error::Interrupted { .. } => paused(),
                Error::Diverged { step, loss, last, cause } => {
                    let cause = format!("{cause} (configuration {}, seed {seed})", entry.name);
                    Error::Diverged { step, loss, last, cause }
                }
                other => other,
            })?;
            done.push(result);
        }
    }
    let comparison = Comparison::new(entries, seeds, files, &done, |entry, seed| {
        Scores::load(&out.join(&entries[entry].name).join(format!("seed-{seed}")), !weighing.is_plain())
    })?;
    let [markdown, numbers] = FILES.map(|name| out.join(name));
    write_atomic(&markdown, comparison.markdown().as_bytes())?;
    write_atomic(&numbers, json(&comparison)?.as_bytes())?;
    Ok(comparison)
}

/// Files of the comparison, beside the folders of its configurations: a table, and all numbers.
pub const FILES: [&str; 2] = ["compare.md", "compare.json"];
const FIX: &str = "compare configurations of the same rows, labels and scenarios";

fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    Ok(text.map_err(|e| Error::bug("result", e))? + "\n")
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
