//! One user and 1 to 2,000 candidates, in process: ours, and the same run exported to ONNX Runtime and PyTorch, in turn.
//!
//!     cargo run --release -p optmsm-benches --bin standard_data -- work
//!     optmsm train --config work/standard.toml --run work/run --set train.epochs=1
//!     optmsm export work/run --format onnx --ids-in --out work/model.onnx
//!     optmsm export work/run --format torch --out work/torch
//!     cargo run --release -p optmsm-benches --bin requests -- --python venv/bin/python --work work
//!
//! Every side takes encoded rows. Half of the shared fields are the candidates', the rest is the user's; the peers, which have no
//! requests, get all fields of each row. Before anything is timed, all sides must give the same probabilities.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use optmsm_benches::peer::Peer;
use optmsm_benches::timing::{median, repetitions, seconds};
use optmsm_benches::{machine, work};
use optmsm_core::batch::{Batch, Column, Request};
use optmsm_core::config::{InputSpec, Role};
use optmsm_core::fold::FoldOptions;
use optmsm_core::model::AnyModel;
use optmsm_core::precision::Precision;
use optmsm_core::predictor::Predictor;
use optmsm_core::rounding::TableDtype;
use optmsm_cpu::Cpu;
use optmsm_train::device;
use optmsm_train::run::Run;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Candidates of a request.
const COUNTS: [usize; 4] = [1, 50, 500, 2000];
/// Different requests that a side answers in turn.
const REQUESTS: u64 = 8;
/// Before a side is timed, the other ones' workers come to rest.
const REST: Duration = Duration::from_millis(300);
/// Most that probabilities in f32 may differ by.
const APART: f64 = 1e-5;

