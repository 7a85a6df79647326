//! Predictions: from a request's body to its answer.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bumpalo::Bump;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::admit::{Held, discard, late};
use crate::answer::{self, Failure, JSON};
use crate::app::{App, At, Trace};
use crate::arrow::{self, ARROW};
use crate::json::{self, Asked};
use crate::model::{Input, Kind, Seen};
use crate::registry::Loaded;
use crate::rows::{Candidates, Datum, Rows};
use crate::warm::{probabilities, said};
use crate::{share, tensor};

/// Requests that have at most as many rows, or braces of JSON, are answered on the thread of the connection: another thread costs more.
const HERE: usize = 32;
/// Bytes of a body up to which that holds.
const HERE_BYTES: usize = 16 << 10;
/// Most values in the lists of a request, for each of the most rows that it may have.
const VALUES: usize = 64;
/// Most bytes that the values of an Arrow stream, or a user's for all items, stand for, for each byte of the largest body: a dictionary's key may be a long text.
const AMPLIFIED: usize = 8;
/// Bytes of a user's text that a model splits into a list, for each value that lists may have.
const TEXT: usize = 8;

/// The columns of a model, and what rows may be.
pub(crate) struct Columns<'m> {
    pub(crate) inputs: &'m [Input],
    pub(crate) scenario: Option<usize>,
    numbers: &'m HashMap<String, usize>,
    pub(crate) strict: bool,
    pub(crate) max_rows: usize,
    /// Most bytes that values stand for which are there once and meant many times.
    pub(crate) max_bytes: usize,
}

impl<'m> Columns<'m> {
    fn new(loaded: &'m Loaded, app: &App) -> Self {
        let (inputs, scenario) = (loaded.model.inputs(), loaded.model.scenario());
        let (strict, max_rows) = (app.config.strict, app.config.max_rows);
        let max_bytes = app.config.max_body.saturating_mul(AMPLIFIED);
        Self { inputs, scenario, numbers: &loaded.numbers, strict, max_rows, max_bytes }
    }

    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// The column that a strange name may stand for.
    pub(crate) fn meant(&self, name: &str) -> String {
        let near =
            self.inputs.iter().map(|input| (strsim::damerau_levenshtein(name, &input.name), &input.name));
        match near.min().filter(|(distance, _)| *distance <= 2) {
            Some((_, near)) => format!("did you mean '{near}'?"),
            None => "leave it out; the model's columns are at GET /v2/models/NAME".into(),
        }
    }

    pub(crate) fn too_many(&self, word: &str) -> Failure {
        let text = format!("there are more than {} {word}s; send fewer, or raise --max-rows", self.max_rows);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    }

    pub(crate) fn max_values(&self) -> usize {
        self.max_rows.saturating_mul(VALUES)
    }

    pub(crate) fn too_many_bytes(&self) -> Failure {
        let text = format!(
            "the values of the Arrow stream are more than {} bytes in all, those of a dictionary once for each key and batch; \
             send fewer rows, or raise --max-body",
            self.max_bytes
        );
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    }

    /// Checks what is said of a user once: a model may read it again for each item.
    ///
    /// # Errors
    /// 413: lists have too many values together with the `values` that were read, or texts too many bytes.
    pub(crate) fn check_user(
        &self,
        user: &[Option<Datum<'_>>],
        items: usize,
        values: usize,
    ) -> Result<(), Failure> {
        let bytes_of = |value: &Datum<'_>| if let Datum::Text(text) = value { text.len() } else { 0 };
        let (mut listed, mut split, mut bytes) = (0usize, 0usize, 0usize);
        for (input, value) in self.inputs.iter().zip(user) {
            let Some(value) = value else { continue };
            bytes += bytes_of(value);
            if let Datum::List(list) = value {
                listed += list.len();
                bytes += (0..list.len()).map(|i| bytes_of(&list.item(i))).sum::<usize>();
            } else if matches!(input.kind, Kind::List { .. }) {
                split += bytes_of(value);
            }
        }
        let most = self.max_values();
        let problem = if values.saturating_add(listed.saturating_mul(items)) > most
            || split.saturating_mul(items) > most.saturating_mul(TEXT)
        {
            format!("lists have more than {most} values in all, the user's once for each item")
        } else if bytes.saturating_mul(items) > self.max_bytes {
            format!("the user's texts have more than {} bytes, once for each item", self.max_bytes)
        } else {
            return Ok(());
        };
        let fix = "send fewer items or shorter values, or raise --max-rows or --max-body";
        Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, format!("{problem}; {fix}")))
    }

    pub(crate) fn too_many_values(&self) -> Failure {
        let text = format!(
            "lists have more than {} values in all; send fewer rows, or raise --max-rows",
            self.max_values()
        );
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    }
}

/// The language of a body.
enum Language {
    Json,
    Arrow,
    /// With the length of the JSON in front of binary tensors.
    Tensors(Option<usize>),
}

/// A request that has all it needs.
struct Job {
    app: Arc<App>,
    loaded: Arc<Loaded>,
    language: Language,
    arrow_out: bool,
    body: Held,
}

