//! Commands and their options.

mod apply;
mod bench;
mod calibrate;
mod check;
mod compare;
mod docs;
mod gradcheck;
mod init;
mod inspect;
mod many;
mod models;
mod prepare;
mod recipe;
mod report;
mod signals;
mod stdout;
mod synth;
mod train;
mod tune;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use optmsm_core::backend::Backend;
use optmsm_core::model::AnyModel;
use optmsm_core::params::TensorSource;
use optmsm_core::predictor::Predictor;
use optmsm_cpu::{Cpu, CpuOptions};
use optmsm_cuda::{Cuda, CudaOptions};
use optmsm_data::{printable, write_atomic};
use optmsm_train::calibration::{self, Fit};
use optmsm_train::checkpoint::Checkpoint;
use optmsm_train::config::{BackendKind, TrainConfig};
use optmsm_train::error::{Error, Result};
use optmsm_train::run::Run;
use optmsm_train::sampling::Shift;
use optmsm_train::say;
use serde::Serialize;

/// Multi-scenario click-through-rate models: train, evaluate, predict.
#[derive(Parser)]
#[command(name = "optmsm", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Look at data and write a configuration to start from.
    Init(init::Options),
    /// Say what a configuration makes of its data, and what memory training takes.
    Check(check::Options),
    /// Train a model; without a config, on built-in synthetic data.
    Train(train::Options),
    /// Encode the files of a configuration once, so that runs need not.
    Prepare(prepare::Options),
    /// Score a labelled file with the best parameters of a run.
    Evaluate {
        #[command(flatten)]
        on: ApplyTo,
        /// With data.negative_rate: the file has all rows of label 0.
        #[arg(long)]
        unsampled: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Correct the probabilities of a run by labelled rows; evaluate and predict then answer with the corrected ones.
    Calibrate(calibrate::Options),
    /// Write rows with their predictions, as CSV or Parquet.
    Predict {
        #[command(flatten)]
        on: ApplyTo,
        /// File to write: .csv, .csv.gz, .csv.zst or .parquet; - for CSV on standard output.
        #[arg(long)]
        out: String,
    },
    /// Train configurations with the same seeds, and test how they differ.
    Compare(compare::Options),
    /// Compare all models at the same number of trials, on the test rows of one or more data sets.
    Bench(bench::Options),
    /// Search the settings that a configuration's [tune] table names.
    Tune(tune::Options),
    /// Make Parquet and a configuration from the raw files of a public data set; without a name, list all.
    Recipe(recipe::Options),
    /// Write synthetic data whose true probabilities are known: the built-in one or that of another world.
    Synth(synth::Options),
    /// List the models that there are, with their sizes; with a kind's name, its equation and settings.
    Models(models::Options),
    /// Compare every gradient with finite differences.
    Gradcheck(gradcheck::Options),
    /// Draw runs side by side as one HTML page.
    Report(report::Options),
    /// Show what a run holds.
    Inspect {
        /// Run folder.
        run: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Print completions for a shell: optmsm completions bash > FILE, and source it.
    Completions {
        /// Shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page; with --out, write one for every command.
    Man {
        /// Folder for the pages.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

/// How results are printed.
#[derive(Args, Clone, Copy)]
struct Output {
    /// Print one JSON document instead of tables; its keys are in docs/config.md.
    #[arg(long)]
    json: bool,
}

/// A run and a file.
#[derive(Args)]
struct ApplyTo {
    /// Run folder.
    run: PathBuf,
    /// File, folder or quoted glob of CSV, Parquet or Arrow; - for CSV on standard input.
    #[arg(long)]
    data: String,
    /// What computes, whatever trained it.
    #[arg(long, value_enum, default_value_t = BackendKind::Cpu)]
    backend: BackendKind,
    /// Change how the file is read: --set 'data.delimiter=";"', or data.quoting, columns, null_values, label_values.
    /// evaluate also takes data.weighted_metrics.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Take the model at its word, though the run was calibrated.
    #[arg(long)]
    uncalibrated: bool,
}

/// Runs the command of the process's arguments.
pub(crate) fn run() -> Result<u8> {
    signals::survive_file_limits();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return no_command(&e),
    };
    match cli.command {
        Command::Train(options) => train::run(&options)?,
        Command::Prepare(options) => prepare::run(&options)?,
        Command::Init(options) => init::run(&options)?,
        Command::Check(options) => check::run(&options)?,
        Command::Calibrate(options) => calibrate::run(&options)?,
        Command::Evaluate { on, unsampled, output } => apply::evaluate(&on, unsampled, output)?,
        Command::Predict { on, out } => apply::predict(&on, &out)?,
        Command::Compare(options) => compare::run(&options)?,
        Command::Bench(options) => bench::run(&options)?,
        Command::Tune(options) => tune::run(&options)?,
        Command::Recipe(options) => recipe::run(&options)?,
        Command::Synth(options) => synth::run(&options)?,
        Command::Models(options) => models::run(&options)?,
        Command::Gradcheck(options) => return gradcheck::run(&options),
        Command::Report(options) => report::run(&options)?,
        Command::Inspect { run, output } => inspect::run(&run, output)?,
        Command::Completions { shell } => docs::completions(shell)?,
        Command::Man { out } => docs::man(out.as_deref())?,
    }
    Ok(0)
}

/// Prints help or the version, or says what is wrong with the arguments.
fn no_command(e: &clap::Error) -> Result<u8> {
    match e.use_stderr() {
        true => e.render().to_string().lines().for_each(say::line),
        false => stdout::done(e.print())?,
    }
    Ok(if e.use_stderr() { 2 } else { 0 })
}

/// Prints lines; control characters other than their ends are escaped, as names in them come from data.
fn print(text: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    stdout::write(lines.join("\n").as_bytes())
}

/// Writes a file, or to standard output where `-` is given.
fn write_out(path: &Path, bytes: &[u8]) -> Result<()> {
    if is_stdout(path) { stdout::write(bytes) } else { Ok(write_atomic(path, bytes)?) }
}

/// The name of a configuration's runs: that of its file without the ending, and without dots in front, which would lead to another
/// folder or hide it.
fn name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    match stem.trim_start_matches('.') {
        "" => "config".into(),
        name => name.into(),
    }
}

/// Whether a path is that of standard output: `-`, or what the system calls it, so that nothing is written beside or over what the
/// program prints.
fn is_stdout(path: &Path) -> bool {
    ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path.as_os_str() == *name)
}

/// Prints one JSON document.
fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::bug("JSON", e))?;
    stdout::write(format!("{text}\n").as_bytes())
}

