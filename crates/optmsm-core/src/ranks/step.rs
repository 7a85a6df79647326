//! A step of all ranks.

use std::ops::Range;

use super::shard::piece;
use super::traced::Kept;
use super::tree::{Tree, add};
use super::wire::{Asked, all_to_all, gather};
use super::{Cut, Job, Shard, Team, elements};
use crate::backend::{Backend, MatMut};
use crate::error::Result;
use crate::lanes::{StepKey, Totals, TrainingLanes};
use crate::learner::{KEPT, LearnerConfig};
use crate::model::Model;
use crate::params::TableSpec;
use crate::plan::Plan;
use crate::runtime::Params;
use crate::tables::{Stored, Tables};

/// The model and the settings of a step.
pub(crate) struct On<'a, B: Backend, M: Model<B>> {
    pub(crate) be: &'a B,
    pub(crate) model: &'a M,
    pub(crate) config: &'a LearnerConfig,
    pub(crate) seed: u64,
    /// Number of the step, from 1.
    pub(crate) step: u64,
}

/// Gradient of the rows of a table that some groups touch.
struct Sparse<E> {
    ids: Vec<u32>, // ascending
    rows: Vec<E>,  // one after the other
}

impl<E: num_traits::NumAssign + Copy> Sparse<E> {
    /// Sum of two; a row that only one of them has is that one's.
    fn add(left: Self, right: Self, width: usize) -> Self {
        let most = left.ids.len() + right.ids.len();
        let (mut ids, mut rows) = (Vec::with_capacity(most), Vec::with_capacity(most * width));
        let (mut l, mut r) = (0, 0);
        loop {
            let (a, b) = (left.ids.get(l), right.ids.get(r));
            let Some(&id) = a.into_iter().chain(b).min() else { break };
            let first = rows.len();
            ids.push(id);
            if a == Some(&id) {
                rows.extend_from_slice(&left.rows[l * width..][..width]);
                l += 1;
            }
            if b == Some(&id) {
                let row = &right.rows[r * width..][..width];
                match rows.len() == first {
                    true => rows.extend_from_slice(row),
                    false => rows[first..].iter_mut().zip(row).for_each(|(l, &r)| *l += r),
                }
                r += 1;
            }
        }
        Self { ids, rows }
    }
}

/// Sums over the groups of a rank; none where it has no rows.
struct Sums<E> {
    dense: Option<Vec<E>>,
    derived: Option<Vec<E>>,
    tables: Vec<Option<Sparse<E>>>,
    losses: Option<Vec<f64>>,
}

impl<B: Backend> Team<B> {
    /// Moves all parameters by a batch.
    pub(crate) fn step<M: Model<B>>(
        &mut self,
        on: &On<B, M>,
        params: &mut Params<B>,
        lanes: &mut TrainingLanes<B, M>,
        cut: &Cut<B::Elem>,
    ) -> Result<()> {
        let &On { be, model, .. } = on;
        let specs = model.spec().embedding().tables();
        self.fetch(be, specs, &mut params.tables, &cut.touched, false)?;
        lanes.prepare(be, model, params);
        if model.batch_statistics() {
            be.upload_ids(&mut self.scenarios, &cut.offsets);
            self.sum_derived(on, params, lanes, cut, |lanes, params, plan, key| {
                lanes.measure((be, model, params), plan, key);
            })?;
            lanes.settle((be, model, params), &self.total.derived, &self.scenarios, true);
            let whole = Totals::of(cut);
            self.sum_derived(on, params, lanes, cut, |lanes, params, plan, key| {
                lanes.backward((be, model, params), plan, key, whole);
            })?;
            // Only for what the rows' corrections read.
            lanes.finish_on((be, model, params), &mut self.total);
        }
        let Sums { dense, derived, tables, losses } = self.groups(on, params, lanes, cut)?;
        self.sum_everywhere(be, derived, cut.rows)?;
        let own = self.sum_dense(dense, cut.rows)?;
        let all = 0..self.total.dense.layout().len();
        be.fill(self.total.dense.range_mut(all), 0.0);
        let first = self.dense_of(self.job.comm().rank()).start;
        be.upload_at(&mut self.total.dense.buf, first, &own);
        lanes.finish_on((be, model, params), &mut self.total);
        self.send_rows(be, specs, tables)?;
        for shard in &mut self.shards {
            be.upload(
                &mut shard.g,
                &elements(be, &self.total.dense.buf, shard.range.start, shard.range.len())?,
            );
        }
        let clipped = on.config.clip_norm.is_some();
        let sum_sq = if clipped { Some(self.sum_sq(be, specs)?) } else { None };
        let shards = self.shards.iter_mut();
        shards.for_each(|shard| shard.step(be, on.config, (on.seed, on.step), specs, sum_sq));
        self.share_dense(be, &mut params.dense.buf)?;
        self.averages_here = false;
        if self.kept.len() == KEPT {
            self.kept.remove(0);
        }
        let mut kept = Kept::of(cut, on.step);
        kept.sums = losses.unwrap_or_default();
        kept.logits = std::mem::take(&mut self.logits);
        self.kept.push(kept);
        Ok(())
    }

