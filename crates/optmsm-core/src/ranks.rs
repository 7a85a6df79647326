//! Training by several processes, the ranks of a job, with the bits of one.
//!
//! A batch is cut into groups of rows, a power of two of them. A group goes through the model by itself; groups are summed by a
//! balanced binary tree. As many shards share out what moves: shard s has the s-th piece of the dense parameters and the
//! rows of tables whose id is s modulo the number of groups, each with its optimizer state. A rank has as many consecutive groups and
//! shards as any other. So everything that is computed, and the order of every sum, follows from the number of groups alone:
//! ranks decide who computes it.
//!
//! A rank holds all dense parameters, and of tables beside its shards the rows that its groups touch: they are brought before a step,
//! and their gradients sent back after it.

mod cut;
mod export;
mod job;
mod predict;
mod shard;
mod step;
mod traced;
mod traffic;
mod tree;
mod wire;

pub use cut::{AllRows, Cut};
pub use job::Job;
pub use traffic::{Traffic, traffic};

pub(crate) use shard::Shard;
pub(crate) use step::On;
use traced::Kept;

use crate::backend::Backend;
use crate::error::Result;
use crate::learner::LearnerConfig;
use crate::model::{Grads, Model};
use crate::params::TensorSource;
use crate::runtime::Params;
use wire::Asked;

/// A learner's part in a job: its shards, and the sums over all groups.
pub(crate) struct Team<B: Backend> {
    job: Job,
    shards: Vec<Shard<B>>,
    total: Grads<B>,
    scenarios: B::Ids, // first row of each in the batch, [S + 1]
    asked: Asked,
    kept: Vec<Kept<B::Elem>>,
    logits: Vec<B::Elem>, // of this rank's rows in the step at hand
    averages_here: bool,  // whether the copy of the dense averages is that of the shards
}

impl<B: Backend> Team<B> {
    /// Zeros.
    pub(crate) fn new<M: Model<B>>(be: &B, model: &M, config: &LearnerConfig, job: Job) -> Result<Self> {
        let shards = job.own().map(|number| Shard::new(be, model.spec(), config, &job, number));
        Ok(Self {
            shards: shards.collect::<Result<_>>()?,
            total: Grads::new(be, model.spec())?,
            scenarios: be.alloc_ids(model.spec().input().scenarios + 1)?,
            asked: Asked::default(),
            kept: Vec::new(),
            logits: Vec::new(),
            averages_here: true,
            job,
        })
    }

    /// The job.
    pub(crate) fn job(&self) -> &Job {
        &self.job
    }

    /// Initial rows of a seed; dense parameters are those of `params`.
    pub(crate) fn init<M: Model<B>>(
        &mut self,
        be: &B,
        model: &M,
        params: &mut Params<B>,
        seed: u64,
    ) -> Result<()> {
        let specs = model.spec().embedding().tables();
        self.shards.iter_mut().try_for_each(|shard| shard.tables.init(be, specs, seed))?;
        self.take_dense(be, params, true)
    }

    /// Rows of `source`; dense parameters are those of `params`.
    pub(crate) fn import<M: Model<B>>(
        &mut self,
        be: &B,
        model: &M,
        params: &mut Params<B>,
        source: &dyn TensorSource<B::Elem>,
    ) -> Result<()> {
        let specs = model.spec().embedding().tables();
        self.shards.iter_mut().try_for_each(|shard| shard.tables.import(be, specs, source))?;
        self.take_dense(be, params, true)
    }

    /// Replaces rows of a table.
    pub(crate) fn set_rows<M: Model<B>>(
        &mut self,
        be: &B,
        model: &M,
        name: &str,
        first: usize,
        data: &[B::Elem],
    ) -> Result<()> {
        let specs = model.spec().embedding().tables();
        let mut shards = self.shards.iter_mut();
        shards.try_for_each(|shard| shard.tables.set_rows(be, specs, name, first, data))
    }

    /// Copies the dense parameters of `params` to the shards, and to their averages, too, where these `begin` there.
    pub(crate) fn take_dense(&mut self, be: &B, params: &mut Params<B>, begin: bool) -> Result<()> {
        let mut host = Vec::new();
        for shard in &mut self.shards {
            host.resize(shard.range.len(), B::Elem::default());
            be.download(&mut host, &params.dense.buf, shard.range.start)?;
            be.upload(&mut shard.dense, &host);
            if let (Some(average), true) = (&mut shard.average, begin) {
                be.upload(average, &host);
            }
        }
        self.averages_here = begin;
        if let Some(shard) = self.shards.first() {
            params.tables.read_as(&shard.tables);
        }
        Ok(())
    }

    /// Bytes of the backend's memory that shards hold apart from the rest: their parameters, and their state.
    pub(crate) fn apart(self) -> (impl Sized, impl Sized, impl Sized) {
        let Self { shards, total, scenarios, .. } = self;
        let (mut parameters, mut state, mut grads) = (Vec::new(), Vec::new(), Vec::new());
        for shard in shards {
            let Shard { dense, average, dense_state, mut tables, table_state, g, rows, ids, sum_sq, .. } =
                shard;
            state.push((average, dense_state, table_state, tables.take_averages()));
            parameters.push((dense, tables));
            grads.push((g, rows, ids, sum_sq));
        }
        (parameters, state, (grads, total, scenarios))
    }
}

/// Elements of a buffer from `offset` on.
fn elements<B: Backend>(be: &B, buf: &B::Buf, offset: usize, len: usize) -> Result<Vec<B::Elem>> {
    let mut host = vec![B::Elem::default(); len];
    be.download(&mut host, buf, offset)?;
    Ok(host)
}
