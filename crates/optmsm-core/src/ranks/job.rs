//! Ranks, groups and shards of a job.

use std::ops::Range;
use std::sync::Arc;

use optmsm_comm::{Alone, Comm};

use crate::error::{Error, Result};

/// Most groups of a batch.
const MOST: usize = 1 << 16;

/// Who trains a model together, and into how many groups they cut a batch.
#[derive(Clone, Debug)]
pub struct Job {
    comm: Arc<dyn Comm>,
    groups: usize,
}

impl Default for Job {
    fn default() -> Self {
        Self { comm: Arc::new(Alone), groups: 1 }
    }
}

impl Job {
    /// `groups` groups of each batch over the ranks of `comm`.
    ///
    /// # Errors
    /// The number of groups is no power of two, too large, or it cannot be shared out equally.
    pub fn new(comm: Arc<dyn Comm>, groups: usize) -> Result<Self> {
        let fail = |problem, fix: &str| Err(Error::config("train.groups", problem, fix));
        if !groups.is_power_of_two() {
            return fail(format!("must be a power of two, got {groups}"), "take 1, 2, 4, 8 or so on");
        }
        if groups > MOST {
            return fail(format!("must be at most {MOST}, got {groups}"), "lower it");
        }
        let ranks = comm.size();
        if !groups.is_multiple_of(ranks) {
            let problem = format!("is {groups}, which {ranks} ranks cannot share out equally");
            let least = ranks.next_power_of_two();
            let fix = if least == ranks {
                format!(
                    "set it to {least} or more; results depend on it, so keep it for all runs that you compare"
                )
            } else {
                format!("start {} or {} ranks, and set it to at least as many", least / 2, least)
            };
            return fail(problem, &fix);
        }
        Ok(Self { comm, groups })
    }

    /// The ranks.
    pub fn comm(&self) -> &dyn Comm {
        &*self.comm
    }

    /// Groups of a batch.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Whether this is training as ever: one process, one group.
    pub fn is_plain(&self) -> bool {
        self.groups == 1
    }

    /// Groups, or shards, of each rank.
    pub(crate) fn share(&self) -> usize {
        self.groups / self.comm.size()
    }

    /// Those of this rank.
    pub(crate) fn own(&self) -> Range<usize> {
        self.of(self.comm.rank())
    }

    /// Those of a rank.
    pub(crate) fn of(&self, rank: usize) -> Range<usize> {
        rank * self.share()..(rank + 1) * self.share()
    }

    /// Rows of a group in a batch of `rows` rows.
    pub(crate) fn rows(&self, group: usize, rows: usize) -> Range<usize> {
        group * rows / self.groups..(group + 1) * rows / self.groups
    }

    /// Rows of this rank's groups in a batch of `rows` rows.
    pub fn own_rows(&self, rows: usize) -> Range<usize> {
        let own = self.own();
        self.rows(own.start, rows).start..self.rows(own.end - 1, rows).end
    }

    /// Whether a rank has rows of a batch of `rows` rows.
    pub(crate) fn has_rows(&self, rank: usize, rows: usize) -> bool {
        self.of(rank).any(|group| !self.rows(group, rows).is_empty())
    }
}
