//! Work of the harness on the program: commands on a few hundred rows, and the states that they start from.

use std::fs::File;
use std::path::Path;

use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::common::SYNTH;
use super::stage::Stage;

/// A command, and what its user does after it failed.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// State of the folder before.
    pub(crate) state: &'static str,
    pub(crate) command: &'static [&'static str],
    /// Tried one after the other until one succeeds.
    pub(crate) again: &'static [&'static [&'static str]],
    /// Whether its result is what it prints.
    pub(crate) prints: bool,
}

/// A command that is its own repetition, and writes files.
const fn same(name: &'static str, state: &'static str, command: &'static [&'static [&'static str]]) -> Work {
    Work { name, state, command: command[0], again: command, prints: false }
}

/// A command that only prints.
const fn shown(name: &'static str, command: &'static [&'static [&'static str]]) -> Work {
    Work { prints: true, ..same(name, "run", command) }
}

/// A training; what it left is resumed, or begun again where there is nothing.
const fn training(name: &'static str, both: &'static [&'static [&'static str]]) -> Work {
    Work { name, state: "data", command: both[1], again: both, prints: false }
}

const RESUME: &[&str] = &["train", "--resume", "--run", "r"];

/// Everything that kills and failing calls meet.
pub(crate) const WORKS: [Work; 17] = [
    training("train", &[RESUME, &["train", "--config", "csv.toml", "--run", "r"]]),
    training("train Parquet", &[RESUME, &["train", "--config", "parquet.toml", "--run", "r"]]),
    training("train streamed", &[RESUME, &["train", "--config", "stream.toml", "--run", "r"]]),
    same("resume", "begun", &[RESUME]),
    same("resume streamed", "begun streamed", &[RESUME]),
    same("prepare", "data", &[&["prepare", "--config", "stream.toml"]]),
    same("predict CSV", "run", &[&["predict", "r", "--data", "test.csv", "--out", "p.csv"]]),
    same("predict gzip", "run", &[&["predict", "r", "--data", "test.parquet", "--out", "p.csv.gz"]]),
    same("predict Parquet", "run", &[&["predict", "r", "--data", "test.csv", "--out", "p.parquet"]]),
    same("tune", "data", &[&["tune", "tune.toml", "--out", "t"]]),
    same("compare", "data", &[&["compare", "csv.toml", "wide.toml", "--seeds", "2", "--out", "c"]]),
    same("synth", "data", &[&["synth", "--rows", "500", "--out", "s.csv"]]),
    same("synth Parquet", "data", &[&["synth", "--rows", "500", "--out", "s.parquet"]]),
    same("report", "run", &[&["report", "r", "--out", "r.html", "--json", "r.json"]]),
    same("init", "data", &[&["init", "train.csv", "--out", "new.toml"]]),
    shown("evaluate", &[&["evaluate", "r", "--data", "test.csv", "--json"]]),
    shown("inspect", &[&["inspect", "r", "--json"]]),
];

const SPACE: &str = r#"
[tune]
trials = 3
"train.optimizer.lr" = { log = [1e-3, 1e-1] }
"#;

/// The folder in every state that a case starts from.
pub(crate) fn stage() -> Stage {
    let stage = Stage::new();
    let good = |args: &[&str], code: i32| {
        let out = stage.run(args, None);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {}", out.stderr);
    };
    for (name, rows, seed) in [("train", "300", "1"), ("valid", "80", "2"), ("test", "80", "3")] {
        for kind in ["csv", "parquet"] {
            good(&["synth", "--rows", rows, "--seed", seed, "--out", &format!("{name}.{kind}")], 0);
        }
    }
    let write = |name: &str, text: &str| std::fs::write(stage.path(name), text).unwrap();
    let config = SYNTH.replace("[\"valid.csv\"]", "\"valid.csv\"\ntest = \"test.csv\"");
    assert!(config.contains("test.csv"), "the common configuration is another one");
    write("csv.toml", &(config.clone() + "threads = 1\n"));
    write("parquet.toml", &(config.replace(".csv", ".parquet") + "threads = 2\ntensorboard = true\n"));
    let stream = "[data]\nstream = { mode = \"always\", folder = \"cache\", shuffle_rows = 8192 }\n";
    write("stream.toml", &(config.replace("[data]\n", stream) + "threads = 2\n"));
    write("wide.toml", &(config.replace("[8, 4]", "[12, 4]") + "threads = 1\n"));
    write("tune.toml", &(config + "threads = 1\n" + SPACE));
    stage.keep("data");
    good(&["train", "--config", "csv.toml", "--run", "r"], 0);
    for kind in ["csv.gz", "csv.zst"] {
        good(&["predict", "r", "--data", "test.csv", "--out", &format!("test.{kind}")], 0);
    }
    feather(&stage.path("test.parquet"), &stage.path("test.feather"));
    stage.keep("run");
    let state = |name: &str, args: &[&str], code: i32| {
        stage.set("data");
        good(args, code);
        stage.keep(name);
    };
    let begin = |config| ["train", "--config", config, "--run", "r", "--max-steps", "7"];
    state("begun", &begin("parquet.toml"), 130);
    state("begun streamed", &begin("stream.toml"), 130);
    state("compared", WORKS.iter().find(|w| w.name == "compare").unwrap().command, 0);
    state("tuned", WORKS.iter().find(|w| w.name == "tune").unwrap().command, 0);
    stage
}

/// Writes a Parquet file's rows as Feather with lz4, as pyarrow does.
fn feather(from: &Path, to: &Path) {
    let rows = ParquetRecordBatchReaderBuilder::try_new(File::open(from).unwrap()).unwrap();
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
    let file = File::create(to).unwrap();
    let mut writer = FileWriter::try_new_with_options(file, rows.schema(), options).unwrap();
    rows.build().unwrap().for_each(|batch| writer.write(&batch.unwrap()).unwrap());
    writer.finish().unwrap();
}
