//! `dnn` on the built-in data: a model that knows the scenario as one more feature, to measure others by.

use std::cell::RefCell;

use crate::attempt::Trainer;
use crate::error::Result;
use crate::evaluate::Evaluation;
use crate::run::Run;
use crate::say;
use crate::trainer::{Control, Data, Observer};
use optmsm_core::models::Kind;

use super::super::many::Program;

/// Keeps what a run ends with.
#[derive(Debug, Default)]
struct Ended(RefCell<Option<Evaluation>>);

impl Observer for Ended {
    fn tested(&self, evaluation: &Evaluation, _predictions: &[f32]) {
        *self.0.borrow_mut() = Some(evaluation.clone());
    }
}

/// Trains `dnn` on the rows of a run and with its settings, in a folder `dnn` of the run's, or goes on with it.
///
/// # Errors
/// As [`crate::trainer::train`].
pub(super) fn train(run: &Run, data: &Data, control: &Control) -> Result<Option<Evaluation>> {
    let folder = run.folder.join(Kind::Dnn.name());
    let config = run.config.override_with(&[format!("model.kind=\"{}\"", Kind::Dnn.name())])?;
    let resume = run.ranks.share(|| Run::has_begun(&folder))?;
    let run = Run { ranks: run.ranks.clone(), ..Run::new(&folder, config, run.schema.clone()) };
    if !control.quiet {
        say::line(&format!("{}: dnn on the same rows, to compare with", folder.display()));
    }
    let ended = Ended::default();
    let control = Control { resume, quiet: true, max_steps: None, observer: Some(&ended), ..*control };
    Program.train(&run, data, &control)?;
    Ok(ended.0.into_inner())
}
