//! Errors as a program matches them: by variant and data, never by text.

use std::error::Error as _;
use std::fs;
use std::io;
use std::sync::atomic::AtomicBool;

use common::Place;
use optmsm_core::error::Error as CoreError;
use optmsm_core::learner::Learner;
use optmsm_core::models::OptMsm;
use optmsm_cpu::{Cpu, CpuOptions};
use optmsm_data::{Dataset, Schema};
use optmsm_train::checkpoint::Checkpoint;
use optmsm_train::config::Config;
use optmsm_train::data_files;
use optmsm_train::error::{Error, FileErrorKind, Result};
use optmsm_train::folder::Folder;
use optmsm_train::record::Record;
use optmsm_train::report;
use optmsm_train::rows::Rows;
use optmsm_train::run::Run;
use optmsm_train::starter::{Given, starter};
use optmsm_train::trainer::{self, Control, Data};

mod common;

/// The error of a call that must fail.
fn error<T>(result: Result<T>) -> Error {
    result.map(|_| ()).unwrap_err()
}

/// Path, place, kind and the system's kind of an error about a file.
fn file<T>(result: Result<T>) -> (String, Option<String>, FileErrorKind, Option<io::ErrorKind>) {
    match error(result) {
        Error::File { path, place, kind, source, .. } => (path, place, kind, source.map(|e| e.kind())),
        other => panic!("{other:?}"),
    }
}

fn config(place: &Place, more: &[&str]) -> Result<Config> {
    let mut sets = ["train", "valid"].map(|part| {
        let path = place.path(&format!("{part}.csv"));
        format!("data.{part}=\"{}\"", path.display())
    });
    let sets = [&mut sets[..], &mut more.iter().map(|set| set.to_string()).collect::<Vec<_>>()].concat();
    Config::load(&place.path("config.toml"), &sets)
}

/// A run that trains in this process, `steps` steps or to its end.
fn train(place: &Place, folder: &str, more: &[&str], steps: Option<u64>) -> Result<Run> {
    let config = config(place, more)?;
    let schema = Schema::fit(&config.data, place.path("train.csv"))?;
    let load = |name: &str| Rows::Memory(Dataset::load(place.path(name), &schema).unwrap());
    let (train, valid, record) = (load("train.csv"), Some(load("valid.csv")), Record::default());
    let data = Data { train, valid, test: None, record };
    let run = Run::new(&place.path(folder), config, schema);
    let model = OptMsm::new(&run.config.model, &run.schema.input_spec())?;
    let cpu = Cpu::with(CpuOptions { threads: Some(1), ..CpuOptions::default() })?;
    let train = &run.config.train;
    let mut learner = Learner::new(cpu, model, train.learner(), train.batch_size, train.seed)?;
    run.create()?;
    let stop = AtomicBool::new(false);
    let control = Control { resume: false, stop: &stop, max_steps: steps, quiet: true, observer: None };
    trainer::train(&mut learner, &run, &data, &control)?;
    Ok(run)
}

#[test]
fn a_setting_has_its_key_and_place() {
    let place = Place::new(common::CONFIG, 60, 20);
    match error(config(&place, &["train.epochs=0"])) {
        Error::Setting { place, key, .. } => {
            assert_eq!((place.as_str(), key.as_str()), ("--set train.epochs=0", "train.epochs"));
        }
        other => panic!("{other:?}"),
    }
    for wrong in ["train.epoch=1", "train.seed", "train.epochs=many"] {
        let error = error(config(&place, &[wrong]));
        let set = format!("--set {wrong}");
        assert!(matches!(&error, Error::Configuration { place, .. } if *place == set), "{error:?}");
    }
    let error = error(Config::parse("c.toml", "[data]\n[train]\nepoch = 1\n", &[]));
    assert!(
        matches!(&error, Error::Configuration { place, .. } if place == "c.toml line 3 column 1"),
        "{error:?}"
    );
    let nothing = data_files::missing(optmsm_data::Split::Test);
    assert!(
        matches!(&nothing, Error::Core(CoreError::Config { key, .. }) if key == "data.test"),
        "{nothing:?}"
    );
}

