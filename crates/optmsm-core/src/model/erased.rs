//! A model of any architecture behind one type, so that the engine is compiled once per backend and not once per model.

use std::any::Any;
use std::sync::Arc;

use super::{Cx, Exhibit, Grads, Measured, Model, ModelSpec, ReaderGrads};
use crate::backend::{Backend, Mat, MatMut};
use crate::error::Result;
use crate::params::Flat;

/// A model whose architecture is known at run time only.
pub struct AnyModel<B: Backend>(Arc<dyn Erased<B>>);

/// Prepared weights, activations or scratch of some model. Boxed when it is allocated, never in a step.
type State = Box<dyn Any + Send + Sync>;

impl<B: Backend> AnyModel<B> {
    /// Hides the architecture of a model.
    pub fn new(model: impl Model<B> + 'static) -> Self {
        Self(Arc::new(model))
    }
}

impl<B: Backend> Clone for AnyModel<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: Backend> std::fmt::Debug for AnyModel<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AnyModel").field(self.0.spec()).finish()
    }
}

/// [`Model`] with states that have lost their types.
trait Erased<B: Backend>: Send + Sync {
    fn spec(&self) -> &ModelSpec;
    fn alloc_prepared(&self, be: &B, training: bool) -> Result<State>;
    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<State>;
    fn alloc_scratch(&self, be: &B) -> Result<State>;
    fn prepare(&self, be: &B, prepared: &mut State, params: &Flat<B>, running: &Flat<B>);
    fn forward(
        &self,
        cx: Cx<B>,
        logits: MatMut<B::Buf>,
        sums: Option<MatMut<B::Buf>>,
        act: &mut State,
        prepared: &State,
    );
    fn embedded<'a>(&self, act: &'a State, reader: usize, rows: usize) -> Mat<'a, B::Buf>;
    #[allow(clippy::too_many_arguments)] // as Model::backward
    fn backward(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        readers: &mut ReaderGrads<B>,
        d_logits: MatMut<B::Buf>,
        act: &mut State,
        prepared: &State,
        batch_rows: usize,
    );
    fn finish(&self, be: &B, grads: &mut Grads<B>, scratch: &mut State, prepared: &State, params: &Flat<B>);
    fn batch_statistics(&self) -> bool;
    fn measure(&self, cx: Cx<B>, sums: &mut Flat<B>, act: &mut State, prepared: &State);
    fn settle(
        &self,
        be: &B,
        prepared: &mut State,
        sums: &Flat<B>,
        running: &mut Flat<B>,
        batch: &B::Ids,
        moving: bool,
    );
    fn correct(
        &self,
        cx: Cx<B>,
        readers: &mut ReaderGrads<B>,
        act: &mut State,
        prepared: &State,
        scratch: &State,
    );
    fn penalty(&self, sums: &[f64], rows: f64) -> f64;
    fn measured<'a>(&self, act: &'a State, measure: usize, rows: usize) -> Mat<'a, B::Buf>;
    fn exhibits(
        &self,
        be: &B,
        prepared: &State,
        params: &Flat<B>,
        measured: &Measured,
    ) -> Result<Vec<Exhibit>>;
}

/// A state as its model made it.
fn typed<T: 'static>(state: &State) -> &T {
    // invariant: a state comes back to the model that allocated it
    state.downcast_ref().expect("a state of this model")
}

/// The same to write.
fn typed_mut<T: 'static>(state: &mut State) -> &mut T {
    // invariant: as in `typed`
    state.downcast_mut().expect("a state of this model")
}

