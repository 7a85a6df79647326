//! Changes when a run is continued: settings, files, folders.

mod common;

use common::{CONFIG, Place, code};
use optmsm_core::optim::Rule;
use optmsm_train::config::Config;
use optmsm_train::run::Run;

const TRAIN: [&str; 5] = ["train", "--config", "config.toml", "--run", "r"];
const RESUME: [&str; 4] = ["train", "--resume", "--run", "r"];

/// A run of one pass in `r`, with the test rows of the validation.
fn begun() -> Place {
    let place = Place::new(&CONFIG.replace("[data]", "[data]\ntest = \"test.csv\""), 64, 9);
    place.write("test.csv", place.text("valid.csv"));
    code(&place.run(&[&TRAIN[..], &["--set", "train.epochs=1"]].concat()), 0);
    place
}

fn config(place: &Place) -> Config {
    Run::open(&place.path("r")).unwrap().config
}

/// Lines of standard error that say what changed.
fn changes(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.contains(" → ")).collect()
}

#[test]
fn what_is_set_on_resume_is_kept_and_said() {
    let place = begun();
    let sets =
        ["train.epochs=2", "train.optimizer.lr=0.05", "train.threads=1", "data.fields.user.oov_dropout=0.25"];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let stderr = code(&place.run(&[&RESUME[..], &sets, &["--quiet"]].concat()), 0);
    let wanted = [
        "data.fields.user.oov_dropout: not set → 0.25",
        "train.epochs: 1 → 2",
        "train.optimizer.lr: 0.01 → 0.05",
        "train.threads: not set → 1",
    ];
    assert_eq!(changes(&stderr), wanted);
    let kept = config(&place);
    assert_eq!((kept.train.epochs, kept.train.optimizer.lr, kept.train.threads), (2, 0.05, Some(1)));
    assert_eq!((kept.train.optimizer.rule, kept.data.fields[0].oov_dropout), (Rule::Adam, 0.25));
    // Once more: nothing to say, and nothing goes back.
    let stderr = code(&place.run(&RESUME), 0);
    assert_eq!(changes(&stderr), [""; 0]);
    assert_eq!(config(&place), kept);
    let stderr = code(&place.run(&[&RESUME[..], &["--set", "train.epochs=3"]].concat()), 0);
    assert_eq!(changes(&stderr), ["train.epochs: 2 → 3"]);
    assert_eq!(config(&place).train.optimizer.lr, 0.05);
}

#[test]
fn settings_that_made_the_model_or_the_schema_are_refused_by_name() {
    let place = begun();
    let before = place.bytes("r/config.toml");
    let cases = [
        ("model.embedding_dim=8", "model.embedding_dim"),
        ("model.experts.dropout=0.5", "model.experts.dropout"),
        ("data.fields.price.transform=log1p", "data.fields.price.transform"),
        ("data.fields.user.min_frequency=2", "data.fields.user.min_frequency"),
        ("data.label=scenario2", "data.label"),
        ("data.delimiter=\";\"", "data.delimiter"),
        ("data.negative_rate=0.5", "data.negative_rate"),
        ("data.fields=[{ name = \"user\" }]", "data.fields"),
    ];
    for (set, key) in cases {
        let stderr = code(&place.run(&[&RESUME[..], &["--set", set]].concat()), 2);
        assert!(
            stderr.contains(&format!("--set {set}, `{key}`")) && stderr.contains("begin a new run"),
            "{stderr}"
        );
        assert_eq!(place.bytes("r/config.toml"), before, "{set}");
    }
}

/// Without a column of weights every row counts once in metrics, whether that is asked for or not.
#[test]
fn counting_every_row_once_is_no_change_where_rows_have_no_weights() {
    let place = begun();
    let resume = [&RESUME[..], &["--set", "data.weighted_metrics=false"]].concat();
    let stderr = code(&place.run(&resume), 0);
    assert_eq!(changes(&stderr), ["data.weighted_metrics: not set → false"]);

    let place = Place::new(&CONFIG.replace("[data]", "[data]\nweight = \"price\""), 64, 9);
    code(&place.run(&[&TRAIN[..], &["--set", "train.epochs=1"]].concat()), 0);
    let stderr = code(&place.run(&resume), 2);
    assert!(stderr.contains("`data.weighted_metrics`") && stderr.contains("another metric"), "{stderr}");
}

