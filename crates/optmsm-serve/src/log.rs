//! Lines about requests: the access log, and reports of slow ones.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::config::Log;
use crate::error::ServeError;
use crate::metrics::Metrics;

/// Lines that wait to be written; more are lost rather than waited for.
const WAITING: usize = 8192;

/// One request.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    /// Seconds since 1970.
    pub(crate) time: f64,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) milliseconds: f64,
    /// Of these, in the queue.
    pub(crate) queued_milliseconds: f64,
    pub(crate) bytes_in: usize,
    pub(crate) bytes_out: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) model: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<&'a str>,
}

pub(crate) fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // To the millisecond.
    (since.unwrap_or_default().as_millis() as f64) / 1e3
}

/// Writes lines on a thread of its own, so that a slow disk or pipe delays no request.
pub(crate) struct Logger {
    lines: SyncSender<Vec<u8>>,
    metrics: Arc<Metrics>,
}

impl Logger {
    /// The thread ends when the logger is dropped and all lines are written.
    pub(crate) fn start(log: &Log, metrics: Arc<Metrics>) -> Result<(Self, JoinHandle<()>), ServeError> {
        let out: Box<dyn Write + Send> = match log {
            Log::Stdout => Box::new(io::stdout()),
            Log::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                let fix = "check the folder and its permissions";
                Box::new(file.map_err(|e| ServeError::system(path.display().to_string(), "write", e, fix))?)
            }
        };
        let (lines, arriving) = sync_channel(WAITING);
        let thread =
            std::thread::Builder::new().name("optmsm-log".into()).spawn(move || write(out, &arriving));
        let thread =
            thread.map_err(|e| ServeError::system("the log's thread", "start", e, "raise ulimit -u"))?;
        Ok((Self { lines, metrics }, thread))
    }

    pub(crate) fn line(&self, line: &Line<'_>) {
        let text = serde_json::to_vec(line).ok();
        if text.is_none_or(|text| self.lines.try_send(text).is_err()) {
            self.metrics.lines_lost.inc();
        }
    }
}

fn write(out: impl Write, arriving: &Receiver<Vec<u8>>) {
    let mut out = BufWriter::new(out);
    while let Ok(first) = arriving.recv() {
        let more = arriving.try_iter();
        // Lines that cannot be written are lost; requests go on.
        for mut line in [first].into_iter().chain(more) {
            line.push(b'\n');
            let _ = out.write_all(&line);
        }
        let _ = out.flush();
    }
}

/// Lets some reports through within each minute.
pub(crate) struct Sampler {
    per_minute: u32,
    /// The begin of the minute, and the reports since.
    minute: Mutex<(Option<Instant>, u32)>,
}

impl Sampler {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, minute: Mutex::default() }
    }

    pub(crate) fn lets_through(&self, now: Instant) -> bool {
        let mut minute = self.minute.lock().unwrap_or_else(|e| e.into_inner());
        if minute.0.is_none_or(|begin| now.duration_since(begin) >= Duration::from_secs(60)) {
            *minute = (Some(now), 0);
        }
        minute.1 += 1;
        minute.1 <= self.per_minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_few() {
        let (sampler, begin) = (Sampler::new(2), Instant::now());
        let at = |seconds| sampler.lets_through(begin + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(2), at(59)], [true, true, false, false]);
        assert_eq!([at(60), at(61), at(119)], [true, true, false]);
    }
}