/// An answer, and what is said about it.
struct Done {
    response: Response,
    rows: usize,
    seen: Seen,
}

/// `POST /predict`: the model of the only name.
pub(crate) async fn only(State(app): State<Arc<App>>, request: Request) -> Response {
    let name = app.registry.only();
    serve(app, name, None, request, false).await
}

/// `POST /v2/models/{model}/predict`.
pub(crate) async fn rows(State(app): State<Arc<App>>, At(name): At<String>, request: Request) -> Response {
    serve(app, Ok(name), None, request, false).await
}

/// `POST /v2/models/{model}/versions/{version}/predict`.
pub(crate) async fn rows_of(
    State(app): State<Arc<App>>,
    At((name, version)): At<(String, String)>,
    request: Request,
) -> Response {
    serve(app, Ok(name), Some(version), request, false).await
}

/// `POST /v2/models/{model}/infer`.
pub(crate) async fn infer(State(app): State<Arc<App>>, At(name): At<String>, request: Request) -> Response {
    serve(app, Ok(name), None, request, true).await
}

/// `POST /v2/models/{model}/versions/{version}/infer`.
pub(crate) async fn infer_of(
    State(app): State<Arc<App>>,
    At((name, version)): At<(String, String)>,
    request: Request,
) -> Response {
    serve(app, Ok(name), Some(version), request, true).await
}

async fn serve(
    app: Arc<App>,
    name: Result<String, Failure>,
    version: Option<String>,
    request: Request,
    tensors: bool,
) -> Response {
    let deadline = Instant::now() + app.config.timeout;
    let (parts, mut body) = request.into_parts();
    let mut trace = Trace::default();
    let answer = async {
        let key = parts.headers.get(share::KEY).map(|key| key.as_bytes());
        let loaded = app.registry.choose(&name?, version.as_deref(), key)?;
        trace.loaded = Some(loaded.clone());
        let language = language(&parts.headers, tensors)?;
        let arrow_out = arrow_out(&parts.headers, &language);
        let body = app.gate.body(&mut body, deadline).await?;
        trace.bytes = body.bytes.len();
        let job = Job { app: app.clone(), loaded, language, arrow_out, body };
        job.run(deadline, &mut trace).await
    };
    let answer = answer.await;
    if answer.is_err() {
        discard(&parts, &mut body, app.config.max_body).await;
    }
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    response.extensions_mut().insert(Arc::new(trace));
    response
}

fn language(headers: &HeaderMap, tensors: bool) -> Result<Language, Failure> {
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let text = "the body is compressed; send it as it is";
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let kind =
        headers.get(CONTENT_TYPE).map(|kind| String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase());
    let kind = kind.as_deref().map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let refused = |there: &str| {
        let text = format!("Content-Type {:?} is not read; send {there}", kind.unwrap_or_default());
        Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
    };
    if tensors {
        let length = match headers.get(tensor::LENGTH) {
            None => None,
            Some(length) => {
                let length = length.to_str().ok().and_then(|length| length.parse().ok());
                let fix = "give the length of the JSON in bytes";
                Some(length.ok_or_else(|| {
                    Failure::request(format!("Inference-Header-Content-Length is no number; {fix}"))
                })?)
            }
        };
        return match kind {
            None | Some(JSON | "application/octet-stream") => Ok(Language::Tensors(length)),
            Some(_) => refused("application/json or application/octet-stream"),
        };
    }
    match kind {
        None | Some(JSON) => Ok(Language::Json),
        Some(ARROW) => Ok(Language::Arrow),
        Some(_) => refused(
            "application/json (curl: -H 'Content-Type: application/json') or application/vnd.apache.arrow.stream",
        ),
    }
}

/// Whether the answer is an Arrow stream: where it is asked for, or was sent and JSON is not asked for.
fn arrow_out(headers: &HeaderMap, language: &Language) -> bool {
    let accept =
        headers.get(ACCEPT).map(|accept| String::from_utf8_lossy(accept.as_bytes()).to_ascii_lowercase());
    let accept = accept.unwrap_or_default();
    match language {
        Language::Json => accept.contains(ARROW),
        Language::Arrow => !accept.contains(JSON) || accept.contains(ARROW),
        Language::Tensors(_) => false,
    }
}

impl Job {
    async fn run(self, deadline: Instant, trace: &mut Trace) -> Result<Response, Failure> {
        let (app, loaded) = (self.app.clone(), self.loaded.clone());
        let begin = Instant::now();
        let permit = app.gate.thread(deadline).await?;
        trace.queued = begin.elapsed();
        let here = self.is_small();
        let work = move || {
            // Until the work is done, though nobody may wait for it any more.
            let _permit = permit;
            catch_unwind(AssertUnwindSafe(|| self.answer()))
        };
        let done: Result<_, Box<dyn Any + Send>> = if here {
            work()
        } else {
            match timeout_at(deadline, tokio::task::spawn_blocking(work)).await {
                Ok(done) => done.unwrap_or_else(|e| Err(Box::new(e.to_string()))),
                Err(_) => return Err(late("it was being predicted")),
            }
        };
        let done = done.unwrap_or_else(|panic| {
            app.metrics.panics.inc();
            let fix = "this is a fault of the program: report it with the request";
            Err(Failure::internal(format!("the prediction panicked: {}; {fix}", said(&*panic))))
        })?;
        loaded.meters.predicted(done.rows, &done.seen);
        trace.rows = Some(done.rows);
        trace.scenario = done.seen.main_scenario();
        Ok(done.response)
    }
}

