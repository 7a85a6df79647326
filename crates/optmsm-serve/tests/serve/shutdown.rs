//! The end of a server under load.

use std::sync::atomic::Ordering;
use std::thread::{self, sleep};
use std::time::Duration;

use crate::client::{Client, request};
use crate::toy::{Served, expected};

const ROWS: &str = r#"[{"page": "home", "age": 1}]"#;

fn slow(milliseconds: u64) -> String {
    let first = format!(r#"{{"page": "home", "age": 1, "city": "sleep:{milliseconds}"}}"#);
    format!("[{first}{}]", r#",{"page": "home", "age": 1}"#.repeat(100))
}

/// Clients with kept connections ask until they are told that theirs is closed: they lose nothing. Clients that come with a new one
/// each time find the door closed at some point; of what was predicted for them, they got each answer.
#[test]
fn every_request_that_was_taken_is_answered() {
    let served = Served::with(&[("ctr", 0.1)], |config| config.linger = Duration::from_millis(500));
    let (address, files) = (served.server.address(), served.files.clone());
    let warmed = files.predicted.load(Ordering::Relaxed);
    let kept = |_| {
        thread::spawn(move || {
            let (mut client, mut answers) = (Client::new(address), 0);
            loop {
                let reply = client.post("/predict", ROWS);
                assert_eq!(reply.probabilities(), [expected(0.1, 1.0, 0.0)]);
                answers += 1;
                if reply.closes() {
                    return answers;
                }
            }
        })
    };
    let fresh = |_| {
        thread::spawn(move || {
            let mut answers = 0;
            while let Ok(mut client) = Client::try_new(address) {
                let headers = [("Content-Type", "application/json")];
                let Ok(reply) = client.try_ask("POST", "/predict", &headers, ROWS.as_bytes()) else { break };
                assert_eq!(reply.probabilities(), [expected(0.1, 1.0, 0.0)]);
                answers += 1;
            }
            answers
        })
    };
    let clients: Vec<_> = (0..3).map(kept).chain((0..2).map(fresh)).collect();
    let last = thread::spawn(move || Client::new(address).post("/predict", &slow(1500)));
    sleep(Duration::from_millis(300));
    served.server.stop();
    let ready = served.client().get("/v2/health/ready");
    assert!(ready.status == 503 && ready.closes(), "{ready:?}");
    assert_eq!(served.client().get("/v2/health/live").status, 200);
    assert_eq!(last.join().unwrap().probabilities().len(), 101);
    assert_eq!(served.server.wait().unwrap().cut, 0);
    let answers: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(files.predicted.load(Ordering::Relaxed) - warmed, answers + 101);
    assert!(Client::try_new(address).is_err());
}

/// Connections that the server has not accepted when it is told to end, for its only thread predicts, are answered as well.
#[test]
fn what_was_sent_before_the_end_is_answered() {
    let served = Served::with(&[("ctr", 0.1)], |config| config.threads = 1);
    let bytes =
        |rows: &str| request("POST", "/predict", &[("Content-Type", "application/json")], rows.as_bytes());
    let mut busy = served.client();
    busy.send(&bytes(r#"[{"page": "home", "age": 1, "city": "sleep:1500"}]"#)).unwrap();
    sleep(Duration::from_millis(300));
    let mut clients: Vec<_> = (0..50).map(|_| served.client()).collect();
    clients.iter_mut().for_each(|client| client.send(&bytes(ROWS)).unwrap());
    served.server.stop();
    assert_eq!(busy.reply().unwrap().probabilities(), [expected(0.1, 1.0, 10.0)]);
    for client in &mut clients {
        assert_eq!(client.reply().unwrap().probabilities(), [expected(0.1, 1.0, 0.0)]);
    }
    assert_eq!(served.server.wait().unwrap().cut, 0);
}

#[test]
fn a_request_that_takes_too_long_is_cut() {
    let served = Served::with(&[("ctr", 0.1)], |config| config.drain = Duration::from_secs(1));
    let address = served.server.address();
    let headers = [("Content-Type", "application/json")];
    let lost = thread::spawn(move || {
        Client::new(address).try_ask("POST", "/predict", &headers, slow(5000).as_bytes())
    });
    let mut client = served.client();
    while !client.get("/metrics").text().contains("\noptmsm_in_flight 2\n") {
        sleep(Duration::from_millis(5));
    }
    // One that does nothing is no reason to wait.
    let idle = served.client();
    served.server.stop();
    assert_eq!(served.server.wait().unwrap().cut, 1);
    assert!(lost.join().unwrap().is_err());
    drop(idle);
}

#[test]
fn a_server_can_stop_before_it_is_ready() {
    let served = Served::started(&[("ctr", r#"{"offset": 0.1, "wait": 3000}"#.into())], |_| {});
    served.server.stop();
    assert!(!served.server.wait_ready());
    assert_eq!(served.server.wait().unwrap().cut, 0);
}
