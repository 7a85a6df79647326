//! Tables that several fields read. A row's gradient is the sum of what each of the fields makes of it, in schema order, so
//! that the row moves once per step however many fields hold its id.

use crate::backend::{Backend, FieldSum, Mat, MatMut, Write};
use crate::error::Result;
use crate::params::TableSpec;
use crate::uploaded::Inputs;

/// The gradient of one such table.
#[derive(Debug)]
pub(super) struct Shared<B: Backend> {
    fields: Vec<usize>,
    width: usize,  // d
    vocab: usize,  // most distinct ids
    parts: B::Buf, // gradients of the fields, one after the other: [Σ ids, d]
    room: usize,   // rows that `parts` has room for
    sum: B::Buf,   // of the distinct ids of all fields, in the order of the plan: [ids, d]
    ids: usize,    // rows that `sum` has room for
}

impl<B: Backend> Shared<B> {
    /// Memory for `max_rows` rows without lists.
    pub(super) fn new(be: &B, table: &TableSpec, max_rows: usize) -> Result<Self> {
        let (fields, width, vocab) = (table.fields.clone(), table.width, table.rows);
        let room = fields.len() * max_rows.min(vocab);
        let ids = room.min(vocab);
        let (parts, sum) = (be.alloc(room * width)?, be.alloc(ids * width)?);
        Ok(Self { fields, width, vocab, parts, room, sum, ids })
    }

    /// The sums.
    pub(super) fn rows(&self) -> &B::Buf {
        &self.sum
    }

    /// Lists have no bound: makes room for the distinct ids of the batch at hand.
    fn reserve(&mut self, be: &B, parts: usize, ids: usize) -> Result<()> {
        if parts > self.room {
            self.room = parts.next_power_of_two().min(self.fields.len() * self.vocab);
            self.parts = be.alloc(self.room * self.width)?;
        }
        if ids > self.ids {
            self.ids = ids.next_power_of_two().min(self.vocab);
            self.sum = be.alloc(self.ids * self.width)?;
        }
        Ok(())
    }
}

/// Sums the gradients of the fields of each table; `grad` is that of a field.
///
/// # Errors
/// When memory for the distinct ids of the batch at hand is short.
pub(super) fn sum<'a, B: Backend>(
    tables: &mut [Shared<B>],
    be: &B,
    grad: impl Fn(usize) -> &'a B::Buf,
    inputs: &Inputs<B>,
) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    for (table, column) in tables.iter_mut().zip(&inputs.shared) {
        table.reserve(be, column.occurrences, column.unique_count)?;
        let mut first = 0;
        for &field in &table.fields {
            let (count, all) = (inputs.columns[field].unique_count, column.occurrences);
            let part = MatMut::new(&mut table.parts, all, table.width).rows(first, count);
            be.copy(part, Write::Set, Mat::new(grad(field), count, table.width));
            first += count;
        }
    }
    be.reduce_fields(tables.iter_mut().zip(&inputs.shared).map(|(table, column)| {
        let Shared { width, parts, sum, .. } = table;
        let g = MatMut::new(sum, column.unique_count, *width);
        FieldSum { g, segments: column.segments(), d_out: Mat::new(parts, column.occurrences, *width) }
    }));
    Ok(())
}
