//! Gradients of the fields, made after the lanes from what these left at each role's first layer.
//!
//! The lanes leave δ, the gradient of the first layer's output. With W_f the columns of the layer's weight that read field f,
//! the field's gradients are δ W_f, summed by id, and W_f's is δᵀ e_f. There are two ways (docs/derivations.md#fields):
//! [`by_id`] sums before it multiplies, [`whole`] after it; the backend says which is faster
//! (`Memory::fields_by_id`).

mod by_id;
mod shared;
mod whole;

use crate::backend::{Backend, Mat, MatMut, Write};
use crate::error::Result;
use crate::layers::embedding::{Field, Source, TableSpec};
use crate::model::Model;
use crate::params::{Flat, ParamId};
use crate::runtime::{Params, Runtime};

use by_id::ById;
use shared::Shared;
use whole::Whole;

/// The linear map that reads the embeddings of a role.
#[derive(Clone, Copy, Debug)]
pub struct FirstLayer {
    /// `[outputs, inputs]`, or `[K, outputs / K, inputs]`; the fields' columns first.
    pub weight: ParamId,
    /// `[outputs]`, or `[K, outputs / K]`.
    pub bias: ParamId,
    /// Columns of its output.
    pub outputs: usize,
}

/// The gradients of all fields and tables, and the memory to make them.
#[derive(Debug)]
pub(crate) struct FieldGrads<B: Backend> {
    fields: Way<B>,
    shared: Vec<Shared<B>>,
}

/// One of the two ways.
#[derive(Debug)]
enum Way<B: Backend> {
    ById(Vec<ById<B>>),
    Whole(Whole<B>),
}

impl<B: Backend> FieldGrads<B> {
    /// Memory for `max_rows` rows.
    pub(crate) fn new<M: Model<B>>(be: &B, model: &M, max_rows: usize) -> Result<Self> {
        let grads = model.embedding().fields().iter().map(|&field| Grad::new(be, model, field, max_rows));
        let fields = if be.fields_by_id() {
            let each = grads.map(|grad| ById::new(be, model, grad?, max_rows));
            Way::ById(each.collect::<Result<_>>()?)
        } else {
            Way::Whole(Whole::new(be, model, grads.collect::<Result<_>>()?, max_rows)?)
        };
        let tables = model.embedding().tables().iter().filter(|t| t.shared.is_some());
        let shared = tables.map(|table| Shared::new(be, table, max_rows));
        Ok(Self { fields, shared: shared.collect::<Result<_>>()? })
    }

    /// Sets the gradients of all fields and tables, and in the summed dense gradients those of numeric fields and of the first
    /// layers' columns that read fields.
    ///
    /// # Errors
    /// When memory for the distinct ids of the batch at hand is short.
    pub(crate) fn backward<M: Model<B>>(
        &mut self,
        be: &B,
        model: &M,
        params: &Params<B>,
        runtime: &mut Runtime<B, M>,
        rows: usize,
    ) -> Result<()> {
        match &mut self.fields {
            Way::ById(fields) => by_id::backward(fields, be, params, runtime, rows)?,
            Way::Whole(whole) => whole.backward(be, model, params, runtime, rows)?,
        }
        let Self { fields, shared } = self;
        shared::sum(shared, be, |field| fields.grad(field), &runtime.inputs)
    }

    /// Makes room for so many distinct ids, by field.
    pub(crate) fn reserve(&mut self, be: &B, ids: &[usize]) -> Result<()> {
        let grads: Vec<&mut Grad<B>> = match &mut self.fields {
            Way::ById(fields) => fields.iter_mut().map(|field| &mut field.grad).collect(),
            Way::Whole(whole) => whole.fields.iter_mut().collect(),
        };
        grads.into_iter().zip(ids).try_for_each(|(grad, &ids)| grad.reserve(be, ids))
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

/// One field's gradient.
#[derive(Debug)]
pub(crate) struct Grad<B: Backend> {
    field: Field,
    width: usize, // d
    buf: B::Buf,  // of the distinct ids, in the order of the plan: [ids, d]
    ids: usize,   // rows that `buf` has room for
    vocab: usize, // most distinct ids
}

impl<B: Backend> Grad<B> {
    fn new<M: Model<B>>(be: &B, model: &M, field: Field, max_rows: usize) -> Result<Self> {
        let (embedding, width) = (model.embedding(), model.embedding().dim());
        let vocab = match field.source {
            Source::Numeric(_) => 1,
            Source::Rows(t) | Source::Bags(t) => embedding.tables()[t].rows,
        };
        let ids = max_rows.min(vocab);
        Ok(Self { field, width, buf: be.alloc(ids * width)?, ids, vocab })
    }

    /// Lists have no bound: makes room for the gradients of the distinct ids of the batch at hand.
    fn reserve(&mut self, be: &B, ids: usize) -> Result<()> {
        if ids > self.ids {
            self.ids = ids.next_power_of_two().min(self.vocab);
            self.buf = be.alloc(self.ids * self.width)?;
        }
        Ok(())
    }

    fn mat_mut(&mut self, ids: usize) -> MatMut<'_, B::Buf> {
        MatMut::new(&mut self.buf, ids, self.width)
    }

    /// Writes the gradient of a numeric field to those of the dense parameters.
    fn write_numeric(&self, be: &B, grads: &mut Flat<B>) {
        if let Source::Numeric(w) = self.field.source {
            be.copy(grads.mat_mut(w), Write::Set, Mat::new(&self.buf, 1, self.width));
        }
    }
}
