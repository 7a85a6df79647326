//! Errors of a store, turned into errors that say what to do.

use std::error::Error as _;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use super::scheme::Scheme;
use crate::error::{DataError, FileErrorKind, quote};

/// Where programs on a cloud's machines find credentials: asked when there are none in the environment.
const METADATA: [&str; 3] = ["169.254.169.254", "metadata.google.internal", "169.254.170.2"];

pub(super) fn changed(name: &str) -> DataError {
    let fix = "start again, and write new objects instead of replacing ones that are read";
    DataError::file(FileErrorKind::Busy, name, "the object was changed while it was read", fix)
}

/// The error of a store whose settings cannot work.
pub(super) fn settings(name: &str, scheme: Scheme, error: &Error) -> DataError {
    let (credentials, endpoint) = scheme.settings();
    let problem = format!("the settings of its store cannot be used: {}", innermost(error));
    DataError::file(FileErrorKind::System, name, problem, format!("check {credentials}, and {endpoint}"))
}

pub(super) fn explain(name: &str, scheme: Scheme, error: Error) -> DataError {
    let (credentials, endpoint) = scheme.settings();
    let text = chain(&error);
    let said = match (inside(&text, "Code"), inside(&text, "Message")) {
        (Some(code), Some(message)) => {
            format!("{code}: {}", quote(message.lines().next().unwrap_or_default()))
        }
        (Some(code), None) => code,
        (None, _) => String::new(),
    };
    let because = if said.is_empty() { String::new() } else { format!(" ({said})") };
    // A list's answers have no errors of their own.
    let status = |code: u16| text.contains(&format!("status code: {code}"));
    let denied = matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. });
    let (problem, fix) = if METADATA.iter().any(|host| text.contains(host)) {
        ("there are no credentials to read it with".into(), format!("set {credentials}"))
    } else if text.contains("URL scheme is not allowed") {
        let fix = format!("use https://, or set {}=true", scheme.plain());
        ("the endpoint of its store begins with http://".into(), fix)
    } else if is_bucket(&text) {
        (format!("there is no such bucket{because}"), format!("check its name, {endpoint}"))
    } else if denied || status(401) || status(403) {
        let fix = "and that they may read objects and list the bucket, which must exist";
        (format!("access is denied{because}"), format!("check {credentials}, {fix}"))
    } else if matches!(error, Error::NotFound { .. }) {
        let fix = "check the key; it is taken as it is, without %20 and the like";
        ("there is no such object".into(), fix.into())
    } else if matches!(error, Error::Precondition { .. } | Error::NotModified { .. })
        || status(416)
        || text.contains("Wanted range starting at")
    {
        return changed(name); // ranges are inside what was found
    } else {
        let problem = match http(&error) {
            Some(HttpErrorKind::Timeout) => "the store does not answer in time".to_owned(),
            Some(_) => format!("the store cannot be reached: {}", innermost(&error)),
            None if said.is_empty() => format!("the store refused: {}", innermost(&error)),
            None => format!("the store refused: {said}"),
        };
        (problem, format!("check the network, {endpoint}"))
    };
    let missing = matches!(error, Error::NotFound { .. }) || is_bucket(&text);
    let kind = if missing { FileErrorKind::Missing } else { FileErrorKind::System };
    DataError::file(kind, name, problem, fix)
}

/// Whether it is the bucket that is missing.
fn is_bucket(text: &str) -> bool {
    ["NoSuchBucket", "ContainerNotFound", "bucket does not exist"].iter().any(|known| text.contains(known))
}

/// The texts of an error and of what caused it.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text.push('\n');
        text.push_str(&e.to_string());
        cause = e.source();
    }
    text
}

fn innermost(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(e) = cause.source() {
        cause = e;
    }
    cause.to_string()
}

/// Kind of the error between here and the store, if it happened there.
fn http(error: &Error) -> Option<HttpErrorKind> {
    let mut cause = error.source();
    while let Some(e) = cause {
        if let Some(http) = e.downcast_ref::<HttpError>() {
            return Some(http.kind());
        }
        cause = e.source();
    }
    None
}

/// Text of an element of an answer in XML.
fn inside(text: &str, tag: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{tag}>"))?;
    let (inside, _) = rest.split_once(&format!("</{tag}>"))?;
    Some(inside.to_owned())
}
