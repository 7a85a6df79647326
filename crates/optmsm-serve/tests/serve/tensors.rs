//! Tensors of the Open Inference Protocol, in JSON and in binary.

use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::toy::{Served, expected};

const INFER: &str = "/v2/models/ctr/infer";

/// A request with binary tensors behind its JSON.
fn binary(client: &mut Client, json: &Value, tensors: &[&[u8]]) -> Reply {
    let json = json.to_string();
    let length = json.len().to_string();
    let body = [json.as_bytes(), &tensors.concat()].concat();
    client.ask("POST", INFER, &[("Inference-Header-Content-Length", &length)], &body)
}

/// Texts as binary tensors have them.
fn texts(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()).collect()
}

fn data(reply: &Reply) -> Vec<f32> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let output = &reply.json()["outputs"][0];
    let list: Vec<_> =
        output["data"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap() as f32).collect();
    assert_eq!(
        *output,
        json!({ "name": "probability", "datatype": "FP32", "shape": [list.len()], "data": output["data"] })
    );
    list
}

#[test]
fn tensors_of_json_are_predicted() {
    let served = Served::one();
    let mut client = served.client();
    let wanted = [expected(0.1, 30.0, 4.0 + 1.0 + 6.0), expected(0.1, -1.0, 0.0)];
    let weights =
        json!({ "name": "tags.weights", "datatype": "FP32", "shape": [2, 2], "data": [0.5, 2, 0, 0] });
    for (page, age, tags) in [
        (json!(["home", "search"]), json!([30, -1]), json!(["ab", "cde", "", ""])),
        (json!([["home"], ["search"]]), json!([[30], [-1]]), json!([["ab", "cde"], ["", ""]])),
    ] {
        let request = json!({ "id": "7", "inputs": [
            { "name": "page", "datatype": "BYTES", "shape": [2, 1], "data": page },
            { "name": "age", "datatype": "INT16", "shape": [2], "data": age },
            { "name": "city", "datatype": "BYTES", "shape": [2], "data": ["oslo", ""] },
            { "name": "tags", "datatype": "BYTES", "shape": [2, 2], "data": tags },
            weights,
        ], "outputs": [{ "name": "probability" }] });
        let reply = client.post(INFER, &request.to_string());
        assert_eq!(data(&reply), wanted);
        let reply = reply.json();
        assert_eq!(
            (&reply["id"], &reply["model_name"], &reply["model_version"]),
            (&json!("7"), &json!("ctr"), &json!("1"))
        );
        let of_version = client.post("/v2/models/ctr/versions/1/infer", &request.to_string());
        assert_eq!(data(&of_version), wanted);
    }
    served.end();
}

#[test]
fn every_datatype_is_read_both_ways() {
    let served = Served::one();
    let mut client = served.client();
    for (datatype, bytes, value) in [
        ("INT8", vec![0xff], -1.0),
        ("INT16", (-300i16).to_le_bytes().into(), -300.0),
        ("INT32", 70_i32.to_le_bytes().into(), 70.0),
        ("INT64", (-5i64).to_le_bytes().into(), -5.0),
        ("UINT8", vec![0xff], 255.0),
        ("UINT16", 300u16.to_le_bytes().into(), 300.0),
        ("UINT32", 301u32.to_le_bytes().into(), 301.0),
        ("UINT64", 302u64.to_le_bytes().into(), 302.0),
        ("FP32", 1.5f32.to_le_bytes().into(), 1.5),
        ("FP64", (-1.5f64).to_le_bytes().into(), -1.5),
        ("BYTES", texts(&["12"]), 12.0),
    ] {
        let wanted = [expected(0.5, value, 0.0)];
        let served = Served::with(&[("ctr", 0.5)], |_| {});
        let mut client = served.client();
        let page = json!({ "name": "page", "datatype": "BYTES", "shape": [1], "data": ["home"] });
        let of = |key: &str, value: Value| {
            let mut age = json!({ "name": "age", "datatype": datatype, "shape": [1] });
            age[key] = value;
            json!({ "inputs": [page, age] })
        };
        let as_binary = of("parameters", json!({ "binary_data_size": bytes.len() }));
        assert_eq!(data(&binary(&mut client, &as_binary, &[&bytes])), wanted, "{datatype}, binary");
        let as_json = match datatype {
            "BYTES" => json!(["12"]),
            "FP32" | "FP64" => json!([value]),
            _ => json!([value as i64]),
        };
        assert_eq!(data(&client.post(INFER, &of("data", as_json).to_string())), wanted, "{datatype}, JSON");
        served.end();
    }
    // Truth values are words.
    let request = |city: Value| {
        json!({ "inputs": [
            { "name": "page", "datatype": "BYTES", "shape": [2], "data": ["home", "home"] },
            { "name": "age", "datatype": "INT8", "shape": [2], "data": [0, 0] },
            city,
        ] })
    };
    let wanted = [expected(0.1, 0.0, 4.0), expected(0.1, 0.0, 5.0)];
    let city = json!({ "name": "city", "datatype": "BOOL", "shape": [2], "data": [true, false] });
    assert_eq!(data(&client.post(INFER, &request(city).to_string())), wanted);
    let city =
        json!({ "name": "city", "datatype": "BOOL", "shape": [2], "parameters": { "binary_data_size": 2 } });
    assert_eq!(data(&binary(&mut client, &request(city), &[&[1, 0]])), wanted);
    served.end();
}

