//! Does the time of a row stay flat? Training steps over batch sizes, and over embedding tables.
//!
//!     cargo run --release -p optmsm-benches --bin scaling

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use optmsm_benches::machine;
use optmsm_benches::timing::{median, repetitions, seconds};
use optmsm_benches::work::{BATCHES as BATCHES_IN_TURN, ROWS, Training, standard, with_tables};
use optmsm_core::config::{InputSpec, ModelConfig};
use optmsm_core::learner::LearnerConfig;
use optmsm_core::optim::{OptimizerConfig, Rule};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Rows of a batch.
const BATCHES: [usize; 5] = [256, 1_024, 4_096, 16_384, 65_536];
/// Embedding rows of all shared fields together; the largest needs 1.9 GB with Adam.
const TABLES: [usize; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];

#[derive(Parser)]
#[command(about = "Time of a row over batch sizes and embedding tables")]
struct Args {
    /// Worker threads; all cores when not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 1.0)]
    turn: f64,
    /// `batch`, `tables` or both.
    #[arg(long)]
    only: Option<String>,
    /// Largest number of embedding rows.
    #[arg(long, default_value_t = TABLES[4])]
    max_rows: usize,
    /// Writes every number to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let threads = args.threads.unwrap_or_else(machine::cores);
    let wanted = |name: &str| args.only.as_ref().is_none_or(|only| only == name);
    let (mut batches, mut tables) = (Vec::new(), Vec::new());
    for rows in BATCHES.into_iter().filter(|_| wanted("batch")) {
        let work = Work { input: standard(true), learner: LearnerConfig::default(), rows, threads };
        let point = work.measure(args.turn)?;
        println!("batch of {rows:>6}: {}", describe(&point));
        batches.push(point);
    }
    for rule in [Rule::RowwiseAdagrad, Rule::Adam] {
        for total in TABLES.into_iter().filter(|&n| wanted("tables") && n <= args.max_rows) {
            let embedding_optimizer = Some(OptimizerConfig { rule, ..OptimizerConfig::default() });
            let learner = LearnerConfig { embedding_optimizer, ..LearnerConfig::default() };
            let work = Work { input: with_tables(|_| total / 16), learner, rows: ROWS, threads };
            let mut point = work.measure(args.turn)?;
            println!("{total:>8} embedding rows, {rule:?}: {}", describe(&point));
            point["embedding_rows"] = total.into();
            point["rule"] = serde_json::to_value(rule)?;
            tables.push(point);
        }
    }
    if let Some(path) = &args.json {
        let all = json!({"threads": threads, "batch": batches, "tables": tables});
        std::fs::write(path, serde_json::to_string(&all)?).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

/// A training step to time.
struct Work {
    input: (ModelConfig, InputSpec),
    learner: LearnerConfig,
    rows: usize,
    threads: usize,
}

impl Work {
    fn measure(self, turn: f64) -> Result<Value> {
        let Self { input, learner, rows, threads } = self;
        let mut training = Training::new(&input, learner, rows, threads)?;
        // Every batch once: the first touch of a row of optimizer state is a page fault, which training outgrows.
        let once = median(&seconds(BATCHES_IN_TURN, || training.step()));
        let times = seconds(repetitions(turn, once), || training.step());
        if !training.is_sound() {
            return Err(format!("the loss at {rows} rows is not a number").into());
        }
        Ok(json!({"rows": rows, "seconds": median(&times), "ns_row": 1e9 * median(&times) / rows as f64}))
    }
}

fn describe(point: &Value) -> String {
    let number = |key: &str| point[key].as_f64().unwrap_or(f64::NAN);
    format!("{:.2} ms a step, {:.2} µs a row", 1e3 * number("seconds"), number("ns_row") / 1e3)
}
