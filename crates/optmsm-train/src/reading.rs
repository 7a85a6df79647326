//! How a file that a run is applied to is read and scored, where that is otherwise than what the run was trained on.

use optmsm_data::{DataConfig, Reading};

use crate::config::Config;
use crate::error::{Error, Result};

/// Settings of how a file is read.
const KEYS: [&str; 5] =
    ["data.delimiter", "data.quoting", "data.columns", "data.null_values", "data.label_values"];

/// The setting of how rows are scored.
const WEIGHTED: &str = "data.weighted_metrics";

/// The key of a `key=value` override.
fn key(text: &str) -> &str {
    text.split_once('=').map_or(text, |(key, _)| key).trim()
}

/// Applies overrides of whether metrics are weighted; returns the others.
///
/// # Errors
/// A value is neither true nor false.
pub fn scoring(config: &mut Config, overrides: &[String]) -> Result<Vec<String>> {
    let (own, others): (Vec<String>, Vec<String>) =
        overrides.iter().cloned().partition(|text| key(text) == WEIGHTED);
    if !own.is_empty() {
        *config = config.override_with(&own)?;
    }
    Ok(others)
}

/// How `trained` on files are read, changed by `key=value` overrides of the settings that say it.
///
/// # Errors
/// Another setting is named, which a trained run has for good; or a value that the setting cannot have.
pub fn reading(config: &Config, trained: &Reading, overrides: &[String]) -> Result<Reading> {
    for text in overrides {
        let key = key(text);
        if !KEYS.contains(&key) {
            let fix = format!("here only how the file is read can be set: {}", KEYS.join(", "));
            return Err(Error::argument(
                format!("--set {text}"),
                format!("'{key}' is that of training"),
                fix,
            ));
        }
    }
    let Reading { delimiter, quoting, columns, null_values, label_values, spelling } = trained.clone();
    let data = DataConfig { delimiter, quoting, columns, null_values, label_values, ..config.data.clone() };
    let changed = Config { data, ..config.clone() }.override_with(overrides)?;
    Ok(Reading { spelling, ..changed.data.reading() })
}
