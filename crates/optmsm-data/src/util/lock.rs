//! One writer at a time: locks that end with the process that holds them.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::file::no_follow;
use crate::error::{DataError, Result, printable};

/// A lock on what a small file stands for, held until it is dropped. The file says who holds it, and goes with the lock (but on Windows,
/// where it is emptied); that of a killed process is left, and not locked any more.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
    abandoned: bool,
}

/// Between two looks at a lock that is waited for.
const PAUSE: Duration = Duration::from_millis(100);
/// Looks before a user is told: most waits are shorter.
const QUIET: u32 = 10;
/// Bytes of the holder's description that are read.
const LONGEST: u64 = 1000;

impl Lock {
    /// Takes the lock, or says who holds it. Where the file system has no locks, `say` gets a line about it, and the lock keeps nobody out.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn try_take(path: &Path, say: impl FnOnce(&str)) -> Result<std::result::Result<Self, String>> {
        let io = |source| DataError::io(&path.display().to_string(), "lock", source);
        loop {
            let mut options = no_follow();
            let mut file = options.read(true).write(true).create(true).open(path).map_err(io)?;
            match file.try_lock() {
                Ok(()) if names(path, &file) => {}
                // The holder removed it in the moment before it was locked.
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => return Ok(Err(holder(&file))),
                Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(TryLockError::Error(e)) => say(&format!(
                    "{}: the file system has no locks ({e}), so nothing keeps a second process from writing here",
                    path.display()
                )),
            }
            let abandoned = file.metadata().is_ok_and(|meta| meta.len() > 0);
            // It is held, whether or not it says by whom.
            file.set_len(0).and_then(|()| file.write_all(myself().as_bytes())).ok();
            return Ok(Ok(Self { path: path.to_path_buf(), file, abandoned }));
        }
    }

    /// Takes the lock; `say` gets a line when it has to wait for more than a moment, and as in [`Lock::try_take`].
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn take(path: &Path, mut say: impl FnMut(&str)) -> Result<Self> {
        let mut looks = 0;
        loop {
            match Self::try_take(path, &mut say)? {
                Ok(lock) => return Ok(lock),
                Err(holder) if looks == QUIET => say(&format!("waits for {holder}")),
                Err(_) => {}
            }
            looks = looks.min(QUIET) + 1;
            sleep(PAUSE);
        }
    }

    /// Whether the last holder was killed.
    pub fn abandoned(&self) -> bool {
        self.abandoned
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before it is unlocked: who locks a file without a name takes another.
        #[cfg(unix)]
        if names(&self.path, &self.file) {
            std::fs::remove_file(&self.path).ok();
        }
        #[cfg(not(unix))]
        self.file.set_len(0).ok();
    }
}

/// Whether a path still leads to an open file.
#[cfg(unix)]
fn names(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(named), Ok(open)) = (path.symlink_metadata(), file.metadata()) else { return false };
    (named.dev(), named.ino()) == (open.dev(), open.ino())
}

/// Whether a path still leads to an open file: nobody takes its name from it.
#[cfg(not(unix))]
fn names(_: &Path, _: &File) -> bool {
    true
}

/// Words that the holder wrote.
fn holder(file: &File) -> String {
    let mut bytes = Vec::new();
    // Bytes that cannot be read are as good as none.
    file.take(LONGEST).read_to_end(&mut bytes).ok();
    match bytes.is_empty() {
        true => "another process".into(),
        false => printable(&String::from_utf8_lossy(&bytes)).into_owned(),
    }
}

/// Words by which a user finds this process.
fn myself() -> String {
    let mut args = std::env::args_os();
    let program = args.next().map(PathBuf::from);
    let program = program.as_deref().and_then(Path::file_name).map(|name| name.to_os_string());
    let words: Vec<_> =
        program.into_iter().chain(args).map(|arg| arg.to_string_lossy().into_owned()).collect();
    format!("process {} on {} ({})", std::process::id(), host(), words.join(" "))
}

#[cfg(unix)]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "this machine".into())
}

#[cfg(test)]
mod tests;
