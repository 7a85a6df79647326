//! Metrics with sample weights: against scikit-learn, and as commands show them; what early stopping watches.

mod common;

use std::collections::BTreeMap;

use common::{CONFIG, Place, bad, code, good};
use optmsm_core::metrics::{self, AUC, ECE, METRICS, Metrics, Rows};
use serde::Deserialize;
use serde_json::Value;

/// Rows and values that `fixtures/metrics.py` made.
#[derive(Deserialize)]
struct Fixture {
    predictions: Vec<f32>,
    labels: Vec<f32>,
    weights: Vec<f32>,
    scenarios: Vec<u32>,
    groups: Vec<u64>,
    weighted: BTreeMap<String, Expected>,
    unweighted: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    #[serde(flatten)]
    metrics: Metrics,
    roc: Vec<[f64; 2]>,
}

fn close(what: &str, found: Option<f64>, wanted: Option<f64>) {
    let (found, wanted) = (found.unwrap(), wanted.unwrap());
    assert!((found - wanted).abs() < 1e-12 * wanted.abs().max(1.0), "{what}: {found} is not {wanted}");
}

#[test]
fn weighted_metrics_agree_with_scikit_learn() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/metrics.json")).unwrap();
    let Fixture { predictions, labels, weights, scenarios, groups, .. } = &fixture;
    for (name, expected) in [("weighted", &fixture.weighted), ("unweighted", &fixture.unweighted)] {
        let weights: &[f32] = if name == "weighted" { weights } else { &[] };
        let report = metrics::evaluate(predictions, Rows { labels, weights, scenarios, groups }, 3);
        for (set, Expected { metrics: wanted, roc }) in expected {
            let scenario = set.parse::<usize>().ok();
            let found = scenario.map_or(&report.overall, |s| &report.scenarios[s]);
            let what = |metric: &str| format!("{name}, {set}: {metric}");
            assert_eq!((found.rows, found.positives), (wanted.rows, wanted.positives), "{name}, {set}");
            for metric in METRICS {
                close(&what(metric.title), found.get(metric), wanted.get(metric));
            }
            if name == "weighted" {
                close(&what("weight"), found.weight, wanted.weight);
                close(&what("effective rows"), found.effective_rows, wanted.effective_rows);
            } else {
                assert_eq!((found.weight, found.effective_rows), (None, None));
            }
            let rows = (0..labels.len()).filter(|&r| scenario.is_none_or(|s| scenarios[r] as usize == s));
            let rows: Vec<usize> = rows.collect();
            let of = |column: &[f32]| rows.iter().filter_map(|&r| column.get(r).copied()).collect::<Vec<_>>();
            let curve = metrics::roc(&of(predictions), &of(labels), &of(weights)).unwrap();
            assert_eq!(curve.len(), roc.len());
            for (found, wanted) in curve.iter().flatten().zip(roc.iter().flatten()) {
                close(&what("ROC"), Some(*found), Some(*wanted));
            }
        }
    }
}

