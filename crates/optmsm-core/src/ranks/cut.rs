//! A batch as a rank of a job reads it.

use super::Job;
use super::tree::Tree;
use crate::batch::{Batch, Column};
use crate::config::InputSpec;
use crate::elem::Elem;
use crate::error::{BatchPart, Error, Result};
use crate::plan::Plan;

/// The groups of a batch that a rank has. Ids of its rows are places in the list of those that they touch.
#[derive(Clone, Debug, Default)]
pub struct Cut<E> {
    /// Rows of the whole batch.
    pub(crate) rows: usize,
    /// Sum of their weights.
    pub(crate) weight_sum: f64,
    /// First row of each scenario, were the whole batch ordered by scenario, [S + 1].
    pub(crate) offsets: Vec<u32>,
    /// Plans of the rank's groups; one of no rows is of a group without rows.
    pub(crate) plans: Vec<Plan<E>>,
    /// By table: the distinct ids that the rank's rows touch, ascending.
    pub(crate) touched: Vec<Vec<u32>>,
}

/// Facts that a rank has to know of all rows of a batch, in their order.
#[derive(Clone, Copy, Debug)]
pub struct AllRows<'a> {
    /// Scenarios.
    pub scenarios: &'a [u32],
    /// Sample weights; empty means 1 for each row.
    pub weights: &'a [f32],
}

impl<E: Elem> Cut<E> {
    /// Checks a rank's rows of a batch, those of [`Job::own_rows`], and plans its groups. The ids of `own` are used up; `all` is not
    /// looked at where there is one group.
    ///
    /// # Errors
    /// When the rows do not fit `input`.
    pub fn build(&mut self, own: &mut Batch, all: AllRows, input: &InputSpec, job: &Job) -> Result<()> {
        if job.is_plain() {
            self.plans.resize_with(1, Plan::default);
            self.plans[0].build(own, input, true)?;
            (self.rows, self.weight_sum) = (own.rows(), self.plans[0].weight_sum);
            return Ok(());
        }
        let rows = all.scenarios.len();
        self.rows = rows;
        own.validate(input)?;
        if own.labels.len() != own.rows() {
            return Err(Error::batch(BatchPart::Label, None, "are missing; training needs one per row"));
        }
        if let Some(row) = all.scenarios.iter().position(|&s| s as usize >= input.scenarios) {
            let problem = format!("is {}, of {} scenarios", all.scenarios[row], input.scenarios);
            return Err(Error::batch(BatchPart::Scenario, row, problem));
        }
        let weight = |row: usize| all.weights.get(row).map_or(1.0, |&w| f64::from(w));
        let sums = (0..job.groups()).map(|group| {
            let rows = job.rows(group, rows);
            (!rows.is_empty()).then(|| rows.map(weight).sum())
        });
        self.weight_sum = Tree::sum(sums, |a: f64, b| a + b).unwrap_or(0.0);
        self.offsets.clear();
        self.offsets.resize(input.scenarios + 1, 0);
        all.scenarios.iter().for_each(|&s| self.offsets[s as usize + 1] += 1);
        (0..input.scenarios).for_each(|s| self.offsets[s + 1] += self.offsets[s]);
        touch(own, input, &mut self.touched);
        self.plans.resize_with(job.own().len(), Plan::default);
        let first = job.own_rows(rows).start;
        for (plan, group) in self.plans.iter_mut().zip(job.own()) {
            let of_group = job.rows(group, rows);
            plan.fill(own, input, of_group.start - first..of_group.end - first, true);
            // Dropout goes by a row's place in the whole batch.
            plan.order.iter_mut().for_each(|place| *place += first as u32);
        }
        Ok(())
    }

    /// By table: the distinct ids that this rank's rows touch, ascending; of a job of one group nothing.
    pub fn touched(&self) -> &[Vec<u32>] {
        &self.touched
    }

    /// Plans of this rank's groups.
    pub fn plans(&self) -> &[Plan<E>] {
        &self.plans
    }

    /// Rows of the whole batch.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// Lists by table the distinct ids that a batch touches, and puts in the place of each its place in the list. It keeps their order, so
/// sums by id are what they would be.
pub(super) fn touch(batch: &mut Batch, input: &InputSpec, touched: &mut Vec<Vec<u32>>) {
    let tables = input.tables();
    touched.resize_with(tables.len(), Vec::new);
    for (fields, ids) in tables.iter().zip(touched) {
        ids.clear();
        for &field in fields {
            ids.extend_from_slice(ids_of(&mut batch.columns[field]));
        }
        ids.sort_unstable();
        ids.dedup();
        for &field in fields {
            for id in ids_of(&mut batch.columns[field]) {
                *id = ids.partition_point(|touched| touched < id) as u32;
            }
        }
    }
}

/// Ids of a column.
fn ids_of(column: &mut Column) -> &mut [u32] {
    match column {
        Column::Categorical(ids) | Column::Multi { ids, .. } => ids,
        Column::Numeric(_) => &mut [],
    }
}
