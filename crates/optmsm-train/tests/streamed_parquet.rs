//! Training on Parquet that comes from disk: however many threads decode it and wherever it is interrupted, the same bytes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use optmsm_core::learner::Learner;
use optmsm_core::models::OptMsm;
use optmsm_cpu::{Cpu, CpuOptions};
use optmsm_data::{Cache, Prepared, Schema, Source, SynthConfig, synth};
use optmsm_train::config::Config;
use optmsm_train::error::Error;
use optmsm_train::record::Record;
use optmsm_train::rows::Rows;
use optmsm_train::run::Run;
use optmsm_train::trainer::{self, Control, Data};
use tempfile::TempDir;

use common::SYNTH;

mod common;

/// Rows of the parts: together three windows of one block and a short one.
const PARTS: [u64; 3] = [20_000, 4_000, 2_000];

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = SYNTH
        .replace("\"train.csv\"", "\"parts\"\nstream = { mode = \"always\", shuffle_rows = 8192 }")
        .replace("[\"valid.csv\"]", "\"valid.parquet\"")
        .replace("batch_size = 64", "batch_size = 500");
    std::fs::write(path("config.toml"), text).unwrap();
    std::fs::create_dir(path("parts")).unwrap();
    let config = SynthConfig { users: 500, items: 100, ..SynthConfig::default() };
    let write =
        |path: PathBuf, rows| synth::write_parquet(&config, rows, File::create(path).unwrap()).unwrap();
    let mut first = 0;
    for (i, rows) in PARTS.iter().enumerate() {
        write(path(&format!("parts/part-{i}.parquet")), first..first + rows);
        first += rows;
    }
    write(path("valid.parquet"), first..first + 300);
    folder
}

/// Trains `steps` steps in all of the run `folder`, from its beginning or on from where it is; returns its parameters and those of the
/// optimizer.
fn train(folder: &TempDir, run: &str, threads: usize, resume: bool, steps: Option<u64>) -> Vec<u8> {
    let path = |name: &str| folder.path().join(name);
    let (name, source) = (run, |name: &str| Source::from(path(name)).with_threads(threads));
    let run = if resume {
        Run::open(&path(name)).unwrap()
    } else {
        let config = Config::load(&path("config.toml"), &[]).unwrap();
        let schema = Schema::fit(&config.data, source("parts")).unwrap();
        let run = Run::new(&path(name), config, schema);
        run.create().unwrap();
        run
    };
    let load = |name: &str, caches: &Path| {
        let (cache, prepared) = Cache::prepare(&source(name), &run.schema, None, caches, |_| {}).unwrap();
        assert_eq!(prepared == Prepared::Found, resume);
        Rows::Disk(cache)
    };
    let caches = path(&format!("{name}-caches"));
    let data = Data {
        train: load("parts", &caches),
        valid: Some(load("valid.parquet", &caches)),
        test: None,
        record: Record::default(),
    };
    let config = &run.config.train;
    let model = OptMsm::new(&run.config.model, &run.schema.input_spec()).unwrap();
    let be = Cpu::with(CpuOptions { threads: Some(1), ..CpuOptions::default() }).unwrap();
    let mut learner = Learner::new(be, model, config.learner(), config.batch_size, config.seed).unwrap();
    let stop = AtomicBool::new(false);
    let control = Control { resume, stop: &stop, max_steps: steps, quiet: true, observer: None };
    match trainer::train(&mut learner, &run, &data, &control) {
        Ok(_) => assert!(steps.is_none()),
        Err(Error::Interrupted { step, .. }) => assert_eq!(Some(step), steps),
        Err(e) => panic!("{e}"),
    }
    std::fs::read(path(&format!("{name}/checkpoints/last.safetensors"))).unwrap()
}

#[test]
fn interrupted_or_not_and_by_any_number_of_threads_the_run_is_the_same() {
    let folder = folder();
    let whole = train(&folder, "whole", 1, false, None);
    assert!(train(&folder, "eight", 8, false, None) == whole, "decoded by eight threads");
    // In the first window, inside a batch that spans two of them, in the second pass.
    for (steps, threads) in [(3, [1, 8]), (17, [8, 1]), (60, [8, 8])] {
        let run = format!("cut-{steps}");
        train(&folder, &run, threads[0], false, Some(steps));
        assert!(train(&folder, &run, threads[1], true, None) == whole, "interrupted after {steps} steps");
    }
}
