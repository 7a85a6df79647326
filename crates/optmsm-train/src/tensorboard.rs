//! Scalars of a run as TensorBoard reads them: `events.out.tfevents.*` in the run folder.
//!
//! A file is a sequence of records (`record.rs`), each an `Event` message of TensorFlow's `event.proto`, encoded here by hand:
//! three messages of a few fields each. Steps never repeat: a continued run rewrites what it keeps ([`rewind`]).

mod record;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use optmsm_core::metrics::{METRICS, Metrics};
use optmsm_data::{printable, write_atomic};

use crate::error::{Error, Result};
use crate::evaluate::Evaluation;

/// TensorBoard takes any file with `tfevents` in its name, and reads files of a folder in the order of their names.
const PREFIX: &str = "events.out.tfevents.";
/// Ours, so that files of other programs in the folder are left alone.
const SUFFIX: &str = ".optmsm";

/// Appends scalars to the event file of a run.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    values: Vec<u8>, // the Summary message that is being filled
    bytes: Vec<u8>,  // scratch of an event
}

impl Writer {
    /// Opens the run's event file at its end, or begins one.
    ///
    /// # Errors
    /// When the disk refuses, with the path.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = match files(folder).pop() {
            Some(path) => path,
            None => {
                let path = folder.join(name(now() as u64));
                write_atomic(&path, &opening(false))?;
                path
            }
        };
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| fail(&path, e))?;
        Ok(Self { file, path, values: Vec::new(), bytes: Vec::new() })
    }

    /// Adds a value to those of the next [`Writer::write`]; one that is not a finite number is left out.
    pub fn scalar(&mut self, tag: &str, value: f64) {
        if value.is_finite() {
            // Summary.Value { tag = 1, simple_value = 2 }, in Summary { value = 1 }
            self.bytes.clear();
            put_bytes(&mut self.bytes, 1, printable(tag).as_bytes());
            self.bytes.push(2 << 3 | 5);
            self.bytes.extend((value as f32).to_le_bytes());
            put_bytes(&mut self.values, 1, &self.bytes);
        }
    }

    /// Adds everything of an evaluation, with tags that start with `split`.
    pub fn evaluation(&mut self, split: &str, evaluation: &Evaluation) {
        self.metrics(split, "", &evaluation.overall);
        for s in &evaluation.scenarios {
            self.metrics(split, &format!("/{}", s.scenario), &s.metrics);
        }
        for (name, value) in &evaluation.diagnostics {
            self.scalar(&format!("{split}/{name}"), value.as_f64().unwrap_or(f64::NAN));
        }
    }

    fn metrics(&mut self, split: &str, of: &str, m: &Metrics) {
        for metric in METRICS {
            self.scalar(&format!("{split}/{}{of}", metric.key), m.get(metric).unwrap_or(f64::NAN));
        }
    }

    /// Writes the values that were added, as of `step`.
    ///
    /// # Errors
    /// When the disk refuses, with the path.
    pub fn write(&mut self, step: u64) -> Result<()> {
        if self.values.is_empty() {
            return Ok(());
        }
        self.bytes.clear();
        event_head(&mut self.bytes, step);
        put_bytes(&mut self.bytes, 5, &self.values); // Event.summary
        self.values.clear();
        // One call, so that a reader beside us seldom sees a part.
        let record = record::frame(&self.bytes);
        self.file.write_all(&record).map_err(|e| fail(&self.path, e))
    }
}

/// Drops the scalars that a run continued at `step` will write again: later ones, and those of the test data.
///
/// Scalars that stay go to a new file. It begins with the mark that makes an open TensorBoard forget what it has read.
/// The old file is removed.
///
/// # Errors
/// When the disk refuses, with the path.
pub fn rewind(folder: &Path, step: u64) -> Result<()> {
    let mut old = files(folder);
    let Some(last) = old.last() else { return Ok(()) };
    let bytes = std::fs::read(last).map_err(|e| fail(last, e))?;
    let begun = last.file_name().and_then(|n| n.to_str()).and_then(seconds).unwrap_or(0);
    let mut kept = opening(true);
    for event in record::read(&bytes) {
        let (at, tag) = describe(event);
        if tag.is_some_and(|tag| !tag.starts_with(b"test/")) && at <= step {
            kept.extend(record::frame(event));
        }
    }
    write_atomic(&folder.join(name((now() as u64).max(begun + 1))), &kept)?;
    old.drain(..).try_for_each(|path| std::fs::remove_file(&path).map_err(|e| fail(&path, e)))
}

