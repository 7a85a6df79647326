//! Updates of a table's touched rows, in parallel where the rows ascend.

use optmsm_core::backend::{Mat, MatMut};
use optmsm_core::optim::Rule;

use crate::rows::row;
use crate::update::Scalars;

/// Rows that one task updates.
const TASK_ROWS: usize = 256;

/// The part of a table, and of its optimizer's state, that one task owns.
struct Slab<'a> {
    rule: &'a Scalars,
    /// Row of the table that the part starts with.
    first: usize,
    width: usize,
    stride: usize,
    /// State elements a row.
    per_row: usize,
    table: &'a mut [f32],
    state: [&'a mut [f32]; 2],
}

/// One step of `rule` on rows `ids` (unique), with the gradient of row `ids[u]` in row `u` of `g`.
pub(crate) fn step(
    rule: &Scalars,
    table: MatMut<Vec<f32>>,
    g: Mat<Vec<f32>>,
    state: &mut [Vec<f32>],
    ids: &[u32],
) {
    assert_eq!(table.cols, g.cols, "widths of the table and its gradient");
    assert!(
        ids.iter().all(|&id| (id as usize) < table.rows),
        "an id is not below the table's {} rows",
        table.rows
    );
    let per_row = if rule.rule == Rule::RowwiseAdagrad { 1 } else { table.cols };
    let start = table.offset.min(table.buf.len());
    let buffers = state.len();
    let state = match state {
        [] => [&mut [][..], &mut []],
        [s] => [&mut s[..], &mut []],
        [m, v, ..] => [&mut m[..], &mut v[..]],
    };
    let (width, stride) = (table.cols, table.stride);
    let slab = Slab { rule, first: 0, width, stride, per_row, table: &mut table.buf[start..], state };
    if ids.is_sorted_by(|a, b| a < b) {
        slab.split(buffers, ids, g);
    } else {
        slab.step(buffers, ids, g);
    }
}

impl Slab<'_> {
    /// Halves ascending ids until a task's worth is left; each half owns the rows from its first id on.
    fn split(self, buffers: usize, ids: &[u32], g: Mat<Vec<f32>>) {
        if ids.len() <= TASK_ROWS {
            return self.step(buffers, ids, g);
        }
        let half = ids.len() / 2;
        let (low, high) = ids.split_at(half);
        let first = self.first;
        let rows = high[0] as usize - first;
        let (table, table_high) = self.table.split_at_mut(rows * self.stride);
        let [(m, m_high), (v, v_high)] = self.state.map(|s| {
            let cut = (rows * self.per_row).min(s.len());
            s.split_at_mut(cut)
        });
        let upper = Slab { first: high[0] as usize, table: table_high, state: [m_high, v_high], ..self };
        let lower = Slab { first, table, state: [m, v], ..upper };
        rayon::join(
            || lower.split(buffers, low, g.rows(0, half)),
            || upper.split(buffers, high, g.rows(half, high.len())),
        );
    }

    fn step(self, buffers: usize, ids: &[u32], g: Mat<Vec<f32>>) {
        let [m, v] = self.state;
        for (u, &id) in ids.iter().enumerate() {
            let at = id as usize - self.first;
            let w = &mut self.table[at * self.stride..][..self.width];
            let (g, own) = (row(&g, u), at * self.per_row..(at + 1) * self.per_row);
            match buffers {
                0 => self.rule.no_state(w, g),
                1 if self.rule.rule == Rule::RowwiseAdagrad => self.rule.rowwise(w, g, &mut m[at]),
                1 => self.rule.one_state(w, g, &mut m[own]),
                _ => self.rule.adam(w, g, &mut m[own.clone()], &mut v[own]),
            }
        }
    }
}
