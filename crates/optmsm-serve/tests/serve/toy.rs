//! A model whose probabilities a test can compute, and servers of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use optmsm_serve::{
    Candidates, Config, Datum, Drained, Input, Kind, Loader, Model, Refusal, Rows, Seen, Server, Stamp,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;

pub(crate) const SCENARIOS: [&str; 2] = ["home", "search"];
/// The cities that the model knows.
pub(crate) const CITIES: [&str; 2] = ["oslo", "rome"];

/// Row by row: `offset + (age + letters of the city + Σ weight · letters of the tag) / 1000`.
pub(crate) struct Toy {
    offset: f64,
    inputs: Vec<Input>,
    scenarios: Vec<String>,
    fingerprint: String,
    properties: Vec<(String, String)>,
    /// Memory that a leak would show.
    _ballast: Vec<u8>,
    _alive: Alive,
    predicted: Arc<AtomicUsize>,
}

pub(crate) fn expected(offset: f64, age: f64, letters: f64) -> f32 {
    let probability = offset + (age + letters) / 1000.0;
    // An offset that is no probability makes a model that answers none.
    (if (0.0..=1.0).contains(&offset) { probability.clamp(0.0, 1.0) } else { probability }) as f32
}

/// Counts models while they are in memory.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn number(row: usize, value: Datum<'_>) -> Result<f64, Refusal> {
    match value {
        Datum::Int(v) => Ok(v as f64),
        Datum::UInt(v) => Ok(v as f64),
        Datum::Float(v) if v.is_finite() => Ok(v),
        Datum::Text(text) => match text.parse::<f64>() {
            Ok(v) if v.is_finite() => Ok(v),
            _ => Err(Refusal::value(row, "age", format!("'{text}' is no number"), "send one")),
        },
        Datum::Missing => Ok(0.0),
        _ => Err(Refusal::value(row, "age", "this is no number", "send one")),
    }
}

/// The text that a file would have.
fn text(value: Datum<'_>) -> Option<String> {
    match value {
        Datum::Text(text) => Some(text.to_owned()),
        Datum::Int(v) => Some(v.to_string()),
        Datum::UInt(v) => Some(v.to_string()),
        Datum::Bool(v) => Some(v.to_string()),
        Datum::Float(v) => Some(v.to_string()),
        Datum::Missing | Datum::List(_) => None,
    }
}

impl Toy {
    fn row<'a>(&self, row: usize, get: impl Fn(usize) -> Datum<'a>, seen: &mut Seen) -> Result<f32, Refusal> {
        let page = text(get(0)).unwrap_or_default();
        let scenario = self.scenarios.iter().position(|name| *name == page);
        let scenario = scenario.ok_or_else(|| {
            let problem = format!("'{page}' is no scenario of the model");
            Refusal::value(row, "page", problem, "send home or search")
        })?;
        let age = number(row, get(1))?;
        let mut letters = 0.0;
        if let Some(city) = text(get(2)) {
            match city.split_once(':') {
                Some(("sleep", milliseconds)) => sleep(Duration::from_millis(milliseconds.parse().unwrap())),
                Some(("panic", why)) => panic!("{why}"),
                Some(("answer", number)) => return Ok(number.parse().unwrap()),
                Some(("fail", why)) => return Err(Refusal::internal(why, "try another one")),
                _ => {}
            }
            letters += city.chars().count() as f64;
            seen.unknown(2, u64::from(!CITIES.contains(&&*city)));
        }
        match get(3) {
            Datum::List(tags) => {
                for i in 0..tags.len() {
                    let tag = text(tags.item(i)).unwrap_or_default();
                    let weight = match tags.weight(i) {
                        Some(weight) => number(row, weight)?,
                        None => 1.0,
                    };
                    letters += weight * tag.chars().count() as f64;
                }
            }
            value => letters += text(value).map_or(0.0, |tag| tag.chars().count() as f64),
        }
        let probability = expected(self.offset, age, letters);
        seen.predicted(scenario, probability);
        self.predicted.fetch_add(1, Ordering::Relaxed);
        Ok(probability)
    }
}

impl Model for Toy {
    fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    fn scenario(&self) -> Option<usize> {
        Some(0)
    }

