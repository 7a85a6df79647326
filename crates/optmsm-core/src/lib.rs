//! Multi-scenario click-through-rate models with handwritten gradients.
//!
//! The layers are written once, generic over a [`backend::Backend`]; the very code that ships is checked
//! by finite differences in `f64` on [`reference::Reference`]. No unsafe code, no threads, no files.
//!
//! [`models`] has an architecture per file; [`model`] is the contract that they meet.
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

pub mod backend;
pub mod batch;
pub mod config;
pub mod counting;
pub mod elem;
mod embedding_grads;
pub mod error;
pub mod fold;
pub mod gradcheck;
pub mod input;
mod lanes;
pub mod layers;
pub mod learner;
pub mod metrics;
pub mod model;
pub mod models;
pub mod optim;
pub mod params;
pub mod philox;
pub mod plan;
pub mod precision;
pub mod predictor;
pub mod profile;
pub mod ranks;
pub mod reference;
pub mod rounding;
mod runtime;
pub mod tables;
pub mod trace;
pub mod uploaded;