    /// Gradients of this rank's groups.
    fn groups<M: Model<B>>(
        &mut self,
        on: &On<B, M>,
        params: &Params<B>,
        lanes: &mut TrainingLanes<B, M>,
        cut: &Cut<B::Elem>,
    ) -> Result<Sums<B::Elem>> {
        let &On { be, model, .. } = on;
        let specs = model.spec().embedding().tables();
        let (dense_len, derived_len) = (model.spec().params().len(), model.spec().derived().len());
        let (mut dense, mut derived, mut losses) = (Tree::new(add), Tree::new(add), Tree::new(add));
        let table = |spec: &TableSpec| {
            let width = spec.width;
            Tree::new(move |l, r| Sparse::add(l, r, width))
        };
        let mut tables: Vec<_> = specs.iter().map(table).collect();
        self.logits.clear();
        for plan in &cut.plans {
            if plan.rows() == 0 {
                dense.push(None);
                derived.push(None);
                losses.push(None);
                tables.iter_mut().for_each(|tree| tree.push(None));
                continue;
            }
            lanes.load(be, plan, Some(&cut.offsets))?;
            lanes.backward((be, model, params), plan, on.key(), Totals::of(cut));
            if model.batch_statistics() {
                lanes.correct((be, model, params), plan, on.key());
            }
            lanes.fields((be, model, params), plan.rows())?;
            let Some(grads) = lanes.grads() else { continue };
            dense.push(Some(elements(be, &grads.dense.buf, 0, dense_len)?));
            derived.push(Some(elements(be, &grads.derived.buf, 0, derived_len)?));
            for (tree, spec) in tables.iter_mut().zip(specs) {
                let ids = plan.touched(spec).unique.clone();
                let rows = elements(be, lanes.embedding().table(spec), 0, ids.len() * spec.width)?;
                tree.push(Some(Sparse { ids, rows }));
            }
            for (_, logits) in lanes.computed(plan.rows()) {
                self.logits.extend(elements(be, logits.buf, logits.offset, logits.cols)?);
            }
            losses.push(Some(lanes.sums(be)?));
        }
        let tables = tables.into_iter().map(Tree::root).collect();
        Ok(Sums { dense: dense.root(), derived: derived.root(), tables, losses: losses.root() })
    }

    /// Leaves in `total` the sums of derived weights after `pass` over all groups.
    fn sum_derived<M: Model<B>>(
        &mut self,
        on: &On<B, M>,
        params: &Params<B>,
        lanes: &mut TrainingLanes<B, M>,
        cut: &Cut<B::Elem>,
        pass: impl Fn(&mut TrainingLanes<B, M>, &Params<B>, &Plan<B::Elem>, StepKey),
    ) -> Result<()> {
        let (be, len) = (on.be, on.model.spec().derived().len());
        let mut tree = Tree::new(add);
        for plan in &cut.plans {
            let mut leaf = None;
            if plan.rows() > 0 {
                lanes.load(be, plan, Some(&cut.offsets))?;
                pass(lanes, params, plan, on.key());
                leaf = lanes.grads().map(|grads| elements(be, &grads.derived.buf, 0, len)).transpose()?;
            }
            tree.push(leaf);
        }
        self.sum_everywhere(be, tree.root(), cut.rows)
    }

    /// Leaves in `total` the sum over all ranks of derived weights' gradients.
    fn sum_everywhere(&mut self, be: &B, own: Option<Vec<B::Elem>>, rows: usize) -> Result<()> {
        let (len, ranks) = (self.total.derived.layout().len(), self.job.comm().size());
        if len == 0 {
            return Ok(());
        }
        let part = |rank: usize| rank * len / ranks..(rank + 1) * len / ranks;
        let sum = reduce(&self.job, own, rows, part)?;
        let counts: Vec<usize> = (0..ranks).map(|rank| part(rank).len()).collect();
        be.upload(&mut self.total.derived.buf, &gather(self.job.comm(), &sum, &counts)?);
        Ok(())
    }

