//! Footers of the files that come next: a folder may have hundreds of parts, and a store takes its time for each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

use super::Object;
use super::net::Pending;
use crate::error::Result;

/// Bytes at the end of a file that are read for a footer: the whole of most, with one request.
pub(super) const FOOTER: u64 = 64 << 10;
/// Files whose footers are under way while one is read: a mebibyte of them.
const AHEAD: usize = 16;

/// The Parquet files of one source.
#[derive(Default)]
pub(super) struct Footers {
    objects: Vec<Weak<Object>>,
    coming: Mutex<BTreeMap<usize, Pending<Result<Bytes>>>>,
}

impl std::fmt::Debug for Footers {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "footers of {} files", self.objects.len())
    }
}

impl Footers {
    /// Tells objects what comes after them.
    pub(super) fn chain<'a>(objects: impl Iterator<Item = &'a Arc<Object>> + Clone) {
        let all = Self { objects: objects.clone().map(Arc::downgrade).collect(), ..Self::default() };
        let all = Arc::new(all);
        for (place, object) in objects.enumerate() {
            object.footers.set((all.clone(), place)).ok();
        }
    }

    /// The end of the file at `place`; the next ones are asked for.
    fn take(&self, place: usize) -> Result<Option<Bytes>> {
        let mine = {
            let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
            let mine = coming.remove(&place);
            coming.retain(|&other, _| other > place);
            let from = coming.last_key_value().map_or(place + 1, |(last, _)| last + 1);
            for next in from..self.objects.len().min(place + 1 + AHEAD) {
                if let Some(object) = self.objects[next].upgrade() {
                    coming.insert(next, object.ask_footer()?);
                }
            }
            mine
        };
        mine.map(|mine| mine.wait()?).transpose()
    }
}

impl Object {
    fn ask_footer(self: &Arc<Self>) -> Result<Pending<Result<Bytes>>> {
        self.ask(self.size().saturating_sub(FOOTER)..self.size())
    }

    /// The last bytes, up to [`FOOTER`] of them.
    pub(super) fn footer(self: &Arc<Self>) -> Result<Bytes> {
        if let Some((all, place)) = self.footers.get()
            && let Some(bytes) = all.take(*place)?
        {
            return Ok(bytes);
        }
        self.ask_footer()?.wait()?
    }
}
