//! `optmsm bench` as a user meets it: the same numbers as by hand, resuming, peers, refusals.

use std::fs;

mod common;

use common::{Place, SYNTH, bad, code, good};
use serde_json::Value;

/// Three files of the built-in data.
fn place() -> Place {
    let place = Place::empty();
    let test = SYNTH.replace("valid = [\"valid.csv\"]", "valid = \"valid.csv\"\ntest = \"test.csv\"");
    place.write("data.toml", test);
    for (name, rows, seed) in
        [("train.csv", "1500", "1"), ("valid.csv", "500", "2"), ("test.csv", "500", "3")]
    {
        good(&place, &["synth", "--rows", rows, "--seed", seed, "--out", name]);
    }
    place
}

/// Two kinds, and two trials and two seeds where `more` does not say otherwise.
fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["bench", "data.toml", "--models", "dnn,shared_bottom", "--quiet"];
    for option in ["--trials", "--seeds"].iter().filter(|option| !more.contains(option)) {
        args.extend([*option, "2"]);
    }
    args.extend(more);
    args
}

fn run(place: &Place, more: &[&str]) -> std::process::Output {
    place.run(&small(more))
}

/// `bench.json` without the times.
fn numbers(place: &Place, folder: &str) -> Value {
    fn timeless(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.remove("seconds");
                map.values_mut().for_each(timeless);
            }
            Value::Array(list) => list.iter_mut().for_each(timeless),
            _ => {}
        }
    }
    let mut value = json(place, folder);
    timeless(&mut value);
    value
}

fn json(place: &Place, folder: &str) -> Value {
    serde_json::from_str(&place.text(&format!("{folder}/data/bench.json"))).unwrap()
}

fn standing<'a>(bench: &'a Value, name: &str) -> &'a Value {
    bench["standings"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap()
}

fn aucs(standing: &Value) -> Vec<f64> {
    let tests = standing["tests"].as_array().unwrap();
    tests.iter().map(|test| test["overall"]["auc"].as_f64().unwrap()).collect()
}

/// Trains a model with the settings that a benchmark chose; returns the line of its test rows.
fn by_hand(place: &Place, bench: &Value, name: &str, seed: u64, folder: &str) -> Value {
    let mut args = vec!["train".into(), "--config".into(), "data.toml".into(), "--quiet".into()];
    args.extend(["--run".into(), folder.to_string()]);
    let chosen = standing(bench, name)["model"]["chosen"]["settings"].as_object().unwrap();
    assert_eq!(chosen.len(), 5);
    let settings = chosen.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap()));
    for setting in settings.chain([format!("model.kind={name}"), format!("train.seed={seed}")]) {
        args.extend(["--set".into(), setting]);
    }
    good(place, &args.iter().map(String::as_str).collect::<Vec<_>>());
    let lines = place.text(&format!("{folder}/metrics.jsonl"));
    serde_json::from_str(lines.lines().find(|line| line.contains("\"split\":\"test\"")).unwrap()).unwrap()
}

