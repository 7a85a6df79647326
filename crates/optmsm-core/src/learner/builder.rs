//! Options of a learner by their names.

use super::{Learner, LearnerConfig};
use crate::backend::Backend;
use crate::error::Result;
use crate::model::Model;
use crate::optim::{AverageConfig, OptimizerConfig, ScheduleConfig};

/// Rows of a batch when [`LearnerBuilder::max_rows`] is not called.
const MAX_ROWS: usize = 4096;

/// A [`Learner`] to be: what is not set is as in [`LearnerConfig::default`], with memory for 4096 rows and seed 1.
#[derive(Debug)]
#[must_use = "a builder does nothing until build"]
pub struct LearnerBuilder<B, M> {
    be: B,
    model: M,
    config: LearnerConfig,
    max_rows: usize,
    seed: u64,
}

impl<B: Backend, M: Model<B>> Learner<B, M> {
    /// Begins a learner of a model on a backend.
    pub fn builder(be: B, model: M) -> LearnerBuilder<B, M> {
        LearnerBuilder { be, model, config: LearnerConfig::default(), max_rows: MAX_ROWS, seed: 1 }
    }
}

impl<B: Backend, M: Model<B>> LearnerBuilder<B, M> {
    /// Moves dense parameters by this rule, and embedding tables too unless they have their own.
    pub fn optimizer(mut self, optimizer: OptimizerConfig) -> Self {
        self.config.optimizer = optimizer;
        self
    }

    /// Moves embedding tables by this rule.
    pub fn embedding_optimizer(mut self, optimizer: OptimizerConfig) -> Self {
        self.config.embedding_optimizer = Some(optimizer);
        self
    }

    /// Moves the learning rate over the steps.
    pub fn schedule(mut self, schedule: ScheduleConfig) -> Self {
        self.config.schedule = schedule;
        self
    }

    /// Clips the gradient to this global norm, above 0.
    pub fn clip_norm(mut self, max_norm: f64) -> Self {
        self.config.clip_norm = Some(max_norm);
        self
    }

    /// Averages the parameters over the steps; the average predicts.
    pub fn average(mut self, average: AverageConfig) -> Self {
        self.config.average = Some(average);
        self
    }

    /// Replaces all that the methods above set.
    pub fn config(mut self, config: LearnerConfig) -> Self {
        self.config = config;
        self
    }

    /// Allocates for batches of at most `rows` rows.
    pub fn max_rows(mut self, rows: usize) -> Self {
        self.max_rows = rows;
        self
    }

    /// Seeds the initial parameters, dropout and stochastic rounding.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Allocates the learner and its initial parameters.
    ///
    /// # Errors
    /// As [`Learner::new`].
    pub fn build(self) -> Result<Learner<B, M>> {
        Learner::new(self.be, self.model, self.config, self.max_rows, self.seed)
    }
}
