//! `config.json`: what `config.toml` said when the program wrote it, so that what changed since is said.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Config;
use crate::error::Result;
use crate::settings::{self, Change};
use crate::{say, seal};

/// Name of the file.
pub(crate) const NAME: &str = "config.json";

/// Every setting as TOML, by its dotted key.
pub(crate) type Settings = BTreeMap<String, String>;

/// Notes what the configuration says.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn write(folder: &Path, config: &Config) -> Result<()> {
    seal::save(&folder.join(NAME), &settings::flatten(config, false)?)
}

/// Noted settings, if there are any.
///
/// # Errors
/// When the note is damaged.
pub(crate) fn read(folder: &Path) -> Result<Option<Settings>> {
    let fix = "restore it from a copy, or delete it and check config.toml yourself";
    let mut noted = seal::load::<Settings>(&folder.join(NAME), fix)?;
    noted.iter_mut().for_each(|noted| _ = noted.remove(seal::KEY));
    Ok(noted)
}

/// Warns of every setting that was noted with another value; of none where nothing was noted.
///
/// # Errors
/// When the note is damaged.
pub(crate) fn compare(folder: &Path, config: &Config) -> Result<()> {
    let Some(noted) = read(folder)? else { return Ok(()) };
    let now = settings::flatten(config, false)?;
    let path = folder.join("config.toml");
    for Change { key, was, is } in settings::changes(&noted, &now) {
        say::warning(&format!("{}: {key} is {is}, but was {was} when the program wrote it", path.display()));
    }
    Ok(())
}
