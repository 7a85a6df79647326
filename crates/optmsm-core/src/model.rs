//! The contract between an architecture and the engine that trains it and predicts with it.
//!
//! A model is a file in [`crate::models`]: typed state, a forward pass, its handwritten backward pass. The engine embeds
//! nothing and knows no architecture: a model says how it reads fields ([`Reader`]), what can be measured on it
//! ([`Measure`]) and shown of it ([`Exhibit`]).

mod erased;
mod exhibit;
mod reader;
mod spec;

use crate::backend::{Backend, Mat, MatMut};
use crate::error::Result;
use crate::params::Flat;
use crate::uploaded::Block;

pub use erased::AnyModel;
pub(crate) use exhibit::root_mean_squares;
pub use exhibit::{Exhibit, Heads, Measure, Measured, Shows};
pub(crate) use reader::Place;
pub use reader::{Fields, FirstLayer, Folding, Reader, ReaderGrads, Through};
pub use spec::{Builder, ModelSpec};

/// Backend, parameters and rows of a layer's pass over a block.
#[derive(Debug)]
pub struct Cx<'a, B: Backend> {
    /// Computes.
    pub be: &'a B,
    /// Dense parameters.
    pub params: &'a Flat<B>,
    /// The rows.
    pub x: &'a Block<'a, B>,
}

impl<B: Backend> Clone for Cx<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for Cx<'_, B> {}

/// An architecture: parameters, and the way from the fields of a row to its logit.
///
/// A training step calls [`Model::prepare`] once, [`Model::forward`] and [`Model::backward`] for every block of rows, at the
/// same time on several lanes, and [`Model::finish`] once on the summed gradients. With [`Model::batch_statistics`] it goes over
/// the blocks before and after that, too.
pub trait Model<B: Backend>: Send + Sync {
    /// Made once per step from the parameters: packed and generated weights.
    type Prepared: Send + Sync + 'static;
    /// Activations and scratch of one block.
    type Activations: Send + Sync + 'static;
    /// Scratch of [`Model::finish`], which [`Model::correct`] reads.
    type Scratch: Send + Sync + 'static;

    /// Inputs, tensors, readers and measures.
    fn spec(&self) -> &ModelSpec;

    /// Room for what is made once per step, or once for predictions.
    ///
    /// # Errors
    /// When memory is short; so for every `alloc_…`.
    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Self::Prepared>;
    /// Room for a block of at most `rows` rows.
    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Self::Activations>;
    /// Room for [`Model::finish`].
    fn alloc_scratch(&self, be: &B) -> Result<Self::Scratch>;

    /// Packs and generates weights from the parameters, and from the running statistics of [`ModelSpec::running`].
    fn prepare(&self, be: &B, prepared: &mut Self::Prepared, params: &Flat<B>, running: &Flat<B>);
    /// Logits `[rows, 1]` of a block. Adds the sums of the measures over rows to `sums` `[1, n]`; without `sums`, leaves out
    /// the work that only they and [`Model::backward`] need.
    fn forward(
        &self,
        cx: Cx<B>,
        logits: MatMut<B::Buf>,
        sums: Option<MatMut<B::Buf>>,
        act: &mut Self::Activations,
        prepared: &Self::Prepared,
    );
    /// The fields of a linear reader as [`Model::forward`] left them and [`Model::backward`] kept them: `[rows, Σ d]`. Never
    /// called for an embedded one.
    fn embedded<'a>(&self, act: &'a Self::Activations, reader: usize, rows: usize) -> Mat<'a, B::Buf>;
    /// Adds the gradients of a block, penalties included, to `grads`, except of the weights of linear readers' layers; sets
    /// those of every reader in `readers`. `d_logits` `[rows, 1]` is used up; `batch_rows` are the rows of the whole batch.
    ///
    /// Without [`fields_by_id`](crate::backend::Memory::fields_by_id) the biases of linear readers' layers are left out, too:
    /// their gradients come with the weights'.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass: gradients out, gradient in, state
    fn backward(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        readers: &mut ReaderGrads<B>,
        d_logits: MatMut<B::Buf>,
        act: &mut Self::Activations,
        prepared: &Self::Prepared,
        batch_rows: usize,
    );
    /// From the summed gradients of derived weights to those of the parameters. Columns of a linear reader's weight that
    /// read something else than fields, and the parameters of [`Builder::once`], are set here: the lanes do not sum their
    /// gradients.
    fn finish(
        &self,
        be: &B,
        grads: &mut Grads<B>,
        scratch: &mut Self::Scratch,
        prepared: &Self::Prepared,
        params: &Flat<B>,
    );

    /// Whether a training logit depends on statistics over the rows of its batch, through which gradients flow: those of a
    /// normalization, for example.
    ///
    /// The engine then goes over a training batch three times: [`Model::measure`] on every block, then [`Model::settle`];
    /// forward and backward as for any model, with the statistics as constants; [`Model::correct`] on every block.
    fn batch_statistics(&self) -> bool {
        false
    }
    /// Adds a block's sums to `sums`, laid out as [`ModelSpec::derived`].
    fn measure(
        &self,
        _cx: Cx<B>,
        _sums: &mut Flat<B>,
        _act: &mut Self::Activations,
        _prepared: &Self::Prepared,
    ) {
    }
    /// From the sums over the batch to its statistics, in `prepared`; `batch` has the offsets of its scenarios, `[S + 1]`.
    /// Moves the running statistics only when `moving`.
    fn settle(
        &self,
        _be: &B,
        _prepared: &mut Self::Prepared,
        _sums: &Flat<B>,
        _running: &mut Flat<B>,
        _batch: &B::Ids,
        _moving: bool,
    ) {
    }
    /// Adds to the gradients of a block's readers what flows through the statistics; `scratch` is as [`Model::finish`] left it.
    fn correct(
        &self,
        _cx: Cx<B>,
        _readers: &mut ReaderGrads<B>,
        _act: &mut Self::Activations,
        _prepared: &Self::Prepared,
        _scratch: &Self::Scratch,
    ) {
    }

    /// Adds to the mean loss for the sums of a training pass over `rows` rows: the penalties.
    fn penalty(&self, _sums: &[f64], _rows: f64) -> f64 {
        0.0
    }
    /// Values `[rows, elements]` of a measure over scenarios, as [`Model::forward`] left them.
    ///
    /// # Panics
    /// When the model has no such measure: a bug.
    fn measured<'a>(&self, _act: &'a Self::Activations, measure: usize, _rows: usize) -> Mat<'a, B::Buf> {
        panic!("no values of measure {measure}")
    }
    /// Tables to look at, from the weights in use and from measured rows.
    ///
    /// # Errors
    /// When the device failed.
    fn exhibits(
        &self,
        _be: &B,
        _prepared: &Self::Prepared,
        _params: &Flat<B>,
        _measured: &Measured,
    ) -> Result<Vec<Exhibit>> {
        Ok(Vec::new())
    }
}

/// Gradients that one lane sums.
#[derive(Debug)]
pub struct Grads<B: Backend> {
    /// Of the dense parameters.
    pub dense: Flat<B>,
    /// Of derived weights.
    pub derived: Flat<B>,
}

impl<B: Backend> Grads<B> {
    /// Zeros for a model.
    pub(crate) fn new(be: &B, spec: &ModelSpec) -> Result<Self> {
        Ok(Self { dense: Flat::new(be, spec.params())?, derived: Flat::new(be, spec.derived())? })
    }
}
