//! The order of training rows, and the thread that plans batches ahead of the learner.

use std::sync::mpsc::{Receiver, SyncSender};

use optmsm_core::batch::{Batch, Column};
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
    /// Fields whose out-of-vocabulary row is trained: index, name, and the share of values that train it.
    pub(crate) dropped: Vec<(usize, &'a str, f64)>,
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
            let drops = self.dropped.iter().map(|&(field, name, rate)| {
                (
                    field,
                    Stream::new(self.seed, &format!("out-of-vocabulary ids of {name} in epoch {epoch}")),
                    rate,
                )
            });
            let drops: Vec<_> = drops.collect();
            let skip = if epoch == first_epoch { first_batch as usize } else { 0 };
            for rows in rows.chunks(self.batch_size).skip(skip) {
                batch.clear();
                batch.push_rows(self.data, rows);
                if let Some((scenario, rate)) = self.fallback {
                    let unseen = |row: u32| fallback.uniform(row.into()) < rate;
                    let of_batch = batch.scenarios.iter_mut().zip(rows);
                    of_batch.filter(|&(_, &row)| unseen(row)).for_each(|(s, _)| *s = scenario);
                }
                for (field, stream, rate) in &drops {
                    drop_ids(&mut batch.columns[*field], rows, stream, *rate);
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

/// Values of a list that are dropped each by itself; a later one follows the one so many places before it.
const LONGEST: u64 = 1 << 20;

/// Makes a share of a column's ids out-of-vocabulary, each by its row and its place in the row's list.
fn drop_ids(column: &mut Column, rows: &[u32], stream: &Stream, rate: f64) {
    let drops = |row: u32, place: u64| stream.uniform(u64::from(row) * LONGEST + place % LONGEST) < rate;
    match column {
        Column::Categorical(ids) => {
            ids.iter_mut().zip(rows).filter(|&(_, &row)| drops(row, 0)).for_each(|(id, _)| *id = 0);
        }
        Column::Multi { offsets, ids, .. } => {
            for (bag, &row) in offsets.windows(2).zip(rows) {
                let ids = ids[bag[0] as usize..bag[1] as usize].iter_mut();
                ids.zip(0..).filter(|&(_, place)| drops(row, place)).for_each(|(id, _)| *id = 0);
            }
        }
        Column::Numeric(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 20_000;

    fn columns() -> [Column; 2] {
        let offsets = (0..=ROWS as u32).map(|row| 3 * row).collect();
        let lists = Column::Multi { offsets, ids: vec![2; 3 * ROWS], weights: Vec::new() };
        [Column::Categorical(vec![2; ROWS]), lists]
    }

    fn ids(column: &Column) -> &[u32] {
        match column {
            Column::Categorical(ids) | Column::Multi { ids, .. } => ids,
            Column::Numeric(_) => &[],
        }
    }

    #[test]
    fn the_share_of_dropped_ids_is_the_rate() {
        let rows: Vec<u32> = (0..ROWS as u32).collect();
        for mut column in columns() {
            drop_ids(&mut column, &rows, &Stream::new(3, "field"), 0.1);
            let n = ids(&column).len() as f64;
            let dropped = ids(&column).iter().filter(|&&id| id == 0).count() as f64;
            // Five standard errors of a binomial share.
            assert!((dropped / n - 0.1).abs() < 5.0 * (0.09 / n).sqrt(), "{dropped} of {n}");
        }
    }

    #[test]
    fn an_id_is_dropped_for_its_row_wherever_it_stands() {
        let (forth, back): (Vec<u32>, Vec<u32>) =
            ((0..ROWS as u32).collect(), (0..ROWS as u32).rev().collect());
        let stream = Stream::new(3, "field");
        for column in columns() {
            let dropped = |rows| {
                let mut column = column.clone();
                drop_ids(&mut column, rows, &stream, 0.5);
                ids(&column).to_vec()
            };
            let width = ids(&column).len() / ROWS;
            let (a, b) = (dropped(&forth), dropped(&back));
            assert!(a.chunks(width).eq(b.chunks(width).rev()));
        }
    }
}
