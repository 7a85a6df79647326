//! Requests that are damaged at random: each gets an answer or an end, and none hurts the server.
//!
//! `OPTMSM_FUZZ=1000000` tries as many; 20,000 when not given. A number has the same damage each time.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_ipc::writer::StreamWriter;
use serde_json::{Value, json};

use crate::client::{Client, request};
use crate::toy::{Served, expected};

/// A whole request: path, headers, body.
struct Seed {
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn seeds() -> Vec<Seed> {
    let json = |path, body: &str| Seed {
        path,
        headers: vec![("Content-Type", "application/json".into())],
        body: body.into(),
    };
    let tensor = |name: &str, datatype: &str, shape: Value, key: &str, value: Value| {
        let mut tensor = json!({ "name": name, "datatype": datatype, "shape": shape });
        tensor[key] = value;
        tensor
    };
    let infer = json!({ "id": "1", "inputs": [
        tensor("page", "BYTES", json!([2]), "data", json!(["home", "search"])),
        tensor("age", "FP64", json!([2, 1]), "data", json!([[1.5], [-2e3]])),
        tensor("tags", "BYTES", json!([2, 2]), "data", json!(["a", "", "b", "c"])),
        tensor("tags.weights", "FP32", json!([2, 2]), "data", json!([1, 0, 0.5, 2])),
    ], "outputs": [{ "name": "probability" }] });
    let size = |n: usize| json!({ "binary_data_size": n });
    let header = json!({ "parameters": { "binary_data_output": true }, "inputs": [
        tensor("page", "BYTES", json!([2]), "parameters", size(16)),
        tensor("age", "INT32", json!([2]), "parameters", size(8)),
    ] });
    let header = header.to_string();
    let tensors = [&4u32.to_le_bytes()[..], b"home", &4u32.to_le_bytes(), b"home", &[1, 0, 0, 0, 2, 0, 0, 0]];
    let columns: [(&str, ArrayRef); 2] = [
        ("page", Arc::new(StringArray::from(vec!["home", "search"]))),
        ("age", Arc::new(Int64Array::from(vec![Some(1), None]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    vec![
        json(
            "/predict",
            r#"[{"page": "home", "age": 30, "city": "o\u0073lo", "tags": [["ab", 0.5], ["c", 2]], "x": {"y": [null]}}]"#,
        ),
        json(
            "/predict",
            r#"{"rows": [{"page": "search", "age": -1.5e0, "city": null, "tags": ["ab", true, 7]}]}"#,
        ),
        json(
            "/predict",
            r#"{"user": {"age": "3"}, "scenario": "home", "items": [{"city": "rome"}, {}], "top": 1}"#,
        ),
        json("/v2/models/ctr/versions/1/infer", &infer.to_string()),
        json("/v2/repository/models/ctr/load", r#"{"parameters": {"version": "1"}}"#),
        Seed {
            path: "/v2/models/ctr/infer",
            headers: vec![("Inference-Header-Content-Length", header.len().to_string())],
            body: [header.as_bytes(), &tensors.concat()].concat(),
        },
        Seed {
            path: "/v2/models/ctr/predict",
            headers: vec![("Content-Type", "application/vnd.apache.arrow.stream".into())],
            body: stream.into_inner().unwrap(),
        },
    ]
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Parts that readers stumble over.
const PARTS: [&[u8]; 24] = [
    b"",
    b"\"",
    b"[",
    b"{",
    b"]",
    b"}",
    b",",
    b":",
    b"\\u",
    b"\\ud800",
    b"null",
    b"-1",
    b"1e999",
    b"1e-999",
    b"0",
    b"\0",
    b"18446744073709551616",
    b"9223372036854775807",
    b"NaN",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\r\n",
    b"\xc3",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let (at, n) = (random.below(bytes.len() + 1), random.below(16));
        let end = (at + n).min(bytes.len());
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
            3 => bytes.iter_mut().skip(at).take(n).for_each(|byte| *byte = random.next() as u8),
            4 => drop(bytes.splice(at..at, PARTS[random.below(PARTS.len())].iter().copied())),
            5 => drop(bytes.splice(at..end, PARTS[random.below(PARTS.len())].iter().copied())),
            6 => {
                let part = bytes[at..].iter().copied().take(4 * n).collect::<Vec<_>>();
                drop(bytes.splice(at..at, part));
            }
            _ => {
                let from = random.below(other.len());
                drop(bytes.splice(at..end, other[from..].iter().copied().take(4 * n)));
            }
        }
    }
}

/// Damaged bodies in whole requests: an answer each, which is never the server's own fault.
fn bodies(served: &Served, seeds: &[Seed], numbers: impl Iterator<Item = u64>) {
    let mut client = served.client();
    for number in numbers {
        let random = &mut Random(number);
        let seed = &seeds[random.below(seeds.len())];
        let mut body = seed.body.clone();
        damage(&mut body, &seeds[random.below(seeds.len())].body, random);
        let mut headers: Vec<_> = seed.headers.iter().map(|(name, value)| (*name, &**value)).collect();
        if random.below(16) == 0 {
            headers.push((
                "Inference-Header-Content-Length",
                ["0", "1", "99", "-", "18446744073709551615"][random.below(5)],
            ));
        }
        let reply = client.try_ask("POST", seed.path, &headers, &body);
        let reply =
            reply.unwrap_or_else(|e| panic!("number {number}: {e}: {:?}", String::from_utf8_lossy(&body)));
        match reply.status {
            200 => {}
            // 404: a version that there is not; 503: two threads load at the same time.
            400 | 404 | 413 | 503 => assert!(!reply.error().is_empty(), "number {number}"),
            status => {
                panic!("number {number}: {status} {}: {:?}", reply.text(), String::from_utf8_lossy(&body))
            }
        }
        if reply.closes() {
            client = served.client();
        }
    }
}

/// Damaged requests, heads and all: the connection ends, with an answer or not.
fn heads(served: &Served, seeds: &[Seed], numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        let random = &mut Random(number);
        let whole = |seed: &Seed| {
            let headers: Vec<_> = seed.headers.iter().map(|(name, value)| (*name, &**value)).collect();
            request("POST", seed.path, &headers, &seed.body)
        };
        let mut bytes = whole(&seeds[random.below(seeds.len())]);
        damage(&mut bytes, &whole(&seeds[random.below(seeds.len())]), random);
        let Client { mut stream, .. } = {
            let mut client = served.client();
            // The server may close before it has all.
            let _ = client.send(&bytes);
            client
        };
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        if let Err(e) = stream.read_to_end(&mut answer) {
            assert_eq!(e.kind(), ErrorKind::ConnectionReset, "number {number}");
        }
        let internal = answer.starts_with(b"HTTP/1.1 500");
        assert!(!internal, "number {number}: {}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn damaged_requests_hurt_nobody() {
    let all: u64 = std::env::var("OPTMSM_FUZZ").ok().map_or(20_000, |n| n.parse().unwrap());
    let served = Served::one();
    let seeds = seeds();
    // Undamaged, all are right.
    for seed in &seeds {
        let headers: Vec<_> = seed.headers.iter().map(|(name, value)| (*name, &**value)).collect();
        let reply = served.client().ask("POST", seed.path, &headers, &seed.body);
        assert_eq!(reply.status, 200, "{}: {}", seed.path, reply.text());
    }
    thread::scope(|scope| {
        // A connection each for the latter, which makes them slow.
        let bodies = |from: u64, to: u64| bodies(&served, &seeds, from..to);
        scope.spawn(move || bodies(0, all * 2 / 5));
        scope.spawn(move || bodies(all * 2 / 5, all * 4 / 5));
        scope.spawn(|| heads(&served, &seeds, all * 4 / 5..all));
    });
    let mut client = served.client();
    let page = client.get("/metrics").text().to_owned();
    for line in ["optmsm_panics_total 0", "optmsm_held_bytes 0", "optmsm_queued 0", "optmsm_in_flight 1"] {
        assert!(page.lines().any(|other| other == line), "{line}: {page}");
    }
    let answer = client.post("/predict", r#"[{"page": "home", "age": 1}]"#).probabilities();
    assert_eq!(answer, [expected(0.1, 1.0, 0.0)]);
    served.end();
}
