//! Warnings about a trained model: parts of it that do nothing, and scenarios that it does not help.
//!
//! They are made of exhibits and of predictions, so that they hold for any model. Bounds: docs/report.md#warnings-about-the-model.

mod parts;
mod scenarios;

use std::fmt;

use optmsm_core::backend::Backend;
use optmsm_core::learner::Learner;
use optmsm_core::model::{Measured, Model};
use optmsm_data::{Dataset, Split};
use serde::Serialize;

use crate::error::Result;
use crate::report::ExhibitReport;
use crate::run::Run;
use crate::sampling::{Shift, Weighing};
use crate::trainer::Data;

/// One warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Exhibit or scenario that it is of.
    pub place: String,
    /// Observation, with the figure that crosses its bound.
    pub what: String,
    /// Way to check it, or to mend it.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.advice)
    }
}

/// Findings in the exhibits of a run's model, then in its `predictions` of `rows`.
///
/// # Errors
/// `data.negative_rate` names a scenario that there is not.
pub(crate) fn find(
    run: &Run,
    exhibits: &[ExhibitReport],
    (rows, predictions): (&Dataset, &[f32]),
    weighing: &Weighing,
) -> Result<Vec<Finding>> {
    let mut found = parts::find(exhibits);
    let shift = Shift::of(&run.config.data, &run.schema)?;
    // Rates of training rows are plain counts: where a column weighs rows, they are no prediction of theirs.
    let rates = weighing.column.is_none().then(|| scenarios::rates(&run.schema, &shift));
    let weights = weighing.weights(&rows.batch);
    found.extend(scenarios::find(&run.schema, &rows.batch, &weights, predictions, rates.as_deref()));
    Ok(found)
}

/// Findings on the validation rows of a run that was trained, of its best parameters, which the learner then has; none
/// without such rows.
///
/// # Errors
/// The parameters cannot be read, or disk or device fails.
pub fn after_training<B: Backend<Elem = f32>, M: Model<B>>(
    learner: &mut Learner<B, M>,
    run: &Run,
    data: &Data,
) -> Result<Vec<Finding>> {
    let Some(valid) = &data.valid else { return Ok(Vec::new()) };
    learner.import(&run.checkpoint("best")?)?;
    let mut measured = Measured::new(learner.spec());
    let (predictions, rows) = valid.predict(learner, &mut measured)?;
    let exhibits = learner.exhibits(&measured)?.into_iter();
    let exhibits: Vec<_> = exhibits.map(|exhibit| ExhibitReport::new(exhibit, &run.schema)).collect();
    let whole = run.config.data.unsampled.contains(&Split::Valid);
    let weighing = Weighing::of(&run.config.data, &run.schema, whole)?;
    find(run, &exhibits, (&rows, &predictions), &weighing)
}
