//! The routes, and what holds for every request.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path};
use axum::http::header::CONNECTION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use tower_service::Service;

use crate::admit::Gate;
use crate::answer::Failure;
use crate::config::Config;
use crate::log::{Line, Logger, Sampler, now};
use crate::metrics::Metrics;
use crate::registry::{Loaded, Notice, Registry};
use crate::warm::said;
use crate::{health, predict, repository};

/// All that requests share.
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) registry: Arc<Registry>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) logger: Option<Logger>,
    pub(crate) sampler: Sampler,
    pub(crate) notice: Notice,
    /// Whether all models were loaded once.
    pub(crate) started: AtomicBool,
    /// Whether the server was told to stop.
    pub(crate) stopping: AtomicBool,
}

/// Facts about a prediction's request beside its answer.
#[derive(Default)]
pub(crate) struct Trace {
    pub(crate) loaded: Option<Arc<Loaded>>,
    pub(crate) rows: Option<usize>,
    /// Number of the scenario of most rows.
    pub(crate) scenario: Option<usize>,
    /// Size of the body.
    pub(crate) bytes: usize,
    pub(crate) queued: Duration,
}

/// The routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/", get(health::server))
        .route("/v2", get(health::server))
        .route("/v2/health/live", get(health::live))
        .route("/v2/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/v2/models/{model}", get(health::model))
        .route("/v2/models/{model}/versions/{version}", get(health::model_of))
        .route("/v2/models/{model}/ready", get(health::model_ready))
        .route("/v2/models/{model}/versions/{version}/ready", get(health::model_ready_of))
        .route("/v2/models/{model}/infer", post(predict::infer))
        .route("/v2/models/{model}/versions/{version}/infer", post(predict::infer_of))
        .route("/predict", post(predict::only))
        .route("/v2/models/{model}/predict", post(predict::rows))
        .route("/v2/models/{model}/versions/{version}/predict", post(predict::rows_of));
    if app.config.repository {
        router = router
            .route("/v2/repository/index", post(repository::index))
            .route("/v2/repository/models/{model}/load", post(repository::load))
            .route("/v2/repository/models/{model}/unload", post(repository::unload));
    }
    router
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        // Bodies are bounded as they are read.
        .layer(DefaultBodyLimit::disable())
        .with_state(app)
}

async fn nowhere(uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(256).collect();
    Failure::unknown(format!(
        "there is nothing at {path:?}; POST /predict predicts, GET /v2 says what is served"
    ))
}

async fn wrong_method(method: Method, uri: Uri) -> Failure {
    let fix = "POST predicts, loads and lists; GET asks for anything else";
    let text = format!("{method} is no method of {}; {fix}", uri.path());
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, text)
}

/// Counts a request that is being answered, until it is or nobody waits for it.
struct InFlight<'a>(&'a Metrics);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

/// Answers a request, counts it and writes it down.
pub(crate) async fn answer(
    app: Arc<App>,
    mut router: Router,
    request: hyper::Request<hyper::body::Incoming>,
) -> Response {
    let begin = Instant::now();
    app.metrics.in_flight.inc();
    let _in_flight = InFlight(&app.metrics);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let trace_parent = trace_parent(request.headers()).cloned();
    let answer = caught(router.call(request.map(Body::new))).await;
    let mut response = match answer {
        Ok(answer) => answer.unwrap_or_else(|never| match never {}),
        Err(problem) => {
            app.metrics.panics.inc();
            let fix = "this is a fault of the program: report it with the request";
            Failure::internal(format!("the server panicked: {problem}; {fix}")).closing().into_response()
        }
    };
    if let Some(parent) = &trace_parent {
        response.headers_mut().insert(TRACE_PARENT, parent.clone());
    }
    if app.stopping.load(Ordering::Relaxed) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let trace = response.extensions_mut().remove::<Arc<Trace>>();
    let took = begin.elapsed();
    let of = trace.as_ref().and_then(|trace| trace.loaded.as_ref());
    let (model, version) = of.map_or(("", ""), |loaded| (&*loaded.name, &*loaded.version));
    let status = response.status().as_u16();
    app.metrics.answered(model, version, status);
    if let Some(loaded) = of {
        loaded.meters.seconds.observe(took.as_secs_f64());
    }
    let trace_parent = trace_parent.as_ref().and_then(|parent| parent.to_str().ok());
    let queued = trace.as_ref().map_or(Duration::ZERO, |trace| trace.queued);
    if let Some(logger) = &app.logger {
        let path = uri.path();
        let line = Line {
            time: now(),
            method: method.as_str(),
            path: path.get(..path.len().min(512)).unwrap_or_default(),
            status,
            milliseconds: milliseconds(took),
            queued_milliseconds: milliseconds(queued),
            bytes_in: trace.as_ref().map_or(0, |trace| trace.bytes),
            bytes_out: response.body().size_hint().lower(),
            model,
            version,
            rows: trace.as_ref().and_then(|trace| trace.rows),
            traceparent: trace_parent,
        };
        logger.line(&line);
    }
    if let (Some(loaded), Some(trace)) = (of, &trace) {
        app.report_slow(took, loaded, trace, status, trace_parent);
    }
    response
}

