//! Experts: K MLPs of one shape that read the same input (model.md §2; docs/derivations.md#experts).
//!
//! They lie side by side: `e = [e_1 … e_K]` is one matrix, of which expert k has columns `k·m..(k + 1)·m`.

use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::config::ExpertsConfig;
use crate::error::Result;
use crate::layers::mlp::MlpActivations;
use crate::layers::{Linear, Mlp};
use crate::model::{Builder, Cx, FirstLayer};
use crate::params::Flat;

/// e `[rows, K·m]` with e_k = E_k(x); every layer has ReLU (+ dropout), the last one unless it is [linear](Experts::to_linear_end).
#[derive(Clone, Debug)]
pub struct Experts {
    mlp: Mlp,
    count: usize, // K
}

impl Experts {
    /// Experts of x `[rows, inputs]`: layer i of all is `{name}.{i}`, its weight `[K, out, in]`.
    pub fn new(build: &mut Builder, name: &str, inputs: usize, config: &ExpertsConfig) -> Self {
        Self::reading(build, name, inputs, config, true)
    }

    /// Experts of x `[rows, K·inputs]`, each of its own columns.
    pub fn of_columns(build: &mut Builder, name: &str, inputs: usize, config: &ExpertsConfig) -> Self {
        Self::reading(build, name, inputs, config, false)
    }

    fn reading(build: &mut Builder, name: &str, inputs: usize, config: &ExpertsConfig, same: bool) -> Self {
        let count = config.count(build.scenarios());
        let mut inputs = inputs;
        let layer = |(i, &width): (usize, &usize)| {
            let shape = [std::mem::replace(&mut inputs, width), width];
            Linear::side_by_side(&mut build.params, &format!("{name}.{i}"), count, shape, same && i == 0)
        };
        let layers = config.hidden.iter().enumerate().map(layer).collect();
        let mlp = Mlp::of(layers).with_dropout(config.dropout, build.dropout_sites());
        Self { mlp, count }
    }

    /// The same as the layers of a linear reader: [`Mlp::reading_fields`].
    pub fn reading_fields(self) -> Self {
        Self { mlp: self.mlp.reading_fields(), ..self }
    }

    /// The same with no ReLU and no dropout behind the last layer.
    pub fn to_linear_end(self) -> Self {
        Self { mlp: self.mlp.to_linear_end(), ..self }
    }

    /// K.
    pub fn count(&self) -> usize {
        self.count
    }

    /// m: columns of one expert.
    pub fn width(&self) -> usize {
        self.mlp.width() / self.count
    }

    /// Names for an exhibit.
    pub fn names(&self) -> Vec<String> {
        (0..self.count).map(|k| format!("expert {k}")).collect()
    }

    /// The experts' first layers, as one map.
    pub fn first(&self) -> FirstLayer {
        self.mlp.first()
    }

    /// Room for packed weights, one per layer.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<Vec<B::Packed>> {
        self.mlp.alloc(be, used)
    }

    /// Packs the weights.
    pub fn pack<B: Backend>(&self, be: &B, packed: &mut [B::Packed], params: &Flat<B>) {
        self.mlp.pack(be, packed, params);
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(&self, be: &B, rows: usize, training: bool) -> Result<MlpActivations<B>> {
        self.mlp.activations(be, rows, training)
    }

    /// e `[rows, K·m]` of x `[rows, in]`.
    pub fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        e: MatMut<B::Buf>,
        act: &mut MlpActivations<B>,
        x: Mat<B::Buf>,
        packed: &[B::Packed],
    ) {
        self.mlp.forward(cx, e, act, x, packed);
    }

    /// [`Mlp::backward_to_fields`]: of experts that read fields.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn backward_to_fields<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        d_first: MatMut<B::Buf>,
        d_e: MatMut<B::Buf>,
        relu: Option<Mat<B::Buf>>,
        act: &mut MlpActivations<B>,
        packed: &[B::Packed],
    ) {
        self.mlp.backward_to_fields(cx, grads, d_first, d_e, relu, act, packed);
    }

    /// [`Mlp::backward`]: of experts that read another layer.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        d_x: (MatMut<B::Buf>, Write),
        x: (Mat<B::Buf>, bool),
        d_e: MatMut<B::Buf>,
        relu: Option<Mat<B::Buf>>,
        act: &mut MlpActivations<B>,
        packed: &[B::Packed],
    ) {
        self.mlp.backward(cx, grads, d_x, x, d_e, relu, act, packed);
    }
}
