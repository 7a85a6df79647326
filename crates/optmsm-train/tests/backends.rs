//! One run on several backends: what is asked of CUDA without a device, and runs that move between backends.

use std::sync::atomic::AtomicBool;

use common::Place;
use optmsm_core::backend::Backend;
use optmsm_core::learner::Learner;
use optmsm_core::models::OptMsm;
use optmsm_cpu::{Cpu, CpuOptions};
use optmsm_cuda::Precision;
use optmsm_data::{Dataset, Schema};
use optmsm_train::config::Config;
use optmsm_train::error::Error;
use optmsm_train::record::Record;
use optmsm_train::rows::Rows;
use optmsm_train::run::Run;
use optmsm_train::trainer::{self, Control, Data};

mod common;

/// Runs the program where the driver, if there is one, sees no device.
fn without_device(place: &Place, args: &[&str]) -> std::process::Output {
    let program = env!("CARGO_BIN_EXE_optmsm");
    let mut command = std::process::Command::new(program);
    command.current_dir(place.path(".")).args(args).env("CUDA_VISIBLE_DEVICES", "-1").output().unwrap()
}

fn refused(place: &Place, args: &[&str]) {
    let out = without_device(place, args);
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{args:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
    assert!(text.starts_with("error: backend cuda: ") && text.contains("use the CPU"), "{args:?}: {text}");
}

#[test]
fn cuda_without_a_device_is_one_clear_line_and_nothing_written() {
    let place = Place::new(common::CONFIG, 60, 20);
    let train = ["train", "--config", "config.toml", "--run", "r"];
    refused(&place, &[&train[..], &["--backend", "cuda"]].concat());
    refused(&place, &[&train[..], &["--set", "train.backend=cuda"]].concat());
    refused(&place, &["train", "--rows", "1000", "--run", "r", "--backend", "cuda"]);
    assert!(!place.path("r").exists());
    // Runs that a CPU trained are not at stake either.
    assert!(place.run(&train).status.success());
    let before = place.bytes("r/checkpoints/last.safetensors");
    refused(&place, &["evaluate", "r", "--data", "valid.csv", "--backend", "cuda"]);
    refused(&place, &["predict", "r", "--data", "valid.csv", "--out", "p.csv", "--backend", "cuda"]);
    refused(&place, &["train", "--resume", "--run", "r", "--set", "train.epochs=4", "--backend", "cuda"]);
    assert!(!place.path("p.csv").exists());
    assert_eq!(place.bytes("r/checkpoints/last.safetensors"), before);
}

#[test]
fn the_profile_is_of_the_cpu() {
    let place = Place::new(common::CONFIG, 60, 20);
    let args = ["train", "--config", "config.toml", "--run", "r", "--backend", "cuda", "--profile"];
    let out = without_device(&place, &args);
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(text.starts_with("error: --profile: times operations of the CPU only; "), "{text}");
}

#[test]
fn an_unknown_backend_or_precision_names_the_known_ones() {
    let place = Place::new(common::CONFIG, 60, 20);
    for set in ["train.backend=gpu", "train.precision=fp16"] {
        let out = place.run(&["train", "--config", "config.toml", "--run", "r", "--set", set]);
        let text = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{text}");
        let known = if set.contains("gpu") { "`cpu` or `cuda`" } else { "`f32`, `tf32`, `bf16`" };
        assert!(text.contains("unknown variant") && text.contains(known), "{text}");
    }
}

/// Trains `steps` steps in all of the run `folder` on a backend, from its beginning or on from where it is.
fn train(place: &Place, folder: &str, be: impl Backend<Elem = f32>, resume: bool, steps: Option<u64>) {
    let sets = ["data.train", "data.valid"].map(|key| {
        let name = if key.ends_with("train") { "train.csv" } else { "valid.csv" };
        format!("{key}=\"{}\"", place.path(name).display())
    });
    let run = if resume {
        Run::open(&place.path(folder)).unwrap()
    } else {
        let config = Config::load(&place.path("config.toml"), &sets).unwrap();
        let schema = Schema::fit(&config.data, place.path("train.csv")).unwrap();
        Run::new(&place.path(folder), config, schema)
    };
    let load = |name: &str| Rows::Memory(Dataset::load(place.path(name), &run.schema).unwrap());
    let data = Data {
        train: load("train.csv"),
        valid: Some(load("valid.csv")),
        test: None,
        record: Record::default(),
    };
    let config = &run.config.train;
    let model = OptMsm::new(&run.config.model, &run.schema.input_spec()).unwrap();
    let mut learner = Learner::new(be, model, config.learner(), config.batch_size, config.seed).unwrap();
    if !resume {
        run.create().unwrap();
    }
    let stop = AtomicBool::new(false);
    let control = Control { resume, stop: &stop, max_steps: steps, quiet: true, observer: None };
    match trainer::train(&mut learner, &run, &data, &control) {
        Ok(_) => assert!(steps.is_none()),
        Err(Error::Interrupted { step, .. }) => assert_eq!(Some(step), steps),
        Err(e) => panic!("{e}"),
    }
}

fn cpu() -> Cpu {
    Cpu::with(CpuOptions { threads: Some(1), ..CpuOptions::default() }).unwrap()
}

fn last(place: &Place, folder: &str) -> Vec<u8> {
    place.bytes(&format!("{folder}/checkpoints/last.safetensors"))
}

/// The kernels run on the CPU; on a device they are the same launches.
#[test]
fn a_run_moves_between_backends() {
    let place = Place::new(common::CONFIG, 60, 20);
    let cuda = |seed| optmsm_cuda_host::cuda(Precision::F32, seed);
    let Some(be) = cuda(1) else { return };
    // Begun on one, continued on the other: both ways end, and so does a run that never moved.
    train(&place, "cuda-cpu", be, false, Some(5));
    train(&place, "cuda-cpu", cpu(), true, None);
    train(&place, "cpu-cuda", cpu(), false, Some(5));
    train(&place, "cpu-cuda", cuda(2).unwrap(), true, None);
    train(&place, "cpu", cpu(), false, None);
    let out = place.run(&["evaluate", "cpu-cuda", "--data", "valid.csv"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    // On one backend a resumed run is the uninterrupted one, bit for bit, whatever order its launches ran in.
    train(&place, "cuda", cuda(3).unwrap(), false, None);
    train(&place, "cuda-cuda", cuda(4).unwrap(), false, Some(7));
    train(&place, "cuda-cuda", cuda(5).unwrap(), true, None);
    assert!(last(&place, "cuda") == last(&place, "cuda-cuda"));
}
