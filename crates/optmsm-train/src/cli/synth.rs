//! `optmsm synth`.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Error, FileErrorKind, Result};
use crate::world;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use optmsm_data::{DataError, NewFile, SynthConfig, SynthWorld, synth, write_whole};

use super::stdout::Noted;

#[derive(Args)]
#[command(group(clap::ArgGroup::new("to").required(true).args(["out", "dir"])))]
pub(super) struct Options {
    /// How clicks come about.
    #[arg(long, value_parser = worlds(), default_value = "demo")]
    world: SynthWorld,
    /// Rows to write; the world's usual number when not given.
    #[arg(long)]
    rows: Option<u64>,
    /// File to write, or - for standard output.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Folder for train.csv, valid.csv, test.csv (80, 10 and 10 % of the rows) and a configuration that trains on them.
    #[arg(long, value_name = "FOLDER", conflicts_with = "format")]
    dir: Option<PathBuf>,
    /// What to write; by the name of the file when not given.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Seed of everything.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Distinct users; the first ones are the most active. The world's usual number when not given.
    #[arg(long)]
    users: Option<usize>,
    /// Distinct items; the first ones are the most popular. The world's usual number when not given.
    #[arg(long)]
    items: Option<usize>,
}

/// Worlds by their names.
fn worlds() -> impl TypedValueParser<Value = SynthWorld> {
    let names = SynthWorld::ALL.map(|world| PossibleValue::new(world.name()).help(world.about()));
    let named = |name: String| SynthWorld::ALL.into_iter().find(|world| world.name() == name);
    PossibleValuesParser::new(names).map(move |name| named(name).unwrap_or_default())
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Csv,
    Parquet,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let usual = options.world.config();
    let config = SynthConfig {
        rows: options.rows.unwrap_or(usual.rows),
        seed: options.seed,
        users: options.users.unwrap_or(usual.users),
        items: options.items.unwrap_or(usual.items),
        ..usual
    };
    config.validate()?;
    match (&options.out, &options.dir) {
        (Some(out), _) => write_file(&config, options.format, out),
        (None, Some(folder)) => write_folder(&config, folder),
        (None, None) => Ok(()), // clap asks for one of them
    }
}

fn write_file(config: &SynthConfig, format: Option<Format>, out: &Path) -> Result<()> {
    let parquet = out.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
    let by_name = if parquet { Format::Parquet } else { Format::Csv };
    let (format, rows) = (format.unwrap_or(by_name), 0..config.rows);
    if super::is_stdout(out) {
        return super::stdout::fill(|out| {
            match format {
                Format::Csv => synth::write_csv(config, rows, out)?,
                Format::Parquet => synth::write_parquet(config, rows, out)?,
            }
            Ok(())
        });
    }
    write_beside(out, |file| write(config, format, rows, file, out))
}

/// Writes the three files and the configuration: all of them, or none.
fn write_folder(config: &SynthConfig, folder: &Path) -> Result<()> {
    if config.rows < 10 {
        let fix = "a tenth of them validates, another one tests";
        return Err(Error::argument(format!("--rows {}", config.rows), "is below 10", fix));
    }
    let name = config.world.name();
    let settings = world::text(config.world, folder)?;
    let files = ["train.csv", "valid.csv", "test.csv"].map(|file| folder.join(file));
    let last = folder.join(name).with_extension("toml");
    for path in files.iter().chain([&last]) {
        if path.symlink_metadata().is_ok() {
            let fix = "write to another folder, or remove it";
            return Err(Error::file(FileErrorKind::Exists, path.display(), "is there already", fix));
        }
    }
    let new = !folder.exists();
    fs::create_dir_all(folder)
        .map_err(|e| Error::io(folder.display(), "written", e, "choose another --dir"))?;
    let mut named = Vec::new();
    let mut written = || -> Result<()> {
        let mut whole = Vec::new();
        for (path, range) in files.iter().zip(config.splits()) {
            let file = NewFile::create(path)?;
            write(config, Format::Csv, range, file.file(), path)?;
            whole.push((path, file));
        }
        // The configuration last: where it is, all is.
        let mut file = NewFile::create(&last)?;
        file.write_all(settings.as_bytes())
            .map_err(|e| refused(&last, DataError::io(&last.display().to_string(), "write", e).into()))?;
        whole.push((&last, file));
        for (path, file) in whole {
            file.commit()?;
            named.push(path);
        }
        Ok(())
    };
    if let Err(e) = written() {
        named.into_iter().for_each(|path| drop(fs::remove_file(path)));
        if new {
            fs::remove_dir(folder).ok();
        }
        return Err(e);
    }
    let config = last.display();
    super::print(
        format!("{config}: next, optmsm check {config}, optmsm train --config {config}\n").as_bytes(),
    )
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