impl Job {
    /// Whether the rows are few. A row of JSON has a brace, and tensors have their shapes; a stream may have many rows in few bytes, so
    /// that it is never small.
    fn is_small(&self) -> bool {
        let body = &self.body.bytes;
        body.len() <= HERE_BYTES
            && match self.language {
                Language::Json => body.iter().filter(|byte| **byte == b'{').count() <= HERE,
                Language::Arrow => false,
                Language::Tensors(length) => {
                    tensor::rows(body, length).is_some_and(|rows| rows <= HERE as u64)
                }
            }
    }

    fn answer(self) -> Result<Done, Failure> {
        let columns = Columns::new(&self.loaded, &self.app);
        let (bump, mut seen) = (Bump::new(), Seen::default());
        let body = &self.body.bytes;
        let (response, rows) = match self.language {
            Language::Json => match json::read(body, &columns, &bump)? {
                Asked::Rows(rows) => {
                    let predicted = self.predict(&rows, &mut seen)?;
                    (self.write(predicted)?, rows.len())
                }
                Asked::Candidates(candidates, top) => {
                    let predicted = self.candidates(&candidates, &mut seen)?;
                    let response = match top {
                        Some(top) => self.write_best(&predicted, top)?,
                        None => self.write(predicted)?,
                    };
                    (response, candidates.len())
                }
            },
            Language::Arrow => {
                let batches = arrow::batches(body.clone(), &columns)?;
                let rows = arrow::rows(&batches, &columns, &bump)?;
                let predicted = self.predict(&rows, &mut seen)?;
                (self.write(predicted)?, rows.len())
            }
            Language::Tensors(length) => {
                let (rows, wanted) = tensor::read(body, length, &columns, &bump)?;
                let predicted = self.predict(&rows, &mut seen)?;
                let (name, version) = (&self.loaded.name, &self.loaded.version);
                (tensor::write(name, version, &wanted, &predicted), rows.len())
            }
        };
        Ok(Done { response, rows, seen })
    }

    fn predict(&self, rows: &Rows<'_>, seen: &mut Seen) -> Result<Vec<f32>, Failure> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        checked(rows.len(), self.loaded.model.predict(rows, seen)?)
    }

    fn candidates(&self, candidates: &Candidates<'_>, seen: &mut Seen) -> Result<Vec<f32>, Failure> {
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        checked(candidates.len(), self.loaded.model.candidates(candidates, seen)?)
    }

    fn write(&self, probabilities: Vec<f32>) -> Result<Response, Failure> {
        let Loaded { name, version, .. } = &*self.loaded;
        if self.arrow_out {
            return stream(arrow::write(name, version, None, probabilities));
        }
        let document = Predicted { model_name: name, model_version: version, probabilities: &probabilities };
        Ok(answer::json(StatusCode::OK, &document))
    }

    /// The items of the highest probabilities; of equal ones the first.
    fn write_best(&self, probabilities: &[f32], top: usize) -> Result<Response, Failure> {
        let Loaded { name, version, .. } = &*self.loaded;
        let mut best: Vec<_> = (0u32..).zip(probabilities.iter().copied()).collect();
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if top < best.len() {
            best.select_nth_unstable_by(top, order);
            best.truncate(top);
        }
        best.sort_unstable_by(order);
        if self.arrow_out {
            let (items, probabilities) = best.into_iter().unzip();
            return stream(arrow::write(name, version, Some(items), probabilities));
        }
        let items = best.into_iter().map(|(index, probability)| Item { index, probability }).collect();
        Ok(answer::json(StatusCode::OK, &Best { model_name: name, model_version: version, items }))
    }
}

fn checked(rows: usize, predicted: Vec<f32>) -> Result<Vec<f32>, Failure> {
    match probabilities(rows, &predicted) {
        Ok(()) => Ok(predicted),
        Err(problem) => Err(Failure::internal(format!("the model cannot be used: {problem}"))),
    }
}

fn stream(stream: Result<bytes::Bytes, arrow_schema::ArrowError>) -> Result<Response, Failure> {
    let stream =
        stream.map_err(|e| Failure::internal(format!("the answer cannot be written: {e}; ask for JSON")))?;
    Ok(answer::bytes(StatusCode::OK, ARROW, stream))
}

#[derive(Serialize)]
struct Predicted<'a> {
    model_name: &'a str,
    model_version: &'a str,
    probabilities: &'a [f32],
}

#[derive(Serialize)]
struct Best<'a> {
    model_name: &'a str,
    model_version: &'a str,
    items: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    index: u32,
    probability: f32,
}
