//! Multi-scenario click-through-rate models in Rust, with gradients written by hand and checked.
//!
//! One model serves many scenarios (home feed, search page, ads slot …): OptMSM (Tang et al., ECML PKDD
//! 2023, arXiv 2306.13382). Build a configuration and a model, pick a backend, then step, predict, export:
//!
//! ```
//! use optmsm::prelude::*;
//!
//! let input = InputSpec {
//!     scenarios: 2,
//!     fields: vec![FieldSpec::new("user", Role::Shared, FieldKind::Categorical { vocab: 3 })],
//! };
//! let model = OptMsm::new(&ModelConfig::default(), &input)?;
//! let cpu = Cpu::new(CpuOptions::default())?;
//! let mut learner = Learner::new(cpu, model, LearnerConfig::default(), 64, 1)?;
//! let batch = Batch {
//!     labels: vec![1.0, 0.0],
//!     weights: vec![],
//!     scenarios: vec![0, 1],
//!     columns: vec![Column::Categorical(vec![1, 2])],
//! };
//! let loss = learner.step(&batch)?;
//! assert!(loss.total() > 0.0);
//! assert_eq!(learner.predict(&batch)?.len(), 2);
//! # Ok::<(), optmsm::error::Error>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

#[doc(no_inline)]
pub use optmsm_core::{
    backend, batch, config, error, gradcheck, layers, learner, metrics, model, optim, params, predictor,
    reference, rounding,
};
#[cfg(feature = "cpu")]
pub use optmsm_cpu as cpu;
#[cfg(feature = "cuda")]
pub use optmsm_cuda as cuda;

/// What most programs need.
pub mod prelude {
    pub use optmsm_core::backend::Backend;
    pub use optmsm_core::batch::{Batch, Column};
    pub use optmsm_core::config::{
        Combine, Condition, EmbeddingsConfig, FieldKind, FieldSpec, InputSpec, ModelConfig, Pooling, Role,
    };
    pub use optmsm_core::error::{Error, Result};
    pub use optmsm_core::learner::{Learner, LearnerConfig, StepLoss};
    pub use optmsm_core::metrics;
    pub use optmsm_core::model::{AnyModel, Model};
    pub use optmsm_core::models::{self, Kind, OptMsm};
    pub use optmsm_core::optim::{
        Average, AverageConfig, DecayRows, OptimizerConfig, Period, Rule, Schedule, ScheduleConfig, Whole,
    };
    pub use optmsm_core::params::{HostTensor, TensorSource};
    pub use optmsm_core::predictor::Predictor;
    pub use optmsm_core::rounding::TableDtype;
    #[cfg(feature = "cpu")]
    pub use optmsm_cpu::{Cpu, CpuOptions};
    #[cfg(feature = "cuda")]
    pub use optmsm_cuda::{Cuda, CudaOptions, Precision};
}
