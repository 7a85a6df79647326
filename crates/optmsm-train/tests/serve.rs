//! `optmsm serve`, from a run to answers over HTTP.
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use common::{CONFIG, Place, bad, code, good};
use serde_json::{Value, json};

/// A server in a process of its own, ended when dropped.
struct Serving {
    process: Child,
    said: BufReader<ChildStderr>,
    address: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Serving {
    /// Ready.
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_optmsm"))
            .current_dir(place.path(""))
            .args([&["serve", "--port", "0", "--threads", "2"], args].concat())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stderr.take().unwrap());
        let mut serving = Self { process, said, address: String::new() };
        let first = serving.until("listens on http://");
        serving.address = first.split("http://").nth(1).unwrap().trim_end_matches(", and loads").to_owned();
        serving.until("ready: POST ");
        serving
    }

    /// The next line on standard error that holds this.
    fn until(&mut self, part: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "no {part:?} in {all}");
            if line.contains(part) {
                return line.trim_end().to_owned();
            }
            all += &line;
        }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close");
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn predict(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask("POST", path, &body.to_string());
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }

    fn refused(&self, body: &Value) -> String {
        let (status, answer) = self.ask("POST", "/predict", &body.to_string());
        assert_eq!(status, 400, "{answer}");
        serde_json::from_str::<Value>(&answer).unwrap()["error"].as_str().unwrap().to_owned()
    }

    /// Tells the server to end; returns the exit code.
    fn end(mut self) -> Option<i32> {
        let told = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        assert!(told.unwrap().success());
        self.process.wait().unwrap().code()
    }
}

/// Runs `run` and `other`, which differ by their seed.
fn trained() -> Place {
    let place = Place::new(CONFIG, 64, 9);
    for (run, seed) in [("run", "train.seed=1"), ("other", "train.seed=2")] {
        code(&place.run(&["train", "--config", "config.toml", "--run", run, "--quiet", "--set", seed]), 0);
    }
    place
}

fn rows() -> Vec<Value> {
    (0..50)
        .map(|i| {
            let tags = [json!(["a", "b"]), json!([]), json!("c|a"), Value::Null][i % 4].clone();
            let price = if i % 5 == 0 { Value::Null } else { json!(i as f64 / 2.0) };
            let scenario = ["home", "ads"][i % 2];
            json!({"scenario": scenario, "user": format!("u{}", i % 12), "tags": tags, "price": price})
        })
        .collect()
}

/// The predictions that `optmsm predict` writes for the rows.
fn predicted(place: &Place, run: &str, rows: &[Value]) -> Vec<f32> {
    let mut text = "scenario,user,tags,price\n".to_owned();
    for row in rows {
        let cell = |key: &str| match &row[key] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(list) => list.iter().map(|v| v.as_str().unwrap()).collect::<Vec<_>>().join("|"),
            other => other.to_string(),
        };
        text += &["scenario", "user", "tags", "price"].map(cell).join(",");
        text += "\n";
    }
    place.write("rows.csv", text);
    let text = good(place, &["predict", run, "--data", "rows.csv", "--out", "-"]);
    text.lines().skip(1).map(|line| line.rsplit_once(',').unwrap().1.parse().unwrap()).collect()
}

fn probabilities(answer: &Value) -> Vec<f32> {
    answer["probabilities"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap() as f32).collect()
}

