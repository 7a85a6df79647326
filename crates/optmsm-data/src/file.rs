//! Files that are whole or not there.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::{DataError, Result};

/// Writes a file beside its place, flushes it to the disk and renames it: readers see the old or the new
/// content, never a part. Errors name the path; nothing is left behind.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let shown = path.display().to_string();
    let Some(name) = path.file_name() else {
        return Err(DataError::file(&shown, "is not a file name", "give a file to write"));
    };
    let mut beside = name.to_os_string();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(beside);
    let written = (|| {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        // The rename itself lasts only once the folder is on the disk; not every system can do that.
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|f| f.sync_all()).ok();
        Ok(())
    })();
    written.map_err(|source| {
        fs::remove_file(&beside).ok();
        DataError::io(&shown, "write", source)
    })
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
