//! `optmsm init`.

use std::path::PathBuf;

use clap::Args;
use optmsm_data::is_taken;
use optmsm_train::error::{Error, Result};
use optmsm_train::starter::{self, Given, starter};

#[derive(Args)]
pub(super) struct Options {
    /// The rows to train on: file, folder or quoted glob of CSV, Parquet or Arrow.
    data: PathBuf,
    /// Configuration to write, - for standard output; named after the data when not given.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Column of the label, 0 or 1.
    #[arg(long, value_name = "COL")]
    label: Option<String>,
    /// Column of the scenario's name.
    #[arg(long, value_name = "COL")]
    scenario: Option<String>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let Options { data, out, label, scenario } = options;
    let out = out.clone().unwrap_or_else(|| starter::name(data));
    if !super::is_stdout(&out) && is_taken(&out) {
        return Err(Error::file(out.display(), "is there already", "choose another file with --out"));
    }
    let text = starter(data, &Given { label: label.clone(), scenario: scenario.clone() })?;
    super::write_out(&out, text.as_bytes())?;
    if super::is_stdout(&out) {
        return Ok(());
    }
    let out = out.display();
    super::print(
        format!("{out}: read it through, then: optmsm check {out}, optmsm train --config {out}\n").as_bytes(),
    )
}
