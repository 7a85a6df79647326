//! Sizes of a model: parameters, and multiply-adds per row, counted by the code that computes them.

use super::{ModelConfig, build};
use crate::backend::Memory;
use crate::config::{FieldKind, InputSpec};
use crate::error::Result;
use crate::gradcheck::random_batch;
use crate::learner::{Learner, LearnerConfig};
use crate::predictor::Predictor;
use crate::profile::Profiled;
use crate::reference::Reference;

/// Sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Elements of the dense parameters.
    pub parameters: usize,
    /// Elements of the embedding tables.
    pub tables: usize,
    /// Multiply-adds of the products that predict a row: the mean over 60 random rows, without those that a model makes once
    /// for all rows.
    pub multiply_adds: f64,
}

impl Cost {
    /// Sizes of a configuration's model for these inputs.
    ///
    /// # Errors
    /// As [`ModelConfig::validate`].
    pub fn of(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        // Products do not depend on the size of vocabularies.
        let mut small = input.clone();
        for field in &mut small.fields {
            if let FieldKind::Categorical { vocab } | FieldKind::Multi { vocab, .. } = &mut field.kind {
                *vocab = 2;
            }
        }
        let own = build::<Reference<f32>>(config, &small)?;
        let params = Learner::new(Reference::new(), own, LearnerConfig::default(), 1, 1)?.export()?;
        let be = Profiled::new(Reference::<f32>::new());
        let predictor = Predictor::new(be, build(config, &small)?, &params, ROWS)?;
        let (batch, be) = (random_batch(&small, ROWS, false, 1), predictor.backend());
        be.run_step(|| predictor.logits(&batch))?;
        let flop = be.take().phases.iter().map(|phase| phase.flop).sum::<u64>();
        let spec = predictor.spec();
        let tables = spec.embedding().tables().iter().map(|t| input.fields[t.fields[0]].kind.ids() * t.width);
        Ok(Self {
            parameters: spec.params().specs().iter().map(|s| s.len()).sum(),
            tables: tables.sum(),
            multiply_adds: flop as f64 / 2.0 / ROWS as f64,
        })
    }
}

/// Rows that multiply-adds are counted on.
const ROWS: usize = 60;
