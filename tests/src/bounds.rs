//! How far a backend's loss, gradients and steps may be from exact ones.
//!
//! A forward pass is at most [`Chain::products`] products in a row, each a sum of [`Chain::length`] terms. Such a sum
//! is off by at most `length · u` of the sum of their absolute values, u = 2⁻²⁴; where both operands are first rounded
//! with unit roundoff v, a term is off by 2v + v² of itself more. So to first order whatever is computed forward is off
//! by [`Chain::forward`] of its size, and the way back is as long a chain again, followed by a sum over rows. The size
//! of a gradient is that of the gradients of the rows alone, since rows may cancel and their errors do not.

use optmsm_core::backend::{Backend, Elem};
use optmsm_core::batch::Batch;
use optmsm_core::config::{InputSpec, ModelConfig};
use optmsm_core::gradcheck::Case;
use optmsm_core::learner::{Learner, LearnerConfig, StepLoss};
use optmsm_core::model::AnyModel;
use optmsm_core::models;
use optmsm_core::params::HostTensor;
use optmsm_core::philox::Stream;
use optmsm_core::reference::Reference;

/// u of f32.
pub const U: f64 = 1.0 / 16_777_216.0;

/// Draws of weights by which a batch is judged.
const DRAWS: u64 = 32;

/// The longest chain of roundings in a family of models, forward.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    /// Terms of a sum at most.
    pub length: f64,
    /// Products in a row at most.
    pub products: f64,
}

impl Chain {
    /// The fixtures' models.
    pub const FIXTURES: Self = Self { length: 40.0, products: 12.0 };
    /// The models of [`optmsm_core::gradcheck`].
    pub const CASES: Self = Self { length: 64.0, products: 16.0 };

    /// Relative error of a forward pass whose products round their operands with unit roundoff `v` (0: not at all).
    pub fn forward(self, v: f64) -> f64 {
        self.products * (self.length * U + 2.0 * v + v * v)
    }

    /// Relative error of a gradient that is summed over `rows` rows.
    pub fn gradient(self, v: f64, rows: usize) -> f64 {
        2.0 * self.forward(v) + rows as f64 * U
    }
}

/// Loss and gradients of a batch in `f64`, and the sizes that errors are relative to.
#[derive(Clone, Debug)]
pub struct Exact {
    /// Loss.
    pub loss: StepLoss,
    /// Size that an error of the loss is relative to: Σ |∂L/∂θ · θ| + L, rows taken alone.
    pub loss_scale: f64,
    /// Gradients by the names of the parameters; tables dense.
    pub gradients: Vec<HostTensor<f64>>,
    /// One per tensor: the mean over rows of the largest element of the row's own gradient.
    pub scales: Vec<f64>,
    rows: usize,
}

/// Tensors in `f64`.
pub fn wide<E: Elem>(tensors: &[HostTensor<E>]) -> Vec<HostTensor<f64>> {
    convert(tensors, Elem::wide)
}

/// Tensors in another type.
pub fn convert<T: Copy, V>(tensors: &[HostTensor<T>], to: impl Fn(T) -> V) -> Vec<HostTensor<V>> {
    let tensor = |t: &HostTensor<T>| HostTensor {
        name: t.name.clone(),
        shape: t.shape.clone(),
        data: t.data.iter().map(|&v| to(v)).collect(),
    };
    tensors.iter().map(tensor).collect()
}

/// The tensor of this name.
///
/// # Panics
/// When there is none.
pub fn named<'a, E>(tensors: &'a [HostTensor<E>], name: &str) -> &'a HostTensor<E> {
    tensors.iter().find(|t| t.name == name).unwrap_or_else(|| panic!("no tensor {name}"))
}

/// One row of a batch.
pub fn only(batch: &Batch, row: usize) -> Batch {
    let mut one = batch.clone();
    one.clear();
    one.push_row(batch, row);
    one
}

/// A batch of whose rows only this one counts in the loss.
fn weighing_only(batch: &Batch, row: usize) -> Batch {
    let weights = (0..batch.rows()).map(|r| if r == row { 1.0 } else { 0.0 }).collect();
    Batch { weights, ..batch.clone() }
}

/// A learner on the reference, in `f64`.
fn learner(
    config: &ModelConfig,
    input: &InputSpec,
    parameters: &[HostTensor<f64>],
    rows: usize,
) -> Learner<Reference<f64>, AnyModel<Reference<f64>>> {
    let model = models::build(config, input).unwrap();
    let mut learner = Learner::new(Reference::new(), model, LearnerConfig::default(), rows, 1).unwrap();
    learner.import(&parameters.to_vec()).unwrap();
    learner
}

