//! The order of training rows, and the thread that plans batches ahead of the learner.
//!
//! Rows in memory are shuffled as a whole. Rows on disk come by blocks: a pass takes the blocks in a random order, some of them (a window) at
//! a time, and shuffles the rows of a window; a batch may end one window and begin the next. Both orders follow from the seed and the pass
//! alone, so a run that is continued in the middle of a pass finds its place without reading what came before.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;

use optmsm_core::batch::{Batch, Column};
use optmsm_core::config::InputSpec;
use optmsm_core::philox::Stream;
use optmsm_core::ranks::{AllRows, Cut, Job};
use optmsm_data::{Cache, DataError, Extra};

use crate::balance;
use crate::batches::Batches;
use crate::error::Result;
use crate::rows::Rows;

/// Everything that decides the batches of a run.
pub(crate) struct Order<'a> {
    pub(crate) data: &'a Rows,
    pub(crate) input: &'a InputSpec,
    pub(crate) batch_size: usize,
    /// Whose groups of a batch are planned.
    pub(crate) job: &'a Job,
    pub(crate) seed: u64,
    /// Blocks of a window, where rows are on disk.
    pub(crate) window: usize,
    /// Factors of the weights of each scenario's rows; empty for 1.
    pub(crate) factors: &'a [f32],
    /// The scenario that unseen ones map to, and the share of rows that trains it.
    pub(crate) fallback: Option<(u32, f64)>,
    /// Fields whose out-of-vocabulary row is trained: index, name, and the share of values that train it.
    pub(crate) dropped: Vec<(usize, &'a str, f64)>,
}

/// Where batches go, and plans that may be used again come from.
struct Out<'a> {
    plans: &'a SyncSender<Result<Cut<f32>>>,
    spare: &'a Receiver<Cut<f32>>,
}

/// Nobody listens any more.
struct Gone;

type Sent = std::result::Result<(), Gone>;

/// A batch on its way to be planned.
struct Pending {
    /// Labels, weights and scenarios of all its rows, where there are several groups.
    heads: Batch,
    plain: bool,
    /// Rows of this rank.
    own: Batch,
    /// Places of all its rows in the data.
    places: Vec<u64>,
}

impl Pending {
    fn new(input: &InputSpec, job: &Job) -> Self {
        let (heads, plain) = (Batch::default(), job.is_plain());
        Self { heads, plain, own: Batch::new(input), places: Vec::new() }
    }

    fn clear(&mut self) {
        self.heads.clear();
        self.own.clear();
        self.places.clear();
    }

    /// Appends rows of `data`, those within `own` to the rank's; places are those that `place` says.
    fn push(&mut self, data: &Batch, rows: &[u32], own: Range<usize>, place: impl Fn(u32) -> u64) {
        let first = self.places.len();
        let within = |row: usize| row.clamp(first, first + rows.len()) - first;
        self.own.push_rows(data, &rows[within(own.start)..within(own.end)]);
        if !self.plain {
            self.heads.push_rows(data, rows);
        }
        self.places.extend(rows.iter().map(|&row| place(row)));
    }
}

/// Rows of a window, and the place of each in the data.
struct Window {
    batch: Batch,
    places: Vec<u64>,
}

/// Fisher–Yates of `count` numbers from the seed and a name alone.
fn permutation(seed: u64, name: &str, count: usize) -> Vec<u32> {
    let stream = Stream::new(seed, name);
    let mut numbers: Vec<u32> = (0..count as u32).collect();
    for i in (1..numbers.len()).rev() {
        numbers.swap(i, (stream.uniform(i as u64) * (i + 1) as f64) as usize);
    }
    numbers
}