/// 64 rows are four batches of 16, and later one of 64; at this rate nothing gets better than it was after three of the four.
#[test]
fn the_best_parameters_stay_where_they_were_found_when_batches_get_another_size() {
    let place = Place::new(CONFIG, 64, 9);
    let set = ["train.evaluate_every={ steps = 3 }", "train.optimizer.lr=1e-30", "train.epochs=1"];
    let set: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
    code(&place.run(&[&TRAIN[..], &set].concat()), 0);
    let best = || -> serde_json::Value {
        let out = place.run(&["inspect", "r", "--json"]);
        serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()["best"].clone()
    };
    assert_eq!(best(), serde_json::json!({ "step": 3, "epoch": 0.75 }));
    code(
        &place.run(&[&RESUME[..], &["--set", "train.batch_size=64", "--set", "train.epochs=3"]].concat()),
        0,
    );
    assert_eq!(best(), serde_json::json!({ "step": 3, "epoch": 0.75 }));
}

#[test]
fn edits_by_hand_are_settings_like_any_other() {
    let place = begun();
    let written = place.text("r/config.toml");
    let edit = |from: &str, to: &str| {
        assert!(written.contains(from), "{written}");
        place.write("r/config.toml", written.replacen(from, to, 1));
    };
    // Settings that made the model or the schema are refused as they are on the command line.
    let fixed = [
        ("embedding_dim = 5", "embedding_dim = 8", "model.embedding_dim"),
        ("min_frequency = 1", "min_frequency = 2", "data.fields.user.min_frequency"),
        ("unseen_scenario = \"error\"", "unseen_scenario = \"oov\"", "data.unseen_scenario"),
        ("name = \"user\"", "name = \"client\"", "data.fields"),
    ];
    for (from, to, key) in fixed {
        edit(from, to);
        let stderr = code(&place.run(&RESUME), 2);
        assert!(
            stderr.contains(&format!("`{key}`")) && stderr.contains("when the run began"),
            "{key}: {stderr}"
        );
    }
    // Other edits are warned of once, and are settings of the run from then on.
    edit("epochs = 1", "epochs = 2");
    let warned = "train.epochs is 2, but was 1";
    assert_eq!(code(&place.run(&RESUME), 0).matches(warned).count(), 1);
    assert_eq!(config(&place).train.epochs, 2);
    let stderr = code(&place.run(&["inspect", "r"]), 0);
    assert!(!stderr.contains("train.epochs"), "{stderr}");
}

#[test]
fn rows_that_changed_are_refused_until_somebody_insists() {
    let flip = |text: &str| {
        let flipped = |line: &str| match line.split_at(1) {
            ("0", rest) => format!("1{rest}\n"),
            ("1", rest) => format!("0{rest}\n"),
            _ => format!("{line}\n"),
        };
        text.lines().map(flipped).collect::<String>()
    };
    let last_first = |text: &str| {
        let (header, rows) = text.split_once('\n').unwrap();
        let mut rows: Vec<&str> = rows.lines().collect();
        rows.reverse();
        format!("{header}\n{}\n", rows.join("\n"))
    };
    let one_value = |text: &str| text.replacen(",4.5", ",4.25", 1);
    type Way<'a> = (&'a str, &'a dyn Fn(&str) -> String);
    let ways: [Way; 4] = [
        ("train.csv", &flip),
        ("train.csv", &last_first),
        ("train.csv", &one_value),
        ("valid.csv", &one_value),
    ];
    for (file, change) in ways {
        let place = begun();
        let (record, settings) = (place.bytes("r/data.json"), place.bytes("r/config.toml"));
        let changed = change(&place.text(file));
        assert_ne!(changed, place.text(file));
        place.write(file, changed);
        let resume = [&RESUME[..], &["--set", "train.epochs=2"]].concat();
        let stderr = code(&place.run(&resume), 2);
        assert!(
            stderr.contains(&format!("{file} (data.")) && stderr.contains("--allow-changed-data"),
            "{stderr}"
        );
        assert_eq!((place.bytes("r/data.json"), place.bytes("r/config.toml")), (record, settings));
        let stderr = code(&place.run(&[&resume[..], &["--allow-changed-data"]].concat()), 0);
        assert!(stderr.contains("has other content than when the run began"), "{stderr}");
        let stderr = code(&place.run(&RESUME), 0);
        assert!(!stderr.contains("content"), "{stderr}");
    }
    // Never with another number of rows.
    let place = begun();
    place.write("train.csv", place.text("train.csv") + "1,home,u1,a,1.5\n");
    let stderr = code(&place.run(&[&RESUME[..], &["--allow-changed-data"]].concat()), 2);
    assert!(stderr.contains("has 65 rows, but had 64 when the run began"), "{stderr}");
}

