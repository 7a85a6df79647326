//! `optmsm synth`.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use optmsm_data::{DataError, SynthConfig, synth, write_whole};
use optmsm_train::error::{Error, Result};

use super::stdout::Noted;

#[derive(Args)]
pub(super) struct Options {
    /// Rows to write.
    #[arg(long)]
    rows: u64,
    /// File to write, or - for standard output.
    #[arg(long)]
    out: PathBuf,
    /// What to write; by the name of the file when not given.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Seed of everything.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Distinct users; the first ones are the most active.
    #[arg(long, default_value_t = SynthConfig::default().users)]
    users: usize,
    /// Distinct items; the first ones are the most popular.
    #[arg(long, default_value_t = SynthConfig::default().items)]
    items: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Csv,
    Parquet,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let &Options { rows, seed, users, items, .. } = options;
    let config = SynthConfig { rows, seed, users, items, ..SynthConfig::default() };
    config.validate()?;
    let parquet = options.out.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
    let by_name = if parquet { Format::Parquet } else { Format::Csv };
    let format = options.format.unwrap_or(by_name);
    if super::is_stdout(&options.out) {
        let rows = 0..config.rows;
        return super::stdout::fill(|out| {
            match format {
                Format::Csv => synth::write_csv(&config, rows, out)?,
                Format::Parquet => synth::write_parquet(&config, rows, out)?,
            }
            Ok(())
        });
    }
    write_beside(&options.out, |out| write(&config, format, 0..config.rows, out, &options.out))
}

/// Writes rows; a failure names the file.
pub(super) fn write(
    config: &SynthConfig,
    format: Format,
    range: Range<u64>,
    out: impl Write + Send,
    path: &Path,
) -> Result<()> {
    let written = match format {
        Format::Csv => synth::write_csv(config, range, out),
        Format::Parquet => synth::write_parquet(config, range, out),
    };
    written.map_err(|e| refused(path, e.into()))
}

/// Gives a failure of the disk the name of the file.
fn refused(path: &Path, e: Error) -> Error {
    match e {
        Error::Data(DataError::Io { source, .. }) => {
            Error::io(path.display(), "written", source, "check the folder and the space on its disk")
        }
        other => other,
    }
}

/// Writes a file that is whole or not there; a failure of the disk names it. A pipe whose reader has seen enough ends it quietly.
pub(super) fn write_beside(path: &Path, write: impl FnOnce(&mut Noted<&File>) -> Result<()>) -> Result<()> {
    let mut closed = false;
    let written = write_whole(path, |file| {
        let mut out = Noted::new(file);
        let written = write(&mut out);
        closed = out.is_closed();
        written
    });
    written.or_else(|e| if closed { Ok(()) } else { Err(e) }).map_err(|e| refused(path, e))
}
