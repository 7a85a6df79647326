//! The data that a configuration names: which files, which parts, and what they hold.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use optmsm_data::{DataError, InputFile, Schema, Selection, Source, Split};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::hex;
use crate::config::Config;
use crate::error::{Error, FileErrorKind, Result};
use crate::record::{Hashes, Record};
use crate::rows::Rows;
use crate::say;
use crate::trainer::Data;
use crate::verify;

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// As it was opened.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// Of its bytes, in hexadecimal.
    pub sha256: String,
}

/// The schema of the training rows. Warns of settings of other models.
///
/// # Errors
/// As [`Schema::fit`]; `data.train` is missing; the model does not fit the schema.
pub fn fit(config: &Config) -> Result<Schema> {
    let schema = schema(config)?;
    config.model.validate(&schema.input_spec())?;
    unread(config).iter().for_each(|text| say::warning(text));
    Ok(schema)
}

/// The schema of the training rows, whatever the model.
///
/// # Errors
/// As [`Schema::fit`]; `data.train` is missing.
pub(crate) fn schema(config: &Config) -> Result<Schema> {
    Ok(Schema::fit(&config.data, train_source(config)?)?)
}

/// Warnings of settings of other models, which the configured one does not read.
pub(crate) fn unread(config: &Config) -> Vec<String> {
    let kind = config.model.kind.name();
    let text =
        |key| format!("{key} is not read by model.kind = \"{kind}\"; its settings: optmsm models {kind}");
    config.model.unread().into_iter().map(text).collect()
}

/// The encoded rows of the files of `record`; those of the test part only when they are asked for. Warns of files that are trained on
/// and scored, and of values that training does not know.
///
/// # Errors
/// As [`Rows::load`]; the rows cannot be trained on, or not be judged by; `train.monitor` names a scenario that there is not.
pub fn load(config: &Config, schema: &Schema, test: bool, record: Record) -> Result<Data> {
    config.train.monitor.check(schema)?;
    let stream = &config.data.stream;
    let folder = config.path(&stream.folder);
    let part = |part| -> Result<Option<Rows>> {
        let rows = |source: Source| Rows::load(&source, schema, selection(config, part), stream, &folder);
        source(config, part).map(rows).transpose()
    };
    let train = part(Split::Train)?.ok_or_else(|| missing(Split::Train))?;
    let scored: &[Split] = if test { &[Split::Valid, Split::Test] } else { &[Split::Valid] };
    for &scored in scored {
        for path in trained_on(config, scored)? {
            let (path, name) = (path.display(), scored.name());
            say::warning(&format!(
                "{path}: is of data.train too, so data.{name} scores rows that were trained on"
            ));
        }
    }
    let test = if test { part(Split::Test)? } else { None };
    let mut data = Data { train, valid: part(Split::Valid)?, test, record };
    verify::verify(config, schema, &mut data)?;
    Ok(data)
}

/// Files of a part that are files of `data.train`, as a glob may name them unasked; none where `data.split` parts their rows.
fn trained_on(config: &Config, part: Split) -> Result<Vec<PathBuf>> {
    match (source(config, part), selection(config, part)) {
        (Some(scored), None) => of_part(config, Split::Train, &scored),
        _ => Ok(Vec::new()),
    }
}

/// Files of `source` that are files of a part, as far as these are still there.
///
/// # Errors
/// The files of `source` cannot be listed.
pub fn of_part(config: &Config, part: Split, source: &Source) -> Result<Vec<PathBuf>> {
    let Some(own) = self::source(config, part).filter(|_| !source.is_stdin()) else { return Ok(Vec::new()) };
    let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let own: BTreeSet<PathBuf> = own.files_there().iter().map(real).collect();
    let mut files = source.files()?;
    files.retain(|path| own.contains(&real(path)));
    Ok(files)
}

