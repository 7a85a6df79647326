//! The built-in data, as a first user trains it.

mod common;

use common::{Place, good};
use serde_json::Value;

/// The true probabilities have a test AUC of 0.832; a model of the generator's own form reaches 0.812.
#[test]
fn the_built_in_data_is_learned_as_well_as_by_its_own_form() {
    let place = Place::empty();
    let text = good(&place, &["train", "--quiet", "--json"]);
    let done: Value = serde_json::from_str(&text).unwrap();
    let test = &done["test"];
    let auc = test["overall"]["auc"].as_f64().unwrap();
    assert!((0.812..0.832).contains(&auc), "{auc}");
    for scenario in test["scenarios"].as_array().unwrap() {
        let calibration = scenario["calibration"].as_f64().unwrap();
        // Within 5 %, or two standard errors of the number of positives where that is more.
        let error = 2.0 / scenario["positives"].as_f64().unwrap().sqrt();
        assert!((calibration - 1.0).abs() < error.max(0.05), "{scenario}");
    }
    // Trained on the same rows, as a run of its own.
    let dnn = &done["dnn"]["overall"];
    assert_eq!(dnn["rows"], test["overall"]["rows"]);
    let evaluate = ["evaluate", "runs/default/dnn", "--data", "runs/default/data/test.csv", "--json"];
    let own: Value = serde_json::from_str(&good(&place, &evaluate)).unwrap();
    assert_eq!(own["overall"]["auc"], dnn["auc"]);
    assert!(dnn["auc"].as_f64().unwrap() < auc);
}

/// The closing table has the other model and the ceiling beside the AUC, resumed or not; a run of other data has not.
#[test]
fn dnn_stands_beside_the_model_on_the_built_in_data_alone() {
    let place = Place::empty();
    let small = ["train", "--rows", "4000", "--set", "train.epochs=2", "--quiet", "--run", "r"];
    let table = good(&place, &small);
    let columns: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(columns[3..6], ["AUC", "dnn", "ceiling"]);
    assert_eq!(good(&place, &["train", "--run", "r", "--resume", "--quiet"]), table);
    let alone = good(&place, &[&small[..6], &["--run", "d", "--set", "model.kind=dnn"]].concat());
    assert!(!alone.lines().next().unwrap().contains("dnn"), "{alone}");
    let again = good(&place, &["train", "--config", "r/config.toml", "--run", "c", "--quiet"]);
    assert!(!again.lines().next().unwrap().contains("dnn"), "{again}");
}
