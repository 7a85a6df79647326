//! Evaluations and checkpoints within passes, and what is printed of training.

mod common;

use common::{CONFIG, Place, bad, code, good};
use optmsm_core::params::TensorSource;
use optmsm_train::checkpoint::Checkpoint;
use optmsm_train::run::Run;
use serde_json::Value;

const TRAIN: [&str; 5] = ["train", "--config", "config.toml", "--quiet", "--run"];

/// 100 rows in batches of 14 or 15, so seven steps per pass, three passes.
fn place() -> Place {
    Place::new(CONFIG, 100, 11)
}

fn train(place: &Place, run: &str, sets: &[&str]) {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    good(place, &[&TRAIN[..], &[run], &sets.collect::<Vec<_>>()].concat());
}

fn last(place: &Place, run: &str) -> Checkpoint {
    Run::open(&place.path(run)).unwrap().checkpoint("last").unwrap()
}

/// Parameters and optimizer state: some of each kind.
fn tensors(place: &Place, run: &str) -> Vec<Vec<f32>> {
    let last = last(place, run);
    let user = [12, 5];
    let tensor = |name: &str, shape: &[usize]| last.tensor(name, shape).unwrap();
    vec![
        tensor("embeddings.user.weight", &user),
        tensor("optimizer.m.embeddings.user.weight", &user),
        tensor("optimizer.v.embeddings.price.weight", &[1, 5]),
    ]
}

/// Lines of `metrics.jsonl` without speeds and checksums.
fn lines(place: &Place, run: &str) -> Vec<Value> {
    let text = place.text(&format!("{run}/metrics.jsonl"));
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        assert!(fields.remove("rows_per_second").is_some() && fields.remove("crc32").is_some());
        line
    };
    text.lines().map(line).collect()
}

/// Steps of the evaluations; of each, the passes are checked.
fn evaluated(place: &Place, run: &str) -> Vec<u64> {
    let step = |line: &Value| {
        let step = line["step"].as_u64().unwrap();
        assert_eq!(line["epoch"].as_f64(), Some((step / 7) as f64 + (step % 7) as f64 / 7.0), "{line}");
        step
    };
    lines(place, run).iter().map(step).collect()
}

#[test]
fn evaluations_come_where_they_are_asked_for_and_change_no_bit_of_training() {
    let place = place();
    train(&place, "passes", &[]);
    assert_eq!(evaluated(&place, "passes"), [7, 14, 21]);
    let wanted: [(&str, &[u64]); 5] = [
        ("{ steps = 5 }", &[5, 10, 15, 20, 21]),
        ("{ steps = 10 }", &[10, 20, 21]),
        // Rows 60, 120, … : 60 come with step 5, as four have at most 60 only where all are of 15.
        ("{ rows = 60 }", &[5, 9, 13, 17, 21]),
        ("{ rows = 1000 }", &[21]),
        ("{ steps = 7 }", &[7, 14, 21]),
    ];
    for (number, (every, wanted)) in wanted.into_iter().enumerate() {
        let run = format!("r{number}");
        train(
            &place,
            &run,
            &[&format!("train.evaluate_every={every}"), "train.checkpoint_every={ steps = 2 }"],
        );
        assert_eq!(evaluated(&place, &run), wanted, "{every}");
        assert_eq!(tensors(&place, &run), tensors(&place, "passes"), "{every}");
    }
}

