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
    assert_eq!(error, "none/schema.json: cannot write: No such file or directory (os error 2)");
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
