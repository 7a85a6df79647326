//! What a learner asks of a model, so that every architecture trains and predicts the same way.

mod optmsm;

use std::sync::Arc;

use crate::backend::{Backend, Mat, MatMut};
use crate::config::{InputSpec, Role};
use crate::error::Result;
use crate::inputs::Block;
use crate::layers::Embedding;
use crate::params::{Flat, ParamLayout};

pub use crate::fields::FirstLayer;
pub use crate::layers::tower::GeneratedNorms;
pub use optmsm::OptMsm;

/// An architecture: parameters, and what happens between the embedded rows and the logits.
///
/// A training step calls [`Model::prepare`] once, [`Model::forward`] and [`Model::backward`] for every
/// block of rows, at the same time on several lanes, and [`Model::finish`] once on the summed gradients.
pub trait Model<B: Backend>: Send + Sync {
    /// Made once a step from the parameters: packed and generated weights.
    type Prepared: Send + Sync;
    /// Activations and scratch of one block.
    type Activations: Send + Sync;
    /// Scratch of [`Model::finish`].
    type Scratch: Send + Sync;

    /// Fields and scenarios that it was built for.
    fn input(&self) -> &InputSpec;
    /// Dense parameters.
    fn params(&self) -> &Arc<ParamLayout>;
    /// Gradients of derived weights that lanes sum for [`Model::finish`].
    fn derived(&self) -> &Arc<ParamLayout>;
    /// Embedding tables.
    fn embedding(&self) -> &Embedding;
    /// The linear map that reads the embeddings of a role; [`Model::backward`] leaves the gradient of its output, from
    /// which those of the embeddings and of the map's columns for fields are made, for the whole batch.
    fn first_layer(&self, role: Role) -> FirstLayer;
    /// The embedded fields of a role as [`Model::forward`] left them and [`Model::backward`] kept them, without what else
    /// [`Model::first_layer`] reads: `[rows, width of the role's fields]`.
    fn embedded<'a>(&self, act: &'a Self::Activations, role: Role, rows: usize) -> Mat<'a, B::Buf>;
    /// Sums that a forward pass leaves beside the loss.
    fn stats(&self) -> usize;

    /// Room for what is made once a step, or once for predictions.
    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Self::Prepared>;
    /// Room for a block of at most `rows` rows.
    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Self::Activations>;
    /// Room for [`Model::finish`].
    fn alloc_scratch(&self, be: &B) -> Result<Self::Scratch>;

    /// Packs and generates weights from the parameters.
    fn prepare(&self, be: &B, prepared: &mut Self::Prepared, params: &Flat<B>);
    /// Logits `[rows, 1]` of a block; adds to `stats` `[1, stats]`. Without `stats`, what only they and
    /// [`Model::backward`] need is not computed.
    #[allow(clippy::too_many_arguments)]
    fn forward(
        &self,
        be: &B,
        logits: MatMut<B::Buf>,
        stats: Option<MatMut<B::Buf>>,
        act: &mut Self::Activations,
        prepared: &Self::Prepared,
        params: &Flat<B>,
        x: &Block<B>,
    );
    /// Adds the gradients of a block, penalties included, but for what reads fields; sets those of the first layers' outputs
    /// (before bias and weight). Without `Memory::fields_by_id` the first layers' biases are left out, too: their
    /// gradients come with the weights'.
    #[allow(clippy::too_many_arguments)]
    fn backward(
        &self,
        be: &B,
        grads: &mut Grads<B>,
        d_first: [MatMut<B::Buf>; 2],
        d_logits: MatMut<B::Buf>,
        act: &mut Self::Activations,
        prepared: &Self::Prepared,
        params: &Flat<B>,
        x: &Block<B>,
        batch_rows: usize,
    );
    /// From the summed gradients of derived weights to those of the parameters. Columns of a first layer's weight that read
    /// something else than fields are set here: the lanes do not sum the gradients of these weights.
    fn finish(
        &self,
        be: &B,
        grads: &mut Grads<B>,
        scratch: &mut Self::Scratch,
        prepared: &Self::Prepared,
        params: &Flat<B>,
    );

    /// Experts that a gate weighs by row; 0 where there is none.
    fn gates(&self) -> usize;
    /// The gate's weights α of a block, as [`Model::forward`] left them: `[rows, gates]`.
    fn gate_weights<'a>(&self, act: &'a Self::Activations, rows: usize) -> Option<Mat<'a, B::Buf>>;
    /// Norms of what [`Model::prepare`] generated, one entry a layer; none where nothing is generated for a whole scenario.
    fn generated_norms(
        &self,
        be: &B,
        prepared: &Self::Prepared,
        params: &Flat<B>,
    ) -> Result<Vec<GeneratedNorms>>;

    /// What the penalties add to the mean loss, from stats summed over `rows` rows.
    fn penalty(&self, stats: &[f64], rows: f64) -> f64;
    /// Named diagnostics from the same sums, for example the mean |cos| of each pair of experts.
    fn diagnostics(&self, stats: &[f64], rows: f64) -> Vec<(String, f64)>;
}

/// Gradients that one lane sums.
#[derive(Debug)]
pub struct Grads<B: Backend> {
    /// Of the dense parameters.
    pub dense: Flat<B>,
    /// Of derived weights.
    pub derived: Flat<B>,
}