#[test]
fn tensors_of_bytes_are_answered_in_bytes() {
    let served = Served::one();
    let mut client = served.client();
    let pages = texts(&["home", "search", "home"]);
    let ages: Vec<u8> = [1i64, 2, 3].iter().flat_map(|age| age.to_le_bytes()).collect();
    let tags = texts(&["é", "", "abc", "d", "", ""]);
    let size = |bytes: &[u8]| json!({ "binary_data_size": bytes.len() });
    let mut request = json!({ "inputs": [
        { "name": "page", "datatype": "BYTES", "shape": [3, 1], "parameters": size(&pages) },
        { "name": "age", "datatype": "INT64", "shape": [3], "parameters": size(&ages) },
        { "name": "tags", "datatype": "BYTES", "shape": [3, 2], "parameters": size(&tags) },
    ] });
    let wanted = [(1.0, 1.0), (2.0, 4.0), (3.0, 0.0)].map(|(age, letters)| expected(0.1, age, letters));
    let bytes: Vec<u8> = wanted.iter().flat_map(|p| p.to_le_bytes()).collect();
    for (key, value) in [
        ("parameters", json!({ "binary_data_output": true })),
        ("outputs", json!([{ "name": "probability", "parameters": { "binary_data": true } }])),
    ] {
        request[key] = value;
        let reply = binary(&mut client, &request, &[&pages, &ages, &tags]);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.headers["content-type"], "application/octet-stream");
        let length: usize = reply.headers["inference-header-content-length"].parse().unwrap();
        let json: Value = serde_json::from_slice(&reply.body[..length]).unwrap();
        assert_eq!(
            json["outputs"],
            json!([{ "name": "probability", "datatype": "FP32", "shape": [3], "parameters": { "binary_data_size": 12 } }])
        );
        assert_eq!(reply.body[length..], bytes);
    }
    // Asked for otherwise, the output itself has the word.
    request["outputs"] = json!([{ "name": "probability", "parameters": { "binary_data": false } }]);
    assert_eq!(data(&binary(&mut client, &request, &[&pages, &ages, &tags])), wanted);
    served.end();
}

