//! Products first, for all rows and all fields of a reader at once: where they are nearly free, this leaves the fewest and
//! shortest sums. The embedded fields are still in the activations, as the batch was one block of one lane.

use super::Grad;
use crate::backend::{Backend, FieldSum, Groups, Layout, Mat, Products, Write};
use crate::error::Result;
use crate::lanes::{LaneGrads, Lanes};
use crate::model::{FirstLayer, Model, ModelSpec, Through};
use crate::params::Tensor;
use crate::runtime::Params;

/// All fields.
#[derive(Debug)]
pub(crate) struct Whole<B: Backend> {
    pub(super) fields: Vec<Grad<B>>,
    /// By field: where the first reader that reads it has it.
    first: Vec<Option<Read>>,
    /// Gradients by way of the other readers.
    parts: Vec<(Read, Grad<B>)>,
    /// By reader: memory of the linear ones.
    linear: Vec<Option<LinearPart<B>>>,
}

/// A field in a reader.
#[derive(Clone, Copy, Debug)]
struct Read {
    reader: usize,
    column: usize,
}

/// Memory of a linear reader.
#[derive(Debug)]
struct LinearPart<B: Backend> {
    first: FirstLayer,
    width: usize,      // Σ d, 0 without fields
    weight: B::Packed, // columns of the layer that read fields, N from Σ d
    d_e: Tensor<B>,    // [rows, Σ d]
}

impl<B: Backend> LinearPart<B> {
    fn new(be: &B, first: FirstLayer, width: usize, max_rows: usize) -> Result<Self> {
        let weight = be.alloc_packed(1, first.outputs, width, Products::Both)?;
        Ok(Self { first, width, weight, d_e: Tensor::new(be, max_rows, width)? })
    }
}

impl<B: Backend> Whole<B> {
    pub(super) fn new(be: &B, spec: &ModelSpec, fields: Vec<Grad<B>>, max_rows: usize) -> Result<Self> {
        let (mut first, mut parts, mut linear) = (vec![None; fields.len()], Vec::new(), Vec::new());
        for (number, reader) in spec.readers().iter().enumerate() {
            linear.push(match reader.through() {
                Through::Embedded => None,
                Through::Linear(layer) => Some(LinearPart::new(be, layer, reader.width(), max_rows)?),
            });
            for place in reader.places() {
                let read = Read { reader: number, column: place.column };
                match &mut first[place.field] {
                    none @ None => *none = Some(read),
                    Some(_) => parts.push((read, Grad::new(be, spec, place.field, max_rows)?)),
                }
            }
        }
        Ok(Self { fields, first, parts, linear })
    }

    /// Makes room for the gradients of as many distinct ids as `ids` says of a field.
    pub(super) fn reserve(&mut self, be: &B, ids: impl Fn(usize) -> usize) -> Result<()> {
        let grads = self.fields.iter_mut().chain(self.parts.iter_mut().map(|(_, grad)| grad));
        grads.into_iter().try_for_each(|grad| grad.reserve(be, ids(grad.field)))
    }

    /// Sets the gradients of all fields, of their columns of linear readers, and of these layers' biases.
    pub(super) fn backward<M: Model<B>>(
        &mut self,
        be: &B,
        model: &M,
        params: &Params<B>,
        lanes: &mut Lanes<B, M, LaneGrads<B>>,
        rows: usize,
    ) -> Result<()> {
        self.reserve(be, |field| lanes.inputs.columns[field].unique_count)?;
        let Self { fields, first, parts, linear } = self;
        let Some((work, inputs)) = lanes.first_mut() else { return Ok(()) };
        let (act, LaneGrads { grads, readers: left, .. }) = (&work.act, &mut work.grads);
        for (number, reader) in linear.iter_mut().enumerate() {
            let Some(LinearPart { first, width, weight, d_e }) = reader else { continue };
            // forward: y = e Wᵀ + b + …, so d_W = δᵀ e, d_b = Σ_rows δ and d_e = δ W
            let (n, delta) = (first.outputs, left[number].mat(rows));
            if *width == 0 {
                be.col_sum(grads.dense.mat_as_mut(first.bias, 1), Write::Set, delta, Groups::One(0));
                continue;
            }
            let (d_b, e) = (grads.dense.offset(first.bias), model.embedded(act, number, rows));
            let d_w = grads.dense.mat_as_mut(first.weight, n).cols(0, *width);
            be.linear_dw_bias(d_w, d_b, Write::Set, delta, e, Groups::One(0));
            be.pack(weight, params.dense.mat_as(first.weight, n).cols(0, *width), Layout::OutIn);
            be.linear_dx(d_e.mat_mut(rows), Write::Set, delta, weight, Groups::One(0), None);
        }
        let d_e = |reader: usize| -> Mat<'_, B::Buf> {
            linear[reader].as_ref().map_or_else(|| left[reader].mat(rows), |own| own.d_e.mat(rows))
        };
        let own = fields.iter_mut().zip(&*first).filter_map(|(grad, read)| read.map(|read| (read, grad)));
        let others = parts.iter_mut().map(|(read, grad)| (*read, grad));
        be.reduce_fields(own.chain(others).map(|(Read { reader, column }, grad)| {
            let (d_out, segments) =
                (d_e(reader).cols(column, grad.width), inputs.columns[grad.field].segments());
            FieldSum { g: grad.mat_mut(segments.count), segments, d_out }
        }));
        for (_, part) in &*parts {
            let ids = inputs.columns[part.field].unique_count;
            be.copy(fields[part.field].mat_mut(ids), Write::Add, part.mat(ids));
        }
        fields.iter().for_each(|field| field.write_numeric(be, &mut grads.dense));
        Ok(())
    }
}
