//! Memory of a backend that training takes, counted by the code that allocates it.

use super::{Learner, LearnerConfig};
use crate::counting::Counting;
use crate::error::Result;
use crate::model::Model;
use crate::ranks::{Job, Team};

/// Bytes that a [`Learner`] takes of its backend's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Dense parameters and embedding tables.
    pub parameters: usize,
    /// Optimizer state of both, and their averages.
    pub optimizer: usize,
    /// Gradients: of the dense parameters in every lane, and of the rows of tables that a batch touches.
    pub gradients: usize,
    /// Weights as products read them, and weights that the hypernetwork generates.
    pub prepared: usize,
    /// Activations of the block that every lane has at hand, with its logits and sums; and the logits and sums of the last
    /// [`KEPT`](super::KEPT) steps, which [`Learner::trace`] reads.
    pub activations: usize,
    /// The batch: ids, numbers, labels, planned updates.
    pub inputs: usize,
}

impl Footprint {
    /// All of it.
    pub fn total(&self) -> usize {
        let Self { parameters, optimizer, gradients, prepared, activations, inputs } = self;
        parameters + optimizer + gradients + prepared + activations + inputs
    }
}

/// Memory of a learner for batches of at most `max_rows` rows; `be` says of which backend. Lists have no bound, so `list_ids`
/// says for each field how many ids the batch's lists hold in all, 0 for fields without lists. In a job it is the memory of a rank,
/// without the copies of rows that lists bring.
///
/// The learner itself is built on a backend that counts, so this is exact: nothing is estimated from a formula.
///
/// # Errors
/// When a setting is out of range.
pub fn footprint<M: Model<Counting>>(
    be: Counting,
    model: M,
    config: LearnerConfig,
    max_rows: usize,
    list_ids: &[usize],
    job: Job,
) -> Result<Footprint> {
    let (counted, groups) = (be.clone(), job.groups());
    let learner = Learner::allocate(be, model, config, (max_rows, 0), job)?;
    let Learner { mut params, mut lanes, state, tables, sum_sq, tracer, team, .. } = learner;
    let shards = team.map(Team::apart);
    let (shards, of_shards, sums) =
        shards.map_or((None, None, None), |(a, b, c)| (Some(a), Some(b), Some(c)));
    let of_group: Vec<usize> = list_ids.iter().map(|ids| ids.div_ceil(groups)).collect();
    lanes.reserve(&counted, &of_group)?;
    let (gradients, prepared, inputs, activations) = lanes.apart();
    // Bytes that one part after another gives back.
    fn took<T>(counted: &Counting, part: T) -> usize {
        let before = counted.bytes();
        drop(part);
        before - counted.bytes()
    }
    Ok(Footprint {
        optimizer: took(
            &counted,
            (state, tables, of_shards, params.average.take(), params.tables.take_averages()),
        ),
        parameters: took(&counted, (params, shards)),
        gradients: took(&counted, (gradients, sum_sq, sums)),
        prepared: took(&counted, prepared),
        inputs: took(&counted, inputs),
        activations: took(&counted, (activations, tracer)),
    })
}
