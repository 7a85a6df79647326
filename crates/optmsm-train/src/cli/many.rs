//! Common parts of the commands that train several models.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use clap::Args;
use optmsm_core::backend::Backend;
use optmsm_core::model::Model;
use optmsm_cpu::Cpu;
use serde::Serialize;

use super::Output;
use crate::attempt::{Study, Trainer};
use crate::config::Config;
use crate::device::{self, Device};
use crate::error::Result;
use crate::run::Run;
use crate::session;
use crate::trainer::{self, Control, Data};

/// Their common options.
#[derive(Args)]
pub(super) struct Common {
    /// Change one value, in every configuration: --set train.epochs=5
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Stop and save once a run has done this many steps, as an interrupt would.
    #[arg(long)]
    max_steps: Option<u64>,
    /// Print the final table only.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    pub(super) output: Output,
}

impl Common {
    pub(super) fn study<'a>(&self, stop: &'a AtomicBool) -> Study<'a> {
        Study { trainer: &Program, stop, max_steps: self.max_steps, quiet: self.quiet }
    }
}

/// Seeds of `count` runs: `train.seed` and those that follow it.
///
/// # Errors
/// Not that many follow it.
pub(super) fn seeds(config: &Config, count: u64) -> Result<Vec<u64>> {
    let first = config.train.seed;
    if first > i64::MAX as u64 - count {
        let problem = format!("{first} leaves no room for {count} seeds");
        return Err(optmsm_core::error::Error::config("train.seed", problem, "lower it").into());
    }
    Ok((first..first + count).collect())
}

/// Output of `--json`.
#[derive(Serialize)]
pub(super) struct Done<'a, T> {
    /// Folder of the runs.
    out: String,
    #[serde(flatten)]
    result: &'a T,
}

impl<'a, T: Serialize> Done<'a, T> {
    pub(super) fn print(out: &Path, result: &'a T) -> Result<()> {
        super::print_json(&Done { out: out.display().to_string(), result })
    }
}

/// The program's backends and architecture.
pub(super) struct Program;

impl Trainer for Program {
    fn parameters(&self, run: &Run) -> Result<u64> {
        Ok(device::model::<Cpu>(run)?.spec().parameters() as u64)
    }

    fn train(&self, run: &Run, data: &Data, control: &Control) -> Result<()> {
        match Device::open(run.config.train.backend, &run.config.train)? {
            Device::Cpu(be) => train(be, run, data, control),
            Device::Cuda(be) => train(be, run, data, control),
        }
    }
}

fn train<B: Backend<Elem = f32>>(be: B, run: &Run, data: &Data, control: &Control) -> Result<()> {
    // Of many runs nobody wants to hear how each one's tables begin.
    let mut learner = session::begin(be, run, None, &Control { quiet: true, ..*control })?;
    trainer::train(&mut learner, run, data, control).map(|_| ())
}