#[test]
fn an_argument_is_no_file() {
    let error = error(report::page(&[]).map(|_| ()));
    assert!(matches!(&error, Error::Argument { argument, .. } if argument == "report"), "{error:?}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn a_file_has_its_path_and_kind() {
    let place = Place::new(common::CONFIG, 60, 20);
    let shown = |name: &str| place.path(name).display().to_string();
    let missing = (shown("none.toml"), None, FileErrorKind::Missing, Some(io::ErrorKind::NotFound));
    assert_eq!(file(Config::load(&place.path("none.toml"), &[])), missing);
    let gone = error(Config::load(&place.path("none.toml"), &[]));
    let source = gone.source().and_then(|e| e.downcast_ref::<io::Error>()).map(io::Error::kind);
    assert_eq!((gone.file_kind(), source), (Some(FileErrorKind::Missing), Some(io::ErrorKind::NotFound)));
    let data = error(Schema::load(place.path("none.json")).map_err(Error::from));
    assert_eq!(data.file_kind(), Some(FileErrorKind::Missing));
    assert_eq!(file(Run::open(&place.path("r"))), (shown("r"), None, FileErrorKind::Missing, None));

    let run = train(&place, "r", &[], None).unwrap();
    assert_eq!(file(Run::refuse_existing(&run.folder)), (shown("r"), None, FileErrorKind::Exists, None));
    let held = Folder::take(&run.folder, "--run").unwrap();
    assert_eq!(file(Folder::take(&run.folder, "--run")), (shown("r"), None, FileErrorKind::Busy, None));
    drop(held);

    let best = run.checkpoint_path("best");
    let of = |kind| (best.display().to_string(), None, kind, None);
    assert_eq!(file(Checkpoint::open(&best, "of another model")), of(FileErrorKind::Foreign));
    let whole = fs::read(&best).unwrap();
    fs::write(&best, &whole[..whole.len() - 5]).unwrap();
    assert_eq!(file(run.checkpoint("best")), of(FileErrorKind::Damaged));
    let value = 1f32.to_le_bytes();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &value).unwrap();
    fs::write(&best, safetensors::serialize([("t", view)], None).unwrap()).unwrap();
    assert_eq!(file(run.checkpoint("best")), of(FileErrorKind::Unfit));

    // A line of the log that was changed has its number.
    let log = run.folder.join("metrics.jsonl");
    let lines = fs::read_to_string(&log).unwrap();
    fs::write(&log, lines.replacen("\"step\":", "\"step\":1", 1)).unwrap();
    let damaged = (log.display().to_string(), Some("line 1".into()), FileErrorKind::Damaged, None);
    assert_eq!(file(run.rewind(&Default::default())), damaged);

    place.write("two.csv", "a,b\nx,y\n");
    let given = Given::default();
    assert_eq!(
        file(starter(&place.path("two.csv"), &given)),
        (shown("two.csv"), None, FileErrorKind::Unfit, None)
    );
}

#[test]
fn a_run_that_ends_says_where() {
    let place = Place::new(common::CONFIG, 60, 20);
    let stopped = error(train(&place, "stopped", &[], Some(2)));
    let folder = place.path("stopped").display().to_string();
    assert!(matches!(&stopped, Error::Interrupted { step: 2, run, .. } if *run == folder), "{stopped:?}");
    assert_eq!(stopped.exit_code(), 130);
    let diverged = error(train(&place, "diverged", &["train.optimizer.lr=1e30"], None));
    match &diverged {
        // The first step starts from finite weights.
        Error::Diverged { step, loss, last, .. } => {
            assert!(*step > 1 && !loss.is_finite() && last.is_some_and(f64::is_finite), "{diverged:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(diverged.exit_code(), 1);
}

#[test]
fn rows_that_cannot_serve_have_their_place() {
    let place = Place::new(common::CONFIG, 60, 20);
    let text = place.text("valid.csv");
    let header = text.lines().next().unwrap();
    let ones = text.lines().skip(1).filter(|line| line.starts_with('1'));
    place.write("valid.csv", [header].into_iter().chain(ones).collect::<Vec<_>>().join("\n"));
    let config = config(&place, &[]).unwrap();
    let schema = data_files::fit(&config).unwrap();
    let error = error(data_files::load(&config, &schema, false, Record::default()));
    let file = place.path("valid.csv").display().to_string();
    assert!(matches!(&error, Error::Rows { place, .. } if *place == file), "{error:?}");
}

#[test]
fn a_run_that_cannot_be_written_leaves_nothing() {
    let place = Place::new(common::CONFIG, 60, 20);
    let config = config(&place, &[]).unwrap();
    let schema = Schema::fit(&config.data, place.path("train.csv")).unwrap();
    let run = Run::new(&place.path("r"), config, schema);
    // The last file cannot be written, because a folder has its name.
    fs::create_dir_all(place.path("r/config.toml")).unwrap();
    assert!(run.create().is_err());
    let left: Vec<_> =
        fs::read_dir(place.path("r")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["config.toml"]);
    // A configuration that was there before stays: the run can be begun again.
    fs::remove_dir(place.path("r/config.toml")).unwrap();
    place.write("r/config.toml", "before");
    fs::create_dir_all(place.path("r/schema.json")).unwrap();
    assert!(run.create().is_err());
    assert_eq!(place.text("r/config.toml"), "before");
}