#[test]
fn tensors_that_cannot_be_read_are_refused() {
    let served = Served::with(&[("ctr", 0.1)], |config| config.max_rows = 100);
    let mut client = served.client();
    let page = json!({ "name": "page", "datatype": "BYTES", "shape": [1], "data": ["home"] });
    let with = |age: Value| json!({ "inputs": [page, age] });
    let age = |change: Value| {
        let mut age = json!({ "name": "age", "datatype": "INT64", "shape": [1], "data": [1] });
        age.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        with(age)
    };
    for (request, text) in [
        (json!([]), "the request is no JSON of the Open Inference Protocol"),
        (json!({}), "missing field `inputs`"),
        (json!({ "inputs": [] }), "there is no input; send a tensor for each column"),
        (json!({ "inputs": [page] }), "input 'age': it is missing; send a tensor"),
        (json!({ "inputs": [page, page] }), "input 'page': it is there twice; keep one"),
        (age(json!({ "name": "agE" })), "input 'agE': the model has none; did you mean 'age'?"),
        (age(json!({ "name": "age.weights" })), "input 'age.weights': the model has none"),
        (age(json!({ "datatype": "FP16" })), "input 'age': datatype \"FP16\" is not read; send one of BOOL"),
        (age(json!({ "shape": [] })), "input 'age': the shape is []; send [N] or [N, 1], for lists [N, L]"),
        (age(json!({ "shape": [1, 1, 1] })), "the shape is [1, 1, 1]"),
        (age(json!({ "shape": [-1] })), "invalid value: integer `-1`"),
        (
            age(json!({ "shape": [1u64 << 33, 1u64 << 33] })),
            "input 'age': the shape is [8589934592, 8589934592]",
        ),
        (age(json!({ "shape": [1, u64::MAX] })), "lists have more than 6400 values in all"),
        (age(json!({ "shape": [2] })), "input 'page': it has 1 rows, but 'age' has 2; send as many of each"),
        (
            age(json!({ "shape": [1, 2], "data": [1, 2] })),
            "input 'age': it has 2 values a row, but its column has one",
        ),
        (age(json!({ "data": [] })), "input 'age': it has 0 values, but its shape 1; make them the same"),
        (age(json!({ "data": [1, 2, 3] })), "input 'age': it has more than the 1 values of its shape"),
        (age(json!({ "data": ["1"] })), "input 'age': its data cannot be read: invalid type"),
        (age(json!({ "data": [1.5] })), "expected an array of integers of its datatype"),
        (age(json!({ "data": [null] })), "its data cannot be read"),
        (age(json!({ "data": {} })), "its data cannot be read"),
        (age(json!({ "data": [128], "datatype": "INT8" })), "invalid value: integer `128`"),
        (age(json!({ "data": [-129], "datatype": "INT8" })), "invalid value: integer `-129`"),
        (age(json!({ "data": [256], "datatype": "UINT8" })), "invalid value: integer `256`"),
        (age(json!({ "data": [-1], "datatype": "UINT64" })), "invalid value: integer `-1`"),
        (age(json!({ "data": [1], "datatype": "BOOL" })), "expected an array of true and false"),
        (
            age(json!({ "parameters": { "binary_data_size": 8 } })),
            "input 'age': it has data and binary_data_size; keep one",
        ),
        (
            with(json!({ "name": "age", "datatype": "INT64", "shape": [1] })),
            "input 'age': it has no data; send data",
        ),
        (age(json!({ "parameters": { "shared_memory_region": "r" } })), "shared memory is not read"),
        (
            json!({ "inputs": [page], "outputs": [{ "name": "logit" }] }),
            "output \"logit\": there is none; ask for probability",
        ),
        (
            json!({ "inputs": [page], "outputs": [{ "name": "probability" }, { "name": "probability" }] }),
            "there are several outputs; ask for probability alone",
        ),
        (
            json!({ "inputs": [page], "outputs": [{ "name": "probability", "parameters": { "classification": 3 } }] }),
            "classification and shared memory are not served",
        ),
    ] {
        let reply = client.post(INFER, &request.to_string());
        let status = if text.starts_with("lists") { 413 } else { 400 };
        assert_eq!(reply.status, status, "{request}: {}", reply.text());
        assert!(reply.error().contains(text), "{request}: {}", reply.error());
    }
    served.end();
}