    /// Sum over all ranks of this rank's part of the dense gradients.
    fn sum_dense(&self, own: Option<Vec<B::Elem>>, rows: usize) -> Result<Vec<B::Elem>> {
        reduce(&self.job, own, rows, |rank| self.dense_of(rank))
    }

    /// Elements of the dense parameters that a rank moves.
    fn dense_of(&self, rank: usize) -> Range<usize> {
        let len = self.total.dense.layout().len();
        let of = self.job.of(rank);
        piece(&self.job, len, of.start).start..piece(&self.job, len, of.end - 1).end
    }

    /// Brings the rows of tables that this rank touches, and of their `averages`, too, where there are any.
    pub(super) fn fetch(
        &mut self,
        be: &B,
        specs: &[TableSpec],
        to: &mut Tables<B>,
        touched: &[Vec<u32>],
        averages: bool,
    ) -> Result<()> {
        let Self { job, shards, asked, .. } = self;
        *asked = Asked::ask(job, touched)?;
        let (ranks, share) = (job.comm().size(), job.share());
        let averaged: Vec<bool> = (0..specs.len()).map(|table| averages && to.averages(table)).collect();
        let stored = |table: usize| {
            let average = averaged[table].then_some(Stored::Average);
            [Some(Stored::Current), average].into_iter().flatten()
        };
        let mut send = vec![Vec::new(); ranks];
        for (rank, send) in send.iter_mut().enumerate() {
            for (table, spec) in specs.iter().enumerate() {
                for (n, shard) in shards.iter_mut().enumerate() {
                    let rows = asked.rows(rank, table, n, share);
                    for stored in stored(table).filter(|_| !rows.is_empty()) {
                        shard.pick(be, (table, spec), stored, rows, send)?;
                    }
                }
            }
        }
        let of_rank = |rank: usize| {
            let table = |(table, spec): (usize, &TableSpec)| {
                let rows: usize = asked.places(table)[job.of(rank)].iter().map(Vec::len).sum();
                rows * spec.width * stored(table).count()
            };
            specs.iter().enumerate().map(table).sum()
        };
        let received = all_to_all(job.comm(), &send, &(0..ranks).map(of_rank).collect::<Vec<_>>())?;
        let mut rest: Vec<&[B::Elem]> = received.iter().map(|part| &part[..]).collect();
        for (table, spec) in specs.iter().enumerate() {
            let of_table: Vec<Stored> = stored(table).collect();
            let mut hosts = vec![vec![B::Elem::default(); touched[table].len() * spec.width]; of_table.len()];
            for (shard, places) in asked.places(table).iter().enumerate() {
                for host in &mut hosts {
                    let (rows, later) = rest[shard / share].split_at(places.len() * spec.width);
                    rest[shard / share] = later;
                    for (&place, row) in places.iter().zip(rows.chunks_exact(spec.width)) {
                        host[place as usize * spec.width..][..spec.width].copy_from_slice(row);
                    }
                }
            }
            of_table
                .iter()
                .zip(&hosts)
                .try_for_each(|(&stored, host)| to.copy(be, spec, (table, stored), host))?;
        }
        if let Some(shard) = shards.first() {
            to.read_as(&shard.tables);
        }
        Ok(())
    }

    /// Sends the gradients of rows to the shards that have these, and sums them there.
    fn send_rows(&mut self, be: &B, specs: &[TableSpec], sums: Vec<Option<Sparse<B::Elem>>>) -> Result<()> {
        let Self { job, shards, asked, .. } = self;
        let (ranks, share) = (job.comm().size(), job.share());
        let mut send = vec![Vec::new(); ranks];
        for ((table, spec), sum) in specs.iter().enumerate().zip(sums).filter(|((_, spec), _)| !spec.frozen) {
            // A rank's groups together touch all ids of its list, so rows are found by their places in it.
            let Some(sum) = sum else { continue };
            for (shard, places) in asked.places(table).iter().enumerate() {
                let row = |&place: &u32| &sum.rows[place as usize * spec.width..][..spec.width];
                places.iter().for_each(|place| send[shard / share].extend_from_slice(row(place)));
            }
        }
        let count = |rank: usize, table: usize, spec: &TableSpec| -> usize {
            (0..share).map(|n| asked.rows(rank, table, n, share).len() * spec.width).sum()
        };
        let moving = || specs.iter().enumerate().filter(|(_, spec)| !spec.frozen);
        let of_rank = |rank: usize| moving().map(|(table, spec)| count(rank, table, spec)).sum();
        let received = all_to_all(job.comm(), &send, &(0..ranks).map(of_rank).collect::<Vec<_>>())?;
        let mut rest: Vec<&[B::Elem]> = received.iter().map(|part| &part[..]).collect();
        for (table, spec) in moving() {
            for (n, shard) in shards.iter_mut().enumerate() {
                let leaves = rest.iter_mut().enumerate().map(|(rank, rest)| {
                    let ids = asked.rows(rank, table, n, share).to_vec();
                    let (rows, later) = rest.split_at(ids.len() * spec.width);
                    *rest = later;
                    Some(Sparse { ids, rows: rows.to_vec() }).filter(|part| !part.ids.is_empty())
                });
                let sum = Tree::sum(leaves, |l, r| Sparse::add(l, r, spec.width));
                let Sparse { ids, rows } = sum.unwrap_or(Sparse { ids: Vec::new(), rows: Vec::new() });
                shard.take_rows(be, (table, spec), &ids, &rows)?;
            }
        }
        Ok(())
    }

