//! Metrics, the access log, and reports of slow requests.

use std::fs;
use std::time::Duration;

use optmsm_serve::Log;
use serde_json::Value;

use crate::toy::{Served, expected};

/// The value of a line of the metrics.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{page}")).parse().unwrap()
}

#[test]
fn what_happens_is_counted() {
    let served = Served::with(&[("ctr/1", 0.1), ("ctr/2", 0.2)], |_| {});
    let mut client = served.client();
    let rows = r#"[{"page": "home", "age": 1, "city": "oslo"}, {"page": "search", "age": 2, "city": "nowhere"},
        {"page": "home", "age": 3}]"#;
    for _ in 0..3 {
        assert_eq!(client.post("/predict", rows).status, 200);
    }
    client.post("/predict", "[1]");
    client.post("/v2/models/ctr/versions/2/predict", "[]");
    client.get("/nowhere");
    let reply = client.get("/metrics");
    assert_eq!(reply.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let page = reply.text();
    assert!(page.ends_with("# EOF\n"));
    let of = r#"model="ctr",version="1""#;
    for (series, wanted) in [
        (&*format!("optmsm_requests_total{{{of},status=\"200\"}}"), 3.0),
        (&format!("optmsm_requests_total{{{of},status=\"400\"}}"), 1.0),
        (r#"optmsm_requests_total{model="ctr",version="2",status="200"}"#, 1.0),
        (r#"optmsm_requests_total{model="",version="",status="404"}"#, 1.0),
        (&format!("optmsm_rows_total{{{of}}}"), 9.0),
        (&format!("optmsm_request_seconds_count{{{of}}}"), 4.0),
        (&format!("optmsm_request_seconds_bucket{{le=\"+Inf\",{of}}}"), 4.0),
        (&format!("optmsm_predictions_total{{{of},scenario=\"home\"}}"), 6.0),
        (&format!("optmsm_predictions_total{{{of},scenario=\"search\"}}"), 3.0),
        (&format!("optmsm_unknown_values_total{{{of},field=\"city\"}}"), 3.0),
        (&format!("optmsm_unknown_values_total{{{of},field=\"age\"}}"), 0.0),
        (&format!("optmsm_loads_total{{{of},result=\"taken\"}}"), 1.0),
        (&format!("optmsm_model_info{{{of},fingerprint=\"f0.1\"}}"), 1.0),
        ("optmsm_in_flight", 1.0),
        ("optmsm_queued", 0.0),
        ("optmsm_connections", 1.0),
        ("optmsm_panics_total", 0.0),
    ] {
        assert_eq!(value(page, series), wanted, "{series}");
    }
    let sum = value(page, &format!("optmsm_prediction_sum_total{{{of},scenario=\"home\"}}"));
    let wanted = 3.0 * (f64::from(expected(0.1, 1.0, 4.0)) + f64::from(expected(0.1, 3.0, 0.0)));
    // Six numbers below 1, each rounded once more.
    assert!((sum - wanted).abs() <= 6.0 * f64::EPSILON, "{sum} {wanted}");
    served.end();
}

#[test]
fn requests_are_written_down() {
    let folder = tempfile::TempDir::new().unwrap();
    let log = folder.path().join("requests.jsonl");
    let served = Served::with(&[("ctr", 0.1)], |config| config.log = Some(Log::File(log.clone())));
    let mut client = served.client();
    let body = r#"[{"page": "home", "age": 1}, {"page": "home", "age": 1}]"#;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let reply = client.ask("POST", "/predict", &[("traceparent", parent)], body.as_bytes());
    client.get("/nowhere\"?secret=1");
    served.end();
    let text = fs::read_to_string(log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    let first = &lines[0];
    for (key, wanted) in [
        ("method", Value::from("POST")),
        ("path", "/predict".into()),
        ("status", 200.into()),
        ("model", "ctr".into()),
        ("version", "1".into()),
        ("rows", 2.into()),
        ("bytes_in", body.len().into()),
        ("bytes_out", reply.body.len().into()),
        ("traceparent", parent.into()),
    ] {
        assert_eq!(first[key], wanted, "{key}");
    }
    assert!(first["milliseconds"].as_f64().unwrap() > 0.0);
    // 2020 and later.
    assert!(first["time"].as_f64().unwrap() > 1.5e9);
    assert_eq!((&lines[1]["path"], &lines[1]["status"]), (&"/nowhere\"".into(), &404.into()));
    assert!(lines[1].get("model").is_none() && !text.contains("secret"));
}

#[test]
fn slow_requests_are_reported_but_not_all() {
    let served = Served::with(&[("ctr", 0.1)], |config| {
        (config.slow, config.slow_per_minute) = (Some(Duration::from_millis(20)), 2);
    });
    let mut client = served.client();
    client.post("/predict", r#"[{"page": "home", "age": 1, "city": "oslo"}]"#);
    let body = r#"[{"page": "home", "age": 1}, {"page": "search", "age": 1, "city": "sleep:30"}, {"page": "search", "age": 1}]"#;
    (0..5).for_each(|_| assert_eq!(client.post("/predict", body).status, 200));
    let notices = served.notices();
    let slow: Vec<_> = notices.iter().filter(|line| line.starts_with("slow request: ")).collect();
    // A machine under load may make the fast one slow.
    assert_eq!(slow.len(), 2, "{notices:?}");
    let wanted =
        format!("model ctr, version 1, 3 rows, most of scenario 'search', {} bytes, status 200", body.len());
    assert!(slow[1].ends_with(&wanted), "{slow:?}");
    assert!(!slow.iter().any(|line| line.contains("sleep")), "{slow:?}");
    served.end();
}

/// `/dev/full` takes no byte.
#[cfg(target_os = "linux")]
#[test]
fn lines_that_cannot_be_written_are_counted() {
    let served = Served::with(&[("ctr", 0.1)], |config| config.log = Some(Log::File("/dev/full".into())));
    let mut client = served.client();
    let mut lost = || value(client.get("/metrics").text(), "optmsm_log_lines_lost_total");
    // Each look is a request.
    assert!((0..10_000).any(|_| lost() >= 3.0));
    served.end();
}
