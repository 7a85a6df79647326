//! A plan in the memory of a backend, and the blocks of rows that layers read.

use crate::backend::{Backend, Bags, Dropout, Mat, MatMut, Segments, TableView};
use crate::config::{FieldKind, InputSpec};
use crate::error::Result;
use crate::fold::Outputs;
use crate::params::{ParamId, TableSpec};
use crate::plan::{Plan, PlannedColumn};
use crate::tables::Tables;

/// An uploaded plan. Grows to the largest batch that it has seen, then allocates no more.
#[derive(Debug)]
pub struct Inputs<B: Backend> {
    /// When training: a dropout mask depends on a row's place in the input.
    pub(crate) order: B::Ids,
    /// When training with statistics of the batch: the rows of each scenario, `[S + 1]`.
    pub(crate) groups: B::Ids,
    grouped: bool,
    pub(crate) scenarios: B::Ids,
    pub(crate) labels: B::Buf,
    pub(crate) weights: B::Buf,
    /// When training: 0, 1, 2 … to the number of rows, included.
    pub(crate) each_row: B::Ids,
    pub(crate) columns: Vec<InputColumn<B>>,
    /// When training: the tables that several fields read.
    pub(crate) shared: Vec<InputColumn<B>>,
}

/// One field.
#[derive(Debug)]
pub(crate) struct InputColumn<B: Backend> {
    pub(crate) ids: B::Ids,
    pub(crate) offsets: B::Ids,
    pub(crate) values: B::Buf,
    starts: B::Ids,
    rows: B::Ids,
    coefs: B::Buf,
    /// Unique ids of the batch.
    pub(crate) unique: B::Ids,
    pub(crate) unique_count: usize,
    /// Ids of all rows, repeated or not.
    pub(crate) occurrences: usize,
    ids_capacity: usize,
    categorical: bool,
    multi: bool,
    updates: bool, // whether there is room for planned updates, whatever the plan at hand needs
}

impl<B: Backend> Inputs<B> {
    /// Room for `rows` rows; when `training`, for labels, weights and planned embedding updates, too; when `grouped`, for the
    /// rows of each scenario.
    pub fn new(be: &B, input: &InputSpec, rows: usize, training: bool, grouped: bool) -> Result<Self> {
        let columns = input.fields.iter().map(|f| InputColumn::new(be, f.kind, rows, training));
        let trained = if training { rows } else { 0 };
        // As if the fields' unique ids were those of a categorical field.
        let table = |first: usize| {
            let most = input.sharing(first)?.map(|f| rows.min(input.fields[f].kind.ids())).sum();
            let kind = FieldKind::Categorical { vocab: input.fields[first].kind.ids() };
            Some(InputColumn::new(be, kind, most, true))
        };
        let shared = (0..input.fields.len()).filter(|_| training).filter_map(table);
        let mut each_row = be.alloc_ids(trained + 1)?;
        be.upload_ids(&mut each_row, &(0..=trained as u32).collect::<Vec<_>>());
        Ok(Self {
            each_row,
            order: be.alloc_ids(trained)?,
            groups: be.alloc_ids(if grouped { input.scenarios + 1 } else { 0 })?,
            grouped,
            scenarios: be.alloc_ids(rows)?,
            labels: be.alloc(trained)?,
            weights: be.alloc(trained)?,
            columns: columns.collect::<Result<_>>()?,
            shared: shared.collect::<Result<_>>()?,
        })
    }

    /// Makes room for lists of `ids` ids in all, by field; fields without lists have it already.
    pub(crate) fn reserve(&mut self, be: &B, ids: &[usize]) -> Result<()> {
        let lists = self.columns.iter_mut().zip(ids).filter(|(column, _)| column.multi);
        lists.into_iter().try_for_each(|(column, &ids)| column.reserve(be, ids))
    }

    /// Copies a plan of at most the rows that there is room for.
    pub fn load(&mut self, be: &B, plan: &Plan<B::Elem>, training: bool) -> Result<()> {
        be.upload_ids(&mut self.scenarios, &plan.scenarios);
        if training {
            be.upload_ids(&mut self.order, &plan.order);
            if self.grouped {
                be.upload_ids(&mut self.groups, &plan.offsets);
            }
            be.upload(&mut self.labels, &plan.labels);
            be.upload(&mut self.weights, &plan.weights);
        }
        let shared = self.shared.iter_mut().zip(&plan.shared);
        let mut columns = self.columns.iter_mut().zip(&plan.columns).chain(shared);
        columns.try_for_each(|(to, from)| to.load(be, from, training))
    }

    /// Where the plan is of a part of a batch, takes the first row of each scenario in all of it.
    pub(crate) fn load_scenarios(&mut self, be: &B, of_batch: Option<&[u32]>) {
        if let (Some(offsets), true) = (of_batch, self.grouped) {
            be.upload_ids(&mut self.groups, offsets);
        }
    }

    /// Scenario of each row of the ordered batch.
    pub fn scenarios(&self) -> &B::Ids {
        &self.scenarios
    }

    /// When training with statistics of the batch: the rows of each scenario in the ordered batch, `[S + 1]`.
    pub fn groups(&self) -> &B::Ids {
        &self.groups
    }

