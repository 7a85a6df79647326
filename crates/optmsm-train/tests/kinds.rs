//! Every kind of model through the program, and a run from before there were kinds.

mod common;

use std::path::Path;

use common::{CONFIG, Place, code, good};
use optmsm_core::models::{Kind, ModelConfig};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// The last column of a file of predictions.
fn predictions(text: &str) -> Vec<f64> {
    text.lines().skip(1).map(|line| line.rsplit_once(',').unwrap().1.parse().unwrap()).collect()
}

/// Data that kinds are trained on.
struct Rows<'a> {
    place: Place,
    /// Arguments of `train`: the configuration, and changes of it.
    train: Vec<String>,
    /// Labelled rows to answer.
    answer: String,
    /// Steps of an interrupted run, in the second of two passes.
    stop: &'a str,
}

impl Rows<'_> {
    /// Trains, stops, resumes, predicts, scores and reports every kind with its default settings; returns the scores.
    fn go_all_the_way(&self) -> Vec<(Kind, Value)> {
        Kind::ALL.iter().map(|&kind| (kind, self.goes_all_the_way(kind))).collect()
    }

    fn goes_all_the_way(&self, kind: Kind) -> Value {
        let Self { place, answer, .. } = self;
        let name = kind.name();
        let [whole, parts] = ["whole", "parts"].map(|run| format!("{name}-{run}"));
        let train = |run: &str, more: &[&str], exit: i32| {
            let kind = format!("model.kind={name}");
            let own: Vec<&str> = self.train.iter().map(String::as_str).collect();
            let args = ["--run", run, "--quiet", "--set", "train.epochs=2", "--set", &kind];
            code(&place.run(&[&["train"], &own[..], &args, more].concat()), exit);
        };
        train(&whole, &[], 0);
        train(&parts, &["--max-steps", self.stop], 130);
        code(&place.run(&["train", "--resume", "--run", &parts, "--quiet"]), 0);
        let predict = |run: &str| good(place, &["predict", run, "--data", answer, "--out", "-"]);
        let text = predict(&whole);
        assert!(predict(&parts) == text, "{name}: a resumed run is another");
        let found = predictions(&text);
        assert!(found.iter().all(|p| *p > 0.0 && *p < 1.0), "{name}: {found:?}");
        assert!(found.iter().any(|p| *p != found[0]), "{name}: {} for every row", found[0]);
        let inspected: Value = serde_json::from_str(&good(place, &["inspect", &whole, "--json"])).unwrap();
        let named = inspected["tensors"].as_array().unwrap();
        assert!(named.iter().all(|t| t["dtype"] != Value::Null), "{inspected}");
        code(&place.run(&["report", &whole, "--out", "report.html"]), 0);
        serde_json::from_str(&good(place, &["evaluate", &whole, "--data", answer, "--json"])).unwrap()
    }
}

/// Two passes over thousands of rows teach a model more than the share of positives: its log loss is below that share's entropy.
fn all_have_learnt(scores: &[(Kind, Value)]) {
    for (kind, score) in scores {
        let [rows, positives, loss] =
            ["rows", "positives", "log_loss"].map(|key| score["overall"][key].as_f64().unwrap());
        let p = positives / rows;
        let entropy = -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
        println!("{:15} log loss {loss:.4}, of a constant {entropy:.4}", kind.name());
        assert!(loss < entropy, "{}: log loss {loss:.4}, of a constant {entropy:.4}", kind.name());
    }
}

#[test]
fn every_kind_trains_resumes_predicts_and_reports() {
    let place = Place::new(CONFIG, 64, 9);
    for kind in Kind::ALL {
        code(&place.run(&["check", "config.toml", "--set", &format!("model.kind={}", kind.name())]), 0);
    }
    let train = ["--config", "config.toml"].map(String::from).to_vec();
    Rows { place, train, answer: "valid.csv".into(), stop: "5" }.go_all_the_way();
}

#[test]
fn every_kind_learns_the_built_in_data() {
    let place = Place::empty();
    code(&place.run(&["synth", "--rows", "2000", "--out", "rows.csv"]), 0);
    let train = ["--rows", "20000", "--set", "train.batch_size=256"].map(String::from).to_vec();
    all_have_learnt(&Rows { place, train, answer: "rows.csv".into(), stop: "80" }.go_all_the_way());
}

