//! Counters of the server, as Prometheus reads them.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::model::{Model, Seen};

type Sum = Counter<f64, AtomicU64>;
type Make = fn() -> Histogram;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Status {
    model: String,
    version: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Version {
    model: String,
    version: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Scenario {
    model: String,
    version: String,
    scenario: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Field {
    model: String,
    version: String,
    field: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Fingerprint {
    model: String,
    version: String,
    fingerprint: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Loading {
    model: String,
    version: String,
    result: &'static str,
}

/// All counters.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Status, Counter>,
    rows: Family<Version, Counter>,
    seconds: Family<Version, Histogram, Make>,
    predictions: Family<Scenario, Counter>,
    prediction_sum: Family<Scenario, Sum>,
    unknown: Family<Field, Counter>,
    loads: Family<Loading, Counter>,
    info: Family<Fingerprint, Gauge>,
    pub(crate) in_flight: Gauge,
    pub(crate) queued: Gauge,
    pub(crate) held: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) panics: Counter,
    pub(crate) lines_lost: Counter,
    /// Keeps two loads from changing the same labels in turn.
    labels: Mutex<()>,
}

/// Upper limits of the latency histogram, in seconds.
const LIMITS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];

impl Metrics {
    pub(crate) fn new() -> Self {
        let make: Make = || Histogram::new(LIMITS);
        let mut metrics = Self {
            registry: Registry::with_prefix("optmsm"),
            requests: Family::default(),
            rows: Family::default(),
            seconds: Family::new_with_constructor(make),
            predictions: Family::default(),
            prediction_sum: Family::default(),
            unknown: Family::default(),
            loads: Family::default(),
            info: Family::default(),
            in_flight: Gauge::default(),
            queued: Gauge::default(),
            held: Gauge::default(),
            connections: Gauge::default(),
            panics: Counter::default(),
            lines_lost: Counter::default(),
            labels: Mutex::default(),
        };
        let r = &mut metrics.registry;
        r.register(
            "requests",
            "Requests answered, of any path; no model: no prediction",
            metrics.requests.clone(),
        );
        r.register("rows", "Rows predicted", metrics.rows.clone());
        r.register("request_seconds", "Time of a prediction's request, in seconds", metrics.seconds.clone());
        r.register("predictions", "Rows predicted of a scenario", metrics.predictions.clone());
        let help = "Sum of the probabilities of a scenario; by optmsm_predictions_total, their mean";
        r.register("prediction_sum", help, metrics.prediction_sum.clone());
        let help = "Values of a field that its vocabulary lacks";
        r.register("unknown_values", help, metrics.unknown.clone());
        r.register("loads", "Loads of a model that were taken or refused", metrics.loads.clone());
        r.register("model_info", "1 for the models that answer", metrics.info.clone());
        r.register("in_flight", "Requests that are being answered", metrics.in_flight.clone());
        r.register("queued", "Requests that wait for a thread", metrics.queued.clone());
        r.register("held_bytes", "Bytes of bodies that are held", metrics.held.clone());
        r.register("connections", "Open connections", metrics.connections.clone());
        r.register("panics", "Requests answered with 500 after a panic", metrics.panics.clone());
        r.register(
            "log_lines_lost",
            "Lines that the log was too slow for, or that could not be written",
            metrics.lines_lost.clone(),
        );
        metrics
    }

    /// The page that Prometheus reads.
    pub(crate) fn page(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }

    pub(crate) fn answered(&self, model: &str, version: &str, status: u16) {
        let labels = Status { model: model.to_owned(), version: version.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts a load; `taken` says whether the model was.
    pub(crate) fn loaded(&self, model: &str, version: &str, taken: bool) {
        let result = if taken { "taken" } else { "refused" };
        let labels = Loading { model: model.to_owned(), version: version.to_owned(), result };
        self.loads.get_or_create(&labels).inc();
    }

    /// The counters of a model that is about to answer for a version; labels of the one before that it lacks go away.
    pub(crate) fn enter(
        &self,
        name: &str,
        version: &str,
        model: &dyn Model,
        old: Option<&dyn Model>,
    ) -> Meters {
        let _turn = self.labels.lock().unwrap_or_else(|e| e.into_inner());
        let (model_name, version) = (name.to_owned(), version.to_owned());
        let of = Version { model: model_name.clone(), version: version.clone() };
        let scenario = |name: &str| Scenario {
            model: model_name.clone(),
            version: version.clone(),
            scenario: name.to_owned(),
        };
        let field = |name: &str| Field {
            model: model_name.clone(),
            version: version.clone(),
            field: name.to_owned(),
        };
        if let Some(old) = old {
            self.leave(name, &version, old);
            for gone in old.scenarios().iter().filter(|name| !model.scenarios().contains(name)) {
                self.predictions.remove(&scenario(gone));
                self.prediction_sum.remove(&scenario(gone));
            }
            let has = |name: &str| model.inputs().iter().any(|input| input.name == name);
            for gone in old.inputs().iter().filter(|input| !has(&input.name)) {
                self.unknown.remove(&field(&gone.name));
            }
        }
        self.info.get_or_create(&info(name, &version, model)).set(1);
        let scenarios = model.scenarios().iter().map(|name| {
            let labels = scenario(name);
            let rows = self.predictions.get_or_create_owned(&labels);
            (rows, self.prediction_sum.get_or_create_owned(&labels))
        });
        let unknown =
            model.inputs().iter().map(|input| self.unknown.get_or_create_owned(&field(&input.name)));
        Meters {
            rows: self.rows.get_or_create_owned(&of),
            seconds: self.seconds.get_or_create_owned(&of),
            scenarios: scenarios.collect(),
            unknown: unknown.collect(),
        }
    }

    /// Takes a model off the list of those that answer.
    pub(crate) fn leave(&self, name: &str, version: &str, model: &dyn Model) {
        self.info.remove(&info(name, version, model));
    }
}

fn info(name: &str, version: &str, model: &dyn Model) -> Fingerprint {
    let fingerprint = model.fingerprint().to_owned();
    Fingerprint { model: name.to_owned(), version: version.to_owned(), fingerprint }
}

/// The counters of one version.
pub(crate) struct Meters {
    rows: Counter,
    pub(crate) seconds: Histogram,
    scenarios: Vec<(Counter, Sum)>,
    unknown: Vec<Counter>,
}

impl Meters {
    pub(crate) fn predicted(&self, rows: usize, seen: &Seen) {
        self.rows.inc_by(rows as u64);
        for (scenario, rows, sum) in &seen.scenarios {
            if let Some((counter, total)) = self.scenarios.get(*scenario) {
                counter.inc_by(*rows);
                total.inc_by(*sum);
            }
        }
        for (input, values) in &seen.unknown {
            if let Some(counter) = self.unknown.get(*input) {
                counter.inc_by(*values);
            }
        }
    }
}
