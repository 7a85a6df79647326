//! Inference: a model's parameters and room for a batch, no gradients.

use crate::backend::{Backend, Elem};
use crate::batch::Batch;
use crate::error::Result;
use crate::model::Model;
use crate::params::TensorSource;
use crate::plan::Plan;
use crate::runtime::{Params, Runtime};

/// σ(o) as it is reported: computed in `f64`, rounded once.
pub(crate) fn probability(o: f64) -> f32 {
    (1.0 / (1.0 + libm::exp(-o))) as f32
}

/// A trained model that answers batches.
pub struct Predictor<B: Backend, M: Model<B>> {
    be: B,
    model: M,
    params: Params<B>,
    runtime: Runtime<B, M>,
    plan: Plan<B::Elem>,
}

impl<B: Backend, M: Model<B>> Predictor<B, M> {
    /// Takes the parameters from `source`, with memory for batches of at most `max_rows` rows.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape, or memory is short.
    pub fn new(be: B, model: M, source: &dyn TensorSource<B::Elem>, max_rows: usize) -> Result<Self> {
        let mut params = Params::new(&be, &model)?;
        params.import(&be, &model, source)?;
        let mut runtime = Runtime::new(&be, &model, max_rows, false)?;
        model.prepare(&be, &mut runtime.prepared, &params.dense);
        Ok(Self { be, model, params, runtime, plan: Plan::default() })
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Probabilities in the order of the rows; they do not depend on the rest of the batch.
    ///
    /// # Errors
    /// When the batch does not fit the model's inputs or `max_rows`, or the device failed.
    pub fn predict(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let mut sums = vec![0.0; 1 + self.model.stats()];
        self.predict_with_stats(batch, &mut sums)
    }

    /// The same, adding to the sums of [`Model::diagnostics`] from element 1 on.
    pub fn predict_with_stats(&mut self, batch: &Batch, sums: &mut [f64]) -> Result<Vec<f32>> {
        let mut out = vec![0.0; batch.rows()];
        self.each_logit(batch, sums, |row, o| out[row] = probability(o.wide()))?;
        Ok(out)
    }

    /// Logits in the order of the rows, in the backend's own type.
    pub fn logits(&mut self, batch: &Batch) -> Result<Vec<B::Elem>> {
        let mut out = vec![B::Elem::default(); batch.rows()];
        let mut sums = vec![0.0; 1 + self.model.stats()];
        self.each_logit(batch, &mut sums, |row, o| out[row] = o)?;
        Ok(out)
    }

    fn each_logit(
        &mut self,
        batch: &Batch,
        sums: &mut [f64],
        each: impl FnMut(usize, B::Elem),
    ) -> Result<()> {
        let Self { be, model, params, runtime, plan } = self;
        plan.build(batch, model.input(), false)?;
        runtime.run(be, model, params, plan, None)?;
        runtime.add_stats(be, sums)?;
        runtime.logits(be, plan, each)
    }
}