/// Settings that the user changes, the backend included.
fn overrides(set: &[String], backend: Option<BackendKind>) -> Vec<String> {
    let backend = backend.and_then(|kind| kind.to_possible_value());
    let backend = backend.map(|kind| format!("train.backend=\"{}\"", kind.get_name()));
    set.iter().cloned().chain(backend).collect()
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
        BackendKind::Cpu => {
            Device::Cpu(Cpu::with(CpuOptions { threads, precision, ..CpuOptions::default() })?)
        }
        BackendKind::Cuda => Device::Cuda(Cuda::new(CudaOptions { device, precision })?),
    })
}

/// A model of the run's kind.
fn model<B: Backend>(run: &Run) -> Result<AnyModel<B>> {
    Ok(optmsm_core::models::build(&run.config.model, &run.input_spec())?)
}

/// A run's best parameters, ready to answer, with or without a calibration.
fn predictor<B: Backend<Elem = f32>>(
    be: B,
    run: &Run,
    best: &Checkpoint,
    fit: Option<Fit>,
    max_rows: usize,
) -> Result<Predictor<B, AnyModel<B>>> {
    let source: &dyn TensorSource<f32> = best;
    let predictor = Predictor::new(be, model(run)?, source, max_rows)?;
    Ok(predictor.answering(calibration::answer(Shift::of(&run.config.data, &run.schema)?, fit)))
}

/// A table with its last column to the right, and an empty line.
fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    let rows = rows.map(|row| row.map(|cell| printable(&cell).into_owned()));
    table.load_preset(presets::NOTHING).set_header(header).add_rows(rows);
    if let Some(column) = table.column_mut(N - 1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n\n")
}
