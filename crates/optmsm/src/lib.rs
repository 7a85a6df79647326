//! Multi-scenario click-through-rate models in Rust, with gradients written by hand and checked.
//!
//! One model serves many scenarios (home feed, search page, ads slot …). The default is OptMSM (Tang et al., ECML PKDD 2023,
//! arXiv 2306.13382); [`models`] has others.
//!
//! # Concepts
//!
//! - An [`InputSpec`](config::InputSpec) names the scenarios and the fields of a row; a field is an id, a list of ids or a number.
//! - A [`Batch`](batch::Batch) holds rows: scenario, a [`Value`](batch::Value) per field, label, sample weight.
//! - A [`Model`](model::Model) is an architecture: forward pass, handwritten backward pass, named tensors.
//!   [`AnyModel`](model::AnyModel) is one that a configuration chooses ([`models::build`]).
//! - A [`Backend`](backend::Backend) computes: `Cpu` (feature `cpu`), `Cuda` (feature `cuda`), or the
//!   [`Reference`](reference::Reference), which defines every operation in scalar loops.
//! - A [`Learner`](learner::Learner) trains, one step per batch; a [`Predictor`](predictor::Predictor) answers from many threads.
//!
//! # Links
//!
//! - The program `optmsm`, which trains from a configuration file: the crate
//!   [optmsm-train](https://docs.rs/optmsm-train).
//! - A model of your own: [`model`], and the example `own_model` in the repository's `examples`.
//! - Files: the crate [optmsm-data](https://docs.rs/optmsm-data), here behind the feature `data`.
//! - Definitions, derivations and the way of a row: `docs` in the repository.
//!
//! # Features
//!
//! | feature | brings | default |
//! |---|---|---|
//! | `cpu` | the CPU backend: SIMD, all cores | yes |
//! | `cuda` | the CUDA backend; needs an NVIDIA driver when a program uses it, and nothing to build | no |
//! | `data` | `data`: CSV, Parquet and Arrow files to rows, through a schema | no |
//! | `train` | `train`: configuration, run folders, checkpoints and evaluation, as the program has them; implies `data` | no |
//!
//! # Guide
//!
//! Name the fields, build a model, pick a backend; then step, predict, export:
//!
//! ```
//! # #[cfg(feature = "cpu")] {
//! use optmsm::prelude::*;
//!
//! let input = InputSpec {
//!     scenarios: 2,
//!     fields: vec![
//!         FieldSpec::new("user", Role::Shared, FieldKind::Categorical { vocab: 3 }),
//!         FieldSpec::new("tags", Role::Shared, FieldKind::Multi { vocab: 4, pooling: Pooling::Mean }),
//!     ],
//! };
//! let mut batch = Batch::new(&input);
//! batch.push(&input, Row::new(0, &[Value::Id(1), Value::Ids(&[2, 3])]).label(1.0))?;
//! batch.push(&input, Row::new(1, &[Value::Id(2), Value::WeightedIds(&[(1, 0.5)])]).label(0.0))?;
//!
//! let model = OptMsm::new(&ModelConfig::default(), &input)?;
//! let mut learner = Learner::builder(Cpu::new()?, model.clone())
//!     .optimizer(OptimizerConfig { lr: 0.01, ..OptimizerConfig::default() })
//!     .max_rows(64)
//!     .seed(1)
//!     .build()?;
//! let loss = learner.step(&batch)?;
//! assert!(loss.total() > 0.0);
//!
//! // A checkpoint is a list of named tensors; a predictor starts from any source of them.
//! let tensors = learner.export()?;
//! let predictor = Predictor::new(Cpu::new()?, model, &tensors, 64)?;
//! assert_eq!(predictor.predict(&batch)?.len(), 2);
//! # }
//! # Ok::<(), optmsm::error::Error>(())
//! ```
//!
//! Match errors by variant and data, never by their text. A program that runs out of memory can go on with smaller batches
//! (the example of [`error`]); this one leaves out files that are not there:
//!
//! ```
//! # #[cfg(feature = "data")] {
//! use optmsm::data::{DataError, Dataset, FileErrorKind, Schema};
//!
//! /// The rows of the files that are there.
//! fn load(paths: &[&str], schema: &Schema) -> Result<Vec<Dataset>, DataError> {
//!     let mut sets = Vec::new();
//!     for &path in paths {
//!         match Dataset::load(path, schema) {
//!             Err(DataError::File { kind: FileErrorKind::Missing, .. }) => continue,
//!             loaded => sets.push(loaded?),
//!         }
//!     }
//!     Ok(sets)
//! }
//! # use optmsm::data::{DataConfig, FieldConfig};
//! # let path = std::env::temp_dir().join(format!("optmsm-face-{}.csv", std::process::id()));
//! # std::fs::write(&path, "label,scenario,user\n1,home,a\n0,ads,b\n").unwrap();
//! # let config = DataConfig { fields: vec![FieldConfig::new("user")], ..DataConfig::default() };
//! # let there = path.to_str().unwrap();
//! # let loaded = Schema::fit(&config, there).and_then(|schema| load(&[there, "none.csv"], &schema));
//! # std::fs::remove_file(&path).unwrap();
//! # assert_eq!(loaded.unwrap().len(), 1);
//! # }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

#[doc(no_inline)]
pub use optmsm_comm as comm;
#[doc(no_inline)]
pub use optmsm_core::{
    backend, batch, config, error, gradcheck, layers, learner, metrics, model, models, optim, params, plan,
    precision, predictor, ranks, reference, rounding, trace, uploaded,
};
#[cfg(feature = "cpu")]
pub use optmsm_cpu as cpu;
#[cfg(feature = "cuda")]
pub use optmsm_cuda as cuda;
#[cfg(feature = "data")]
pub use optmsm_data as data;
#[cfg(feature = "train")]
pub use optmsm_train as train;

/// Names that most programs need.
pub mod prelude {
    pub use optmsm_core::backend::Backend;
    pub use optmsm_core::batch::{Batch, Column, Row, Value};
    pub use optmsm_core::config::{
        Activation, Combine, Condition, EmbeddingsConfig, FieldKind, FieldSpec, InputSpec, ModelConfig,
        Pooling, Role,
    };
    pub use optmsm_core::error::{Error, Result};
    pub use optmsm_core::learner::{Learner, LearnerBuilder, LearnerConfig, StepLoss};
    pub use optmsm_core::metrics;
    pub use optmsm_core::model::{AnyModel, Model};
    pub use optmsm_core::models::{self, Kind, OptMsm};
    pub use optmsm_core::optim::{
        Average, AverageConfig, DecayRows, OptimizerConfig, Period, Rule, Schedule, ScheduleConfig, Whole,
    };
    pub use optmsm_core::params::{HostTensor, TensorSource};
    pub use optmsm_core::precision::Precision;
    pub use optmsm_core::predictor::Predictor;
    pub use optmsm_core::rounding::TableDtype;
    #[cfg(feature = "cpu")]
    pub use optmsm_cpu::{Cpu, CpuOptions};
    #[cfg(feature = "cuda")]
    pub use optmsm_cuda::{Cuda, CudaOptions};
}
