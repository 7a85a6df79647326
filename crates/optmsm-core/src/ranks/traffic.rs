//! Bytes that ranks send in a step, by the formula of docs/ranks.md.

use super::{Job, shard::piece};
use crate::backend::Backend;
use crate::model::Model;
use crate::params::TableSpec;

/// Bytes that one rank sends to all others in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Ids that its rows touch, to the ranks that have their rows of tables.
    pub ids: usize,
    /// Rows of its own shards, to the ranks that asked for them.
    pub rows: usize,
    /// Gradients of the rows that it touches.
    pub gradients: usize,
    /// Dense and derived gradients, and new dense parameters.
    pub dense: usize,
}

impl Traffic {
    /// All of it.
    pub fn total(&self) -> usize {
        let Self { ids, rows, gradients, dense } = self;
        ids + rows + gradients + dense
    }
}

/// Traffic of each rank of a job in a step of `rows` rows; `touched` has for every rank and table the distinct ids that it touches,
/// as [`super::Cut::touched`]. An operation of all ranks counts as if each sent its part to every other one.
pub fn traffic<B: Backend, M: Model<B>>(
    model: &M,
    clipped: bool,
    job: &Job,
    rows: usize,
    touched: &[Vec<Vec<u32>>],
) -> Vec<Traffic> {
    let (spec, ranks, share) = (model.spec(), job.comm().size(), job.share());
    let (number, id, length) = (size_of::<B::Elem>(), size_of::<u32>(), size_of::<u64>());
    let tables = spec.embedding().tables();
    // Rows of each table that a rank asks another one for.
    let owner = |id: &u32| *id as usize % job.groups() / share;
    let mut asked = vec![vec![vec![0; tables.len()]; ranks]; ranks];
    for (asked, touched) in asked.iter_mut().zip(touched) {
        for (table, ids) in touched.iter().enumerate() {
            ids.iter().for_each(|id| asked[owner(id)][table] += 1);
        }
    }
    let width = |counts: &[usize], of: fn(&TableSpec) -> usize| -> usize {
        counts.iter().zip(tables).map(|(n, spec)| n * of(spec)).sum()
    };
    let dense = |rank: usize| {
        let (len, of) = (spec.params().len(), job.of(rank));
        piece(job, len, of.end - 1).end - piece(job, len, of.start).start
    };
    let derived = |rank: usize| {
        let len = spec.derived().len();
        (rank + 1) * len / ranks - rank * len / ranks
    };
    // Statistics of the batch and what corrects for them are two more sums of derived weights.
    let passes = if model.batch_statistics() { 3 } else { 1 };
    let of_rank = |rank: usize| {
        let others = (0..ranks).filter(|&other| other != rank);
        let mut sent = Traffic::default();
        for other in others {
            let has = usize::from(job.has_rows(rank, rows));
            sent.ids += length + id * (tables.len() * share + asked[rank][other].iter().sum::<usize>());
            sent.rows += number * width(&asked[other][rank], |spec| spec.width);
            sent.gradients += number * width(&asked[rank][other], |s| if s.frozen { 0 } else { s.width });
            sent.dense += number
                * (has * (dense(other) + passes * derived(other))
                    + passes * derived(rank)
                    + dense(rank)
                    + if clipped { share } else { 0 });
        }
        sent
    };
    (0..ranks).map(of_rank).collect()
}
