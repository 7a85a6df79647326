//! Answers: failures with their text, and documents.

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;

use crate::model::{Refusal, RefusalKind};

pub(crate) const JSON: &str = "application/json";

/// An answer that is none: its status, and a text that says what is wrong, where, and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// Seconds after which another try may work.
    retry_after: Option<u32>,
    /// Whether the connection is of no use any more.
    close: bool,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), retry_after: None, close: false }
    }

    /// A request that cannot be understood.
    pub(crate) fn request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// A thing that is not there.
    pub(crate) fn unknown(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// A request that may work after some seconds.
    pub(crate) fn unavailable(text: String, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text) }
    }

    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    pub(crate) fn closing(self) -> Self {
        Self { close: true, ..self }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal.kind {
            RefusalKind::Request => Self::request(refusal.to_string()),
            RefusalKind::Internal => Self::internal(refusal.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &serde_json::json!({ "error": self.text }));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if self.close {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A JSON document.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(text) => bytes(status, JSON, text.into()),
        // No document here has keys that are no text.
        Err(e) => bytes(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", e.to_string().into()),
    }
}

/// A body of a type.
pub(crate) fn bytes(status: StatusCode, kind: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
