//! Commands and their options.

mod apply;
mod gradcheck;
mod inspect;
mod report;
mod synth;
mod train;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use optmsm_core::backend::Backend;
use optmsm_core::model::OptMsm;
use optmsm_core::params::TensorSource;
use optmsm_core::predictor::Predictor;
use optmsm_cpu::{Cpu, CpuOptions};
use optmsm_cuda::{Cuda, CudaOptions};
use optmsm_train::config::{BackendKind, TrainConfig};
use optmsm_train::error::Result;
use optmsm_train::run::Run;

/// Multi-scenario click-through-rate models: train, evaluate, predict.
#[derive(Parser)]
#[command(name = "optmsm", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model; without a config, on built-in synthetic data.
    Train(train::Options),
    /// Score a labelled file with the best parameters of a run.
    Evaluate(ApplyTo),
    /// Add a `prediction` column to a file.
    Predict {
        #[command(flatten)]
        on: ApplyTo,
        /// File to write, or - for standard output.
        #[arg(long)]
        out: String,
    },
    /// Write the built-in synthetic data as CSV.
    Synth(synth::Options),
    /// Compare every gradient with finite differences.
    Gradcheck,
    /// Draw runs side by side as one HTML page.
    Report(report::Options),
    /// Show what a run holds.
    Inspect {
        /// Run folder.
        run: PathBuf,
    },
}

/// A run and a file.
#[derive(Args)]
struct ApplyTo {
    /// Run folder.
    run: PathBuf,
    /// CSV file, or - for standard input.
    #[arg(long)]
    data: String,
    /// What computes, whatever trained it.
    #[arg(long, value_enum, default_value_t = BackendKind::Cpu)]
    backend: BackendKind,
}

/// Runs the command of the process's arguments.
pub(crate) fn run() -> Result<u8> {
    match Cli::parse().command {
        Command::Train(options) => train::run(&options)?,
        Command::Evaluate(on) => apply::evaluate(&on)?,
        Command::Predict { on, out } => apply::predict(&on, &out)?,
        Command::Synth(options) => synth::run(&options)?,
        Command::Gradcheck => return gradcheck::run(),
        Command::Report(options) => report::run(&options)?,
        Command::Inspect { run } => inspect::run(&run)?,
    }
    Ok(0)
}

/// A backend that can be opened on this machine.
enum Device {
    Cpu(Cpu),
    Cuda(Cuda),
}

/// The only place that picks a backend.
fn open(kind: BackendKind, config: &TrainConfig) -> Result<Device> {
    let &TrainConfig { threads, device, precision, .. } = config;
    Ok(match kind {
        BackendKind::Cpu => Device::Cpu(Cpu::new(CpuOptions { threads, ..CpuOptions::default() })?),
        BackendKind::Cuda => Device::Cuda(Cuda::new(CudaOptions { device, precision })?),
    })
}

/// The only place that picks an architecture.
fn model(run: &Run) -> Result<OptMsm> {
    Ok(OptMsm::new(&run.config.model, &run.schema.input_spec())?)
}

/// A run's best parameters, ready to answer.
fn predictor<B: Backend<Elem = f32>>(be: B, run: &Run, max_rows: usize) -> Result<Predictor<B, OptMsm>> {
    let best = run.checkpoint("best")?;
    let source: &dyn TensorSource<f32> = &best;
    Ok(Predictor::new(be, model(run)?, source, max_rows)?)
}
