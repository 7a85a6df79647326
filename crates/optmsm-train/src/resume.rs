//! Changes that are allowed when a run is continued, and the note that its folder keeps of it.

use std::path::Path;

use optmsm_core::error::Error as CoreError;
use optmsm_data::Split;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::note;
use crate::record::{Change, Record};
use crate::run::Run;
use crate::say;
use crate::settings::{self, flatten, inside};

/// Whether a run can go on with its settings, which were those `before` the command; what was edited by hand before that counts, too.
///
/// # Errors
/// One of them decided what the checkpoint or the schema holds.
pub fn allow_settings(run: &Run, before: &Config) -> Result<()> {
    let fields = run.config.data.fields.iter().map(|f| &f.name);
    if !fields.eq(run.schema.fields.iter().map(|f| &f.name)) {
        return Err(fixed("data.fields", "has other fields than when the run began"));
    }
    let mut changes = edited(&run.folder)?;
    changes.extend(settings::changes(&flatten(before, true)?, &flatten(&run.config, true)?));
    for settings::Change { key, was, is } in changes {
        if is_state(&key) {
            let problem = format!(
                "is {is}, but was {was} when the run began, and its checkpoint has the state of that"
            );
            return Err(CoreError::config(key, problem, "leave it as it was, or begin a new run").into());
        }
        if is_fixed(&key, &run.config) {
            return Err(fixed(&key, &format!("is {is}, but was {was} when the run began")));
        }
    }
    Ok(())
}

fn fixed(key: &str, problem: &str) -> Error {
    let why = match key {
        key if is_of_metrics(key) => "its best value would be of another metric",
        key if key.starts_with("model.") => "its checkpoint would be of another model",
        _ => "its schema would be another",
    };
    let fix = "leave it as it was, or begin a new run";
    CoreError::config(key, format!("{problem}, and {why}"), fix).into()
}

/// Whether a setting decides how rows weigh in metrics, or which probabilities these are of.
fn is_of_metrics(key: &str) -> bool {
    ["data.weighted_metrics", "data.unsampled", "data.negative_rate"].iter().any(|of| key.starts_with(of))
}

/// Whether a setting decides what a checkpoint holds beside the model.
fn is_state(key: &str) -> bool {
    key == "train.average.kind" || (key.starts_with("train.") && key.ends_with(".decay_rows"))
}

/// Whether what a run has made so far follows from a setting.
fn is_fixed(key: &str, config: &Config) -> bool {
    match key.split_once('.') {
        // Without a column of weights every row counts once anyway.
        Some(("data", "weighted_metrics")) => config.data.weight.is_some(),
        Some(("model", key)) => key != "embeddings.dtype",
        Some(("data", key)) => {
            // Parts that differ are seen by their content.
            let first = key.split('.').next().unwrap_or_default();
            let of_rows = matches!(first, "train" | "valid" | "test" | "split" | "stream")
                || ["oov_rate", "scenario_weights"].contains(&first);
            let of_steps =
                key.starts_with("fields.") && [".oov_dropout", ".freeze"].iter().any(|k| key.ends_with(k));
            !of_rows && !of_steps
        }
        _ => false,
    }
}

/// Whether a run can go on with these files.
///
/// # Errors
/// Rows that it is trained on or judged by have changed, and nobody insists.
pub fn allow_data(before: Option<&Record>, now: &Record, insist: bool) -> Result<()> {
    let changes = before.map_or(Vec::new(), |before| now.changes(before));
    match changes.into_iter().find(|change| change.part != Split::Test) {
        Some(Change { place, problem, .. }) if !insist => {
            let fix = "restore it, begin a new run, or insist with --allow-changed-data";
            Err(Error::rows(place, problem, fix))
        }
        _ => Ok(()),
    }
}

/// Says which settings differ; returns whether any does.
///
/// # Errors
/// A configuration cannot be written as TOML.
pub fn say_changes(before: &Config, after: &Config) -> Result<bool> {
    let changes = settings::changes(&flatten(before, true)?, &flatten(after, true)?);
    changes.iter().for_each(|settings::Change { key, was, is }| say::line(&format!("{key}: {was} → {is}")));
    Ok(!changes.is_empty())
}

/// Writes down what a run goes on with, for the next time, and says what has changed.
///
/// # Errors
/// The folder cannot be read or written.
pub(crate) fn keep(run: &Run, record: &Record, resumed: bool) -> Result<()> {
    let now = run.config.anchored()?;
    match say_changes(&Config::load(&run.folder.join("config.toml"), &[])?, &now)? {
        true => run.save_config()?,
        // Edits by hand were warned of when the run was opened.
        false => note::write(&run.folder, &now)?,
    }
    match Record::load(&run.folder)? {
        Some(before) => {
            for Change { place, problem, .. } in record.changes(&before) {
                say::warning(&format!("{place}: {problem}"));
            }
        }
        None if resumed => {
            let folder = run.folder.display();
            say::warning(&format!(
                "{folder}: does not say what its data was when it began; from now on it does"
            ));
        }
        None => {}
    }
    record.save(&run.folder)
}

/// The settings of a run's `config.toml` that the program did not write so; none where it noted nothing.
fn edited(folder: &Path) -> Result<Vec<settings::Change>> {
    let Some(noted) = note::read(folder)? else { return Ok(Vec::new()) };
    let now = flatten(&Config::load(&folder.join("config.toml"), &[])?, true)?;
    Ok(settings::changes(&inside(&noted), &now))
}
