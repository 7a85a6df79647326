//! Multi-scenario click-through-rate models with handwritten gradients.
//!
//! The layers are written once, generic over a [`backend::Backend`]; the very code that ships is checked
//! by finite differences in `f64` on [`reference::Reference`]. No unsafe code, no threads, no files.
//!
//! The model is OptMSM (Tang et al., ECML PKDD 2023, arXiv 2306.13382).
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

pub mod backend;
pub mod batch;
pub mod config;
pub mod counting;
pub mod elem;
pub mod error;
mod fields;
pub mod gradcheck;
pub mod inputs;
pub mod layers;
pub mod learner;
pub mod metrics;
pub mod model;
pub mod optim;
pub mod params;
pub mod philox;
pub mod plan;
pub mod predictor;
pub mod profile;
pub mod reference;
pub mod rounding;
mod runtime;
pub mod tables;
