//! The order of training rows, and the thread that plans batches ahead of the learner.

use std::sync::mpsc::{Receiver, SyncSender};

use optmsm_core::batch::Batch;
use optmsm_core::config::InputSpec;
use optmsm_core::error::Result;
use optmsm_core::philox::Stream;
use optmsm_core::plan::Plan;

/// What decides every batch of a run.
pub(crate) struct Order<'a> {
    pub(crate) data: &'a Batch,
    pub(crate) input: &'a InputSpec,
    pub(crate) batch_size: usize,
    pub(crate) seed: u64,
    /// The scenario that unseen ones map to, and the share of rows that trains it.
    pub(crate) fallback: Option<(u32, f64)>,
}

impl Order<'_> {
    /// The rows of a pass, in its order: Fisher–Yates from the seed and the pass alone.
    fn permutation(&self, epoch: u64) -> Vec<u32> {
        let stream = Stream::new(self.seed, &format!("order of epoch {epoch}"));
        let mut rows: Vec<u32> = (0..self.data.rows() as u32).collect();
        for i in (1..rows.len()).rev() {
            rows.swap(i, (stream.uniform(i as u64) * (i + 1) as f64) as usize);
        }
        rows
    }

    /// Sends the plans of passes `first_epoch..epochs`, from batch `first_batch` on, until nobody listens.
    pub(crate) fn run(
        &self,
        (first_epoch, first_batch): (u64, u64),
        epochs: u64,
        plans: &SyncSender<Result<Plan<f32>>>,
        spare: &Receiver<Plan<f32>>,
    ) {
        let mut batch = Batch::new(self.input);
        for epoch in first_epoch..epochs {
            let rows = self.permutation(epoch);
            let fallback = Stream::new(self.seed, &format!("fallback scenario of epoch {epoch}"));
            let skip = if epoch == first_epoch { first_batch as usize } else { 0 };
            for rows in rows.chunks(self.batch_size).skip(skip) {
                batch.clear();
                batch.push_rows(self.data, rows);
                if let Some((scenario, rate)) = self.fallback {
                    let unseen = |row: u32| fallback.uniform(row.into()) < rate;
                    let of_batch = batch.scenarios.iter_mut().zip(rows);
                    of_batch.filter(|&(_, &row)| unseen(row)).for_each(|(s, _)| *s = scenario);
                }
                let mut plan = spare.try_recv().unwrap_or_default();
                let built = plan.build(&batch, self.input, true).map(|()| plan);
                if plans.send(built).is_err() {
                    return;
                }
            }
        }
    }
}
