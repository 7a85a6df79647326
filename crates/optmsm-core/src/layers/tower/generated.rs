//! One generated layer: its parameters, and what is packed and kept for it.

use crate::backend::{Backend, Layout, Mat, Products};
use crate::config::{Condition, HyperConfig};
use crate::error::Result;
use crate::layers::Linear;
use crate::params::{Flat, Init, ParamId, ParamLayout, Tensor};

/// Generates W (rank 0) or C (rank r) and b of one tower layer.
#[derive(Clone, Debug)]
pub(super) struct Generated {
    /// t → r·r or out·in: A_l, a_l.
    pub(super) weight: Linear,
    /// t → out: D_l, d_l.
    pub(super) shift: Linear,
    /// P_l `[in, r]` and Q_l `[r, out]`, when r > 0.
    pub(super) factors: Option<(ParamId, ParamId)>,
    /// Gradients of what a step generated: C_s Q `[S, r·out]` or W_s `[S, out·in]`, and b_s `[S, out]`.
    pub(super) d_generated: Option<(ParamId, ParamId)>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) rank: usize,
    pub(super) relu: bool,
    pub(super) scenarios: usize,
    trunk: usize,
}

/// Packed weights of one layer.
#[derive(Debug)]
pub(super) struct GeneratedPacked<B: Backend> {
    /// A_l: one group under `scenario`; under `instance` r groups of `[r, t]`, or out groups of `[in, t]`.
    pub(super) weight: B::Packed,
    pub(super) shift: B::Packed,
    pub(super) left: B::Packed,
    pub(super) right: B::Packed,
    /// `scenario`: S groups of C_s Q `[r, out]`, or W_s `[out, in]`.
    pub(super) towers: B::Packed,
    pub(super) core: Tensor<B>,    // [S, r·r] or [S, out·in]
    pub(super) product: Tensor<B>, // C_s Q, [S, r·out]
    pub(super) bias: Tensor<B>,    // [S, out]
}

/// What a block keeps of one layer.
#[derive(Debug)]
pub(super) struct GeneratedActivations<B: Backend> {
    pub(super) a: Tensor<B>,      // h P, [rows, r]
    pub(super) d_a: Tensor<B>,    // [rows, r]
    pub(super) c: Tensor<B>,      // instance: a C, [rows, r]
    pub(super) d_c: Tensor<B>,    // instance: [rows, r]
    pub(super) column: Tensor<B>, // instance: one generated row, [rows, r] or [rows, in]
    pub(super) shift: Tensor<B>,  // instance: b(u), [rows, out]
}

impl Generated {
    pub(super) fn new(
        params: &mut ParamLayout,
        derived: &mut ParamLayout,
        l: usize,
        [inputs, outputs]: [usize; 2],
        relu: bool,
        hyper: &HyperConfig,
        scenarios: usize,
    ) -> Self {
        let (t, rank) = (hyper.trunk, hyper.rank.min(inputs).min(outputs));
        let std = |fan_in: usize| Init::Normal((2.0 / fan_in as f64).sqrt());
        let (weight, factors) = if rank > 0 {
            let core = Linear::with_init(
                params,
                &format!("tower.{l}.core"),
                [t, rank * rank],
                false,
                std(t * rank),
                Init::Identity(rank),
            );
            let left = params.add(format!("tower.{l}.left"), &[inputs, rank], std(inputs));
            let right = params.add(format!("tower.{l}.right"), &[rank, outputs], std(rank));
            (core, Some((left, right)))
        } else {
            let name = format!("tower.{l}.full");
            let shape = [t, outputs * inputs];
            (Linear::with_init(params, &name, shape, false, std(t * inputs), Init::Zero), None)
        };
        let shift_init = Init::Normal((0.2 / t as f64).sqrt());
        let shift = Linear::with_init(
            params,
            &format!("tower.{l}.shift"),
            [t, outputs],
            false,
            shift_init,
            Init::Zero,
        );
        let rows = if rank > 0 { rank } else { inputs };
        let d_generated = (hyper.condition == Condition::Scenario).then(|| {
            let weight =
                derived.add(format!("tower.{l}.generated"), &[scenarios, rows * outputs], Init::Zero);
            (weight, derived.add(format!("tower.{l}.bias"), &[scenarios, outputs], Init::Zero))
        });
        Self { weight, shift, factors, d_generated, inputs, outputs, rank, relu, scenarios, trunk: t }
    }

    /// Rows and columns of a generated matrix as stored: `[r, r]`, or `[out, in]`.
    pub(super) fn generated_shape(&self) -> (usize, usize) {
        if self.rank > 0 { (self.rank, self.rank) } else { (self.outputs, self.inputs) }
    }

    pub(super) fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<GeneratedPacked<B>> {
        let scenario = self.d_generated.is_some();
        let s = if scenario { self.scenarios } else { 0 };
        let (rows, cols) = self.generated_shape();
        let weight = match scenario {
            true => self.weight.alloc(be, used)?,
            false => be.alloc_packed(rows, cols, self.trunk, used)?,
        };
        let inputs = if self.rank > 0 { self.rank } else { self.inputs };
        let towers = be.alloc_packed(s, self.outputs, inputs, used)?;
        Ok(GeneratedPacked {
            weight,
            shift: self.shift.alloc(be, used)?,
            left: be.alloc_packed(1, self.rank, self.inputs, used)?,
            right: be.alloc_packed(1, self.outputs, self.rank, used)?,
            towers,
            core: Tensor::new(be, s, rows * cols)?,
            product: Tensor::new(be, s, self.rank * self.outputs)?,
            bias: Tensor::new(be, s, self.outputs)?,
        })
    }

    pub(super) fn activations<B: Backend>(
        &self,
        be: &B,
        rows: usize,
        training: bool,
    ) -> Result<GeneratedActivations<B>> {
        let own = if self.d_generated.is_some() { 0 } else { rows };
        let grad = |rows: usize| if training { rows } else { 0 };
        let r = self.rank;
        Ok(GeneratedActivations {
            a: Tensor::new(be, rows, r)?,
            d_a: Tensor::new(be, grad(rows), r)?,
            c: Tensor::new(be, own, r)?,
            d_c: Tensor::new(be, grad(own), r)?,
            column: Tensor::new(be, own, self.generated_shape().1)?,
            shift: Tensor::new(be, own, self.outputs)?,
        })
    }

    /// Packs the parameters.
    pub(super) fn pack<B: Backend>(&self, be: &B, p: &mut GeneratedPacked<B>, params: &Flat<B>) {
        // The rows of A_l are in the order that both groupings need.
        self.weight.pack(be, &mut p.weight, params);
        self.shift.pack(be, &mut p.shift, params);
        if let Some((left, right)) = self.factors {
            be.pack(&mut p.left, params.mat(left), Layout::InOut);
            be.pack(&mut p.right, params.mat(right), Layout::InOut);
        }
    }

    /// Rows `i` of A_l that generate row `i` of the matrix: `[cols, t]`.
    pub(super) fn row_group(&self, i: usize) -> (usize, usize) {
        let cols = self.generated_shape().1;
        (i * cols, cols)
    }

    /// a_l as `[rows, cols]`: one bias row a generated row.
    pub(super) fn bias_rows<'a, B: Backend>(&self, params: &'a Flat<B>) -> Mat<'a, B::Buf> {
        params.mat_as(self.weight.bias, self.generated_shape().0)
    }
}
