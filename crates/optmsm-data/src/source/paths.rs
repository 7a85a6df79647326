//! Paths as a configuration names them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Source, is_url};

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
    /// The source, with relative paths starting from `folder`; a URL is as it is.
    pub fn source(&self, folder: Option<&Path>) -> Source {
        let from = |path: &String| match folder.filter(|_| !is_url(path)) {
            Some(folder) => folder.join(path),
            None => path.into(),
        };
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