/// Metrics are written as a run folder has had them since its first version, and those of a file that lacks one are read.
#[test]
fn metrics_are_one_object_in_json() {
    let rows = Rows { labels: &[0.0, 1.0, 0.0, 1.0], scenarios: &[0; 4], ..Rows::default() };
    let found = metrics::evaluate(&[0.5; 4], rows, 1).overall;
    let text = serde_json::to_string(&found).unwrap();
    let wanted =
        r#"{"rows":4,"positives":2,"auc":0.5,"gauc":null,"log_loss":LN2,"calibration":1.0,"ece":0.0}"#;
    assert_eq!(text, wanted.replace("LN2", &2f64.ln().to_string()));
    assert_eq!(serde_json::from_str::<Metrics>(&text).unwrap(), found);
    let old: Metrics = serde_json::from_str(r#"{"other":[1],"rows":3,"ece":0.25,"positives":1}"#).unwrap();
    assert_eq!((old.rows, old.get(&ECE), old.get(&AUC), old.weight), (3, Some(0.25), None, None));
}

/// Weight of a row, from 1 on.
fn weight(row: usize) -> f64 {
    [1.0, 0.5, 3.0, 0.0, 2.0][row * row * row % 5]
}

/// The shared configuration with weights, and rows of them in place of the files.
fn weighted(more: &str) -> Place {
    let place = Place::new(&CONFIG.replace("[data]", &format!("[data]\nweight = \"w\"\n{more}")), 100, 9);
    for file in ["train.csv", "valid.csv"] {
        let text = place.text(file);
        let row = |(i, line): (usize, &str)| match i {
            0 => format!("{line},w\n"),
            // Some labels are otherwise than fields say.
            i if i % 7 == 3 => {
                format!("{}{},{}\n", 1 - u8::from(line.starts_with('1')), &line[1..], weight(i))
            }
            i => format!("{line},{}\n", weight(i)),
        };
        place.write(file, text.lines().enumerate().map(row).collect::<String>());
    }
    place
}

fn train(place: &Place, run: &str, sets: &[&str]) {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let args = ["train", "--quiet", "--config", "config.toml", "--run", run];
    good(place, &args.into_iter().chain(sets).collect::<Vec<_>>());
}

fn evaluate(place: &Place, run: &str, data: &str) -> Value {
    let out = good(place, &["evaluate", "--json", run, "--data", data]);
    serde_json::from_str(&out).unwrap()
}

/// Lines of a run's `metrics.jsonl` of one part.
fn lines(place: &Place, run: &str, split: &str) -> Vec<Value> {
    let text = place.text(&format!("{run}/metrics.jsonl"));
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["split"] == split).collect()
}

/// Each negative of the whole data is there five times; of the sample once, with the weight 5.
#[test]
fn sampled_negatives_weigh_as_the_whole_data() {
    let place = weighted("");
    train(&place, "r", &[]);
    train(&place, "counted", &["data.weighted_metrics=false"]);
    let valid = place.text("valid.csv");
    let (mut whole, mut sample) = ("label,scenario,user,tags,price,w\n".to_string(), String::new());
    sample += &whole;
    for line in valid.lines().skip(1) {
        let values = line.rsplit_once(',').unwrap().0;
        let negative = line.starts_with('0');
        sample += &format!("{values},{}\n", if negative { 5 } else { 1 });
        whole += &format!("{values},1\n").repeat(if negative { 5 } else { 1 });
    }
    place.write("whole.csv", &whole);
    place.write("sample.csv", &sample);
    let positives = valid.lines().filter(|line| line.starts_with('1')).count();
    let negatives = 40 - positives;
    let (of_whole, of_sample) = (evaluate(&place, "r", "whole.csv"), evaluate(&place, "r", "sample.csv"));
    assert_eq!(of_whole["overall"]["rows"], positives + 5 * negatives);
    assert_eq!(
        (&of_sample["overall"]["rows"], &of_sample["overall"]["positives"]),
        (&40.into(), &positives.into())
    );
    assert_eq!(of_sample["overall"]["weight"], (positives + 5 * negatives) as f64);
    let squares = (positives + 25 * negatives) as f64;
    let effective = ((positives + 5 * negatives) as f64).powi(2) / squares;
    close("effective rows", of_sample["overall"]["effective_rows"].as_f64(), Some(effective));
    assert_eq!(of_whole["overall"]["effective_rows"], Value::Null);
    for set in ["/overall", "/scenarios/0", "/scenarios/1"] {
        let of = |document: &Value, metric: &str| document.pointer(set).unwrap()[metric].as_f64();
        assert_eq!(of(&of_whole, "auc"), of(&of_sample, "auc"));
        for metric in ["log_loss", "calibration"] {
            close(metric, of(&of_whole, metric), of(&of_sample, metric));
        }
    }
    // Without weights the sample has 5 times too few negatives.
    let of = |document: &Value, metric: &str| document["overall"][metric].as_f64().unwrap();
    let (whole, counted) =
        (evaluate(&place, "counted", "whole.csv"), evaluate(&place, "counted", "sample.csv"));
    assert!(counted.get("weighted_by").is_none() && counted["overall"].get("weight").is_none());
    let args = ["evaluate", "--json", "r", "--data", "sample.csv", "--set", "data.weighted_metrics=false"];
    assert_eq!(serde_json::from_str::<Value>(&good(&place, &args)).unwrap(), counted);
    let stderr = bad(&place, &[&args[..6], &["data.weighted_metrics=2"]].concat());
    assert!(stderr.starts_with("error: --set data.weighted_metrics=2: invalid type: "), "{stderr}");
    assert!(of(&counted, "calibration") < 0.6 * of(&whole, "calibration"), "{whole} {counted}");
}

