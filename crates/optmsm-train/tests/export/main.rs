//! Exported models in other runtimes: what they answer is what `optmsm predict` writes. ONNX Runtime comes from PyPI into a virtual environment
//! under target/; PyTorch is that of `OPTMSM_TORCH` or of `python3`. What cannot be had is said to be SKIPPED.

#[path = "../common/mod.rs"]
mod common;
mod nulls;
mod rows;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use common::{CONFIG, Place, bad, code, good};
use optmsm_core::batch::Batch;
use optmsm_core::models::Kind;
use optmsm_data::{Datum, RequestEncoder, Schema};
use rows::{FIELDS, Rows, columns};
use serde_json::{Value, json};

const PACKAGES: [&str; 4] = ["onnx==1.23.2", "onnxruntime==1.32.0", "numpy", "xxhash"];

/// A Python that has ONNX Runtime; tests run at the same time, and one makes it.
fn onnx() -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON.get_or_init(install).clone()
}

fn install() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnxruntime-1.32.0");
    let (python, ready) = (folder.join("bin/python"), folder.join("ready"));
    let make = || {
        let ok = |c: &mut Command| c.output().is_ok_and(|out| out.status.success());
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        ok(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
            && ok(Command::new(&python).args(pip).args(PACKAGES))
            && std::fs::write(&ready, "").is_ok()
    };
    let available = ready.exists() || make();
    if !available {
        println!("SKIPPED: ONNX Runtime cannot be installed: it takes Python 3 with venv, and PyPI");
    }
    optmsm_testkit::require("onnxruntime", available).then_some(python)
}

/// A Python that has PyTorch.
fn torch() -> Option<PathBuf> {
    let python = std::env::var("OPTMSM_TORCH").unwrap_or("python3".into());
    let has =
        Command::new(&python).args(["-c", "import torch"]).output().is_ok_and(|out| out.status.success());
    if !has {
        println!("SKIPPED: {python} has no PyTorch; name one that has in OPTMSM_TORCH");
    }
    optmsm_testkit::require("torch", has).then(|| python.into())
}

/// Has a script check what lies in a place: it reads `checks.json` and ends with the number of checks.
fn check(place: &Place, python: Option<PathBuf>, script: &str, checks: &[Value]) {
    let Some(python) = python else { return };
    place.write("checks.json", Value::from(checks).to_string());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export").join(script);
    let mut command = Command::new(python);
    // No bytecode beside the scripts.
    let out = command.arg("-B").arg(script).current_dir(place.path("")).output().unwrap();
    let (said, failed) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said}{failed}");
    assert!(said.trim_end().ends_with(&format!("{} checked", checks.len())), "{said}{failed}");
    println!("{said}");
}

/// Trains, exports in both formats, and predicts; returns what a script has to check.
fn exported(place: &Place, config: &str, run: &str, train: &[&str], rows: &str) -> Value {
    let args = ["train", "--config", config, "--run", run, "--quiet"];
    code(&place.run(&[&args, train].concat()), 0);
    written(place, run, rows)
}

/// The same of a run that is there.
fn written(place: &Place, run: &str, rows: &str) -> Value {
    let [onnx, torch] = ["onnx", "torch"].map(|format| format!("{run}.{format}"));
    for (format, out) in [("onnx", &onnx), ("torch", &torch)] {
        assert_eq!(good(place, &["export", run, "--format", format, "--out", out, "--quiet"]), "");
    }
    let answers = format!("{run}.csv");
    good(place, &["predict", run, "--data", rows, "--out", &answers]);
    let calibration = format!("{run}/calibration.json");
    let calibration = place.path(&calibration).exists().then_some(calibration);
    json!({
        "onnx": onnx, "torch": torch, "rows": rows, "answers": answers, "calibration": calibration,
        "raises": [], "refuses": []
    })
}

