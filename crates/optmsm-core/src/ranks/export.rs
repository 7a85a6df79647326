//! The tensors of a checkpoint, as one process would export them. Every rank calls; rank 0 gets all elements, the others names and
//! shapes, and dense parameters.

use super::wire::all_to_all;
use super::{Shard, Team};
use crate::backend::Backend;
use crate::error::Result;
use crate::learner::{LearnerConfig, state_shape};
use crate::model::Model;
use crate::params::{TableSpec, TensorSink, TensorSource};
use crate::rounding::{Rows, TableDtype};
use crate::runtime::Params;
use crate::tables::{CURRENT, Stored, pieces};

/// Elements of a table that ranks bring at a time: all of them wait for each piece, so it is large.
const GATHERED: usize = 1 << 20;

/// A tensor with a row for each id of a table.
struct OfTable<'a> {
    name: String,
    shape: Vec<usize>,
    dtype: TableDtype,
    spec: &'a TableSpec,
}

impl<B: Backend> Team<B> {
    /// The tensors of [`Params::export`].
    pub(crate) fn export<M: Model<B>>(
        &self,
        (be, model): (&B, &M),
        params: &Params<B>,
        sink: &mut dyn TensorSink<B::Elem>,
    ) -> Result<()> {
        let spec = model.spec();
        if let Some(averages) = self.averages(be)? {
            let mut flat = be.alloc(spec.params().len())?;
            be.upload(&mut flat, &averages);
            spec.params().export(be, &flat, sink, str::to_string)?;
        } else {
            spec.params().export(be, &params.dense.buf, sink, str::to_string)?;
        }
        spec.running().export(be, &params.running.buf, sink, str::to_string)?;
        let specs = spec.embedding().tables();
        (0..specs.len()).try_for_each(|table| self.bring_stored(be, specs, (table, Stored::Exported), sink))
    }

    /// Optimizer state, and what parameters go on from.
    pub(crate) fn export_state<M: Model<B>>(
        &self,
        (be, model): (&B, &M),
        config: &LearnerConfig,
        params: &Params<B>,
        sink: &mut dyn TensorSink<B::Elem>,
    ) -> Result<()> {
        let spec = model.spec();
        let mut flat = be.alloc(spec.params().len())?;
        for (number, state) in config.optimizer.state_names().iter().enumerate() {
            be.upload(&mut flat, &self.collect(be, |shard| &shard.dense_state[number])?);
            spec.params().export(be, &flat, sink, |name| format!("optimizer.{state}.{name}"))?;
        }
        let (specs, rule) = (spec.embedding().tables(), config.tables());
        for (table, spec) in specs.iter().enumerate().filter(|(_, spec)| !spec.frozen) {
            for (number, state) in rule.state_names().iter().enumerate() {
                let name = format!("optimizer.{state}.{}", spec.name);
                let of = OfTable { name, shape: state_shape(rule, spec), dtype: TableDtype::F32, spec };
                self.bring(of, sink, |shard, first, to| {
                    let width = state_shape(rule, spec).get(1).copied().unwrap_or(1);
                    be.download(to, &shard.table_state[table][number], first * width)
                })?;
            }
        }
        if params.averaged() {
            spec.params().export(be, &params.dense.buf, sink, |name| format!("{CURRENT}{name}"))?;
        }
        if config.tables_have_state() {
            let stored: Vec<_> = self.shards.first().map_or(Vec::new(), |s| s.tables.state(specs).collect());
            stored.into_iter().try_for_each(|of| self.bring_stored(be, specs, of, sink))?;
            self.shards.iter().take(1).for_each(|shard| shard.tables.export_scales(sink));
        }
        Ok(())
    }

