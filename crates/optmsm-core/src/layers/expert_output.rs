//! Function behind the experts' last layer: a ReLU, nothing, or layer normalization (model.md §2;
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
    inv_std: Tensor<B>, // [rows·K, 1]
}

impl ExpertOutput {
    /// Of `count` experts of `width` columns.
    pub fn new(activation: Activation, count: usize, width: usize) -> Self {
        Self { activation, count, width }
    }

    /// Whether a ReLU made e.
    pub fn is_relu(self) -> bool {
        self.activation == Activation::Relu
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(self, be: &B, rows: usize) -> Result<ExpertOutputActivations<B>> {
        let rows = if self.activation == Activation::Normalized { rows } else { 0 };
        let (y, inv_std) =
            (Tensor::new(be, rows, self.count * self.width)?, Tensor::new(be, rows * self.count, 1)?);
        Ok(ExpertOutputActivations { y, inv_std })
    }

    /// Sets e `[rows, K·m]` of `rows` rows; `experts` writes what their last layer gives, after its ReLU if it has one.
    pub fn forward<B: Backend>(
        self,
        be: &B,
        e: &mut Tensor<B>,
        act: &mut ExpertOutputActivations<B>,
        rows: usize,
        experts: impl FnOnce(MatMut<B::Buf>),
    ) {
        match self.activation {
            Activation::Relu | Activation::Linear => experts(e.mat_mut(rows)),
            Activation::Normalized => {
                experts(act.y.mat_mut(rows));
                // The experts' outputs lie one behind the other, so that each is a row of [rows·K, m].
                let (each, m) = (rows * self.count, self.width);
                let e = MatMut::new(e.buf_mut(), each, m);
                be.layer_norm(e, act.inv_std.mat_mut(each), Mat::new(act.y.buf(), each, m), EPS);
            }
        }
    }

    /// Makes of the gradient of e `[rows, K·m]` that of what the last layer's linear map gave.
    pub fn backward<B: Backend>(
        self,
        be: &B,
        d_e: &mut Tensor<B>,
        act: &ExpertOutputActivations<B>,
        e: &Tensor<B>,
        rows: usize,
    ) {
        match self.activation {
            Activation::Relu => be.relu_bwd(d_e.mat_mut(rows), e.mat(rows)),
            Activation::Linear => {}
            Activation::Normalized => {
                let (each, m) = (rows * self.count, self.width);
                let d_e = MatMut::new(d_e.buf_mut(), each, m);
                be.layer_norm_bwd(d_e, Mat::new(e.buf(), each, m), act.inv_std.mat(each));
            }
        }
    }
}
