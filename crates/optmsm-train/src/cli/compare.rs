//! `optmsm compare`.

use std::path::PathBuf;

use crate::compare::{Entry, FILES, compare};
use crate::config::Config;
use crate::error::{Error, Result};
use clap::Args;
use optmsm_data::interruptible;

use super::many::{Common, Done};

#[derive(Args)]
pub(super) struct Options {
    /// Configuration files; differences are from the first.
    #[arg(required = true)]
    configs: Vec<PathBuf>,
    /// Runs of each configuration, with seeds from the first one's train.seed on.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    seeds: u64,
    /// Seed of data.split, in place of the one in the files.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    split_seed: Option<u64>,
    /// Folder of the runs and of compare.md and compare.json; runs/compare-A-B when not given.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let stop = super::signals::stop_on_interrupt()?;
    let mut entries: Vec<Entry> = Vec::new();
    for path in &options.configs {
        let mut config = Config::load(path, &options.common.set)?;
        if let Some(seed) = options.split_seed {
            let split = config.data.split.as_mut().ok_or_else(|| {
                let problem = "has no data.split for --split-seed";
                Error::configuration(path.display(), problem, "add data.split = { valid = 0.1, test = 0.1 }")
            })?;
            split.seed = seed;
        }
        let stem = super::name(path);
        let taken = |name: &String| FILES.contains(&&**name) || entries.iter().any(|e| e.name == *name);
        let names = std::iter::once(stem.clone()).chain((2..).map(|n| format!("{stem}-{n}")));
        let name = names.into_iter().find(|name| !taken(name)).unwrap_or(stem);
        entries.push(Entry { name, path: path.display().to_string(), config });
    }
    let seeds = super::many::seeds(&entries[0].config, options.seeds)?;
    let names: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
    let default = || PathBuf::from(format!("runs/compare-{}", names.join("-")));
    let out = options.out.clone().unwrap_or_else(default);
    let study = options.common.study(&stop);
    let comparison = interruptible(&stop, || compare(&entries, &seeds, &out, &study))?;
    if options.common.output.json {
        return Done::print(&out, &comparison);
    }
    super::print(format!("{}\ncomparison: {}\n", comparison.markdown(), out.display()).as_bytes())
}
