//! The left factor of a generated layer.

use crate::backend::{Backend, Epilogue, Groups, Layout, Mat, Products, Write};
use crate::error::Result;
use crate::model::{Builder, Grads};
use crate::params::{Flat, Init, ParamId, Tensor};

/// P `[in, r]`: a parameter, or over-parameterized the product P' P'' of two, which is made once per step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    of: Of,
    inputs: usize,
    rank: usize,
}

#[derive(Clone, Copy, Debug)]
enum Of {
    One(ParamId),
    /// P' `[in, k]`, P'' `[k, r]`, and the gradient of their product.
    Two {
        outer: ParamId,
        inner: ParamId,
        k: usize,
        d: ParamId,
    },
}

/// P, packed.
#[derive(Debug)]
pub(super) struct LeftPrepared<B: Backend> {
    pub(super) packed: B::Packed,
    inner: B::Packed,   // P'', of two
    product: Tensor<B>, // P' P'', of two, [in, r]
}

impl Left {
    /// `{name}`, or with `k` above 0 `{name}.outer` and `{name}.inner`.
    pub(super) fn new(build: &mut Builder, name: &str, [inputs, rank]: [usize; 2], k: usize) -> Self {
        let (Builder { params, derived, once, .. }, start) =
            (build, Init::Normal((2.0 / inputs as f64).sqrt()));
        let of = match k {
            0 => Of::One(params.add(name, &[inputs, rank], start)),
            k => {
                let outer = params.add(format!("{name}.outer"), &[inputs, k], start);
                let init = Init::Normal((1.0 / k as f64).sqrt());
                let inner = params.add(format!("{name}.inner"), &[k, rank], init);
                once.extend([outer, inner]);
                Of::Two { outer, inner, k, d: derived.add(name, &[inputs, rank], Init::Zero) }
            }
        };
        Self { of, inputs, rank }
    }

    /// Room for the packed weights.
    pub(super) fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<LeftPrepared<B>> {
        let (k, rows) = match self.of {
            Of::One(_) => (0, 0),
            Of::Two { k, .. } => (k, self.inputs),
        };
        Ok(LeftPrepared {
            packed: be.alloc_packed(1, self.rank, self.inputs, used)?,
            inner: be.alloc_packed(1, self.rank, k, used)?,
            product: Tensor::new(be, rows, self.rank)?,
        })
    }

    /// Multiplies and packs.
    pub(super) fn pack<B: Backend>(&self, be: &B, p: &mut LeftPrepared<B>, params: &Flat<B>) {
        let left = match self.of {
            Of::One(left) => params.mat(left),
            Of::Two { outer, inner, .. } => {
                be.pack(&mut p.inner, params.mat(inner), Layout::InOut);
                let product = p.product.mat_mut(self.inputs);
                be.linear(product, params.mat(outer), &p.inner, Groups::One(0), Epilogue::NONE);
                p.product.mat(self.inputs)
            }
        };
        be.pack(&mut p.packed, left, Layout::InOut);
    }

    /// P `[in, r]`, as [`Left::pack`] read or made it.
    pub(super) fn mat<'a, B: Backend>(&self, p: &'a LeftPrepared<B>, params: &'a Flat<B>) -> Mat<'a, B::Buf> {
        match self.of {
            Of::One(left) => params.mat(left),
            Of::Two { .. } => p.product.mat(self.inputs),
        }
    }

    /// forward: a = h P. Adds to the gradient of P, or to that of the product.
    pub(super) fn backward<B: Backend>(
        &self,
        be: &B,
        Grads { dense, derived }: &mut Grads<B>,
        d_a: Mat<B::Buf>,
        h: Mat<B::Buf>,
    ) {
        let d_p = match self.of {
            Of::One(left) => dense.mat_mut(left),
            Of::Two { d, .. } => derived.mat_mut(d),
        };
        be.linear_dw(d_p, Write::Add, h, d_a, Groups::One(0));
    }

    /// From the gradient of the product, summed over the batch, to those of its factors. Once per step.
    pub(super) fn finish<B: Backend>(
        &self,
        be: &B,
        Grads { dense, derived }: &mut Grads<B>,
        p: &LeftPrepared<B>,
        params: &Flat<B>,
    ) {
        if let Of::Two { outer, inner, d, .. } = self.of {
            // forward: P = P' P'', so d_P' = d_P P''ᵀ and d_P'' = P'ᵀ d_P
            let d_p = derived.mat(d);
            be.linear_dx(dense.mat_mut(outer), Write::Set, d_p, &p.inner, Groups::One(0), None);
            be.linear_dw(dense.mat_mut(inner), Write::Set, params.mat(outer), d_p, Groups::One(0));
        }
    }
}
