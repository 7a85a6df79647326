//! A batch as the model reads it: rows ordered by scenario, embedding updates planned.
//!
//! Made off the critical path (by a loader thread), reused from batch to batch. Grouped products then see
//! contiguous rows, and nothing sorts while the model runs.

mod sort;
#[cfg(test)]
mod tests;

use std::ops::Range;

use self::sort::Sorter;
use crate::batch::{Batch, Column};
use crate::config::{FieldKind, InputSpec, Pooling};
use crate::elem::Elem;
use crate::error::Result;
use crate::params::TableSpec;

/// An ordered batch with its planned embedding updates.
#[derive(Clone, Debug, Default)]
pub struct Plan<E> {
    /// Place in the input of each ordered row.
    pub order: Vec<u32>,
    /// Rows `offsets[s]..offsets[s + 1]` are of scenario `s`; S + 1 entries.
    pub offsets: Vec<u32>,
    /// Scenario of each row.
    pub scenarios: Vec<u32>,
    /// Labels; empty when only predicting.
    pub labels: Vec<E>,
    /// Sample weights; 1 where the batch has none; empty when only predicting.
    pub weights: Vec<E>,
    /// Σw; 0 when only predicting.
    pub weight_sum: f64,
    /// One column a field.
    pub columns: Vec<PlannedColumn<E>>,
    /// When training: each table that several fields read, in the order of their first fields. Its ids are the unique ones of
    /// these fields, one field after the other.
    pub shared: Vec<PlannedColumn<E>>,
    place: Vec<u32>,
    sorter: Sorter,
}

/// One field's values in the order of the plan.
#[derive(Clone, Debug, Default)]
pub struct PlannedColumn<E> {
    /// Categorical: one id a row. Multi: ids of all rows.
    pub ids: Vec<u32>,
    /// Multi: one more than rows.
    pub offsets: Vec<u32>,
    /// Multi: one coefficient per id. Numeric: one value per row.
    pub values: Vec<E>,
    /// Unique ids, ascending.
    pub unique: Vec<u32>,
    /// Occurrences of unique id `u`: `starts[u]..starts[u + 1]`.
    pub starts: Vec<u32>,
    /// Ordered row of each occurrence.
    pub rows: Vec<u32>,
    /// Multi and numeric: coefficient of each occurrence.
    pub coefs: Vec<E>,
    /// Multi: row of each id, before grouping.
    owners: Vec<u32>,
}

impl<E: Elem> Plan<E> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.order.len()
    }

    /// Its distinct ids of a table, when training.
    pub(crate) fn touched(&self, table: &TableSpec) -> &PlannedColumn<E> {
        table.shared.map_or_else(|| &self.columns[table.fields[0]], |number| &self.shared[number])
    }

    /// Checks and orders `batch`; when `training`, with labels and weights and the embedding updates planned.
    ///
    /// # Errors
    /// When the batch does not fit `input`.
    pub fn build(&mut self, batch: &Batch, input: &InputSpec, training: bool) -> Result<()> {
        batch.validate(input)?;
        self.fill(batch, input, 0..batch.rows(), training);
        Ok(())
    }

    /// Orders the rows `rows` of a batch that was checked.
    pub(crate) fn fill(&mut self, batch: &Batch, input: &InputSpec, rows: Range<usize>, training: bool) {
        self.order_rows(&batch.scenarios, rows, input.scenarios);
        let order = &self.order;
        refill(&mut self.scenarios, order.iter().map(|&r| batch.scenarios[r as usize]));
        let (labels, weights) = match training {
            true if batch.labels.is_empty() => (&[][..], &order[..]),
            true => (&order[..], &order[..]),
            false => (&[][..], &[][..]),
        };
        refill(&mut self.labels, labels.iter().map(|&r| E::of(batch.labels[r as usize].into())));
        let weight = |r: u32| batch.weights.get(r as usize).map_or(1.0, |&w| f64::from(w));
        refill(&mut self.weights, weights.iter().map(|&r| E::of(weight(r))));
        // Summed in input order.
        self.weight_sum = (0..weights.len() as u32).map(weight).sum();
        self.columns.resize_with(input.fields.len(), PlannedColumn::default);
        for ((field, column), planned) in input.fields.iter().zip(&batch.columns).zip(&mut self.columns) {
            planned.order(column, field.kind, order);
            match field.kind {
                FieldKind::Numeric if training => planned.whole(order.len()),
                _ if training => planned.segment(&mut self.sorter),
                _ => {}
            }
        }
        self.share(input, training);
    }

    /// Plans the sums over fields that share a table.
    fn share(&mut self, input: &InputSpec, training: bool) {
        let mut count = 0;
        for first in (0..input.fields.len()).filter(|_| training) {
            let Some(fields) = input.sharing(first) else { continue };
            if self.shared.len() == count {
                self.shared.push(PlannedColumn::default());
            }
            let table = &mut self.shared[count];
            table.ids.clear();
            fields.for_each(|f| table.ids.extend_from_slice(&self.columns[f].unique));
            table.segment(&mut self.sorter);
            count += 1;
        }
        self.shared.truncate(count);
    }

    /// Stable counting sort by scenario.
    fn order_rows(&mut self, scenarios: &[u32], rows: Range<usize>, count: usize) {
        let (first, scenarios) = (rows.start, &scenarios[rows]);
        self.offsets.clear();
        self.offsets.resize(count + 1, 0);
        scenarios.iter().for_each(|&s| self.offsets[s as usize + 1] += 1);
        (0..count).for_each(|s| self.offsets[s + 1] += self.offsets[s]);
        refill(&mut self.place, self.offsets.iter().copied());
        self.order.clear();
        self.order.resize(scenarios.len(), 0);
        for (row, &s) in scenarios.iter().enumerate() {
            let place = &mut self.place[s as usize];
            self.order[*place as usize] = (first + row) as u32;
            *place += 1;
        }
    }
}

