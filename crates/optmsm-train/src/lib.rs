//! Training as a program does it: configuration, run folder, checkpoints, early stopping.
//!
//! Nothing here knows an architecture: [`trainer::train`] takes any model on any backend.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

pub mod alone;
pub mod attempt;
pub mod balance;
mod batches;
pub mod bench;
pub mod calibration;
pub mod check;
pub mod checkpoint;
pub mod cli;
pub mod compare;
pub mod config;
pub mod coverage;
pub mod data_files;
pub mod device;
pub mod error;
pub mod evaluate;
pub mod every;
pub mod extreme;
pub mod findings;
pub mod folder;
mod history;
pub mod init;
pub mod leak;
mod loader;
mod markdown;
mod monitor;
mod note;
pub mod origin;
mod paths;
pub mod profile;
pub mod progress;
pub mod provenance;
pub mod ranks;
pub mod reading;
pub mod record;
pub mod report;
pub mod resume;
pub mod rows;
pub mod run;
pub mod sampling;
pub mod say;
mod scored;
pub mod scorer;
mod seal;
pub mod session;
mod settings;
pub mod starter;
pub mod statistics;
pub mod stretch;
pub mod tensorboard;
mod tensors;
pub mod trainer;
pub mod tune;
mod verify;
pub mod world;
