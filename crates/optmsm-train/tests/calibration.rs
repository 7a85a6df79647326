//! Probabilities of sampled negatives and of calibrated runs.

mod common;

use common::{CONFIG, Place, bad, code, good};
use optmsm_core::batch::Batch;
use optmsm_core::models::OptMsm;
use optmsm_core::philox::Stream;
use optmsm_core::predictor::Predictor;
use optmsm_cpu::Cpu;
use optmsm_data::Dataset;
use optmsm_train::run::Run;
use serde_json::Value;

/// The configuration with these lines in `[data]`.
fn with(lines: &str) -> String {
    CONFIG.replace("[data]", &format!("[data]\n{lines}")).replace("epochs = 3", "epochs = 1")
}

/// Rows whose label depends on the user and, in another way in `ads`, on the price; of `few` there are not many.
fn rows(count: usize, seed: u64) -> String {
    let stream = Stream::new(seed, "rows");
    let row = |i: u64| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|what| stream.uniform(4 * i + what));
        let scenario = if i.is_multiple_of(40) { "few" } else { ["home", "ads"][i as usize % 2] };
        let (user, price) = ((a * 9.0) as u64, (b * 13.0).floor());
        let logit = if scenario == "ads" { price / 3.0 - 3.0 } else { user as f64 / 4.0 - 1.0 };
        let label = u8::from(c < 1.0 / (1.0 + (-logit).exp()));
        let tags = ["a|b", "", "c"][(d * 3.0) as usize];
        format!("{label},{scenario},u{user},{tags},{price}.5\n")
    };
    (0..count as u64).fold("label,scenario,user,tags,price\n".into(), |text, i| text + &row(i))
}

/// A trained run `r`, and rows that it has not seen in `more.csv`.
fn place(lines: &str) -> Place {
    let place = Place::empty();
    place.write("config.toml", with(lines));
    for (name, count, seed) in [("train.csv", 1500, 1), ("valid.csv", 900, 2), ("more.csv", 900, 3)] {
        place.write(name, rows(count, seed));
    }
    good(&place, &["train", "--config", "config.toml", "--run", "r", "-q"]);
    place
}

fn json(place: &Place, args: &[&str]) -> Value {
    serde_json::from_str(&good(place, &[args, &["--json"]].concat())).unwrap()
}

/// Logits and scenarios of a file, by the library.
fn logits(place: &Place, run: &str, file: &str) -> (Vec<f32>, Batch) {
    let run = Run::open(&place.path(run)).unwrap();
    let batch = Dataset::load(place.path(file), &run.schema).unwrap().batch;
    let model = OptMsm::new(&run.config.model, &run.schema.input_spec()).unwrap();
    let best = run.checkpoint("best").unwrap();
    let predictor = Predictor::new(Cpu::new().unwrap(), model, &best, 500).unwrap();
    (predictor.logits(&batch).unwrap(), batch)
}

