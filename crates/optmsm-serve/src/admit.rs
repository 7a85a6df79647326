//! Bodies within bounds, and a bounded number of requests at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::EXPECT;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::answer::Failure;
use crate::config::Config;
use crate::metrics::Metrics;

/// The bounds, and how much of them is taken.
pub(crate) struct Gate {
    max_body: usize,
    max_held: usize,
    queue: usize,
    threads: Arc<Semaphore>,
    waiting: AtomicUsize,
    held: AtomicUsize,
    metrics: Arc<Metrics>,
}

/// A body in memory; its bytes count as held until it is dropped.
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    _share: Share,
}

/// Bytes that count as held.
struct Share {
    gate: Arc<Gate>,
    bytes: usize,
}

impl Share {
    fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let held = self.gate.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        self.gate.metrics.held.set(held as i64);
        if held <= self.gate.max_held {
            return Ok(());
        }
        let text = format!("the server holds {} bytes of requests, its limit; try again", self.gate.max_held);
        Err(Failure::unavailable(text, 1).closing())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let before = self.gate.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.gate.metrics.held.set(before.saturating_sub(self.bytes) as i64);
    }
}

/// A place in the queue.
struct Place<'g>(&'g Gate);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.queued.dec();
    }
}

impl Gate {
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        Self {
            max_body: config.max_body,
            max_held: config.max_held,
            queue: config.queue,
            threads: Arc::new(Semaphore::new(config.threads)),
            waiting: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            metrics,
        }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// 413 where it is too large, 503 where all bodies are, 408 where it does not come in time, 400 where it breaks off.
    pub(crate) async fn body(self: &Arc<Self>, body: &mut Body, deadline: Instant) -> Result<Held, Failure> {
        let declared = body.size_hint().lower();
        if declared > self.max_body as u64 {
            return Err(self.too_large());
        }
        let mut share = Share { gate: self.clone(), bytes: 0 };
        let most = if declared > 0 { declared as usize } else { self.max_body };
        let mut read = Vec::new();
        loop {
            let Ok(frame) = timeout_at(deadline, body.frame()).await else {
                let text =
                    "the body did not come in time; send it faster, or in smaller parts, or raise --timeout";
                return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, text).closing());
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|e| {
                Failure::request(format!("the body broke off: {e}; send all of it")).closing()
            })?;
            // Trailers say nothing.
            let Ok(part) = frame.into_data() else { continue };
            if read.len() + part.len() > self.max_body {
                return Err(self.too_large());
            }
            let needed = read.len() + part.len();
            if needed > read.capacity() {
                // Twice as much as before, but never more than the body may have; memory counts, filled or not.
                let capacity = needed.max((2 * read.capacity()).min(most));
                share.grow(capacity - read.capacity())?;
                read.reserve_exact(capacity - read.len());
            }
            read.extend_from_slice(&part);
        }
        Ok(Held { bytes: read.into(), _share: share })
    }

    fn too_large(&self) -> Failure {
        let text =
            format!("the body has more than {} bytes; send fewer rows, or raise --max-body", self.max_body);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text).closing()
    }

    /// Waits for a thread.
    ///
    /// # Errors
    /// 503 where too many requests wait already, 504 where none becomes free in time.
    pub(crate) async fn thread(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(permit) = self.threads.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        self.metrics.queued.inc();
        let _place = Place(self);
        if waiting >= self.queue {
            let text = format!("{} requests wait already; try again, or raise --queue", self.queue);
            return Err(Failure::unavailable(text, 1));
        }
        match timeout_at(deadline, self.threads.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // Nobody closes the semaphore.
            Ok(Err(e)) => Err(Failure::internal(e.to_string())),
            Err(_) => Err(late("it waited for a thread all that time")),
        }
    }
}

/// The failure of a request that has no answer in time.
pub(crate) fn late(reason: &str) -> Failure {
    let text = format!("no answer in time: {reason}; send fewer rows, or raise --timeout or --threads");
    Failure::new(StatusCode::GATEWAY_TIMEOUT, text)
}

/// Takes what is left of a body that is refused, so that its sender gets to read the refusal; but not for long.
pub(crate) async fn discard(parts: &Parts, body: &mut Body, limit: usize) {
    if waits_for_leave(&parts.headers) {
        return;
    }
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut taken = 0;
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        taken += frame.data_ref().map_or(0, Bytes::len);
        if taken > limit {
            return;
        }
    }
}

/// Whether the sender asks before it sends the body; reading from it would say yes.
fn waits_for_leave(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