/// The result of a future, or the text of its panic.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(said(&*panic).to_owned())),
        }
    })
    .await
}

/// Parts of a path, which are refused like anything else.
pub(crate) struct At<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(names)) => Ok(Self(names)),
            Err(e) => {
                let fix = "give names as GET /v2 says them";
                Err(Failure::request(format!("the path cannot be read: {}; {fix}", e.body_text())))
            }
        }
    }
}

impl App {
    /// Says what a slow request was like; not what it held.
    fn report_slow(&self, took: Duration, of: &Loaded, trace: &Trace, status: u16, parent: Option<&str>) {
        if self.config.slow.is_none_or(|slow| took < slow) || !self.sampler.lets_through(Instant::now()) {
            return;
        }
        let scenario = trace.scenario.and_then(|scenario| of.model.scenarios().get(scenario));
        let scenario = scenario.map_or(String::new(), |name| format!(", most of scenario '{name}'"));
        let rows = trace.rows.map_or("no rows".into(), |rows| format!("{rows} rows"));
        let parent = parent.map_or(String::new(), |parent| format!(", traceparent {parent}"));
        (self.notice)(&format!(
            "slow request: {} ms, of them {} in the queue; model {}, version {}, {rows}{scenario}, {} bytes, status {status}{parent}",
            milliseconds(took),
            milliseconds(trace.queued),
            of.name,
            of.version,
            trace.bytes,
        ));
    }
}

/// To the microsecond.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

const TRACE_PARENT: &str = "traceparent";

/// The header of the caller's trace, where it is of the form that W3C Trace Context has.
fn trace_parent(headers: &HeaderMap) -> Option<&HeaderValue> {
    let value = headers.get(TRACE_PARENT)?;
    let text = value.to_str().ok()?;
    let mut parts = text.split('-').map(|part| {
        let hex = part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        hex.then_some(part.len())
    });
    let begins = [2, 32, 16, 2].iter().all(|length| parts.next() == Some(Some(*length)));
    let version = text.get(..2)?;
    // Later versions may have more parts; ff is none.
    (begins && version != "ff" && (version != "00" || text.len() == 55)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_has_its_form() {
        let parent = |text: &str| {
            let headers = [(TRACE_PARENT.parse().unwrap(), HeaderValue::from_str(text).unwrap())];
            trace_parent(&headers.into_iter().collect::<HeaderMap>()).is_some()
        };
        // The example of W3C Trace Context, section 3.2.
        assert!(parent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        assert!(parent("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"));
        for bad in [
            "",
            "00",
            "00-0af7-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(!parent(bad), "{bad}");
        }
    }

    #[test]
    fn a_panic_is_caught_whenever_it_comes() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let after = |pauses: usize| async move {
            for _ in 0..pauses {
                tokio::task::yield_now().await;
            }
            assert!(pauses > 1, "a bug");
            pauses
        };
        let caught = |pauses| runtime.block_on(caught(after(pauses)));
        assert_eq!((caught(0), caught(1), caught(2)), (Err("a bug".into()), Err("a bug".into()), Ok(2)));
    }
}