#[test]
fn test_rows_may_change_and_equal_files_may_move() {
    let place = begun();
    place.write("test.csv", place.text("test.csv").replacen(",4.5", ",4.25", 1));
    let stderr = code(&place.run(&RESUME), 0);
    assert!(stderr.contains("test.csv (data.test): has other content"), "{stderr}");
    assert!(!code(&place.run(&RESUME), 0).contains("content"));
    // Written again with the same rows. Moved, and given by the new path.
    place.write("train.csv", place.text("train.csv"));
    std::fs::create_dir(place.path("there")).unwrap();
    std::fs::rename(place.path("valid.csv"), place.path("there/other name.csv")).unwrap();
    let stderr = code(&place.run(&RESUME), 2);
    assert!(stderr.contains("valid.csv: no such file") && stderr.contains("--set data"), "{stderr}");
    let moved = ["--set", "data.valid=there/other name.csv"];
    let stderr = code(&place.run(&[&RESUME[..], &moved].concat()), 0);
    assert!(!stderr.contains("content") && changes(&stderr).len() == 1, "{stderr}");
    code(&place.run(&RESUME), 0);
}

#[test]
fn another_split_is_other_data() {
    let place =
        Place::new(&CONFIG.replace("valid = \"valid.csv\"", "split = { valid = 0.4, test = 0 }"), 64, 9);
    code(&place.run(&[&TRAIN[..], &["--set", "train.epochs=1"]].concat()), 0);
    let stderr = code(&place.run(&[&RESUME[..], &["--set", "data.split.seed=2"]].concat()), 2);
    assert!(stderr.contains("data.split") && stderr.contains("when the run began"), "{stderr}");
    code(&place.run(&[&RESUME[..], &["--set", "train.epochs=2"]].concat()), 0);
}

#[test]
fn a_run_without_a_record_says_so_once_and_a_damaged_one_is_refused() {
    let place = begun();
    std::fs::remove_file(place.path("r/data.json")).unwrap();
    let missing = "does not say what its data was";
    assert!(code(&place.run(&RESUME), 0).contains(missing));
    assert!(!code(&place.run(&RESUME), 0).contains(missing));
    let whole = place.text("r/data.json");
    for damaged in [&whole[..whole.len() / 2], "{}", &whole.replace("\"format\": 1", "\"format\": 9"), ""] {
        place.write("r/data.json", damaged);
        for command in [&RESUME[..], &["predict", "r", "--data", "valid.csv", "--out", "p.csv"]] {
            let stderr = code(&place.run(command), 2);
            assert!(stderr.contains("data.json"), "{stderr}");
        }
    }
}

#[test]
fn another_monitor_goes_on_from_the_best_that_there_is() {
    let place = begun();
    let line = |split: &str, step: u64| {
        let text = place.text("r/metrics.jsonl");
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.into_iter().find(|line| line["split"] == split && line["step"] == step).unwrap()
    };
    let best = || Run::open(&place.path("r")).unwrap().checkpoint("best").unwrap().position;
    let first = best();
    assert_eq!(first.best, line("valid", 4)["overall"]["auc"].as_f64());
    let set = ["--set", "train.monitor=log_loss", "--set", "train.epochs=6"];
    code(&place.run(&[&RESUME[..], &set].concat()), 0);
    // Of all passes, in which the rows of 64 are 4 steps.
    let losses =
        (1..=6).map(|pass| (line("valid", 4 * pass)["overall"]["log_loss"].as_f64().unwrap(), 4 * pass));
    let (loss, step) = losses.reduce(|a, b| if b.0 < a.0 { b } else { a }).unwrap();
    assert_eq!((best().best, best().best_step), (Some(-loss), step));
    assert_eq!(config(&place).train.monitor.to_string(), "log_loss");
}

#[test]
fn a_run_works_from_any_folder_and_after_a_move() {
    let place = begun();
    for folder in ["else/where", "p"] {
        std::fs::create_dir_all(place.path(folder)).unwrap();
    }
    let works = |from: &str, run: &str, data: &str, epochs: u64| {
        let epochs = format!("train.epochs={epochs}");
        code(&place.run_in(from, &["report", run, "--out", "page.html"]), 0);
        code(&place.run_in(from, &["evaluate", run, "--data", data]), 0);
        code(&place.run_in(from, &["inspect", run]), 0);
        code(&place.run_in(from, &["predict", run, "--data", data, "--out", "p.csv"]), 0);
        code(&place.run_in(from, &["train", "--resume", "--run", run, "--set", &epochs]), 0);
    };
    works("else/where", "../../r", "../../valid.csv", 2);
    // The run alone.
    std::fs::rename(place.path("r"), place.path("else/r")).unwrap();
    works("else/where", "../r", "../../valid.csv", 3);
    works("", "else/r", "valid.csv", 4);
    // The run with its data.
    std::fs::rename(place.path("else/r"), place.path("p/r")).unwrap();
    works("", "p/r", "valid.csv", 5);
    for file in ["train.csv", "valid.csv", "test.csv"] {
        std::fs::rename(place.path(file), place.path("p").join(file)).unwrap();
    }
    let stderr = code(&place.run(&["train", "--resume", "--run", "p/r"]), 2);
    let path = place.path("train.csv");
    assert!(stderr.contains(path.to_str().unwrap()) && stderr.contains("--set data_dir="), "{stderr}");
    let stderr = code(&place.run(&["report", "p/r", "--out", "page.html"]), 2);
    assert!(stderr.contains("valid.csv: no such file") && stderr.contains("--data"), "{stderr}");
    let anew = [
        "--set",
        "data.train=train.csv",
        "--set",
        "data.valid=valid.csv",
        "--set",
        "data.test=../p/test.csv",
    ];
    let kept = place.bytes("p/r/config.toml");
    code(&place.run_in("p", &[&["train", "--resume", "--run", "r"], &anew[..]].concat()), 0);
    code(&place.run(&["train", "--resume", "--run", "p/r"]), 0);
    place.write("p/r/config.toml", kept);
    code(&place.run(&["train", "--resume", "--run", "p/r", "--set", "data_dir=p"]), 0);
    std::fs::rename(place.path("p"), place.path("q")).unwrap();
    works("else", "../q/r", "../q/valid.csv", 6);
}