/// Training, from memory and from disk, scores rows as `evaluate` and `report` do.
#[test]
fn every_command_weighs_alike_and_says_so() {
    let place = weighted("test = \"valid.csv\"\ngroup = \"user\"\n");
    for (run, mode) in [("memory", "never"), ("disk", "always")] {
        train(&place, run, &[&format!("data.stream.mode={mode}")]);
        let [test] = &lines(&place, run, "test")[..] else { panic!("one line") };
        let evaluated = evaluate(&place, run, "valid.csv");
        for key in ["weighted_by", "overall", "scenarios"] {
            assert_eq!(evaluated[key], test[key], "{run}");
        }
        assert_eq!(evaluated["weighted_by"], "w");
        let weights: f64 = (1..=40).map(weight).sum();
        assert_eq!(evaluated["overall"]["weight"], weights);
        let diagnostics = evaluated["diagnostics"].as_object().unwrap();
        assert!(!diagnostics.is_empty());
        for (name, value) in diagnostics {
            let wanted = test["diagnostics"][name].as_f64();
            // Sums of other blocks of rows, in `f32` within one.
            assert!((value.as_f64().unwrap() - wanted.unwrap()).abs() < 1e-6, "{name}: {value} {wanted:?}");
        }
        let table = good(&place, &["evaluate", run, "--data", "valid.csv"]);
        assert!(
            table.starts_with("metrics weighted by column 'w'\n") && table.contains("effective rows"),
            "{table}"
        );
        good(&place, &["report", run, "--data", "valid.csv", "--out", "r.html", "--json", "r.json"]);
        let report: Value = serde_json::from_str(&place.text("r.json")).unwrap();
        let overall = &report[0]["overall"];
        assert_eq!(report[0]["weighted_by"], "w");
        for metric in ["auc", "gauc", "log_loss", "calibration", "ece", "weight", "effective_rows"] {
            assert_eq!(overall[metric], evaluated["overall"][metric], "{metric}");
        }
        let bins = overall["bins"].as_array().unwrap();
        let of = |bin: &Value, key: &str| bin[key].as_f64().unwrap();
        let ece = bins.iter().map(|b| of(b, "share") * (of(b, "predicted") - of(b, "observed")).abs()).sum();
        close("ECE of the bins", overall["ece"].as_f64(), Some(ece));
        let roc: Vec<[f64; 2]> = serde_json::from_value(overall["roc"].clone()).unwrap();
        let area = roc.windows(2).map(|w| (w[1][0] - w[0][0]) * (w[0][1] + w[1][1]) / 2.0).sum();
        close("area of the curve", overall["auc"].as_f64(), Some(area));
        let page = place.text("r.html");
        assert!(
            page.contains("are weighted by column <code>w</code>: ") && page.contains("effective rows"),
            "{page}"
        );
    }
}

