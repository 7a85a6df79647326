//! The built-in data, as a first user trains it.

mod common;

use common::{Place, good};
use serde_json::Value;

/// The true probabilities have a test AUC of 0.832; a model of the generator's own form reaches 0.812.
#[test]
fn the_built_in_data_is_learned_as_well_as_by_its_own_form() {
    let text = good(&Place::empty(), &["train", "--quiet", "--json"]);
    let test = &serde_json::from_str::<Value>(&text).unwrap()["test"];
    let auc = test["overall"]["auc"].as_f64().unwrap();
    assert!((0.812..0.832).contains(&auc), "{auc}");
    for scenario in test["scenarios"].as_array().unwrap() {
        let calibration = scenario["calibration"].as_f64().unwrap();
        // Within 5 %, or two standard errors of the number of positives where that is more.
        let error = 2.0 / scenario["positives"].as_f64().unwrap().sqrt();
        assert!((calibration - 1.0).abs() < error.max(0.05), "{scenario}");
    }
}
