//! Paths of a run's configuration: they lead to the same files from any current folder, and follow a folder that is moved with its data.

use std::path::{Component, Path, PathBuf, absolute};

use optmsm_data::{Paths, is_url};

use crate::config::Config;
use crate::error::{Error, Result};

impl Config {
    /// The same with paths that do not depend on the current folder: `data_dir` becomes absolute, and under a `data_dir` in a store
    /// the paths on disk do. What cannot be written as text stays as it is.
    ///
    /// # Errors
    /// The current folder is gone.
    pub fn anchored(&self) -> Result<Self> {
        let mut config = self.clone();
        if config.data_dir.as_ref().is_some_and(is_url) {
            for path in config.paths_on_disk() {
                *path = anchor(&path)?.unwrap_or(path.clone());
            }
        } else {
            let folder = config.data_dir.as_deref().filter(|dir| !dir.is_empty()).unwrap_or(".");
            config.data_dir = anchor(folder)?.or(config.data_dir);
        }
        Ok(config)
    }

    /// Looks for what is gone at the same place seen from a folder that was at `from` and is at `to` now.
    pub(crate) fn follow(&mut self, from: &Path, to: &Path) {
        if from == to {
            return;
        }
        // A folder is that of the data as long as the first of its files is there.
        let first = match &self.data.train {
            Some(Paths::One(path)) => path.clone(),
            Some(Paths::Many(paths)) => paths.first().cloned().unwrap_or_default(),
            None => String::new(),
        };
        if let Some(moved) = self.data_dir.as_ref().and_then(|dir| moved(dir, &first, from, to)) {
            self.data_dir = Some(moved);
        }
        let follow = |path: &mut String| {
            // A table's file has the name of its tensor behind it.
            let (file, rest) = path.split_at(path.rfind(".safetensors:").map_or(path.len(), |at| at + 12));
            if let Some(moved) = moved(file, "", from, to) {
                *path = moved + rest;
            }
        };
        self.data_paths().into_iter().flatten().flat_map(each).for_each(follow);
        self.paths_on_disk().for_each(follow);
    }

    /// Lets relative data paths that lead to nothing below `data_dir` start from the current folder, where they lead to
    /// something. A user who gives new names for files gives them as seen from there.
    ///
    /// # Errors
    /// The current folder is gone.
    pub fn seen_from_here(&mut self) -> Result<()> {
        let Some(folder) = self.data_dir.clone().filter(|dir| !is_url(dir)) else { return Ok(()) };
        for path in self.data_paths().into_iter().flatten().flat_map(each) {
            let here = Path::new(path.as_str());
            if here.is_relative() && !is_url(here) && exists(here) && !exists(&Path::new(&folder).join(here))
            {
                *path = anchor(here)?.unwrap_or(path.clone());
            }
        }
        Ok(())
    }

    /// The files of the parts.
    fn data_paths(&mut self) -> [&mut Option<Paths>; 3] {
        [&mut self.data.train, &mut self.data.valid, &mut self.data.test]
    }

    /// Paths that are on disk wherever the data is; of a table's file with the name of its tensor behind.
    fn paths_on_disk(&mut self) -> impl Iterator<Item = &mut String> {
        let fields = self.data.fields.iter_mut().flat_map(|f| [&mut f.init_from, &mut f.init_values]);
        fields.flatten().chain([&mut self.data.stream.folder])
    }
}

/// Each path of several.
fn each(paths: &mut Paths) -> std::slice::IterMut<'_, String> {
    match paths {
        Paths::One(path) => std::slice::from_mut(path).iter_mut(),
        Paths::Many(paths) => paths.iter_mut(),
    }
}

/// A path that does not depend on the current folder.
///
/// # Errors
/// The current folder is gone.
pub(crate) fn from_root(path: &Path) -> Result<PathBuf> {
    absolute(path).map_err(|e| {
        let problem = format!("starts from the current folder, which cannot be found: {e}");
        Error::file((&e).into(), path.display(), problem, "change to a folder that is there").because(e)
    })
}

/// [`from_root`] of a folder, without `..`.
///
/// # Errors
/// As there.
pub(crate) fn whole(folder: &Path) -> Result<PathBuf> {
    Ok(plain(&from_root(folder)?))
}

/// [`from_root`] as text; none of what cannot be written as text, and of no path.
fn anchor(path: impl AsRef<Path>) -> Result<Option<String>> {
    let path = path.as_ref();
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    Ok(from_root(path)?.into_os_string().into_string().ok())
}

/// Where a path leads after the move, if `inside` it is nothing as it is.
fn moved(path: &str, inside: &str, from: &Path, to: &Path) -> Option<String> {
    let path = Path::new(path);
    let inside = |folder: &Path| if inside.is_empty() { folder.to_path_buf() } else { folder.join(inside) };
    if !path.is_absolute() || exists(&inside(path)) {
        return None;
    }
    let there = plain(&to.join(relative(&plain(path), from)));
    exists(&inside(&there)).then(|| there.into_os_string().into_string().ok())?
}

/// Whether a path, or the folder that a pattern begins in, is there.
fn exists(path: &Path) -> bool {
    let is_pattern = |c: &Component| c.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    path.exists() || {
        let fixed: PathBuf = path.components().take_while(|c| !is_pattern(c)).collect();
        fixed != path && fixed.exists()
    }
}

/// A path as it is seen from a folder; both are absolute.
fn relative(path: &Path, folder: &Path) -> PathBuf {
    let same = path.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(same).map(|_| Component::ParentDir);
    up.chain(path.components().skip(same)).collect()
}

/// A path without `..`, where folders stand before it.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir if plain.file_name().is_some() => _ = plain.pop(),
            part => plain.push(part),
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_folders() {
        let seen = |path: &str, folder: &str| relative(Path::new(path), Path::new(folder));
        assert_eq!(seen("/p/data/a.csv", "/p/runs/x"), Path::new("../../data/a.csv"));
        assert_eq!(seen("/p/runs/x", "/p/runs/x"), Path::new(""));
        assert_eq!(seen("/p", "/p/runs/x"), Path::new("../.."));
        assert_eq!(plain(Path::new("/q/runs/x/../../data/a.csv")), Path::new("/q/data/a.csv"));
        assert_eq!(plain(Path::new("/../a")), Path::new("/../a"));
    }

    #[test]
    fn only_what_is_gone_is_looked_for_elsewhere() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for folder in ["old/data", "new/data", "new/runs/x"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        std::fs::write(at("new/t.csv"), "").unwrap();
        let text = |name: &str| at(name).to_str().unwrap().to_string();
        let moved = |path: &str| moved(&text(path), "", &at("old/runs/x"), &at("new/runs/x"));
        assert_eq!(moved("old/t.csv"), Some(text("new/t.csv")));
        assert_eq!(moved("old/gone/*.csv"), None);
        assert_eq!(moved("old/v.csv"), None);
        assert_eq!(moved("old/data"), None);
        std::fs::remove_dir(at("old/data")).unwrap();
        assert_eq!(moved("old/data"), Some(text("new/data")));
        assert_eq!(moved("old/data/*.csv"), Some(text("new/data/*.csv")));
    }
}
