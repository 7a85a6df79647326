//! `condition = "instance"`: weights of every row, a generated row at a time, so that memory stays O(rows · width).
//!
//! C(u) is never stored: `c_j = Σ_i a_i (A_i u + a_i)_j` goes over its rows.

use super::generated::{GeneratedActivations, GeneratedLinear, GeneratedPrepared};
use crate::backend::{Backend, Epilogue, Groups, Mat, MatMut, Write};
use crate::model::{Cx, Grads};
use crate::params::Flat;

impl GeneratedLinear {
    /// y = ReLU?(((h P) C(u)) Q + b(u)), or ReLU?(h W(u)ᵀ + b(u)), with u `[rows, t]`.
    pub(super) fn forward_instance<B: Backend>(
        &self,
        Cx { be, params, .. }: Cx<B>,
        mut y: MatMut<B::Buf>,
        act: &mut GeneratedActivations<B>,
        h: Mat<B::Buf>,
        u: Mat<B::Buf>,
        p: &GeneratedPrepared<B>,
    ) {
        let n = h.rows;
        if let Some(left) = &p.left {
            be.linear(act.a.mat_mut(n), h, &left.packed, Groups::One(0), Epilogue::NONE);
            for i in 0..self.rank {
                self.generate_row(be, act.column.mat_mut(n), i, u, p, params);
                // c = Σ_i a_i · C[i, :]
                let write = if i == 0 { Write::Set } else { Write::Add };
                be.row_scale(act.c.mat_mut(n), write, act.a.mat(n).cols(i, 1), act.column.mat(n));
            }
            be.linear(y.again(), act.c.mat(n), &p.right, Groups::One(0), Epilogue::NONE);
        } else {
            for o in 0..self.outputs {
                self.generate_row(be, act.column.mat_mut(n), o, u, p, params);
                be.row_dot(y.again().cols(o, 1), Write::Set, h, act.column.mat(n));
            }
        }
        self.shift.forward(be, act.shift.mat_mut(n), u, &p.shift, params);
        be.copy(y.again(), Write::Add, act.shift.mat(n));
        if self.relu {
            be.relu(y);
        }
    }

    /// Row `i` of every row's own generated matrix.
    fn generate_row<B: Backend>(
        &self,
        be: &B,
        out: MatMut<B::Buf>,
        i: usize,
        u: Mat<B::Buf>,
        p: &GeneratedPrepared<B>,
        params: &Flat<B>,
    ) {
        let then = Epilogue { bias: Some(self.bias_rows(params)), relu: false };
        be.linear(out, u, &p.weight, Groups::One(i), then);
    }

    /// Sets d_h (before the ReLU that made h when `relu` is h), adds to d_u and to the gradients.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub(super) fn backward_instance<B: Backend>(
        &self,
        Cx { be, params, .. }: Cx<B>,
        grads: &mut Grads<B>,
        mut d_h: MatMut<B::Buf>,
        d_y: Mat<B::Buf>,
        act: &mut GeneratedActivations<B>,
        (h, relu): (Mat<B::Buf>, Option<Mat<B::Buf>>),
        (u, mut d_u): (Mat<B::Buf>, MatMut<B::Buf>),
        p: &GeneratedPrepared<B>,
    ) {
        let (n, whole) = (h.rows, Groups::One(0));
        // forward: b(u) = D u + d
        self.shift.parameters_backward(be, (&mut grads.dense, Write::Add), d_y, u);
        be.linear_dx(d_u.again(), Write::Add, d_y, &p.shift, whole, None);
        let (Some((left, right)), Some(own)) = (self.factors, &p.left) else {
            for o in 0..self.outputs {
                // forward: y_o = h · W[o, :], so d_h += d_y_o W[o, :] and d_W[o, :] = d_y_o h
                let d_y_o = d_y.cols(o, 1);
                self.generate_row(be, act.column.mat_mut(n), o, u, p, params);
                let write = if o == 0 { Write::Set } else { Write::Add };
                be.row_scale(d_h.again(), write, d_y_o, act.column.mat(n));
                be.row_scale(act.column.mat_mut(n), Write::Set, d_y_o, h);
                self.generate_row_bwd(be, &mut grads.dense, d_u.again(), act.column.mat(n), o, u, p);
            }
            if let Some(h) = relu {
                be.relu_bwd(d_h, h);
            }
            return;
        };
        // forward: a = h P, c = a C(u), y = c Q + b(u)
        be.linear_dw(grads.dense.mat_mut(right), Write::Add, act.c.mat(n), d_y, whole);
        be.linear_dx(act.d_c.mat_mut(n), Write::Set, d_y, &p.right, whole, None);
        for i in 0..self.rank {
            // forward: c = Σ_i a_i C[i, :], so d_a_i = d_c · C[i, :] and d_C[i, :] = a_i d_c
            self.generate_row(be, act.column.mat_mut(n), i, u, p, params);
            be.row_dot(act.d_a.mat_mut(n).cols(i, 1), Write::Set, act.d_c.mat(n), act.column.mat(n));
            be.row_scale(act.column.mat_mut(n), Write::Set, act.a.mat(n).cols(i, 1), act.d_c.mat(n));
            self.generate_row_bwd(be, &mut grads.dense, d_u.again(), act.column.mat(n), i, u, p);
        }
        left.backward(be, grads, act.d_a.mat(n), h);
        be.linear_dx(d_h, Write::Set, act.d_a.mat(n), &own.packed, whole, relu);
    }

    /// forward: row_i = A_i u + a_i, with A_i `[cols, t]`.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    fn generate_row_bwd<B: Backend>(
        &self,
        be: &B,
        grads: &mut Flat<B>,
        d_u: MatMut<B::Buf>,
        d_row: Mat<B::Buf>,
        i: usize,
        u: Mat<B::Buf>,
        p: &GeneratedPrepared<B>,
    ) {
        let (first, cols) = self.row_group(i);
        let d_b = grads.offset(self.weight.bias) + first;
        let d_a = grads.mat_mut(self.weight.weight).rows(first, cols);
        be.linear_dw_bias(d_a, d_b, Write::Add, d_row, u, Groups::One(0));
        be.linear_dx(d_u, Write::Add, d_row, &p.weight, Groups::One(i), None);
    }
}
