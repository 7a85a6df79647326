//! Whether the server lives and is ready, and what it serves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::answer::{self, Failure};
use crate::app::{App, At};
use crate::model::{Kind, Model};
use crate::registry::names;
use crate::rows::WEIGHTS;
use crate::tensor::OUTPUT;

/// `GET /v2`.
pub(crate) async fn server(State(app): State<Arc<App>>) -> Response {
    let slots = app.registry.slots();
    let models = names(&slots);
    let mut extensions = vec!["binary_tensor_data"];
    if app.config.repository {
        extensions.push("model_repository");
    }
    let version = env!("CARGO_PKG_VERSION");
    let document =
        json!({ "name": "optmsm", "version": version, "extensions": extensions, "models": models });
    answer::json(StatusCode::OK, &document)
}

/// `GET /v2/health/live`.
pub(crate) async fn live() -> Response {
    answer::json(StatusCode::OK, &json!({ "live": true }))
}

/// `GET /v2/health/ready`: all models were loaded and warmed up, and the server was not told to stop.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let started = app.started.load(Ordering::Acquire);
    let stopping = app.stopping.load(Ordering::Relaxed);
    let status = if started && !stopping { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer::json(status, &json!({ "ready": status == StatusCode::OK }))
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match app.metrics.page() {
        Ok(page) => answer::bytes(StatusCode::OK, TEXT, page.into()),
        Err(e) => Failure::internal(format!("the metrics cannot be written: {e}; try again")).into_response(),
    }
}

/// `GET /v2/models/{model}`.
pub(crate) async fn model(State(app): State<Arc<App>>, At(name): At<String>) -> Result<Response, Failure> {
    describe(&app, &name, None)
}

/// `GET /v2/models/{model}/versions/{version}`.
pub(crate) async fn model_of(
    State(app): State<Arc<App>>,
    At((name, version)): At<(String, String)>,
) -> Result<Response, Failure> {
    describe(&app, &name, Some(&version))
}

/// `GET /v2/models/{model}/ready`.
pub(crate) async fn model_ready(
    State(app): State<Arc<App>>,
    At(name): At<String>,
) -> Result<Response, Failure> {
    is_ready(&app, &name, None)
}

/// `GET /v2/models/{model}/versions/{version}/ready`.
pub(crate) async fn model_ready_of(
    State(app): State<Arc<App>>,
    At((name, version)): At<(String, String)>,
) -> Result<Response, Failure> {
    is_ready(&app, &name, Some(&version))
}

fn is_ready(app: &App, name: &str, version: Option<&str>) -> Result<Response, Failure> {
    app.registry.first(name, version)?;
    Ok(answer::json(StatusCode::OK, &json!({ "name": name, "ready": true })))
}

fn describe(app: &App, name: &str, version: Option<&str>) -> Result<Response, Failure> {
    let loaded = app.registry.first(name, version)?;
    let slots = app.registry.slots();
    let versions = slots.iter().filter(|slot| slot.source.name == name && slot.loaded.is_some());
    let versions: Vec<_> = versions.map(|slot| &*slot.source.version).collect();
    let mut facts: Map<_, _> =
        loaded.model.properties().iter().map(|(k, v)| (k.clone(), Value::from(&**v))).collect();
    facts.insert("fingerprint".into(), loaded.model.fingerprint().into());
    facts.insert("version".into(), (*loaded.version).into());
    facts.insert("scenarios".into(), loaded.model.scenarios().into());
    let document = json!({
        "name": name,
        "versions": versions,
        "platform": "optmsm",
        "inputs": inputs(&*loaded.model),
        "outputs": [{ "name": OUTPUT, "datatype": "FP32", "shape": [-1] }],
        "properties": facts,
    });
    Ok(answer::json(StatusCode::OK, &document))
}

/// The inputs as tensors, in the type that each is best sent in; others that its column can be in a file are read too.
fn inputs(model: &dyn Model) -> Vec<Value> {
    let mut inputs = Vec::new();
    for (i, input) in model.inputs().iter().enumerate() {
        let (datatype, shape) = match input.kind {
            Kind::Text => ("BYTES", vec![-1]),
            Kind::Number => ("FP64", vec![-1]),
            Kind::List { .. } => ("BYTES", vec![-1, -1]),
        };
        let scenario = model.scenario() == Some(i);
        let facts = json!({ "optional": input.optional, "scenario": scenario });
        inputs.push(json!({ "name": input.name, "datatype": datatype, "shape": shape, "parameters": facts }));
        if let Kind::List { weighted: true } = input.kind {
            let name = format!("{}{WEIGHTS}", input.name);
            let facts = json!({ "optional": true });
            inputs.push(json!({ "name": name, "datatype": "FP32", "shape": [-1, -1], "parameters": facts }));
        }
    }
    inputs
}
