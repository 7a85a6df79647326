//! `optmsm tune` as a user meets it: the table, resuming, refusals.

mod common;

use common::{CONFIG, Place, code};
use optmsm_train::run::Run;

const SPACE: &str = r#"
[tune]
trials = 9
seed = 3
"train.optimizer.lr" = { log = [1e-5, 1e-1] }
"model.experts.dropout" = { uniform = [0, 0.5] }
"model.tower.hidden" = { choices = [[4], [6, 3]] }
"model.hyper.rank" = { int = [1, 5] }
"#;

/// The test file is not there: a search does not read it.
fn place() -> Place {
    let config = CONFIG.replace("valid = \"valid.csv\"", "valid = \"valid.csv\"\ntest = \"nowhere.csv\"");
    Place::new(&(config + SPACE), 200, 20)
}

/// `trials.jsonl` without the times, and the checksums that follow from them.
fn trials(place: &Place, out: &str) -> Vec<serde_json::Value> {
    let text = place.text(&format!("{out}/trials.jsonl"));
    let line = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        let object = value.as_object_mut().unwrap();
        object.retain(|key, _| !["seconds", "crc32"].contains(&key.as_str()));
        value
    };
    text.lines().map(line).collect()
}

#[test]
fn a_resumed_search_equals_an_uninterrupted_one() {
    let place = place();
    let with = |more: &[&str]| place.run(&[&["tune", "config.toml", "--quiet"], more].concat());
    let out = with(&["--out", "whole"]);
    code(&out, 0);
    let whole = trials(&place, "whole");
    assert_eq!(whole.len(), 9);
    let printed = String::from_utf8(out.stdout).unwrap();
    assert!(printed.starts_with(&place.text("whole/trials.md")), "{printed}");
    assert!(printed.ends_with("best configuration: whole/best.toml\n"), "{printed}");

    // 13 steps per pass: stops in the middle of the second, twice, then goes on trial by trial.
    for _ in 0..2 {
        let stderr = code(&with(&["--out", "parts", "--max-steps", "20"]), 130);
        let wanted = "error: stopped; 0 of 9 runs of the search are done; the same command continues it\n";
        assert_eq!(stderr, wanted);
    }
    code(&with(&["--out", "parts", "--trials", "1"]), 0);
    code(&with(&["--out", "parts", "--max-steps", "20"]), 130);
    code(&with(&["--out", "parts", "--trials", "7", "--set", "train.threads=2"]), 0);
    code(&with(&["--out", "parts"]), 0);
    assert_eq!(whole, trials(&place, "parts"));
    assert_eq!(place.text("whole/best.toml"), place.text("parts/best.toml"));
    // Fewer trials than are done: nothing is lost.
    let out = with(&["--out", "parts", "--trials", "2", "--json"]);
    code(&out, 0);
    let document: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((document["out"].as_str(), document["monitor"].as_str()), (Some("parts"), Some("auc")));
    let lines = place.text("parts/trials.jsonl");
    let line = |line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("crc32");
        line
    };
    assert_eq!(document["trials"], lines.lines().map(line).collect::<serde_json::Value>());
    // The first line of the table is the best trial's.
    let table = place.text("parts/trials.md");
    let best: Vec<&str> = table.lines().nth(2).unwrap().split('|').map(str::trim).collect();
    let of = |key: &str| document["best"][key].clone();
    assert_eq!(of("trial").to_string(), best[1]);
    assert_eq!(format!("{:.4}", of("value").as_f64().unwrap()), best[6]);
    assert_eq!(of("evaluation").to_string(), best[7]);
    assert_eq!(whole, trials(&place, "parts"));
}

