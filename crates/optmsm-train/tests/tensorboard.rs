//! Event files, read by the real TensorBoard. It comes from PyPI into a virtual environment under target/; without Python 3 or
//! network the tests are skipped, and fail under `OPTMSM_REQUIRE=tensorboard`.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use common::{CONFIG, Place};
use serde_json::Value;

const PACKAGE: &str = "tensorboard==2.21.0";

/// Every scalar of a folder by its tag, as what TensorBoard shows and as the files have it.
const READ: &str = "
import glob, json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
shown = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0}).Reload()
tags = shown.Tags()['scalars']
tensors = {}
for path in sorted(glob.glob(sys.argv[1] + '/*tfevents*')):
    for event in LegacyEventFileLoader(path).Load():
        for value in event.summary.value:
            tensors.setdefault(value.tag, []).append([event.step, value.simple_value])
print(json.dumps({
    'shown': {tag: [[e.step, e.value] for e in shown.Scalars(tag)] for tag in tags},
    'stored': tensors,
    'version': shown.file_version,
}))
";

type Scalars = BTreeMap<String, Vec<(u64, f64)>>;

/// A Python that has TensorBoard, if it can be had.
fn python() -> Option<PathBuf> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE.replace("==", "-"));
    let (python, ready) = (folder.join("bin/python"), folder.join("ready"));
    let make = || {
        let ok = |c: &mut Command| c.output().is_ok_and(|out| out.status.success());
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE];
        ok(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
            && ok(Command::new(&python).args(pip))
            && std::fs::write(&ready, "").is_ok()
    };
    let available = ready.exists() || make();
    optmsm_testkit::require("tensorboard", available).then_some(python)
}

/// Scalars that TensorBoard shows of a run, after a check that the files hold just these.
fn scalars(python: &Path, run: &Path) -> Scalars {
    let out = Command::new(python).args(["-c", READ]).arg(run).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let read: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(read["version"], 2.0);
    let shown: Scalars = serde_json::from_value(read["shown"].clone()).unwrap();
    let stored: Scalars = serde_json::from_value(read["stored"].clone()).unwrap();
    assert_eq!(shown, stored);
    shown
}