#[test]
fn a_run_that_was_stopped_anywhere_goes_on_as_if_it_had_not_been() {
    let place = place();
    let sets = ["train.evaluate_every={ steps = 4 }", "train.checkpoint_every={ rows = 40 }"];
    goes_on(&place, "plain", &sets);
    goes_on(&place, "seldom", &["train.evaluate_every={ steps = 10 }"]);
    let rule = r#"{ rule = "adam", lr = 0.01, weight_decay = 40.0, decay_rows = "all" }"#;
    let (rule, schedule) =
        (format!("train.embedding_optimizer={rule}"), r#"train.schedule={ kind = "cosine", warmup = 3 }"#);
    let average = r#"train.average={ kind = "ema", decay = 0.7 }"#;
    let all = [sets[0], sets[1], &rule, schedule, average];
    goes_on(&place, "all", &all);
    let [averaged, plain] = ["all", "plain"].map(|run| tensors(&place, &format!("{run}-whole")));
    assert!(averaged != plain, "averages, schedule and decay change nothing");
}

fn goes_on(place: &Place, name: &str, sets: &[&str]) {
    let whole = format!("{name}-whole");
    train(place, &whole, sets);
    for stop in ["0", "1", "4", "6", "7", "17", "20"] {
        let run = format!("{name}-{stop}");
        let args = sets.iter().flat_map(|set| ["--set", set]);
        let args: Vec<_> = TRAIN.into_iter().chain([&*run, "--max-steps", stop]).chain(args).collect();
        code(&place.run(&args), 130);
        assert_eq!(last(place, &run).position.step.to_string(), stop);
        good(place, &["train", "--resume", "--quiet", "--run", &run]);
        assert_eq!(lines(place, &run), lines(place, &whole), "{name}: {stop}");
        for checkpoint in ["last", "best"] {
            let [a, b] =
                [&run, &whole].map(|run| place.bytes(&format!("{run}/checkpoints/{checkpoint}.safetensors")));
            assert!(a == b, "{name}: {checkpoint} of the run that was stopped at {stop}");
        }
    }
}

/// Three passes have 21 steps.
#[test]
fn a_run_whose_rate_would_be_0_before_its_end_is_refused() {
    let place = place();
    let begin = |run: &str, schedule: &str| {
        let set = format!("train.schedule={schedule}");
        place.run(&[&TRAIN[..], &[run, "--set", &set]].concat())
    };
    for kind in ["linear", "cosine"] {
        let text = code(&begin("r", &format!("{{ kind = \"{kind}\", warmup = 4, period = 16 }}")), 2);
        assert!(text.contains("train.schedule.factor") && text.contains("0 from step 21 on"), "{text}");
        assert!(text.contains("--set train.schedule="), "{text}");
        assert!(!place.path("r").exists(), "a refused run has a folder");
    }
    code(&begin("r", r#"{ kind = "linear", warmup = 4, period = 17 }"#), 0);
    // Longer than it was to be; the finished run itself may be looked at again.
    good(&place, &["train", "--resume", "--quiet", "--run", "r"]);
    let text = bad(&place, &["train", "--resume", "--quiet", "--run", "r", "--set", "train.epochs=4"]);
    assert!(text.contains("train.schedule.factor") && text.contains("0 from step 22 on"), "{text}");
    let longer = ["--set", "train.epochs=4", "--set", "train.schedule.factor=0.1"];
    good(&place, &[&["train", "--resume", "--quiet", "--run", "r"], &longer[..]].concat());
    assert_eq!(last(&place, "r").position.step, 28);
}

#[test]
fn a_run_that_is_all_warm_up_is_trained_with_a_warning() {
    let place = place();
    for (warmup, warned) in [(20, false), (21, true), (22, true)] {
        let (run, set) = (format!("r{warmup}"), format!("train.schedule.warmup={warmup}"));
        let text = code(&place.run(&[&TRAIN[..], &[&run, "--set", &set]].concat()), 0);
        assert_eq!(text.contains("all 21 steps of the run are warm-up"), warned, "{text}");
    }
}

/// `--max-steps 0` leaves the parameters as they begin, and nothing is evaluated.
#[test]
fn no_steps_train_nothing() {
    let place = place();
    let stderr = code(&place.run(&[&TRAIN[..], &["r", "--max-steps", "0"]].concat()), 130);
    assert!(stderr.contains("step 0"), "{stderr}");
    assert_eq!(last(&place, "r").position.step, 0);
    assert!(
        !place.path("r/metrics.jsonl").exists() && !place.path("r/checkpoints/best.safetensors").exists()
    );
    // Of a run that has trained, too.
    code(&place.run(&["train", "--resume", "--run", "r", "--max-steps", "3"]), 130);
    let before = place.bytes("r/checkpoints/last.safetensors");
    code(&place.run(&["train", "--resume", "--run", "r", "--max-steps", "0"]), 130);
    assert!(place.bytes("r/checkpoints/last.safetensors") == before);
}

/// Training stops where the loss is no number; what was saved within the pass stays.
#[test]
fn what_is_saved_within_a_pass_outlives_the_end_of_the_program() {
    for every in ["{ steps = 1 }", "{ rows = 20 }", "\"pass\""] {
        let place = place();
        let sets = [
            &format!("train.checkpoint_every={every}"),
            "train.optimizer.rule=sgd",
            "train.optimizer.lr=1e10",
        ];
        let sets: Vec<_> = sets.into_iter().flat_map(|set| ["--set", set]).collect();
        let stderr = code(&place.run(&[&TRAIN[..], &["r"], &sets].concat()), 1);
        let step = stderr.split("step ").nth(1).and_then(|rest| rest.split(':').next());
        let step: u64 = step.and_then(|step| step.parse().ok()).unwrap_or_else(|| panic!("{stderr}"));
        assert!((2..=7).contains(&step), "{stderr}");
        // The first two batches have 15 rows: rows 20, 40, 60 come with steps 2, 3, 5.
        let saved = match every {
            "{ steps = 1 }" => step - 1,
            "\"pass\"" => 0,
            _ => [0, 0, 2, 3, 3, 5, 5][step as usize - 1],
        };
        assert_eq!(last(&place, "r").position.step, saved, "{every}: {stderr}");
    }
}

/// Evaluated after each step, the loss is that of the step. Evaluated after each pass, it is the mean over its rows.
#[test]
fn the_loss_is_the_mean_over_the_steps_since_the_evaluation_before() {
    let place = place();
    train(&place, "each", &["train.evaluate_every={ steps = 1 }", "train.patience=99"]);
    train(&place, "all", &[]);
    let losses = |run: &str| -> Vec<f64> {
        lines(&place, run).iter().map(|line| line["train_loss"].as_f64().unwrap()).collect()
    };
    let (each, all) = (losses("each"), losses("all"));
    assert_eq!((each.len(), all.len()), (21, 3));
    for (steps, mean) in each.chunks(7).zip(all) {
        // Two batches of 15 rows, then five of 14.
        let sum: f64 = steps.iter().zip([15.0, 15.0, 14.0, 14.0, 14.0, 14.0, 14.0]).map(|(l, n)| l * n).sum();
        assert!((sum / 100.0 - mean).abs() < 1e-12, "{sum} {mean}");
    }
}

/// Searches and comparisons go by evaluations, whether they come more or less often than passes end.
#[test]
fn searches_and_comparisons_evaluate_as_often_as_they_are_told() {
    let place = Place::new(&CONFIG.replace("[data]", "[data]\ntest = \"valid.csv\""), 100, 11);
    for (steps, evaluations, best) in [(3, 7, [3, 6, 9, 12, 15, 18, 21].as_slice()), (10, 3, &[10, 20, 21])] {
        let set = format!("train.evaluate_every={{ steps = {steps} }}");
        let more = ["--set", &set, "-q", "--json"];
        let out = format!("t{steps}");
        let study =
            good(&place, &[&["tune", "config.toml", "--trials", "2", "--out", &out], &more[..]].concat());
        let study: Value = serde_json::from_str(&study).unwrap();
        for trial in study["trials"].as_array().unwrap() {
            assert_eq!(trial["curve"].as_array().unwrap().len(), evaluations, "{trial}");
        }
        let out = format!("c{steps}");
        let made =
            good(&place, &[&["compare", "config.toml", "--out", &out, "--seeds", "1"], &more[..]].concat());
        let made: Value = serde_json::from_str(&made).unwrap();
        let run = &made["configurations"][0]["runs"][0];
        assert_eq!((run["epochs"].as_f64(), run["rows"].as_u64()), (Some(3.0), Some(300)));
        let passes = |step: &u64| (step / 7) as f64 + (step % 7) as f64 / 7.0;
        assert!(best.iter().any(|step| run["best_epoch"].as_f64() == Some(passes(step))), "{run}");
        // Nothing is missing.
        let stderr = code(&place.run(&["report", &format!("c{steps}/config/seed-1"), "--out", "r.html"]), 0);
        assert!(!stderr.contains("lacks"), "{stderr}");
    }
    // A run that stops within a pass has taken the rows of its steps: 15, 15 and 14 of 14.
    let stopped = [
        "--set",
        "train.evaluate_every={ steps = 1 }",
        "--set",
        "train.patience=1",
        "--set",
        "train.optimizer.lr=1e-30",
    ];
    let made = good(
        &place,
        &[&["compare", "config.toml", "--out", "s", "--seeds", "1", "-q", "--json"], &stopped[..]].concat(),
    );
    let made: Value = serde_json::from_str(&made).unwrap();
    let run = &made["configurations"][0]["runs"][0];
    assert_eq!(
        (run["rows"].as_u64(), run["epochs"].as_f64(), run["best_epoch"].as_f64()),
        (Some(30), Some(2.0 / 7.0), Some(1.0 / 7.0))
    );
}

#[test]
fn bad_distances_say_what_is_possible() {
    let place = place();
    let run = |set: &str| bad(&place, &[&TRAIN[..], &["r", "--set", set]].concat());
    for key in ["train.evaluate_every", "train.checkpoint_every"] {
        for (value, wanted) in [
            ("{ steps = 0 }", "must be at least 1"),
            ("{ rows = 0 }", "must be at least 1"),
            ("never", "unknown variant"),
            ("{ hours = 1 }", "unknown variant"),
            ("5", "give a value of that type"),
        ] {
            let text = run(&format!("{key}={value}"));
            assert!(text.contains(wanted) && text.contains(key), "{value}: {text}");
        }
    }
    assert!(!place.path("r").exists());
}
