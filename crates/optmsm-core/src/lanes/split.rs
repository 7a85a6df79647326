//! How rows are cut into lanes.

/// A function of the number of rows alone, so that neither the threads nor the room for larger batches changes the order of a
/// sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    pub(super) lanes: usize,
    pub(super) min_rows: usize,
}

impl Split {
    /// Rows of each lane except the last one used, which may have fewer.
    pub(super) fn lane_rows(self, rows: usize) -> usize {
        rows.div_ceil(self.lanes).max(self.min_rows)
    }

    /// Lanes that get rows.
    pub(super) fn lanes(self, rows: usize) -> usize {
        rows.div_ceil(self.lane_rows(rows))
    }
}
