//! `optmsm tune`.

use std::path::PathBuf;

use clap::Args;
use optmsm_train::attempt::Session;
use optmsm_train::config::Config;
use optmsm_train::error::Result;
use optmsm_train::tune::{Space, tune};

use super::many::Program;

#[derive(Args)]
pub(super) struct Options {
    /// Configuration file with a [tune] table.
    config: PathBuf,
    /// Trials, the configuration as it is included; tune.trials when not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    trials: Option<u64>,
    /// Seed of the values that are tried; tune.seed when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Change one value: --set train.epochs=5
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of the trials and of trials.jsonl, trials.md and best.toml; runs/tune-CONFIG when not given.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Stop and save once a trial has done this many steps, as an interrupt would.
    #[arg(long)]
    max_steps: Option<u64>,
    /// Print the final table only.
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let stop = super::train::stop_on_interrupt()?;
    let config = Config::load(&options.config, &options.set)?;
    let mut space = Space::new(&config)?;
    space.trials = options.trials.unwrap_or(space.trials);
    space.seed = options.seed.unwrap_or(space.seed);
    let stem = options.config.file_stem().map_or("config".into(), |s| s.to_string_lossy());
    let out = options.out.clone().unwrap_or_else(|| PathBuf::from(format!("runs/tune-{stem}")));
    let Options { max_steps, quiet, .. } = *options;
    let session = Session { trainer: &Program, stop, max_steps, quiet };
    let study = tune(&config, &space, &out, &session)?;
    println!("{}", study.markdown());
    match study.best {
        Some(_) => println!("best configuration: {}", out.join("best.toml").display()),
        None => println!("no trial came to a result: {}", out.display()),
    }
    Ok(())
}