#[test]
fn a_comparison_weighs_its_rows() {
    let place = weighted("test = \"valid.csv\"\n");
    place.write("wide.toml", place.text("config.toml").replace("hidden = [8, 4]", "hidden = [12, 6]"));
    let out = good(&place, &["compare", "config.toml", "wide.toml", "--seeds", "2", "--quiet", "--out", "c"]);
    assert!(out.contains(" All metrics are weighted by column `w`: 32 rows, which say as much as "), "{out}");
    assert!(out.contains("| rows | positives | effective rows | AUC |"), "{out}");
    let document: Value = serde_json::from_str(&place.text("c/compare.json")).unwrap();
    assert_eq!(document["weighted_by"], "w");
    let auc = |configuration: usize, run: usize| {
        document["configurations"][configuration]["runs"][run]["test"]["overall"]["auc"].as_f64().unwrap()
    };
    let difference = (auc(1, 0) - auc(0, 0) + auc(1, 1) - auc(0, 1)) / 2.0;
    let main = document["differences"].as_array().unwrap().iter().find(|d| !d["verdict"].is_null()).unwrap();
    close("difference", main["rows"]["difference"].as_f64(), Some(difference));
    // Labels, predictions, weights.
    assert_eq!(place.bytes("c/wide/seed-1/test.f32").len(), 3 * 4 * 40);
    // Metrics that are weighted otherwise are not compared.
    place.write("wide.toml", place.text("config.toml").replace("weight = \"w\"\n", ""));
    let stderr = bad(&place, &["compare", "config.toml", "wide.toml", "--seeds", "2", "--out", "d"]);
    assert!(
        stderr.starts_with("error: wide.toml: data.weight is not given, but w in config.toml; weigh"),
        "{stderr}"
    );
    let counted = ["compare", "config.toml", "wide.toml", "--seeds", "1", "--quiet", "--out", "d", "--set"];
    let out = good(&place, &[&counted[..], &["data.weighted_metrics=false"]].concat());
    assert!(!out.contains("weighted"), "{out}");
}

/// Where a step changes nothing, a pass has the log loss of the training rows: that of training and that of metrics are one formula.
#[test]
fn the_log_loss_of_training_is_that_of_metrics() {
    let place = weighted("");
    let still =
        ["train.optimizer={ rule = \"sgd\", lr = 1e-30 }", "model.experts.dropout=0", "train.epochs=1"];
    train(&place, "r", &still);
    let [line] = &lines(&place, "r", "valid")[..] else { panic!("one line") };
    let wanted = evaluate(&place, "r", "train.csv")["overall"]["log_loss"].as_f64().unwrap();
    let found = line["train_log_loss"].as_f64().unwrap();
    assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
    // The penalty is on top.
    assert!(line["train_loss"].as_f64().unwrap() > found + 1e-4, "{line}");
}

/// The best step is that of the best watched value.
#[test]
fn early_stopping_watches_any_value() {
    let place = weighted("group = \"user\"\n");
    let scenario = |line: &Value, name: &str, metric: &str| {
        let scenarios = line["scenarios"].as_array().unwrap();
        scenarios.iter().find(|s| s["scenario"] == name).unwrap()[metric].as_f64().unwrap()
    };
    let mean =
        |line: &Value, metric: &str| (scenario(line, "home", metric) + scenario(line, "ads", metric)) / 2.0;
    let all = |line: &Value, metric: &str| line["overall"][metric].as_f64().unwrap();
    type Watched<'a> = &'a dyn Fn(&Value) -> f64;
    let watched: [(&str, Watched); 8] = [
        ("auc", &|line| all(line, "auc")),
        ("gauc", &|line| all(line, "gauc")),
        ("log_loss", &|line| -all(line, "log_loss")),
        ("mean_auc", &|line| mean(line, "auc")),
        ("mean_log_loss", &|line| -mean(line, "log_loss")),
        ("auc.home", &|line| scenario(line, "home", "auc")),
        ("gauc.ads", &|line| scenario(line, "ads", "gauc")),
        ("log_loss.ads", &|line| -scenario(line, "ads", "log_loss")),
    ];
    for (monitor, value) in watched {
        let set = format!("train.monitor={monitor}");
        // High rates, so that values rise and fall.
        train(&place, monitor, &[&set, "train.epochs=8", "train.patience=9", "train.optimizer.lr=0.3"]);
        let valid = lines(&place, monitor, "valid");
        let best = valid.iter().map(|line| (value(line), line["step"].as_u64().unwrap()));
        let first_best = best.reduce(|best, now| if now.0 > best.0 { now } else { best }).unwrap();
        let info = good(&place, &["inspect", "--json", monitor]);
        let info: Value = serde_json::from_str(&info).unwrap();
        assert_eq!((valid.len(), &info["best"]["step"]), (8, &first_best.1.into()), "{monitor}");
    }
}

