//! A part of the parameters that one rank moves.

use std::ops::Range;

use super::Job;
use crate::backend::Backend;
use crate::error::Result;
use crate::learner::{Gradients, LearnerConfig, Part, Touched};
use crate::model::ModelSpec;
use crate::optim::Clip;
use crate::params::{ALIGN, TableSpec};
use crate::rounding::Rows;
use crate::tables::Tables;

/// A piece of the dense parameters, and the rows of tables whose id is its number modulo the number of groups.
pub(crate) struct Shard<B: Backend> {
    pub(super) range: Range<usize>, // of the dense parameters
    pub(super) dense: B::Buf,
    pub(super) average: Option<B::Buf>,
    pub(super) dense_state: Vec<B::Buf>,
    pub(super) tables: Tables<B>,
    pub(super) table_state: Vec<Vec<B::Buf>>, // by table; none of a frozen one
    pub(super) g: B::Buf,                     // of the dense parameters
    pub(super) rows: Vec<Room<B::Buf>>,       // by table: gradients of the rows that a batch touches
    pub(super) ids: Vec<Room<B::Ids>>,
    pub(super) sum_sq: B::Buf, // [1]
}

/// Memory that grows as needed, and how many rows it holds at the moment.
pub(super) struct Room<T> {
    memory: T,
    room: usize,
    count: usize,
}

impl<T> Room<T> {
    /// Makes room for `count` rows.
    pub(super) fn of(&mut self, count: usize, alloc: impl FnOnce(usize) -> Result<T>) -> Result<&mut T> {
        self.count = count;
        if count > self.room {
            self.room = count.next_power_of_two();
            self.memory = alloc(self.room)?;
        }
        Ok(&mut self.memory)
    }
}

impl<B: Backend> Shard<B> {
    /// Zeros.
    pub(super) fn new(
        be: &B,
        spec: &ModelSpec,
        config: &LearnerConfig,
        job: &Job,
        number: usize,
    ) -> Result<Self> {
        let range = piece(job, spec.params().len(), number);
        let ids = Rows { first: number as u32, step: job.groups() as u32 };
        let specs = spec.embedding().tables();
        let flat = || be.alloc(range.len());
        let (count, per_row) = config.tables().state();
        let state = |t: &TableSpec| -> Result<Vec<B::Buf>> {
            let len = ids.count(t.rows) * if per_row { 1 } else { t.width };
            (0..if t.frozen { 0 } else { count }).map(|_| be.alloc(len)).collect()
        };
        let empty = |_: &TableSpec| Ok(Room { memory: be.alloc(0)?, room: 0, count: 0 });
        let no_ids = |_: &TableSpec| Ok(Room { memory: be.alloc_ids(0)?, room: 0, count: 0 });
        Ok(Self {
            dense: flat()?,
            average: config.average.is_some().then(flat).transpose()?,
            dense_state: (0..config.optimizer.state().0).map(|_| flat()).collect::<Result<_>>()?,
            tables: Tables::new(be, specs, config.average.is_some(), ids)?,
            table_state: specs.iter().map(state).collect::<Result<_>>()?,
            g: flat()?,
            rows: specs.iter().map(empty).collect::<Result<_>>()?,
            ids: specs.iter().map(no_ids).collect::<Result<_>>()?,
            sum_sq: be.alloc(1)?,
            range,
        })
    }

    /// Takes the gradient of the rows `ids` of a table.
    pub(super) fn take_rows(
        &mut self,
        be: &B,
        (number, spec): (usize, &TableSpec),
        ids: &[u32],
        g: &[B::Elem],
    ) -> Result<()> {
        be.upload(self.rows[number].of(ids.len(), |room| be.alloc(room * spec.width))?, g);
        be.upload_ids(self.ids[number].of(ids.len(), |room| be.alloc_ids(room))?, ids);
        Ok(())
    }

    /// Sum of the squares of its gradients.
    pub(super) fn sum_sq(&mut self, be: &B, specs: &[TableSpec]) -> Result<B::Elem> {
        let Self { g, rows, ids, sum_sq, range, .. } = self;
        gradients(g, range, rows, ids, specs).sum_sq(be, sum_sq);
        Ok(super::elements(be, sum_sq, 0, 1)?[0])
    }

    /// Moves it; `sum_sq` is that of all shards, where gradients are clipped.
    pub(super) fn step(
        &mut self,
        be: &B,
        config: &LearnerConfig,
        (seed, step): (u64, u64),
        specs: &[TableSpec],
        sum_sq: Option<B::Elem>,
    ) {
        if let Some(sum) = sum_sq {
            be.upload(&mut self.sum_sq, &[sum]);
        }
        let Self { dense, average, dense_state, tables, table_state, g, rows, ids, sum_sq, range } = self;
        let clip = config.clip_norm.map(|max_norm| Clip { max_norm, sum_sq: &*sum_sq });
        let dense = (dense, average.as_mut(), &mut dense_state[..]);
        let part = Part { dense, tables, state: table_state };
        part.step(be, config, (seed, step), &gradients(g, range, rows, ids, specs), clip);
    }
}

/// Elements of `len` dense parameters that a shard has.
pub(super) fn piece(job: &Job, len: usize, number: usize) -> Range<usize> {
    let (groups, lines) = (job.groups(), len / ALIGN);
    ALIGN * (number * lines / groups)..ALIGN * ((number + 1) * lines / groups)
}

/// Gradients of a shard.
fn gradients<'a, B: Backend>(
    g: &'a B::Buf,
    range: &Range<usize>,
    rows: &'a [Room<B::Buf>],
    ids: &'a [Room<B::Ids>],
    specs: &'a [TableSpec],
) -> Gradients<'a, B, impl Fn(usize) -> Touched<'a, B>> {
    let touched = |number: usize| {
        let Room { memory: g, count, .. } = &rows[number];
        Touched { g, count: *count, ids: &ids[number].memory }
    };
    Gradients { dense: g, len: range.len(), specs, touched }
}
