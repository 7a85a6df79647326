//! `optmsm prepare`: encodes the files of a configuration once, so that runs find them encoded.

use std::path::PathBuf;
use std::time::Instant;

use crate::config::Config;
use crate::data_files;
use crate::error::Result;
use crate::say;
use clap::Args;
use optmsm_data::{Cache, Prepared, Split};

#[derive(Args)]
pub(super) struct Options {
    /// Configuration file.
    #[arg(long)]
    config: PathBuf,
    /// Change one value: --set data.stream.folder=/fast/cache
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let config = Config::load(&options.config, &options.set)?;
    prepare(&config).map_err(|e| config.origin.locate(e))
}

fn prepare(config: &Config) -> Result<()> {
    let schema = data_files::fit(config)?;
    let folder = config.path(&config.data.stream.folder);
    for part in [Split::Train, Split::Valid, Split::Test] {
        let Some(source) = data_files::source(config, part) else { continue };
        let start = Instant::now();
        let (cache, prepared) =
            Cache::prepare(&source, &schema, data_files::selection(config, part), &folder, say::line)?;
        let what = match prepared {
            Prepared::Found => "found".to_string(),
            Prepared::Made => "made".to_string(),
            Prepared::Rebuilt(why) => format!("made anew ({why})"),
        };
        let (rows, megabytes, seconds) =
            (cache.rows(), cache.bytes() as f64 / 1e6, start.elapsed().as_secs_f64());
        let (part, path) = (part.name(), cache.path().display());
        let line = format!("{part} rows: {rows}, {megabytes:.1} MB, {what} in {seconds:.1} s\n  {path}\n");
        super::print(line.as_bytes())?;
    }
    Ok(())
}
