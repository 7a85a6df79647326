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

/// 64 values for each of ten rows: what is said of the user once counts for each item.
#[test]
fn lists_of_the_user_count_for_each_item() {
    let served = Served::with(&[("ctr", 0.1)], |config| config.max_rows = 10);
    let mut client = served.client();
    let letters = |n: usize| expected(0.1, 1.0, n as f64);
    let items = |n: usize, page: bool| {
        let item = if page { json!({ "page": "home" }) } else { json!({}) };
        vec![item; n]
    };
    // A text counts by its bytes, of which eight are a value: its model may split it.
    for (tags, n, right) in [
        (json!(vec!["a"; 58]), 10, Some(58)),
        (json!(vec!["a"; 59]), 10, None),
        (json!(vec!["a"; 320]), 1, Some(320)),
        (json!(vec!["a"; 321]), 1, None),
        (json!("a".repeat(512)), 10, Some(512)),
        (json!("a".repeat(513)), 10, None),
        (json!("a".repeat(5120)), 0, Some(0)),
    ] {
        for page in [true, false] {
            let mut body = json!({ "user": { "age": 1, "tags": tags }, "items": items(n, page) });
            if !page {
                body["scenario"] = "home".into();
            }
            let reply = client.post("/predict", &body.to_string());
            match right {
                Some(right) => assert_eq!(reply.probabilities(), vec![letters(right); n]),
                None => {
                    assert_eq!(reply.status, 413, "{body}");
                    let text = "lists have more than 640 values in all, the user's once for each item";
                    assert!(reply.error().contains(text), "{}", reply.error());
                }
            }
        }
    }
    served.end();
    // Eight times the largest body, whatever the column.
    let served = Served::with(&[("ctr", 0.1)], |config| config.max_body = 1000);
    let mut client = served.client();
    for (letters, status) in [(800, 200), (801, 413)] {
        let body = json!({ "user": { "age": 1, "page": "home", "city": "a".repeat(letters - 4) }, "items": items(10, false) });
        let reply = client.post("/predict", &body.to_string());
        assert_eq!(reply.status, status, "{}", reply.text());
        let text = "the user's texts have more than 8000 bytes, once for each item";
        assert!(status == 200 || reply.error().contains(text), "{}", reply.error());
    }
    served.end();
}
