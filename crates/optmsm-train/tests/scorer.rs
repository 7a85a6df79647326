//! A run that answers values which a program holds: what the program predicts for the same rows of a file.

mod common;

use common::{CONFIG, Place, code, good};
use optmsm_core::fold::FoldOptions;
use optmsm_core::models::Kind;
use optmsm_data::Datum;
use optmsm_train::scorer::{Scorer, ScorerOptions};
use serde_json::{Value, json};

/// How far apart probabilities may be where sums have another order: terms are below 64 and fewer than 64, and σ is at most a quarter as
/// steep as its logit.
const APART: f32 = 64.0 * 64.0 / 4.0 * f32::EPSILON;

/// Rows with values and a scenario that training did not see, lists and missing values among them.
fn rows() -> Vec<Value> {
    (0..60)
        .map(|i| {
            let tags = [json!(["a", "b"]), json!([]), json!("c"), json!(["b", "q"])][i % 4].clone();
            let price = if i % 5 == 0 { Value::Null } else { json!(i as f64 / 2.0) };
            let (scenario, user) = (["home", "ads", "new"][i % 3], format!("u{}", i % 12));
            json!({"scenario": scenario, "user": user, "tags": tags, "price": price})
        })
        .collect()
}

/// The same rows as text.
fn csv(rows: &[Value]) -> String {
    let mut text = "scenario,user,tags,price\n".to_string();
    for row in rows {
        let tags = match &row["tags"] {
            Value::Array(tags) => tags.iter().map(|t| t.as_str().unwrap()).collect::<Vec<_>>().join("|"),
            other => other.as_str().unwrap().to_string(),
        };
        let price = if row["price"].is_null() { String::new() } else { row["price"].to_string() };
        let [scenario, user] = ["scenario", "user"].map(|key| row[key].as_str().unwrap());
        text += &format!("{scenario},{user},{tags},{price}\n");
    }
    text
}

/// A trained run `run` of a kind, whose scenarios may be new.
fn trained(kind: Kind) -> Place {
    let place = Place::new(&CONFIG.replace("[data]", "[data]\nunseen_scenario = \"oov\""), 64, 9);
    let kind = format!("model.kind={}", kind.name());
    code(&place.run(&["train", "--config", "config.toml", "--run", "run", "--quiet", "--set", &kind]), 0);
    place
}

fn open(place: &Place, fold: Option<FoldOptions>) -> Scorer {
    Scorer::open(&place.path("run"), &ScorerOptions { fold, ..ScorerOptions::default() }).unwrap()
}

fn predicted(place: &Place, rows: &[Value]) -> Vec<f32> {
    place.write("rows.csv", csv(rows));
    let text = good(place, &["predict", "run", "--data", "rows.csv", "--out", "-"]);
    text.lines().skip(1).map(|line| line.rsplit_once(',').unwrap().1.parse().unwrap()).collect()
}

fn score(scorer: &Scorer, rows: &[Value]) -> Vec<f32> {
    let get = |column: usize, row: usize| Datum::of(&rows[row][&scorer.columns()[column].name]);
    scorer.score(rows.len(), get).unwrap().probabilities
}

#[test]
fn every_kind_answers_values_as_it_predicts_files() {
    let rows = rows();
    for &kind in Kind::ALL {
        let place = trained(kind);
        let (expected, scorer) = (predicted(&place, &rows), open(&place, None));
        assert_eq!(score(&scorer, &rows), expected, "{}", kind.name());
        let folded = score(&open(&place, Some(FoldOptions::default())), &rows);
        for (row, (folded, expected)) in folded.iter().zip(&expected).enumerate() {
            let apart = (folded - expected).abs();
            assert!(apart <= APART, "{} row {row}: {folded} {expected}", kind.name());
        }
    }
}

