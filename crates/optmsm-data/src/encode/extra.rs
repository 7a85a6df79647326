//! Columns beside the batch: which must be there, and what evaluation takes of them.

/// Which columns a file must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Everything that the schema names: to train or to evaluate.
    Labelled,
    /// The scenario and the fields: to predict. Label, weight, group and probability are not looked at.
    Unlabelled,
}

/// Data of the rows that evaluation needs beside the batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extra {
    /// 64-bit hash of each row's group, the same on every platform, [`NO_GROUP`](optmsm_core::metrics::NO_GROUP) for a
    /// missing one; empty if the schema names no group.
    pub groups: Vec<u64>,
    /// True probability of each row; empty if the schema names no such column.
    pub probabilities: Vec<f32>,
}

impl Extra {
    /// Drops the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.groups.clear();
        self.probabilities.clear();
    }
}
