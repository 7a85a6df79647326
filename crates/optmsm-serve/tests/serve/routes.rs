//! Every route, and every refusal of rows, with its status and text.

use serde_json::json;

use crate::toy::{Served, expected};

#[test]
fn rows_of_json_are_predicted() {
    let served = Served::one();
    let mut client = served.client();
    let rows = json!([
        { "page": "home", "age": 30, "city": "oslo", "tags": ["ab", "cde"] },
        { "page": "search", "age": 1.5, "city": null, "extra": { "deep": [[1, 2]] } },
        { "tags": [["ab", 0.5], ["cde", 2]], "age": "7", "page": "ho\u{6d}e", "city": "r\"me" },
        { "page": "home", "age": 18446744073709551615u64 as f64 * 0.0, "city": true },
    ]);
    let wanted = [
        expected(0.1, 30.0, 4.0 + 5.0),
        expected(0.1, 1.5, 0.0),
        expected(0.1, 7.0, 4.0 + 1.0 + 6.0),
        expected(0.1, 0.0, 4.0),
    ];
    for path in ["/predict", "/v2/models/ctr/predict", "/v2/models/ctr/versions/1/predict"] {
        for body in [rows.to_string(), json!({ "rows": rows }).to_string()] {
            let reply = client.post(path, &body);
            assert_eq!(reply.probabilities(), wanted, "{path}");
            assert_eq!(reply.json()["model_name"], "ctr");
            assert_eq!(reply.json()["model_version"], "1");
            assert_eq!(reply.headers["content-type"], "application/json");
        }
    }
    // No rows, no probabilities; more of them than are predicted on the connection's thread.
    assert_eq!(client.post("/predict", "[]").probabilities(), [0.0; 0]);
    let many = vec![json!({ "page": "home", "age": 30 }); 1000];
    let predicted = client.post("/predict", &json!(many).to_string()).probabilities();
    assert_eq!(predicted, vec![expected(0.1, 30.0, 0.0); 1000]);
    served.end();
}

#[test]
fn metadata_says_what_is_served() {
    let served = Served::with(&[("ctr", 0.1), ("ctr/2", 0.2), ("cvr", 0.3)], |_| {});
    let mut client = served.client();
    let server = client.get("/v2").json();
    assert_eq!((&server["name"], &server["models"]), (&json!("optmsm"), &json!(["ctr", "cvr"])));
    assert_eq!(server["extensions"], json!(["binary_tensor_data", "model_repository"]));
    for path in
        ["/v2/health/live", "/v2/health/ready", "/v2/models/ctr/ready", "/v2/models/ctr/versions/2/ready"]
    {
        assert_eq!(client.get(path).status, 200, "{path}");
    }
    let model = client.get("/v2/models/ctr").json();
    assert_eq!(model["versions"], json!(["1", "2"]));
    let inputs: Vec<_> =
        model["inputs"].as_array().unwrap().iter().map(|i| (&i["name"], &i["datatype"])).collect();
    let all =
        [("page", "BYTES"), ("age", "FP64"), ("city", "BYTES"), ("tags", "BYTES"), ("tags.weights", "FP32")];
    let all: Vec<_> = all.iter().map(|(name, kind)| (json!(name), json!(kind))).collect();
    assert_eq!(inputs, all.iter().map(|(name, kind)| (name, kind)).collect::<Vec<_>>());
    assert_eq!(model["inputs"][0]["parameters"], json!({ "optional": false, "scenario": true }));
    assert_eq!(model["inputs"][3]["shape"], json!([-1, -1]));
    assert_eq!(model["outputs"], json!([{ "name": "probability", "datatype": "FP32", "shape": [-1] }]));
    assert_eq!(model["properties"]["fingerprint"], "f0.1");
    assert_eq!(model["properties"]["kind"], "toy");
    assert_eq!(model["properties"]["scenarios"], json!(["home", "search"]));
    assert_eq!(client.get("/v2/models/ctr/versions/2").json()["properties"]["fingerprint"], "f0.2");
    served.end();
}

