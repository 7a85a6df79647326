//! `optmsm init`.

use std::path::PathBuf;

use clap::Args;
use optmsm_data::{Form, Quoting, is_taken};
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
    /// The CSV has no header: its columns are called c1, c2 and so on.
    #[arg(long)]
    no_header: bool,
    /// What quotes mean in the CSV: strict, standard (values may have line breaks in them) or none.
    #[arg(long, value_name = "QUOTING", default_value = "strict", value_parser = quoting)]
    quoting: Quoting,
}

fn quoting(text: &str) -> std::result::Result<Quoting, String> {
    match text {
        "strict" => Ok(Quoting::Strict),
        "standard" => Ok(Quoting::Standard),
        "none" => Ok(Quoting::None),
        _ => Err("give strict, standard or none".into()),
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    let &Options { no_header, quoting, .. } = options;
    let Options { data, out, label, scenario, .. } = options;
    let out = out.clone().unwrap_or_else(|| starter::name(data));
    if !super::is_stdout(&out) && is_taken(&out) {
        return Err(Error::file(out.display(), "is there already", "choose another file with --out"));
    }
    let (label, scenario, form) = (label.clone(), scenario.clone(), Form { quoting, no_header });
    let text = starter(data, &Given { label, scenario, form })?;
    super::write_out(&out, text.as_bytes())?;
    if super::is_stdout(&out) {
        return Ok(());
    }
    let out = out.display();
    super::print(
        format!("{out}: read it through, then: optmsm check {out}, optmsm train --config {out}\n").as_bytes(),
    )
}
