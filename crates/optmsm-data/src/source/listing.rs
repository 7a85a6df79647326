//! From what the user names to the files that hold the rows.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::data_file::{
    DEEPEST, DataFile, Format, empty_folder, hidden, is_url, known_format, no_pattern, partitions, too_deep,
};
use super::memory::{frame, is_frame};
#[cfg(feature = "object-store")]
use super::object::data_files as url_files;
use crate::error::{DataError, FileErrorKind, Result};

/// The files behind paths, globs and folders, in the order given, those of a glob or folder by name.
pub(crate) fn data_files(paths: &[PathBuf]) -> Result<Vec<DataFile>> {
    let mut parts = Vec::new();
    for path in paths {
        let shown = path.display().to_string();
        if is_frame(path) {
            parts.push(frame(path)?);
            continue;
        }
        if is_url(path) {
            url_files(&shown, &mut parts)?;
            continue;
        }
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => folder(path, &mut parts)?,
            Ok(meta) => parts.push(part(path, Format::of(path).unwrap_or(Format::Csv), &meta)),
            Err(e) if e.kind() == io::ErrorKind::NotFound && shown.contains(['*', '?', '[']) => {
                matches(&shown, &mut parts)?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(DataError::file(
                    FileErrorKind::Missing,
                    &shown,
                    "no such file",
                    check("path", path),
                ));
            }
            Err(e) => return Err(DataError::io(&shown, "open", e)),
        }
    }
    let kind = |p: &DataFile| p.format.is_csv();
    if let Some(other) = parts.iter().find(|p| kind(p) != kind(&parts[0])) {
        let problem = format!("one of the files is a CSV and the other is not: {}", parts[0].name);
        return Err(DataError::unfit(&other.name, problem, "give files of one kind"));
    }
    Ok(parts)
}

fn part(path: &Path, format: Format, meta: &fs::Metadata) -> DataFile {
    DataFile {
        path: path.to_owned(),
        name: path.display().to_string(),
        format,
        partitions: partitions(path),
        bytes: meta.is_file().then_some(meta.len()),
        memory: None,
        #[cfg(feature = "object-store")]
        object: None,
    }
}

fn matches(pattern: &str, parts: &mut Vec<DataFile>) -> Result<()> {
    let paths = glob::glob(pattern).map_err(|e| no_pattern(pattern, &e))?;
    let before = parts.len();
    for path in paths {
        let path = path.map_err(|e| DataError::io(pattern, "open", e.into()))?; // sorted by name
        let meta = metadata(&path)?;
        match meta.is_dir() {
            true => folder(&path, parts)?,
            false if hidden(&path) => {}
            false => parts.push(part(&path, Format::of(&path).unwrap_or(Format::Csv), &meta)),
        }
    }
    if parts.len() == before {
        return Err(DataError::file(
            FileErrorKind::Missing,
            pattern,
            "no file matches",
            check("pattern", Path::new(pattern)),
        ));
    }
    Ok(())
}

/// Advice about a path or pattern that leads nowhere.
fn check(what: &str, path: &Path) -> String {
    let from = if path.is_absolute() { "" } else { "; it starts from the current directory" };
    format!("check the {what}{from}")
}

fn folder(path: &Path, parts: &mut Vec<DataFile>) -> Result<()> {
    let before = parts.len();
    walk(path, 0, parts)?;
    if parts.len() == before {
        return Err(empty_folder(&path.display().to_string()));
    }
    Ok(())
}

fn walk(path: &Path, depth: usize, parts: &mut Vec<DataFile>) -> Result<()> {
    let shown = path.display().to_string();
    if depth > DEEPEST {
        return Err(too_deep(&shown));
    }
    let failed = |e| DataError::io(&shown, "read", e);
    let entries = fs::read_dir(path).map_err(failed)?;
    let mut inside = entries.map(|e| Ok(e?.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    inside.sort();
    for path in inside.iter().filter(|p| !hidden(p)) {
        let meta = metadata(path)?;
        if meta.is_dir() {
            walk(path, depth + 1, parts)?;
            continue;
        }
        parts.push(part(path, known_format(path)?, &meta));
    }
    Ok(())
}

fn metadata(path: &Path) -> Result<fs::Metadata> {
    fs::metadata(path).map_err(|e| DataError::io(&path.display().to_string(), "open", e))
}

/// The error of a program that was built without object stores.
#[cfg(not(feature = "object-store"))]
pub(super) fn url_files(url: &str, _: &mut Vec<DataFile>) -> Result<()> {
    let fix = "build it with --features object-store, or copy the files to a disk";
    Err(DataError::unfit(url, "this program was built without support for URLs", fix))
}