/// Bit by bit: both sides write the shortest decimal that names an `f32`.
#[test]
fn what_is_served_is_what_predict_writes() {
    let place = trained();
    let rows = rows();
    let wanted = predicted(&place, "run", &rows);
    let serving = Serving::start(&place, &["ctr=run", "ctr/2=other", "--log", "log.jsonl"]);
    assert_eq!(probabilities(&serving.predict("/predict", &json!(rows))), wanted);
    assert_eq!(probabilities(&serving.predict("/predict", &json!([rows[7]]))), [wanted[7]]);
    let of_other = serving.predict("/v2/models/ctr/versions/2/predict", &json!(rows));
    assert_eq!(probabilities(&of_other), predicted(&place, "other", &rows));
    assert_ne!(probabilities(&of_other), wanted);
    // The user's columns once, and the scenario of all or of each.
    let items: Vec<_> =
        (0..50).map(|i| json!({"tags": rows[i]["tags"], "price": rows[i]["price"]})).collect();
    let of_user: Vec<_> = items
        .iter()
        .map(|item| json!({"scenario": "ads", "user": "u3", "tags": item["tags"], "price": item["price"]}))
        .collect();
    let asked = json!({"user": {"user": "u3"}, "scenario": "ads", "items": items});
    assert_eq!(probabilities(&serving.predict("/predict", &asked)), predicted(&place, "run", &of_user));
    let asked = json!({"items": rows});
    assert_eq!(probabilities(&serving.predict("/predict", &asked)), wanted);
    // Refusals have the place and the remedy of the encoder.
    let mut row = rows[1].clone();
    row["scenario"] = json!("elsewhere");
    assert!(serving.refused(&json!([rows[0], row])).starts_with("row 2, column 'scenario': "));
    row = rows[1].clone();
    row["price"] = json!("dear");
    let said = serving.refused(&json!([rows[0], row]));
    assert!(said.starts_with("row 2, column 'price': ") && said.contains("dear"), "{said}");
    row.as_object_mut().unwrap().remove("price");
    assert!(serving.refused(&json!([row])).starts_with("column 'price' is missing: row 1 lacks it"));
    let page = serving.ask("GET", "/metrics", "").1;
    // Users 9 to 11 of 12 are not of the training file: rows 9, 10, 11, 21, …, 47 of 50.
    let unknown = r#"optmsm_unknown_values_total{model="ctr",version="2",field="user"} 12"#;
    assert!(page.contains(unknown), "{page}");
    assert_eq!(serving.end(), Some(0));
    assert_eq!(place.text("log.jsonl").lines().count(), 9);
}

#[test]
fn a_run_that_changes_is_loaded() {
    let place = trained();
    let rows = rows();
    let (before, after) = (predicted(&place, "run", &rows), predicted(&place, "other", &rows));
    let mut serving = Serving::start(&place, &["run", "--watch", "0.05"]);
    let answer = |serving: &Serving| probabilities(&serving.predict("/v2/models/run/predict", &json!(rows)));
    assert_eq!(answer(&serving), before);
    let best = "checkpoints/best.safetensors";
    place.write("run/checkpoints/new", place.bytes(&format!("other/{best}")));
    std::fs::rename(place.path("run/checkpoints/new"), place.path("run").join(best)).unwrap();
    serving.until("model run, version 1: run answers, ");
    assert_eq!(answer(&serving), after);
    place.write("run/schema.json", "{");
    let said = serving.until("schema.json");
    assert!(said.ends_with("; the one before goes on"), "{said}");
    assert_eq!(answer(&serving), after);
    assert_eq!(serving.end(), Some(0));
}

#[test]
fn what_cannot_be_served_is_said() {
    let place = Place::empty();
    let said = |args: &[&str]| bad(&place, &[&["serve", "--port", "0"], args].concat());
    assert!(
        said(&["nowhere"]).contains("error: model nowhere, version 1: nowhere"),
        "{}",
        said(&["nowhere"])
    );
    assert!(said(&[]).contains("<RUN>"));
    assert!(said(&["a b=x"]).contains("'a b' is no name of a model or version"));
    assert!(said(&["x", "--share", "x/1"]).contains("not of the form NAME/VERSION=SHARE, as in ctr/2=0.1"));
    assert!(said(&["x", "--share", "x/2=0.5"]).contains("there is no such version; there are x/1"));
    assert!(said(&["x", "--threads", "0"]).contains("--threads: 0 serves nobody; give at least 1"));
    assert!(said(&["x", "--timeout=-1"]).contains("--timeout <SECONDS>"));
    assert!(said(&["x", "x"]).contains("two models have this name and version"));
}

/// Options that files beside the program give are options of the program.
#[test]
fn files_for_containers_know_the_options() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/serving");
    let help = good(&Place::empty(), &["serve", "--help"]);
    let mut options = 0;
    for file in ["Dockerfile", "kserve.yaml"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let starts = ["ENTRYPOINT", "CMD", "- --"];
        let lines =
            text.lines().filter(|line| starts.iter().any(|start| line.trim_start().starts_with(start)));
        let words = lines.flat_map(|line| line.split([' ', '"', ',', '=', '[', ']']));
        for option in words.filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{file}: {option}");
            options += 1;
        }
    }
    assert!(options >= 6, "{options}");
}
