//! How a file that a run is applied to is read, where that is otherwise than what the run was trained on.

use optmsm_data::{DataConfig, Reading};

use crate::config::Config;
use crate::error::{Error, Result};

/// Settings of how a file is read.
const KEYS: [&str; 5] =
    ["data.delimiter", "data.quoting", "data.columns", "data.null_values", "data.label_values"];

/// How `trained` on files are read, changed by `key=value` overrides of the settings that say it.
///
/// # Errors
/// Another setting is named, which a trained run has for good; or a value that the setting cannot have.
pub fn reading(config: &Config, trained: &Reading, overrides: &[String]) -> Result<Reading> {
    for text in overrides {
        let key = text.split_once('=').map_or(text.as_str(), |(key, _)| key).trim();
        if !KEYS.contains(&key) {
            let fix = format!("here only how the file is read can be set: {}", KEYS.join(", "));
            return Err(Error::file(format!("--set {text}"), format!("'{key}' is that of training"), fix));
        }
    }
    let Reading { delimiter, quoting, columns, null_values, label_values, spelling } = trained.clone();
    let data = DataConfig { delimiter, quoting, columns, null_values, label_values, ..config.data.clone() };
    let changed = Config { data, ..config.clone() }.override_with(overrides)?;
    Ok(Reading { spelling, ..changed.data.reading() })
}