impl<E: Elem> PlannedColumn<E> {
    fn order(&mut self, column: &Column, kind: FieldKind, order: &[u32]) {
        match column {
            Column::Categorical(ids) => refill(&mut self.ids, order.iter().map(|&r| ids[r as usize])),
            Column::Numeric(v) => {
                refill(&mut self.values, order.iter().map(|&r| E::of(v[r as usize].into())))
            }
            Column::Multi { offsets, ids, weights } => {
                let mean = matches!(kind, FieldKind::Multi { pooling: Pooling::Mean, .. });
                self.ids.clear();
                self.values.clear();
                refill(&mut self.offsets, [0]);
                for &r in order {
                    let bag = offsets[r as usize] as usize..offsets[r as usize + 1] as usize;
                    let scale = if mean { bag.len() as f64 } else { 1.0 };
                    for i in bag {
                        self.ids.push(ids[i]);
                        self.values.push(E::of(weights.get(i).map_or(1.0, |&w| f64::from(w)) / scale));
                    }
                    self.offsets.push(self.ids.len() as u32);
                }
            }
        }
    }

    /// A numeric field has one row of weights, which every row of the batch uses with its value as coefficient.
    fn whole(&mut self, rows: usize) {
        refill(&mut self.unique, [0]);
        refill(&mut self.starts, [0, rows as u32]);
        refill(&mut self.rows, 0..rows as u32);
        refill(&mut self.coefs, self.values.iter().copied());
    }

    /// Groups the occurrences by id; within an id they stay in row order.
    fn segment(&mut self, sorter: &mut Sorter) {
        let multi = !self.offsets.is_empty();
        self.owners.clear();
        for (row, bag) in self.offsets.windows(2).enumerate() {
            self.owners.resize(self.owners.len() + (bag[1] - bag[0]) as usize, row as u32);
        }
        let sorted = sorter.by_id(&self.ids);
        let places = sorted.clone().map(|(_, place)| place as usize);
        if multi {
            refill(&mut self.rows, places.clone().map(|place| self.owners[place]));
            refill(&mut self.coefs, places.map(|place| self.values[place]));
        } else {
            refill(&mut self.rows, places.map(|place| place as u32));
            self.coefs.clear();
        }
        self.unique.resize(self.ids.len(), 0);
        self.starts.resize(self.ids.len() + 1, 0);
        self.starts[0] = 0;
        let (mut count, mut last) = (0, None);
        for (end, (id, _)) in (1..).zip(sorted) {
            // Every occurrence writes its id and its end so far: where ids change is no branch to guess wrong.
            count += usize::from(last != Some(id));
            last = Some(id);
            self.unique[count - 1] = id;
            self.starts[count] = end;
        }
        self.unique.truncate(count);
        self.starts.truncate(count + 1);
    }
}

fn refill<T>(to: &mut Vec<T>, from: impl IntoIterator<Item = T>) {
    to.clear();
    to.extend(from);
}
