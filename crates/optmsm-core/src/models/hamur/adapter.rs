//! An adapter of HAMUR: twice down to k, through the matrix of the row and up again, then a normalization.

use crate::backend::{Backend, Groups, Mat, MatMut, Products, Write};
use crate::error::Result;
use crate::layers::ScenarioLinear;
use crate::model::{Builder, Cx};
use crate::params::{Flat, Init, ParamId, Tensor};

/// ε of the normalization.
const EPS: f64 = 1e-5;

/// h + γ_s ⊙ LN(V'_s Iᵀ U'_s a + c'_s) + β_s with a = σ(V_s Iᵀ U_s h + c_s), for rows of scenario s with their
/// matrices I.
#[derive(Clone, Debug)]
pub(super) struct Adapter {
    down: [ScenarioLinear; 2], // U, U', [S, k, width]
    up: [ScenarioLinear; 2],   // V, V', [S, width, k]
    scale: ParamId,            // γ, [S, width]
    shift: ParamId,            // β, [S, width]
    scenarios: usize,
    width: usize,
    rank: usize, // k
}

/// Packed weights.
#[derive(Debug)]
pub(super) struct AdapterPrepared<B: Backend> {
    down: [B::Packed; 2],
    up: [B::Packed; 2],
    zero: Tensor<B>, // in the place of a shift, [S, width]
}

/// Activations of an adapter that a block keeps.
#[derive(Debug)]
pub(super) struct AdapterActivations<B: Backend> {
    passes: [Pass<B>; 2],
    a: Tensor<B>,       // [rows, width]
    d_a: Tensor<B>,     // [rows, width]
    b: Tensor<B>, // what σ, then what the normalization is made from, then the gradient of that, [rows, width]
    x_hat: Tensor<B>, // [rows, width]
    inv_std: Tensor<B>, // [rows, 1]
}

/// Down and through the matrix.
#[derive(Debug)]
struct Pass<B: Backend> {
    t: Tensor<B>,       // [rows, k]
    d_t: Tensor<B>,     // [rows, k]
    mixed: Tensor<B>,   // Iᵀ t, [rows, k]
    d_mixed: Tensor<B>, // [rows, k]
}

impl Adapter {
    /// `{name}.down.{i}`, `{name}.up.{i}` and `{name}.norm`; γ starts at 1, β at 0.
    pub(super) fn new(build: &mut Builder, name: &str, width: usize, rank: usize) -> Self {
        let (s, params) = (build.scenarios(), &mut build.params);
        let down = [0, 1]
            .map(|i| ScenarioLinear::without_bias(params, &format!("{name}.down.{i}"), s, [width, rank]));
        let up =
            [0, 1].map(|i| ScenarioLinear::new(params, &format!("{name}.up.{i}"), s, [rank, width], false));
        let scale = params.add(format!("{name}.norm.weight"), &[s, width], Init::One);
        let shift = params.add(format!("{name}.norm.bias"), &[s, width], Init::Zero);
        Self { down, up, scale, shift, scenarios: s, width, rank }
    }

    /// γ, `[S, width]`.
    pub(super) fn scale(&self) -> ParamId {
        self.scale
    }

    /// Room for the packed weights.
    pub(super) fn alloc<B: Backend>(&self, be: &B, training: bool) -> Result<AdapterPrepared<B>> {
        let (used, s) = (Products::of(training), if training { self.scenarios } else { 0 });
        Ok(AdapterPrepared {
            down: [self.down[0].alloc(be, used)?, self.down[1].alloc(be, used)?],
            up: [self.up[0].alloc(be, used)?, self.up[1].alloc(be, used)?],
            zero: Tensor::new(be, s, self.width)?,
        })
    }

    /// Packs the weights.
    pub(super) fn pack<B: Backend>(&self, be: &B, p: &mut AdapterPrepared<B>, params: &Flat<B>) {
        self.down.iter().zip(&mut p.down).for_each(|(l, w)| l.pack(be, w, params));
        self.up.iter().zip(&mut p.up).for_each(|(l, w)| l.pack(be, w, params));
    }

    /// Memory for `rows` rows.
    pub(super) fn activations<B: Backend>(
        &self,
        be: &B,
        rows: usize,
        training: bool,
    ) -> Result<AdapterActivations<B>> {
        let back = if training { rows } else { 0 };
        let wide = |rows: usize| Tensor::new(be, rows, self.width);
        let pass = || -> Result<Pass<B>> {
            let of_rank = |rows: usize| Tensor::new(be, rows, self.rank);
            Ok(Pass {
                t: of_rank(rows)?,
                d_t: of_rank(back)?,
                mixed: of_rank(rows)?,
                d_mixed: of_rank(back)?,
            })
        };
        Ok(AdapterActivations {
            passes: [pass()?, pass()?],
            a: wide(rows)?,
            d_a: wide(back)?,
            b: wide(rows)?,
            x_hat: wide(rows)?,
            inv_std: Tensor::new(be, rows, 1)?,
        })
    }