/// The coupons of the UCI repository, by the configuration that `init` writes.
#[test]
fn every_kind_learns_from_coupons() {
    let Ok(data) = std::env::var("OPTMSM_COUPON") else {
        println!("SKIPPED: OPTMSM_COUPON names no folder; see examples/README.md for the data");
        return;
    };
    let (place, data) = (Place::empty(), format!("{data}/in-vehicle-coupon-recommendation.csv"));
    code(&place.run(&["init", &data, "--scenario", "coupon", "--out", "coupon.toml"]), 0);
    let split = "data.split={ valid = 0.1, test = 0.1, by = \"row\" }";
    let train = ["--config", "coupon.toml", "--set", split].map(String::from).to_vec();
    all_have_learnt(&Rows { place, train, answer: data, stop: "50" }.go_all_the_way());
}

#[test]
fn every_kind_learns_movielens() {
    let Ok(data) = std::env::var("OPTMSM_ML_100K") else {
        println!("SKIPPED: OPTMSM_ML_100K names no folder; see examples/README.md for the data");
        return;
    };
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/ml-100k.toml");
    let train = ["--config", shipped, "--set", &format!("data_dir={data}")].map(String::from).to_vec();
    let answer = format!("{data}/test.csv");
    all_have_learnt(&Rows { place: Place::empty(), train, answer, stop: "50" }.go_all_the_way());
}

/// Values that training has not seen: a vocabulary takes all of them for one, buckets tell them apart, one bucket tells nothing
/// apart.
#[test]
fn every_kind_reads_hashed_fields() {
    let place = Place::new(CONFIG, 64, 9);
    let rows = [("u1", "a"), ("new", "a"), ("newer", "a"), ("u1", "unseen"), ("u1", "unheard")];
    let lines: String = rows.iter().map(|(user, tag)| format!("home,{user},{tag},1.5\n")).collect();
    place.write("rows.csv", format!("scenario,user,tags,price\n{lines}"));
    for kind in Kind::ALL {
        let name = kind.name();
        let answers = |buckets: Option<usize>| {
            let line = buckets.map_or(String::new(), |n| format!("hash_buckets = {n}\n"));
            let run = format!("{name}-{}", buckets.unwrap_or(0));
            let hashed = ["user", "tags"].iter().fold(CONFIG.to_string(), |config, field| {
                let field = format!("name = \"{field}\"\n");
                config.replace(&field, &format!("{field}{line}"))
            });
            place.write("hashed.toml", hashed);
            let set = format!("model.kind={name}");
            let args = ["train", "--config", "hashed.toml", "--run", &run, "--quiet", "--set", &set];
            // Rows that no step has moved are of a size to be told apart by.
            let more = ["--set", "train.epochs=1", "--set", "model.init_std=0.5"];
            code(&place.run(&[&args[..], &more].concat()), 0);
            predictions(&good(&place, &["predict", &run, "--data", "rows.csv", "--out", "-"]))
        };
        let vocabulary = answers(None);
        assert!(vocabulary[1] == vocabulary[2] && vocabulary[3] == vocabulary[4], "{name}: {vocabulary:?}");
        assert!(vocabulary[0] != vocabulary[1] && vocabulary[0] != vocabulary[3], "{name}: {vocabulary:?}");
        let one = answers(Some(1));
        assert!(one.iter().all(|p| *p == one[0]), "{name}, one bucket: {one:?}");
        let many = answers(Some(1000));
        let apart = |a: usize, b: usize| assert!(many[a] != many[b], "{name}, 1000 buckets: {many:?}");
        [(0, 1), (1, 2), (0, 3), (3, 4)].into_iter().for_each(|(a, b)| apart(a, b));
    }
}

#[test]
fn settings_of_another_kind_are_said_not_to_be_read() {
    let place = Place::new(CONFIG, 64, 9);
    let args = ["train", "--config", "config.toml", "--run", "r", "--set", "train.epochs=1"];
    let sets = ["--set", "model.kind=mmoe", "--set", "model.star.hidden=[7]"];
    let stderr = code(&place.run(&[&args[..], &sets].concat()), 0);
    assert!(stderr.contains("warning: model.star is not read by model.kind = \"mmoe\""), "{stderr}");
    assert!(!stderr.contains("model.mmoe is not read"), "{stderr}");
}