#[test]
fn built_in_data_moves_with_its_run() {
    let place = Place::empty();
    let small = ["--set", "train.epochs=1", "--set", "model.embedding_dim=2", "-q"];
    code(&place.run(&[&["train", "--rows", "600", "--run", "a/r"], &small[..]].concat()), 0);
    std::fs::rename(place.path("a"), place.path("b")).unwrap();
    code(&place.run_in("b", &["report", "r", "--out", "page.html"]), 0);
    code(&place.run_in("b/r", &["train", "--resume", "--run", "."]), 0);
}

#[test]
fn comparisons_and_searches_go_on_from_another_folder() {
    let tune = "\n[tune]\ntrials = 2\n\"train.optimizer.lr\" = { log = [1e-3, 1e-2] }\n";
    let config = CONFIG.replace("[data]", "[data]\ntest = \"test.csv\"").replace("epochs = 3", "epochs = 1");
    let place = Place::new(&(config + tune), 64, 9);
    place.write("test.csv", place.text("valid.csv"));
    let compare = |from: &str, up: &str, seeds: &str| {
        let (config, out, dir) = (format!("{up}config.toml"), format!("{up}c"), format!("data_dir={up}."));
        let args = ["compare", &config, "--seeds", seeds, "--out", &out, "--set", &dir];
        code(&place.run_in(from, &args), 0)
    };
    let tune = |from: &str, up: &str| {
        let (config, out, dir) = (format!("{up}config.toml"), format!("{up}t"), format!("data_dir={up}."));
        code(&place.run_in(from, &["tune", &config, "--out", &out, "--set", &dir]), 0)
    };
    std::fs::create_dir_all(place.path("else/where")).unwrap();
    assert!(compare("", "", "1").contains("run 1 of 1") && tune("", "").contains("trial 1 of 2"));
    let stderr = compare("else/where", "../../", "2");
    assert!(stderr.contains("run 2 of 2") && !stderr.contains("run 1 of 2"), "{stderr}");
    assert!(!tune("else", "../").contains("trial"));
    // All of it moved.
    std::fs::create_dir(place.path("new")).unwrap();
    for name in ["config.toml", "train.csv", "valid.csv", "test.csv", "c", "t"] {
        std::fs::rename(place.path(name), place.path("new").join(name)).unwrap();
    }
    assert!(!compare("new", "", "2").contains("run ") && !tune("new", "").contains("trial"));
    code(&place.run_in("else", &["report", "../new/c/config/seed-1", "--out", "page.html"]), 0);
    // Other rows are other work.
    place.write("new/train.csv", place.text("new/train.csv").replacen(",4.5", ",4.25", 1));
    let args = ["compare", "config.toml", "--seeds", "2", "--out", "c", "--set", "data_dir=."];
    assert!(code(&place.run_in("new", &args), 2).contains("another configuration, data, or version"));
}

#[test]
fn the_best_configuration_of_a_search_trains_from_anywhere() {
    let tune = "\n[tune]\ntrials = 2\n\"train.optimizer.lr\" = { log = [1e-3, 1e-2] }\n";
    let place = Place::new(&(CONFIG.replace("epochs = 3", "epochs = 1") + tune), 64, 9);
    code(&place.run(&["tune", "config.toml", "--out", "t", "-q"]), 0);
    std::fs::create_dir(place.path("else")).unwrap();
    std::fs::rename(place.path("t/best.toml"), place.path("else/best.toml")).unwrap();
    code(&place.run_in("else", &["train", "--config", "best.toml", "--run", "r", "-q"]), 0);
}
