//! Bounds on bodies, rows, time and requests at once.

use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::Duration;

use arrow_array::{ArrayRef, NullArray, RecordBatch, StringArray};
use arrow_ipc::MetadataVersion;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use serde_json::json;

use crate::client::{Client, request};
use crate::toy::{Served, expected};

const ROW: &str = r#"{"page": "home", "age": 1}"#;

/// Rows of which the first takes a while; so many that they are predicted on another thread.
fn slow(milliseconds: u64) -> String {
    let first = format!(r#"{{"page": "home", "age": 1, "city": "sleep:{milliseconds}"}}"#);
    format!("[{first}{}]", format!(",{ROW}").repeat(100))
}

/// The value of a metric without labels.
fn metric(client: &mut Client, name: &str) -> f64 {
    let page = client.get("/metrics").text().to_owned();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

fn wait_for(client: &mut Client, name: &str, value: f64) {
    for _ in 0..1000 {
        if metric(client, name) == value {
            return;
        }
        sleep(Duration::from_millis(5));
    }
    panic!("{name} is {}, not {value}", metric(client, name));
}

#[test]
fn bodies_and_rows_are_bounded() {
    let served = Served::with(&[("ctr", 0.1)], |config| {
        (config.max_body, config.max_rows) = (1000, 3);
    });
    let mut client = served.client();
    let rows = |n: usize| format!("[{}]", vec![ROW; n].join(","));
    assert_eq!(client.post("/predict", &rows(3)).probabilities().len(), 3);
    let reply = client.post("/predict", &rows(4));
    assert_eq!(reply.status, 413);
    assert!(reply.error().contains("there are more than 3 rows; send fewer, or raise --max-rows"));
    let body = r#"{"user": {"age": 1}, "scenario": "home", "items": [{}, {}, {}, {}]}"#;
    let reply = client.post("/predict", body);
    assert_eq!(reply.status, 413);
    assert!(reply.error().contains("there are more than 3 items"), "{}", reply.error());
    // By its length, or as it comes.
    let body = format!("[{}]", " ".repeat(999));
    let reply = client.post("/predict", &body);
    assert!(reply.status == 413 && reply.closes());
    assert!(
        reply.error().contains("the body has more than 1000 bytes; send fewer rows, or raise --max-body")
    );
    let mut client = served.client();
    client.send(b"POST /predict HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    client.send(format!("3e9\r\n{body}\r\n0\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(client.reply().unwrap().status, 413);
    // A body of the largest size is read.
    let mut client = served.client();
    assert_eq!(client.post("/predict", &format!("[{}]", " ".repeat(998))).probabilities(), [0.0; 0]);
    served.end();
}

#[test]
fn bodies_together_are_bounded() {
    let served = Served::with(&[("ctr", 0.1)], |config| (config.max_body, config.max_held) = (1000, 1500));
    let (mut first, mut second) = (served.client(), served.client());
    let body = format!("[{}]", " ".repeat(998));
    let bytes = request("POST", "/predict", &[], body.as_bytes());
    first.send(&bytes[..bytes.len() - 1]).unwrap();
    wait_for(&mut served.client(), "optmsm_held_bytes", 999.0);
    let reply = second.post("/predict", &body);
    assert_eq!((reply.status, &*reply.headers["retry-after"]), (503, "1"));
    assert!(reply.error().contains("the server holds 1500 bytes of requests, its limit; try again"));
    // The first one is not hurt, and leaves its room.
    first.send(&bytes[bytes.len() - 1..]).unwrap();
    assert_eq!(first.reply().unwrap().probabilities(), [0.0; 0]);
    assert_eq!(served.client().post("/predict", &body).status, 200);
    assert_eq!(metric(&mut served.client(), "optmsm_held_bytes"), 0.0);
    // Memory counts before it is filled: it is doubled, but never beyond what the header declares.
    let mut client = served.client();
    let body = [b' '; 1000];
    client.send(b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n").unwrap();
    for (more, held) in [(300, 300.0), (1, 600.0), (400, 1000.0)] {
        client.send(&body[..more]).unwrap();
        wait_for(&mut served.client(), "optmsm_held_bytes", held);
    }
    drop(client);
    wait_for(&mut served.client(), "optmsm_held_bytes", 0.0);
    served.end();
}

#[test]
fn a_prediction_that_takes_too_long_is_given_up() {
    let served = Served::with(&[("ctr", 0.1)], |config| {
        (config.timeout, config.threads) = (Duration::from_millis(200), 1);
    });
    let mut client = served.client();
    let reply = client.post("/predict", &slow(1500));
    assert_eq!(reply.status, 504);
    assert!(
        reply
            .error()
            .contains("no answer in time: it was being predicted; send fewer rows, or raise --timeout")
    );
    // It still has the only thread.
    let reply = client.post("/predict", &format!("[{ROW}]"));
    assert_eq!(reply.status, 504);
    assert!(reply.error().contains("no answer in time: it waited for a thread all that time"));
    // The server itself answers, and predicts again once the thread is free.
    assert_eq!(client.get("/v2/health/ready").status, 200);
    let mut tries = (0..100).map(|_| client.post("/predict", &format!("[{ROW}]")).status);
    assert!(tries.any(|status| status == 200));
    served.end();
}

/// Few bytes may be many rows, which would hold up the thread that reads connections.
#[test]
fn streams_and_tensors_are_given_up_as_well() {
    let served = Served::with(&[("ctr", 0.1)], |config| config.timeout = Duration::from_millis(200));
    let mut client = served.client();
    let columns: [(&str, ArrayRef); 3] = [
        ("page", Arc::new(StringArray::from(vec!["home"]))),
        ("age", Arc::new(NullArray::new(1))),
        ("city", Arc::new(StringArray::from(vec!["sleep:1500"]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5).unwrap();
    let mut stream = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    stream.write(&batch).unwrap();
    let stream = stream.into_inner().unwrap();
    let headers = [("Content-Type", "application/vnd.apache.arrow.stream")];
    let reply = client.ask("POST", "/predict", &headers, &stream);
    assert_eq!(reply.status, 504, "{}", reply.text());
    let text = |text: &str| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let pages = text("home").repeat(40);
    let cities = [text("sleep:1500"), text("").repeat(39)].concat();
    let tensor = |name: &str, kind: &str, size: usize| json!({ "name": name, "datatype": kind, "shape": [40], "parameters": { "binary_data_size": size } });
    let inputs = [
        tensor("page", "BYTES", pages.len()),
        tensor("city", "BYTES", cities.len()),
        tensor("age", "INT8", 40),
    ];
    let json = json!({ "inputs": inputs }).to_string();
    let headers = [("Inference-Header-Content-Length", &*json.len().to_string())];
    let body = [json.as_bytes(), &pages, &cities, &[1; 40]].concat();
    let reply = client.ask("POST", "/v2/models/ctr/infer", &headers, &body);
    assert_eq!(reply.status, 504, "{}", reply.text());
    served.end();
}

#[test]
fn requests_wait_in_a_queue_of_a_size() {
    let served = Served::with(&[("ctr", 0.1)], |config| (config.threads, config.queue) = (1, 2));
    let address = served.server.address();
    let mut client = served.client();
    let ask = move |body: String| thread::spawn(move || Client::new(address).post("/predict", &body));
    let works = ask(slow(2000));
    wait_for(&mut client, "optmsm_in_flight", 2.0); // and the one that asks
    let waiting: Vec<_> = (0..2).map(|_| ask(format!("[{ROW}]"))).collect();
    wait_for(&mut client, "optmsm_queued", 2.0);
    let reply = client.post("/predict", &format!("[{ROW}]"));
    assert_eq!((reply.status, &*reply.headers["retry-after"]), (503, "1"));
    assert!(
        reply.error().contains("2 requests wait already; try again, or raise --queue"),
        "{}",
        reply.error()
    );
    assert_eq!(works.join().unwrap().status, 200);
    for waited in waiting {
        assert_eq!(waited.join().unwrap().probabilities(), [expected(0.1, 1.0, 0.0)]);
    }
    assert_eq!(metric(&mut client, "optmsm_queued"), 0.0);
    served.end();
}

/// More connections than there may be wait for one to end.
#[test]
fn connections_are_bounded() {
    let served = Served::with(&[("ctr", 0.1)], |config| config.connections = 2);
    let (mut first, mut second) = (served.client(), served.client());
    assert_eq!((first.get("/v2").status, second.get("/v2").status), (200, 200));
    let mut third = served.client();
    third.send(&request("GET", "/v2", &[], b"")).unwrap();
    third.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(third.reply().is_err());
    drop(first);
    third.stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(third.reply().unwrap().status, 200);
    served.end();
}
