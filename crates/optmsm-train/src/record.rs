//! The files that a run was made from: `data.json`, by which a continued run sees that one has other content.
//!
//! A file is known by its SHA-256, an object in a store by its size, e-tag, version and time of change.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use optmsm_data::{SourceFile, Split, SplitConfig};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::data_files::{self, DataFile};
use crate::error::{Error, FileErrorKind, Result};
use crate::{paths, seal};

/// Name of the file.
const NAME: &str = "data.json";
/// Version of the file.
const FORMAT: u32 = 1;

/// Record of a run's data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    format: u32,
    /// Absolute path of the run folder when this was written: what was moved with it is found from there.
    folder: String,
    /// Files in the order of their rows, by part of the data; those of a split are all of `train`.
    files: BTreeMap<String, Vec<Known>>,
    /// Split that parts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    split: Option<SplitConfig>,
    /// Share of the training rows' values that are out of vocabulary, by field, where there are any.
    pub unknown: BTreeMap<String, f64>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// Absolute path, or URL.
    path: String,
    /// SHA-256 of its bytes, or the state of an object.
    content: String,
    /// Columns that the run reads from the names of its folders, with their value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    folders: Vec<(String, Option<String>)>,
    /// Stamp that the system would change if it were written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stamp: Option<String>,
}

/// A part of the data whose rows are others than they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its part.
    pub part: Split,
    /// The file, or the setting that names the files.
    pub place: String,
    /// How it differs.
    pub problem: String,
}

impl Record {
    /// Reads what is to be known of the files of a configuration; those of the test part only when they are asked for.
    ///
    /// # Errors
    /// A file cannot be found or read.
    pub fn of(config: &Config, test: bool, hashes: &mut Hashes) -> Result<Self> {
        let mut files = BTreeMap::new();
        for part in [Split::Train, Split::Valid, Split::Test] {
            let of_split = part != Split::Train && data_files::selection(config, part).is_some();
            let Some(source) = data_files::source(config, part).filter(|_| !of_split) else { continue };
            if part == Split::Test && !test {
                continue;
            }
            let known = |file: &SourceFile| Known::new(file, config, hashes);
            let known = source.described()?.iter().map(known).collect::<Result<Vec<_>>>()?;
            files.insert(part.name().to_string(), known);
        }
        Ok(Self { files, split: config.data.split.clone(), ..Self::default() })
    }

    /// That of a run folder; none of a run that an older version wrote.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn load(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(NAME);
        let fix = "restore it from a copy, or delete it: the run then goes on with the files as they are";
        match seal::load::<Self>(&path, fix)? {
            Some(record) if record.format != FORMAT => {
                let problem = format!("is of version {}, and this program reads {FORMAT}", record.format);
                Err(Error::file(FileErrorKind::Foreign, path.display(), problem, fix))
            }
            record => Ok(record),
        }
    }

    /// Writes it to a run folder.
    ///
    /// # Errors
    /// The disk refuses.
    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        let here = paths::whole(folder)?.to_string_lossy().into_owned();
        seal::save(&folder.join(NAME), &Self { format: FORMAT, folder: here, ..self.clone() })
    }

    /// Where the run folder was when this was written.
    pub(crate) fn folder(&self) -> &Path {
        Path::new(&self.folder)
    }

    /// The parts whose rows are not those that they were `before`. A part that only one of them has is a changed setting.
    pub fn changes(&self, before: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for part in [Split::Train, Split::Valid, Split::Test] {
            let (Some(was), Some(is)) = (before.files.get(part.name()), self.files.get(part.name())) else {
                continue;
            };
            let key = format!("data.{}", part.name());
            let differs = was.iter().zip(is).find(|(was, is)| !was.same_rows(is));
            let (place, problem) = match differs {
                _ if was.len() != is.len() => {
                    (key, format!("has {} files, but had {} when the run began", is.len(), was.len()))
                }
                Some((was, is)) => (format!("{} ({key})", is.path), is.difference(was)),
                None => continue,
            };
            changes.push(Change { part, place, problem });
        }
        if self.split != before.split {
            let problem = "is another than when the run began".into();
            changes.push(Change { part: Split::Train, place: "data.split".into(), problem });
        }
        changes
    }
}

impl Known {
    fn new(file: &SourceFile, config: &Config, hashes: &mut Hashes) -> Result<Self> {
        // So that it is the same from every current folder.
        let path = match &file.state {
            Some(_) => file.path.clone(),
            None => paths::from_root(&file.path)?,
        };
        let path = path.display().to_string();
        let folders = folders(file, config);
        Ok(match &file.state {
            Some(state) => Self { path, content: state.clone(), folders, stamp: None },
            None => {
                let (DataFile { sha256, .. }, stamp) = hashes.of(&file.path)?;
                Self { path, content: sha256, folders, stamp }
            }
        })
    }

