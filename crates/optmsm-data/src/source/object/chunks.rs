//! A Parquet file in a store: its footer, and the column chunks of a row group.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use super::Remote;
use super::ahead::Ahead;

/// Bytes of a row group that are held: what eight threads hold stays near the 96 MB of batches that wait.
const HELD: u64 = 16 << 20;
/// A column chunk is asked for in pieces of at least this, however many columns there are: smaller ones cost a store as
/// much.
const LEAST: u64 = 256 << 10;
/// Chunks with no more than this between them come with one request.
const GAP: u64 = 64 << 10;
/// Such a request ends here: several at once are faster than a long one.
const TOGETHER: u64 = 4 << 20;

/// Bytes of an object for the decoder of one piece.
#[derive(Clone)]
pub(in crate::source) struct Chunks {
    remote: Remote,
    runs: Arc<Vec<Run>>, // by start, without overlap
}

/// A column chunk, or the whole file.
struct Run {
    start: u64,
    end: u64,
    bytes: Mutex<Ahead>,
}

impl Chunks {
    pub(super) fn footer(remote: Remote) -> io::Result<Self> {
        let bytes = remote.object.footer().map_err(|e| remote.fail(e))?;
        let size = remote.object.size();
        let start = size - bytes.len() as u64;
        let mut ahead = remote.ahead(start..size, 0, 0);
        ahead.fill(bytes);
        // Bytes before it, as in a longer footer, are asked for separately.
        let run = Run { start, end: size, bytes: Mutex::new(ahead) };
        Ok(Self { remote, runs: Arc::new(vec![run]) })
    }

    /// Reads ahead in column chunks, given as start and length; small ones are fetched now.
    pub(super) fn new(remote: Remote, mut chunks: Vec<(u64, u64)>) -> io::Result<Self> {
        let size = remote.object.size();
        chunks.sort_unstable();
        let mut runs: Vec<Run> = Vec::with_capacity(chunks.len());
        let total: u64 = chunks.iter().fold(0, |sum, (_, length)| sum.saturating_add(*length));
        let step = match total {
            0..=HELD => HELD,
            _ => (HELD / 2 / chunks.len() as u64).max(LEAST), // two of them are held
        };
        // Whole chunks that are near each other, as start, end and the runs in it.
        let mut requests: Vec<(u64, u64, usize)> = Vec::new();
        for (start, length) in chunks {
            // Chunks of a damaged file may be anywhere. `bytes` deals with those that are left out here.
            let end = start.saturating_add(length).min(size);
            if start >= end || runs.last().is_some_and(|last| start < last.end) {
                continue;
            }
            let first = end.min(start + step);
            let ahead = remote.ahead(start..end, step as usize, step as usize);
            runs.push(Run { start, end, bytes: Mutex::new(ahead) });
            match requests.last_mut() {
                Some((from, to, count))
                    if first == end
                        && *to == runs[runs.len() - 2].end
                        && start - *to <= GAP
                        && end - *from <= TOGETHER =>
                {
                    (*to, *count) = (end, *count + 1);
                }
                _ => requests.push((start, first, 1)),
            }
        }
        let ask = |&(start, end, _): &(u64, u64, usize)| remote.object.ask(start..end);
        let fail = |e| remote.fail(e);
        let answers = requests.iter().map(ask).collect::<crate::error::Result<Vec<_>>>().map_err(fail)?;
        let mut waiting = runs.iter_mut();
        for ((from, to, count), answer) in requests.into_iter().zip(answers) {
            let bytes = answer.wait().and_then(|answer| answer).map_err(fail)?;
            for run in waiting.by_ref().take(count) {
                let part = (run.start - from) as usize..(run.end.min(to) - from) as usize;
                run.bytes.get_mut().unwrap_or_else(PoisonError::into_inner).fill(bytes.slice(part));
            }
        }
        Ok(Self { remote, runs: Arc::new(runs) })
    }

    /// The run that a byte lies in.
    fn run(&self, at: u64) -> Option<&Run> {
        let after = self.runs.partition_point(|run| run.start <= at);
        self.runs.get(after.checked_sub(1)?).filter(|run| at < run.end)
    }

    fn bytes(&self, at: u64, length: usize) -> io::Result<Bytes> {
        let end = at.checked_add(length as u64).filter(|&end| end <= self.remote.object.size());
        let end = end.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before"))?;
        let bytes = match self.run(at).filter(|run| end <= run.end) {
            Some(run) => run.bytes.lock().unwrap_or_else(PoisonError::into_inner).bytes(at, length),
            None => self.remote.object.ask(at..end).and_then(|answer| answer.wait()?),
        };
        bytes.map_err(|e| self.remote.fail(e))
    }

    fn some(&self, at: u64) -> io::Result<Bytes> {
        let size = self.remote.object.size();
        let bytes = match self.run(at) {
            _ if at >= size => return Ok(Bytes::new()),
            Some(run) => run.bytes.lock().unwrap_or_else(PoisonError::into_inner).some(at),
            None => self.remote.object.ask(at..size.min(at + LEAST)).and_then(|answer| answer.wait()?),
        };
        bytes.map_err(|e| self.remote.fail(e))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.remote.object.size()
    }
}

impl ChunkReader for Chunks {
    type T = Cursor;

    fn get_read(&self, start: u64) -> Result<Cursor> {
        Ok(Cursor { chunks: self.clone(), at: start, now: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.bytes(start, length).map_err(|e| ParquetError::External(Box::new(e)))
    }
}

/// Reads on from a place.
pub(in crate::source) struct Cursor {
    chunks: Chunks,
    at: u64, // of `now`
    now: Bytes,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.now.is_empty() {
            self.now = self.chunks.some(self.at)?;
        }
        let n = self.now.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.now.split_to(n));
        self.at += n as u64;
        Ok(n)
    }
}
