//! Paths as a configuration names them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Source;

/// One path or several: files, globs, folders, as [`Source`] reads them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a path or a list of paths is wanted")]
pub enum Paths {
    /// One.
    One(String),
    /// One after the other.
    Many(Vec<String>),
}

impl Paths {
    /// The source, with relative paths starting from `folder`.
    pub fn source(&self, folder: Option<&Path>) -> Source {
        let from = |path: &String| folder.map_or_else(|| path.into(), |folder| folder.join(path));
        match self {
            Paths::One(path) => Source::from(from(path)),
            Paths::Many(paths) => Source::list(paths.iter().map(from)),
        }
    }
}

impl From<String> for Paths {
    fn from(path: String) -> Self {
        Paths::One(path)
    }
}