impl Exact {
    /// Of a model without dropout, whose masks would depend on a row's place.
    ///
    /// Rows are taken alone as batches of one row. A model with batch statistics is another one on such a batch: there
    /// the whole batch is kept, and the other rows get the weight 0.
    ///
    /// # Panics
    /// When the model, the parameters or the batch do not fit each other.
    pub fn of(
        config: &ModelConfig,
        input: &InputSpec,
        parameters: &[HostTensor<f64>],
        batch: &Batch,
    ) -> Self {
        assert_eq!((config.experts.dropout, config.tower.dropout), (0.0, 0.0), "no dropout");
        let rows = batch.rows();
        let mut all = learner(config, input, parameters, rows);
        let (loss, gradients) = all.loss_and_gradients(batch).unwrap();
        let entropy_only = ModelConfig { orthogonality: 0.0, ..config.clone() };
        let mut entropy = learner(&entropy_only, input, parameters, rows);
        // Running statistics are the only parameters without a gradient.
        let batch_statistics = parameters.len() > gradients.len();
        let weight = |row: usize| batch.weights.get(row).map_or(1.0, |&w| f64::from(w));
        let total: f64 = (0..rows).map(weight).sum();
        let (mut loss_scale, mut scales) = (0.0, vec![0.0; gradients.len()]);
        for row in 0..rows {
            let mut one = if batch_statistics { weighing_only(batch, row) } else { only(batch, row) };
            if !batch_statistics {
                one.weights.clear();
            }
            let ((_, both), (bce, part)) =
                (all.loss_and_gradients(&one).unwrap(), entropy.loss_and_gradients(&one).unwrap());
            let (penalty, _) = all.loss_and_gradients(&one).unwrap();
            let shares = [weight(row) / total, 1.0 / rows as f64];
            loss_scale += shares[0] * bce.bce.abs() + shares[1] * penalty.penalty.abs();
            for (i, (both, part)) in both.iter().zip(&part).enumerate() {
                let theta = &named(parameters, &both.name).data;
                let mut largest = [0.0f64; 2];
                for ((&both, &part), &theta) in both.data.iter().zip(&part.data).zip(theta) {
                    let pieces = [part.abs(), (both - part).abs()];
                    loss_scale += (shares[0] * pieces[0] + shares[1] * pieces[1]) * theta.abs();
                    largest = [largest[0].max(pieces[0]), largest[1].max(pieces[1])];
                }
                scales[i] += shares[0] * largest[0] + shares[1] * largest[1];
            }
        }
        Self { loss, loss_scale, gradients, scales, rows }
    }

    /// How far each element of gradient `i` may be off on a backend that rounds operands with unit roundoff `v`.
    pub fn gradient_bound(&self, i: usize, chain: Chain, v: f64) -> f64 {
        chain.gradient(v, self.rows) * self.scales[i]
    }

    /// Whether the bounds of gradients hold for this batch. They are relative to the gradients themselves, and so too
    /// narrow where rounding changes a gradient by more: where its terms cancel within a row, and next to a kink, of a
    /// ReLU or of max(‖e‖, ε) under the penalty, whose gradient there jumps by up to 1/ε. To a row, sums of rounded
    /// products are exact ones with other weights, each off by at most 2v + v² of itself and `length · u`. So draws of
    /// such weights are looked at: the exact gradients for all of them must be within the bound of those for the right
    /// ones. No backend has a say in it.
    ///
    /// # Panics
    /// When the model, the parameters or the batch do not fit each other.
    pub fn is_well_conditioned(
        &self,
        case: &Case,
        parameters: &[HostTensor<f64>],
        batch: &Batch,
        chain: Chain,
        v: f64,
    ) -> bool {
        let most = chain.length * U + 2.0 * v + v * v;
        let mut learner = learner(&case.config, &case.input, parameters, batch.rows());
        (0..DRAWS).all(|draw| {
            let mut moved = parameters.to_vec();
            for tensor in &mut moved {
                let stream = Stream::new(draw, &tensor.name);
                for (i, value) in tensor.data.iter_mut().enumerate() {
                    *value *= 1.0 + most * (2.0 * stream.uniform(i as u64) - 1.0);
                }
            }
            learner.import(&moved).unwrap();
            let (_, gradients) = learner.loss_and_gradients(batch).unwrap();
            gradients.iter().zip(&self.gradients).enumerate().all(|(i, (there, here))| {
                let bound = self.gradient_bound(i, chain, v);
                there.data.iter().zip(&here.data).all(|(a, b)| (a - b).abs() <= bound)
            })
        })
    }

    /// Fails when a loss is further off than it may be.
    ///
    /// # Panics
    /// Then.
    pub fn check_loss(&self, loss: StepLoss, chain: Chain, v: f64, place: &str) {
        let (off, bound) = ((loss.total() - self.loss.total()).abs(), chain.forward(v) * self.loss_scale);
        assert!(off <= bound, "{place}: the loss {loss:?} is off by {off:.1e}, more than {bound:.1e}");
    }

    /// Fails when a gradient is further off than it may be.
    ///
    /// # Panics
    /// Then.
    pub fn check_gradients<B: Backend>(
        &self,
        got: &[HostTensor<B::Elem>],
        chain: Chain,
        v: f64,
        place: &str,
    ) {
        assert_eq!(got.len(), self.gradients.len(), "{place}");
        for (i, want) in self.gradients.iter().enumerate() {
            let (got, bound) = (named(got, &want.name), self.gradient_bound(i, chain, v));
            for (a, b) in got.data.iter().zip(&want.data) {
                let off = (a.wide() - b).abs();
                let name = &want.name;
                assert!(
                    off <= bound,
                    "{place}: {name} is {a:?}, not {b:.3e}: off by {off:.1e} > {bound:.1e}"
                );
            }
        }
    }
}
