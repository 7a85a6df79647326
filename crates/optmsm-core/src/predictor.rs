//! Inference: weights that all threads share, and memory for the calls in flight. No gradients.

use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::{Backend, Elem};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::model::{GeneratedNorms, Model};
use crate::params::TensorSource;
use crate::plan::Plan;
use crate::runtime::{Params, Runtime, Weights};

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

/// What a prediction adds to beside its logits.
#[derive(Default)]
pub(crate) struct Sums<'a> {
    /// Those of [`Model::diagnostics`], from element 1 on.
    pub(crate) stats: Option<&'a mut [f64]>,
    /// The gate's weights of each scenario's rows, `[S, gates]`.
    pub(crate) gates: Option<&'a mut [f64]>,
}

/// A trained model that answers batches, from any number of threads at once.
///
/// Weights are packed and every scenario's tower is generated once, in [`Predictor::new`], and never change.
/// What a call writes is a session of its own, taken from a pool: there are as many sessions as calls were
/// ever in flight together, and a warm call allocates at most its answer. A batch that fits one lane of the
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
    idle: Mutex<Vec<Session<B, M>>>,
}

/// What one call writes.
struct Session<B: Backend, M: Model<B>> {
    plan: Plan<B::Elem>,
    runtime: Runtime<B, M>,
}

impl<B: Backend, M: Model<B>> Predictor<B, M> {
    /// Takes the parameters from `source`. A call's memory is for `max_rows` rows; a larger batch is
    /// computed in pieces of that size.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape, `max_rows` is 0, or memory is short.
    pub fn new(be: B, model: M, source: &dyn TensorSource<B::Elem>, max_rows: usize) -> Result<Self> {
        let mut params = Params::new(&be, &model, false)?;
        params.import(&be, &model, source)?;
        let mut prepared = model.alloc_prepared(&be, false)?;
        model.prepare(&be, &mut prepared, &params.dense);
        let idle = Mutex::default();
        let predictor = Self { be, model, params, prepared, max_rows, answer: plain(), idle };
        // The first call finds its memory ready.
        predictor.put_back(predictor.session()?);
        Ok(predictor)
    }

