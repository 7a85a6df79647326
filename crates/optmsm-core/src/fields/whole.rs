//! Products first, for all rows and all fields of a role at once: where they are nearly free, this leaves the fewest and
//! shortest sums. The embedded fields are still in the activations, as the batch was one block of one lane.

use super::{FirstLayer, Grad};
use crate::backend::{Backend, FieldSum, Layout, Part, Products, Write};
use crate::config::Role;
use crate::error::Result;
use crate::model::Model;
use crate::params::Tensor;
use crate::runtime::{LaneGrads, Params, Runtime};

/// All fields.
#[derive(Debug)]
pub(crate) struct Whole<B: Backend> {
    pub(super) fields: Vec<Grad<B>>,
    roles: [OneRole<B>; 2],
}

/// All fields of a role.
#[derive(Debug)]
struct OneRole<B: Backend> {
    role: Role,
    first: FirstLayer,
    width: usize,      // Σ d, 0 without fields
    weight: B::Packed, // columns of the first layer that read fields, N from Σ d
    d_e: Tensor<B>,    // [rows, Σ d]
}

impl<B: Backend> Whole<B> {
    pub(super) fn new<M: Model<B>>(be: &B, model: &M, fields: Vec<Grad<B>>, max_rows: usize) -> Result<Self> {
        let one = |role| -> Result<OneRole<B>> {
            let (first, width) = (model.first_layer(role), model.embedding().width(role));
            let weight = be.alloc_packed(1, first.outputs, width, Products::Both)?;
            Ok(OneRole { role, first, width, weight, d_e: Tensor::new(be, max_rows, width)? })
        };
        Ok(Self { fields, roles: [one(Role::Shared)?, one(Role::Specific)?] })
    }

    /// Sets the gradients of all fields, of their columns of the first layers, and of these layers' biases.
    pub(super) fn backward<M: Model<B>>(
        &mut self,
        be: &B,
        model: &M,
        params: &Params<B>,
        runtime: &mut Runtime<B, M>,
        rows: usize,
    ) -> Result<()> {
        let Self { fields, roles } = self;
        let Some((act, LaneGrads { grads, d_first }, inputs)) = runtime.first_lane() else { return Ok(()) };
        for (field, column) in fields.iter_mut().zip(&inputs.columns) {
            field.reserve(be, column.unique_count)?;
        }
        for OneRole { role, first, width, weight, d_e } in roles.iter_mut() {
            // forward: y = e Wᵀ + b + …, so d_W = δᵀ e, d_b = Σ_rows δ and d_e = δ W
            let (n, delta) = (first.outputs, d_first[*role as usize].mat(rows));
            if *width == 0 {
                be.col_sum(grads.dense.mat_as_mut(first.bias, 1), Write::Set, delta, Part::Group(0));
                continue;
            }
            let (d_b, e) = (grads.dense.offset(first.bias), model.embedded(act, *role, rows));
            let d_w = grads.dense.mat_as_mut(first.weight, n).cols(0, *width);
            be.linear_dw_bias(d_w, d_b, Write::Set, delta, e, Part::Group(0));
            be.pack(weight, params.dense.mat_as(first.weight, n).cols(0, *width), Layout::OutIn);
            be.linear_dx(d_e.mat_mut(rows), Write::Set, delta, weight, Part::Group(0), None);
        }
        let sums = fields.iter_mut().zip(&inputs.columns).map(|(grad, column)| {
            let d_e = roles[grad.field.role as usize].d_e.mat(rows);
            let (d_out, segments) = (d_e.cols(grad.field.column, grad.width), column.segments());
            FieldSum { g: grad.mat_mut(segments.count), segments, d_out }
        });
        be.reduce_fields(sums);
        fields.iter().for_each(|field| field.write_numeric(be, &mut grads.dense));
        Ok(())
    }
}
