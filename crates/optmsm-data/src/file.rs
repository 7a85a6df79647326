//! Files that are whole or not there, and reads at a place.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::error::{DataError, Result};

/// Has `write` fill a file beside `path` (it may be read there, too), flushes it to the disk and renames it: readers see the old or
/// the new content, never a part. Errors name the path; nothing is left behind.
///
/// # Errors
/// Those of `write`, and when the disk refuses.
pub fn write_whole<E: From<DataError>>(
    path: &Path,
    write: impl FnOnce(&File, &Path) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let shown = path.display().to_string();
    let io = |source| E::from(DataError::io(&shown, "write", source));
    let Some(name) = path.file_name() else {
        return Err(DataError::file(&shown, "is not a file name", "give a file to write").into());
    };
    let mut beside = name.to_os_string();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(beside);
    let written = (|| {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&beside);
        let file = options.map_err(io)?;
        write(&file, &beside)?;
        file.sync_all().map_err(io)?;
        fs::rename(&beside, path).map_err(io)?;
        // The rename itself lasts only once the folder is on the disk; not every system can do that.
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|f| f.sync_all()).ok();
        Ok(())
    })();
    if written.is_err() {
        fs::remove_file(&beside).ok();
    }
    written
}

/// [`write_whole`] of bytes that are there.
///
/// # Errors
/// When the disk refuses.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(path, |mut file, _| {
        file.write_all(bytes).map_err(|source| DataError::io(&path.display().to_string(), "write", source))
    })
}

/// Fills `bytes` from a place in a file.
///
/// # Errors
/// The disk fails, or the file ends.
#[cfg(unix)]
pub fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Fills `bytes` from a place in a file.
///
/// # Errors
/// The disk fails, or the file ends.
#[cfg(windows)]
pub fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match std::os::windows::fs::FileExt::seek_read(file, &mut bytes[done..], offset + done as u64)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => done += n,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let target = dir.path().join("folder");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("x"), "").unwrap();
        assert!(matches!(write_atomic(&target, b"new"), Err(DataError::Io { action: "write", .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
