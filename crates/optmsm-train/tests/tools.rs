//! `optmsm check`, `--json`, completions and manual pages.

use std::process::{Command, Output, Stdio};

use common::Place;
use serde_json::Value;

mod common;

fn ok(out: Output) -> String {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Standard output, which is one JSON document and nothing else.
fn json(place: &Place, args: &[&str]) -> Value {
    serde_json::from_str(&ok(place.run(args))).unwrap()
}

fn place() -> Place {
    Place::new(common::CONFIG, 300, 20)
}

#[test]
fn check_says_what_fields_become() {
    let place = place();
    let found = json(&place, &["check", "config.toml", "--json"]);
    let [train, valid] = [0, 1].map(|i| &found["files"][i]);
    assert_eq!((train["split"].as_str(), train["rows"].as_u64()), (Some("train"), Some(300)));
    assert_eq!((valid["split"].as_str(), valid["about_rows"].as_u64()), (Some("valid"), Some(40)));
    assert_eq!(train["whole"].as_bool(), Some(true));
    let field = |i: usize, key: &str| found["fields"][i][key].clone();
    // 20 users, 3 tags, an id each for what is unknown; every fourth row has no tag.
    assert_eq!((field(0, "ids"), field(1, "ids"), field(2, "ids")), (21.into(), 4.into(), Value::Null));
    assert_eq!(
        (field(0, "kind"), field(1, "kind"), field(2, "kind")),
        ("categorical".into(), "multi".into(), "numeric".into())
    );
    assert_eq!(
        (field(1, "missing")["train"].as_f64(), field(0, "oov")["valid"].as_f64()),
        (Some(0.25), Some(0.0))
    );
    assert_eq!(field(0, "exact"), Value::Bool(true));

    // The tensors are those of the run, and the parameters are as many.
    json(&place, &["train", "--config", "config.toml", "--run", "r", "--json"]);
    let run = json(&place, &["inspect", "r", "--json"]);
    let shapes = |v: &Value| -> Vec<(Value, Value)> {
        v["tensors"].as_array().unwrap().iter().map(|t| (t["name"].clone(), t["shape"].clone())).collect()
    };
    assert_eq!((shapes(&found), &found["parameters"]), (shapes(&run), &run["parameters"]));

    let memory =
        |args: &[&str]| json(&place, &[&["check", "config.toml", "--json"], args].concat())["memory"].clone();
    let (cpu, cuda) = (memory(&[]), memory(&["--backend", "cuda"]));
    assert_eq!((cpu["backend"].as_str(), cuda["backend"].as_str()), (Some("cpu"), Some("cuda")));
    for memory in [&cpu, &cuda] {
        let bytes = |key: &str| memory[key].as_u64().unwrap();
        let parts = ["parameters", "optimizer", "gradients", "prepared", "activations", "inputs", "reserved"]
            .map(bytes);
        assert_eq!(parts.iter().sum::<u64>(), bytes("backend_total"));
        // At least what the tensors hold, and Adam's two numbers for each.
        let least = 4 * found["parameters"].as_u64().unwrap();
        assert!(bytes("parameters") >= least && bytes("optimizer") >= 2 * least);
        let own = if memory["backend"] == "cpu" { bytes("backend_total") } else { 0 };
        assert_eq!(bytes("host_total"), own + bytes("data") + bytes("batches"));
    }
    let twice = memory(&["--set", "train.batch_size=32"]);
    assert!(twice["inputs"].as_u64() > cpu["inputs"].as_u64());
    let text = ok(place.run(&["check", "config.toml"]));
    for part in ["user", "categorical", "experts.1.weight", "optimizer state", "25.00 %"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn check_estimates_what_it_did_not_read() {
    let place = Place::new(common::CONFIG, 4000, 40);
    // The second half of the file has a scenario of its own.
    let train = String::from_utf8(place.bytes("train.csv")).unwrap();
    let lines =
        train.lines().enumerate().map(|(i, l)| if i > 2000 { l.replace("home", "mail") } else { l.into() });
    place.write("train.csv", lines.map(|l| l + "\n").collect::<String>());
    place.write("valid.csv", "label,scenario,user,tags,price\n1,mail,u1,a,1\n0,home,u99,b,\n");
    let found = json(&place, &["check", "config.toml", "--rows", "1000", "--json"]);
    let train = &found["files"][0];
    assert_eq!((train["rows"].as_u64(), train["whole"].as_bool()), (Some(1000), Some(false)));
    let about = train["about_rows"].as_u64().unwrap();
    assert!((3600..4400).contains(&about), "{about}");
    // Every user was seen often, so there are no more of them.
    assert_eq!((&found["fields"][0]["ids"], &found["fields"][0]["exact"]), (&41.into(), &Value::Bool(false)));
    assert_eq!(found["files"][1]["unseen_scenarios"].as_f64(), Some(0.5));
    assert_eq!(found["fields"][0]["oov"]["valid"].as_f64(), Some(0.5));
    assert_eq!(found["scenarios"].as_array().unwrap().len(), 2);
    assert!(
        ok(place.run(&["check", "config.toml", "--rows", "1000"])).contains("Not all rows were looked at")
    );
}

#[test]
fn check_counts_of_streamed_rows_what_is_held_of_them() {
    let data = |rows: usize| {
        let place = Place::new(common::CONFIG, rows, 40);
        let stream = ["--set", "data.stream={ mode = \"always\", shuffle_rows = 8192 }"];
        let args = ["check", "config.toml", "--json"];
        let [streamed, whole] = [&stream[..], &[]].map(|more| json(&place, &[&args[..], more].concat()));
        assert_eq!(
            (&streamed["files"][0]["streamed"], &whole["files"][0]["streamed"]),
            (&true.into(), &false.into())
        );
        let text = ok(place.run(&[&["check", "config.toml"], &stream[..]].concat()));
        assert!(text.contains("Rows of train, valid come from disk (data.stream)"), "{text}");
        [streamed, whole].map(|found| found["memory"]["data"].as_u64().unwrap())
    };
    // Encoded, a row has label, scenario, user, price, and of its tags the end and 1.5 ids: 26 bytes. Two windows of
    // 8192 rows, whose lists may take twice their 6 bytes, with 8 bytes of place per row; 4 bytes of order per row in
    // use; a block of 8192 rows; 4 bytes per block. Scoring 40 rows of the other file: 32 bytes per row.
    let bound = |blocks: u64| 2 * 8192 * (26 + 6 + 8) + 4 * 8192 + 26 * 8192 + 4 * blocks + 32 * 40;
    let [few, all_few] = data(20_000);
    let [many, all_many] = data(60_000);
    // A list has one end more than there are rows.
    assert!(few.abs_diff(bound(3)) <= 16 && many.abs_diff(bound(8)) <= 16, "{few} {many}");
    assert!(all_few.abs_diff(20_000 * (26 + 4) + 40 * 26) <= 16, "{all_few}");
    assert!(all_many.abs_diff(60_000 * (26 + 4) + 40 * 26) <= 16, "{all_many}");
}

#[test]
fn check_looks_at_the_parts_of_a_split_file() {
    let config = common::CONFIG.replace("valid = \"valid.csv\"", "split = { valid = 0.2, test = 0.3 }");
    let place = Place::new(&config, 3000, 40);
    let found = json(&place, &["check", "config.toml", "--json"]);
    let files = found["files"].as_array().unwrap();
    let rows: Vec<u64> = files.iter().map(|f| f["rows"].as_u64().unwrap()).collect();
    assert_eq!((rows.len(), rows.iter().sum::<u64>()), (3, 3000));
    assert!((500..700).contains(&rows[1]) && (800..1000).contains(&rows[2]), "{rows:?}");
    // As many as training sees.
    let trained = json(&place, &["train", "--config", "config.toml", "--run", "r", "--json"]);
    assert_eq!(trained["test"]["overall"]["rows"].as_u64(), Some(rows[2]));
    let scenarios = json(&place, &["inspect", "r", "--json"])["scenarios"].clone();
    assert_eq!(
        scenarios.as_array().unwrap().iter().map(|s| s["rows"].as_u64().unwrap()).sum::<u64>(),
        rows[0]
    );
    for (trained, checked) in scenarios.as_array().unwrap().iter().zip(found["scenarios"].as_array().unwrap())
    {
        assert!(trained.as_object().unwrap().iter().all(|(key, value)| checked[key] == *value), "{checked}");
    }
    let part = json(&place, &["check", "config.toml", "--json", "--rows", "1000"]);
    for (part, all) in part["files"].as_array().unwrap().iter().zip(&rows) {
        let about = part["about_rows"].as_u64().unwrap() as f64;
        assert!((about / *all as f64 - 1.0).abs() < 0.2, "{about} {all}");
    }
    let none = place.run(&["check", "config.toml", "--set", "data.split={ valid = 1e-9 }"]);
    assert_eq!(
        String::from_utf8_lossy(&none.stderr).trim_end(),
        "error: train.csv: no row falls into the valid part of data.split; raise its share, give more rows, or change data.split.seed"
    );
}

#[test]
fn check_refuses_what_training_would() {
    let place = place();
    let says = |args: &[&str], message: &str| {
        let out = place.run(&[&["check", "config.toml"], args].concat());
        assert_eq!(String::from_utf8_lossy(&out.stderr).trim_end(), format!("error: {message}"));
        assert_eq!((out.status.code(), out.stdout.is_empty()), (Some(2), true));
    };
    says(
        &["--set", "model.hyper.rank=9"],
        "--set model.hyper.rank=9, `model.hyper.rank`: 9 is larger than every tower layer can use (4); set it to 4 or less, \
         or 0 to generate whole matrices",
    );
    place.write("config.toml", common::CONFIG.replace("[8, 4]", "[]"));
    says(
        &[],
        "config.toml line 19 column 22, `model.experts.hidden`: is empty; give at least one width, for example [64, 32]",
    );
    place.write("config.toml", common::CONFIG);
    place.write("valid.csv", "label,scenario,user,tags,price\n1,ads,u1,a,much\n");
    says(
        &[],
        "valid.csv line 2, column 'price': \"much\" is not a number; fix the value, name it in data.null_values if it is a missing one, set decimal or thousands if it has such marks, or set kind = \"categorical\"",
    );
}

#[test]
fn results_as_json() {
    let place = place();
    place.write("test.csv", place.bytes("valid.csv"));
    let set = ["train", "--config", "config.toml", "--run", "r", "--set", "data.test=test.csv", "--json"];
    let trained = json(&place, &set);
    assert_eq!(trained["run"].as_str(), Some("r"));
    let evaluated = json(&place, &["evaluate", "r", "--data", "test.csv", "--json"]);
    for key in ["rows", "positives", "auc", "gauc", "log_loss", "calibration", "ece"] {
        assert!(evaluated["overall"].get(key).is_some(), "{key} in {evaluated}");
    }
    assert_eq!(evaluated["overall"], trained["test"]["overall"]);
    assert_eq!(evaluated["scenarios"][0]["scenario"].as_str(), Some("ads"));
    // Experts' mean |cos| is a sum that only training's evaluations make.
    assert!(trained["test"]["diagnostics"].as_object().unwrap().contains_key("abs_cos.0.1"));
    let shown = json(&place, &["inspect", "r", "--json"]);
    assert_eq!(
        shown["fields"][0],
        serde_json::json!({"name": "user", "column": "user", "role": "shared", "kind": "categorical", "ids": 21})
    );
    assert_eq!(shown["tensors"][0]["dtype"].as_str(), Some("f32"));
    let checked = json(&place, &["gradcheck", "--models", "dnn", "--json"]);
    assert_eq!(checked["passed"].as_bool(), Some(true));
    assert!(checked["worst"].as_f64().unwrap() < checked["limit"].as_f64().unwrap());
    assert!(checked["cases"].as_array().unwrap().iter().filter(|c| c["control"] == true).count() == 1);
}

/// Whether a program is installed; says that a test is skipped where it is not.
fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        println!("SKIPPED: {program} is not installed");
    }
    found.is_ok()
}

const COMMANDS: [&str; 11] = [
    "init",
    "check",
    "train",
    "evaluate",
    "predict",
    "synth",
    "gradcheck",
    "inspect",
    "completions",
    "man",
    "help",
];

#[test]
fn completions_load() {
    let place = place();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let text = ok(place.run(&["completions", shell]));
        assert!(COMMANDS.iter().all(|command| text.contains(command)), "{shell}");
        place.write(shell, text);
    }
    if installed("bash") {
        // Loads, and completes.
        let script = "source ./bash; COMP_WORDS=(optmsm ins); COMP_CWORD=1; _optmsm optmsm ins optmsm; echo \"${COMPREPLY[*]}\"";
        let folder = place.path("bash");
        let out =
            Command::new("bash").args(["-c", script]).current_dir(folder.parent().unwrap()).output().unwrap();
        assert_eq!(ok(out).trim(), "inspect");
    }
}

#[test]
fn manual_pages_render() {
    let place = place();
    let page = ok(place.run(&["man"]));
    assert!(COMMANDS.iter().all(|command| page.contains(&format!("optmsm\\-{command}"))), "{page}");
    ok(place.run(&["man", "--out", "pages"]));
    for command in &COMMANDS[..10] {
        place.bytes(&format!("pages/optmsm-{command}.1"));
    }
    let check = String::from_utf8(place.bytes("pages/optmsm-check.1")).unwrap();
    assert!(check.contains("\\-\\-rows"), "{check}");
    if installed("groff") {
        let page = place.path("pages/optmsm.1");
        let out = Command::new("groff").args(["-man", "-Tascii", "-ww"]).arg(page).output().unwrap();
        assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(ok(out).contains("optmsm"));
    }
}
