//! Models that are listed, loaded and unloaded by requests.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::answer::{self, Failure};
use crate::app::{App, At};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    /// Of the list: only models that answer.
    ready: bool,
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Parameters {
    /// The only version that is loaded or unloaded.
    version: Option<String>,
    /// Triton's own description of a model, which a run has in its folder.
    config: Option<serde::de::IgnoredAny>,
}

/// `POST /v2/repository/index`.
pub(crate) async fn index(State(app): State<Arc<App>>, request: Request) -> Result<Response, Failure> {
    let asked = asked(&app, request).await?;
    let slots = app.registry.slots();
    let slots = slots.iter().filter(|slot| !asked.ready || slot.loaded.is_some());
    let list = slots.map(|slot| {
        let state = if slot.loaded.is_some() { "READY" } else { "UNAVAILABLE" };
        let (name, version) = (&slot.source.name, &slot.source.version);
        json!({ "name": name, "version": version, "state": state, "reason": slot.reason })
    });
    Ok(answer::json(StatusCode::OK, &list.collect::<Vec<_>>()))
}

/// `POST /v2/repository/models/{model}/load`.
pub(crate) async fn load(
    State(app): State<Arc<App>>,
    At(name): At<String>,
    request: Request,
) -> Result<Response, Failure> {
    let asked = asked(&app, request).await?;
    if asked.parameters.config.is_some() {
        let text = "a model has its configuration in its run folder; leave \"config\" out";
        return Err(Failure::request(text));
    }
    app.registry.load(&name, asked.parameters.version.as_deref()).await?;
    Ok(answer::json(StatusCode::OK, &json!({})))
}

/// `POST /v2/repository/models/{model}/unload`.
pub(crate) async fn unload(
    State(app): State<Arc<App>>,
    At(name): At<String>,
    request: Request,
) -> Result<Response, Failure> {
    let asked = asked(&app, request).await?;
    app.registry.unload(&name, asked.parameters.version.as_deref()).await?;
    Ok(answer::json(StatusCode::OK, &json!({})))
}

async fn asked(app: &App, request: Request) -> Result<Asked, Failure> {
    let deadline = Instant::now() + app.config.timeout;
    let body = app.gate.body(&mut request.into_body(), deadline).await?;
    if body.bytes.trim_ascii().is_empty() {
        return Ok(Asked::default());
    }
    serde_json::from_slice(&body.bytes).map_err(|e| {
        Failure::request(format!("the body is no JSON that can be read: {e}; send {{}} or nothing"))
    })
}
