//! Sums first: rows that hold the same id share e_f, so summing δ by id gives both gradients from as many rows as the
//! batch has distinct ids. Fields run side by side, as lanes.

#[cfg(test)]
mod tests;

use super::{FirstLayer, Grad};
use crate::backend::{Backend, Mat, MatMut, Segments, Write};
use crate::error::Result;
use crate::inputs::Inputs;
use crate::layers::embedding::Source;
use crate::model::Model;
use crate::params::Flat;
use crate::runtime::{Params, Runtime};

/// Time to add one element of an occurrence's δ, in multiply-adds of the products: benches/ops.rs, by the rate of reading it.
const GATHER: usize = 8;

/// Whether rows are a cheaper detour than ids for the lists of a batch: with embeddings `d` wide, ids take GATHER an
/// occurrence and two products of d an id, rows two products of d a row.
fn row_by_row(d: usize, rows: usize, occurrences: usize, ids: usize) -> bool {
    GATHER * occurrences + 2 * d * ids > 2 * d * rows
}

/// One field.
#[derive(Debug)]
pub(crate) struct ById<B: Backend> {
    pub(super) grad: Grad<B>,
    first: FirstLayer,
    x: B::Buf,   // [ids, d]; long lists: [rows, d]
    d_w: B::Buf, // [N, d]
    d_e: B::Buf, // long lists: [rows, d]
}

/// Sets the gradients of all fields and of their columns of the first layers.
pub(super) fn backward<B: Backend, M: Model<B>>(
    fields: &mut [ById<B>],
    be: &B,
    params: &Params<B>,
    runtime: &mut Runtime<B, M>,
    rows: usize,
) -> Result<()> {
    for (field, column) in fields.iter_mut().zip(&runtime.inputs.columns) {
        // Lists of more ids than rows go row by row, so `x` needs no more.
        field.grad.reserve(be, column.unique_count)?;
    }
    be.for_lanes(fields, |number, field| field.backward(be, number, params, runtime, rows));
    if let Some((_, sum, _)) = runtime.first_lane() {
        fields.iter().for_each(|field| field.write_to(be, &mut sum.grads.dense));
    }
    Ok(())
}

impl<B: Backend> ById<B> {
    pub(super) fn new<M: Model<B>>(be: &B, model: &M, grad: Grad<B>, max_rows: usize) -> Result<Self> {
        let (first, width) = (model.first_layer(grad.field.role), grad.width);
        let lists = matches!(grad.field.source, Source::Bags(_));
        Ok(Self {
            first,
            x: be.alloc(if lists { max_rows } else { grad.ids } * width)?,
            d_w: be.alloc(first.outputs * width)?,
            d_e: be.alloc(if lists { max_rows * width } else { 0 })?,
            grad,
        })
    }

    /// Sets this field's gradient and that of its columns of the first layer.
    fn backward<M: Model<B>>(
        &mut self,
        be: &B,
        number: usize,
        params: &Params<B>,
        runtime: &Runtime<B, M>,
        rows: usize,
    ) {
        let (field, d, n) = (self.grad.field, self.grad.width, self.first.outputs);
        let (Inputs { columns, each_row, .. }, lane_rows) = (&runtime.inputs, runtime.lane_rows(rows));
        let column = &columns[number];
        let delta = |lane: usize| runtime.lane_grads(lane).d_first[field.role as usize].mat(lane_rows);
        let w = params.dense.mat_as(self.first.weight, n).cols(field.column, d);
        let (ids, d_w) = (column.unique_count, MatMut::new(&mut self.d_w, n, d));
        let grad = self.grad.mat_mut(ids);
        match field.source {
            Source::Numeric(id) => {
                let x = params.dense.mat(id);
                be.linear_bwd_by_value(grad, d_w, x, w, column.segments(), lane_rows, delta);
            }
            Source::Bags(t) if row_by_row(d, rows, column.occurrences, ids) => {
                be.lookup_bags(
                    MatMut::new(&mut self.x, rows, d),
                    params.tables.view(t, false),
                    column.bags(),
                    0,
                );
                let (d_e, x) = (MatMut::new(&mut self.d_e, rows, d), Mat::new(&self.x, rows, d));
                let one_by_one = Segments { count: rows, starts: each_row, rows: each_row, coefs: None };
                be.linear_bwd_by_value(d_e, d_w, x, w, one_by_one, lane_rows, delta);
                be.reduce_rows(grad, column.segments(), rows, |_| Mat::new(&self.d_e, rows, d));
            }
            Source::Rows(t) | Source::Bags(t) => {
                be.lookup(MatMut::new(&mut self.x, ids, d), params.tables.view(t, false), &column.unique, 0);
                let x = Mat::new(&self.x, ids, d);
                be.linear_bwd_by_value(grad, d_w, x, w, column.segments(), lane_rows, delta);
            }
        }
    }

    /// Writes what [`ById::backward`] made for dense parameters to their gradients.
    fn write_to(&self, be: &B, grads: &mut Flat<B>) {
        let (d, n) = (self.grad.width, self.first.outputs);
        let d_w = grads.mat_as_mut(self.first.weight, n).cols(self.grad.field.column, d);
        be.copy(d_w, Write::Set, Mat::new(&self.d_w, n, d));
        self.grad.write_numeric(be, grads);
    }
}
