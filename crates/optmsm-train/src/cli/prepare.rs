//! `optmsm prepare`: encodes the files of a configuration once, so that runs find them encoded.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use optmsm_data::{Cache, Prepared, Schema};
use optmsm_train::config::Config;
use optmsm_train::error::Result;

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
    let train = super::train::required(&config, &config.data.train, "data.train")?;
    let schema = Schema::fit(&config.data, &train).map_err(|e| config.origin.locate(e.into()))?;
    let folder = config.path(&config.data.stream.folder);
    let others = [&config.data.valid, &config.data.test].into_iter().flatten().map(|path| config.path(path));
    for path in std::iter::once(train).chain(others) {
        let start = Instant::now();
        let (cache, prepared) = Cache::prepare(&path, &schema, &folder, |_| {})?;
        let what = match prepared {
            Prepared::Found => "found".to_string(),
            Prepared::Made => "made".to_string(),
            Prepared::Rebuilt(why) => format!("made anew ({why})"),
        };
        let (rows, megabytes, seconds) =
            (cache.rows(), cache.bytes() as f64 / 1e6, start.elapsed().as_secs_f64());
        println!("{}: {rows} rows, {megabytes:.1} MB, {what} in {seconds:.1} s", path.display());
        println!("  {}", cache.path().display());
    }
    Ok(())
}