    /// Sum of the squares of all gradients.
    fn sum_sq(&mut self, be: &B, specs: &[TableSpec]) -> Result<B::Elem> {
        let own: Vec<B::Elem> =
            self.shards.iter_mut().map(|shard| shard.sum_sq(be, specs)).collect::<Result<_>>()?;
        let all = gather(self.job.comm(), &own, &vec![own.len(); self.job.comm().size()])?;
        Ok(Tree::sum(all.into_iter().map(Some), |l, r| l + r).unwrap_or_default())
    }

    /// Copies the pieces of all shards' dense parameters to `to`.
    fn share_dense(&self, be: &B, to: &mut B::Buf) -> Result<()> {
        self.collect(be, |shard| &shard.dense).map(|all| be.upload(to, &all))
    }

    /// Pieces of all shards, one after the other.
    pub(super) fn collect(&self, be: &B, buf: impl Fn(&Shard<B>) -> &B::Buf) -> Result<Vec<B::Elem>> {
        let mut own = Vec::new();
        for shard in &self.shards {
            own.extend(elements(be, buf(shard), 0, shard.range.len())?);
        }
        let counts: Vec<usize> = (0..self.job.comm().size()).map(|rank| self.dense_of(rank).len()).collect();
        gather(self.job.comm(), &own, &counts)
    }
}

impl Totals {
    fn of<E>(cut: &Cut<E>) -> Self {
        Self { rows: cut.rows, weight_sum: cut.weight_sum }
    }
}

impl<B: Backend, M: Model<B>> On<'_, B, M> {
    fn key(&self) -> StepKey {
        StepKey { seed: self.seed, step: (self.step - 1) as u32, moving: true }
    }
}

/// Sums lists of all ranks by the tree, each element where it is wanted: returns those of this rank's `part`.
fn reduce<E: bytemuck::Pod + num_traits::NumAssign>(
    job: &Job,
    own: Option<Vec<E>>,
    rows: usize,
    part: impl Fn(usize) -> Range<usize>,
) -> Result<Vec<E>> {
    let (comm, ranks) = (job.comm(), job.comm().size());
    let of_rank = |rank: usize| own.as_ref().map_or(Vec::new(), |own| own[part(rank)].to_vec());
    let len = part(comm.rank()).len();
    let counts: Vec<usize> = (0..ranks).map(|rank| if job.has_rows(rank, rows) { len } else { 0 }).collect();
    let received = all_to_all(comm, &(0..ranks).map(of_rank).collect::<Vec<_>>(), &counts)?;
    let leaves = received.into_iter().zip(0..).map(|(list, rank)| job.has_rows(rank, rows).then_some(list));
    Ok(Tree::sum(leaves, add).unwrap_or_else(|| vec![E::zero(); len]))
}

impl<B: Backend> Shard<B> {
    /// Appends to `to` rows of a table as they are stored.
    fn pick(
        &mut self,
        be: &B,
        (number, spec): (usize, &TableSpec),
        stored: Stored,
        rows: &[u32],
        to: &mut Vec<B::Elem>,
    ) -> Result<()> {
        let Self { tables, rows: found, ids, .. } = self;
        let ids = ids[number].of(rows.len(), |room| be.alloc_ids(room))?;
        be.upload_ids(ids, rows);
        let found = found[number].of(rows.len(), |room| be.alloc(room * spec.width))?;
        tables.pick(be, (number, stored), ids, MatMut::new(found, rows.len(), spec.width));
        let first = to.len();
        to.resize(first + rows.len() * spec.width, B::Elem::default());
        be.download(&mut to[first..], found, 0)
    }
}