fn fail(path: &Path, e: std::io::Error) -> Error {
    Error::io(path.display(), "written", e, "free some space, or set train.tensorboard = false")
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

fn name(seconds: u64) -> String {
    format!("{PREFIX}{seconds:010}{SUFFIX}")
}

fn seconds(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

/// Our event files, in the order of their names; more than one only if a rewind was cut off, and the last is whole then.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = entries.filter(|e| e.file_name().to_str().and_then(seconds).is_some());
    let mut found: Vec<_> = ours.map(|e| e.path()).collect();
    found.sort();
    found
}

/// Bytes that a file begins with. `again`: a reader may hold events of an older file.
fn opening(again: bool) -> Vec<u8> {
    let mut event = Vec::new();
    event_head(&mut event, 0);
    put_bytes(&mut event, 3, b"brain.Event:2"); // Event.file_version
    let mut file = record::frame(&event);
    if again {
        event.clear();
        event_head(&mut event, 0);
        // Event.session_log = SessionLog { status = START }: forget events of this step or later
        put_bytes(&mut event, 7, &[1 << 3, 1]);
        file.extend(record::frame(&event));
    }
    file
}

/// Event.wall_time = now, Event.step = step.
fn event_head(event: &mut Vec<u8>, step: u64) {
    event.push(1 << 3 | 1);
    event.extend(now().to_le_bytes());
    event.push(2 << 3);
    put_varint(event, step);
}

fn put_varint(to: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        to.push(v as u8 | 0x80);
        v >>= 7;
    }
    to.push(v as u8);
}

/// A field of bytes, text or a message.
fn put_bytes(to: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(to, field << 3 | 2);
    put_varint(to, bytes.len() as u64);
    to.extend(bytes);
}

/// Step of an event that this file wrote, and the tag of its first scalar, if it has one.
fn describe(event: &[u8]) -> (u64, Option<&[u8]>) {
    let (mut step, mut tag) = (0, None);
    for (field, value) in Fields(event) {
        match (field, value) {
            (2, Value::Varint(v)) => step = v,
            (5, Value::Bytes(summary)) => {
                let value =
                    Fields(summary).find_map(|f| if let (1, Value::Bytes(b)) = f { Some(b) } else { None });
                tag = Fields(value.unwrap_or_default())
                    .find_map(|f| if let (1, Value::Bytes(tag)) = f { Some(tag) } else { None });
            }
            _ => {}
        }
    }
    (step, tag)
}

/// The fields of a message; ends early where the bytes make no sense.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Varint(u64),
    Fixed,
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut v = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            v |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(v);
            }
        }
        None
    }

    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_bytes_of_the_message_definition() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(folder.path()).unwrap();
        writer.scalar("a/b", 1.5);
        writer.scalar("nothing", f64::NAN);
        writer.write(300).unwrap();
        writer.write(301).unwrap();
        let [path] = &files(folder.path())[..] else { panic!("one file") };
        let bytes = std::fs::read(path).unwrap();
        let events: Vec<_> = record::read(&bytes).collect();
        assert_eq!(events.len(), 2, "a write without values writes nothing");
        // wall_time: field 1, 64 bits; step: field 2, varint, 0; file_version: field 3, 13 bytes
        assert_eq!((events[0][0], &events[0][9..]), (0x09, &b"\x10\x00\x1a\x0dbrain.Event:2"[..]));
        // step 300 = 0xac 0x02; summary: field 5, 12 bytes; value: field 1, 10 bytes; tag: field 1, 3 bytes;
        // simple_value: field 2, 32 bits, 1.5 = 0x3fc00000
        let expected = b"\x10\xac\x02\x2a\x0c\x0a\x0a\x0a\x03a/b\x15\x00\x00\xc0\x3f";
        assert_eq!((events[1][0], &events[1][9..]), (0x09, &expected[..]));
        assert_eq!(describe(events[1]), (300, Some(&b"a/b"[..])));
    }

    #[test]
    fn a_rewind_keeps_what_was_before_and_drops_a_torn_end() {
        let folder = tempfile::tempdir().unwrap();
        rewind(folder.path(), 7).unwrap();
        assert!(files(folder.path()).is_empty(), "nothing to rewind");
        let mut writer = Writer::open(folder.path()).unwrap();
        for (tag, step) in [("train/loss", 5), ("test/auc", 5), ("train/loss", 7), ("valid/auc", 8)] {
            writer.scalar(tag, 0.5);
            writer.write(step).unwrap();
        }
        let [before] = &files(folder.path())[..] else { panic!("one file") };
        writer.file.write_all(b"\x20\0\0\0").unwrap();
        std::fs::write(folder.path().join("events.out.tfevents.1.other"), "not ours").unwrap();
        rewind(folder.path(), 7).unwrap();
        let [after] = &files(folder.path())[..] else { panic!("one file") };
        assert!(after > before, "a reader goes from {before:?} to {after:?}");
        let mut writer = Writer::open(folder.path()).unwrap();
        writer.scalar("train/loss", 0.25);
        writer.write(9).unwrap();
        let bytes = std::fs::read(after).unwrap();
        let kept: Vec<_> = record::read(&bytes).map(describe).collect();
        let loss = Some(&b"train/loss"[..]);
        assert_eq!(kept, [(0, None), (0, None), (5, loss), (7, loss), (9, loss)]);
        assert!(folder.path().join("events.out.tfevents.1.other").exists());
    }
}
