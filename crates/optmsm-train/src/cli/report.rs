//! `optmsm report`.

use std::path::{Path, PathBuf};

use crate::config::BackendKind;
use crate::error::{Error, Result};
use crate::evaluate::CHUNK;
use crate::report::{self, Files, RunReport};
use crate::run::Run;
use clap::Args;
use optmsm_core::backend::Backend;

use crate::device::{self, Device};

#[derive(Args)]
pub(super) struct Options {
    /// Run folders, to stand side by side.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// File, folder or quoted glob to score; when not given, each run's data.valid, or the validation part of its data.split.
    #[arg(long)]
    data: Option<PathBuf>,
    /// HTML file to write, - for standard output.
    #[arg(long)]
    out: PathBuf,
    /// JSON file for the numbers that the page shows, - for standard output.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What computes, whatever trained the runs.
    #[arg(long, value_enum, default_value_t = BackendKind::Cpu)]
    backend: BackendKind,
}

pub(super) fn run(options: &Options) -> Result<()> {
    if options.data.as_ref().is_some_and(|path| path.as_os_str() == "-") {
        return Err(Error::argument("--data -", "cannot be read twice", "give a file"));
    }
    let outputs = [Some(&options.out), options.json.as_ref()];
    let stdout = match outputs.into_iter().flatten().filter(|out| super::is_stdout(out)).count() {
        2 => return Err(Error::argument("--json -", "cannot go where the page goes", "give a file")),
        outputs => outputs == 1,
    };
    let mut files = Files::default();
    let runs =
        options.runs.iter().map(|folder| one(folder, options, &mut files)).collect::<Result<Vec<_>>>()?;
    let page = report::page(&runs)?;
    if let Some(path) = &options.json {
        let numbers = serde_json::to_vec_pretty(&runs).map_err(|e| Error::bug(path.display(), e))?;
        super::write_out(path, &numbers)?;
    }
    super::write_out(&options.out, page.as_bytes())?;
    if stdout {
        return Ok(());
    }
    super::print(format!("report: {}\n", options.out.display()).as_bytes())
}

fn one(folder: &Path, options: &Options, files: &mut Files) -> Result<RunReport> {
    let run = Run::open(folder)?;
    match Device::open(options.backend, &run.config.train)? {
        Device::Cpu(be) => gather(be, &run, options, files),
        Device::Cuda(be) => gather(be, &run, options, files),
    }
}

fn gather<B: Backend<Elem = f32>>(
    be: B,
    run: &Run,
    options: &Options,
    files: &mut Files,
) -> Result<RunReport> {
    let predictor = device::predictor(be, run, &run.checkpoint("best")?, None, CHUNK)?;
    report::gather(&predictor, run, options.data.as_deref(), files)
}