#[derive(Parser)]
#[command(about = "Times requests of one user and many candidates, ours and exported models in turn")]
struct Args {
    /// Python that has torch, safetensors and onnxruntime.
    #[arg(long)]
    python: PathBuf,
    /// Folder with `run`, `model.onnx` and `torch`.
    #[arg(long)]
    work: PathBuf,
    /// Threads of all sides.
    #[arg(long)]
    threads: Option<usize>,
    /// Times that every side has its turn.
    #[arg(long, default_value_t = 7)]
    alternations: usize,
    /// Seconds of one turn.
    #[arg(long, default_value_t = 0.3)]
    turn: f64,
    /// Writes every number to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// A side.
struct Side {
    name: String,
    run: Runner,
    times: Vec<f64>, // the median of each turn
}

enum Runner {
    Ours(Box<dyn FnMut()>),
    Peer(Value),
}

fn main() -> Result<()> {
    let args = Args::parse();
    let threads = args.threads.unwrap_or_else(machine::cores);
    let run = Run::open(&args.work.join("run"))?;
    let input = run.input_spec();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/requests.py");
    let threads_text = threads.to_string();
    let (onnx, torch) = (args.work.join("model.onnx"), args.work.join("torch"));
    let paths = [&onnx, &torch].map(|path| path.display().to_string());
    let mut peer = Peer::run(
        &args.python,
        &script,
        &["--threads", &threads_text, "--onnx", &paths[0], "--torch", &paths[1]],
    )?;
    let info = peer.ask(&json!({"cmd": "info"}))?;
    println!("{info}");
    let modes: Vec<String> = serde_json::from_value(info["modes"].clone())?;
    let mut lines = Vec::new();
    println!("{:>6} {:<22} {:>10} {:>8}", "rows", "side", "µs", "× ours");
    for count in COUNTS {
        let requests: Vec<Request> =
            (0..REQUESTS).map(|seed| request(&input, count, seed)).collect::<Result<_>>()?;
        let names = input.fields.iter().map(|field| field.name.as_str());
        let sent: Vec<Value> = requests.iter().map(|r| sent(names.clone(), r.rows())).collect();
        peer.ask(&json!({"cmd": "rows", "batches": sent}))?;
        let mut sides = ours(&run, threads, &requests)?;
        let expected = predictor(&run, threads, Precision::F32)?.predict(requests[0].rows())?;
        for mode in &modes {
            let found: Vec<f64> = serde_json::from_value(peer.ask(&json!({"cmd": "answer", "mode": mode}))?)?;
            let apart =
                found.iter().zip(&expected).map(|(f, e)| (f - f64::from(*e)).abs()).fold(0.0, f64::max);
            if apart > APART || found.len() != count {
                return Err(format!("{mode}, {count} rows: probabilities differ by {apart:e}").into());
            }
            let run = Runner::Peer(json!({"cmd": "time", "mode": mode}));
            sides.push(Side { name: mode.clone(), run, times: Vec::new() });
        }
        for _ in 0..args.alternations {
            for side in &mut sides {
                std::thread::sleep(REST);
                let times = match &mut side.run {
                    Runner::Ours(call) => {
                        let once = median(&seconds(3, &mut *call));
                        seconds(repetitions(args.turn, once), call)
                    }
                    Runner::Peer(command) => {
                        command["seconds"] = args.turn.into();
                        serde_json::from_value(peer.ask(command)?)?
                    }
                };
                side.times.push(median(&times));
            }
        }
        let of = |name: &str| sides.iter().find(|s| s.name == name).map_or(f64::NAN, |s| median(&s.times));
        let request = of("request, folded");
        for side in &sides {
            let time = median(&side.times);
            println!("{count:>6} {:<22} {:>10.1} {:>8.2}", side.name, time * 1e6, time / request);
            lines.push(json!({"rows": count, "side": side.name, "seconds": side.times}));
        }
    }
    if let Some(path) = &args.json {
        let all = json!({"machine": machine::describe(), "peers": info, "threads": threads, "lines": lines});
        std::fs::write(path, serde_json::to_string(&all)?).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

/// The run's predictor with products in a precision.
fn predictor(run: &Run, threads: usize, precision: Precision) -> Result<Predictor<Cpu, AnyModel<Cpu>>> {
    let be = work::cpu_in(precision, threads)?;
    Ok(device::predictor(be, run, &run.checkpoint("best")?, None, 2048)?)
}

/// Our ways to answer.
fn ours(run: &Run, threads: usize, requests: &[Request]) -> Result<Vec<Side>> {
    let options = |dtype| FoldOptions { dtype, ..FoldOptions::default() };
    let side = |name: &str, mut call: Box<dyn FnMut(usize)>| {
        let (mut next, count) = (0, requests.len());
        let call = move || {
            call(next % count);
            next += 1;
        };
        Side { name: name.into(), run: Runner::Ours(Box::new(call)), times: Vec::new() }
    };
    let plain = predictor(run, threads, Precision::F32)?;
    let folded = predictor(run, threads, Precision::F32)?.fold(options(TableDtype::F32))?;
    let rows = predictor(run, threads, Precision::F32)?.fold(options(TableDtype::F32))?;
    let narrow = predictor(run, threads, Precision::Bf16)?.fold(options(TableDtype::Bf16))?;
    let owned: Vec<std::sync::Arc<Request>> = requests.iter().cloned().map(std::sync::Arc::new).collect();
    let [a, b, c, d] = [owned.clone(), owned.clone(), owned.clone(), owned];
    let score = |predictor: Predictor<Cpu, AnyModel<Cpu>>, requests: Vec<std::sync::Arc<Request>>| {
        move |i: usize| {
            std::hint::black_box(predictor.score(&requests[i]).expect("a valid request is answered"));
        }
    };
    let predict = |predictor: Predictor<Cpu, AnyModel<Cpu>>, requests: Vec<std::sync::Arc<Request>>| {
        move |i: usize| {
            std::hint::black_box(predictor.predict(requests[i].rows()).expect("a valid batch is predicted"));
        }
    };
    Ok(vec![
        side("rows", Box::new(predict(plain, a))),
        side("rows, folded", Box::new(predict(rows, b))),
        side("request, folded", Box::new(score(folded, c))),
        side("request, folded, bf16", Box::new(score(narrow, d))),
    ])
}

/// One user with `count` candidates.
fn request(input: &InputSpec, count: usize, seed: u64) -> Result<Request> {
    let rows = work::rows(input, count as u64, 500 + seed);
    let (mut user, mut items) = (Batch::new(input), rows.clone());
    user.push_row(&rows, 0);
    items.scenarios.clear();
    (user.labels, items.labels) = Default::default();
    let shared: Vec<usize> =
        (0..input.fields.len()).filter(|&f| input.fields[f].role == Role::Shared).collect();
    let of_items = &shared[shared.len() / 2..];
    for (f, field) in input.fields.iter().enumerate() {
        let other = if of_items.contains(&f) { &mut user } else { &mut items };
        other.columns[f] = Column::new(field.kind);
    }
    Ok(Request::new(input, &user, items, count)?)
}

/// Rows as the peers get them.
fn sent<'a>(names: impl Iterator<Item = &'a str>, rows: &Batch) -> Value {
    let ids = |column: &Column| match column {
        Column::Categorical(ids) => json!(ids),
        Column::Multi { .. } | Column::Numeric(_) => Value::Null,
    };
    let fields: serde_json::Map<String, Value> =
        names.zip(&rows.columns).map(|(name, column)| (name.to_string(), ids(column))).collect();
    json!({"scenario": rows.scenarios, "fields": fields})
}