    /// out `[rows, width]` of h and the rows' matrices `[rows, k·k]`.
    pub(super) fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        mut out: MatMut<B::Buf>,
        act: &mut AdapterActivations<B>,
        h: Mat<B::Buf>,
        matrix: Mat<B::Buf>,
        p: &AdapterPrepared<B>,
    ) {
        let (Cx { be, params, x }, n) = (cx, h.rows);
        let AdapterActivations { passes, a, b, x_hat, inv_std, .. } = act;
        self.pass(cx, 0, b.mat_mut(n), &mut passes[0], h, matrix, p);
        be.sigmoid(a.mat_mut(n), b.mat(n));
        self.pass(cx, 1, b.mat_mut(n), &mut passes[1], a.mat(n), matrix, p);
        be.layer_norm(x_hat.mat_mut(n), inv_std.mat_mut(n), b.mat(n), EPS);
        be.affine(out.again(), x_hat.mat(n), params.mat(self.scale), params.mat(self.shift), x.groups);
        be.copy(out, Write::Add, h);
    }

    /// out = V Iᵀ U x + c, the factors of pass `i`.
    #[allow(clippy::too_many_arguments)] // state and inputs of a pass
    fn pass<B: Backend>(
        &self,
        cx: Cx<B>,
        i: usize,
        out: MatMut<B::Buf>,
        pass: &mut Pass<B>,
        x: Mat<B::Buf>,
        matrix: Mat<B::Buf>,
        p: &AdapterPrepared<B>,
    ) {
        let n = x.rows;
        self.down[i].forward(cx, pass.t.mat_mut(n), x, &p.down[i]);
        // Rows of I weighed by t: a gate over k vectors of width k.
        cx.be.mix(pass.mixed.mat_mut(n), pass.t.mat(n), matrix);
        self.up[i].forward(cx, out, pass.mixed.mat(n), &p.up[i]);
    }

    /// Adds to the gradients of the parameters, writes that of the matrices, and takes d from the gradient of the
    /// output to that of h.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub(super) fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        mut d: MatMut<B::Buf>,
        act: &mut AdapterActivations<B>,
        h: Mat<B::Buf>,
        (matrix, mut d_matrix, write): (Mat<B::Buf>, MatMut<B::Buf>, Write),
        p: &AdapterPrepared<B>,
    ) {
        let (Cx { be, params, x }, n) = (cx, h.rows);
        let AdapterActivations { passes, a, d_a, b, x_hat, inv_std } = act;
        // forward: out = h + γ_s ⊙ x̂ + β_s with x̂ = LN(b)
        let rows = Groups::Rows(x.groups);
        be.col_sum(grads.mat_mut(self.shift), Write::Add, d.as_mat(), rows);
        be.col_dot(grads.mat_mut(self.scale), Write::Add, d.as_mat(), x_hat.mat(n), rows);
        let (scale, zero) = (params.mat(self.scale), p.zero.mat(self.scenarios));
        be.affine(b.mat_mut(n), d.as_mat(), scale, zero, x.groups);
        be.layer_norm_bwd(b.mat_mut(n), x_hat.mat(n), inv_std.mat(n));
        let (d_x, d_own) = ((d_a.mat_mut(n), Write::Set), (d_matrix.again(), write));
        self.pass_backward(cx, grads, 1, d_x, d_own, b.mat(n), &mut passes[1], a.mat(n), matrix, p);
        be.sigmoid_bwd(d_a.mat_mut(n), a.mat(n));
        let (d_x, d_own) = ((d.again(), Write::Add), (d_matrix, Write::Add));
        self.pass_backward(cx, grads, 0, d_x, d_own, d_a.mat(n), &mut passes[0], h, matrix, p);
    }

    /// Backward of one pass, out = V Iᵀ t + c with t = U x.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    fn pass_backward<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        i: usize,
        d_x: (MatMut<B::Buf>, Write),
        (d_matrix, write): (MatMut<B::Buf>, Write),
        d_out: Mat<B::Buf>,
        pass: &mut Pass<B>,
        x: Mat<B::Buf>,
        matrix: Mat<B::Buf>,
        p: &AdapterPrepared<B>,
    ) {
        let n = x.rows;
        let d_mixed = (pass.d_mixed.mat_mut(n), Write::Set);
        self.up[i].backward(cx, grads, d_mixed, None, d_out, pass.mixed.mat(n), &p.up[i]);
        let (d_t, d_mixed) = (pass.d_t.mat_mut(n), pass.d_mixed.mat(n));
        cx.be.mix_bwd(d_t, d_matrix, write, d_mixed, pass.t.mat(n), matrix);
        self.down[i].backward(cx, grads, d_x, None, pass.d_t.mat(n), x, &p.down[i]);
    }
}