/// The last column of what `predict` writes.
fn predicted(place: &Place, run: &str, file: &str, more: &[&str]) -> Vec<f32> {
    let out = good(place, &[&["predict", run, "--data", file, "--out", "-"], more].concat());
    out.lines().skip(1).map(|line| line.rsplit_once(',').unwrap().1.parse().unwrap()).collect()
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

#[test]
fn predictions_are_what_the_file_says_of_the_logits() {
    let place = place("");
    let plain = predicted(&place, "r", "more.csv", &[]);
    let (logits, batch) = logits(&place, "r", "more.csv");
    assert!(logits.iter().zip(&plain).all(|(&o, &p)| p == sigmoid(f64::from(o)) as f32));

    let text = good(&place, &["calibrate", "r", "--data", "valid.csv"]);
    assert!(text.contains("calibrated by platt on valid.csv") && text.contains("as of all"), "{text}");
    let file: Value = serde_json::from_str(&place.text("r/calibration.json")).unwrap();
    let pair = |map: &Value| ["slope", "intercept"].map(|key| map["platt"][key].as_f64().unwrap());
    let scenarios = file["fit"]["scenarios"].as_array().unwrap();
    // In the order of the names: ads, few, home.
    assert!(scenarios[1].is_null() && pair(&scenarios[0]) != pair(&scenarios[2]));
    let calibrated = predicted(&place, "r", "more.csv", &[]);
    for (row, (&o, &p)) in logits.iter().zip(&calibrated).enumerate() {
        let own = &scenarios[batch.scenarios[row] as usize];
        let [a, b] = pair(if own.is_null() { &file["fit"]["all"] } else { own });
        assert_eq!(p, sigmoid(a * f64::from(o) + b) as f32, "row {row}");
    }
    assert_eq!(predicted(&place, "r", "more.csv", &["--uncalibrated"]), plain);

    // Evaluation scores what predict writes, and says so.
    let mean = |p: &[f32]| p.iter().map(|&p| f64::from(p)).sum::<f64>();
    let clicks = batch.labels.iter().filter(|&&y| y == 1.0).count() as f64;
    for (more, p, by) in
        [(&[][..], &calibrated, "\"platt on valid.csv\""), (&["--uncalibrated"], &plain, "null")]
    {
        let found = json(&place, &[&["evaluate", "r", "--data", "more.csv"], more].concat());
        let calibration = found["overall"]["calibration"].as_f64().unwrap();
        assert!((calibration - mean(p) / clicks).abs() < 1e-6, "{calibration}");
        assert_eq!(found["calibrated_by"].to_string(), by);
    }
    let inspected = json(&place, &["inspect", "r"]);
    assert_eq!(inspected["calibration"]["all"], file["fit"]["all"]);

    // The validation rows are what a run is calibrated on unless others are named.
    let file = place.text("r/calibration.json");
    assert!(good(&place, &["calibrate", "r"]).contains("valid.csv"));
    let functions =
        |text: &str| text[text.find("\"fit\"").unwrap()..text.rfind("\"crc32\"").unwrap()].to_string();
    assert_eq!(functions(&file), functions(&place.text("r/calibration.json")));

    // A second calibration takes the place of the first.
    let found = json(&place, &["calibrate", "r", "--data", "more.csv", "--method", "isotonic"]);
    assert_eq!((&found["method"], &found["folds"]), (&"isotonic".into(), &5.into()));
    assert!(place.text("r/calibration.json").contains("isotonic"));
    assert_ne!(predicted(&place, "r", "more.csv", &[]), calibrated);
    assert!(good(&place, &["inspect", "r"]).contains("calibrated  by isotonic on more.csv"));
}

/// A model after one pass is far from calibrated; what is said of the rows afterwards holds for rows of the same kind.
#[test]
fn what_calibration_promises_other_rows_show() {
    let place = place("");
    let promised = json(&place, &["calibrate", "r"]);
    let found = json(&place, &["evaluate", "r", "--data", "more.csv"]);
    let plain = json(&place, &["evaluate", "r", "--data", "more.csv", "--uncalibrated"]);
    let number = |v: &Value, key: &str| v["overall"][key].as_f64().unwrap();
    for key in ["log_loss", "ece"] {
        assert!(number(&promised["after"], key) < number(&promised["before"], key), "{promised}");
        assert!(number(&found, key) < number(&plain, key), "{key}: {found} {plain}");
    }
    // 900 rows of about 0.4: the standard error of the calibration is 0.04, that of the log loss 0.02.
    assert!((number(&found, "calibration") - 1.0).abs() < 0.2, "{found}");
    assert!((number(&found, "log_loss") - number(&promised["after"], "log_loss")).abs() < 0.1);
    // Within a scenario with a function of its own, the order of rows stays.
    for (scenario, of) in [(0, "ads"), (2, "home")] {
        let auc = |v: &Value| v["scenarios"][scenario]["auc"].as_f64().unwrap();
        assert!((auc(&found) - auc(&plain)).abs() < 1e-4, "{of}");
    }
}

#[test]
fn a_calibration_of_other_parameters_or_a_damaged_one_is_refused() {
    let place = place("");
    good(&place, &["calibrate", "r"]);
    let whole = place.text("r/calibration.json");
    let refused = |problem: &str| {
        for args in [
            &["evaluate", "r", "--data", "more.csv"][..],
            &["predict", "r", "--data", "more.csv", "--out", "p.csv"],
        ] {
            let said = bad(&place, args);
            assert!(said.contains(problem) && said.contains("leave it out with --uncalibrated"), "{said}");
            good(&place, &[args, &["--uncalibrated"]].concat());
        }
        let said = code(&place.run(&["inspect", "r"]), 0);
        assert!(said.contains(problem), "{said}");
    };
    place.write("r/calibration.json", whole.replace("slope\": ", "slope\": 1"));
    refused("does not match its checksum");
    place.write("r/calibration.json", &whole[..whole.len() / 2]);
    refused("does not match its checksum");

    // A copy of the folder is calibrated, a run that goes on to other parameters is not.
    place.write("r/calibration.json", &whole);
    let copied = predicted(&place, "r", "more.csv", &[]);
    std::fs::create_dir_all(place.path("copy/checkpoints")).unwrap();
    for name in ["config.toml", "config.json", "schema.json", "data.json", "calibration.json"] {
        place.write(&format!("copy/{name}"), place.bytes(&format!("r/{name}")));
    }
    let best = "checkpoints/best.safetensors";
    place.write(&format!("copy/{best}"), place.bytes(&format!("r/{best}")));
    assert_eq!(predicted(&place, "copy", "more.csv", &[]), copied);
    good(&place, &["train", "--resume", "--run", "r", "-q", "--set", "train.epochs=3"]);
    refused("is of other parameters than the run's best ones are now");
    good(&place, &["calibrate", "r"]);
    assert_ne!(predicted(&place, "r", "more.csv", &[]), copied);

    let rate = "\n[data]\nnegative_rate = 0.5\n";
    place.write("r/config.toml", place.text("r/config.toml").replacen("\n[data]\n", rate, 1));
    refused("was made under another data.negative_rate");
}

#[test]
fn rows_that_cannot_calibrate_are_said_and_leave_what_there_was() {
    let place = place("");
    good(&place, &["calibrate", "r"]);
    let before = place.bytes("r/calibration.json");
    let header = "label,scenario,user,tags,price\n";
    place.write("empty.csv", header);
    let of_label =
        |label: u8| (0..40).map(|i| format!("{label},home,u{},a,1.5\n", i % 9)).collect::<String>();
    place.write("one.csv", header.to_string() + &of_label(1));
    place.write("few.csv", header.to_string() + &of_label(1) + &of_label(0)[..of_label(0).len() / 8]);
    for (file, problem) in [
        ("one.csv", "has 0 rows of its rarer label, but at least 10 are needed"),
        ("few.csv", "has 5 rows of its rarer label"),
        ("empty.csv", "empty.csv"),
        ("missing.csv", "missing.csv"),
    ] {
        let said = bad(&place, &["calibrate", "r", "--data", file]);
        assert!(said.contains(problem), "{said}");
    }
    assert_eq!(place.bytes("r/calibration.json"), before);
    assert!(bad(&place, &["calibrate", "nothing"]).contains("holds no run"));
    assert!(!place.path("nothing").exists());
    // Files that are not for this.
    let said = code(&place.run(&["calibrate", "r", "--data", "train.csv"]), 0);
    assert!(said.contains("train.csv: is of data.train, whose labels the model knows"), "{said}");
}

/// One scenario with a single label has the function of all rows.
#[test]
fn a_scenario_of_one_label_is_calibrated_as_all_rows_are() {
    let place = place("");
    let text = rows(900, 4);
    let one = text.lines().map(|line| match line.contains(",ads,") {
        true => format!("1{}\n", &line[1..]),
        false => format!("{line}\n"),
    });
    place.write("one.csv", one.collect::<String>());
    let found = json(&place, &["calibrate", "r", "--data", "one.csv"]);
    assert!(found["scenarios"][0]["own"].is_null() && !found["scenarios"][2]["own"].is_null(), "{found}");
    assert_eq!(found["scenarios"][0]["scenario"], "ads");
}

#[test]
fn a_run_that_is_being_written_is_not_calibrated() {
    let place = place("");
    let _held = optmsm_train::folder::Folder::take(&place.path("r"), "--run").unwrap();
    let said = bad(&place, &["calibrate", "r"]);
    assert!(said.contains("is being written by"), "{said}");
}

/// Metrics of a sampled file are those of a file in which each row of label 0 stands as often as it stands for.
#[test]
fn sampled_negatives_speak_for_all() {
    let place = Place::empty();
    let (train, sampled) = (rows(1500, 1), rows(400, 2));
    let of_label_0 = |line: &&str| line.starts_with("0,");
    let kept: String = train
        .lines()
        .enumerate()
        .filter(|(i, l)| !of_label_0(l) || i.is_multiple_of(4))
        .map(|(_, l)| format!("{l}\n"))
        .collect();
    place.write("train.csv", kept);
    place.write("valid.csv", &sampled);
    // Four of each, and in one group.
    let whole: String =
        sampled.lines().map(|l| format!("{l}\n").repeat(if of_label_0(&l) { 4 } else { 1 })).collect();
    place.write("whole.csv", whole);
    place.write("config.toml", with("negative_rate = 0.25\ntest = \"valid.csv\""));
    let trained = json(&place, &["train", "--config", "config.toml", "--run", "r", "-q"]);
    place.write("plain.toml", with("test = \"valid.csv\""));
    good(&place, &["train", "--config", "plain.toml", "--run", "plain", "-q"]);

    // Training does not know of it; predictions are moved by ln ¼.
    let (logits, _) = logits(&place, "r", "valid.csv");
    assert_eq!(logits, self::logits(&place, "plain", "valid.csv").0);
    let moved = predicted(&place, "r", "valid.csv", &[]);
    assert!(logits.iter().zip(&moved).all(|(&o, &p)| p == sigmoid(f64::from(o) + 0.25f64.ln()) as f32));

    let number = |v: &Value, of: &str, key: &str| v[of][key].as_f64().unwrap();
    let weighted = json(&place, &["evaluate", "r", "--data", "valid.csv"]);
    let whole = json(&place, &["evaluate", "r", "--data", "whole.csv", "--unsampled"]);
    for key in ["auc", "log_loss", "calibration"] {
        let [a, b, c] = [&weighted, &whole, &trained["test"]].map(|v| number(v, "overall", key));
        assert!((a - b).abs() < 1e-5 && (a - c).abs() < 1e-12, "{key}: {a} {b} {c}");
    }
    assert_eq!((&weighted["negatives_weighted"], &whole["negatives_weighted"]), (&true.into(), &Value::Null));
    let text = good(&place, &["evaluate", "r", "--data", "valid.csv"]);
    assert!(text.contains("weighted by 1 / data.negative_rate in rows of label 0"), "{text}");

    // A part of its own that has all of them needs no flag.
    let set = ["--set", "data.unsampled=[\"test\"]", "--set", "data.test=whole.csv"];
    let args = ["train", "--config", "config.toml", "--run", "parts", "-q"];
    let parts = json(&place, &[&args[..], &set].concat());
    assert!(
        (number(&parts["test"], "overall", "calibration") - number(&whole, "overall", "calibration")).abs()
            < 1e-12
    );
    let found = json(&place, &["evaluate", "parts", "--data", "whole.csv"]);
    assert_eq!(found["overall"], parts["test"]["overall"]);
}

/// Files of the run beside one that is given may be gone; files whose rows weigh differently are not mixed.
#[test]
fn files_are_known_by_what_is_there() {
    let place = Place::empty();
    place.write("train.csv", rows(800, 1));
    std::fs::create_dir(place.path("new")).unwrap();
    for (name, seed) in [("valid.csv", 2), ("new/a.csv", 3), ("new/b.csv", 4), ("new/c.csv", 5)] {
        place.write(name, rows(300, seed));
    }
    let config = with("negative_rate = 0.25\nunsampled = [\"valid\"]");
    let config =
        config.replace("valid = \"valid.csv\"", "valid = [\"valid.csv\", \"new/a.csv\", \"new/c.csv\"]");
    place.write("config.toml", config);
    good(&place, &["train", "--config", "config.toml", "--run", "r", "-q"]);
    for name in ["train.csv", "valid.csv"] {
        std::fs::remove_file(place.path(name)).unwrap();
    }
    let weighted = |data: &str| {
        let found = json(&place, &["evaluate", "r", "--data", data]);
        good(&place, &["report", "r", "--data", data, "--out", "r.html", "--json", "r.json"]);
        let report: Value = serde_json::from_str(&place.text("r.json")).unwrap();
        assert_eq!(found.get("negatives_weighted"), report[0].get("negatives_weighted"), "{data}");
        json(&place, &["calibrate", "r", "--data", data]);
        found.get("negatives_weighted").is_some()
    };
    assert_eq!(["new/a.csv", "new/b.csv", "new/[ac].csv"].map(weighted), [false, true, false]);
    for args in [
        &["evaluate", "r", "--data", "new"][..],
        &["calibrate", "r", "--data", "new"],
        &["report", "r", "--data", "new", "--out", "x.html"],
    ] {
        let said = bad(&place, args);
        let wanted = "a.csv: is of a part of data.unsampled, but new/b.csv beside it is not";
        assert!(said.contains(wanted), "{said}");
    }
    good(&place, &["evaluate", "r", "--data", "new", "--unsampled"]);
}

#[test]
fn rates_that_cannot_be_are_said() {
    let place = Place::new(&with(""), 64, 9);
    let unsampled = |more: &str| with(&format!("unsampled = [\"valid\"]\n{more}"));
    let cases = [
        (with("negative_rate = 0"), "`data.negative_rate`: must be above 0 and at most 1, got 0"),
        (with("negative_rate = 10"), "`data.negative_rate`: must be above 0 and at most 1, got 10"),
        (with("negative_rate = { home = nan }"), "`data.negative_rate.home`: must be above 0"),
        (
            with("negative_rate = { hom = 0.1 }"),
            "`data.negative_rate.hom`: is no scenario of the training rows",
        ),
        (with("negative_rate = \"most\""), "a number or a table with one by scenario is wanted"),
        (unsampled(""), "`data.unsampled`: is given without data.negative_rate"),
        (unsampled("negative_rate = 0.1").replace("[\"valid\"]", "[\"train\"]"), "names train"),
        (
            unsampled("negative_rate = 0.1").replace("valid = \"valid.csv\"", "split = { valid = 0.2 }"),
            "is given beside data.split",
        ),
    ];
    for (config, wanted) in cases {
        place.write("config.toml", config);
        for args in [&["train", "--config", "config.toml", "--run", "r"][..], &["check", "config.toml"]] {
            let said = bad(&place, args);
            assert!(said.contains(wanted) && said.contains("config.toml line"), "{said}");
        }
        assert!(!place.path("r").exists());
    }
    // The first two rows are of both scenarios, but the first one alone does not tell of the other.
    place.write("config.toml", with("negative_rate = { ads = 0.1 }"));
    good(&place, &["check", "config.toml", "--rows", "1"]);
}