#[test]
fn the_numbers_are_those_of_trainings_by_hand() {
    let place = place();
    let out = run(&place, &["--out", "b", "--jobs", "2"]);
    code(&out, 0);
    let printed = String::from_utf8(out.stdout).unwrap();
    assert!(printed.starts_with(&place.text("b/data/bench.md")), "{printed}");
    let bench = json(&place, "b");
    assert_eq!(bench["seeds"], serde_json::json!([1, 2]));
    for name in ["dnn", "shared_bottom"] {
        let of = standing(&bench, name);
        for (at, seed) in [(0, 1), (1, 2)] {
            let line = by_hand(&place, &bench, name, seed, &format!("{name}-{seed}"));
            assert_eq!(of["tests"][at]["overall"], line["overall"], "{name} {seed}");
            assert_eq!(of["tests"][at]["scenarios"], line["scenarios"], "{name} {seed}");
        }
        // The trial with the highest validation AUC of any evaluation, and its value.
        let trials = of["model"]["trials"].as_array().unwrap();
        let best = |trial: &Value| {
            let curve = trial["curve"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap());
            curve.fold(0.0, f64::max)
        };
        let values: Vec<f64> = trials.iter().map(best).collect();
        let chosen = &of["model"]["chosen"];
        let at = chosen["trial"].as_u64().unwrap() as usize;
        assert_eq!(chosen["value"].as_f64().unwrap(), values[at]);
        assert!(values.len() == 2 && values[at] >= values[1 - at], "{values:?}");
        // Mean, worst scenario and interval of two seeds: 12.706 is the tables' t for one degree.
        let [a, b] = aucs(of)[..] else { panic!("two seeds") };
        let auc = &of["auc"];
        assert!((auc["mean"].as_f64().unwrap() - (a + b) / 2.0).abs() < 1e-12);
        let half = 12.706 * (a - b).abs() / 2.0;
        assert!((auc["interval"][1].as_f64().unwrap() - (a + b) / 2.0 - half).abs() < 1e-4 * half);
        let by_scenario = |test: &Value| -> Vec<f64> {
            let scenarios = test["scenarios"].as_array().unwrap();
            scenarios.iter().filter_map(|s| s["auc"].as_f64()).collect()
        };
        let tests = of["tests"].as_array().unwrap();
        let worst = tests.iter().map(|t| by_scenario(t).into_iter().fold(1.0, f64::min)).sum::<f64>() / 2.0;
        assert!((of["scenario_worst"]["mean"].as_f64().unwrap() - worst).abs() < 1e-12);
        let mean = |test: &Value| by_scenario(test).iter().sum::<f64>() / by_scenario(test).len() as f64;
        let mean = tests.iter().map(mean).sum::<f64>() / 2.0;
        assert!((of["scenario_mean"]["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
    }
    // The better mean is first; p of Student's t with one degree is 1 − 2/π · atan |t|.
    let standings = bench["standings"].as_array().unwrap();
    let [best, other] = [aucs(&standings[0]), aucs(&standings[1])];
    assert!(best[0] + best[1] > other[0] + other[1]);
    let main = bench["differences"].as_array().unwrap().iter().find(|d| !d["holm_p"].is_null()).unwrap();
    let d = [other[0] - best[0], other[1] - best[1]];
    let t = (d[0] + d[1]) / (d[0] - d[1]).abs();
    let p = 1.0 - t.abs().atan() / std::f64::consts::FRAC_PI_2;
    assert!((main["t"]["p"].as_f64().unwrap() - p).abs() < 1e-9, "{main}");
    assert_eq!(main["holm_p"], main["t"]["p"]);
    // The page shows the same numbers. Parameters that were not chosen are gone.
    let page = place.text("b/data/bench.html");
    let (_, rest) = page.split_once("id=\"numbers\">").unwrap();
    assert_eq!(serde_json::from_str::<Value>(rest.split_once("</script>").unwrap().0).unwrap(), bench);
    assert!(page.contains("<circle") && !page.contains("NaN"));
    let trial = standing(&bench, "dnn")["model"]["chosen"]["trial"].as_u64().unwrap();
    let run =
        |trial: u64| place.path(&format!("b/data/dnn/trial-00{trial}/seed-1/checkpoints/best.safetensors"));
    assert!(run(trial).exists() && !run(trial).with_file_name("last.safetensors").exists());
    assert!(!place.path(&format!("b/data/dnn/trial-00{}", 1 - trial)).exists());
    assert!(!place.path(&format!("b/data/dnn/trial-00{trial}/search")).exists());
}

#[test]
fn a_resumed_benchmark_equals_an_uninterrupted_one() {
    let place = place();
    code(&run(&place, &["--out", "whole", "--jobs", "2"]), 0);
    let stopped = |more: &[&str], done: &str| {
        let stderr = code(&run(&place, &[&["--out", "parts"], more].concat()), 130);
        assert_eq!(
            stderr,
            format!("error: stopped; {done} runs of the benchmark are done; the same command continues it\n")
        );
    };
    // 24 steps per pass: stops in the middle of the second.
    stopped(&["--jobs", "2", "--max-steps", "30"], "0 of 8");
    stopped(&["--jobs", "1", "--max-steps", "30"], "0 of 8");
    // One trial and one seed of each; then the rest, a run's middle in between.
    code(&run(&place, &["--out", "parts", "--trials", "1", "--seeds", "1"]), 0);
    fs::remove_file(place.path("parts/data/dnn/trial-000.json")).unwrap();
    stopped(&["--jobs", "1", "--max-steps", "40"], "1 of 8");
    code(&run(&place, &["--out", "parts", "--jobs", "3"]), 0);
    assert_eq!(numbers(&place, "whole"), numbers(&place, "parts"));
    // Nothing is done twice, in any number of jobs.
    let wall =
        || fs::metadata(place.path("parts/data/shared_bottom/trial-001.json")).unwrap().modified().unwrap();
    let before = wall();
    let out = run(&place, &["--out", "parts", "--json"]);
    code(&out, 0);
    let printed: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&printed["benchmarks"][0], &printed["summary"]), (&json(&place, "parts"), &Value::Null));
    assert_eq!(before, wall());
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_all_runs_and_exits_130() {
    use std::process::{Command, Stdio};
    let place = place();
    let child = Command::new(env!("CARGO_BIN_EXE_optmsm"))
        .current_dir(place.path(""))
        .args(small(&["--out", "b", "--jobs", "2"]))
        .args(["--set", "train.epochs=100000", "--set", "train.patience=100000"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let last =
        |trial: u32| place.path(&format!("b/data/dnn/trial-00{trial}/search/checkpoints/last.safetensors"));
    while !(last(0).exists() && last(1).exists()) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let stderr = code(&child.wait_with_output().unwrap(), 130);
    assert!(
        stderr.contains("0 of 8 runs of the benchmark are done; the same command continues it"),
        "{stderr}"
    );
    assert!(last(0).exists() && last(1).exists());
    // Other settings are other work.
    let stderr = code(&run(&place, &["--out", "b"]), 2);
    assert!(stderr.contains("b/data: holds work of another configuration, data, or version"), "{stderr}");
}

/// A model of changed settings is trained anew once its folder is gone; the work of the others stays.
#[test]
fn a_change_of_one_model_leaves_the_others() {
    let place = place();
    code(&run(&place, &["--out", "b"]), 0);
    let before = numbers(&place, "b");
    let changed = |path: &str| fs::metadata(place.path(path)).unwrap().modified().unwrap();
    let noted = changed("b/data/shared_bottom/trial-000.json");
    // Neither kind reads it.
    code(&run(&place, &["--out", "b", "--set", "model.orthogonality=0.05"]), 0);
    let other = ["--out", "b", "--set", "model.dnn.scenario_dim=2"];
    let text = code(&run(&place, &other), 2);
    let wanted = "error: b/data/dnn/trial-000.json: is of other settings of the model than this benchmark's; \
                  delete b/data/dnn: dnn will be trained again\n";
    assert_eq!(text, wanted);
    fs::remove_dir_all(place.path("b/data/dnn")).unwrap();
    code(&run(&place, &other), 0);
    let after = numbers(&place, "b");
    assert_eq!(noted, changed("b/data/shared_bottom/trial-000.json"));
    let aucs_of = |name: &str| [&before, &after].map(|bench| aucs(standing(bench, name)));
    let [was, is] = aucs_of("shared_bottom");
    assert_eq!(was, is);
    let [was, is] = aucs_of("dnn");
    assert_ne!(was, is);
}

/// With the labels of the test rows turned around, trials and choice are the same, and each AUC is 1 less what it was.
#[test]
fn test_rows_choose_nothing() {
    let place = place();
    code(&run(&place, &["--out", "b"]), 0);
    let text = place.text("test.csv");
    let (header, rows) = text.split_once('\n').unwrap();
    let label = header.split(',').position(|name| name == "label").unwrap();
    let turned = rows.lines().map(|line| {
        let mut cells: Vec<&str> = line.split(',').collect();
        cells[label] = if cells[label] == "1" { "0" } else { "1" };
        cells.join(",") + "\n"
    });
    place.write("test.csv", format!("{header}\n{}", turned.collect::<String>()));
    code(&run(&place, &["--out", "c"]), 0);
    let [before, after] = [numbers(&place, "b"), numbers(&place, "c")];
    for name in ["dnn", "shared_bottom"] {
        let [was, is] = [&before, &after].map(|bench| standing(bench, name));
        assert_eq!(was["model"]["trials"], is["model"]["trials"]);
        assert_eq!(was["model"]["chosen"], is["model"]["chosen"]);
        for (was, is) in aucs(was).into_iter().zip(aucs(is)) {
            assert!((was + is - 1.0).abs() < 1e-12, "{was} {is}");
        }
    }
    // The order turned around, too.
    assert_eq!(before["standings"][0]["name"], after["standings"][1]["name"]);
}

#[test]
fn what_stops_one_contestant_is_noted() {
    let place = place();
    let absurd =
        ["--out", "b", "--set", "train.optimizer.lr=1e30", "--set", "model.shared_bottom.tower.dropout=2"];
    code(&run(&place, &absurd), 0);
    let bench = json(&place, "b");
    // Trial 0 is the configuration as it is, whose rate is absurd; trial 1 draws its own.
    let model = &standing(&bench, "dnn")["model"];
    assert_eq!((&model["trials"][0]["state"], &model["chosen"]["trial"]), (&"diverged".into(), &1.into()));
    assert!(model["trials"][0]["problem"].as_str().unwrap().contains("lower train.optimizer.lr"), "{model}");
    let left_out = &bench["left_out"][0];
    assert_eq!(
        (&left_out["name"], bench["standings"].as_array().unwrap().len()),
        (&"shared_bottom".into(), 1)
    );
    assert!(
        left_out["reason"].as_str().unwrap().contains("`model.shared_bottom.tower.dropout`"),
        "{left_out}"
    );
    assert!(place.text("b/data/bench.md").contains("Left out: **shared_bottom**. "));
    // With trial 0 alone nobody is left.
    let text = bad(&place, &small(&[&absurd[..], &["--trials", "1"]].concat()));
    assert!(text.contains("contestants: none came to a result: "), "{text}");
}

#[test]
fn peers_stand_beside_the_models() {
    let place = place();
    code(&run(&place, &["--out", "b"]), 0);
    let bench = json(&place, "b");
    fs::create_dir_all(place.path("peer/data")).unwrap();
    for seed in [1, 2] {
        let folder = format!("dnn-{seed}");
        by_hand(&place, &bench, "dnn", seed, &folder);
        let out = format!("peer/data/seed-{seed}.csv");
        good(&place, &["predict", &folder, "--data", "test.csv", "--out", &out]);
    }
    place.write("peer/data/peer.json", r#"{"trials": 7, "settings": {"leaves": 31}, "seconds": 0.5}"#);
    let peer = ["--out", "b", "--peer", "Other=peer"];
    code(&run(&place, &peer), 0);
    let bench = json(&place, "b");
    let [peer_of, dnn] = ["Other", "dnn"].map(|name| standing(&bench, name));
    assert_eq!(peer_of["peer"]["trials"], 7);
    // A CSV has enough digits for the same order of the rows, and the same probabilities.
    assert_eq!(peer_of["tests"][0]["overall"], dnn["tests"][0]["overall"]);
    assert_eq!(aucs(peer_of), aucs(dnn));
    assert!(place.text("b/data/bench.md").contains("after 7 trials. Chosen: `{\"leaves\":31}`."));
    // One row less, a value that is none, no file.
    let whole = place.text("peer/data/seed-2.csv");
    let refused = |message: &str| {
        let text = bad(&place, &small(&peer));
        assert!(text.starts_with("error: peer/data/seed-2.csv") && text.contains(message), "{text}");
    };
    place.write("peer/data/seed-2.csv", whole.trim_end().rsplit_once('\n').unwrap().0);
    refused("has 499 predictions, but there are 500 test rows; give one prediction for each test row");
    place.write("peer/data/seed-2.csv", "prediction\n0.5\n1.5\n");
    refused("row 2: '1.5' is no probability; ");
    place.write("peer/data/seed-2.csv", "score\n0.5\n");
    refused("has no column 'prediction'; ");
    fs::remove_file(place.path("peer/data/seed-2.csv")).unwrap();
    refused("cannot be opened: ");
}

#[test]
fn several_data_sets_have_a_summary() {
    let place = place();
    place.write("other.toml", place.text("data.toml").replace("epochs = 2", "epochs = 1"));
    let args =
        ["bench", "data.toml", "other.toml", "--models", "dnn,separate", "--trials", "1", "--seeds", "2"];
    good(&place, &[&args[..], &["--quiet", "--out", "b"]].concat());
    let summary: Value = serde_json::from_str(&place.text("b/summary.json")).unwrap();
    assert_eq!(summary["data"], serde_json::json!(["data", "other"]));
    let means = |data: &str, name: &str| {
        let bench: Value = serde_json::from_str(&place.text(&format!("b/{data}/bench.json"))).unwrap();
        let [a, b] = aucs(standing(&bench, name))[..] else { panic!("two seeds") };
        (a + b) / 2.0
    };
    for of in summary["contestants"].as_array().unwrap() {
        let name = of["name"].as_str().unwrap();
        let differences = ["data", "other"].map(|data| {
            let best = means(data, "dnn").max(means(data, "separate"));
            means(data, name) - best
        });
        for (place, difference) in of["places"].as_array().unwrap().iter().zip(differences) {
            assert!((place["difference"].as_f64().unwrap() - difference).abs() < 1e-12);
            assert_eq!(place["rank"], if difference == 0.0 { 1 } else { 2 });
        }
        let mean = (differences[0] + differences[1]) / 2.0;
        assert!((of["difference"].as_f64().unwrap() - mean).abs() < 1e-12);
    }
}

#[test]
fn ablations_are_contestants_and_do_not_search_what_they_fix() {
    let place = place();
    let args =
        ["bench", "data.toml", "--ablations", "--trials", "1", "--seeds", "1", "--quiet", "--out", "b"];
    good(&place, &args);
    let bench = json(&place, "b");
    let keys = |name: &str| standing(&bench, name)["model"]["space"].as_object().unwrap().len();
    assert_eq!([keys("optmsm"), keys("select"), keys("K = 4"), keys("instance")], [5, 5, 5, 5]);
    // With one trial the choice is the configuration as it is.
    let chosen = standing(&bench, "optmsm")["model"]["chosen"]["settings"].as_object().unwrap();
    assert!(chosen.values().all(|value| !value.as_str().unwrap().is_empty()), "{chosen:?}");
    // Four scenarios: as many experts as "K = 4" has are what the default has.
    assert_eq!(aucs(standing(&bench, "optmsm")), aucs(standing(&bench, "K = 4")));
    assert_ne!(aucs(standing(&bench, "optmsm")), aucs(standing(&bench, "without penalty")));
    // The default has a penalty of this weight, experts that end in a ReLU, and no dropout.
    let left_out = bench["left_out"].as_array().unwrap();
    let names: Vec<&str> = left_out.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["with penalty", "without dropout", "ReLU experts"]);
}

#[test]
fn wrong_arguments_are_refused() {
    let place = place();
    let refused = |more: &[&str], message: &str| {
        let text = bad(&place, &[&["bench", "data.toml"], more].concat());
        assert!(text.contains(message), "{text}");
    };
    refused(&["--models", "dnn,mmoo"], "--models: no kind is named 'mmoo'; did you mean 'mmoe'?");
    refused(&["--models", "dnn,dnn"], "--models: names dnn twice; name each kind once");
    refused(&["--peer", "dnn"], "--peer dnn: is no name with a folder; write LightGBM=some/folder");
    refused(&["--peer", "dnn=x"], "--peer dnn=x: has the name of another contestant; give it another");
    refused(&["data.toml"], "data.toml: has the name of another configuration");
    place.write("data.toml", place.text("data.toml").replace("test = \"test.csv\"", ""));
    refused(&[], "`data.test`: is missing; ");
}

/// The 95 % interval of a mean over five seeds: Student's t of four degrees of freedom.
fn interval(spread: &Value) -> [f64; 2] {
    assert_eq!(spread["n"], 5);
    let [mean, sd] = ["mean", "sd"].map(|key| spread[key].as_f64().unwrap());
    let half = 2.776 * sd / 5f64.sqrt();
    [mean - half, mean + half]
}

/// The table of `fixtures/bench/conflict.json`, which says how it was made, is made again with other seeds: the intervals
/// of all means overlap.
#[test]
fn a_small_table_is_remade_within_its_intervals() {
    let text = include_str!("fixtures/bench/conflict.json");
    let stored: Value = serde_json::from_str(text).unwrap();
    let place = Place::empty();
    good(&place, &["synth", "--world", "conflict", "--rows", "12000", "--dir", "data"]);
    let stored = stored["overall"].as_object().unwrap();
    assert!(stored.len() > 2);
    let names = stored.keys().cloned().collect::<Vec<_>>().join(",");
    let args = ["bench", "data/conflict.toml", "--models", &names, "--trials", "2", "--seeds", "5"];
    good(&place, &[&args[..], &["--set", "train.seed=1", "--out", "b", "--quiet"]].concat());
    let bench: Value = serde_json::from_str(&place.text("b/conflict/bench.json")).unwrap();
    for (name, stored) in stored {
        let found = &standing(&bench, name)["overall"];
        for metric in ["auc", "log_loss"] {
            let [before, now] = [stored, found].map(|of| interval(&of[metric]));
            assert!(before[0] <= now[1] && now[0] <= before[1], "{name}, {metric}: {before:?}, {now:?}");
        }
    }
}
