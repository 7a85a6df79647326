//! Memory and bytes of each rank of a job.

use std::sync::Arc;

use optmsm_comm::Seat;
use optmsm_core::batch::Batch;
use optmsm_core::config::InputSpec;
use optmsm_core::counting::Counting;
use optmsm_core::model::AnyModel;
use optmsm_core::ranks::{AllRows, Cut, Job, Traffic, traffic};
use serde::Serialize;

use super::Seen;
use crate::config::Config;
use crate::error::Result;

/// Bytes that the ranks of a job send to each other in a step, on rows that were looked at.
#[derive(Clone, Debug, Serialize)]
pub struct RanksCheck {
    /// Ranks of the job.
    pub ranks: usize,
    /// Groups that each has.
    pub groups: usize,
    /// Rows of the step: those of a batch, or as many as were looked at.
    pub rows: usize,
    /// Bytes of the rank that sends the most.
    pub most: Sent,
    /// Bytes of all ranks, divided by their number.
    pub mean: Sent,
    /// The largest number of rows of tables that a rank is asked for, over the mean: 1 where popular ids are spread evenly.
    pub imbalance: f64,
}

/// Bytes that a rank sends in a step.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sent {
    /// Distinct ids.
    pub ids: f64,
    /// Rows of tables.
    pub rows: f64,
    /// Gradients of rows.
    pub gradients: f64,
    /// Dense parameters and their gradients.
    pub dense: f64,
    /// All of these.
    pub total: f64,
}

impl From<Traffic> for Sent {
    fn from(of: Traffic) -> Self {
        let Traffic { ids, rows, gradients, dense } = of;
        let [ids, rows, gradients, dense] = [ids, rows, gradients, dense].map(|bytes| bytes as f64);
        Self { ids, rows, gradients, dense, total: of.total() as f64 }
    }
}

/// Rank `rank` of a job that does not run.
pub(super) fn seat(config: &Config, rank: usize, ranks: usize) -> Result<Job> {
    let job = Job::new(Arc::new(Seat { rank, size: ranks }), config.train.groups);
    job.map_err(Into::into)
}

/// A step on the training rows that were looked at.
pub(super) fn check(
    config: &Config,
    model: &AnyModel<Counting>,
    input: &InputSpec,
    seen: &Seen,
    ranks: usize,
) -> Result<RanksCheck> {
    let (looked, size) = (seen.batch.rows(), config.train.batch_size);
    let rows = looked.min(size);
    // From all of them, as a shuffled batch has them.
    let places: Vec<u32> = (0..rows).map(|row| (row * looked / rows.max(1)) as u32).collect();
    let mut whole = Batch::new(input);
    whole.push_rows(&seen.batch, &places);
    let all = AllRows { scenarios: &whole.scenarios, weights: &whole.weights };
    let (mut touched, mut cut, mut own) = (Vec::new(), Cut::<f32>::default(), Batch::new(input));
    for rank in 0..ranks {
        let job = seat(config, rank, ranks)?;
        own.clear();
        own.push_rows(&whole, &job.own_rows(rows).map(|row| row as u32).collect::<Vec<_>>());
        cut.build(&mut own, all, input, &job)?;
        touched.push(cut.touched().to_vec());
    }
    let job = seat(config, 0, ranks)?;
    let sent = traffic(model, config.train.clip_norm.is_some(), &job, rows, &touched);
    let mean = |of: fn(&Traffic) -> usize| sent.iter().map(of).sum::<usize>() as f64 / ranks as f64;
    let asked = mean(|t| t.rows);
    Ok(RanksCheck {
        ranks,
        groups: config.train.groups / ranks,
        rows,
        most: sent.iter().max_by_key(|t| t.total()).copied().unwrap_or_default().into(),
        mean: Sent {
            ids: mean(|t| t.ids),
            rows: asked,
            gradients: mean(|t| t.gradients),
            dense: mean(|t| t.dense),
            total: mean(Traffic::total),
        },
        imbalance: sent.iter().map(|t| t.rows).max().unwrap_or(0) as f64 / asked.max(1.0),
    })
}
