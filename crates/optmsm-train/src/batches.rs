//! How a pass is cut into batches.

use std::ops::Range;

use crate::checkpoint::Position;
use crate::run::Run;

/// As few batches as their size allows, which differ by one row at most. A left-over row of its own would be a whole step of the
/// optimizer right before an evaluation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batches {
    rows: u64,
    count: u64,
}

impl Batches {
    /// Of `rows` rows, at least one, in batches of at most `size`.
    pub(crate) fn new(rows: u64, size: usize) -> Self {
        Self { rows, count: rows.div_ceil(size as u64) }
    }

    /// Those of a run.
    pub(crate) fn of(run: &Run) -> Self {
        Self::new(run.schema.rows, run.config.train.batch_size)
    }

    /// How many.
    pub(crate) fn count(self) -> u64 {
        self.count
    }

    /// Steps of `passes` passes.
    pub(crate) fn steps(self, passes: u64) -> u64 {
        passes.saturating_mul(self.count)
    }

    /// Rows of a pass, in its order, that a batch takes.
    pub(crate) fn rows(self, batch: u64) -> Range<usize> {
        self.before(batch) as usize..self.before(batch + 1) as usize
    }

    fn before(self, batch: u64) -> u64 {
        let Self { rows, count } = self;
        rows / count * batch + (rows % count).min(batch)
    }

    /// Rows that a run at this position has taken, in all passes.
    pub(crate) fn rows_at(self, at: &Position) -> u64 {
        at.epoch * self.rows + self.before(at.batch)
    }

    /// Passes that a run at this position has done, with the share of one that it is within.
    pub(crate) fn passes_at(self, at: &Position) -> f64 {
        at.epoch as f64 + at.batch as f64 / self.count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let sizes = |rows, size| {
            let batches = Batches::new(rows, size);
            (0..batches.count()).map(|batch| batches.rows(batch)).collect::<Vec<_>>()
        };
        assert_eq!(sizes(10, 4), [0..4, 4..7, 7..10]);
        assert_eq!(sizes(8, 4), [0..4, 4..8]);
        assert_eq!(sizes(9, 8), [0..5, 5..9]);
        let all = 0..3;
        assert_eq!(sizes(3, 8), [all]);
        let at = Position { epoch: 2, batch: 2, ..Position::default() };
        assert_eq!(Batches::new(10, 4).rows_at(&at), 27);
        assert_eq!(Batches::new(10, 5).passes_at(&Position { batch: 1, ..at }), 2.5);
    }
}
