//! Sums first: rows that hold the same id share e_f, so summing δ by id gives both gradients from as many rows as the
//! batch has distinct ids. Fields run side by side, as lanes.

#[cfg(test)]
mod tests;

use super::Grad;
use crate::backend::{Backend, Mat, MatMut, Segments, Write};
use crate::error::Result;
use crate::lanes::{LaneGrads, Lanes};
use crate::layers::embedding::Source;
use crate::model::{FirstLayer, Model, ModelSpec, Through};
use crate::params::Flat;
use crate::runtime::Params;
use crate::uploaded::Inputs;

/// Time to add one element of an occurrence's δ, in multiply-adds of the products: benches/ops.rs, by the rate of reading it.
const GATHER: usize = 8;

/// Whether rows are a cheaper detour than ids for the lists of a batch: with embeddings `d` wide, ids take GATHER per
/// occurrence and two products of d per id, rows two products of d per row.
fn row_by_row(d: usize, rows: usize, occurrences: usize, ids: usize) -> bool {
    GATHER * occurrences + 2 * d * ids > 2 * d * rows
}

/// One field.
#[derive(Debug)]
pub(crate) struct ById<B: Backend> {
    pub(super) grad: Grad<B>,
    reads: Vec<Read<B>>,
    x: B::Buf,   // [ids, d]; long lists: [rows, d]; empty without a linear reader
    d_e: B::Buf, // long lists: [rows, d]; likewise
}

/// One reader of the field.
#[derive(Debug)]
struct Read<B: Backend> {
    reader: usize,
    column: usize,
    through: Through,
    d_w: B::Buf,           // [N, d]; empty unless linear
    part: Option<Grad<B>>, // this reader's gradient; the first reader's is the field's own
}

/// Sets the gradients of all fields and of their columns of linear readers.
pub(super) fn backward<B: Backend, M: Model<B>>(
    fields: &mut [ById<B>],
    be: &B,
    params: &Params<B>,
    lanes: &mut Lanes<B, M, LaneGrads<B>>,
    rows: usize,
) -> Result<()> {
    for (field, column) in fields.iter_mut().zip(&lanes.inputs.columns) {
        // Lists of more ids than rows go row by row, so `x` needs no more.
        field.reserve(be, column.unique_count)?;
    }
    be.for_lanes(fields, |_, field| field.backward(be, params, lanes, rows));
    if let Some((first, _)) = lanes.first_mut() {
        fields.iter().for_each(|field| field.write_to(be, &mut first.grads.grads.dense));
    }
    Ok(())
}

impl<B: Backend> ById<B> {
    pub(super) fn new(be: &B, spec: &ModelSpec, grad: Grad<B>, max_rows: usize) -> Result<Self> {
        let Grad { field, source, width, ids, .. } = grad;
        let mut reads = Vec::new();
        for (reader, own) in spec.readers().iter().enumerate() {
            let Some(place) = own.places().iter().find(|place| place.field == field) else { continue };
            let (column, through) = (place.column, own.through());
            let outputs = match through {
                Through::Linear(first) => first.outputs,
                Through::Embedded => 0,
            };
            let part = (!reads.is_empty()).then(|| Grad::new(be, spec, field, max_rows)).transpose()?;
            reads.push(Read { reader, column, through, d_w: be.alloc(outputs * width)?, part });
        }
        let linear = reads.iter().any(|read| matches!(read.through, Through::Linear(_)));
        let lists = matches!(source, Source::Bags(_));
        let x = if lists { max_rows } else { ids } * width;
        Ok(Self {
            x: be.alloc(if linear { x } else { 0 })?,
            d_e: be.alloc(if linear && lists { max_rows * width } else { 0 })?,
            reads,
            grad,
        })
    }

    /// Makes room for the gradients of `ids` distinct ids.
    pub(super) fn reserve(&mut self, be: &B, ids: usize) -> Result<()> {
        self.grad.reserve(be, ids)?;
        self.reads.iter_mut().filter_map(|read| read.part.as_mut()).try_for_each(|part| part.reserve(be, ids))
    }

    /// Sets this field's gradient and those of its columns of linear readers.
    fn backward<M: Model<B>>(
        &mut self,
        be: &B,
        params: &Params<B>,
        lanes: &Lanes<B, M, LaneGrads<B>>,
        rows: usize,
    ) {
        let Self { grad, reads, x, d_e } = self;
        let (d, source, lane_rows) = (grad.width, grad.source, lanes.lane_rows(rows));
        let column = &lanes.inputs.columns[grad.field];
        let ids = column.unique_count;
        for Read { reader, column: at, through, d_w, part } in reads {
            let left = |lane: usize| lanes.reader(lane, *reader, lane_rows);
            let g = part.as_mut().unwrap_or(grad).mat_mut(ids);
            match through {
                Through::Embedded => {
                    be.reduce_rows(g, column.segments(), lane_rows, |lane| left(lane).cols(*at, d));
                }
                Through::Linear(first) => {
                    let w = params.dense.mat_as(first.weight, first.outputs).cols(*at, d);
                    let d_w = MatMut::new(d_w, first.outputs, d);
                    let Inputs { each_row, .. } = &lanes.inputs;
                    match source {
                        Source::Numeric(id) => {
                            let x = params.dense.mat(id);
                            be.linear_bwd_by_value(g, d_w, x, w, column.segments(), lane_rows, left);
                        }
                        Source::Bags(t) if row_by_row(d, rows, column.occurrences, ids) => {
                            let table = params.tables.view(t, false);
                            be.lookup_bags(MatMut::new(x, rows, d), table, column.bags(), 0);
                            let (each, x) = (MatMut::new(d_e, rows, d), Mat::new(x, rows, d));
                            let one_by_one =
                                Segments { count: rows, starts: each_row, rows: each_row, coefs: None };
                            be.linear_bwd_by_value(each, d_w, x, w, one_by_one, lane_rows, left);
                            be.reduce_rows(g, column.segments(), rows, |_| Mat::new(d_e, rows, d));
                        }
                        Source::Rows(t) | Source::Bags(t) => {
                            let table = params.tables.view(t, false);
                            be.lookup(MatMut::new(x, ids, d), table, &column.unique, 0);
                            let x = Mat::new(x, ids, d);
                            be.linear_bwd_by_value(g, d_w, x, w, column.segments(), lane_rows, left);
                        }
                    }
                }
            }
            if let Some(part) = part {
                be.copy(grad.mat_mut(ids), Write::Add, part.mat(ids));
            }
        }
    }

    /// Writes what [`ById::backward`] made for dense parameters to their gradients.
    fn write_to(&self, be: &B, grads: &mut Flat<B>) {
        let d = self.grad.width;
        for Read { column, through, d_w, .. } in &self.reads {
            if let &Through::Linear(FirstLayer { weight, outputs, .. }) = through {
                let to = grads.mat_as_mut(weight, outputs).cols(*column, d);
                be.copy(to, Write::Set, Mat::new(d_w, outputs, d));
            }
        }
        self.grad.write_numeric(be, grads);
    }
}
