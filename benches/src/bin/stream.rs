//! A pass of training over many rows, from disk and from memory: rate and peak memory of the program, in one run.
//!
//!     cargo build --release
//!     cargo run --release -p optmsm-benches --bin stream -- FOLDER > docs/benchmarks/stream.md

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use optmsm_benches::{machine, timing};
use optmsm_data::{DataConfig, SynthConfig, synth};
use serde::Serialize;
use serde_json::Value;

/// Most memory that training may take beside parameters and optimizer.
const BOUND_MB: f64 = 512.0;

#[derive(Parser)]
#[command(about = "Trains over many rows from disk and from memory")]
struct Args {
    /// Where the data lies or goes, and everything else that is written.
    folder: PathBuf,
    /// Rows to train on.
    #[arg(long, default_value_t = 20_000_000)]
    rows: u64,
    /// Rows to validate on.
    #[arg(long, default_value_t = 200_000)]
    valid: u64,
    /// Distinct users.
    #[arg(long, default_value_t = 1_000_000)]
    users: usize,
    /// Distinct items.
    #[arg(long, default_value_t = 100_000)]
    items: usize,
    /// Times each way is run, in turn, of which the median counts.
    #[arg(long, default_value_t = 1)]
    repetitions: usize,
    /// The program; the one beside this by default.
    #[arg(long)]
    program: Option<PathBuf>,
}

#[derive(Serialize)]
struct Config {
    data: DataConfig,
}

/// A way to the rows, its setting of `data.stream.mode`, and whether it begins without a cache.
const WAYS: [(&str, &str, bool); 3] = [
    ("memory", "never", true),
    ("disk, first run: the cache is made", "always", true),
    ("disk, later runs", "always", false),
];

/// Time and memory of a run.
struct Taken {
    seconds: f64,
    rows_per_second: f64,
    peak_mb: f64,
    state_mb: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    fs::create_dir_all(&args.folder)?;
    let path = |name: &str| args.folder.join(name);
    let synth_config = SynthConfig {
        rows: args.rows + args.valid,
        users: args.users,
        items: args.items,
        ..SynthConfig::default()
    };
    for (name, rows) in [("train.parquet", 0..args.rows), ("valid.parquet", args.rows..synth_config.rows)] {
        if !path(name).exists() {
            synth::write_parquet(&synth_config, rows, File::create(path("half.parquet"))?)?;
            fs::rename(path("half.parquet"), path(name))?;
        }
    }
    let mut data = synth::data_config();
    let absolute = |name: &str| fs::canonicalize(path(name)).map(|p| Some(p.display().to_string().into()));
    (data.train, data.valid) = (absolute("train.parquet")?, absolute("valid.parquet")?);
    fs::write(path("config.toml"), toml::to_string(&Config { data })?)?;

    let mut taken: Vec<Vec<Taken>> = WAYS.iter().map(|_| Vec::new()).collect();
    for _ in 0..args.repetitions.max(1) {
        for ((_, mode, fresh), taken) in WAYS.iter().zip(&mut taken) {
            taken.push(train(&args, mode, *fresh)?);
        }
    }
    report(&args, &taken);
    Ok(())
}

/// One pass of the program.
fn train(args: &Args, mode: &str, fresh: bool) -> Result<Taken, Box<dyn Error>> {
    let (run, cache) = (args.folder.join("run"), args.folder.join("cache"));
    for folder in [&run, &cache].into_iter().filter(|folder| folder.exists() && (fresh || *folder == &run)) {
        fs::remove_dir_all(folder)?;
    }
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("optmsm"),
    };
    let began = Instant::now();
    let child = Command::new(&program)
        .args(["train", "--quiet", "--config"])
        .arg(args.folder.join("config.toml"))
        .arg("--run")
        .arg(&run)
        .args(["--set", "train.epochs=1", "--set", &format!("data.stream.mode={mode}")])
        .args([
            "--set",
            &format!("data.stream.folder={}", fs::canonicalize(&args.folder)?.join("cache").display()),
        ])
        .stdout(Stdio::null())
        .spawn()
        .map_err(|e| format!("{}: {e}; build it with cargo build --release", program.display()))?;
    let peak_mb = watch(child)?;
    let seconds = began.elapsed().as_secs_f64();
    let log = fs::read_to_string(run.join("metrics.jsonl"))?;
    let line: Value = serde_json::from_str(log.lines().next().ok_or("no line in metrics.jsonl")?)?;
    let rows_per_second = line["rows_per_second"].as_f64().ok_or("no rate in metrics.jsonl")?;
    let state_mb = fs::metadata(run.join("checkpoints/last.safetensors"))?.len() as f64 / 1e6;
    Ok(Taken { seconds, rows_per_second, peak_mb, state_mb })
}

/// Waits for the program; the most memory that it ever held, in MB.
fn watch(mut child: Child) -> Result<f64, Box<dyn Error>> {
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = None;
    loop {
        // The kernel keeps the maximum, so only what is added in the last moment can be missed.
        peak = high_water(&status).or(peak);
        if let Some(status) = child.try_wait()? {
            return match status.success() {
                true => peak.ok_or_else(|| "peak memory is read from /proc, which is not here".into()),
                false => Err(format!("the program ended with {status}").into()),
            };
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn high_water(status: &Path) -> Option<f64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib * 1024.0 / 1e6)
}

fn report(args: &Args, taken: &[Vec<Taken>]) {
    let median =
        |of: &[Taken], what: fn(&Taken) -> f64| timing::median(&of.iter().map(what).collect::<Vec<_>>());
    let size = fs::metadata(args.folder.join("train.parquet")).map_or(0, |m| m.len()) as f64 / 1e6;
    let machine = machine::describe();
    println!("# Training from disk and from memory\n");
    println!(
        "Written by `cargo run --release -p optmsm-benches --bin stream`, which measures; not by hand.\n"
    );
    println!("| | |\n|---|---|");
    println!("| machine | {}, {} cores |", machine["cpu"].as_str().unwrap_or("unknown"), machine::cores());
    println!(
        "| data | {} rows of `optmsm synth --format parquet --users {} --items {}`, {size:.0} MB |",
        args.rows, args.users, args.items
    );
    println!("| work | one pass of `optmsm train`, default model, then {} validation rows |", args.valid);
    println!("| runs | {} of each, in turn; medians |\n", args.repetitions.max(1));
    println!(
        "Rows/s are those of the pass itself. Seconds are of the whole program: fitting the schema, decoding, the pass,"
    );
    println!(
        "validation, checkpoints. Memory is the peak of the process; the last column is what is not parameters and"
    );
    println!(
        "optimizer state (the size of the checkpoint), and has to stay below {BOUND_MB:.0} MB from disk.\n"
    );
    println!(
        "| rows from | thousand rows/s | of memory's | s | peak MB | parameters, optimizer MB | beside them MB |"
    );
    println!("|---|---|---|---|---|---|---|");
    let memory = median(&taken[0], |t| t.rows_per_second);
    for ((what, ..), of) in WAYS.iter().zip(taken) {
        let (rate, seconds) = (median(of, |t| t.rows_per_second), median(of, |t| t.seconds));
        let (peak, state) = (median(of, |t| t.peak_mb), median(of, |t| t.state_mb));
        let (thousands, share, beside) = (rate / 1e3, 100.0 * rate / memory, peak - state);
        println!(
            "| {what} | {thousands:.1} | {share:.1} % | {seconds:.0} | {peak:.0} | {state:.0} | {beside:.0} |"
        );
    }
}
