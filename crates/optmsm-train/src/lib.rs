//! Training as a program does it: configuration, run folder, checkpoints, early stopping.
//!
//! Nothing here knows an architecture: [`trainer::train`] takes any model on any backend.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

pub mod attempt;
pub mod check;
pub mod checkpoint;
pub mod compare;
pub mod config;
pub mod error;
pub mod evaluate;
mod extreme;
pub mod folder;
mod history;
pub mod init;
pub mod inputs;
mod loader;
mod markdown;
mod note;
pub mod origin;
pub mod profile;
pub mod progress;
pub mod provenance;
pub mod reading;
pub mod report;
pub mod rows;
pub mod run;
pub mod say;
mod seal;
mod settings;
pub mod starter;
pub mod statistics;
pub mod tensorboard;
mod tensors;
pub mod trainer;
pub mod tune;