    fn scenarios(&self) -> &[String] {
        &self.scenarios
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn properties(&self) -> &[(String, String)] {
        &self.properties
    }

    fn predict(&self, rows: &Rows<'_>, seen: &mut Seen) -> Result<Vec<f32>, Refusal> {
        (0..rows.len()).map(|row| self.row(row, |input| rows.get(row, input), seen)).collect()
    }

    fn candidates(&self, candidates: &Candidates<'_>, seen: &mut Seen) -> Result<Vec<f32>, Refusal> {
        let get = |item, input| candidates.user(input).unwrap_or_else(|| candidates.get(item, input));
        (0..candidates.len()).map(|item| self.row(item, |input| get(item, input), seen)).collect()
    }
}

/// Reads models from files of JSON: `{"offset": 0.1}`, with `ballast` bytes, `more` columns that
/// mean nothing, and `wait` milliseconds before it is loaded.
#[derive(Default)]
pub(crate) struct Files {
    pub(crate) predicted: Arc<AtomicUsize>,
    pub(crate) loaded: AtomicUsize,
    /// Models that are in memory.
    pub(crate) alive: Arc<AtomicUsize>,
}

impl Loader for Files {
    fn load(&self, path: &Path) -> Result<Arc<dyn Model>, String> {
        let shown = path.display();
        let text =
            fs::read_to_string(path).map_err(|e| format!("{shown}: cannot read: {e}; check the path"))?;
        let file: Value =
            serde_json::from_str(&text).map_err(|e| format!("{shown}: damaged: {e}; write it again"))?;
        sleep(Duration::from_millis(file["wait"].as_u64().unwrap_or(0)));
        if let Some(why) = file["panic"].as_str() {
            panic!("{why}");
        }
        let offset = file["offset"].as_f64().ok_or_else(|| format!("{shown}: no offset; write one"))?;
        let input = |name: &str, kind, optional| Input { name: name.into(), kind, optional };
        let more = file["more"].as_u64().unwrap_or(0);
        self.loaded.fetch_add(1, Ordering::Relaxed);
        self.alive.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Toy {
            offset,
            inputs: [
                input("page", Kind::Text, false),
                input("age", Kind::Number, false),
                input("city", Kind::Text, true),
                input("tags", Kind::List { weighted: true }, true),
            ]
            .into_iter()
            .chain((0..more).map(|i| input(&format!("more{i}"), Kind::Text, true)))
            .collect(),
            scenarios: SCENARIOS.map(str::to_owned).into(),
            fingerprint: format!("f{offset}"),
            properties: vec![("kind".into(), "toy".into())],
            _ballast: vec![1; file["ballast"].as_u64().unwrap_or(0) as usize],
            _alive: Alive(self.alive.clone()),
            predicted: self.predicted.clone(),
        }))
    }

    fn stamp(&self, path: &Path) -> Option<Stamp> {
        let text = fs::read(path).ok()?;
        Some(Stamp(
            text.iter().fold(text.len() as u64, |stamp, byte| stamp.wrapping_mul(31) + u64::from(*byte)),
        ))
    }
}

/// A server of models in a folder of its own.
pub(crate) struct Served {
    pub(crate) server: Server,
    pub(crate) files: Arc<Files>,
    pub(crate) notices: Arc<Mutex<Vec<String>>>,
    pub(crate) folder: TempDir,
}

impl Served {
    /// One model, `ctr`, of the offset 0.1.
    pub(crate) fn one() -> Self {
        Self::with(&[("ctr", 0.1)], |_| {})
    }

    /// Models by their name or name and version, with their offsets; ready.
    pub(crate) fn with(models: &[(&str, f64)], change: impl FnOnce(&mut Config)) -> Self {
        let texts: Vec<_> =
            models.iter().map(|(label, offset)| (*label, format!(r#"{{"offset": {offset}}}"#))).collect();
        let served = Self::started(&texts, change);
        assert!(served.server.wait_ready(), "{:?}", served.notices());
        served
    }

    /// The same with the texts of the models' files; perhaps not ready.
    pub(crate) fn started(models: &[(&str, String)], change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut sources = Vec::new();
        for (label, text) in models {
            let path = path(folder.path(), label);
            fs::write(&path, text).unwrap();
            sources.push(format!("{label}={}", path.display()).parse().unwrap());
        }
        let mut config = Config::new(sources);
        config.port = 0;
        config.threads = 2;
        config.linger = Duration::ZERO;
        change(&mut config);
        let (files, notices) = (Arc::new(Files::default()), Arc::new(Mutex::new(Vec::new())));
        let heard = notices.clone();
        let notice = move |line: &str| heard.lock().unwrap().push(line.to_owned());
        let server = Server::start(config, files.clone(), Arc::new(notice)).unwrap();
        Self { server, files, notices, folder }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.server.address())
    }

    /// The file of a model.
    pub(crate) fn path(&self, label: &str) -> PathBuf {
        path(self.folder.path(), label)
    }

    /// Writes the file of a model, as a careful program does.
    pub(crate) fn write(&self, label: &str, text: &str) {
        let whole = self.folder.path().join("whole");
        fs::write(&whole, text).unwrap();
        fs::rename(whole, self.path(label)).unwrap();
    }

    pub(crate) fn notices(&self) -> Vec<String> {
        self.notices.lock().unwrap().clone()
    }

    /// Stops the server.
    pub(crate) fn end(self) -> Drained {
        self.server.stop();
        self.server.wait().unwrap()
    }
}

fn path(folder: &Path, label: &str) -> PathBuf {
    folder.join(label.replace('/', "-"))
}
