//! Parts that every model has: inputs, tables, tensors, readers, measures.

use std::sync::Arc;

use super::{Cx, Measure, Reader, Through};
use crate::backend::{Backend, MatMut};
use crate::config::InputSpec;
use crate::layers::{Embedding, EmbeddingConfig};
use crate::params::{ParamId, ParamLayout};

/// Inputs, tensors, readers and measures of a model.
#[derive(Clone, Debug)]
pub struct ModelSpec {
    input: InputSpec,
    embedding: Embedding,
    params: Arc<ParamLayout>,
    derived: Arc<ParamLayout>,
    running: Arc<ParamLayout>,
    once: Vec<ParamId>,
    readers: Vec<Reader>,
    measures: Vec<Measure>,
}

/// Takes in the tensors of a model's layers while it is built.
#[derive(Debug)]
pub struct Builder {
    /// Dense parameters.
    pub params: ParamLayout,
    /// Sums that lanes keep for [`Model::finish`](super::Model::finish): gradients of derived weights.
    pub derived: ParamLayout,
    /// Running statistics: saved with the parameters, moved by no gradient.
    pub running: ParamLayout,
    /// Dense parameters whose gradients [`Model::finish`](super::Model::finish) sets: no lane touches them, so none is zeroed
    /// or summed.
    pub once: Vec<ParamId>,
    input: InputSpec,
    embedding: Embedding,
    sites: u32,
}

impl Builder {
    /// Embedding tables as `config` has them; the vectors of numeric fields are the first dense parameters.
    pub fn new(config: EmbeddingConfig, input: &InputSpec) -> Self {
        let mut params = ParamLayout::default();
        let embedding = Embedding::new(&mut params, input, config);
        let (derived, running, once) = Default::default();
        Self { params, derived, running, once, input: input.clone(), embedding, sites: 0 }
    }

    /// The embedded fields.
    pub fn embedding(&self) -> &Embedding {
        &self.embedding
    }

    /// S.
    pub fn scenarios(&self) -> usize {
        self.input.scenarios
    }

    /// The first of 2¹⁶ numbers for dropout masks, which no other layer of the model gets.
    pub fn dropout_sites(&mut self) -> u32 {
        assert!(self.sites < 1 << 16, "more layers than there are numbers of masks");
        self.sites += 1;
        (self.sites - 1) << 16
    }

    /// The whole, in the order in which readers and measures are numbered.
    pub fn build(self, readers: Vec<Reader>, measures: Vec<Measure>) -> ModelSpec {
        let Self { params, derived, running, once, input, embedding, .. } = self;
        let [params, derived, running] = [params, derived, running].map(Arc::new);
        ModelSpec { input, embedding, params, derived, running, once, readers, measures }
    }
}

impl ModelSpec {
    /// Fields and scenarios that it was built for.
    pub fn input(&self) -> &InputSpec {
        &self.input
    }

    /// Embedding tables.
    pub fn embedding(&self) -> &Embedding {
        &self.embedding
    }

    /// Dense parameters.
    pub fn params(&self) -> &Arc<ParamLayout> {
        &self.params
    }

    /// Gradients of derived weights that lanes sum for [`Model::finish`](super::Model::finish).
    pub fn derived(&self) -> &Arc<ParamLayout> {
        &self.derived
    }

    /// Running statistics.
    pub fn running(&self) -> &Arc<ParamLayout> {
        &self.running
    }

    /// Dense parameters whose gradients the lanes leave alone: the weights of linear readers' layers, which the engine makes,
    /// and what [`Model::finish`](super::Model::finish) sets.
    pub(crate) fn after_lanes(&self) -> Vec<ParamId> {
        let of_reader = |reader: &Reader| match reader.through() {
            Through::Linear(first) => Some(first.weight),
            Through::Embedded => None,
        };
        self.readers.iter().filter_map(of_reader).chain(self.once.iter().copied()).collect()
    }

    /// Elements of all parameters, tables included; running statistics are none.
    pub fn parameters(&self) -> usize {
        let dense = self.params.specs().iter().map(|s| s.len());
        dense.chain(self.embedding.tables().iter().map(|t| t.rows * t.width)).sum()
    }

    /// How it reads fields.
    pub fn readers(&self) -> &[Reader] {
        &self.readers
    }

    /// out `[rows, Σ d]`: the fields of reader `number`.
    pub fn embed<B: Backend>(&self, cx: Cx<B>, number: usize, out: MatMut<B::Buf>) {
        self.embedding.forward(cx, &self.readers[number], out);
    }

    /// The same for a linear reader whose layer alone reads `out`: nothing where that layer's output is folded.
    pub fn embed_for_layer<B: Backend>(&self, cx: Cx<B>, number: usize, out: MatMut<B::Buf>) {
        let folded = match self.readers[number].through() {
            Through::Linear(first) => cx.x.folded(first.weight).is_some(),
            Through::Embedded => false,
        };
        if !folded {
            self.embed(cx, number, out);
        }
    }

    /// Its measures.
    pub fn measures(&self) -> &[Measure] {
        &self.measures
    }

    /// Elements of all measures over rows: sums that a forward pass leaves beside the loss.
    pub fn sums(&self) -> usize {
        self.measures.iter().map(|m| m.summed().len()).sum()
    }

    /// The measures over scenarios, with their numbers.
    pub(crate) fn over_scenarios(&self) -> impl Iterator<Item = (usize, &Measure)> {
        self.measures.iter().enumerate().filter(|(_, m)| matches!(m, Measure::Scenarios { .. }))
    }
}
