//! One user, many items.

use serde_json::json;

use crate::toy::{Served, expected};

#[test]
fn items_are_predicted_for_a_user() {
    let served = Served::one();
    let mut client = served.client();
    let items = json!([{ "city": "oslo" }, { "city": "a" }, {}, { "city": null }]);
    let wanted = [4.0, 1.0, 0.0, 0.0].map(|letters| expected(0.1, 30.0, letters));
    for body in [
        json!({ "user": { "age": 30 }, "scenario": "home", "items": items }),
        json!({ "items": items, "scenario": "home", "user": { "age": 30, "other": 1 }, "top": null }),
        json!({ "user": { "age": 30, "page": "home" }, "items": items }),
    ] {
        assert_eq!(client.post("/predict", &body.to_string()).probabilities(), wanted, "{body}");
    }
    // Each item may have a scenario of its own, and there need be no user.
    let items = json!([{ "page": "home", "age": 1 }, { "page": "search", "age": 2 }]);
    let reply = client.post("/predict", &json!({ "items": items }).to_string());
    assert_eq!(reply.probabilities(), [expected(0.1, 1.0, 0.0), expected(0.1, 2.0, 0.0)]);
    let none = json!({ "user": { "age": 30 }, "scenario": "home", "items": [] });
    assert_eq!(client.post("/predict", &none.to_string()).probabilities(), [0.0; 0]);
    served.end();
}

#[test]
fn the_best_come_first() {
    let served = Served::one();
    let mut client = served.client();
    // Equal ones in the order of the request.
    let ages = [3, 9, 1, 9, 5];
    let order = [1, 3, 4, 0, 2];
    for top in [1, 2, 3, 5, 50] {
        let items: Vec<_> = ages.iter().map(|age| json!({ "age": age })).collect();
        let body = json!({ "user": {}, "scenario": "home", "items": items, "top": top });
        let reply = client.post("/predict", &body.to_string()).json();
        let best = reply["items"].as_array().unwrap();
        let indices: Vec<_> = best.iter().map(|item| item["index"].as_u64().unwrap() as usize).collect();
        assert_eq!(indices, order[..top.min(5)]);
        for item in best {
            let age = ages[item["index"].as_u64().unwrap() as usize];
            assert_eq!(item["probability"].as_f64().unwrap() as f32, expected(0.1, age.into(), 0.0));
        }
    }
    served.end();
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let served = Served::one();
    let mut client = served.client();
    for (body, text) in [
        (
            r#"{"user": {"age": 1}, "scenario": "home", "items": [{"age": 2}]}"#,
            "column 'age' is given for the user and in items; keep one",
        ),
        (
            r#"{"user": {"age": 1, "page": "home"}, "scenario": "home", "items": [{}]}"#,
            "\"scenario\" and column 'page' of \"user\" are the same",
        ),
        (
            r#"{"user": {}, "scenario": "home", "items": [{}]}"#,
            "column 'age' is missing: neither the user nor items have it",
        ),
        (
            r#"{"user": {}, "scenario": "home", "items": [{"age": 1}, {}]}"#,
            "column 'age' is missing: item 2 lacks it",
        ),
        (
            r#"{"user": {"age": 1, "age": 1}, "scenario": "home", "items": [{}]}"#,
            "user, column 'age': it is there twice",
        ),
        (r#"{"user": {"age": 1}, "scenario": "start", "items": [{}]}"#, "'start' is no scenario"),
        (r#"{"user": {"age": "x"}, "scenario": "home", "items": [{}]}"#, "column 'age': 'x' is no number"),
        (r#"{"user": {"age": 1}, "scenario": "home"}"#, "neither rows alone nor items"),
        (r#"{"user": [], "items": []}"#, "expected an object with a value for each column"),
        (
            r#"{"user": {"age": 1}, "scenario": "home", "items": [{}], "top": 0}"#,
            "\"top\" is no number of items",
        ),
        (
            r#"{"user": {"age": 1}, "scenario": "home", "items": [{}], "top": -1}"#,
            "\"top\" is no number of items",
        ),
        (
            r#"{"user": {"age": 1}, "scenario": "home", "items": [{}], "top": 1.5}"#,
            "\"top\" is no number of items",
        ),
        (r#"{"user": {}, "user": {}, "items": []}"#, "the body has the key \"user\" twice"),
        (r#"{"usr": {}, "items": []}"#, "the body has an unknown key \"usr\""),
    ] {
        let reply = client.post("/predict", body);
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert!(reply.error().contains(text), "{body}: {}", reply.error());
    }
    served.end();
}