fn lines(place: &Place, run: &str) -> Vec<Value> {
    let text = String::from_utf8(place.bytes(&format!("{run}/metrics.jsonl"))).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn train(place: &Place, args: &[&str], code: i32) {
    let out = place.run(&[&["train", "--quiet"], args].concat());
    assert_eq!(out.status.code(), Some(code), "{}", String::from_utf8_lossy(&out.stderr));
}

/// 7 steps per pass; scenarios and a test file whose names need care.
fn place() -> Place {
    let config = CONFIG.replace("valid = ", "test = \"valid.csv\"\nvalid = ");
    let place = Place::new(&config, 100, 11);
    for file in ["train.csv", "valid.csv"] {
        let text = String::from_utf8(place.bytes(file)).unwrap();
        place.write(file, text.replace(",home,", ",Würfel/首页 <b>,"));
    }
    place
}

const NEW: [&str; 6] =
    ["--config", "config.toml", "--set", "train.tensorboard=true", "--set", "train.schedule.warmup=20"];

#[test]
fn every_scalar_is_the_one_of_metrics_jsonl() {
    let Some(python) = python() else { return };
    let place = place();
    train(&place, &[&NEW[..], &["--run", "r"]].concat(), 0);
    let found = scalars(&python, &place.path("r"));
    let lines = lines(&place, "r");
    let mut expected = Scalars::new();
    let mut put = |tag: String, step: u64, v: &Value| {
        if let Some(v) = v.as_f64() {
            expected.entry(tag).or_default().push((step, f64::from(v as f32)));
        }
    };
    for line in &lines {
        let (split, step) = (line["split"].as_str().unwrap(), line["step"].as_u64().unwrap());
        for metric in ["auc", "gauc", "log_loss", "calibration", "ece"] {
            put(format!("{split}/{metric}"), step, &line["overall"][metric]);
            for s in line["scenarios"].as_array().unwrap() {
                put(format!("{split}/{metric}/{}", s["scenario"].as_str().unwrap()), step, &s[metric]);
            }
        }
        for (name, v) in line["diagnostics"].as_object().unwrap() {
            put(format!("{split}/{name}"), step, v);
        }
    }
    assert_eq!(expected["valid/auc/Würfel/首页 <b>"].len(), 3);
    assert!(expected.contains_key("test/ece") && expected.contains_key("valid/abs_cos.0.1"));
    let evaluated: Scalars =
        found.clone().into_iter().filter(|(tag, _)| !tag.starts_with("train/")).collect();
    assert_eq!(evaluated, expected);

    let steps = |tag: &str| found[tag].iter().map(|s| s.0).collect::<Vec<_>>();
    for name in ["loss", "log_loss", "penalty", "learning_rate", "embedding_learning_rate", "rows_per_second"]
    {
        assert_eq!(steps(&format!("train/{name}")), [7, 14, 16, 21], "{name}");
    }
    // lr = 0.01 and a warm-up of 20 steps
    let rates = [0.0035, 0.007, 0.008, 0.01].map(|v| f64::from(v as f32));
    assert_eq!(found["train/learning_rate"].iter().map(|s| s.1).collect::<Vec<_>>(), rates);
    let valid = lines.iter().filter(|l| l["split"] == "valid");
    let of_metrics: Vec<_> =
        valid.map(|l| (l["step"].as_u64().unwrap(), l["train_loss"].as_f64().unwrap())).collect();
    // Step 16 parts the third pass: 100 rows in seven batches, of which two have 15.
    let [first, second, begun, rest] = found["train/loss"][..] else { panic!("{found:?}") };
    let third = (30.0 * begun.1 + 70.0 * rest.1) / 100.0;
    for ((step, loss), (at, wanted)) in of_metrics.into_iter().zip([first, second, (21, third)]) {
        assert!(
            step == at && (loss - wanted).abs() < 2.0 * f64::from(f32::EPSILON),
            "{step} {loss} {wanted}"
        );
    }
    assert_eq!(steps("train/auc"), [7, 14, 21]);
    for (i, (_, loss)) in found["train/loss"].iter().enumerate() {
        let sum = found["train/log_loss"][i].1 + found["train/penalty"][i].1;
        assert!((loss - sum).abs() <= 2.0 * f64::from(f32::EPSILON) * loss, "{loss} {sum}");
    }
}

#[test]
fn a_continued_run_shows_the_steps_of_an_uninterrupted_one() {
    let Some(python) = python() else { return };
    let place = place();
    let without_rates = |run: &str| {
        let mut found = scalars(&python, &place.path(run));
        found.remove("train/rows_per_second").unwrap();
        found
    };
    train(&place, &[&NEW[..], &["--run", "whole"]].concat(), 0);
    let whole = without_rates("whole");
    train(&place, &[&NEW[..], &["--run", "parts", "--max-steps", "10"]].concat(), 130);
    // Twice from the same place, as after a crash: what came after `last` was saved is written again.
    let saved = place.bytes("parts/checkpoints/last.safetensors");
    train(&place, &["--run", "parts", "--resume", "--max-steps", "19"], 130);
    place.write("parts/checkpoints/last.safetensors", &saved);
    train(&place, &["--run", "parts", "--resume"], 0);
    assert_eq!(without_rates("parts"), whole);
    // Done already: the test data is scored again, and shown once.
    train(&place, &["--run", "parts", "--resume"], 0);
    assert_eq!(without_rates("parts"), whole);
}

#[test]
fn there_is_no_event_file_unless_asked_for() {
    let place = Place::new(CONFIG, 100, 11);
    train(&place, &["--config", "config.toml", "--run", "r"], 0);
    let names = std::fs::read_dir(place.path("r")).unwrap().map(|e| e.unwrap().file_name());
    assert!(!names.into_iter().any(|n| n.to_string_lossy().contains("tfevents")));
}