#[test]
fn every_kind_answers_as_the_program_does() {
    let place = Place::empty();
    rows::write(&place, "fields.toml", &Rows { scenarios: 3, ..Rows::default() });
    let mut checks = Vec::new();
    for kind in Kind::ALL {
        let set = format!("model.kind={}", kind.name());
        checks.push(exported(&place, "fields.toml", kind.name(), &["--set", &set], "rows.csv"));
    }
    // Options that take other ways.
    for (run, set) in [
        ("instance", "model.hyper.condition=\"instance\""),
        ("shared", "model.hyper.condition=\"shared\""),
        ("full", "model.hyper.rank=0"),
        ("narrow", "model.embeddings.dtype=\"bf16\""),
    ] {
        checks.push(exported(&place, "fields.toml", run, &["--set", set], "rows.csv"));
    }
    check(&place, onnx(), "onnx_answers.py", &checks);
    check(&place, torch(), "torch_answers.py", &checks);
}

#[test]
fn values_are_spelled_as_the_program_reads_them() {
    let place = Place::empty();
    rows::write_spelled(&place, "spelled.toml");
    let checks = [exported(&place, "spelled.toml", "spelled", &[], "valid.csv")];
    check(&place, onnx(), "onnx_answers.py", &checks);
    check(&place, torch(), "torch_answers.py", &checks);
}

/// Missing values that are numbers or booleans have more than one spelling.
#[test]
fn missing_values_may_be_numbers() {
    let place = Place::empty();
    nulls::write(&place, "nulls.toml");
    let mut checks = [exported(&place, "nulls.toml", "nulls", &[], "rows.csv")];
    for scenario in ["-999", "1"] {
        place.write("bad.csv", format!("{}\n{}\n", nulls::HEADER, nulls::row(&[("place", scenario)])));
        bad(&place, &["predict", "nulls", "--data", "bad.csv", "--out", "bad-answers.csv"]);
        checks[0]["raises"].as_array_mut().unwrap().push(json!(["place", scenario]));
    }
    check(&place, onnx(), "onnx_answers.py", &checks);
    check(&place, torch(), "torch_answers.py", &checks);
}

/// Values that a CSV cannot hold are those of the encoder that serves.
#[test]
fn a_module_refuses_what_the_encoder_does() {
    let place = Place::empty();
    nulls::write(&place, "nulls.toml");
    let mut case = exported(&place, "nulls.toml", "nulls", &[], "rows.csv");
    let encoder = RequestEncoder::new(Arc::new(Schema::load(place.path("nulls/schema.json")).unwrap()));
    let encoded = |column: &str, value: &Value| {
        let row = nulls::row(&[]);
        let cells: Vec<(&str, &str)> = nulls::HEADER.split(',').zip(row.split(',')).collect();
        let get = |at: usize, _| match &*encoder.columns()[at].name {
            name if name == column => Datum::of(value),
            name => Datum::Text(cells.iter().find(|(other, _)| *other == name).unwrap().1),
        };
        encoder.encode(&mut Batch::new(&encoder.schema().input_spec()), 1, |_| true, get)
    };
    for (column, good, refused) in [
        ("wtags", json!([["p", 0.5]]), json!([["p", 1e39]])),
        ("wtags", json!([["p", "2"]]), json!([["p", "NaN"]])),
        ("wtags", json!([["p", null]]), json!([["p", true]])),
        ("wtags", json!([["p", "10"]]), json!([["p", "1_0"]])),
        ("wtags", json!(["p:3"]), json!(["p:1e39"])),
        ("wtags", json!("p:-3"), json!("p:-1e39")),
        ("code", json!("10"), json!("1_0")),
        ("code", json!(" 3 "), json!("\u{663}")),
        ("code", json!(3.0), json!(3.5)),
        ("small", json!("3"), json!("\u{663}")),
        ("small", json!(0.003), json!(3e38)),
        ("small", json!("-1e-3"), json!("-3e38")),
        ("word", json!("a"), json!(["a"])),
    ] {
        encoded(column, &good).unwrap();
        encoded(column, &refused).unwrap_err();
        case["refuses"].as_array_mut().unwrap().push(json!([column, good, refused]));
    }
    check(&place, torch(), "torch_answers.py", &[case]);
}

