//! Size and hash of the files that a run was made from.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use optmsm_data::InputFile;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::say;

/// A file as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileFacts {
    /// Role of the file in the run, for example `data.train`.
    pub role: String,
    /// Where it lies.
    pub path: String,
    /// Size; none when it cannot be read any more.
    pub bytes: Option<u64>,
    /// SHA-256 in hexadecimal.
    pub sha256: Option<String>,
}

/// Reads every file once, however many runs name it.
#[derive(Debug, Default)]
pub struct Files(HashMap<PathBuf, Option<(u64, String)>>);

impl Files {
    /// Facts of a file; one that is there and cannot be read is warned of.
    pub fn facts(&mut self, role: &str, path: &Path) -> FileFacts {
        let read = || match hash(path) {
            Ok(found) => Some(found),
            Err(e) => {
                if path.exists() {
                    say::warning(&format!("the report has no size and hash of {}: {e}", path.display()));
                }
                None
            }
        };
        let found = self.0.entry(path.to_path_buf()).or_insert_with(read).clone();
        let (bytes, sha256) = found.unzip();
        FileFacts { role: role.into(), path: path.display().to_string(), bytes, sha256 }
    }
}

fn hash(path: &Path) -> std::io::Result<(u64, String)> {
    let mut file = InputFile::open(path).map_err(std::io::Error::other)?;
    let (mut hash, mut bytes, mut piece) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((bytes, hash.finalize().iter().map(|b| format!("{b:02x}")).collect())),
            n => {
                hash.update(&piece[..n]);
                bytes += n as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_size_and_published_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let facts = Files::default().facts("data.train", &path);
        // FIPS 180-2, appendix B.1
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((facts.bytes, facts.sha256.as_deref()), (Some(3), Some(hash)));
        let gone = Files::default().facts("data.test", &folder.path().join("gone"));
        assert_eq!((gone.bytes, gone.sha256), (None, None));
    }
}
