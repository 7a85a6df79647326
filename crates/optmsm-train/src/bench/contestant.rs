//! The contestants of a benchmark: what each fixes, and what is searched for it.

use optmsm_core::models::Kind;
use optmsm_data::Schema;
use serde::Serialize;

use super::space;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tune::Space;

/// OptMSM with one idea changed, added or taken away: name, and what is fixed.
const ABLATIONS: [(&str, &[&str]); 14] = [
    ("optmsm", &[]),
    ("with penalty", &["model.orthogonality=0.1"]),
    ("without penalty", &["model.orthogonality=0.0"]),
    ("without gate", &["model.combine=\"mean\""]),
    ("without hypernetwork", &["model.hyper.condition=\"shared\""]),
    ("without dropout", &["model.experts.dropout=0", "model.tower.dropout=0"]),
    ("ReLU experts", &["model.expert_output=\"relu\""]),
    ("normalized experts", &["model.expert_output=\"normalized\""]),
    ("K = 1", &["model.experts.count=1"]),
    ("K = 2", &["model.experts.count=2"]),
    ("K = 4", &["model.experts.count=4"]),
    ("K = 8", &["model.experts.count=8"]),
    // Needs as many experts as scenarios.
    ("select", &["model.combine=\"select\"", "model.experts.count=0"]),
    ("instance", &["model.hyper.condition=\"instance\""]),
];

/// A kind of model, with settings that are the same in all of its trials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contestant {
    /// Name in the tables.
    pub name: String,
    /// Settings that it fixes, as `--set` takes them.
    pub overrides: Vec<String>,
}

/// A contestant without a result, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// Error that its configuration, its trials or one of its runs ended with.
    pub reason: String,
}

/// A contestant that the data allow.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) name: String,
    /// The configuration of its trial 0.
    pub(super) config: Config,
    pub(super) space: Space,
    /// The space as it is written: key and range.
    pub(super) written: Vec<(String, String)>,
}

impl Contestant {
    /// One of each kind.
    pub fn models(kinds: &[Kind]) -> Vec<Self> {
        let of = |kind: &Kind| Self::new(kind.name(), *kind, &[]);
        kinds.iter().map(of).collect()
    }

    /// OptMSM, and what is left of it without each of its ideas.
    pub fn ablations() -> Vec<Self> {
        ABLATIONS.iter().map(|(name, overrides)| Self::new(name, Kind::OptMsm, overrides)).collect()
    }

    fn new(name: &str, kind: Kind, overrides: &[&str]) -> Self {
        let kind = format!("model.kind=\"{}\"", kind.name());
        let overrides = overrides.iter().map(|text| text.to_string());
        Self { name: name.into(), overrides: std::iter::once(kind).chain(overrides).collect() }
    }

    /// Folder of its trials: its name in letters, digits and dashes.
    pub(super) fn folder(name: &str) -> String {
        let letter = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { ' ' };
        let text: String = name.chars().map(letter).collect();
        text.split_whitespace().collect::<Vec<_>>().join("-").to_lowercase()
    }

    /// Its configuration and its search space; or why the data do not allow it.
    ///
    /// # Errors
    /// The tables of this program are wrong.
    pub(super) fn ready(
        &self,
        base: &Config,
        schema: &Schema,
    ) -> Result<std::result::Result<Ready, LeftOut>> {
        let made = || -> Result<Ready> {
            let config = base.override_with(&self.overrides)?;
            config.model.validate(&schema.input_spec())?;
            if self.overrides.len() > 1 && base.override_with(&self.overrides[..1])?.model == config.model {
                let fix = "it is what the configuration has: see optmsm";
                return Err(Error::configuration(&self.name, "changes nothing", fix));
            }
            let keys = self.overrides.iter().filter_map(|text| text.split_once('='));
            let fixed: Vec<&str> = keys.map(|(key, _)| key).collect();
            let table = space::of(config.model.kind, &fixed)?;
            let written = table.iter().map(|(key, range)| (key.clone(), range.to_string())).collect();
            let space = Space::new(&Config { tune: Some(table), ..config.clone() })?;
            Ok(Ready { name: self.name.clone(), config, space, written })
        };
        match made() {
            Ok(ready) => Ok(Ok(ready)),
            Err(e @ Error::Bug { .. }) => Err(e),
            Err(e) => Ok(Err(LeftOut { name: self.name.clone(), reason: e.to_string() })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_apart_and_plain() {
        let names = [Contestant::models(Kind::ALL), Contestant::ablations()].concat();
        let mut folders: Vec<String> = names.iter().map(|c| Contestant::folder(&c.name)).collect();
        assert!(folders.contains(&"k-8".into()) && folders.contains(&"without-penalty".into()));
        folders.sort();
        folders.dedup();
        // "optmsm" is in both lists.
        assert_eq!(folders.len(), Kind::ALL.len() + ABLATIONS.len() - 1);
    }
}
