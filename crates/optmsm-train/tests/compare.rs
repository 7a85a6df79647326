//! `optmsm compare` as a user meets it: tables, resuming, refusals.

use std::fs;

mod common;

use common::{CONFIG, Place, code};

/// Another model of the same rows.
fn wide() -> String {
    split().replace("hidden = [8, 4]", "hidden = [12, 6]")
}

/// One file, split by user.
fn split() -> String {
    let split = "split = { valid = 0.2, test = 0.3, seed = 4, by = \"user\" }\ngroup = \"user\"";
    CONFIG.replace("valid = \"valid.csv\"", split)
}

/// 400 rows of 50 users, two configurations and a copy of the first. Labels follow the price, except for some noise.
fn place() -> Place {
    let place = Place::new(&split(), 1, 1);
    let mut text = "label,scenario,user,tags,price\n".to_string();
    for i in 0..400 {
        let (user, tags) = (i * 7 % 50, ["a|b", "", "c", "b|c|a"][i % 4]);
        let label = u8::from((user % 5 < 2) != (i * i % 11 < 2));
        text += &format!("{label},{},u{user},{tags},{}.5\n", ["home", "ads"][i % 2], user % 5);
    }
    place.write("train.csv", text);
    place.write("wide.toml", wide());
    place.write("copy.toml", split());
    place
}

fn json(place: &Place, name: &str) -> serde_json::Value {
    serde_json::from_str(&place.text(name)).unwrap()
}

/// `compare.md` without the times.
fn tables(place: &Place, out: &str) -> String {
    let text = place.text(&format!("{out}/compare.md"));
    let (before, cost) = text.split_once("## Cost").unwrap();
    before.to_string() + cost.split_once("## Made from").unwrap().1
}