#[test]
fn an_unknown_kind_or_setting_is_refused_by_name() {
    let place = Place::new(CONFIG, 64, 9);
    let args = ["check", "config.toml", "--set"];
    let refused = |set: &str| code(&place.run(&[&args[..], &[set]].concat()), 2);
    let stderr = refused("model.kind=moe");
    assert!(stderr.contains("unknown variant `moe`") && stderr.contains("`mmoe`"), "{stderr}");
    let stderr = refused("model.mmoe.expert.count=3");
    assert!(stderr.contains("did you mean 'experts'?"), "{stderr}");
    let stderr = code(
        &place.run(&[&args[..], &["model.mmoe.experts.count=5000", "--set", "model.kind=mmoe"]].concat()),
        2,
    );
    assert!(stderr.contains("model.mmoe.experts.count") && stderr.contains("at most 1024"), "{stderr}");
    let stderr = code(&place.run(&["models", "shared-bottom"]), 2);
    assert!(stderr.contains("did you mean 'shared_bottom'?"), "{stderr}");
}

/// A kind's settings as TOML.
struct Own(ModelConfig);

impl Serialize for Own {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_own(to)
    }
}

/// Dotted keys of all values in a table.
fn leaves(at: &str, table: &toml::Table) -> Vec<(String, toml::Value)> {
    let leaf = |(key, value): (&String, &toml::Value)| match value {
        toml::Value::Table(inner) => leaves(&format!("{at}.{key}"), inner),
        value => vec![(format!("{at}.{key}"), value.clone())],
    };
    table.iter().flat_map(leaf).collect()
}