    fn same_rows(&self, other: &Self) -> bool {
        (&self.content, &self.folders) == (&other.content, &other.folders)
    }

    fn difference(&self, before: &Self) -> String {
        if self.content == before.content {
            return "lies in a folder of another value than when the run began".into();
        }
        match self.path == before.path {
            true => "has other content than when the run began".into(),
            false => format!("has other content than {}, with which the run began", before.path),
        }
    }
}

/// The columns that a run reads from the names of a file's folders, with their value.
pub(crate) fn folders(file: &SourceFile, config: &Config) -> Vec<(String, Option<String>)> {
    let data = &config.data;
    let special = [&data.weight, &data.group, &data.probability].into_iter().flatten();
    let special = special.chain([&data.label, &data.scenario]).chain(data.split.as_ref().map(|s| &s.by));
    let columns: Vec<&str> =
        special.map(String::as_str).chain(data.fields.iter().map(optmsm_data::FieldConfig::column)).collect();
    file.folders.iter().filter(|(column, _)| columns.contains(&column.as_str())).cloned().collect()
}

/// Hashes of files: each is read once, and after that only when it was written to.
#[derive(Debug, Default)]
pub struct Hashes(HashMap<String, DataFile>); // by stamp

/// A file up to this size is read whatever its stamp says: that takes a moment.
const SMALL: u64 = 256 << 20;
/// A clock of files may step so far: what was written to just now may be again without a new time.
const STEP: Duration = Duration::from_secs(2);

impl Hashes {
    /// With the hashes of a record, of files that are large.
    pub fn known(record: Option<&Record>) -> Self {
        let files = record.iter().flat_map(|r| r.files.values().flatten());
        let known = files.filter_map(|file| {
            let bytes = fs::metadata(&file.path).ok()?.len();
            let known = DataFile { path: file.path.clone(), bytes, sha256: file.content.clone() };
            Some((file.stamp.clone().filter(|_| bytes > SMALL)?, known))
        });
        Self(known.collect())
    }

    /// Hash of a file, and its stamp where that can be relied on.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(&mut self, path: &Path) -> Result<(DataFile, Option<String>)> {
        let stamp = stamp(path);
        if let Some(known) = stamp.as_ref().and_then(|stamp| self.0.get(stamp)) {
            return Ok((DataFile { path: path.display().to_string(), ..known.clone() }, stamp));
        }
        let file = data_files::hash(path)?;
        let stamp = stamp.filter(|before| self::stamp(path).as_ref() == Some(before));
        if let Some(stamp) = &stamp {
            self.0.insert(stamp.clone(), file.clone());
        }
        Ok((file, stamp))
    }
}

/// Facts that change when a file is written to: device, number, size, and both times of change, of which a user can set only one. None while
/// a write could still pass unseen.
#[cfg(unix)]
fn stamp(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let changed = Duration::new(meta.ctime().try_into().ok()?, meta.ctime_nsec().try_into().ok()?);
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + changed).ok()?;
    let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
    (age > STEP).then(|| format!("{} {} {} {times:?}", meta.dev(), meta.ino(), meta.len()))
}

/// Other systems say nothing that can be relied on.
#[cfg(not(unix))]
fn stamp(_: &Path) -> Option<String> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_trusted_as_long_as_nobody_can_have_written() {
        // A file of long ago, and one that may be written to within the same tick.
        let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let folder = tempfile::tempdir().unwrap();
        let fresh = folder.path().join("fresh");
        fs::write(&fresh, "abc").unwrap();
        let noted = |path: &Path, stamp: Option<String>| {
            let file = DataFile { path: String::new(), bytes: 0, sha256: "noted".into() };
            let (file, stamp) = Hashes(stamp.map(|s| (s, file)).into_iter().collect()).of(path).unwrap();
            (file.sha256, stamp.is_some())
        };
        assert_eq!(noted(&old, stamp(&old)), ("noted".into(), true));
        assert_eq!(noted(&old, Some("another state".into())), (data_files::hash(&old).unwrap().sha256, true));
        // FIPS 180-2, appendix B.1
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((stamp(&fresh), noted(&fresh, None)), (None, (abc.into(), false)));
        // Small files are read whatever the record says.
        let known = Known {
            path: old.display().to_string(),
            content: "noted".into(),
            folders: vec![],
            stamp: stamp(&old),
        };
        let record = Record { files: BTreeMap::from([("train".into(), vec![known])]), ..Record::default() };
        assert!(Hashes::known(Some(&record)).0.is_empty());
    }
}