/// More scenarios than are taken together.
#[test]
fn every_kind_answers_for_many_scenarios() {
    let place = Place::empty();
    rows::write(&place, "fields.toml", &Rows { scenarios: 20, ..Rows::default() });
    let checks: Vec<Value> = Kind::ALL
        .iter()
        .map(|kind| {
            let set = format!("model.kind={}", kind.name());
            exported(&place, "fields.toml", kind.name(), &["--set", &set], "rows.csv")
        })
        .collect();
    check(&place, onnx(), "onnx_answers.py", &checks);
    check(&place, torch(), "torch_answers.py", &checks);
}

/// Without a fallback an unknown scenario is an error, as are values that no id is of.
#[test]
fn what_the_program_refuses_ends_a_run() {
    let place = Place::empty();
    rows::write(&place, "fields.toml", &Rows { scenarios: 3, unseen: "error", ..Rows::default() });
    let mut checks: Vec<Value> = ["optmsm", "dnn"]
        .iter()
        .map(|kind| {
            let set = format!("model.kind={kind}");
            exported(&place, "fields.toml", kind, &["--set", &set], "valid.csv")
        })
        .collect();
    for (column, value) in
        [("place", "elsewhere"), ("place", ""), ("place", "NULL"), ("code", "12"), ("code", "-2")]
    {
        let text = place.text("valid.csv");
        let at = columns().iter().position(|c| c == column).unwrap();
        // The columns behind the label and before those in quotes.
        let row: Vec<&str> = text.lines().nth(1).unwrap().split(',').collect();
        let first: Vec<&str> =
            row.iter().enumerate().map(|(i, cell)| if i == at + 1 { value } else { cell }).collect();
        place.write("bad.csv", format!("{}\n{}\n", text.lines().next().unwrap(), first.join(",")));
        bad(&place, &["predict", "dnn", "--data", "bad.csv", "--out", "bad-answers.csv"]);
        checks.iter_mut().for_each(|c| c["raises"].as_array_mut().unwrap().push(json!([column, value])));
    }
    check(&place, onnx(), "onnx_answers.py", &checks);
    check(&place, torch(), "torch_answers.py", &checks);
}

#[test]
fn calibrations_are_exported() {
    let place = Place::empty();
    rows::write(&place, "fields.toml", &Rows { scenarios: 3, train: 6000, ..Rows::default() });
    let mut checks = vec![exported(&place, "fields.toml", "plain", &[], "rows.csv")];
    for method in ["platt", "isotonic"] {
        exported(&place, "fields.toml", method, &[], "rows.csv");
        good(&place, &["calibrate", method, "--data", "train.csv", "--method", method]);
        let before = place.text(&format!("{method}.csv"));
        checks.push(written(&place, method, "rows.csv"));
        assert!(place.text(&format!("{method}.csv")) != before, "{method} changes nothing");
        let plain =
            ["export", method, "--format", "onnx", "--out", "uncalibrated.onnx", "--uncalibrated", "--quiet"];
        good(&place, &plain);
        // The same rows trained it.
        let [a, b] = ["uncalibrated.onnx", "plain.onnx"].map(|file| place.bytes(file));
        assert!(a == b, "{method}: --uncalibrated leaves something of the calibration");
    }
    check(&place, onnx(), "onnx_answers.py", &checks);
    check(&place, torch(), "torch_answers.py", &checks);
}

/// Ids in place of texts, and tables in a file of their own.
#[test]
fn ids_and_tables_apart() {
    let place = Place::new(CONFIG, 64, 9);
    code(&place.run(&["train", "--config", "config.toml", "--run", "run", "--quiet"]), 0);
    let ids = ["export", "run", "--format", "onnx", "--out", "ids.onnx", "--ids-in", "--external-data"];
    let said = good(&place, &ids);
    assert!(said.contains("ids.onnx.data") && said.contains("ids below"), "{said}");
    good(&place, &["predict", "run", "--data", "valid.csv", "--out", "answers.csv"]);
    let checks = [
        json!({ "onnx": "ids.onnx", "schema": "run/schema.json", "rows": "valid.csv", "answers": "answers.csv" }),
    ];
    check(&place, onnx(), "onnx_ids.py", &checks);
}