/// Settings that a table leaves out have the kind's default, however deep. A setting given at its default changes no
/// other.
#[test]
fn a_setting_at_its_default_changes_nothing() {
    let mut seen = 0;
    for &kind in Kind::ALL.iter().filter(|kind| **kind != Kind::OptMsm) {
        let plain = ModelConfig { kind, ..ModelConfig::default() };
        let own = toml::Table::try_from(Own(plain.clone())).unwrap();
        for (key, value) in leaves(&format!("model.{}", kind.name()), &own) {
            let mut table = nested(&key, value);
            let model = table["model"].as_table_mut().unwrap();
            model.insert("kind".into(), kind.name().into());
            let found: Root = table.try_into().unwrap();
            assert_eq!(found.model, plain, "{key}");
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen} settings");
}

/// The part of a configuration that is looked at.
#[derive(Deserialize)]
struct Root {
    model: ModelConfig,
}

/// A table of tables that ends in a value.
fn nested(key: &str, value: toml::Value) -> toml::Table {
    match key.split_once('.') {
        Some((first, rest)) => toml::Table::from_iter([(first.to_string(), nested(rest, value).into())]),
        None => toml::Table::from_iter([(key.to_string(), value)]),
    }
}

#[test]
fn models_lists_every_kind_with_its_sizes() {
    let place = Place::new(CONFIG, 64, 9);
    let listed: Value = serde_json::from_str(&good(&place, &["models", "--json"])).unwrap();
    let listed = listed.as_array().unwrap();
    let names: Vec<&str> = listed.iter().map(|m| m["kind"].as_str().unwrap()).collect();
    assert_eq!(names, Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>());
    // A dnn by hand: 8 fields of width 16 and z_s of 16, then 192, 64 and 1 units; 4 scenarios.
    let dnn = listed.iter().find(|m| m["kind"] == "dnn").unwrap();
    assert_eq!(dnn["multiply_adds"].as_f64().unwrap(), f64::from(144 * 192 + 192 * 64 + 64));
    // Weights, biases, scenario embeddings, and the vector of the one numeric field.
    let biases = 192 + 64 + 1;
    assert_eq!(dnn["parameters"], 144 * 192 + 192 * 64 + 64 + biases + 4 * 16 + 16);
    let text = String::from_utf8(place.run(&["models", "star"]).stdout).unwrap();
    assert!(text.contains("Sheng et al., CIKM 2021") && text.contains("[model.star.aux]"), "{text}");
}

/// Kinds and options that `gradcheck` checked, without its control, which must have been there and caught.
fn checked(place: &Place, args: &[&str]) -> Vec<(String, String)> {
    let args = [&["gradcheck", "--json", "--models"], args].concat();
    let found: Value = serde_json::from_str(&good(place, &args)).unwrap();
    assert_eq!(found["passed"], true, "{found}");
    let (controls, cases): (Vec<_>, Vec<_>) =
        found["cases"].as_array().unwrap().iter().partition(|case| case["control"] == true);
    let limit = found["limit"].as_f64().unwrap();
    let worst = |case: &Value| {
        case["layers"].as_object().unwrap().values().map(|e| e.as_f64().unwrap()).fold(0.0, f64::max)
    };
    assert!(controls.len() == 1 && worst(controls[0]) > limit, "{controls:?}");
    assert!(cases.iter().all(|case| worst(case) < limit));
    let text = |case: &Value, key: &str| case[key].as_str().unwrap().to_string();
    cases.into_iter().map(|case| (text(case, "kind"), text(case, "option"))).collect()
}

#[test]
fn gradcheck_lists_every_option_of_the_kinds_it_is_given() {
    let place = Place::empty();
    let options = |kinds: &[Kind]| -> Vec<(String, String)> {
        let of = |kind: &Kind| {
            let name = kind.name().to_string();
            kind.cases().into_iter().map(move |case| (name.clone(), case.name))
        };
        kinds.iter().flat_map(of).collect()
    };
    assert_eq!(checked(&place, &[]), options(Kind::ALL));
    // In the order of the list, each once.
    assert_eq!(checked(&place, &["star", "dnn", "star"]), options(&[Kind::Dnn, Kind::Star]));
    let stderr = code(&place.run(&["gradcheck", "--models", "dnn", "shared-bottom"]), 2);
    assert_eq!(
        stderr.trim_end(),
        "error: gradcheck --models: no kind is named 'shared-bottom'; did you mean 'shared_bottom'?"
    );
}

/// By default every kind has about the parameters of OptMSM, so that a comparison is one of ideas.
#[test]
fn kinds_are_of_one_size_by_default() {
    let place = Place::new(CONFIG, 64, 9);
    let listed: Value = serde_json::from_str(&good(&place, &["models", "--json"])).unwrap();
    let sizes: Vec<f64> =
        listed.as_array().unwrap().iter().map(|m| m["parameters"].as_f64().unwrap()).collect();
    for (kind, size) in Kind::ALL.iter().zip(&sizes) {
        let ratio = size / sizes[0];
        assert!((0.8..=1.2).contains(&ratio), "{}: {ratio:.2} of OptMSM's parameters", kind.name());
    }
}

/// A run folder of a version that knew OptMSM alone answers and goes on as that version did.
#[test]
fn a_run_from_before_there_were_kinds_goes_on() {
    let place = Place::empty();
    std::fs::create_dir_all(place.path("run/checkpoints")).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/run-0.1");
    for file in ["config.json", "config.toml", "data.json", "metrics.jsonl", "schema.json"] {
        place.write(&format!("run/{file}"), std::fs::read_to_string(from.join(file)).unwrap());
    }
    place.write("rows.csv", std::fs::read_to_string(from.join("rows.csv")).unwrap());
    for name in ["best", "last"] {
        let name = format!("checkpoints/{name}.safetensors");
        std::fs::copy(from.join(&name), place.path(&format!("run/{name}"))).unwrap();
    }
    let expected = |file: &str| std::fs::read_to_string(from.join(file)).unwrap();
    // A few thousand f32 operations on numbers of order 1, in another order on another instruction set.
    let same = |file: &str| {
        code(&place.run(&["predict", "run", "--data", "rows.csv", "--out", "p.csv"]), 0);
        let (found, wanted) = (predictions(&place.text("p.csv")), predictions(&expected(file)));
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!((found - wanted).abs() < 1e-4, "{file}: {found} {wanted}");
        }
    };
    same("predictions.csv");
    let found: Value =
        serde_json::from_str(&good(&place, &["evaluate", "run", "--data", "rows.csv", "--json"])).unwrap();
    let wanted: Value = serde_json::from_str(&expected("evaluation.json")).unwrap();
    for name in wanted["diagnostics"].as_object().unwrap().keys() {
        let [found, wanted] = [&found, &wanted].map(|of| of["diagnostics"][name].as_f64().unwrap());
        assert!((found - wanted).abs() < 1e-4, "{name}: {found} {wanted}");
    }
    let here = format!("data_dir={:?}", place.path("").display().to_string());
    let args = ["train", "--resume", "--run", "run", "--set", "train.epochs=3", "--quiet", "--set", &here];
    code(&place.run(&args), 0);
    same("continued.csv");
}
