//! Models that change while requests go on.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use optmsm_serve::{Config, ServeError, Server};

use crate::client::{Client, request};
use crate::toy::{Files, Served, expected};

const ROW: &str = r#"{"page": "home", "age": 1}"#;
const LOAD: &str = "/v2/repository/models/ctr/load";

fn rows(n: usize) -> String {
    format!("[{}]", vec![ROW; n].join(","))
}

/// Waits for what another thread does.
fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is() {
            return;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("{what} did not happen");
}

/// Resident memory of the process, in bytes.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// A thousand loads of a model of 8 MiB, one in ten refused, while four clients ask: no request fails, none gets an answer of two
/// models, and no model stays in memory. Other tests run in this process; together they take less than the bound, which is that of
/// 32 models of the 900.
#[test]
fn a_thousand_loads_lose_no_request() {
    const BALLAST: u64 = 8 << 20;
    let file = |offset: f64| format!(r#"{{"offset": {offset}, "ballast": {BALLAST}}}"#);
    let served = Served::started(&[("ctr", file(0.1))], |_| {});
    assert!(served.server.wait_ready());
    let (address, stop) = (served.server.address(), AtomicBool::new(false));
    let answers: [f32; 2] = [0.1, 0.2].map(|offset| expected(offset, 1.0, 0.0));
    let mut before = None;
    thread::scope(|scope| {
        // On the connection's thread and on others, kept and fresh connections.
        let clients: Vec<_> = [(3, true), (100, true), (3, false), (500, true)]
            .map(|(n, keep)| {
                let stop = &stop;
                scope.spawn(move || {
                    let (mut client, mut seen) = (Client::new(address), [0; 2]);
                    while !stop.load(Ordering::Relaxed) {
                        if !keep {
                            client = Client::new(address);
                        }
                        let answer = client.post("/predict", &rows(n)).probabilities();
                        let model = answers.iter().position(|p| *p == answer[0]).unwrap();
                        assert_eq!(answer, vec![answers[model]; n]);
                        seen[model] += 1;
                    }
                    seen
                })
            })
            .into();
        let mut client = served.client();
        for load in 0..1000 {
            if load == 100 {
                before = resident();
            }
            let bad = load % 10 == 9;
            served.write("ctr", &if bad { "{".into() } else { file([0.1, 0.2][load % 2]) });
            let reply = client.post(LOAD, "");
            assert_eq!(reply.status, if bad { 400 } else { 200 }, "{}", reply.text());
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            let seen = client.join().unwrap();
            assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
        }
    });
    // The one that answers; the last request may just be letting go of the one before.
    wait_for("the end of old models", || served.files.alive.load(Ordering::Relaxed) == 1);
    assert_eq!(served.files.loaded.load(Ordering::Relaxed), 901);
    if let Some((before, after)) = before.zip(resident()) {
        assert!(after < before + 32 * BALLAST, "{before} {after}");
    }
    let page = served.client().get("/metrics").text().to_owned();
    assert!(page.contains(r#"optmsm_loads_total{model="ctr",version="1",result="taken"} 901"#), "{page}");
    assert!(page.contains(r#"optmsm_loads_total{model="ctr",version="1",result="refused"} 100"#), "{page}");
    assert_eq!(page.matches("\noptmsm_model_info{").count(), 1, "{page}");
    served.end();
}

#[test]
fn a_model_that_is_refused_leaves_the_old_one() {
    let served = Served::one();
    let mut client = served.client();
    for (file, text) in [
        ("{", "damaged: EOF while parsing an object"),
        ("{}", "no offset; write one"),
        (r#"{"panic": "a bug"}"#, "the model panicked: a bug"),
        // The first prediction shows it.
        (r#"{"offset": 2}"#, "it answers 2, which is no probability; train it again, or load another one"),
    ] {
        served.write("ctr", file);
        let reply = client.post(LOAD, "{}");
        assert_eq!(reply.status, 400, "{file}");
        assert!(reply.error().contains(text), "{}", reply.error());
        assert!(reply.error().starts_with("model ctr, version 1: "), "{}", reply.error());
        assert_eq!(client.post("/predict", &rows(1)).probabilities(), [expected(0.1, 1.0, 0.0)]);
        let last = served.notices().pop().unwrap();
        assert!(last.contains(text) && last.ends_with("; the one before goes on"), "{last}");
    }
    fs::remove_file(served.path("ctr")).unwrap();
    assert!(client.post(LOAD, "").error().contains("cannot read: No such file"));
    for (path, body, status, text) in [
        (
            "/v2/repository/models/ctx/load",
            "",
            404,
            "there is no model \"ctx\"; there is ctr; models are named when",
        ),
        ("/v2/repository/models/ctx/unload", "", 404, "there is no model \"ctx\""),
        (LOAD, r#"{"parameters": {"version": "9"}}"#, 404, "there is no version \"9\" of a model \"ctr\""),
        (LOAD, r#"{"parameters": {"config": {}}}"#, 400, "a model has its configuration in its run folder"),
        (LOAD, "[", 400, "the body is no JSON that can be read"),
    ] {
        let reply = client.post(path, body);
        assert_eq!(reply.status, status, "{path} {body}");
        assert!(reply.error().contains(text), "{}", reply.error());
    }
    served.end();
}

#[test]
fn one_load_at_a_time() {
    let served = Served::one();
    let address = served.server.address();
    served.write("ctr", r#"{"offset": 0.2, "wait": 1000}"#);
    let load = thread::spawn(move || Client::new(address).post(LOAD, "").status);
    // Until the other one has begun, this one may be the first.
    wait_for("a load beside another one", || {
        let reply = served.client().post("/v2/repository/models/ctr/unload", "");
        if reply.status == 200 {
            served.client().post(LOAD, "");
        }
        let busy = reply.status == 503;
        assert!(!busy || reply.error().contains("a model is being loaded; try again"), "{}", reply.error());
        // Where this one was the first, the other one was refused.
        busy || load.is_finished()
    });
    assert!([200, 503].contains(&load.join().unwrap()));
    served.end();
}

/// Whoever asked for a load may leave: it goes on, holds its turn, and its model answers.
#[test]
fn a_load_needs_nobody_who_waits() {
    let served = Served::one();
    served.write("ctr", r#"{"offset": 0.2, "wait": 1000}"#);
    let mut gone = served.client();
    gone.send(&request("POST", LOAD, &[], b"")).unwrap();
    let mut client = served.client();
    // And the one that asks.
    wait_for("the load", || client.get("/metrics").text().contains("\noptmsm_in_flight 2\n"));
    drop(gone);
    wait_for("the answer", || client.post("/predict", &rows(1)).probabilities() == [expected(0.2, 1.0, 0.0)]);
    assert_eq!(served.files.loaded.load(Ordering::Relaxed), 2);
    served.end();
}

/// A look that waits for another load's turn takes what is there then.
#[test]
fn a_change_is_loaded_once() {
    let every = Duration::from_millis(20);
    let served = Served::with(&[("ctr", 0.1)], |config| config.watch = Some(every));
    let mut client = served.client();
    served.write("ctr", r#"{"offset": 0.2, "wait": 1000}"#);
    // The look may come first.
    let status = client.post(LOAD, "").status;
    assert!([200, 503].contains(&status), "{status}");
    wait_for("the load", || client.post("/predict", &rows(1)).probabilities() == [expected(0.2, 1.0, 0.0)]);
    sleep(Duration::from_millis(1500));
    assert_eq!(served.files.loaded.load(Ordering::Relaxed), 2);
    served.end();
}

#[test]
fn files_that_change_are_loaded() {
    let every = Duration::from_millis(20);
    let served = Served::with(&[("ctr", 0.1), ("cvr", 0.5)], |config| config.watch = Some(every));
    let mut client = served.client();
    let answer = |client: &mut Client, name: &str| {
        client.post(&format!("/v2/models/{name}/predict"), &rows(1)).probabilities()[0]
    };
    let said = |text: &str| served.notices().iter().filter(|line| line.contains(text)).count();
    served.write("ctr", r#"{"offset": 0.2}"#);
    wait_for("the load", || answer(&mut client, "ctr") == expected(0.2, 1.0, 0.0));
    // A bad model is refused once, not at every look.
    served.write("ctr", r#"{"offset": "x"}"#);
    wait_for("the refusal", || said("no offset; write one; the one before goes on") == 1);
    sleep(5 * every);
    assert_eq!(said("no offset"), 1);
    assert_eq!(answer(&mut client, "ctr"), expected(0.2, 1.0, 0.0));
    // A folder that is gone is no change; one that comes back changed is one.
    fs::remove_file(served.path("ctr")).unwrap();
    sleep(5 * every);
    assert_eq!(answer(&mut client, "ctr"), expected(0.2, 1.0, 0.0));
    served.write("ctr", r#"{"offset": 0.3}"#);
    wait_for("the load", || answer(&mut client, "ctr") == expected(0.3, 1.0, 0.0));
    // Models that did not change were not loaded again, and one that was unloaded stays so.
    assert_eq!((said("model cvr"), answer(&mut client, "cvr")), (1, expected(0.5, 1.0, 0.0)));
    client.post("/v2/repository/models/ctr/unload", "");
    served.write("ctr", r#"{"offset": 0.4}"#);
    sleep(5 * every);
    assert_eq!(client.get("/v2/models/ctr/ready").status, 503);
    served.end();
}

#[test]
fn a_server_lives_before_it_is_ready() {
    let slow = r#"{"offset": 0.1, "wait": 2000}"#;
    let served = Served::started(&[("ctr", slow.into())], |_| {});
    let mut client = served.client();
    assert_eq!(client.get("/v2/health/live").status, 200);
    let ready = client.get("/v2/health/ready");
    assert_eq!((ready.status, ready.text()), (503, r#"{"ready":false}"#));
    let reply = client.post("/predict", &rows(1));
    assert_eq!((reply.status, &*reply.headers["retry-after"]), (503, "1"));
    assert!(
        reply.error().contains("model ctr, version 1, does not answer: it is being loaded"),
        "{}",
        reply.error()
    );
    assert_eq!(client.get("/v2/models/ctr/ready").status, 503);
    assert!(served.server.wait_ready());
    assert_eq!(client.get("/v2/health/ready").text(), r#"{"ready":true}"#);
    assert_eq!(client.post("/predict", &rows(1)).status, 200);
    served.end();
}

#[test]
fn a_server_that_cannot_begin_says_why() {
    let served = Served::started(&[("ctr", r#"{"offset": 0.1}"#.into()), ("cvr/7", "{".into())], |_| {});
    assert!(!served.server.wait_ready());
    let said = served.server.wait().unwrap_err();
    assert!(matches!(said, ServeError::Model { .. }));
    assert!(said.to_string().starts_with("model cvr, version 7: "), "{said}");
    assert!(said.to_string().contains("damaged: EOF"), "{said}");

    let served = Served::one();
    let mut config = Config::new(vec!["ctr=nowhere".parse().unwrap()]);
    config.port = served.server.address().port();
    let said = Server::start(config, std::sync::Arc::new(Files::default()), std::sync::Arc::new(|_| {}));
    let said = said.err().unwrap().to_string();
    assert!(said.contains("cannot listen: Address already in use"), "{said}");
    assert!(said.ends_with("end what listens there, or give another --port or --host"), "{said}");
    served.end();
}

#[test]
fn without_warming_up_the_first_request_meets_the_fault() {
    let served = Served::with(&[("ctr", 2.0)], |config| config.warm_up = false);
    let reply = served.client().post("/predict", &rows(1));
    assert_eq!(reply.status, 500);
    assert!(reply.error().contains("which is no probability"), "{}", reply.error());
    served.end();
}
