//! Training as a program does it: configuration, run folder, checkpoints, early stopping.
//!
//! Nothing here knows an architecture: [`trainer::train`] takes any model on any backend.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod config;
pub mod error;
pub mod evaluate;
mod loader;
pub mod profile;
pub mod progress;
pub mod report;
pub mod run;
pub mod tensorboard;
pub mod trainer;
