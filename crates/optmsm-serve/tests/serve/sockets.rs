//! Clients that are slow, broken or rude.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::time::Duration;

use crate::client::request;
use crate::toy::{Served, expected};

const ROWS: &str = r#"[{"page": "home", "age": 1}]"#;

/// In place of a status: the connection is closed without a word.
const CLOSED: u16 = 0;

fn patient_for(milliseconds: u64) -> Served {
    Served::with(&[("ctr", 0.1)], |config| {
        config.timeout = Duration::from_millis(milliseconds);
        config.header_timeout = Duration::from_millis(milliseconds);
    })
}

#[test]
fn a_header_that_never_ends_is_cut_off() {
    let served = patient_for(300);
    let mut client = served.client();
    client.send(b"POST /predict HTTP/1.1\r\nHost: te").unwrap();
    assert!(client.is_closed());
    // Bytes one by one win no time.
    let mut client = served.client();
    for byte in b"GET /v2 HTTP/1.1\r\nX-Slow: ".iter().cycle() {
        if client.send(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // Nor does a connection that does nothing, before a request or after one.
    assert!(served.client().is_closed());
    let mut client = served.client();
    assert_eq!(client.get("/v2").status, 200);
    assert!(client.is_closed());
    served.end();
}

#[test]
fn a_body_that_never_comes_is_refused() {
    let served = patient_for(300);
    for part in ["", "["] {
        let mut client = served.client();
        let head = "POST /predict HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n";
        client.send(format!("{head}{part}").as_bytes()).unwrap();
        let reply = client.reply().unwrap();
        assert!(reply.status == 408 && reply.closes(), "{reply:?}");
        assert!(reply.error().contains("the body did not come in time; send it faster"));
        assert!(client.is_closed());
    }
    served.end();
}

/// A client that reads nothing does not hold its connection for ever.
#[test]
fn an_answer_that_nobody_takes_is_given_up() {
    let served = patient_for(300);
    let mut client = served.client();
    // Answers of about 20 kB until the system's buffers are full.
    let rows = format!("[{}]", vec![r#"{"page": "home", "age": 1}"#; 2000].join(","));
    let bytes = request("POST", "/predict", &[], rows.as_bytes());
    let refused = (0..10_000).find_map(|_| client.send(&bytes).err());
    assert!(refused.is_some());
    assert_eq!(served.client().get("/v2").status, 200);
    served.end();
}

#[test]
fn what_breaks_off_hurts_nobody() {
    let served = Served::one();
    let bytes = request("POST", "/predict", &[("Content-Type", "application/json")], ROWS.as_bytes());
    for cut in 0..bytes.len() {
        let mut client = served.client();
        client.send(&bytes[..cut]).unwrap();
        if cut % 2 == 0 {
            drop(client);
        } else {
            // A client that has said all it will may still read.
            client.stream.shutdown(Shutdown::Write).unwrap();
            let reply = client.reply();
            assert!(reply.is_err() || reply.as_ref().is_ok_and(|r| r.status == 400), "{cut}: {reply:?}");
        }
    }
    // All of it, and gone before the answer.
    for _ in 0..100 {
        served.client().send(&bytes).unwrap();
    }
    assert_eq!(served.client().post("/predict", ROWS).probabilities(), [expected(0.1, 1.0, 0.0)]);
    served.end();
}

#[test]
fn requests_behind_each_other_are_answered_in_order() {
    let served = Served::one();
    let mut client = served.client();
    let row = |age: usize| format!(r#"[{{"page": "home", "age": {age}}}]"#);
    let bytes: Vec<u8> =
        (0..100).flat_map(|age| request("POST", "/predict", &[], row(age).as_bytes())).collect();
    client.send(&bytes).unwrap();
    for age in 0..100 {
        assert_eq!(client.reply().unwrap().probabilities(), [expected(0.1, f64::from(age), 0.0)]);
    }
    served.end();
}

#[test]
fn what_is_no_http_is_refused() {
    let served = Served::one();
    let huge = format!("GET /v2 HTTP/1.1\r\nHost: test\r\nX-Huge: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET /v2 HTTP/1.1\r\n{}\r\n", "X-Many: 1\r\n".repeat(1000));
    let long = format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(100_000));
    for (bytes, statuses) in [
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n", &[400][..]), // the begin of TLS
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[CLOSED]), // the begin of HTTP/2, which its peer understands
        ("GET /v2 HTTP/9.9\r\n\r\n", &[400, 505]),
        ("hello\r\n\r\n", &[400]),
        (&huge, &[431]),
        (&many, &[431]),
        (&long, &[414, 431]),
        ("POST /predict HTTP/1.1\r\nHost: test\r\nContent-Length: -1\r\n\r\n", &[400]),
        ("POST /predict HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n[]", &[400]),
        ("POST /predict HTTP/1.1\r\nHost: test\r\nContent-Length: 99999999999999999999999\r\n\r\n", &[400]),
        ("POST /predict HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", &[400]),
    ] {
        let mut client = served.client();
        // The server may close before it has all.
        let _ = client.send(bytes.as_bytes());
        let status = client.reply().map(|reply| reply.status);
        let start: String = bytes.chars().take(40).collect();
        match status {
            Ok(status) => assert!(statuses.contains(&status), "{start:?}: {status}"),
            // Bytes that arrive behind a refusal have the system throw the refusal away.
            Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
            Err(e) => assert!(e.kind() == ErrorKind::UnexpectedEof && statuses == [CLOSED], "{start:?}: {e}"),
        }
    }
    assert_eq!(served.client().get("/v2/health/live").status, 200);
    served.end();
}

/// A client that asks first is told before it sends the body.
#[test]
fn a_body_is_refused_before_it_is_sent() {
    let served = Served::with(&[("ctr", 0.1)], |config| config.max_body = 1000);
    let head = |length: usize| {
        format!(
            "POST /predict HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut client = served.client();
    client.send(head(1001).as_bytes()).unwrap();
    assert_eq!(client.reply().unwrap().status, 413);
    let mut client = served.client();
    client.send(head(ROWS.len()).as_bytes()).unwrap();
    client.send(ROWS.as_bytes()).unwrap();
    assert_eq!(client.reply().unwrap().probabilities(), [expected(0.1, 1.0, 0.0)]);
    served.end();
}
