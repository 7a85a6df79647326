//! `cargo xtask faults`: kills, failing system calls, damaged files and unread outputs, and what the program makes of them.

use std::process::Command;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A thousand kills and more, in place of CI's sample.
    #[arg(long)]
    long: bool,
    /// Seed of what happens when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Minutes after which no new case begins.
    #[arg(long, default_value_t = 15)]
    minutes: u64,
    /// Only a case of an earlier run's output, or several by what their names begin with: kill/train/31, kill/train, kill
    #[arg(long)]
    case: Option<String>,
}

/// The test with these wishes, one a line.
pub(crate) fn command(args: &Args) -> Command {
    let long = args.long.then(|| "long".to_string());
    let case = args.case.as_ref().map(|case| format!("case={case}"));
    let wishes = [format!("seed={}", args.seed), format!("minutes={}", args.minutes)];
    let wishes: Vec<String> = wishes.into_iter().chain(long).chain(case).collect();
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--release", "--package", "optmsm-train", "--test", "faults", "--", "--nocapture"]);
    cargo.env("OPTMSM_FAULTS", wishes.join("\n"));
    cargo
}
