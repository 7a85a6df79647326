//! Scored rows of a set, in the orders that metrics are computed in.

use super::NO_GROUP;

/// A scored row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scored {
    pub(super) p: f32,
    y: f32,
    w: f32,
}

impl Scored {
    pub(super) fn weight(&self) -> f64 {
        f64::from(self.w)
    }

    pub(super) fn is_positive(&self) -> bool {
        self.y > 0.5
    }
}

/// Columns of all rows, those of a set weighing 1 where all of them weigh the same: their sums are exact then.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    predictions: &'a [f32],
    labels: &'a [f32],
    weights: &'a [f32],
}

impl<'a> Columns<'a> {
    /// Those for a set; `weights` may be empty: 1 for every row.
    pub(super) fn of(predictions: &'a [f32], labels: &'a [f32], weights: &'a [f32], set: &[u32]) -> Self {
        Self { predictions, labels, weights: if equal(weights, set) { &[] } else { weights } }
    }

    fn row(self, r: u32) -> Scored {
        let r = r as usize;
        Scored { p: self.predictions[r], y: self.labels[r], w: self.weights.get(r).copied().unwrap_or(1.0) }
    }

    /// Sorts a set by prediction, then by label, then by weight, so that nothing depends on the order that its rows came in.
    pub(super) fn sort(self, set: &mut [u32]) -> Vec<Scored> {
        set.sort_by(|&a, &b| {
            let (a, b) = (self.row(a), self.row(b));
            a.p.total_cmp(&b.p).then(a.y.total_cmp(&b.y)).then(a.w.total_cmp(&b.w))
        });
        set.iter().map(|&r| self.row(r)).collect()
    }
}

/// A set of rows whose weights are above 0.
pub(super) struct Set<'a> {
    /// In order of prediction, then of label, then of weight.
    pub(super) rows: Vec<Scored>,
    columns: Columns<'a>,
    groups: &'a [u64],
    grouped: Vec<u32>, // rows that have a group, by group, and within one in the order of `rows`
}

impl<'a> Set<'a> {
    /// The rows of numbers that are `sorted` as `rows` are; `groups` may be empty.
    pub(super) fn new(
        columns: Columns<'a>,
        rows: Vec<Scored>,
        mut sorted: Vec<u32>,
        groups: &'a [u64],
    ) -> Self {
        sorted.retain(|&r| groups.get(r as usize).is_some_and(|&group| group != NO_GROUP));
        // Stable, so rows stay in order within a group.
        sorted.sort_by_key(|&r| groups[r as usize]);
        Self { rows, columns, groups, grouped: sorted }
    }

    /// Sum of a number of each row.
    pub(super) fn sum(&self, of: impl Fn(&Scored) -> f64) -> f64 {
        self.rows.iter().fold(0.0, |sum, row| sum + of(row))
    }

    /// Sum of the weights.
    pub(super) fn mass(&self) -> f64 {
        self.sum(Scored::weight)
    }

    /// Rows of each group, in the order of `rows`.
    pub(super) fn groups(&self) -> impl Iterator<Item = Vec<Scored>> {
        let group = |r: u32| self.groups[r as usize];
        let chunks = self.grouped.chunk_by(move |&a, &b| group(a) == group(b));
        chunks.map(|chunk| chunk.iter().map(|&r| self.columns.row(r)).collect())
    }
}

/// The rows of a weight above 0.
pub(super) fn weighing(count: usize, weights: &[f32]) -> Vec<u32> {
    (0..count as u32).filter(|&r| weights.get(r as usize).is_none_or(|&w| w > 0.0)).collect()
}

/// Whether the rows of a set weigh the same.
pub(super) fn equal(weights: &[f32], set: &[u32]) -> bool {
    weights.is_empty() || set.windows(2).all(|pair| weights[pair[0] as usize] == weights[pair[1] as usize])
}

/// All rows that have a weight, sorted.
pub(super) fn sorted(predictions: &[f32], labels: &[f32], weights: &[f32]) -> Vec<Scored> {
    let mut set = weighing(predictions.len(), weights);
    Columns::of(predictions, labels, weights, &set).sort(&mut set)
}

/// Weight of the rows of labels 1 and 0.
pub(super) fn masses(rows: &[Scored]) -> (f64, f64) {
    let add = |(up, down), r: &Scored| match r.is_positive() {
        true => (up + r.weight(), down),
        false => (up, down + r.weight()),
    };
    rows.iter().fold((0.0, 0.0), add)
}
