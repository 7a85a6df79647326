//! Gradients of the fields, made after the lanes from what these left at each role's first layer.
//!
//! The lanes leave δ, the gradient of the first layer's output. With W_f the columns of the layer's weight that read field f,
//! the field's gradients are δ W_f, summed by id, and W_f's is δᵀ e_f. Rows that hold the same id share e_f, so
//! summing δ by id first gives both from as many rows as the batch has distinct ids (docs/derivations.md#fields).

#[cfg(test)]
mod tests;

use crate::backend::{Backend, Mat, MatMut, Segments, Write};
use crate::error::Result;
use crate::inputs::Inputs;
use crate::layers::embedding::{Field, Source};
use crate::model::Model;
use crate::params::{Flat, ParamId};
use crate::runtime::{Params, Runtime};

/// Time to add one element of an occurrence's δ, in multiply-adds of the products: benches/ops.rs, by the rate of reading it.
const GATHER: usize = 8;

/// Whether rows are a cheaper detour than ids for the lists of a batch: with embeddings `d` wide, ids take GATHER an
/// occurrence and two products of d an id, rows two products of d a row.
fn row_by_row(d: usize, rows: usize, occurrences: usize, ids: usize) -> bool {
    GATHER * occurrences + 2 * d * ids > 2 * d * rows
}

/// The linear map that reads the embeddings of a role.
#[derive(Clone, Copy, Debug)]
pub struct FirstLayer {
    /// `[outputs, inputs]`, or `[K, outputs / K, inputs]`; the fields' columns first.
    pub weight: ParamId,
    /// Columns of its output.
    pub outputs: usize,
}

/// One field's gradient, and the memory to make it.
#[derive(Debug)]
pub(crate) struct FieldGrads<B: Backend> {
    field: Field,
    first: FirstLayer,
    width: usize,
    /// Of the distinct ids, in the order of the plan: `[ids, d]`.
    pub(crate) grad: B::Buf,
    x: B::Buf,    // [ids, d]; long lists: [rows, d]
    d_w: B::Buf,  // [N, d]
    d_e: B::Buf,  // long lists: [rows, d]
    ids: usize,   // rows that `grad` has room for
    vocab: usize, // most distinct ids
}

impl<B: Backend> FieldGrads<B> {
    /// One for each field; memory for `max_rows` rows.
    pub(crate) fn all<M: Model<B>>(be: &B, model: &M, max_rows: usize) -> Result<Vec<Self>> {
        let embedding = model.embedding();
        let make = |&field: &Field| -> Result<Self> {
            let (first, width) = (model.first_layer(field.role), embedding.dim());
            let vocab = match field.source {
                Source::Numeric(_) => 1,
                Source::Rows(t) | Source::Bags(t) => embedding.tables()[t].rows,
            };
            let lists = matches!(field.source, Source::Bags(_));
            let ids = max_rows.min(vocab);
            Ok(Self {
                field,
                first,
                width,
                grad: be.alloc(ids * width)?,
                x: be.alloc(if lists { max_rows } else { ids } * width)?,
                d_w: be.alloc(first.outputs * width)?,
                d_e: be.alloc(if lists { max_rows * width } else { 0 })?,
                ids,
                vocab,
            })
        };
        embedding.fields().iter().map(make).collect()
    }

    /// Lists have no bound: makes room for the gradients of the distinct ids of the batch at hand. Those of more ids than rows
    /// go row by row, so `x` needs no more.
    pub(crate) fn reserve(&mut self, be: &B, ids: usize) -> Result<()> {
        if ids > self.ids {
            self.ids = ids.next_power_of_two().min(self.vocab);
            self.grad = be.alloc(self.ids * self.width)?;
        }
        Ok(())
    }

    /// Sets this field's gradient and that of its columns of the first layer.
    pub(crate) fn backward<M: Model<B>>(
        &mut self,
        be: &B,
        number: usize,
        params: &Params<B>,
        runtime: &Runtime<B, M>,
        rows: usize,
    ) {
        let (Inputs { columns, each_row, .. }, d, n) = (&runtime.inputs, self.width, self.first.outputs);
        let (column, lane_rows) = (&columns[number], runtime.lane_rows(rows));
        let delta = |lane: usize| runtime.lane_grads(lane).d_first[self.field.role as usize].mat(lane_rows);
        let w = params.dense.mat_as(self.first.weight, n).cols(self.field.column, d);
        let (ids, d_w) = (column.unique_count, MatMut::new(&mut self.d_w, n, d));
        let grad = MatMut::new(&mut self.grad, ids, d);
        match self.field.source {
            Source::Numeric(id) => {
                let x = params.dense.mat(id);
                be.linear_bwd_by_value(grad, d_w, x, w, column.segments(), lane_rows, delta);
            }
            Source::Bags(t) if row_by_row(d, rows, column.occurrences, ids) => {
                be.lookup_bags(MatMut::new(&mut self.x, rows, d), &params.tables[t], column.bags(), 0);
                let (d_e, x) = (MatMut::new(&mut self.d_e, rows, d), Mat::new(&self.x, rows, d));
                let one_by_one = Segments { count: rows, starts: each_row, rows: each_row, coefs: None };
                be.linear_bwd_by_value(d_e, d_w, x, w, one_by_one, lane_rows, delta);
                be.reduce_rows(grad, column.segments(), rows, |_| Mat::new(&self.d_e, rows, d));
            }
            Source::Rows(t) | Source::Bags(t) => {
                be.lookup(MatMut::new(&mut self.x, ids, d), &params.tables[t], &column.unique, 0);
                let x = Mat::new(&self.x, ids, d);
                be.linear_bwd_by_value(grad, d_w, x, w, column.segments(), lane_rows, delta);
            }
        }
    }

    /// Writes what [`FieldGrads::backward`] made for dense parameters to their gradients.
    pub(crate) fn write_to(&self, be: &B, grads: &mut Flat<B>) {
        let (d, n) = (self.width, self.first.outputs);
        let d_w = grads.mat_as_mut(self.first.weight, n).cols(self.field.column, d);
        be.copy(d_w, Write::Set, Mat::new(&self.d_w, n, d));
        if let Source::Numeric(w) = self.field.source {
            be.copy(grads.mat_mut(w), Write::Set, Mat::new(&self.grad, 1, d));
        }
    }
}