#[test]
fn candidates_have_what_is_beside_them_in_common() {
    let (place, all) = (trained(Kind::OptMsm), rows());
    let user = json!({"scenario": "ads", "user": "u3"});
    let items: Vec<Value> =
        all.iter().map(|row| json!({"tags": row["tags"], "price": row["price"]})).collect();
    let whole: Vec<Value> = items
        .iter()
        .map(|item| {
            let mut whole = user.clone();
            whole.as_object_mut().unwrap().extend(item.as_object().unwrap().clone());
            whole
        })
        .collect();
    let expected = predicted(&place, &whole);
    for fold in [None, Some(FoldOptions::default())] {
        let scorer = open(&place, fold);
        let name = |column: usize| &*scorer.columns()[column].name;
        let common = |column: usize| user.get(name(column)).map(Datum::of);
        let item = |column: usize, row: usize| Datum::of(&items[row][name(column)]);
        let found = scorer.candidates(items.len(), common, item).unwrap();
        for (found, expected) in found.probabilities.iter().zip(&expected) {
            let allowed = if fold.is_some() { APART } else { 0.0 };
            assert!((found - expected).abs() <= allowed, "{found} {expected}");
        }
        assert_eq!(found.scenarios, vec![0; items.len()]);
        assert!(scorer.candidates(0, common, item).unwrap().probabilities.is_empty());
        let nowhere = |column: usize| common(column).filter(|_| column > 0);
        let error = scorer.candidates(1, nowhere, item).unwrap_err().to_string();
        assert!(error.contains("names no 'scenario'"), "{error}");
        let list = json!(["a"]);
        let wrong = |column: usize| if column == 1 { Some(Datum::of(&list)) } else { common(column) };
        let error = scorer.candidates(1, wrong, item).unwrap_err().to_string();
        assert!(error.starts_with("the user of the request, column 'user': is a list"), "{error}");
    }
}

#[test]
fn values_that_training_did_not_keep_are_counted() {
    let place = trained(Kind::OptMsm);
    let scorer = open(&place, None);
    let rows = [
        json!({"scenario": "home", "user": "u1", "tags": ["a", "q", "r"], "price": 1}),
        json!({"scenario": "home", "user": "nobody", "tags": [], "price": null}),
        json!({"scenario": "else", "user": "nobody", "tags": ["b"], "price": 2}),
    ];
    let get = |column: usize, row: usize| Datum::of(&rows[row][&scorer.columns()[column].name]);
    let found = scorer.score(rows.len(), get).unwrap();
    let names: Vec<&str> = scorer.columns().iter().map(|column| &*column.name).collect();
    assert_eq!(names, ["scenario", "user", "tags", "price"]);
    assert_eq!(found.unknown, [0, 2, 2, 0]);
    let scenarios: Vec<&str> = scorer.scenarios().collect();
    assert_eq!(scenarios, ["ads", "home", "<unseen>"]);
    assert_eq!(found.scenarios, [1, 1, 2]);
    // Values that candidates have in common count once.
    let user = |column: usize| (column < 2).then(|| Datum::of(&rows[1][&scorer.columns()[column].name]));
    let found = scorer.candidates(3, user, get).unwrap();
    assert_eq!(found.unknown, [0, 1, 2, 0]);
}

#[test]
fn a_damaged_run_and_a_bad_value_are_errors() {
    let place = trained(Kind::Dnn);
    let scorer = open(&place, None);
    let row = json!({"scenario": "home", "user": "u1", "tags": [], "price": "dear"});
    let error = scorer.score(1, |column, _| Datum::of(&row[&scorer.columns()[column].name])).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("the request, row 1, column 'price': \"dear\" is not a number"), "{text}");
    let best = place.path("run/checkpoints/best.safetensors");
    let bytes = std::fs::read(&best).unwrap();
    std::fs::write(&best, &bytes[..bytes.len() / 2]).unwrap();
    let error = Scorer::open(&place.path("run"), &ScorerOptions::default()).unwrap_err().to_string();
    assert!(error.contains("truncated or damaged"), "{error}");
}
