//! Versions of a model, and how requests are split between them.

use std::collections::BTreeMap;

use serde_json::json;

use crate::client::{Client, Reply};
use crate::toy::{Served, expected};

const ROW: &str = r#"[{"page": "home", "age": 1}]"#;

fn version(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["model_version"].as_str().unwrap().to_owned()
}

fn keyed(client: &mut Client, key: &str) -> String {
    let headers = [("Content-Type", "application/json"), ("X-Traffic-Key", key)];
    version(&client.ask("POST", "/predict", &headers, ROW.as_bytes()))
}

fn split() -> Served {
    Served::with(&[("ctr/1", 0.1), ("ctr/2", 0.2), ("ctr/3", 0.3)], |config| {
        config.shares = vec![("ctr".into(), "2".into(), 0.2), ("ctr".into(), "3".into(), 0.3)];
    })
}

#[test]
fn each_version_answers_for_itself() {
    let served = split();
    let mut client = served.client();
    for (version, offset) in [("1", 0.1), ("2", 0.2), ("3", 0.3)] {
        let reply = client.post(&format!("/v2/models/ctr/versions/{version}/predict"), ROW);
        assert_eq!(reply.probabilities(), [expected(offset, 1.0, 0.0)]);
        assert_eq!(reply.json()["model_version"], version);
    }
    served.end();
}

/// Points of `SHA-256("ctr" 0 key)` over 2⁶⁴, by Python's hashlib: version 2 has those below 0.2, version 3 those below 0.5.
#[test]
fn a_key_always_has_the_same_version() {
    let served = split();
    let mut client = served.client();
    for (key, wanted) in KEYS {
        for _ in 0..3 {
            assert_eq!(keyed(&mut client, key), wanted, "{key}");
        }
    }
    served.end();
}

/// A version's count among n requests is binomial: within 5 standard deviations but for one run in a million. With keys it is the
/// same each time, without them the spread is more even than that.
#[test]
fn requests_are_split_by_share() {
    let served = split();
    let mut client = served.client();
    let n = 2000;
    for with_keys in [true, false] {
        let mut counts = BTreeMap::new();
        for i in 0..n {
            let version = match with_keys {
                true => keyed(&mut client, &format!("user-{i}")),
                false => version(&client.post("/predict", ROW)),
            };
            *counts.entry(version).or_insert(0) += 1;
        }
        for (version, share) in [("1", 0.5), ("2", 0.2), ("3", 0.3)] {
            let n = f64::from(n);
            let (count, spread) = (f64::from(counts[version]), (n * share * (1.0 - share)).sqrt());
            assert!((count - n * share).abs() < 5.0 * spread, "{with_keys} {version}: {counts:?}");
        }
    }
    served.end();
}

#[test]
fn without_shares_the_first_version_answers() {
    let served = Served::with(&[("ctr/b", 0.2), ("ctr/a", 0.1)], |_| {});
    let mut client = served.client();
    for _ in 0..20 {
        assert_eq!(version(&client.post("/predict", ROW)), "b");
    }
    served.end();
}

#[test]
fn what_is_unloaded_leaves_its_share_to_others() {
    let served = split();
    let mut client = served.client();
    let unload = |client: &mut Client, version: &str| {
        let body = json!({ "parameters": { "version": version } }).to_string();
        assert_eq!(client.post("/v2/repository/models/ctr/unload", &body).status, 200);
    };
    let of_version_2 = KEYS.iter().find(|(_, version)| *version == "2").unwrap().0;
    unload(&mut client, "2");
    // Only its own keys move.
    for (key, version) in KEYS {
        assert_eq!(keyed(&mut client, key), if version == "2" { "1" } else { version }, "{key}");
    }
    let reply = client.post("/v2/models/ctr/versions/2/predict", ROW);
    assert_eq!((reply.status, &*reply.headers["retry-after"]), (503, "1"));
    assert!(
        reply.error().contains("model ctr, version 2, does not answer: it was unloaded"),
        "{}",
        reply.error()
    );
    assert_eq!(client.get("/v2/models/ctr/versions/2/ready").status, 503);
    // The first version's requests go to the next one.
    unload(&mut client, "1");
    for (key, _) in KEYS {
        assert_eq!(keyed(&mut client, key), "3");
    }
    let index = client.post("/v2/repository/index", "").json();
    let states: Vec<_> =
        index.as_array().unwrap().iter().map(|slot| slot["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["UNAVAILABLE", "UNAVAILABLE", "READY"]);
    let ready = client.post("/v2/repository/index", r#"{"ready": true}"#).json();
    assert_eq!(ready, json!([{ "name": "ctr", "version": "3", "state": "READY", "reason": "" }]));
    unload(&mut client, "3");
    assert_eq!(client.post("/predict", ROW).status, 503);
    assert_eq!(client.get("/v2/models/ctr/ready").status, 503);
    // The server itself is as ready as before, and loads them again.
    assert_eq!(client.get("/v2/health/ready").status, 200);
    assert_eq!(client.post("/v2/repository/models/ctr/load", "{}").status, 200);
    assert_eq!(keyed(&mut client, of_version_2), "2");
    served.end();
}

const KEYS: [(&str, &str); 8] = [
    ("ada", "2"),    // 0.121
    ("bob", "1"),    // 0.912
    ("eve", "3"),    // 0.298
    ("user-1", "1"), // 0.564
    ("user-2", "3"), // 0.298
    ("user-3", "2"), // 0.047
    ("7", "3"),      // 0.485
    ("8", "3"),      // 0.495
];
