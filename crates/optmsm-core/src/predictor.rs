//! Inference: weights that all threads share, and memory for the calls in flight. No gradients.

use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::{Backend, Elem};
use crate::batch::{Batch, Request};
use crate::error::{BatchPart, Error, Result};
use crate::fold::{FoldOptions, FoldReport, Folds};
use crate::lanes::Lanes;
use crate::model::{Exhibit, Measured, Model, ModelSpec};
use crate::params::TensorSource;
use crate::plan::Plan;
use crate::runtime::{Params, Weights};

/// σ(o) as it is reported: computed in `f64`, rounded once.
pub fn probability(o: f64) -> f32 {
    (1.0 / (1.0 + libm::exp(-o))) as f32
}

/// Makes a probability of a row's logit and scenario, in place of [`probability`]: a calibration, for example. What it makes of NaN
/// must be NaN, by which a model that diverged is seen.
pub type Answer = Arc<dyn Fn(f64, u32) -> f32 + Send + Sync>;

/// The answer of models that are taken at their word.
pub(crate) fn plain() -> Answer {
    Arc::new(|o, _| probability(o))
}

/// A trained model that answers batches, from any number of threads at once.
///
/// Weights are packed and every scenario's tower is generated once, in [`Predictor::new`], and never change.
/// A call writes to a state of its own, taken from a pool: there are as many states as calls were ever in flight
/// together, and a warm call allocates at most its answer. A batch that fits one lane of the
/// backend is computed on the calling thread.
///
/// A prediction depends on its row alone: neither on the rest of the batch nor on other calls.
pub struct Predictor<B: Backend, M: Model<B>> {
    be: B,
    model: M,
    params: Params<B>,
    prepared: M::Prepared,
    max_rows: usize,
    answer: Answer,
    folds: Option<Folds<B>>,
    idle: Mutex<Vec<CallState<B, M>>>,
}

/// Plan and activations of one call.
struct CallState<B: Backend, M: Model<B>> {
    plan: Plan<B::Elem>,
    lanes: Lanes<B, M>,
}

impl<B: Backend, M: Model<B>> std::fmt::Debug for Predictor<B, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("Predictor");
        f.field("spec", self.model.spec()).field("max_rows", &self.max_rows).finish_non_exhaustive()
    }
}

impl<B: Backend, M: Model<B>> Predictor<B, M> {
    /// Takes the parameters from `source`. A call's memory is for `max_rows` rows; a larger batch is
    /// computed in pieces of that size.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape, `max_rows` is 0, or memory is short.
    pub fn new(be: B, model: M, source: &dyn TensorSource<B::Elem>, max_rows: usize) -> Result<Self> {
        let mut params = Params::new(&be, &model, false, None)?;
        params.import(&be, &model, source)?;
        let mut prepared = model.alloc_prepared(&be, false)?;
        model.prepare(&be, &mut prepared, &params.dense, &params.running);
        let idle = Mutex::default();
        let (answer, folds) = (plain(), None);
        let predictor = Self { be, model, params, prepared, max_rows, answer, folds, idle };
        // The first call finds its memory ready.
        predictor.put_back(predictor.state()?);
        Ok(predictor)
    }

    /// The same with probabilities that `answer` makes of the logits.
    pub fn answering(self, answer: Answer) -> Self {
        Self { answer, ..self }
    }

    /// The same with tables of what the layers that read fields make of each id: a row's output of such a layer is then a sum of a
    /// few of their rows, and what the rows of a request have in common is summed once per block of rows ([`Predictor::score`]). Predictions are the same up
    /// to the rounding of these sums, in `f32` or as `options` have the tables stored. Models whose layers read fields otherwise
    /// predict as ever.
    ///
    /// # Errors
    /// When memory is short, or the device failed.
    pub fn fold(self, options: FoldOptions) -> Result<Self> {
        let folds = Some(Folds::new(&self.be, &self.model, &self.params, options)?);
        let predictor = Self { folds, idle: Mutex::default(), ..self };
        predictor.put_back(predictor.state()?);
        Ok(predictor)
    }

