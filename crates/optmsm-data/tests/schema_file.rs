//! `schema.json`: exact on the way out and back, and clear about files that are not it.

mod common;

use common::*;
use optmsm_data::{DataConfig, Quoting, Schema, UnseenScenario};

fn sample() -> Schema {
    // 0.1 + 0.2 and thirds: numbers that a sloppy round trip would change.
    let text = "label,scenario,città,tags,x\n1,ü,\"a\"\"b\",x|y,0.1\n0,web,,,0.2\n0,web,\"c\nd\",y,\n1,web,c,,1e-7\n";
    let config = DataConfig {
        unseen_scenario: UnseenScenario::Oov,
        quoting: Quoting::Standard,
        ..config(vec![categorical("città"), multi("tags"), numeric("x")])
    };
    fit(&config, text)
}

#[test]
fn comes_back_exactly() {
    let files = Files::new();
    let path = files.path("schema.json");
    let schema = sample();
    schema.save(&path).unwrap();
    let loaded = Schema::load(&path).unwrap();
    assert_eq!(loaded, schema);
    assert_eq!(loaded.fingerprint(), schema.fingerprint());
    assert_eq!(loaded.input_spec(), schema.input_spec());
    let text = "label,scenario,città,tags,x\n1,ü,c,y|q,\n";
    let need = optmsm_data::Need::Labelled;
    assert_eq!(read(&loaded, text, need).unwrap(), read(&schema, text, need).unwrap());
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!((json["format"].as_str(), json["version"].as_u64()), (Some("optmsm-schema"), Some(3)));
}

#[test]
fn the_fingerprint_is_of_the_content() {
    let schema = sample();
    assert_eq!(schema.fingerprint().len(), 64);
    let mut other = schema.clone();
    other.scenarios[0].rows += 1;
    assert_ne!(other.fingerprint(), schema.fingerprint());
}

#[test]
fn other_files_are_told_apart() {
    let files = Files::new();
    let message = |bytes: &[u8]| files.plain(Schema::load(files.write("schema.json", bytes)).unwrap_err());
    assert_eq!(
        files.plain(Schema::load(files.path("none.json")).unwrap_err()),
        "none.json: no such file; give the folder of a run, which holds its schema.json"
    );
    let foreign = "schema.json: this is not a schema; give the schema.json of a run";
    assert_eq!([message(b"{}"), message(b"[1]"), message(br#"{"format":"x","version":1}"#)], [foreign; 3]);
    assert_eq!(
        message(br#"{"format":"optmsm-schema","version":4,"schema":"unknown"}"#),
        "schema.json: schema version 4, but this program reads 1 to 3; use the program that wrote it, or train again"
    );
    assert_eq!(
        message(b""),
        "schema.json: the schema is damaged: EOF while parsing a value at line 1 column 0; \
         restore the file, or train again"
    );

    let path = files.path("good.json");
    sample().save(&path).unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    for cut in [1, good.len() / 2, good.len() - 3] {
        let error = message(&good.as_bytes()[..cut]);
        assert!(error.starts_with("schema.json: the schema is damaged: EOF while parsing"), "{cut}: {error}");
    }
    let changed = good.replace("\"rows\": 4", "\"rows\": 5");
    assert_ne!(changed, good);
    assert_eq!(
        message(changed.as_bytes()),
        "schema.json: the schema was changed after it was written: its fingerprint differs; \
         restore the file, or train again"
    );
}

#[test]
fn saving_where_nothing_can_be_written_is_an_error() {
    let files = Files::new();
    let path = files.path("none").join("schema.json");
    let error = files.plain(sample().save(&path).unwrap_err());
    assert_eq!(
        error,
        "none/schema.json: cannot write: No such file or directory (os error 2); check the path"
    );
}

#[test]
fn damage_anywhere_is_an_error_and_never_a_panic() {
    let files = Files::new();
    let path = files.path("good.json");
    sample().save(&path).unwrap();
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 7);
        let loaded = Schema::load(files.write("bad.json", &bad));
        // White space between values is the only thing that may change.
        assert!(loaded.is_err() || good[at].is_ascii_whitespace(), "byte {at}");
    }
}

/// The message of a schema that was changed and signed again.
fn resigned(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let files = Files::new();
    let mut json = serde_json::to_value(sample()).unwrap();
    change(&mut json);
    let path = files.path("schema.json");
    let schema: Schema = serde_json::from_value(json).unwrap();
    schema.save(&path).unwrap();
    files.plain(Schema::load(&path).unwrap_err())
}

#[test]
fn what_no_training_file_gives_is_an_error_behind_a_good_fingerprint() {
    type Change = fn(&mut serde_json::Value);
    use serde_json::json;
    let cases: [(Change, &str); 17] = [
        (|s| s["scenarios"] = json!([]), "it has no scenario"),
        (|s| s["scenarios"].as_array_mut().unwrap().truncate(2), "it has no scenario"),
        (|s| s["scenarios"][2]["name"] = json!("x"), "it has no scenario"),
        (|s| s["scenarios"].as_array_mut().unwrap().swap(0, 1), "its scenarios are not in order"),
        (|s| s["scenarios"][1]["name"] = s["scenarios"][0]["name"].clone(), "its scenarios are not in order"),
        (|s| s["scenarios"][0]["positives"] = json!(9), "a scenario has more positive rows than rows"),
        (|s| s["rows"] = json!(5), "its scenarios have another number of rows than it has"),
        (|s| s["fields"] = json!([]), "config `fields`: there is no field"),
        (|s| s["fields"][1]["name"] = json!("città"), "config `fields`: field 'città' is named twice"),
        (
            |s| s["fields"][1]["encoding"]["multi"]["vocabulary"] = json!(["x", "y", "x"]),
            "field \"tags\" has \"x\" twice in its list",
        ),
        (
            |s| s["fields"][1]["encoding"]["multi"]["vocabulary"] = json!({"ids": u32::MAX}),
            "field \"tags\" has 4294967296 ids, more than 2147483648",
        ),
        (
            |s| {
                s["fields"][1]["encoding"]["multi"]["vocabulary"] =
                    json!({"hash": {"buckets": u32::MAX, "salt": ""}})
            },
            "field \"tags\" has 4294967296 ids, more than 2147483648",
        ),
        (
            |s| s["fields"][1]["encoding"]["multi"]["vocabulary"] = json!({"table": "t"}),
            "field \"tags\" takes its ids from a table that it does not share",
        ),
        (
            |s| s["fields"][1]["encoding"]["multi"]["separator"] = json!(""),
            "field \"tags\" has separators that part nothing",
        ),
        (
            |s| s["fields"][2]["encoding"]["numeric"]["stats"]["std"] = json!(-1.0),
            "field \"x\" has statistics that no numbers have",
        ),
        (
            |s| s["fields"][2]["encoding"]["numeric"]["ladder"] = json!([2.0, 1.0]),
            "field \"x\" has quantiles that are not in order",
        ),
        (
            |s| {
                let stats = s["fields"][2]["encoding"]["numeric"]["stats"].clone();
                s["fields"][2]["encoding"] = json!({"buckets": {"cuts": [1.0, 1.0], "stats": stats}});
            },
            "field \"x\" has buckets that are not in order",
        ),
    ];
    for (change, wanted) in cases {
        let error = resigned(change);
        assert!(
            error.starts_with(&format!("schema.json: the schema is damaged: {wanted}")),
            "{error}\n{wanted}"
        );
        assert!(error.ends_with("; restore the file, or train again"), "{error}");
    }
}