#[test]
fn what_is_not_there_is_said() {
    let served = Served::with(&[("ctr", 0.1), ("cvr", 0.3)], |config| config.repository = false);
    let mut client = served.client();
    let row = r#"[{"page": "home", "age": 1}]"#;
    for (method, path, status, text) in [
        (
            "GET",
            "/nowhere",
            404,
            "there is nothing at \"/nowhere\"; POST /predict predicts, GET /v2 says what is served",
        ),
        ("GET", "/predict", 405, "GET is no method of /predict; POST predicts"),
        ("POST", "/v2/models/ctr", 405, "POST is no method of /v2/models/ctr"),
        ("DELETE", "/v2", 405, "DELETE is no method of /v2"),
        (
            "POST",
            "/predict",
            400,
            "there are several models: ctr, cvr; name one: POST /v2/models/NAME/predict",
        ),
        ("POST", "/v2/models/ctx/predict", 404, "there is no model \"ctx\"; there is ctr, cvr"),
        ("POST", "/v2/models/ctx/infer", 404, "there is no model \"ctx\"; there is ctr, cvr"),
        ("GET", "/v2/models/ctx", 404, "there is no model \"ctx\"; there is ctr, cvr"),
        ("GET", "/v2/models/ctx/ready", 404, "there is no model \"ctx\""),
        ("POST", "/v2/models/ctr/versions/7/predict", 404, "model ctr has no version \"7\"; there is 1"),
        ("GET", "/v2/models/ctr/versions/7", 404, "model ctr has no version \"7\"; there is 1"),
        ("GET", "/v2/models/ctr/versions/7/ready", 404, "model ctr has no version \"7\"; there is 1"),
        ("POST", "/v2/models/%FF/infer", 400, "the path cannot be read: "),
        ("POST", "/v2/models/ctr/versions/%FF/predict", 400, "the path cannot be read: "),
        ("GET", "/v2/models/%FF/ready", 400, "the path cannot be read: "),
        // The repository was switched off.
        ("POST", "/v2/repository/index", 404, "there is nothing at"),
        ("POST", "/v2/repository/models/ctr/unload", 404, "there is nothing at"),
    ] {
        let reply = client.ask(method, path, &[("Content-Type", "application/json")], row.as_bytes());
        assert_eq!(reply.status, status, "{method} {path}");
        assert!(reply.error().contains(text), "{method} {path}: {}", reply.error());
    }
    assert_eq!(client.get("/v2").json()["extensions"], json!(["binary_tensor_data"]));
    served.end();
}

