//! What a store says, as an error that says what to do.

use std::error::Error as _;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use super::url::Scheme;
use crate::error::{DataError, quote};

/// Where programs on a cloud's machines find credentials: asked when there are none in the environment.
const METADATA: [&str; 3] = ["169.254.169.254", "metadata.google.internal", "169.254.170.2"];

pub(super) fn changed(name: &str) -> DataError {
    let fix = "start again, and write new objects instead of replacing ones that are read";
    DataError::file(name, "the object was changed while it was read", fix)
}

pub(super) fn explain(name: &str, scheme: Scheme, error: Error) -> DataError {
    let (credentials, endpoint) = scheme.settings();
    let text = chain(&error);
    let code = ["Code", "Message"].map(|tag| inside(&text, tag));
    let said = match &code {
        [Some(code), Some(message)] => format!("{code}: {}", quote(message)),
        [Some(code), None] => code.clone(),
        _ => String::new(),
    };
    let because = if said.is_empty() { String::new() } else { format!(" ({said})") };
    let file = |problem: String, fix: String| DataError::file(name, problem, fix);
    if METADATA.iter().any(|host| text.contains(host)) {
        return file("there are no credentials to read it with".into(), format!("set {credentials}"));
    }
    match error {
        Error::NotFound { .. } if is_bucket(&text) => {
            file(format!("there is no such bucket{because}"), format!("check its name, {endpoint}"))
        }
        Error::NotFound { .. } => {
            let fix = "check the key; it is taken as it is, without %20 and the like";
            file("there is no such object".into(), fix.into())
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            let fix = format!(
                "check {credentials}, and that they may read objects and list the bucket, which must exist"
            );
            file(format!("access is denied{because}"), fix)
        }
        Error::Precondition { .. } | Error::NotModified { .. } => changed(name),
        _ if text.contains("416 Range Not Satisfiable") => changed(name), // ranges are inside what was found
        error => match http(&error) {
            Some(kind) => {
                let problem = match kind {
                    HttpErrorKind::Timeout => "the store does not answer in time".to_owned(),
                    _ => format!("the store cannot be reached: {}", innermost(&error)),
                };
                file(problem, format!("check the network, {endpoint}"))
            }
            None => {
                let problem = if said.is_empty() { innermost(&error) } else { said };
                file(format!("the store refused: {problem}"), format!("check {credentials}; {endpoint}"))
            }
        },
    }
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

/// What went wrong between here and the store, if it did there.
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