impl Order<'_> {
    /// How a pass is cut.
    pub(crate) fn batches(&self) -> Batches {
        Batches::new(self.data.rows() as u64, self.batch_size)
    }

    /// Settings that decide which rows a batch has: a pass that has begun takes every row once only if all of it stays.
    pub(crate) fn describe(&self) -> String {
        let Self { batch_size, seed, window, .. } = self;
        let rows = match self.data {
            Rows::Memory(_) => "in memory".to_string(),
            Rows::Disk(_) => format!("from disk, {window} blocks at a time"),
        };
        format!("equal batches, batch_size {batch_size}, seed {seed}, rows {rows}")
    }

    /// Sends the plans of passes `first_epoch..epochs`, from batch `first_batch` on, until nobody listens.
    pub(crate) fn run(
        &self,
        (first_epoch, first_batch): (u64, u64),
        epochs: u64,
        plans: &SyncSender<Result<Cut<f32>>>,
        spare: &Receiver<Cut<f32>>,
    ) {
        let out = Out { plans, spare };
        for epoch in first_epoch..epochs {
            let skip = if epoch == first_epoch { first_batch } else { 0 };
            let sent = match self.data {
                Rows::Memory(set) => self.whole(&set.batch, epoch, skip, &out),
                Rows::Disk(cache) => self.windows(cache, epoch, skip, &out),
            };
            if sent.is_err() {
                return;
            }
        }
    }

    /// A pass over rows in memory.
    fn whole(&self, data: &Batch, epoch: u64, skip: u64, out: &Out) -> Sent {
        let rows = permutation(self.seed, &format!("order of epoch {epoch}"), data.rows());
        let mut pending = Pending::new(self.input, self.job);
        let batches = self.batches();
        for number in skip..batches.count() {
            let rows = &rows[batches.rows(number)];
            pending.clear();
            pending.push(data, rows, self.job.own_rows(rows.len()), u64::from);
            self.send(&mut pending, epoch, out)?;
        }
        Ok(())
    }

    /// A pass over rows on disk; the next window is read while the one before is used.
    fn windows(&self, cache: &Cache, epoch: u64, skip: u64, out: &Out) -> Sent {
        let blocks = permutation(self.seed, &format!("blocks of epoch {epoch}"), cache.blocks());
        let (batches, mut number) = (self.batches(), skip);
        let mut skip = batches.rows(number).start;
        let mut windows = blocks.chunks(self.window).enumerate().peekable();
        let size = |blocks: &[u32]| blocks.iter().map(|&b| cache.block_rows(b as usize)).sum::<usize>();
        while let Some(rows) = windows.peek().map(|(_, blocks)| size(blocks)).filter(|&rows| rows <= skip) {
            skip -= rows;
            windows.next();
        }
        let (ready, next) = sync_channel(0);
        std::thread::scope(|scope| {
            let ahead = move || {
                for (window, blocks) in windows {
                    if ready.send(read(cache, blocks).map(|rows| (window, rows))).is_err() {
                        return;
                    }
                }
            };
            if let Err(e) = Builder::new().spawn_scoped(scope, ahead) {
                return out.plans.send(Err(DataError::thread(e).into())).map_err(|_| Gone);
            }
            let mut pending = Pending::new(self.input, self.job);
            for window in next {
                let (of_pass, window) = match window {
                    Ok(window) => window,
                    Err(e) => return out.plans.send(Err(e)).map_err(|_| Gone),
                };
                let name = format!("window {of_pass} of epoch {epoch}");
                let order = permutation(self.seed, &name, window.batch.rows());
                let mut rest = &order[std::mem::take(&mut skip)..];
                while !rest.is_empty() {
                    let size = batches.rows(number).len();
                    let (rows, later) = rest.split_at(rest.len().min(size - pending.places.len()));
                    let own = self.job.own_rows(size);
                    pending.push(&window.batch, rows, own, |row| window.places[row as usize]);
                    rest = later;
                    if pending.places.len() == size {
                        self.send(&mut pending, epoch, out)?;
                        pending.clear();
                        number += 1;
                    }
                }
            }
            Ok(())
        })
    }

    /// Plans a batch.
    fn send(&self, Pending { heads, own, places, .. }: &mut Pending, epoch: u64, out: &Out) -> Sent {
        let own_places = &places[self.job.own_rows(places.len())];
        let unseen = Stream::new(self.seed, &format!("fallback scenario of epoch {epoch}"));
        for (rows, places) in [(&mut *heads, &places[..]), (&mut *own, own_places)] {
            balance::weigh(rows, self.factors);
            let Some((scenario, rate)) = self.fallback else { continue };
            let rows = rows.scenarios.iter_mut().zip(places);
            rows.filter(|(_, place)| unseen.uniform(**place) < rate).for_each(|(s, _)| *s = scenario);
        }
        for &(field, name, rate) in &self.dropped {
            let name = format!("out-of-vocabulary ids of {name} in epoch {epoch}");
            drop_ids(&mut own.columns[field], own_places, &Stream::new(self.seed, &name), rate);
        }
        let mut plan = out.spare.try_recv().unwrap_or_default();
        let all = AllRows { scenarios: &heads.scenarios, weights: &heads.weights };
        let built = plan.build(own, all, self.input, self.job).map(|()| plan);
        out.plans.send(built.map_err(Into::into)).map_err(|_| Gone)
    }
}

/// Values of a list that are dropped each by itself. A later value is dropped with the one that is this many places
/// before it.
const LONGEST: u64 = 1 << 20;

/// Makes a share of a column's ids out-of-vocabulary, each by its row and its place in the row's list.
fn drop_ids(column: &mut Column, rows: &[u64], stream: &Stream, rate: f64) {
    let drops = |row: u64, place: u64| stream.uniform(row * LONGEST + place % LONGEST) < rate;
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

fn read(cache: &Cache, blocks: &[u32]) -> Result<Window> {
    let mut window = Window { batch: cache.batch(), places: Vec::new() };
    let (mut extra, mut bytes) = (Extra::default(), Vec::new());
    let rows = blocks.iter().map(|&block| cache.block_rows(block as usize)).sum();
    reserve(&mut window.batch, rows);
    window.places.reserve_exact(rows);
    for &block in blocks {
        cache.read(block as usize, &mut window.batch, &mut extra, &mut bytes)?;
        extra.clear();
        let first = block as u64 * optmsm_data::BLOCK_ROWS as u64;
        window.places.extend(first..first + cache.block_rows(block as usize) as u64);
    }
    Ok(window)
}

/// Makes room for rows at once: growing step by step could take twice as much. How long lists are is not known before.
fn reserve(batch: &mut Batch, rows: usize) {
    batch.labels.reserve_exact(rows);
    batch.scenarios.reserve_exact(rows);
    for column in &mut batch.columns {
        match column {
            Column::Categorical(ids) => ids.reserve_exact(rows),
            Column::Numeric(values) => values.reserve_exact(rows),
            Column::Multi { offsets, .. } => offsets.reserve_exact(rows),
        }
    }
}

#[cfg(test)]
mod tests;
