//! Folders that one process at a time writes. Who only reads takes no lock: every file in them is whole or not there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use optmsm_data::{DataError, Lock};

use crate::error::{Error, FileErrorKind, Result};
use crate::say;

/// Says who writes a folder. A killed process leaves it, without a lock on it.
const LOCK: &str = ".lock";

/// A folder that is this process's to write until this is dropped. If nothing came into it by then, it goes again, with those above it
/// that were made for it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    lock: Option<Lock>,
    made: Vec<PathBuf>,
}

impl Folder {
    /// Takes a folder, making it where there is none; `option` is what names another one.
    ///
    /// # Errors
    /// Another process holds it, or it cannot be made.
    pub fn take(path: &Path, option: &str) -> Result<Self> {
        Self::try_take(path, option)?.map_err(|holder| {
            let fix = format!("wait until it ends, or choose another folder with {option}");
            Error::file(FileErrorKind::Busy, path.display(), format!("is being written by {holder}"), fix)
        })
    }

    /// Takes the first of `paths` that is not there, or is empty except for what a killed process left before it wrote
    /// a run.
    ///
    /// # Errors
    /// A folder cannot be made.
    pub fn take_free(paths: impl IntoIterator<Item = PathBuf>, option: &str) -> Result<Self> {
        for path in paths {
            if path.symlink_metadata().is_ok() && !is_free(&path) {
                continue;
            }
            // Another process may have taken it meanwhile, and written a run.
            if let Ok(folder) = Self::try_take(&path, option)?
                && is_free(&path)
            {
                return Ok(folder);
            }
        }
        Err(Error::file(
            FileErrorKind::Exists,
            "runs",
            "has no free name",
            format!("choose a folder with {option}"),
        ))
    }

    /// The folder, or who holds it.
    fn try_take(path: &Path, option: &str) -> Result<std::result::Result<Self, String>> {
        let fail = |action: &str, e: io::Error| {
            Error::io(path.display(), action, e, format!("choose another folder with {option}"))
        };
        let mut folder = Self { path: path.to_path_buf(), lock: None, made: Vec::new() };
        loop {
            folder.make().map_err(|e| fail("made", e))?;
            match Lock::try_take(&path.join(LOCK), say::warning) {
                Ok(Ok(lock)) => folder.lock = Some(lock),
                Ok(Err(holder)) => return Ok(Err(holder)),
                // Its holder removed it in this moment, with nothing in it.
                Err(DataError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
                Err(DataError::Io { source, .. }) => return Err(fail("written", source)),
                Err(other) => return Err(other.into()),
            }
            return Ok(Ok(folder));
        }
    }

    /// Makes the folder and those above it, and notes which were not there.
    fn make(&mut self) -> io::Result<()> {
        let missing = self.path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        for path in missing.collect::<Vec<_>>().into_iter().rev() {
            match fs::create_dir(path) {
                Ok(()) => self.made.push(path.to_path_buf()),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the process that wrote it last was killed, so that what is in it is of a run.
    pub fn abandoned(&self) -> bool {
        self.lock.as_ref().is_some_and(Lock::abandoned)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.lock = None;
        // Only empty folders can be removed so.
        self.made.iter().rev().for_each(|path| drop(fs::remove_dir(path)));
    }
}

/// Folders for new runs of a name, to be tried in this order: `runs/name`, `runs/name-2`, `runs/name-3`, ….
pub fn named(name: &str) -> impl Iterator<Item = PathBuf> {
    let first = PathBuf::from(format!("runs/{name}"));
    std::iter::once(first).chain((2..=u32::MAX).map(move |n| PathBuf::from(format!("runs/{name}-{n}"))))
}

/// Whether something is at a path. A disk that does not say is no answer: what is taken for absent would be written over.
///
/// # Errors
/// The path cannot be looked at.
pub fn is_there(path: &Path) -> Result<bool> {
    match path.try_exists() {
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => Ok(false),
        found => {
            found.map_err(|e| Error::io(path.display(), "looked at", e, "check its permissions and the disk"))
        }
    }
}

/// Whether a folder is empty, or has been abandoned before a run was in it.
fn is_free(path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(path) else { return false };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    let has = |name: &str| names.iter().any(|n| n == name);
    names.is_empty() || has(LOCK) && !has("config.toml") && !holds_checkpoints(path)
}

/// Whether a folder holds parameters that training wrote.
pub(crate) fn holds_checkpoints(path: &Path) -> bool {
    fs::read_dir(path.join("checkpoints")).into_iter().flatten().flatten().any(|entry| {
        // Temporary files are no checkpoints.
        entry.path().extension().is_some_and(|e| e == "safetensors")
    })
}