#[test]
fn what_early_stopping_cannot_watch_is_said_before_training() {
    let place = weighted("");
    let refused = |sets: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let args = ["train", "--config", "config.toml", "--run", "r"];
        let stderr = bad(&place, &args.into_iter().chain(sets).collect::<Vec<_>>());
        assert!(!place.path("r/metrics.jsonl").exists());
        let message = stderr.lines().last().unwrap_or_default().to_string();
        message.strip_prefix("error: ").unwrap_or(&message).to_string()
    };
    let unknown = refused(&["train.monitor=auc.hom"]);
    let wanted =
        "`train.monitor`: is of the scenario 'hom', which no training row is of; did you mean 'home'?";
    assert!(unknown.ends_with(wanted), "{unknown}");
    let unknown = refused(&["train.monitor=auc.x"]);
    assert!(
        unknown.ends_with("; known scenarios: ads, home")
            || unknown.ends_with("; known scenarios: home, ads"),
        "{unknown}"
    );
    let gauc = refused(&["train.monitor=gauc"]);
    assert!(
        gauc.contains("is gauc, but there are no groups; name the column of the user in data.group"),
        "{gauc}"
    );
    let odd = refused(&["train.monitor=aux"]);
    assert!(odd.contains("unknown variant `aux`, expected `auc`, `gauc`, `log_loss`, with `mean_`"), "{odd}");
    let check = |set: &str| code(&place.run(&["check", "config.toml", "--set", set]), 0);
    assert!(!check("train.monitor=auc.home").contains("is undefined"));

    let valid = place.text("valid.csv");
    // `home` keeps rows of label 0 alone; then its rows lose their weight.
    let one = |line: &&str| !(line.starts_with('1') && line.contains(",home,"));
    place.write("valid.csv", valid.lines().filter(one).flat_map(|line| [line, "\n"]).collect::<String>());
    let undefined = refused(&["train.monitor=auc.home"]);
    let wanted = "valid.csv: has no rows of both labels in the scenario 'home', so that train.monitor = \"auc.home\" is undefined; ";
    assert!(undefined.starts_with(wanted), "{undefined}");
    let checked = check("train.monitor=auc.home");
    assert!(checked.contains(&format!("warning: {wanted}")), "{checked}");
    train(&place, "home", &["train.monitor=log_loss.home"]);
    // Scenarios that do not define it have no part in the mean.
    train(&place, "mean", &["train.monitor=mean_auc"]);
    // Every row is of a user of its own.
    let own = |(i, line): (usize, &str)| match i {
        0 => format!("{line}\n"),
        i => line.replace(",u", &format!(",u{i}-")) + "\n",
    };
    place.write("valid.csv", valid.lines().enumerate().map(own).collect::<String>());
    let undefined = refused(&["train.monitor=gauc", "data.group=user"]);
    let wanted =
        "valid.csv: has no rows of both labels in one group, so that train.monitor = \"gauc\" is undefined; ";
    assert!(undefined.starts_with(wanted), "{undefined}");
    let weightless = |line: &str| format!("{},0\n", line.rsplit_once(',').unwrap().0);
    let header = valid.split_inclusive('\n').take(1).map(str::to_string);
    place.write("valid.csv", header.chain(valid.lines().skip(1).map(weightless)).collect::<String>());
    let undefined = refused(&["train.monitor=log_loss"]);
    let wanted = "valid.csv: all 40 rows have the weight 0, so that their log loss, which early stopping watches, is undefined; ";
    assert!(undefined.starts_with(wanted), "{undefined}");
    train(&place, "counted", &["train.monitor=log_loss", "data.weighted_metrics=false"]);
}
