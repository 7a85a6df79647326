//! Effect of hostile files on the readers: nothing but an error.
//!
//! Each module is a target: bytes become a file, which is read as the program reads it. A target panics where the reader panics, asks for
//! absurd memory, or contradicts itself; what is signed in a file is signed anew, so that damage gets behind the checksums.
//!
//! `cargo test` gives each target its seeds, `corpus/`, and some thousand mutations of them; [`mutate`] makes these. libFuzzer finds more:
//! CONTRIBUTING.md has the command.

pub mod cache;
pub mod checkpoint;
pub mod columnar;
pub mod config;
pub mod csv;
mod memory;
pub mod mutate;
pub mod schema;
mod signed;

use std::path::PathBuf;

use optmsm_data::{DataConfig, DataError, Dataset, FieldConfig, Kind, Schema, Source};

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the program that libFuzzer drives, and of its folder in `corpus`.
    pub name: &'static str,
    /// Good inputs, to be changed.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Reads an input.
    pub run: fn(&[u8]),
    /// Texts that mean something in it.
    pub words: &'static [&'static str],
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "csv", seeds: csv::seeds, run: csv::run, words: csv::WORDS },
    Target { name: "columnar", seeds: columnar::seeds, run: columnar::run, words: &[] },
    Target { name: "schema", seeds: schema::seeds, run: schema::run, words: schema::WORDS },
    Target { name: "cache", seeds: cache::seeds, run: cache::run, words: &[] },
    Target { name: "checkpoint", seeds: checkpoint::seeds, run: checkpoint::run, words: checkpoint::WORDS },
    Target { name: "config", seeds: config::seeds, run: config::run, words: config::WORDS },
];

/// A folder for the files of one input.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("a temporary file");
        path
    }
}

fn field(name: &str, kind: Kind) -> FieldConfig {
    FieldConfig { kind, ..FieldConfig::new(name) }
}

/// Fits and loads a source; which threads do it makes no difference.
fn fit_and_load(config: &DataConfig, source: &Source) -> Result<(Schema, Dataset), DataError> {
    let by = |threads| {
        let source = source.clone().with_threads(threads);
        let schema = Schema::fit(config, source.clone())?;
        let set = Dataset::load(source, &schema)?;
        set.batch.validate(&schema.input_spec()).expect("rows that fit their schema");
        Ok((schema, set))
    };
    let (one, four) = (by(1), by(4));
    match (&one, &four) {
        (Ok(one), Ok(four)) => assert!(one == four, "another schema or other rows by four threads"),
        (Err(one), Err(four)) => assert_eq!(DataError::to_string(one), four.to_string()),
        (one, four) => panic!("one thread: {:?}, four: {:?}", one.as_ref().err(), four.as_ref().err()),
    }
    one
}