/// The examples of docs/export.md, of which each is an indented block of Python.
#[test]
fn the_pages_examples_run() {
    let place = Place::new(CONFIG, 64, 9);
    code(&place.run(&["train", "--config", "config.toml", "--run", "run", "--quiet"]), 0);
    good(&place, &["export", "run", "--format", "onnx", "--out", "model.onnx"]);
    good(&place, &["export", "run", "--format", "torch", "--out", "module"]);
    place.write("rows.csv", "scenario,user,tags,price\nhome,u3,a|b,4.5\nads,,c,\n");
    let answers = good(&place, &["predict", "run", "--data", "rows.csv", "--out", "-"]);
    let wanted: Vec<f64> =
        answers.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse().unwrap()).collect();
    let page = include_str!("../../../../docs/export.md");
    let example = |section: &str| {
        let from = page.split_once(&format!("\n## {section}\n")).unwrap().1;
        let lines = from.lines().skip_while(|line| !line.starts_with("    "));
        let block = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
        block.map(|line| line.get(4..).unwrap_or_default().to_owned() + "\n").collect::<String>()
    };
    for (python, section) in [(onnx(), "ONNX"), (torch(), "PyTorch")] {
        let Some(python) = python else { continue };
        let out = Command::new(python)
            .args(["-B", "-c", &example(section)])
            .current_dir(place.path(""))
            .output()
            .unwrap();
        let (said, failed) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{section}: {failed}");
        let found = said.split(|c: char| !c.is_ascii_digit() && c != '.').filter(|word| !word.is_empty());
        let found: Vec<f64> = found.map(|word| word.parse().unwrap()).collect();
        assert!(
            found.len() == 2 && found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-6),
            "{section}: {said}{wanted:?}"
        );
    }
}

/// The output says what it wrote, and what hash fields need.
#[test]
fn the_output_names_inputs() {
    let place = Place::empty();
    rows::write(&place, "fields.toml", &Rows { scenarios: 3, ..Rows::default() });
    code(&place.run(&["train", "--config", "fields.toml", "--run", "run", "--quiet"]), 0);
    let said = good(&place, &["export", "run", "--format", "onnx"]);
    assert!(place.path("run/model.onnx").is_file(), "{said}");
    for name in FIELDS {
        assert!(said.lines().any(|line| line.trim_start().starts_with(name)), "{name} is missing:\n{said}");
    }
    assert!(said.contains("hashed: ONNX has no hash, so ids are given: 1 + XXH64(text, seed "), "{said}");
    good(&place, &["export", "run", "--format", "torch"]);
    for name in ["model.py", "model.safetensors", "fields.json"] {
        assert!(place.path("run/torch").join(name).is_file(), "{name}");
    }
}

#[test]
fn what_cannot_be_exported_is_one_line() {
    let place = Place::new(CONFIG, 64, 9);
    code(&place.run(&["train", "--config", "config.toml", "--run", "run", "--quiet"]), 0);
    let error = |args: &[&str]| bad(&place, &[&["export"], args].concat());
    assert!(error(&["missing", "--format", "onnx"]).starts_with("error: missing: holds no run"));
    let problem = error(&["run", "--format", "torch", "--ids-in"]);
    assert!(problem.starts_with("error: --ids-in: means nothing with --format torch; "), "{problem}");
    assert!(error(&["run", "--format", "onnx", "--out", "-"]).contains("is standard output"));
    for (format, out) in [("onnx", "nowhere/model.onnx"), ("torch", "train.csv/module")] {
        let problem = error(&["run", "--format", format, "--out", out]);
        assert!(problem.starts_with(&format!("error: {out}: cannot be written: ")), "{problem}");
        assert_eq!(problem.lines().count(), 1, "{problem}");
    }
    let files = || std::fs::read_dir(place.path("")).unwrap().count();
    let before = files();
    error(&["run", "--format", "onnx", "--out", "nowhere/model.onnx"]);
    assert_eq!(files(), before);
}