    /// Outcome of folding; none before it.
    pub fn folded(&self) -> Option<&FoldReport> {
        self.folds.as_ref().map(|folds| &folds.report)
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        &self.be
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Inputs, tensors and measures of the model.
    pub fn spec(&self) -> &ModelSpec {
        self.model.spec()
    }

    /// Probabilities in the order of the rows.
    ///
    /// # Errors
    /// When the batch does not fit the model's inputs, memory for one more call at the same time is short,
    /// or the device failed.
    pub fn predict(&self, batch: &Batch) -> Result<Vec<f32>> {
        let mut out = vec![0.0; batch.rows()];
        self.predict_into(&mut out, batch)?;
        Ok(out)
    }

    /// The same into `out`, one element a row. Once warm it allocates nothing: after as many calls at the
    /// same time, with batches as large and lists as long, as there are going to be, and one on each thread
    /// (where a layer's input is a multiple of 1024 wide, the CPU's products keep a copy of rows by thread).
    ///
    /// # Errors
    /// As [`Predictor::predict`], and when `out` has another length than the batch; `out` may then be
    /// written in part.
    pub fn predict_into(&self, out: &mut [f32], batch: &Batch) -> Result<()> {
        if out.len() != batch.rows() {
            let problem =
                format!("room for {} predictions of {} rows; give one a row", out.len(), batch.rows());
            return Err(Error::batch(BatchPart::Predictions, None, problem));
        }
        self.each_answer(batch, None, None, out)
    }

    /// Probabilities of the candidates of one request, in their order.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn score(&self, request: &Request) -> Result<Vec<f32>> {
        let mut out = vec![0.0; request.rows().rows()];
        self.each_answer(request.rows(), Some(request.same()), None, &mut out)?;
        Ok(out)
    }

    /// As [`Predictor::predict`], adding the model's measures to `measured`.
    ///
    /// # Errors
    /// As [`Predictor::predict`]; `measured` may then have been added to in part.
    pub fn predict_measuring(&self, batch: &Batch, measured: &mut Measured) -> Result<Vec<f32>> {
        let mut out = vec![0.0; batch.rows()];
        self.each_answer(batch, None, Some(measured), &mut out)?;
        Ok(out)
    }

    /// Tables to look at, made of the weights and of measured rows.
    ///
    /// # Errors
    /// When the device failed.
    pub fn exhibits(&self, measured: &Measured) -> Result<Vec<Exhibit>> {
        self.model.exhibits(&self.be, &self.prepared, &self.params.dense, measured)
    }

