//! Ratings of several scenarios, and what a user liked before each of them.

use optmsm_data::{Result, Split};

use crate::lookup::Texts;
use crate::split::TimeSplit;

/// Items of a history, at most.
pub(crate) const LONGEST: usize = 20;

/// Somebody rated something.
#[derive(Clone, Copy)]
pub(crate) struct Rating {
    pub(crate) scenario: u8,
    pub(crate) user: u32,
    pub(crate) item: u32,
    pub(crate) liked: bool,
    pub(crate) time: i64,
}

/// All ratings, 24 bytes each, and the names in them.
pub(crate) struct Ratings {
    pub(crate) users: Texts,
    pub(crate) items: Texts,
    pub(crate) rows: Vec<Rating>,
}

impl Ratings {
    pub(crate) fn new() -> Self {
        Self { users: Texts::new(), items: Texts::new(), rows: Vec::new() }
    }

    /// Hands every rating to `each`, in the order of the files, with its part and what its user liked before.
    ///
    /// That is the items of training rows that the user rated well at an earlier time, the newest first: a label of
    /// the same moment, of a later one, or outside the training rows is in no history.
    pub(crate) fn each(
        &self,
        file: &str,
        mut each: impl FnMut(&Self, &Rating, Split, &[u32]) -> Result<()>,
    ) -> Result<()> {
        let split = TimeSplit::new(file, self.rows.iter().map(|r| r.time).collect())?;
        // By user, then time, then place in the files.
        let mut liked: Vec<(u32, i64, u32)> = Vec::new();
        for r in self.rows.iter().filter(|r| r.liked && split.part(r.time) == Split::Train) {
            liked.push((r.user, r.time, r.item));
        }
        liked.sort_by_key(|&(user, time, _)| (user, time));
        let mut history = Vec::new();
        for rating in &self.rows {
            let end = liked.partition_point(|&(user, time, _)| (user, time) < (rating.user, rating.time));
            let before = liked[..end].iter().rev().take_while(|(user, ..)| *user == rating.user);
            history.clear();
            history.extend(before.take(LONGEST).map(|&(.., item)| item));
            each(self, rating, split.part(rating.time), &history)?;
        }
        Ok(())
    }
}