#[test]
fn a_resumed_comparison_equals_an_uninterrupted_one() {
    let place = place();
    let with = |more: &[&str]| {
        let seeds: &[&str] = if more.contains(&"--seeds") { &[] } else { &["--seeds", "3"] };
        place.run(&[&["compare", "config.toml", "wide.toml", "--quiet"], seeds, more].concat())
    };
    let out = with(&["--out", "whole"]);
    code(&out, 0);
    let printed = String::from_utf8(out.stdout).unwrap();
    assert!(printed.starts_with(&place.text("whole/compare.md")), "{printed}");

    let stopped = |done: u32| {
        let stderr = code(&with(&["--out", "parts", "--max-steps", "20"]), 130);
        let of = format!("{done} of 6 runs of the comparison are done");
        assert_eq!(stderr, format!("error: stopped; {of}; the same command continues it\n"));
    };
    // In the middle of the first run's second pass, then a step later; then, after the runs of one seed, in the next.
    stopped(0);
    stopped(0);
    code(&with(&["--out", "parts", "--seeds", "1"]), 0);
    fs::remove_file(place.path("parts/compare.md")).unwrap();
    stopped(1);
    // As if killed before the first checkpoint.
    fs::remove_file(place.path("parts/config/seed-2/checkpoints/last.safetensors")).unwrap();
    stopped(1);
    assert!(!place.path("parts/compare.md").exists());
    let first = fs::metadata(place.path("parts/config/seed-1/result.json")).unwrap().modified().unwrap();
    code(&with(&["--out", "parts"]), 0);
    assert_eq!(tables(&place, "whole"), tables(&place, "parts"));
    for run in ["config/seed-1", "config/seed-3", "wide/seed-2"] {
        let best =
            |out: &str| fs::read(place.path(&format!("{out}/{run}/checkpoints/best.safetensors"))).unwrap();
        assert!(best("whole") == best("parts"), "{run}");
    }
    // Finished runs are not repeated.
    let out = with(&["--out", "parts", "--json"]);
    code(&out, 0);
    let mut document: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(document.as_object_mut().unwrap().remove("out"), Some("parts".into()));
    assert_eq!(document, json(&place, "parts/compare.json"));
    let again = fs::metadata(place.path("parts/config/seed-1/result.json")).unwrap().modified().unwrap();
    assert_eq!(first, again);
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_and_exits_130() {
    use std::process::{Command, Stdio};
    let place = place();
    let child = Command::new(env!("CARGO_BIN_EXE_optmsm"))
        .current_dir(place.path(""))
        .args(["compare", "config.toml", "--seeds", "2", "--out", "c", "--set", "train.epochs=100000"])
        .args(["--set", "train.patience=100000", "--set", "train.optimizer.lr=1e-5"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !place.path("c/config/seed-1/checkpoints/best.safetensors").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let stderr = code(&child.wait_with_output().unwrap(), 130);
    assert!(
        stderr.contains("0 of 2 runs of the comparison are done; the same command continues it"),
        "{stderr}"
    );
    assert!(place.path("c/config/seed-1/checkpoints/last.safetensors").exists());
}

#[test]
fn weights_that_no_metric_counts_are_no_difference() {
    let place = place();
    let config = place.text("config.toml");
    // Without data.weight there is nothing to leave out.
    place.write("copy.toml", config.replacen("[data]\n", "[data]\nweighted_metrics = false\n", 1));
    code(&place.run(&["compare", "config.toml", "copy.toml", "--quiet", "--out", "c"]), 0);
    // The price as a weight is one in one of them alone.
    let weighted = config.replacen("[data]\n", "[data]\nweight = \"price\"\n", 1);
    place.write("copy.toml", &weighted);
    let compare = ["compare", "config.toml", "copy.toml", "--quiet", "--out", "d"];
    let text = code(&place.run(&compare), 2);
    assert!(text.contains("copy.toml: data.weight is price, but not given in config.toml; "), "{text}");
}

#[test]
fn equal_configurations_differ_by_nothing() {
    let place = place();
    code(&place.run(&["compare", "config.toml", "copy.toml", "--quiet", "--out", "c"]), 0);
    let result = json(&place, "c/compare.json");
    let differences = result["differences"].as_array().unwrap();
    assert!(differences.len() > 4, "{result}");
    for d in differences {
        assert!(d["by_seed"].as_array().unwrap().iter().all(|v| v == 0.0) && d["t"].is_null(), "{d}");
    }
    let main: Vec<_> = differences.iter().filter(|d| !d["verdict"].is_null()).collect();
    assert_eq!(main.len(), 1);
    assert_eq!((&main[0]["verdict"], &main[0]["metric"]), (&"equal".into(), &"auc".into()));
    let text = place.text("c/compare.md");
    assert!(
        text.contains("- **copy**: equal: the same AUC with every seed.") && !text.contains("better"),
        "{text}"
    );
}

#[test]
fn the_json_says_what_it_was_made_from() {
    let place = place();
    let args = ["compare", "config.toml", "wide.toml", "--seeds", "2", "--quiet", "--out", "c"];
    code(&place.run(&[&args[..], &["--split-seed", "9", "--set", "train.seed=7"]].concat()), 0);
    let result = json(&place, "c/compare.json");
    assert_eq!(result["seeds"], serde_json::json!([7, 8]));
    assert_eq!(result["split"]["seed"], 9);
    assert_eq!(result["files"].as_array().unwrap().len(), 1);
    // The hash is the one that other programs compute; where there is none, its form is all that is checked.
    let hash = result["files"][0]["sha256"].as_str().unwrap();
    let sum = std::process::Command::new("sha256sum").arg(place.path("train.csv")).output();
    match sum.ok().filter(|o| o.status.success()) {
        Some(sum) => assert!(String::from_utf8_lossy(&sum.stdout).starts_with(hash)),
        None => assert_eq!(hash.len(), 64),
    }
    let main = result["differences"].as_array().unwrap().iter().find(|d| !d["verdict"].is_null()).unwrap();
    assert_eq!(main["verdict"], "too_few");
    let [config, wide] = &result["configurations"].as_array().unwrap()[..] else { panic!("two") };
    assert_ne!(config["sha256"], wide["sha256"]);
    assert!(config["parameters"].as_u64() < wide["parameters"].as_u64());
    // The metrics are those that `optmsm train` logs for the same seed.
    code(
        &place.run(&[
            "train",
            "--quiet",
            "--config",
            "wide.toml",
            "--run",
            "r",
            "--set",
            "train.seed=8",
            "--set",
            "data.split.seed=9",
        ]),
        0,
    );
    let lines = place.text("r/metrics.jsonl");
    let test: serde_json::Value =
        serde_json::from_str(lines.lines().find(|l| l.contains("\"split\":\"test\"")).unwrap()).unwrap();
    assert_eq!(wide["runs"][1]["test"]["overall"], test["overall"]);
    assert!(test["overall"]["gauc"].is_f64());
    // A mean of two by hand.
    let auc = |i: usize| wide["runs"][i]["test"]["overall"]["auc"].as_f64().unwrap();
    assert!((wide["overall"]["auc"]["mean"].as_f64().unwrap() - (auc(0) + auc(1)) / 2.0).abs() < 1e-15);
    let base = |i: usize| config["runs"][i]["test"]["overall"]["auc"].as_f64().unwrap();
    let above = |sum: f64| sum / 2.0 - 0.5;
    assert!(above(base(0) + base(1)) > 0.2, "the price was not learnt");
    let improved = above(auc(0) + auc(1)) / above(base(0) + base(1)) - 1.0;
    let mean = wide["overall"]["rela_impr"]["mean"].as_f64().unwrap();
    assert!((mean - improved).abs() < 1e-12);
    assert!(config["overall"]["rela_impr"].is_null());
    // So is the mean difference, from the predictions as from the metrics.
    let difference = (auc(0) - base(0) + auc(1) - base(1)) / 2.0;
    assert!((main["rows"]["difference"].as_f64().unwrap() - difference).abs() < 1e-12);
}

#[test]
fn other_rows_are_refused() {
    let place = place();
    let refused = |text: String, message: &str| {
        place.write("other.toml", text);
        let stderr = code(&place.run(&["compare", "config.toml", "other.toml", "--out", "c"]), 2);
        let fix = "compare configurations of the same rows, labels and scenarios";
        assert_eq!(
            stderr,
            format!("error: other.toml: {message}, but {fix}\n").replace(", but compare", "; compare")
        );
        assert!(!place.path("c").exists());
    };
    refused(
        split().replace("seed = 4", "seed = 5"),
        "data.split is { valid = 0.2, test = 0.3, seed = 5, by = \"user\" }, but { valid = 0.2, test = 0.3, seed = 4, \
         by = \"user\" } in config.toml",
    );
    refused(
        split().replace("group = \"user\"", "scenario = \"tags\"\ngroup = \"user\""),
        "data.scenario is tags, but scenario in config.toml",
    );
    refused(split().replace("group = \"user\"", ""), "data.group is not given, but user in config.toml");
    // The same path is the same file; so is a copy of it, but nothing else.
    place.write("same.csv", place.text("train.csv"));
    place.write("same.toml", split().replace("train.csv", "same.csv"));
    code(&place.run(&["compare", "config.toml", "same.toml", "--out", "d", "--seeds", "1", "--quiet"]), 0);
    // Files of each run do not depend on which configuration comes first.
    let swapped = ["compare", "same.toml", "config.toml", "--out", "d", "--seeds", "1"];
    let stderr = code(&place.run(&swapped), 0);
    assert!(!stderr.contains("seed 1 (run"), "{stderr}");
    place.write("other.toml", split().replace("train.csv", "valid.csv"));
    let stderr = code(&place.run(&["compare", "config.toml", "other.toml", "--out", "c"]), 2);
    assert!(stderr.starts_with("error: other.toml: data.train is valid.csv (SHA-256 "), "{stderr}");
    assert!(
        stderr.contains("…), but train.csv (SHA-256 ") && stderr.contains("…) in config.toml; compare"),
        "{stderr}"
    );
}

/// Names of folders are columns: the same bytes below other names are other rows.
#[test]
fn folders_of_other_names_are_other_rows() {
    let place = place();
    let text = place.text("train.csv");
    for (scenario, folder) in
        [("home", "a/scenario=home"), ("ads", "a/scenario=ads"), ("ads", "b/scenario=search")]
    {
        fs::create_dir_all(place.path(folder)).unwrap();
        let of = text.lines().filter(|l| l.contains(&format!(",{scenario},")));
        let rows: String = of.map(|l| l.replace(&format!("{scenario},"), "") + "\n").collect();
        place.write(&format!("{folder}/p.csv"), format!("label,user,tags,price\n{rows}"));
    }
    fs::create_dir_all(place.path("b/scenario=news")).unwrap();
    fs::copy(place.path("a/scenario=home/p.csv"), place.path("b/scenario=news/p.csv")).unwrap();
    // In the order of their names: ads, home; news (a copy of home), search (a copy of ads).
    let of = |paths: &str| split().replace("train = \"train.csv\"", &format!("train = {paths}"));
    place.write("config.toml", of("\"a\""));
    place.write("other.toml", of("[\"b/scenario=search\", \"b/scenario=news\"]"));
    let stderr = code(&place.run(&["compare", "config.toml", "other.toml", "--out", "c"]), 2);
    let problem = "its training rows are of other scenarios than those of config.toml";
    let fix = "compare configurations of the same rows, labels and scenarios";
    assert_eq!(stderr, format!("error: other.toml: {problem}; {fix}\n"));

    let args = ["compare", "config.toml", "--seeds", "1", "--quiet", "--out", "c"];
    code(&place.run(&args), 0);
    fs::rename(place.path("a/scenario=home"), place.path("a/scenario=page")).unwrap();
    let stderr = code(&place.run(&args), 2);
    assert!(stderr.contains("holds work of another configuration, data, or version"), "{stderr}");
}

#[test]
fn what_is_missing_is_named() {
    let place = Place::new(CONFIG, 100, 9);
    let stderr = code(&place.run(&["compare", "config.toml", "--out", "c"]), 2);
    let fix =
        "give the path of a file or folder, or split data.train by data.split = { valid = 0.1, test = 0.1 }";
    assert_eq!(stderr, format!("error: config `data.test`: is missing; {fix}\n"));
    let stderr = code(&place.run(&["compare", "config.toml", "--split-seed", "2", "--out", "c"]), 2);
    let fix = "add data.split = { valid = 0.1, test = 0.1 }";
    assert_eq!(stderr, format!("error: config.toml: has no data.split for --split-seed; {fix}\n"));
    assert!(!place.path("c").exists());
    assert_eq!(place.run(&["compare"]).status.code(), Some(2));
    assert_eq!(place.run(&["compare", "config.toml", "--seeds", "0"]).status.code(), Some(2));
}

#[test]
fn a_folder_of_other_work_is_refused() {
    let place = place();
    let args = ["compare", "config.toml", "--seeds", "1", "--quiet", "--out", "c"];
    code(&place.run(&args), 0);
    let stderr = code(&place.run(&[&args[..], &["--set", "train.epochs=2"]].concat()), 2);
    let problem = "holds work of another configuration, data, or version of this program";
    let fix = "choose another folder with --out, or delete it";
    assert_eq!(stderr, format!("error: c/config/seed-1: {problem}; {fix}\n"));
    // Results do not depend on threads, so a comparison may go on with others.
    code(&place.run(&[&args[..], &["--set", "train.threads=2"]].concat()), 0);
    place.write("c/config/seed-1/test.f32", [0; 8]);
    let stderr = code(&place.run(&args), 2);
    assert!(
        stderr.starts_with(
            "error: c/config/seed-1/test.f32: is damaged: it does not match its checksum in result.json"
        ),
        "{stderr}"
    );
}