impl<B: Backend, M: Model<B>> Erased<B> for M {
    fn spec(&self) -> &ModelSpec {
        Model::spec(self)
    }
    fn alloc_prepared(&self, be: &B, training: bool) -> Result<State> {
        Ok(Box::new(Model::alloc_prepared(self, be, training)?))
    }
    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<State> {
        Ok(Box::new(Model::alloc_activations(self, be, rows, training)?))
    }
    fn alloc_scratch(&self, be: &B) -> Result<State> {
        Ok(Box::new(Model::alloc_scratch(self, be)?))
    }
    fn prepare(&self, be: &B, prepared: &mut State, params: &Flat<B>, running: &Flat<B>) {
        Model::prepare(self, be, typed_mut(prepared), params, running);
    }
    fn forward(
        &self,
        cx: Cx<B>,
        logits: MatMut<B::Buf>,
        sums: Option<MatMut<B::Buf>>,
        act: &mut State,
        prepared: &State,
    ) {
        Model::forward(self, cx, logits, sums, typed_mut(act), typed(prepared));
    }
    fn embedded<'a>(&self, act: &'a State, reader: usize, rows: usize) -> Mat<'a, B::Buf> {
        Model::embedded(self, typed(act), reader, rows)
    }
    fn backward(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        readers: &mut ReaderGrads<B>,
        d_logits: MatMut<B::Buf>,
        act: &mut State,
        prepared: &State,
        batch_rows: usize,
    ) {
        let (act, prepared) = (typed_mut(act), typed(prepared));
        Model::backward(self, cx, grads, readers, d_logits, act, prepared, batch_rows);
    }
    fn finish(&self, be: &B, grads: &mut Grads<B>, scratch: &mut State, prepared: &State, params: &Flat<B>) {
        Model::finish(self, be, grads, typed_mut(scratch), typed(prepared), params);
    }
    fn batch_statistics(&self) -> bool {
        Model::batch_statistics(self)
    }
    fn measure(&self, cx: Cx<B>, sums: &mut Flat<B>, act: &mut State, prepared: &State) {
        Model::measure(self, cx, sums, typed_mut(act), typed(prepared));
    }
    fn settle(
        &self,
        be: &B,
        prepared: &mut State,
        sums: &Flat<B>,
        running: &mut Flat<B>,
        batch: &B::Ids,
        moving: bool,
    ) {
        Model::settle(self, be, typed_mut(prepared), sums, running, batch, moving);
    }
    fn correct(
        &self,
        cx: Cx<B>,
        readers: &mut ReaderGrads<B>,
        act: &mut State,
        prepared: &State,
        scratch: &State,
    ) {
        Model::correct(self, cx, readers, typed_mut(act), typed(prepared), typed(scratch));
    }
    fn penalty(&self, sums: &[f64], rows: f64) -> f64 {
        Model::penalty(self, sums, rows)
    }
    fn measured<'a>(&self, act: &'a State, measure: usize, rows: usize) -> Mat<'a, B::Buf> {
        Model::measured(self, typed(act), measure, rows)
    }
    fn exhibits(
        &self,
        be: &B,
        prepared: &State,
        params: &Flat<B>,
        measured: &Measured,
    ) -> Result<Vec<Exhibit>> {
        Model::exhibits(self, be, typed(prepared), params, measured)
    }
}

impl<B: Backend> Model<B> for AnyModel<B> {
    type Prepared = State;
    type Activations = State;
    type Scratch = State;

    fn spec(&self) -> &ModelSpec {
        self.0.spec()
    }
    fn alloc_prepared(&self, be: &B, training: bool) -> Result<State> {
        self.0.alloc_prepared(be, training)
    }
    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<State> {
        self.0.alloc_activations(be, rows, training)
    }
    fn alloc_scratch(&self, be: &B) -> Result<State> {
        self.0.alloc_scratch(be)
    }
    fn prepare(&self, be: &B, prepared: &mut State, params: &Flat<B>, running: &Flat<B>) {
        self.0.prepare(be, prepared, params, running);
    }
    fn forward(
        &self,
        cx: Cx<B>,
        logits: MatMut<B::Buf>,
        sums: Option<MatMut<B::Buf>>,
        act: &mut State,
        prepared: &State,
    ) {
        self.0.forward(cx, logits, sums, act, prepared);
    }
    fn embedded<'a>(&self, act: &'a State, reader: usize, rows: usize) -> Mat<'a, B::Buf> {
        self.0.embedded(act, reader, rows)
    }
    fn backward(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        readers: &mut ReaderGrads<B>,
        d_logits: MatMut<B::Buf>,
        act: &mut State,
        prepared: &State,
        batch_rows: usize,
    ) {
        self.0.backward(cx, grads, readers, d_logits, act, prepared, batch_rows);
    }
    fn finish(&self, be: &B, grads: &mut Grads<B>, scratch: &mut State, prepared: &State, params: &Flat<B>) {
        self.0.finish(be, grads, scratch, prepared, params);
    }
    fn batch_statistics(&self) -> bool {
        self.0.batch_statistics()
    }
    fn measure(&self, cx: Cx<B>, sums: &mut Flat<B>, act: &mut State, prepared: &State) {
        self.0.measure(cx, sums, act, prepared);
    }
    fn settle(
        &self,
        be: &B,
        prepared: &mut State,
        sums: &Flat<B>,
        running: &mut Flat<B>,
        batch: &B::Ids,
        moving: bool,
    ) {
        self.0.settle(be, prepared, sums, running, batch, moving);
    }
    fn correct(
        &self,
        cx: Cx<B>,
        readers: &mut ReaderGrads<B>,
        act: &mut State,
        prepared: &State,
        scratch: &State,
    ) {
        self.0.correct(cx, readers, act, prepared, scratch);
    }
    fn penalty(&self, sums: &[f64], rows: f64) -> f64 {
        self.0.penalty(sums, rows)
    }
    fn measured<'a>(&self, act: &'a State, measure: usize, rows: usize) -> Mat<'a, B::Buf> {
        self.0.measured(act, measure, rows)
    }
    fn exhibits(
        &self,
        be: &B,
        prepared: &State,
        params: &Flat<B>,
        measured: &Measured,
    ) -> Result<Vec<Exhibit>> {
        self.0.exhibits(be, prepared, params, measured)
    }
}
