//! `optmsm tune`.

use std::path::PathBuf;

use crate::config::Config;
use crate::error::Result;
use crate::tune::{BEST, Space, tune};
use clap::Args;
use optmsm_data::interruptible;

use super::many::{Common, Done};

#[derive(Args)]
pub(super) struct Options {
    /// Configuration file; without a [tune] table the decay of embedding tables and the learning rate are searched.
    config: PathBuf,
    /// Trials, the configuration as it is included; tune.trials when not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    trials: Option<u64>,
    /// Seed of the values that are tried; tune.seed when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Folder of the trials and of trials.jsonl, trials.md and best.toml; runs/tune-CONFIG when not given.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let stop = super::signals::stop_on_interrupt()?;
    let config = Config::load(&options.config, &options.common.set)?;
    let mut space = Space::new(&config)?;
    space.trials = options.trials.unwrap_or(space.trials);
    space.seed = options.seed.unwrap_or(space.seed);
    let default = || PathBuf::from(format!("runs/tune-{}", super::name(&options.config)));
    let out = options.out.clone().unwrap_or_else(default);
    let study = options.common.study(&stop);
    let search = interruptible(&stop, || tune(&config, &space, &out, &study))?;
    if options.common.output.json {
        return Done::print(&out, &search.summary());
    }
    let last = match search.best {
        Some(_) => format!("best configuration: {}", out.join(BEST).display()),
        None => format!("no trial came to a result: {}", out.display()),
    };
    super::print(format!("{}\n{last}\n", search.markdown()).as_bytes())
}