#[test]
fn bytes_that_are_not_what_they_declare_are_refused() {
    let served = Served::one();
    let mut client = served.client();
    let page = json!({ "name": "page", "datatype": "BYTES", "shape": [2], "data": ["home", "home"] });
    let tensor = |datatype: &str, size: u64| {
        let mut tensor = json!({ "name": "age", "datatype": datatype, "shape": [2] });
        tensor["parameters"] = json!({ "binary_data_size": size });
        json!({ "inputs": [page, tensor] })
    };
    let two = texts(&["1", "2"]);
    let mut bad_text = two.clone();
    bad_text[4] = 0xff;
    let mut long = two.clone();
    long[5..9].copy_from_slice(&u32::MAX.to_le_bytes());
    for (request, bytes, text) in [
        (
            tensor("INT64", 16),
            &[0; 15][..],
            "input 'age': binary_data_size is 16, but 15 bytes are left; send all of it",
        ),
        (
            tensor("INT64", u64::MAX),
            &[0; 16],
            "binary_data_size is 18446744073709551615, but 16 bytes are left",
        ),
        (
            tensor("INT64", 15),
            &[0; 15],
            "input 'age': 15 bytes do not hold its 2 values of 8; make them the same",
        ),
        (tensor("INT64", 16), &[0; 17], "1 bytes follow the last tensor; give each its binary_data_size"),
        (tensor("BOOL", 2), &[1, 2], "input 'age': value 2 is 2; send 0 or 1"),
        (tensor("BYTES", 9), &two[..9], "input 'age': value 2 has 1 bytes, but 0 are left; send all of it"),
        (tensor("BYTES", 7), &two[..7], "input 'age': 2 bytes follow its last value"),
        (tensor("BYTES", 5), &two[..5], "input 'age': it has 1 values, but its shape 2"),
        (tensor("BYTES", 15), &[&two[..], &two[..5]].concat(), "it has more than the 2 values of its shape"),
        (tensor("BYTES", 10), &bad_text, "input 'age': value 1: invalid utf-8 sequence"),
        (tensor("BYTES", 10), &long, "input 'age': value 2 has 4294967295 bytes, but 1 are left"),
    ] {
        let reply = binary(&mut client, &request, &[bytes]);
        assert_eq!(reply.status, 400, "{request}: {}", reply.text());
        assert!(reply.error().contains(text), "{request}: {}", reply.error());
    }
    for (length, text) in [
        ("99999", "Inference-Header-Content-Length is 99999, but the body has 2 bytes; send the length"),
        ("-1", "Inference-Header-Content-Length is no number"),
        ("18446744073709551616", "Inference-Header-Content-Length is no number"),
        ("0", "the request is no JSON of the Open Inference Protocol"),
    ] {
        let reply = client.ask("POST", INFER, &[("Inference-Header-Content-Length", length)], b"{}");
        assert_eq!(reply.status, 400, "{length}: {}", reply.text());
        assert!(reply.error().contains(text), "{length}: {}", reply.error());
    }
    served.end();
}

/// Columns of one value a row are no lists, though their shape is `[N, 1]`; only lists have a bound on their values.
#[test]
fn many_columns_of_single_values_are_read() {
    let file = r#"{"offset": 0.1, "more": 70}"#;
    let served = Served::started(&[("ctr", file.into())], |config| config.max_rows = 10);
    assert!(served.server.wait_ready());
    let mut client = served.client();
    let column = |name: &str, value: &str| json!({ "name": name, "datatype": "BYTES", "shape": [10, 1], "data": vec![value; 10] });
    let mut inputs: Vec<_> = (0..70).map(|i| column(&format!("more{i}"), "x")).collect();
    inputs.extend([column("page", "home"), column("age", "1"), column("tags", "ab")]);
    assert_eq!(
        data(&client.post(INFER, &json!({ "inputs": inputs }).to_string())),
        [expected(0.1, 1.0, 2.0); 10]
    );
    // 64 values for each of ten rows.
    let list = |length: usize| json!({ "name": "tags", "datatype": "BYTES", "shape": [10, length], "data": vec![""; 10 * length] });
    let weights = json!({ "name": "tags.weights", "datatype": "FP32", "shape": [10, 1], "data": [1, 1, 1, 1, 1, 1, 1, 1, 1, 1] });
    for (inputs, status) in [
        (vec![list(64)], 200),
        (vec![list(65)], 413),
        // Weights count as well.
        (vec![list(64), weights], 413),
    ] {
        let inputs = [&[column("page", "home"), column("age", "1")], &inputs[..]].concat();
        let reply = client.post(INFER, &json!({ "inputs": inputs }).to_string());
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    served.end();
}