/// Whether the rows of `source` are of parts whose negatives were not sampled.
///
/// # Errors
/// Some of its files are of such parts, and some are not; the files of `source` cannot be listed.
pub fn is_unsampled(config: &Config, source: &Source) -> Result<bool> {
    let mut unsampled = BTreeSet::new();
    for &part in &config.data.unsampled {
        unsampled.extend(of_part(config, part, source)?);
    }
    let Some(whole) = unsampled.first() else { return Ok(false) };
    match source.files()?.iter().find(|file| !unsampled.contains(*file)) {
        None => Ok(true),
        Some(other) => {
            let problem = format!(
                "is of a part of data.unsampled, but {} beside it is not, so that their rows of label 0 weigh differently",
                other.display()
            );
            let fix = "give files of one kind; evaluate and calibrate also take --unsampled, where all have every row of label 0";
            Err(Error::file(FileErrorKind::Unfit, whole.display(), problem, fix))
        }
    }
}

/// Whether the configuration names rows for a part.
pub fn has(config: &Config, part: Split) -> bool {
    source(config, part).is_some()
}

/// The files that [`load`] reads, each once.
///
/// # Errors
/// A file cannot be read.
pub fn files(config: &Config, hashes: &mut Hashes) -> Result<Vec<DataFile>> {
    let mut paths = Vec::new();
    for source in
        [Split::Train, Split::Valid, Split::Test].into_iter().filter_map(|part| source(config, part))
    {
        paths.extend(source.files()?);
    }
    let mut seen = BTreeSet::new();
    paths.retain(|path| seen.insert(path.clone()));
    paths.iter().map(|path| Ok(hashes.of(path)?.0)).collect()
}

/// The error of a part that is needed and not there.
pub fn missing(part: Split) -> Error {
    let fix = match part {
        Split::Train => "give the path of a file or folder",
        _ => {
            "give the path of a file or folder, or split data.train by data.split = { valid = 0.1, test = 0.1 }"
        }
    };
    optmsm_core::error::Error::config(format!("data.{}", part.name()), "is missing", fix).into()
}

/// The error of a run's files that are no longer where they were. `how` names the options that give their new place.
pub fn gone(error: Error, how: &str) -> Error {
    match error {
        Error::Data(DataError::File { path, kind, problem, fix, .. }) => {
            Error::file(kind, path, problem, format!("{fix}; where it is elsewhere now, say so by {how}"))
        }
        other => other,
    }
}

/// The error of a part of `data.split` that is empty.
pub(crate) fn no_rows(source: &Source, part: Split) -> Error {
    let problem = format!("no row falls into the {} part of data.split", part.name());
    Error::rows(source, problem, "raise its share, give more rows, or change data.split.seed")
}

/// The training files.
fn train_source(config: &Config) -> Result<Source> {
    source(config, Split::Train).ok_or_else(|| missing(Split::Train))
}

/// Which of its rows are meant, where one source is split.
pub fn selection(config: &Config, part: Split) -> Selection<'_> {
    config.data.split.as_ref().filter(|s| s.share(part) > 0.0).map(|split| (split, part))
}

/// The files that hold a part's rows.
pub fn source(config: &Config, part: Split) -> Option<Source> {
    let data = &config.data;
    let paths = match (part, &data.split) {
        (Split::Train, _) => &data.train,
        (_, Some(split)) if split.share(part) > 0.0 => &data.train,
        (Split::Valid, _) => &data.valid,
        (Split::Test, _) => &data.test,
    };
    paths.as_ref().map(|p| config.source(p))
}

/// Size and hash of a file, read as a stream.
pub(crate) fn hash(path: &Path) -> Result<DataFile> {
    let fail = |e: std::io::Error| match e.downcast::<DataError>() {
        Ok(e) => e.into(),
        Err(e) => {
            Error::io(path.display(), "read", e, "check the path; it starts from the current directory")
        }
    };
    let mut file = InputFile::open(path)?;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                hash.update(&buffer[..n]);
                bytes += n as u64;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(fail(e)),
        }
    }
    Ok(DataFile { path: path.display().to_string(), bytes, sha256: hex(&hash.finalize()) })
}
