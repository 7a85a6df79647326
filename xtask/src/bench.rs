//! `cargo xtask bench`: runs the comparison and the scaling measurements, and writes what they found.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{picture, report};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Python that has torch and safetensors.
    #[arg(long, required_unless_present = "written")]
    python: Option<PathBuf>,
    /// Threads of both sides; all cores when not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Times that every side of the comparison has its turn.
    #[arg(long, default_value_t = 7)]
    alternations: usize,
    /// Trains the other models instead of the standard work.
    #[arg(long)]
    models: bool,
    /// Writes the report of the last run again, measuring nothing.
    #[arg(long)]
    written: bool,
}

/// Measures, then writes docs/benchmarks/cpu-amd.md and cpu-amd.svg, or what the maker of this machine's cores is called, or
/// models-speed.md. The raw numbers stay in target/benchmarks/.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent folder")?;
    let (raw, docs) = (root.join("target/benchmarks"), root.join("docs/benchmarks"));
    fs::create_dir_all(&raw)?;
    fs::create_dir_all(&docs)?;
    if args.models {
        return models(root, args, &raw, &docs);
    }
    let (compared, scaled, circumstances) =
        (raw.join("compare.json"), raw.join("scaling.json"), raw.join("run.json"));
    if !args.written {
        finish(compare(root, args, &compared)?)?;
        finish(binary(root, "scaling", args, &scaled))?;
        fs::write(&circumstances, now(root)?.to_string())?;
    }
    let [compared, scaled, circumstances] = [read(&compared)?, read(&scaled)?, read(&circumstances)?];
    // The page of another maker's machine stays.
    let name = format!("cpu-{}", maker(&compared["machine"]));
    let (page, picture) = (docs.join(format!("{name}.md")), format!("{name}.svg"));
    fs::write(&page, report::markdown(&compared, &scaled, &circumstances, &picture))?;
    picture::ratios(&docs.join(&picture), &compared)?;
    println!("wrote {}", page.display());
    Ok(())
}

/// Maker of a machine's cores.
fn maker(machine: &Value) -> &str {
    let cpu = machine["cpu"].as_str().unwrap_or_default();
    let known = [("AMD", "amd"), ("Intel", "intel")].into_iter().find(|(name, _)| cpu.contains(name));
    known.map_or(machine["arch"].as_str().unwrap_or("other"), |(_, maker)| maker)
}

fn models(root: &Path, args: &Args, raw: &Path, docs: &Path) -> Result<()> {
    let (compared, circumstances) = (raw.join("models.json"), raw.join("models-run.json"));
    if !args.written {
        let mut compare = compare(root, args, &compared)?;
        compare.arg("--models");
        finish(compare)?;
        fs::write(&circumstances, now(root)?.to_string())?;
    }
    let page = docs.join("models-speed.md");
    fs::write(&page, report::models(&read(&compared)?, &read(&circumstances)?))?;
    println!("wrote {}", page.display());
    Ok(())
}

/// The comparison with PyTorch.
fn compare(root: &Path, args: &Args, json: &Path) -> Result<Command> {
    let python = args.python.as_deref().ok_or("give --python")?;
    let mut compare = binary(root, "compare", args, json);
    compare.arg("--python").arg(python).args(["--alternations", &args.alternations.to_string()]);
    Ok(compare)
}

fn binary(root: &Path, name: &str, args: &Args, json: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root).args([
        "run",
        "--release",
        "--quiet",
        "-p",
        "optmsm-benches",
        "--bin",
        name,
        "--",
    ]);
    command.arg("--json").arg(json);
    if let Some(threads) = args.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    command
}

fn finish(mut command: Command) -> Result<()> {
    let status = command.status().map_err(|e| format!("{command:?} cannot be started: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed ({status})").into()) }
}

/// Date, compiler and commit.
pub(crate) fn now(root: &Path) -> Result<Value> {
    let text = |program: &str, arguments: &[&str]| -> Result<String> {
        let output = Command::new(program).current_dir(root).args(arguments).output();
        let output = output.map_err(|e| format!("{program} cannot be started: {e}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let changed = !text("git", &["status", "--porcelain", "--", ".", ":!docs/benchmarks"])?.is_empty();
    let commit = text("git", &["rev-parse", "--short=12", "HEAD"])?;
    Ok(serde_json::json!({
        "date": text("date", &["-u", "+%Y-%m-%d"])?,
        "rustc": text("rustc", &["--version"])?,
        "commit": if changed { format!("{commit}, with uncommitted changes") } else { commit },
    }))
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path)
        .map_err(|e| format!("{}: {e}; measure first, with --python", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}