#[test]
fn rows_that_cannot_be_read_are_refused_with_their_place() {
    let served = Served::one();
    let mut client = served.client();
    let good = r#"{"page": "home", "age": 1}"#;
    let of = |row: &str| format!("[{good}, {row}]");
    for (body, text) in [
        ("".into(), "the body is no JSON that can be read: EOF while parsing a value at line 1 column 0"),
        ("[".into(), "the body is no JSON that can be read: EOF"),
        (format!("[{good}] x"), "trailing characters at line 1"),
        ("\"rows\"".into(), r#"expected rows; send [{"column": value, …}, …], {"rows": […]} or"#),
        ("[1]".into(), "expected an object with a value for each column"),
        ("{}".into(), "the body has neither rows alone nor items; send"),
        (good.into(), "the body has an unknown key \"page\"; send"),
        (format!("{{\"rows\": [{good}], \"items\": []}}"), "neither rows alone nor items"),
        (format!("{{\"rows\": [{good}], \"top\": 1}}"), "neither rows alone nor items"),
        (format!("{{\"rows\": [{good}], \"rows\": []}}"), "the body has the key \"rows\" twice; keep one"),
        (
            of(r#"{"page": "home"}"#),
            "column 'age' is missing: row 2 lacks it; give it, or null where there is no value",
        ),
        (
            of(r#"{"page": "home", "agE": 1}"#),
            "row 2 lacks it; 'agE' is no column of the model: was it meant?",
        ),
        (of(r#"{"page": "home", "age": 1, "age": 2}"#), "row 2, column 'age': it is there twice; keep one"),
        (
            of(r#"{"page": "home", "age": {"a": 1}}"#),
            "row 2, column 'age': an object is no value; send a text",
        ),
        (
            of(r#"{"page": "home", "age": 1, "tags": [[["a"]]]}"#),
            "row 2, column 'tags': lists are nested; send",
        ),
        (
            of(r#"{"page": "home", "age": 1, "tags": ["a", ["b", 1]]}"#),
            "row 2, column 'tags': lists are nested",
        ),
        (of(r#"{"page": "home", "age": "old"}"#), "row 2, column 'age': 'old' is no number; send one"),
        (
            of(r#"{"page": "start", "age": 1}"#),
            "row 2, column 'page': 'start' is no scenario of the model; send home",
        ),
        (of(r#"{"page": "home", "age": 1e999}"#), "number out of range"),
        (of(r#"{"page": "home", "age": NaN}"#), "the body is no JSON that can be read"),
        (of(r#"{"page": "home", "age": Infinity}"#), "the body is no JSON that can be read"),
        (of("{\"page\": \"\u{1}\", \"age\": 1}"), "control character"),
        (of(r#"{"page": "\ud800", "age": 1}"#), "the body is no JSON that can be read"),
    ] {
        let reply = client.post("/predict", &body);
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert!(reply.error().contains(text), "{body}: {}", reply.error());
    }
    let reply = client.ask("POST", "/predict", &[], b"[{\"page\": \"\xff\", \"age\": 1}]");
    assert!(reply.status == 400 && reply.error().contains("invalid unicode"), "{}", reply.text());
    // None of it hurt.
    assert_eq!(client.post("/predict", &format!("[{good}]")).probabilities(), [expected(0.1, 1.0, 0.0)]);
    served.end();
}

#[test]
fn strange_columns_are_refused_where_that_is_wanted() {
    let served = Served::with(&[("ctr", 0.1)], |config| config.strict = true);
    let mut client = served.client();
    for (key, text) in [
        ("citi", "row 1, column 'citi': the model has no such column; did you mean 'city'?"),
        (
            "time",
            "the model has no such column; leave it out; the model's columns are at GET /v2/models/NAME",
        ),
    ] {
        let reply = client.post("/predict", &format!(r#"[{{"page": "home", "age": 1, "{key}": 1}}]"#));
        assert_eq!(reply.status, 400);
        assert!(reply.error().contains(text), "{}", reply.error());
    }
    served.end();
}

#[test]
fn types_that_are_not_read_are_refused() {
    let served = Served::one();
    let mut client = served.client();
    let row = br#"[{"page": "home", "age": 1}]"#;
    for (path, headers, text) in [
        (
            "/predict",
            ("Content-Type", "application/x-www-form-urlencoded"),
            "send application/json (curl: -H",
        ),
        ("/predict", ("Content-Type", "text/csv"), "Content-Type \"text/csv\" is not read"),
        ("/predict", ("Content-Encoding", "gzip"), "the body is compressed; send it as it is"),
        (
            "/v2/models/ctr/infer",
            ("Content-Type", "text/csv"),
            "send application/json or application/octet-stream",
        ),
        ("/v2/models/ctr/infer", ("Content-Encoding", "deflate"), "the body is compressed"),
    ] {
        let reply = client.ask("POST", path, &[headers], row);
        assert_eq!(reply.status, 415, "{headers:?}");
        assert!(reply.error().contains(text), "{}", reply.error());
    }
    for kind in ["application/json; charset=utf-8", "APPLICATION/JSON"] {
        assert_eq!(client.ask("POST", "/predict", &[("Content-Type", kind)], row).status, 200, "{kind}");
    }
    served.end();
}

/// A model's own failures are no fault of the request, and take nothing down.
#[test]
fn failures_of_a_model_are_its_own() {
    let served = Served::one();
    let mut client = served.client();
    let row = |city: &str| format!(r#"{{"page": "home", "age": 1, "city": "{city}"}}"#);
    // Alone, on the connection's thread, and with others, on another one.
    for others in [0, 100] {
        for (city, text) in [
            ("panic:out of cheese", "the prediction panicked: out of cheese; this is a fault of the program"),
            ("fail:no memory", "no memory; try another one"),
            ("answer:nan", "the model cannot be used: it answers NaN, which is no probability"),
            ("answer:1.5", "it answers 1.5, which is no probability"),
        ] {
            let rows = [row(city)].into_iter().chain((0..others).map(|_| row("oslo"))).collect::<Vec<_>>();
            let reply = client.post("/predict", &format!("[{}]", rows.join(",")));
            assert_eq!(reply.status, 500, "{city}");
            assert!(reply.error().contains(text), "{city}: {}", reply.error());
        }
    }
    assert_eq!(
        client.post("/predict", &format!("[{}]", row("oslo"))).probabilities(),
        [expected(0.1, 1.0, 4.0)]
    );
    assert!(client.get("/metrics").text().contains("optmsm_panics_total 2\n"));
    served.end();
}

#[test]
fn a_trace_is_passed_through() {
    let served = Served::one();
    let mut client = served.client();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let reply = client.ask("GET", "/v2", &[("traceparent", parent)], b"");
    assert_eq!(reply.headers["traceparent"], parent);
    assert!(!client.ask("GET", "/v2", &[("traceparent", "mine")], b"").headers.contains_key("traceparent"));
    served.end();
}