    /// Logits in the order of the rows, in the backend's own type.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn logits(&self, batch: &Batch) -> Result<Vec<B::Elem>> {
        let mut out = vec![B::Elem::default(); batch.rows()];
        self.each_logit(batch, None, None, |row, o| out[row] = o)?;
        Ok(out)
    }

    fn each_answer(
        &self,
        batch: &Batch,
        same: Option<&[bool]>,
        measured: Option<&mut Measured>,
        out: &mut [f32],
    ) -> Result<()> {
        let answer = |row: usize, o: B::Elem| out[row] = (self.answer)(o.wide(), batch.scenarios[row]);
        self.each_logit(batch, same, measured, answer)
    }

    fn each_logit(
        &self,
        batch: &Batch,
        same: Option<&[bool]>,
        measured: Option<&mut Measured>,
        each: impl FnMut(usize, B::Elem),
    ) -> Result<()> {
        let Self { be, model, params, prepared, folds, .. } = self;
        let folds = folds.as_ref();
        let on = Weights { be, model, params, prepared, averaged: false, folds };
        let mut state = self.state()?;
        let done = state.lanes.predict(&on, &mut state.plan, batch, same, measured, each);
        // After an error too; a call that panics drops its state.
        self.put_back(state);
        done
    }

    /// The state that was used last, or a new one when all are in use.
    fn state(&self) -> Result<CallState<B, M>> {
        // Poison says that a thread panicked between two whole operations on the list.
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let new = || {
            let lanes = Lanes::new(&self.be, &self.model, self.max_rows)?;
            let lanes = match &self.folds {
                Some(folds) => lanes.folding(&self.be, folds)?,
                None => lanes,
            };
            Ok(CallState { plan: Plan::default(), lanes })
        };
        idle.map_or_else(new, Ok)
    }

    fn put_back(&self, state: CallState<B, M>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(state);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::gradcheck::{case, random_batch};
    use crate::learner::{Learner, LearnerConfig};
    use crate::models::OptMsm;
    use crate::reference::Reference;

    fn predictor() -> (Predictor<Reference<f64>, OptMsm>, Batch) {
        let case = case("calls", |_| {});
        let model = OptMsm::new(&case.config, &case.input).unwrap();
        let be = Reference::<f64>::new();
        let learner = Learner::new(be.clone(), model.clone(), LearnerConfig::default(), 1, 1).unwrap();
        let params = learner.export().unwrap();
        (Predictor::new(be, model, &params, 4).unwrap(), random_batch(&case.input, 6, false, 3))
    }

    fn idle(predictor: &Predictor<Reference<f64>, OptMsm>) -> usize {
        predictor.idle.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    #[test]
    fn states_come_back_also_after_errors() {
        let (predictor, batch) = predictor();
        let expected = predictor.predict(&batch).unwrap();
        let mut wrong = batch.clone();
        wrong.scenarios[5] = 99;
        assert!(predictor.predict(&wrong).is_err());
        assert!(predictor.logits(&wrong).is_err());
        assert!(predictor.predict_measuring(&wrong, &mut Measured::new(predictor.spec())).is_err());
        let error = predictor.predict_into(&mut [0.0; 5], &batch).unwrap_err();
        assert_eq!(error.to_string(), "predictions: room for 5 predictions of 6 rows; give one a row");
        assert_eq!(idle(&predictor), 1);
        assert_eq!(predictor.predict(&batch).unwrap(), expected);
    }

    #[test]
    fn an_answer_is_made_of_each_rows_logit_and_scenario() {
        let (predictor, batch) = predictor();
        let logits = predictor.logits(&batch).unwrap();
        let predictor = predictor.answering(Arc::new(|o, scenario| (10.0 * f64::from(scenario) + o) as f32));
        let wanted: Vec<f32> = logits
            .iter()
            .zip(&batch.scenarios)
            .map(|(o, &scenario)| (10.0 * f64::from(scenario) + o) as f32)
            .collect();
        assert_eq!(predictor.predict(&batch).unwrap(), wanted);
        let mut measured = Measured::new(predictor.spec());
        assert_eq!(predictor.predict_measuring(&batch, &mut measured).unwrap(), wanted);
        assert_eq!(predictor.logits(&batch).unwrap(), logits);
    }

    #[test]
    fn calls_at_the_same_time_have_states_of_their_own() {
        let (predictor, batch) = predictor();
        let expected = predictor.logits(&batch).unwrap();
        // A call inside a call: the outer one's state is in use.
        let mut inner = Vec::new();
        predictor
            .each_logit(&batch, None, None, |_, _| inner.push(predictor.logits(&batch).unwrap()))
            .unwrap();
        assert!(inner.len() == 6 && inner.iter().all(|logits| *logits == expected));
        assert_eq!(idle(&predictor), 2);
    }

    #[test]
    fn a_panic_elsewhere_leaves_the_predictor_working() {
        let (predictor, batch) = predictor();
        let expected = predictor.predict(&batch).unwrap();
        let call = || predictor.each_logit(&batch, None, None, |_, _| panic!("in a call"));
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
        assert_eq!((idle(&predictor), predictor.predict(&batch).unwrap()), (0, expected.clone()));
        let hold = || {
            let _held = predictor.idle.lock().unwrap();
            panic!("with the lock held");
        };
        assert!(catch_unwind(AssertUnwindSafe(hold)).is_err());
        assert!(predictor.idle.is_poisoned());
        assert_eq!((predictor.predict(&batch).unwrap(), idle(&predictor)), (expected, 1));
    }
}
