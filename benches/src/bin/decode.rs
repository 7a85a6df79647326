//! Rows and bytes a second of reading CSV and Parquet, ours and polars', in one run.
//!
//!     cargo run --release -p optmsm-benches --bin decode -- FOLDER --python PYTHON > docs/benchmarks/data.md

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use optmsm_benches::{machine, timing};
use optmsm_core::batch::Batch;
use optmsm_data::{Extra, Need, RowReader, Schema, Source, SynthConfig, synth};
use serde_json::Value;

#[derive(Parser)]
#[command(about = "Compares reading CSV and Parquet with polars")]
struct Args {
    /// Where data.csv and data.parquet lie, or go.
    folder: PathBuf,
    /// Python that has polars.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Rows of synthetic data.
    #[arg(long, default_value_t = 2_000_000)]
    rows: u64,
    /// Runs of each way, of which the median counts.
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    fs::create_dir_all(&args.folder)?;
    let config = SynthConfig { rows: args.rows, ..SynthConfig::default() };
    let file = |kind: &str| args.folder.join(format!("data.{kind}"));
    if !file("parquet").exists() {
        synth::write_csv(&config, 0..args.rows, File::create(file("csv"))?)?;
        synth::write_parquet(&config, 0..args.rows, File::create(file("parquet"))?)?;
    }
    let schema = Schema::fit(&synth::data_config(), file("parquet"))?;
    let all = machine::cores();
    println!("# Reading data: ours and polars\n");
    println!(
        "Written by `cargo run --release -p optmsm-benches --bin decode`, which measures; not by hand.\n"
    );
    let machine = machine::describe();
    println!("| | |\n|---|---|\n| machine | {}, {all} cores |", machine["cpu"].as_str().unwrap_or("unknown"));
    let peers = [peer(&args, 1)?, peer(&args, all)?];
    let version = peers[1]["version"].as_str().unwrap_or("polars");
    println!("| peer | {version} |");
    println!("| data | {} rows of `optmsm synth`, all 11 columns |\n", schema.rows);
    println!(
        "Each side reads the files from the page cache. Ours streams the rows and encodes them: ids by vocabulary, lists,"
    );
    println!(
        "transformed numbers. `polars` reads the same columns into a frame; `polars, ids` also turns strings into ids and"
    );
    println!(
        "splits lists. Our threads decode and encode; beside them the one that asks copies what they made."
    );
    println!("Megabytes are those of the file. Fitting a schema is a pass of its own.\n");
    println!("| file | what | threads | s | million rows/s | MB/s |\n|---|---|---|---|---|---|");
    for kind in ["csv", "parquet"] {
        let path = file(kind);
        let line = |what: &str, threads: usize, seconds: f64| {
            let bytes = fs::metadata(&path).map_or(0, |m| m.len()) as f64;
            let (rows, mb) = (schema.rows as f64 / seconds / 1e6, bytes / seconds / 1e6);
            println!("| {kind} | {what} | {threads} | {seconds:.2} | {rows:.2} | {mb:.0} |");
        };
        for (threads, peer) in [1, all].into_iter().zip(&peers) {
            let encode = || {
                if let Err(e) = pass(&path, &schema, threads) {
                    eprintln!("{e}");
                }
            };
            line("ours, encoded", threads, timing::median(&timing::seconds(args.repetitions, encode)));
            let fit = || {
                let source = Source::from(&path).with_threads(threads);
                if let Err(e) = Schema::fit(&synth::data_config(), source) {
                    eprintln!("{e}");
                }
            };
            line("ours, fit", threads, timing::median(&timing::seconds(args.repetitions, fit)));
            for (what, key) in [("polars", "read"), ("polars, ids", "ids")] {
                let seconds: Vec<f64> = serde_json::from_value(peer[format!("{kind} {key}")].clone())?;
                line(what, threads, timing::median(&seconds));
            }
        }
    }
    println!("\n{NOTES}");
    Ok(())
}

const NOTES: &str = "## What helped and what did not

A thread that only decodes brought nothing: one consumer encoded all rows and was the limit. Now a thread takes a row group (a piece of text) from
the file to encoded rows, column by column, and what is left for the consumer is a copy. Per thread, too, a row costs less than half:

- values of a dictionary, in lists too, are looked up (counted) once a row group, not once a row;
- a 64-bit float becomes 32 bits directly, unless its text might round to another one: writing and reading texts took a fifth of the time;
- values are looked up as bytes, and only those not in the list are checked to be UTF-8; a slot holds half of the hash, so that
  nearly all strings it is compared with are the same; strings of up to eight bytes are compared as words;
- where records of a CSV end is found eight bytes at a time, and line breaks are counted by sums of bytes; the csv crate takes the records apart.

What is left is spread out: looking up (a quarter of CSV, a twelfth of Parquet), telling values apart (a sixth of CSV), `ln(1 + v)`, reading numbers,
the page decoder. Statistics of numbers depend on their order, so the consumer adds them one after the other (3 % of a pass
over one such column): sums by thread would differ in their last bits, and with them the fingerprint of the schema.";

/// Reads and encodes every row, in batches of 4096.
fn pass(path: &Path, schema: &Schema, threads: usize) -> optmsm_data::Result<u64> {
    let mut reader = RowReader::open(Source::from(path).with_threads(threads), schema, Need::Labelled)?;
    let (mut batch, mut extra) = (Batch::new(&schema.input_spec()), Extra::default());
    let mut rows = 0;
    loop {
        batch.clear();
        extra.clear();
        match reader.read(&mut batch, &mut extra, 4096)? {
            0 => return Ok(rows),
            n => rows += n as u64,
        }
    }
}

fn peer(args: &Args, threads: usize) -> Result<Value, Box<dyn Error>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/decode_polars.py");
    let output = Command::new(&args.python)
        .arg(script)
        .arg(&args.folder)
        .arg(args.repetitions.to_string())
        .env("POLARS_MAX_THREADS", threads.to_string())
        .output()
        .map_err(|e| format!("{}: {e}; give a Python that has polars as --python", args.python.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
