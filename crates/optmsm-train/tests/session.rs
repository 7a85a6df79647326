//! Runs within a program of one's own: sessions, their observers, and commands that are called.

mod common;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use common::{CONFIG, Place};
use optmsm_train::checkpoint::Position;
use optmsm_train::cli;
use optmsm_train::config::Config;
use optmsm_train::error::{Error, INTERRUPTED};
use optmsm_train::evaluate::Evaluation;
use optmsm_train::folder::Folder;
use optmsm_train::run::Run;
use optmsm_train::session::{Changes, Session};
use optmsm_train::trainer::{Control, Next, Observer};
use serde_json::Value;

/// Counts what it hears; stops training at an evaluation.
#[derive(Debug, Default)]
struct Listener {
    rows: RefCell<u64>,
    aucs: RefCell<Vec<Option<f64>>>,
    stop_at: Option<usize>,
}

impl Observer for Listener {
    fn trained(&self, rows: u64, _loss: Option<f64>) {
        *self.rows.borrow_mut() += rows;
    }

    fn evaluated(&self, _at: &Position, valid: Option<&Evaluation>) -> Next {
        let auc = valid.and_then(|found| serde_json::to_value(&found.overall).unwrap()["auc"].as_f64());
        self.aucs.borrow_mut().push(auc);
        if self.stop_at == Some(self.aucs.borrow().len()) { Next::Stop } else { Next::Continue }
    }
}

fn config(place: &Place) -> Config {
    let folder = place.path("").display().to_string();
    Config { data_dir: Some(folder), ..Config::load(&place.path("config.toml"), &[]).unwrap() }
}

fn start(place: &Place, run: &str, config: Config, from: Option<&Run>) -> Result<Session, Error> {
    Session::start(Folder::take(&place.path(run), "run")?, config, from)
}

static GO: AtomicBool = AtomicBool::new(false);

fn control<'a>(observer: Option<&'a dyn Observer>) -> Control<'a> {
    Control { resume: false, stop: &GO, max_steps: None, quiet: true, observer }
}

#[test]
fn a_session_writes_the_run_that_the_program_writes() {
    let place = Place::new(CONFIG, 64, 9);
    common::good(&place, &["train", "--config", "config.toml", "--run", "by-program"]);
    let listener = Listener::default();
    start(&place, "by-session", config(&place), None).unwrap().train(&control(Some(&listener))).unwrap();
    for name in ["best", "last"] {
        let file = |run: &str| place.bytes(&format!("{run}/checkpoints/{name}.safetensors"));
        assert!(file("by-program") == file("by-session"), "{name}");
    }
    assert_eq!(listener.rows.take(), 3 * 64);
    // The values that the log has.
    let log = place.text("by-session/metrics.jsonl");
    let overall = |line: &str| serde_json::from_str::<Value>(line).unwrap()["overall"]["auc"].as_f64();
    let logged: Vec<Option<f64>> = log.lines().map(overall).collect();
    assert!(logged.len() == 3 && logged.iter().all(Option::is_some));
    assert_eq!(listener.aucs.take(), logged);
}

#[test]
fn an_observer_ends_a_run_that_can_go_on() {
    let place = Place::new(CONFIG, 64, 9);
    common::good(&place, &["train", "--config", "config.toml", "--run", "whole"]);
    let listener = Listener { stop_at: Some(2), ..Listener::default() };
    start(&place, "parted", config(&place), None).unwrap().train(&control(Some(&listener))).unwrap();
    assert_eq!(Run::open(&place.path("parted")).unwrap().checkpoint("last").unwrap().position.epoch, 2);
    let rest = Session::reopen(&place.path("parted"), &Changes::default(), |_| Ok(())).unwrap();
    rest.train(&control(None)).unwrap();
    let last = |run: &str| place.bytes(&format!("{run}/checkpoints/last.safetensors"));
    assert!(last("whole") == last("parted"));
}

#[test]
fn parameters_of_another_run_are_begun_with() {
    let place = Place::new(CONFIG, 64, 9);
    common::good(&place, &["train", "--config", "config.toml", "--run", "first"]);
    let first = Run::open(&place.path("first")).unwrap();
    // New rows: other users, and more of them.
    let more = Place::new(CONFIG, 80, 11);
    // A rate too small to move a parameter shows where they begin.
    let still = |place: &Place| {
        let mut config = config(place);
        config.train.optimizer.lr = 1e-30;
        config.train.epochs = 1;
        config
    };
    let mut config = still(&more);
    start(&more, "second", config.clone(), Some(&first)).unwrap().train(&control(None)).unwrap();
    let second = Run::open(&more.path("second")).unwrap();
    assert_eq!((second.schema.rows, second.schema.fields.clone()), (80, first.schema.fields.clone()));
    let tensors = |run: &Run, name: &str, shape: &[usize]| {
        use optmsm_core::params::TensorSource;
        TensorSource::<f32>::tensor(&run.checkpoint("best").unwrap(), name, shape).unwrap()
    };
    let shape = [first.schema.fields[0].encoding.vocabulary().unwrap().size(), 5];
    let name = "embeddings.user.weight";
    assert_eq!(tensors(&first, name, &shape), tensors(&second, name, &shape));
    // Of another model there is nothing to begin with.
    config.model.embedding_dim = 6;
    let error = start(&more, "third", config, Some(&first)).err().unwrap();
    assert!(error.to_string().contains("`model`: is another than that of"), "{error}");
    assert!(!more.path("third/config.toml").exists());
}

#[test]
fn a_called_command_prints_what_the_program_prints() {
    let place = Place::new(CONFIG, 64, 9);
    common::good(&place, &["train", "--config", "config.toml", "--run", "r"]);
    let (run, data) = (place.path("r").display().to_string(), place.path("valid.csv").display().to_string());
    let call = |args: &[&str], stop: bool| {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        cli::call(&args, Arc::new(AtomicBool::new(stop)))
    };
    for args in [
        &["evaluate", &run, "--data", &data, "--json"][..],
        &["inspect", &run],
        &["predict", &run, "--data", &data, "--out", "-"],
    ] {
        let (code, printed) = call(args, false).unwrap();
        assert_eq!((code, String::from_utf8(printed).unwrap()), (0, common::good(&place, args)), "{args:?}");
    }
    // Errors are the program's, and nothing is printed of them.
    let wrong = ["evaluate", &run, "--data", "nothing.csv"];
    let error = call(&wrong, false).unwrap_err();
    assert_eq!(format!("error: {error}"), common::bad(&place, &wrong));
    let error = call(&["nonsense"], false).unwrap_err();
    assert!(matches!(error, Error::Argument { .. }) && error.to_string().contains("nonsense"), "{error}");
    // Stopped like the program.
    let config = place.path("config.toml").display().to_string();
    let (out, dir) =
        (place.path("c").display().to_string(), format!("data_dir=\"{}\"", place.path("").display()));
    let error = call(
        &[
            "compare",
            &config,
            "--set",
            &dir,
            "--set",
            "data.test=\"valid.csv\"",
            "--out",
            &out,
            "--seeds",
            "1",
            "--quiet",
        ],
        true,
    )
    .unwrap_err();
    assert_eq!(error.exit_code(), INTERRUPTED, "{error}");
}
