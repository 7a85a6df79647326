//! Gradients of the embedded fields, made after the lanes from what these left for the model's readers.
//!
//! For a linear reader the lanes leave δ, the gradient of the layer's output. With W_f the columns of the layer's weight that
//! read field f, the field's gradients are δ W_f, summed by id, and W_f's is δᵀ e_f. There are two ways
//! (docs/derivations.md#fields): [`by_id`] sums before it multiplies, [`whole`] after it; the backend says which is faster
//! ([`fields_by_id`](crate::backend::Memory::fields_by_id)). For other readers the lanes leave the fields' gradients
//! themselves, which are summed by id. The gradients of several readers of one field are added in the order of the readers.

mod by_id;
mod shared;
mod whole;

use crate::backend::{Backend, Mat, MatMut, Write};
use crate::error::Result;
use crate::lanes::{LaneGrads, Lanes};
use crate::layers::embedding::Source;
use crate::model::{Model, ModelSpec};
use crate::params::{Flat, TableSpec};
use crate::runtime::Params;

use by_id::ById;
use shared::Shared;
use whole::Whole;

/// The gradients of all fields and tables, and the memory to make them.
#[derive(Debug)]
pub(crate) struct EmbeddingGrads<B: Backend> {
    fields: Way<B>,
    shared: Vec<Shared<B>>,
}

/// One of the two ways.
#[derive(Debug)]
enum Way<B: Backend> {
    ById(Vec<ById<B>>),
    Whole(Whole<B>),
}

impl<B: Backend> EmbeddingGrads<B> {
    /// Memory for `max_rows` rows.
    pub(crate) fn new(be: &B, spec: &ModelSpec, max_rows: usize) -> Result<Self> {
        let embedding = spec.embedding();
        let grad = |field: usize| Grad::new(be, spec, field, max_rows);
        let all = 0..embedding.fields().len();
        let fields = if be.fields_by_id() {
            Way::ById(all.map(|field| ById::new(be, spec, grad(field)?, max_rows)).collect::<Result<_>>()?)
        } else {
            Way::Whole(Whole::new(be, spec, all.map(grad).collect::<Result<_>>()?, max_rows)?)
        };
        let tables = embedding.tables().iter().filter(|t| t.shared.is_some());
        let shared = tables.map(|table| Shared::new(be, table, max_rows));
        Ok(Self { fields, shared: shared.collect::<Result<_>>()? })
    }

    /// Sets the gradients of all fields and tables, and in the summed dense gradients those of numeric fields and of the
    /// columns of linear readers that read fields.
    ///
    /// # Errors
    /// When memory for the distinct ids of the batch at hand is short.
    pub(crate) fn backward<M: Model<B>>(
        &mut self,
        be: &B,
        model: &M,
        params: &Params<B>,
        lanes: &mut Lanes<B, M, LaneGrads<B>>,
        rows: usize,
    ) -> Result<()> {
        match &mut self.fields {
            Way::ById(fields) => by_id::backward(fields, be, params, lanes, rows)?,
            Way::Whole(whole) => whole.backward(be, model, params, lanes, rows)?,
        }
        let Self { fields, shared } = self;
        shared::sum(shared, be, |field| fields.grad(field), &lanes.inputs)
    }

    /// Makes room for `ids` distinct ids, by field.
    pub(crate) fn reserve(&mut self, be: &B, ids: &[usize]) -> Result<()> {
        match &mut self.fields {
            Way::ById(fields) => {
                fields.iter_mut().zip(ids).try_for_each(|(field, &ids)| field.reserve(be, ids))
            }
            Way::Whole(whole) => whole.reserve(be, |field| ids[field]),
        }
    }

    /// Gradient of a table: one row for each distinct id, in the order of the plan.
    pub(crate) fn table(&self, table: &TableSpec) -> &B::Buf {
        table.shared.map_or_else(|| self.fields.grad(table.fields[0]), |number| self.shared[number].rows())
    }
}

impl<B: Backend> Way<B> {
    /// Gradient of a field: one row for each distinct id, in the order of the plan.
    fn grad(&self, field: usize) -> &B::Buf {
        match self {
            Self::ById(fields) => &fields[field].grad.buf,
            Self::Whole(whole) => &whole.fields[field].buf,
        }
    }
}

/// One field's gradient, or a reader's part of it.
#[derive(Debug)]
pub(crate) struct Grad<B: Backend> {
    field: usize,
    source: Source,
    width: usize, // d
    buf: B::Buf,  // of the distinct ids, in the order of the plan: [ids, d]
    ids: usize,   // rows that `buf` has room for
    vocab: usize, // most distinct ids
}

impl<B: Backend> Grad<B> {
    fn new(be: &B, spec: &ModelSpec, field: usize, max_rows: usize) -> Result<Self> {
        let embedding = spec.embedding();
        let (source, width) = (embedding.fields()[field].source, embedding.dim());
        let vocab = match source {
            Source::Numeric(_) => 1,
            Source::Rows(t) | Source::Bags(t) => embedding.tables()[t].rows,
        };
        let ids = max_rows.min(vocab);
        Ok(Self { field, source, width, buf: be.alloc(ids * width)?, ids, vocab })
    }

    /// Lists have no bound: makes room for the gradients of the distinct ids of the batch at hand.
    fn reserve(&mut self, be: &B, ids: usize) -> Result<()> {
        if ids > self.ids {
            self.ids = ids.next_power_of_two().min(self.vocab);
            self.buf = be.alloc(self.ids * self.width)?;
        }
        Ok(())
    }

    fn mat(&self, ids: usize) -> Mat<'_, B::Buf> {
        Mat::new(&self.buf, ids, self.width)
    }

    fn mat_mut(&mut self, ids: usize) -> MatMut<'_, B::Buf> {
        MatMut::new(&mut self.buf, ids, self.width)
    }

    /// Writes the gradient of a numeric field to those of the dense parameters.
    fn write_numeric(&self, be: &B, grads: &mut Flat<B>) {
        if let Source::Numeric(w) = self.source {
            be.copy(grads.mat_mut(w), Write::Set, Mat::new(&self.buf, 1, self.width));
        }
    }
}
