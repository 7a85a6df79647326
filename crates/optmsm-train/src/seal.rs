//! JSON that the program reads back: an object ends with the checksum of its own text, so that damage is seen.

use std::io::ErrorKind;
use std::path::Path;

use optmsm_data::write_atomic;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, FileErrorKind, Result};

/// The last key of an object: the CRC-32 of the text before it.
pub(crate) const KEY: &str = "crc32";

/// An object as one line, without its end.
pub(crate) fn line(value: &impl Serialize) -> serde_json::Result<String> {
    Ok(seal(&serde_json::to_string(value)?))
}

/// Reads what [`line`] wrote, or says in a few words what is wrong.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> std::result::Result<T, String> {
    // The checksum is the last key, and has no comma.
    let sealed = text.rfind(',').is_some_and(|end| close(&text[..end]) == text);
    if !sealed {
        return Err(
            "does not match its checksum: it was changed, cut, or written by an earlier version".into()
        );
    }
    serde_json::from_str(text).map_err(|e| format!("cannot be read: {e}"))
}

/// Writes an object as a file of its own, whole or not at all.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn save(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|e| Error::bug(path.display(), e))?;
    Ok(write_atomic(path, (seal(&text) + "\n").as_bytes())?)
}

/// Reads what [`save`] wrote; none where there is no such file. `fix` is what to do about a damaged one.
///
/// # Errors
/// When the file is damaged or cannot be read.
pub(crate) fn load<T: DeserializeOwned>(path: &Path, fix: &str) -> Result<Option<T>> {
    let damaged = |problem: String| Error::file(FileErrorKind::Damaged, path.display(), problem, fix);
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            parse(text.strip_suffix('\n').unwrap_or_default()).map(Some).map_err(damaged)
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path.display(), "read", e, fix)),
    }
}

/// Adds the checksum to the text of an object that has a key.
fn seal(object: &str) -> String {
    close(object.strip_suffix('}').unwrap_or(object).trim_end())
}

/// Ends an object, whose text so far is `open`.
fn close(open: &str) -> String {
    let sum = crc32fast::hash(open.as_bytes());
    match open.contains('\n') {
        true => format!("{open},\n  \"{KEY}\": \"{sum:08x}\"\n}}"),
        false => format!("{open},\"{KEY}\":\"{sum:08x}\"}}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Object = BTreeMap<String, serde_json::Value>;

    fn object() -> Object {
        let text = r#"{"b": [1, {"a": "},\n\"crc32\""}], "ä": 0.1, "z": null}"#;
        serde_json::from_str(text).unwrap()
    }

    /// Every changed bit and every cut is seen, in a line and in a file.
    #[test]
    fn every_bit_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object");
        save(&path, &object()).unwrap();
        let file = std::fs::read(&path).unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            load::<Object>(&path, "make it anew").map_err(|e| e.to_string())
        };
        for at in 0..file.len() {
            let problem = read(&file[..at]).unwrap_err();
            assert!(problem.starts_with(&path.display().to_string()) && problem.ends_with("; make it anew"));
            for bit in 0..8 {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                assert!(read(&damaged).is_err(), "bit {bit} of byte {at}");
            }
        }
        let whole = read(&file).unwrap().unwrap();
        assert!(object().iter().all(|(key, value)| whole[key] == *value));

        let line = line(&object()).unwrap();
        assert_eq!(parse::<Object>(&line).unwrap(), parse::<Object>(&line).unwrap());
        for at in 0..line.len() {
            assert!(!line.is_char_boundary(at) || parse::<Object>(&line[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = line.clone().into_bytes();
                damaged[at] ^= 1 << bit;
                assert!(
                    parse::<Object>(&String::from_utf8_lossy(&damaged)).is_err(),
                    "bit {bit} of byte {at}"
                );
            }
        }
    }

    /// The checksum is the CRC-32 of the text before it: of `{"a":1` by another program.
    #[test]
    fn the_checksum_is_that_of_the_text_before_it() {
        assert_eq!(seal(r#"{"a":1}"#), r#"{"a":1,"crc32":"a702fc6e"}"#);
        assert_eq!(seal("{\n  \"a\": 1\n}"), "{\n  \"a\": 1,\n  \"crc32\": \"476d1ee6\"\n}");
    }

    #[test]
    fn what_has_no_checksum_is_refused() {
        for text in ["", "{}", r#"{"a":1}"#, r#"{"a":1,"crc32":"00000000"}"#, "\0\0\0", "[1,2]"] {
            assert!(parse::<serde_json::Value>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_missing_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load::<Object>(&folder.path().join("none"), "").unwrap().is_none());
        assert!(load::<Object>(folder.path(), "give a file").is_err());
    }
}