#[test]
fn the_best_trial_is_the_one_with_the_best_validation_value() {
    let place = place();
    code(&place.run(&["tune", "config.toml", "--quiet", "--out", "t", "--set", "train.monitor=log_loss"]), 0);
    let trials = trials(&place, "t");
    assert!(trials[0]["values"].as_array().unwrap().is_empty());
    let best = |t: &serde_json::Value| {
        let curve = t["curve"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
        let usable = t["state"] == "finished" || t["state"] == "stopped";
        if usable { curve.fold(f64::NEG_INFINITY, f64::max) } else { f64::NEG_INFINITY }
    };
    let winner = trials.iter().max_by(|a, b| best(a).total_cmp(&best(b))).unwrap();
    // Training best.toml gives that value.
    let run = ["train", "--quiet", "--config", "t/best.toml", "--run", "r", "--set", "data.test=valid.csv"];
    code(&place.run(&run), 0);
    let lines = place.text("r/metrics.jsonl");
    let losses = lines.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let losses = losses.filter(|l| l["split"] == "valid").map(|l| l["overall"]["log_loss"].as_f64().unwrap());
    assert_eq!(-losses.fold(f64::INFINITY, f64::min), best(winner));
    assert!(!place.text("t/best.toml").contains("tune"));
}

/// The rule of docs/compare.md, applied to the curves that the search wrote.
#[test]
fn trials_are_stopped_by_the_median_rule_and_by_nothing_else() {
    let place = place();
    code(&place.run(&["tune", "config.toml", "--quiet", "--out", "t", "--trials", "14"]), 0);
    let trials = trials(&place, "t");
    let curve = |t: &serde_json::Value| -> Vec<f64> {
        t["curve"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    let best =
        |curve: &[f64], passes: usize| curve.iter().take(passes).copied().fold(f64::NEG_INFINITY, f64::max);
    let mut stopped = 0;
    for (i, trial) in trials.iter().enumerate().filter(|(_, t)| t["state"] != "refused") {
        let (own, earlier) = (curve(trial), trials[..i].iter().map(curve).filter(|c| !c.is_empty()));
        let earlier: Vec<Vec<f64>> = earlier.collect();
        // The configuration trains three passes.
        let ends = (1..3).find(|&passes| {
            let mut then: Vec<f64> = earlier.iter().map(|c| best(c, passes)).collect();
            then.sort_by(f64::total_cmp);
            let n = then.len();
            n >= 4 && best(&own, passes) < (then[(n - 1) / 2] + then[n / 2]) / 2.0
        });
        assert_eq!((trial["state"] == "stopped", own.len()), (ends.is_some(), ends.unwrap_or(3)), "{trial}");
        stopped += u32::from(ends.is_some());
    }
    assert!(stopped > 0, "{trials:?}");
    code(&place.run(&["tune", "config.toml", "--quiet", "--out", "n", "--set", "tune.stop=none"]), 0);
    assert!(!place.text("n/trials.jsonl").contains("\"stopped\""));
}

/// A rank above every width, and a rate that ends in numbers that are none: the search goes on.
#[test]
fn trials_that_cannot_be_are_noted() {
    let place = place();
    let text = CONFIG.to_string()
        + "[tune]\ntrials = 12\n\"model.hyper.rank\" = { choices = [2, 9] }\n\
           \"train.optimizer\" = { choices = [{ rule = \"sgd\", lr = 1e30 }, { rule = \"adam\", lr = 1e-3 }] }\n";
    place.write("config.toml", text);
    code(&place.run(&["tune", "config.toml", "--quiet", "--out", "t"]), 0);
    let trials = trials(&place, "t");
    let of = |state: &str| trials.iter().filter(|t| t["state"] == state).collect::<Vec<_>>();
    let (refused, diverged) = (of("refused"), of("diverged"));
    assert!(!refused.is_empty() && !diverged.is_empty(), "{trials:?}");
    for t in refused {
        assert!(t["problem"].as_str().unwrap().contains("config `model.hyper.rank`: 9 is larger"), "{t}");
        assert!(t["values"].to_string().contains("9"));
    }
    for t in diverged {
        assert!(t["problem"].as_str().unwrap().contains("the last finite loss was"), "{t}");
    }
    assert!(place.text("t/trials.md").contains("| diverged |"));
}

/// Without a table the decay of embedding tables and the learning rate are searched; tables that have no rate of their own
/// follow that of the dense parameters.
#[test]
fn a_search_needs_no_table() {
    for more in ["", "\n[train.embedding_optimizer]\nweight_decay = 0.5\nlr = 0.01\n"] {
        let place = place();
        place.write("config.toml", format!("{CONFIG}{more}"));
        code(&place.run(&["tune", "config.toml", "--trials", "3", "--quiet", "--out", "t"]), 0);
        let mut seen = Vec::new();
        for number in 1..3 {
            let train = Run::open(&place.path(&format!("t/trial-{number:03}"))).unwrap().config.train;
            let (dense, tables) = (train.optimizer, train.embedding_optimizer.unwrap());
            assert!((1e-4..=3e-2).contains(&tables.weight_decay) && (3e-4..=1e-2).contains(&dense.lr));
            assert_eq!((tables.lr, dense.weight_decay), (dense.lr, 0.0));
            seen.extend([tables.weight_decay, dense.lr]);
        }
        assert!(seen[0] != seen[2] && seen[1] != seen[3], "{seen:?}");
    }
}

#[test]
fn a_bad_search_is_refused() {
    let place = place();
    let refused = |more: &[&str], message: &str| {
        let stderr = code(&place.run(&[&["tune", "config.toml", "--out", "t"], more].concat()), 2);
        assert_eq!(stderr, format!("error: {message}\n"));
        assert!(!place.path("t").exists());
    };
    refused(&["--set", "tune.trails=3"], "config `tune.trails`: is no range; did you mean 'trials'?");
    refused(
        &["--set", "tune.train.batchsize={ int = [1, 2] }"],
        "config `tune.\"train.batchsize\"`: unknown key 'batchsize'; did you mean 'batch_size'?",
    );
    refused(
        &["--set", "tune.train.epochs={ int = [3, 3] }"],
        "config `tune.\"train.epochs\"`: the range from 3 to 3 is empty; give the lower end first",
    );
    place.write("config.toml", CONFIG.replace("valid = \"valid.csv\"", "") + SPACE);
    let fix =
        "give the path of a file or folder, or split data.train by data.split = { valid = 0.1, test = 0.1 }";
    refused(&[], &format!("config `data.valid`: is missing; {fix}"));
}

#[test]
fn a_folder_of_another_search_is_refused() {
    let place = place();
    let args = ["tune", "config.toml", "--quiet", "--out", "t", "--trials", "2"];
    code(&place.run(&args), 0);
    let problem = "holds work of another configuration, data, or version of this program";
    let fix = "choose another folder with --out, or delete it";
    for other in
        [["--seed", "8"], ["--set", "train.epochs=2"], ["--set", "tune.train.epochs={ int = [1, 2] }"]]
    {
        let stderr = code(&place.run(&[&args[..], &other].concat()), 2);
        assert_eq!(stderr, format!("error: t: {problem}; {fix}\n"));
    }
    let lines = place.text("t/trials.jsonl");
    place.write("t/trials.jsonl", &lines[..lines.len() - 9]);
    let stderr = code(&place.run(&args), 2);
    assert!(stderr.starts_with("error: t/trials.jsonl line 2: does not match its checksum"), "{stderr}");
}

/// A split file: the test rows are neither read nor scored.
#[test]
fn test_rows_of_a_split_file_are_not_read() {
    let split = "split = { valid = 0.3, test = 0.3, seed = 4, by = \"user\" }";
    let place = Place::new(&(CONFIG.replace("valid = \"valid.csv\"", split) + SPACE), 200, 20);
    let args = ["tune", "config.toml", "--quiet", "--trials", "3", "--out"];
    code(&place.run(&[&args[..], &["t"]].concat()), 0);
    for trial in ["0", "1"] {
        assert!(!place.text(&format!("t/trial-00{trial}/metrics.jsonl")).contains("\"test\""));
    }
}
