//! Bytes of an object in order, asked for before they are needed.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::net::Pending;
use super::{Object, Remote};
use crate::error::Result;

/// The first request of a stream: a header and some rows, little to throw away if they are all that is wanted.
const FIRST: usize = 256 << 10;
/// Requests of a stream grow to this: as long to send as a store takes to begin, or longer.
const MOST: usize = 4 << 20;

/// A range of an object that is read mostly forwards.
///
/// Bytes of the last request are held while the next request is under way. That is at most two requests of `most`
/// bytes, or of the bytes wanted in one piece if those are more.
pub(super) struct Ahead {
    object: Arc<Object>,
    end: u64,
    step: usize, // bytes of the next request
    first: usize,
    most: usize,
    start: u64, // of `have`
    have: Bytes,
    coming: Option<(u64, Pending<Result<Bytes>>)>, // where it ends; begins where `have` ends
}

impl Ahead {
    /// Requests grow from `first` to `most` bytes.
    pub(super) fn new(object: Arc<Object>, range: Range<u64>, first: usize, most: usize) -> Self {
        let Range { start, end } = range;
        Self { object, end, step: first, first, most, start, have: Bytes::new(), coming: None }
    }

    /// Takes bytes that were fetched by someone else, from the start of the range.
    pub(super) fn fill(&mut self, bytes: Bytes) {
        self.have = bytes;
    }

    /// `length` bytes from `at`, which must be inside the range.
    pub(super) fn bytes(&mut self, at: u64, length: usize) -> Result<Bytes> {
        self.fetch(at, length)?;
        let from = (at - self.start) as usize;
        Ok(self.have.slice(from..from + length))
    }

    /// The bytes from `at` that are there already, at least one before the end of the range.
    pub(super) fn some(&mut self, at: u64) -> Result<Bytes> {
        if at >= self.end {
            return Ok(Bytes::new());
        }
        self.fetch(at, 1)?;
        Ok(self.have.slice((at - self.start) as usize..))
    }

    fn here(&self) -> u64 {
        self.start + self.have.len() as u64
    }

    /// Sees that `have` holds these bytes.
    fn fetch(&mut self, at: u64, length: usize) -> Result<()> {
        let reach = self.coming.as_ref().map_or(self.here(), |(end, _)| *end);
        if at < self.start || at > reach {
            (self.start, self.have, self.coming, self.step) = (at, Bytes::new(), None, self.first);
        }
        let wanted = at + length as u64;
        while self.here() < wanted {
            let here = self.here();
            if self.coming.is_none() {
                self.ask(here, (wanted - here) as usize)?;
            }
            let Some((_, pending)) = self.coming.take() else { break };
            let bytes = pending.wait()??;
            let kept = self.have.slice((at.min(here) - self.start) as usize..);
            if kept.is_empty() {
                (self.start, self.have) = (here, bytes);
            } else {
                (self.start, self.have) = (at, [&kept[..], &bytes[..]].concat().into());
            }
        }
        if self.coming.is_none() {
            self.ask(self.here(), 0)?;
        }
        Ok(())
    }

    /// Asks for the bytes from `here`: the usual number, or `least` if that is more.
    fn ask(&mut self, here: u64, least: usize) -> Result<()> {
        let to = (here + self.step.max(least) as u64).min(self.end);
        if to > here {
            self.coming = Some((to, self.object.ask(here..to)?));
            self.step = (2 * self.step).min(self.most);
        }
        Ok(())
    }
}

/// A whole object as a stream.
pub(crate) struct Reader {
    remote: Remote,
    ahead: Ahead,
    at: u64,
}

impl Reader {
    pub(super) fn new(remote: Remote) -> Self {
        let ahead = remote.ahead(0..remote.object.size(), FIRST, MOST);
        Self { remote, ahead, at: 0 }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let bytes = self.ahead.some(self.at).map_err(|e| self.remote.fail(e))?;
        let n = bytes.len().min(buffer.len());
        buffer[..n].copy_from_slice(&bytes[..n]);
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.remote.object.size().checked_add_signed(by),
        };
        self.at =
            at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a place before the start"))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStoreExt, PutPayload};

    use super::*;
    use crate::source::object::scheme::Scheme;

    fn object(size: usize) -> (Vec<u8>, Arc<Object>) {
        let bytes: Vec<u8> = (0..size).map(|i| (i * i / 7) as u8).collect();
        let (store, location) = (Arc::new(InMemory::new()), Path::from("k"));
        let (to, key, copy) = (store.clone(), location.clone(), bytes.clone());
        let put = async move {
            to.put(&key, PutPayload::from(copy)).await.unwrap();
            to.head(&key).await.unwrap()
        };
        let meta = super::super::net::start("k", put).unwrap().wait().unwrap();
        let footers = Default::default();
        (bytes, Arc::new(Object { name: "k".into(), scheme: Scheme::File, store, meta, footers }))
    }

    #[test]
    fn any_order_of_reads_gives_the_bytes_of_the_object() {
        let (bytes, object) = object(10_000);
        let mut ahead = Ahead::new(object, 100..9000, 16, 64);
        let mut state = 1u64;
        for i in 0..2000 {
            state = crate::util::mix(state + i);
            let at = 100 + (state % 8900) as usize;
            // Forwards for some time, then somewhere else.
            for step in 0..4 {
                let at = (at + 90 * step).min(8999);
                let length = ((state >> 32) as usize % 200).min(9000 - at);
                assert_eq!(ahead.bytes(at as u64, length).unwrap(), bytes[at..at + length]);
                let some = ahead.some(at as u64).unwrap();
                assert!(!some.is_empty() && bytes[at..9000].starts_with(&some));
            }
        }
        assert!(ahead.some(9000).unwrap().is_empty());
    }

    #[test]
    fn memory_is_two_requests() {
        let (bytes, object) = object(10_000);
        let mut ahead = Ahead::new(object, 0..10_000, 16, 64);
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(ahead.some(at as u64).unwrap()[0], *byte);
            assert!(ahead.have.len() <= 64);
            assert!(ahead.coming.as_ref().is_none_or(|(end, _)| end - ahead.here() <= 64));
        }
    }

    #[test]
    fn a_stream_reads_and_seeks_like_a_file() {
        let (bytes, object) = object(3 * FIRST);
        let mut reader = Remote::new(object).reader();
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all, bytes);
        let mut piece = [0; 10];
        reader.seek(SeekFrom::End(-10)).unwrap();
        reader.read_exact(&mut piece).unwrap();
        assert_eq!(piece, bytes[bytes.len() - 10..]);
        assert_eq!(reader.read(&mut piece).unwrap(), 0);
        reader.seek(SeekFrom::Start(5)).unwrap();
        assert_eq!(reader.seek(SeekFrom::Current(-2)).unwrap(), 3);
        reader.read_exact(&mut piece).unwrap();
        assert_eq!(piece, bytes[3..13]);
        assert!(reader.seek(SeekFrom::Current(-14)).is_err());
        reader.seek(SeekFrom::Start(1 << 40)).unwrap();
        assert_eq!(reader.read(&mut piece).unwrap(), 0);
    }
}