    /// Takes optimizer state, after the parameters of the same checkpoint.
    pub(crate) fn import_state<M: Model<B>>(
        &mut self,
        (be, model): (&B, &M),
        config: &LearnerConfig,
        params: &mut Params<B>,
        source: &dyn TensorSource<B::Elem>,
    ) -> Result<()> {
        let spec = model.spec();
        let mut flat = be.alloc(spec.params().len())?;
        for (number, state) in config.optimizer.state_names().iter().enumerate() {
            spec.params().import(be, &mut flat, source, |name| format!("optimizer.{state}.{name}"))?;
            for shard in &mut self.shards {
                let piece = super::elements(be, &flat, shard.range.start, shard.range.len())?;
                be.upload(&mut shard.dense_state[number], &piece);
            }
        }
        let (specs, rule) = (spec.embedding().tables(), config.tables());
        for (table, spec) in specs.iter().enumerate().filter(|(_, spec)| !spec.frozen) {
            for (number, state) in rule.state_names().iter().enumerate() {
                let (name, shape) = (format!("optimizer.{state}.{}", spec.name), state_shape(rule, spec));
                let width = shape.get(1).copied().unwrap_or(1);
                let mut first = 0;
                source.pieces(&name, &shape, &mut |data| {
                    for shard in &mut self.shards {
                        let (row, own) = shard.tables.ids().of(first, width, data);
                        be.upload_at(&mut shard.table_state[table][number], row * width, &own);
                    }
                    first += data.len() / width;
                    Ok(())
                })?;
            }
        }
        if params.averaged() {
            let dense = &mut params.dense.buf;
            spec.params().import(be, dense, source, |name| format!("{CURRENT}{name}"))?;
        }
        if config.tables_have_state() {
            self.shards.iter_mut().try_for_each(|shard| shard.tables.import_state(be, specs, source))?;
        }
        // Averages stay as they were imported; `params` has them.
        let here = self.averages_here;
        self.take_dense(be, params, false)?;
        self.averages_here = here;
        Ok(())
    }

    /// Brings what is stored of a table.
    fn bring_stored(
        &self,
        be: &B,
        specs: &[TableSpec],
        (table, stored): (usize, Stored),
        sink: &mut dyn TensorSink<B::Elem>,
    ) -> Result<()> {
        let spec = &specs[table];
        let shape = vec![spec.rows, spec.width];
        let of = OfTable { name: stored.name(spec), shape, dtype: stored.dtype(spec), spec };
        self.bring(of, sink, |shard, first, to| shard.tables.read(be, spec, (table, stored), first, to))
    }

    /// Brings a tensor piece by piece; `read` copies the rows of a shard from one on.
    fn bring(
        &self,
        OfTable { name, shape, dtype, spec }: OfTable,
        sink: &mut dyn TensorSink<B::Elem>,
        read: impl Fn(&Shard<B>, usize, &mut [B::Elem]) -> Result<()>,
    ) -> Result<()> {
        let (job, comm, groups) = (&self.job, self.job.comm(), self.job.groups());
        let width = shape.get(1).copied().unwrap_or(1);
        sink.begin(&name, &shape, dtype);
        for (first, rows) in pieces(spec, GATHERED, groups) {
            let own = |number: usize| {
                let ids = Rows { first: number as u32, step: groups as u32 };
                ids.count(first)..ids.count(first + rows)
            };
            let mut send = vec![Vec::new(); comm.size()];
            for (shard, number) in self.shards.iter().zip(job.own()) {
                let (rows, start) = (own(number), send[0].len());
                send[0].resize(start + rows.len() * width, B::Elem::default());
                read(shard, rows.start, &mut send[0][start..])?;
            }
            let of_rank = |rank: usize| {
                let here = comm.rank() == 0;
                if here { job.of(rank).map(|number| own(number).len() * width).sum() } else { 0 }
            };
            let received = all_to_all(comm, &send, &(0..comm.size()).map(of_rank).collect::<Vec<_>>())?;
            if comm.rank() != 0 {
                continue;
            }
            let mut host = vec![B::Elem::default(); rows * width];
            // Ranks have their shards in order, so the parts one after the other are those of shard 0, 1, …
            let all = received.concat();
            let mut rest = all.chunks_exact(width);
            for number in 0..groups {
                for (row, data) in own(number).zip(&mut rest) {
                    let id = number + row * groups;
                    host[(id - first) * width..][..width].copy_from_slice(data);
                }
            }
            sink.piece(&host);
        }
        Ok(())
    }
}
