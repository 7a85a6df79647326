//! `optmsm bench`.

use std::path::{Path, PathBuf};

use crate::bench::{Bench, Contestant, Peer, Plan, SUMMARY, Summary, bench};
use crate::config::Config;
use crate::error::{Error, Result};
use clap::Args;
use optmsm_core::models::Kind;
use optmsm_data::interruptible;
use serde::Serialize;

use super::many::{Common, Done};

#[derive(Args)]
pub(super) struct Options {
    /// Configuration files: data, fields, and how a model is trained.
    #[arg(required = true)]
    data: Vec<PathBuf>,
    /// Kinds of models, with commas between them; all when not given.
    #[arg(long, value_delimiter = ',', conflicts_with = "ablations")]
    models: Vec<String>,
    /// OptMSM without each of its ideas, in place of all kinds.
    #[arg(long)]
    ablations: bool,
    /// Predictions of another program for the test rows: seed-N.csv in the folder, or in a folder in it of the data's name.
    #[arg(long = "peer", value_name = "NAME=FOLDER")]
    peers: Vec<String>,
    /// Settings that are tried for each model, the configuration as it is included.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    trials: u64,
    /// Runs with the chosen settings, with seeds from train.seed on.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    seeds: u64,
    /// Runs beside each other, each on one core; as many as cores when not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    jobs: Option<u64>,
    /// Folder, with one for each configuration in it; runs/bench when not given, runs/ablations with --ablations.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Output of `--json`.
#[derive(Serialize)]
struct All {
    /// One for each configuration.
    benchmarks: Vec<Bench>,
    /// Null of one configuration.
    summary: Option<Summary>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let stop = super::signals::stop_on_interrupt()?;
    let contestants = contestants(options)?;
    let mut peers: Vec<Peer> = Vec::new();
    for text in &options.peers {
        let taken: Vec<&str> = contestants
            .iter()
            .map(|c| c.name.as_str())
            .chain(peers.iter().map(|p| p.name.as_str()))
            .collect();
        peers.push(peer(text, &taken)?);
    }
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let jobs = options.jobs.map_or(cores, |jobs| jobs as usize);
    let mut plans: Vec<Plan> = Vec::new();
    for path in &options.data {
        let config = Config::load(path, &options.common.set)?;
        let seeds = super::many::seeds(&config, options.seeds)?;
        let name = super::name(path);
        if plans.iter().any(|plan| plan.name == name) {
            let problem = "has the name of another configuration, whose folder would be its";
            return Err(Error::argument(
                path.display().to_string(),
                problem,
                "give files of different names",
            ));
        }
        let (contestants, peers) = (contestants.clone(), peers.clone());
        plans.push(Plan { name, config, contestants, peers, trials: options.trials, seeds, jobs });
    }
    let default = if options.ablations { "runs/ablations" } else { "runs/bench" };
    let out = options.out.as_deref().unwrap_or(Path::new(default));
    let study = options.common.study(&stop);
    let (mut benchmarks, mut text) = (Vec::new(), String::new());
    for plan in &plans {
        let folder = out.join(&plan.name);
        if plans.len() > 1 {
            study.say(&plan.name);
        }
        let done = interruptible(&stop, || bench(plan, &folder, &study))
            .map_err(|e| plan.config.origin.locate(e))?;
        text += &format!("{}\nbenchmark: {}\n", done.markdown(), folder.display());
        benchmarks.push(done);
    }
    let summary = (benchmarks.len() > 1).then(|| Summary::new(&benchmarks));
    if let Some(summary) = &summary {
        summary.write(out)?;
        text += &format!("\n{}\nsummary: {}\n", summary.markdown(), out.join(SUMMARY[0]).display());
    }
    if options.common.output.json {
        return Done::print(out, &All { benchmarks, summary });
    }
    super::print(text.as_bytes())
}

fn contestants(options: &Options) -> Result<Vec<Contestant>> {
    if options.ablations {
        return Ok(Contestant::ablations());
    }
    let mut kinds: Vec<Kind> = Vec::new();
    for name in &options.models {
        let kind = super::models::find("--models", name)?;
        if kinds.contains(&kind) {
            return Err(Error::argument("--models", format!("names {name} twice"), "name each kind once"));
        }
        kinds.push(kind);
    }
    Ok(Contestant::models(if kinds.is_empty() { Kind::ALL } else { &kinds }))
}

/// A peer of an argument `NAME=FOLDER`.
fn peer(text: &str, taken: &[&str]) -> Result<Peer> {
    let argument = || format!("--peer {text}");
    match text.split_once('=') {
        Some((name, folder)) if !name.is_empty() && !folder.is_empty() => {
            if taken.contains(&name) {
                return Err(Error::argument(
                    argument(),
                    "has the name of another contestant",
                    "give it another",
                ));
            }
            Ok(Peer { name: name.into(), folder: folder.into() })
        }
        _ => Err(Error::argument(argument(), "is no name with a folder", "write LightGBM=some/folder")),
    }
}
