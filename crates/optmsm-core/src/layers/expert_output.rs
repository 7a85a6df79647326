//! What the experts' outputs are made of: their last layer with a ReLU, as it is, or normalized (model.md §2;
//! docs/derivations.md#experts).

use crate::backend::{Backend, Mat, MatMut};
use crate::config::Activation;
use crate::error::Result;
use crate::params::Tensor;

/// ε of the normalization.
const EPS: f64 = 1e-5;

/// e_k of the last layer's y_k, for experts that lie side by side in `[rows, K·m]`.
#[derive(Clone, Copy, Debug)]
pub struct ExpertOutput {
    activation: Activation,
    count: usize, // K
    width: usize, // m
}

/// Activations of one block; empty where nothing is normalized.
#[derive(Debug)]
pub struct ExpertOutputActivations<B: Backend> {
    y: Tensor<B>,       // [rows, K·m]
    inv_std: Tensor<B>, // [rows, K]
}

impl ExpertOutput {
    /// Of `count` experts of `width` columns.
    pub fn new(activation: Activation, count: usize, width: usize) -> Self {
        Self { activation, count, width }
    }

    fn normalizes(self) -> bool {
        self.activation == Activation::Normalized
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(self, be: &B, rows: usize) -> Result<ExpertOutputActivations<B>> {
        let rows = if self.normalizes() { rows } else { 0 };
        let (y, inv_std) =
            (Tensor::new(be, rows, self.count * self.width)?, Tensor::new(be, rows, self.count)?);
        Ok(ExpertOutputActivations { y, inv_std })
    }

    /// Sets e `[rows, K·m]`, the last layer's output being what `experts` writes.
    pub fn forward<B: Backend>(
        self,
        be: &B,
        mut e: MatMut<B::Buf>,
        act: &mut ExpertOutputActivations<B>,
        experts: impl FnOnce(MatMut<B::Buf>),
    ) {
        if !self.normalizes() {
            return experts(e);
        }
        let (n, m) = (e.rows, self.width);
        experts(act.y.mat_mut(n));
        for k in 0..self.count {
            let (e_k, y_k) = (e.again().cols(k * m, m), act.y.mat(n).cols(k * m, m));
            be.layer_norm(e_k, act.inv_std.mat_mut(n).cols(k, 1), y_k, EPS);
        }
    }

    /// Whether a ReLU made e.
    pub fn is_relu(self) -> bool {
        self.activation == Activation::Relu
    }

    /// Makes of the gradient of e that of what the last layer's linear map gave.
    pub fn backward<B: Backend>(
        self,
        be: &B,
        mut d_e: MatMut<B::Buf>,
        act: &ExpertOutputActivations<B>,
        e: Mat<B::Buf>,
    ) {
        match self.activation {
            Activation::Relu => be.relu_bwd(d_e, e),
            Activation::Linear => {}
            Activation::Normalized => {
                let (n, m) = (e.rows, self.width);
                for k in 0..self.count {
                    let inv_std = act.inv_std.mat(n).cols(k, 1);
                    be.layer_norm_bwd(d_e.again().cols(k * m, m), e.cols(k * m, m), inv_std);
                }
            }
        }
    }
}