    /// When training: labels of the ordered batch.
    pub fn labels(&self) -> &B::Buf {
        &self.labels
    }

    /// The ids of a table that the batch touches.
    pub(crate) fn touched(&self, table: &TableSpec) -> &InputColumn<B> {
        table.shared.map_or_else(|| &self.columns[table.fields[0]], |number| &self.shared[number])
    }
}

impl<B: Backend> InputColumn<B> {
    fn new(be: &B, kind: FieldKind, rows: usize, updates: bool) -> Result<Self> {
        let (ids, multi, values) = match kind {
            FieldKind::Categorical { .. } => (rows, false, 0),
            FieldKind::Multi { .. } => (rows, true, 0), // `reserve` makes room
            FieldKind::Numeric => (if updates { rows } else { 0 }, false, rows),
        };
        let mut column = Self {
            ids: be.alloc_ids(0)?,
            offsets: be.alloc_ids(if multi { rows + 1 } else { 0 })?,
            values: be.alloc(values)?,
            starts: be.alloc_ids(0)?,
            rows: be.alloc_ids(0)?,
            coefs: be.alloc(0)?,
            unique: be.alloc_ids(0)?,
            unique_count: 0,
            occurrences: 0,
            ids_capacity: 0,
            categorical: matches!(kind, FieldKind::Categorical { .. }),
            multi,
            updates,
        };
        column.reserve(be, ids)?;
        Ok(column)
    }

    /// Lists of a multi-hot field have no bound, so their memory doubles as needed.
    fn reserve(&mut self, be: &B, ids: usize) -> Result<()> {
        if ids <= self.ids_capacity {
            return Ok(());
        }
        let capacity = if self.ids_capacity == 0 { ids } else { ids.next_power_of_two() };
        self.ids = be.alloc_ids(capacity)?;
        if self.multi {
            self.values = be.alloc(capacity)?;
        }
        if self.updates {
            self.starts = be.alloc_ids(capacity + 1)?;
            self.rows = be.alloc_ids(capacity)?;
            self.unique = be.alloc_ids(capacity)?;
            self.coefs = be.alloc(if self.categorical { 0 } else { capacity })?;
        }
        self.ids_capacity = capacity;
        Ok(())
    }

    fn load(&mut self, be: &B, plan: &PlannedColumn<B::Elem>, updates: bool) -> Result<()> {
        self.reserve(be, plan.ids.len())?;
        be.upload_ids(&mut self.ids, &plan.ids);
        if !self.categorical {
            be.upload_ids(&mut self.offsets, &plan.offsets);
            be.upload(&mut self.values, &plan.values);
        }
        if updates {
            (self.unique_count, self.occurrences) = (plan.unique.len(), plan.rows.len());
            be.upload_ids(&mut self.starts, &plan.starts);
            be.upload_ids(&mut self.rows, &plan.rows);
            be.upload_ids(&mut self.unique, &plan.unique);
            be.upload(&mut self.coefs, &plan.coefs);
        }
        Ok(())
    }

    pub(crate) fn bags(&self) -> Bags<'_, B::Ids, B::Buf> {
        Bags { offsets: &self.offsets, ids: &self.ids, coefs: &self.values }
    }

    pub(crate) fn segments(&self) -> Segments<'_, B::Ids, B::Buf> {
        let coefs = (!self.categorical).then_some(&self.coefs);
        Segments { count: self.unique_count, starts: &self.starts, rows: &self.rows, coefs }
    }
}

/// Rows `first..first + rows` of a batch ordered by scenario, on their way through a model.
#[derive(Debug)]
pub struct Block<'a, B: Backend> {
    /// First row in the ordered batch.
    pub first: usize,
    /// Number of rows.
    pub rows: usize,
    /// The batch.
    pub inputs: &'a Inputs<B>,
    /// Rows of each scenario within the block, `[S + 1]`.
    pub groups: &'a B::Ids,
    /// Embedding tables, in the order of their first fields.
    pub tables: &'a Tables<B>,
    /// Whether their averages are read.
    pub averaged: bool,
    /// Seed and step of dropout masks; `None` when not training.
    pub masks: Option<(u64, u32)>,
    /// Outputs of the layers that read fields, where they are made of folded tables.
    pub(crate) folded: Option<Outputs<'a, B>>,
}

impl<B: Backend> Block<'_, B> {
    /// A table, as it is to be read.
    pub(crate) fn table(&self, number: usize) -> TableView<'_, B> {
        self.tables.view(number, self.averaged)
    }

    /// Output `[rows, outputs]` of the linear reader's layer with this weight, its ReLU included, where predictions make it of
    /// folded tables.
    pub fn folded(&self, weight: ParamId) -> Option<Mat<'_, B::Buf>> {
        self.folded.as_ref()?.of(weight, self.rows)
    }

    /// Drops elements of `x` `[rows, n]` with probability `p` by the mask of a site, when training; its own backward.
    pub fn drop(&self, be: &B, x: MatMut<B::Buf>, p: f64, site: u32) {
        if let Some((seed, step)) = self.masks.filter(|_| p > 0.0) {
            be.dropout(x, &Dropout { p, seed, step, site }, &self.inputs.order, self.first);
        }
    }
}