    /// The same with probabilities that `answer` makes of the logits.
    pub fn answering(self, answer: Answer) -> Self {
        Self { answer, ..self }
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
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
            return Err(Error::Batch { place: "predictions".into(), problem });
        }
        self.each_answer(batch, Sums::default(), out)
    }

    /// As [`Predictor::predict`], adding to the sums of [`Model::diagnostics`] from element 1 of `sums` on,
    /// which holds 1 + [`Model::stats`].
    ///
    /// # Errors
    /// As [`Predictor::predict`]; `sums` may then have been added to in part.
    pub fn predict_with_stats(&self, batch: &Batch, sums: &mut [f64]) -> Result<Vec<f32>> {
        let mut out = vec![0.0; batch.rows()];
        self.each_answer(batch, Sums { stats: Some(sums), gates: None }, &mut out)?;
        Ok(out)
    }

    /// As [`Predictor::predict_with_stats`], adding the gate's weights α of each scenario's rows to `gates`, `[S, K]`: over
    /// the scenario's number of rows, the mean weight of each expert. A model without a gate ([`Model::gates`] is 0) has none
    /// to add.
    ///
    /// # Errors
    /// As [`Predictor::predict_with_stats`], and when `gates` has another length than S·K.
    pub fn predict_with_gates(&self, batch: &Batch, sums: &mut [f64], gates: &mut [f64]) -> Result<Vec<f32>> {
        let wanted = self.model.input().scenarios * self.model.gates();
        if gates.len() != wanted {
            let problem = format!("room for {} sums; give one a scenario and expert, {wanted}", gates.len());
            return Err(Error::Batch { place: "gates".into(), problem });
        }
        let gates = Some(gates).filter(|_| wanted > 0);
        let mut out = vec![0.0; batch.rows()];
        self.each_answer(batch, Sums { stats: Some(sums), gates }, &mut out)?;
        Ok(out)
    }

    /// Frobenius norms of the tower's layers that were generated for each scenario; empty under `condition = "instance"`,
    /// where every row has its own.
    ///
    /// # Errors
    /// When the device failed.
    pub fn generated_norms(&self) -> Result<Vec<GeneratedNorms>> {
        self.model.generated_norms(&self.be, &self.prepared, &self.params.dense)
    }

    /// Logits in the order of the rows, in the backend's own type.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn logits(&self, batch: &Batch) -> Result<Vec<B::Elem>> {
        let mut out = vec![B::Elem::default(); batch.rows()];
        self.each_logit(batch, Sums::default(), |row, o| out[row] = o)?;
        Ok(out)
    }

    fn each_answer(&self, batch: &Batch, sums: Sums, out: &mut [f32]) -> Result<()> {
        let answer = |row: usize, o: B::Elem| out[row] = (self.answer)(o.wide(), batch.scenarios[row]);
        self.each_logit(batch, sums, answer)
    }

    fn each_logit(&self, batch: &Batch, sums: Sums, each: impl FnMut(usize, B::Elem)) -> Result<()> {
        let Self { be, model, params, prepared, .. } = self;
        let on = Weights { be, model, params, prepared, averaged: false };
        let mut session = self.session()?;
        let done = session.runtime.predict(&on, &mut session.plan, batch, sums, each);
        // After an error too; a call that panics drops its session.
        self.put_back(session);
        done
    }

    /// The session that was used last, or a new one when all are in use.
    fn session(&self) -> Result<Session<B, M>> {
        // Poison says that a thread panicked between two whole operations on the list.
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let new = || {
            let runtime = Runtime::new(&self.be, &self.model, self.max_rows, false)?;
            Ok(Session { plan: Plan::default(), runtime })
        };
        idle.map_or_else(new, Ok)
    }

    fn put_back(&self, session: Session<B, M>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::gradcheck::{case, random_batch};
    use crate::learner::{Learner, LearnerConfig};
    use crate::model::OptMsm;
    use crate::reference::Reference;

    fn predictor() -> (Predictor<Reference<f64>, OptMsm>, Batch) {
        let case = case("sessions", |_| {});
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
    fn sessions_come_back_also_after_errors() {
        let (predictor, batch) = predictor();
        let expected = predictor.predict(&batch).unwrap();
        let mut wrong = batch.clone();
        wrong.scenarios[5] = 99;
        assert!(predictor.predict(&wrong).is_err());
        assert!(predictor.logits(&wrong).is_err());
        assert!(predictor.predict_with_stats(&wrong, &mut [0.0; 5]).is_err());
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
        let mut sums = vec![0.0; 1 + Model::<Reference<f64>>::stats(predictor.model())];
        assert_eq!(predictor.predict_with_stats(&batch, &mut sums).unwrap(), wanted);
        let mut gates = vec![0.0; wanted_gates(&predictor)];
        assert_eq!(predictor.predict_with_gates(&batch, &mut sums, &mut gates).unwrap(), wanted);
        assert_eq!(predictor.logits(&batch).unwrap(), logits);
    }

    fn wanted_gates(predictor: &Predictor<Reference<f64>, OptMsm>) -> usize {
        let model = predictor.model();
        Model::<Reference<f64>>::input(model).scenarios * Model::<Reference<f64>>::gates(model)
    }

    #[test]
    fn calls_at_the_same_time_have_sessions_of_their_own() {
        let (predictor, batch) = predictor();
        let expected = predictor.logits(&batch).unwrap();
        // A call inside a call: the outer one's session is in use.
        let mut inner = Vec::new();
        predictor
            .each_logit(&batch, Sums::default(), |_, _| inner.push(predictor.logits(&batch).unwrap()))
            .unwrap();
        assert!(inner.len() == 6 && inner.iter().all(|logits| *logits == expected));
        assert_eq!(idle(&predictor), 2);
    }

    #[test]
    fn a_panic_elsewhere_leaves_the_predictor_working() {
        let (predictor, batch) = predictor();
        let expected = predictor.predict(&batch).unwrap();
        let call = || predictor.each_logit(&batch, Sums::default(), |_, _| panic!("in a call"));
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
