//! `condition = "scenario"`: weights of S scenarios, generated once per step.
//!
//! The core C_s and the right factor Q are multiplied once per scenario, so a row takes two products, `(h P)(C_s Q)`, not three.

use super::generated::{GeneratedActivations, GeneratedLinear, GeneratedPrepared};
use crate::backend::{Backend, Epilogue, Groups, Layout, Mat, MatMut, Write};
use crate::model::{Cx, Grads};
use crate::params::{Flat, ParamId, Tensor};

impl GeneratedLinear {
    /// From u `[S, t]` to every scenario's matrix and bias.
    pub(super) fn generate_scenarios<B: Backend>(
        &self,
        be: &B,
        p: &mut GeneratedPrepared<B>,
        u: Mat<B::Buf>,
        params: &Flat<B>,
    ) {
        let s = self.scenarios;
        self.weight.forward(be, p.core.mat_mut(s), u, &p.weight, params);
        self.shift.forward(be, p.bias.mat_mut(s), u, &p.shift, params);
        if self.rank > 0 {
            // All scenarios' C, one below the other, times Q.
            let core = Mat::new(p.core.buf(), s * self.rank, self.rank);
            let product = MatMut::new(p.product.buf_mut(), s * self.rank, self.outputs);
            be.linear(product, core, &p.right, Groups::One(0), Epilogue::NONE);
            be.pack(&mut p.generated, p.product.mat(s), Layout::InOut);
        } else {
            be.pack(&mut p.generated, p.core.mat(s), Layout::OutIn);
        }
    }

    /// y = ReLU?((h P)(C_s Q) + b_s), or ReLU?(h W_sᵀ + b_s).
    pub(super) fn forward_scenario<B: Backend>(
        &self,
        cx: Cx<B>,
        y: MatMut<B::Buf>,
        act: &mut GeneratedActivations<B>,
        h: Mat<B::Buf>,
        p: &GeneratedPrepared<B>,
    ) {
        let be = cx.be;
        let then = Epilogue { bias: Some(p.bias.mat(self.scenarios)), relu: self.relu };
        let mut x = h;
        if let Some(left) = &p.left {
            be.linear(act.a.mat_mut(h.rows), h, &left.packed, Groups::One(0), Epilogue::NONE);
            x = act.a.mat(h.rows);
        }
        be.linear(y, x, &p.generated, self.groups(cx), then);
    }

    /// Adds to the gradients of the generated weights in `derived`, and to that of P; sets d_h, before the ReLU that made h when
    /// `relu` is h.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub(super) fn backward_scenario<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        (d_weight, d_bias): (ParamId, ParamId),
        d_h: MatMut<B::Buf>,
        d_y: Mat<B::Buf>,
        act: &mut GeneratedActivations<B>,
        (h, relu): (Mat<B::Buf>, Option<Mat<B::Buf>>),
        p: &GeneratedPrepared<B>,
    ) {
        let (be, s, by) = (cx.be, self.scenarios, self.groups(cx));
        let derived = &mut grads.derived;
        be.col_sum(derived.mat_mut(d_bias), Write::Add, d_y, by);
        let (Some((left, _)), Some(own)) = (self.factors, &p.left) else {
            // forward: y = h W_sᵀ + b_s, so d_W_s = d_yᵀ h and d_h = d_y W_s
            be.linear_dw(derived.mat_as_mut(d_weight, s * self.outputs), Write::Add, d_y, h, by);
            be.linear_dx(d_h, Write::Set, d_y, &p.generated, by, relu);
            return;
        };
        // forward: a = h P, y = a (C_s Q) + b_s, so d_(C_s Q) = aᵀ d_y, d_a = d_y (C_s Q)ᵀ,
        // d_P = hᵀ d_a, d_h = d_a Pᵀ
        let (a, n) = (act.a.mat(h.rows), h.rows);
        be.linear_dw(derived.mat_as_mut(d_weight, s * self.rank), Write::Add, a, d_y, by);
        be.linear_dx(act.d_a.mat_mut(n), Write::Set, d_y, &p.generated, by, None);
        left.backward(be, grads, act.d_a.mat(n), h);
        be.linear_dx(d_h, Write::Set, act.d_a.mat(n), &own.packed, Groups::One(0), relu);
    }

    /// From the summed gradients of the generated weights to those of A, a, D, d, Q, and of u `[S, t]` before its ReLU.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub(super) fn finish_scenarios<B: Backend>(
        &self,
        be: &B,
        Grads { dense: grads, derived }: &mut Grads<B>,
        (d_weight, d_bias): (ParamId, ParamId),
        (mut d_u, mut write): (MatMut<B::Buf>, Write),
        d_core: &mut Tensor<B>,
        u: Mat<B::Buf>,
        p: &GeneratedPrepared<B>,
    ) {
        let s = self.scenarios;
        let d_vec = if let Some((_, right)) = self.factors {
            // forward: product = C Q, so d_Q = Cᵀ d_product and d_C = d_product Qᵀ
            let d_product = derived.mat_as(d_weight, s * self.rank);
            let core = Mat::new(p.core.buf(), s * self.rank, self.rank);
            be.linear_dw(grads.mat_mut(right), Write::Set, core, d_product, Groups::One(0));
            let d_c = MatMut::new(d_core.buf_mut(), s * self.rank, self.rank);
            be.linear_dx(d_c, Write::Set, d_product, &p.right, Groups::One(0), None);
            d_core.mat(s)
        } else {
            derived.mat(d_weight)
        };
        // forward: vec(C) = A u + a and b = D u + d. The gradient of b is there earlier.
        for (linear, d_y, w) in
            [(&self.shift, derived.mat(d_bias), &p.shift), (&self.weight, d_vec, &p.weight)]
        {
            linear.parameters_backward(be, (grads, Write::Set), d_y, u);
            be.linear_dx(d_u.again(), write, d_y, w, Groups::One(0), Some(u));
            write = Write::Add;
        }
    }
}
