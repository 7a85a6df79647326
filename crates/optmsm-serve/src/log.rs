//! Lines about requests: the access log, and reports of slow ones.

use std::fs::OpenOptions;
use std::io::{self, Write};
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
/// Lines that are written at once.
const TOGETHER: usize = 256;

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
        let counted = metrics.clone();
        let thread = std::thread::Builder::new().name("optmsm-log".into()).spawn(move || {
            write(out, &arriving, |lost| {
                counted.lines_lost.inc_by(lost);
            })
        });
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

/// Writes lines until there is no sender any more. Those that cannot be written are lost and counted; requests go on.
fn write(mut out: impl Write, arriving: &Receiver<Vec<u8>>, mut lost: impl FnMut(u64)) {
    let (mut lines, mut torn) = (Vec::new(), false);
    while let Ok(first) = arriving.recv() {
        lines.clear();
        if torn {
            // The rest of a lost line ends here.
            lines.push(b'\n');
        }
        let begin = lines.len();
        for line in [first].into_iter().chain(arriving.try_iter().take(TOGETHER - 1)) {
            lines.extend(line);
            lines.push(b'\n');
        }
        let written = put(&mut out, &lines);
        let rest = &lines[written.max(begin)..];
        lost(rest.iter().filter(|byte| **byte == b'\n').count() as u64);
        torn = if written == 0 { torn } else { lines[written - 1] != b'\n' };
    }
}

/// Writes as many bytes as it can; returns their number.
fn put(out: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(n) => written += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // Standard output keeps a line until its end, which has come.
    let _ = out.flush();
    written
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

    /// A disk that is full between its byte 20 and the call after that.
    struct Full<'a>(&'a mut Vec<u8>, u32);

    impl Write for Full<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.len() == 20 {
                self.1 += 1;
                if self.1 == 1 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
            let room = if self.1 == 0 { 20 - self.0.len() } else { bytes.len() };
            let n = bytes.len().min(room);
            self.0.extend(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (sender, lines) = sync_channel(WAITING);
        // More than are written at once: the first ones fill the disk, the others find room.
        for number in 0..TOGETHER + 2 {
            sender.send(format!("line {number:03}").into_bytes()).unwrap();
        }
        drop(sender);
        let (mut disk, mut lost) = (Vec::new(), 0);
        write(Full(&mut disk, 0), &lines, |more| lost += more);
        // Two whole lines of nine bytes each, and two bytes of the third.
        assert_eq!(lost, TOGETHER as u64 - 2);
        assert_eq!(String::from_utf8(disk).unwrap(), "line 000\nline 001\nli\nline 256\nline 257\n");
    }

    #[test]
    fn reports_are_few() {
        let (sampler, begin) = (Sampler::new(2), Instant::now());
        let at = |seconds| sampler.lets_through(begin + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(2), at(59)], [true, true, false, false]);
        assert_eq!([at(60), at(61), at(119)], [true, true, false]);
    }
}
