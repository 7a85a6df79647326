//! The program `optmsm`: its commands and their options, for a process of its own ([`main`]) or within another one ([`call`]).

mod apply;
mod bench;
mod calibrate;
mod check;
mod compare;
mod docs;
mod export;
mod gradcheck;
mod host;
mod init;
mod inspect;
mod many;
mod models;
mod prepare;
mod recipe;
mod report;
#[cfg(feature = "serve")]
mod serve;
mod signals;
mod stdout;
mod synth;
mod train;
mod tune;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Parser, Subcommand, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use optmsm_data::{printable, write_atomic};
use serde::Serialize;

use crate::config::BackendKind;
use crate::error::{Error, Result};
use crate::ranks::Ranks;
use crate::say;

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
    /// Write a run for another runtime, from the values of a row to its probability: an ONNX file or a PyTorch module.
    Export(export::Options),
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
    /// Answer over HTTP: rows and candidates in, probabilities out.
    #[cfg(feature = "serve")]
    Serve(serve::Options),
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
    /// The device that computes, whatever trained the run.
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

/// Runs the program with its arguments, the first of which is its name; returns the exit code. Signals are the program's from then on.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    signals::survive_file_limits();
    let done = match Cli::try_parse_from(args) {
        Ok(cli) => run(cli.command),
        Err(e) => no_command(&e),
    };
    done.unwrap_or_else(|e| {
        say::line(&format!("error: {e}"));
        e.exit_code()
    })
}

/// Runs a command within another process; returns the program's exit code and what it would have printed on standard output. The
/// command saves its work and ends once `stop` is true, as the program does on a signal.
///
/// # Errors
/// Those of the command; it is not understood.
pub fn call(args: &[String], stop: Arc<AtomicBool>) -> Result<(u8, Vec<u8>)> {
    let program = ["optmsm"].into_iter().chain(args.iter().map(String::as_str));
    let cli = Cli::try_parse_from(program).map_err(|e| {
        let text = e.render().to_string();
        let problem = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        Error::argument(format!("optmsm {}", args.join(" ")), problem, "see optmsm --help")
    })?;
    let (done, printed) = host::called(stop, || run(cli.command));
    Ok((done?, printed))
}

fn run(command: Command) -> Result<u8> {
    let ranks = Ranks::started()?;
    if !matches!(command, Command::Train(_)) {
        alone(&ranks)?;
    }
    match command {
        Command::Train(options) => train::run(&ranks, &options).inspect_err(|e| ranks.end(e))?,
        Command::Prepare(options) => prepare::run(&options)?,
        Command::Init(options) => init::run(&options)?,
        Command::Check(options) => check::run(&options)?,
        Command::Calibrate(options) => calibrate::run(&options)?,
        Command::Evaluate { on, unsampled, output } => apply::evaluate(&on, unsampled, output)?,
        Command::Predict { on, out } => apply::predict(&on, &out)?,
        Command::Export(options) => export::run(&options)?,
        Command::Compare(options) => compare::run(&options)?,
        Command::Bench(options) => bench::run(&options)?,
        Command::Tune(options) => tune::run(&options)?,
        Command::Recipe(options) => recipe::run(&options)?,
        Command::Synth(options) => synth::run(&options)?,
        Command::Models(options) => models::run(&options)?,
        Command::Gradcheck(options) => return gradcheck::run(&options),
        Command::Report(options) => report::run(&options)?,
        #[cfg(feature = "serve")]
        Command::Serve(options) => serve::run(&options)?,
        Command::Inspect { run, output } => inspect::run(&run, output)?,
        Command::Completions { shell } => docs::completions(shell)?,
        Command::Man { out } => docs::man(out.as_deref())?,
    }
    Ok(0)
}

/// Refuses several processes for what one does.
fn alone(ranks: &Ranks) -> Result<()> {
    if !ranks.are_several() {
        return Ok(());
    }
    let problem =
        format!("runs in one process, and a launcher has started {} ranks of it", ranks.comm().size());
    Err(Error::argument("command", problem, "start it without mpirun or srun; optmsm train is for ranks"))
}

/// Prints help or the version, or says what is wrong with the arguments.
fn no_command(e: &clap::Error) -> Result<u8> {
    match e.use_stderr() {
        // All ranks of a job have the same arguments.
        _ if !optmsm_comm::is_first() => {}
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
