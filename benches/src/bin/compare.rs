//! Ours and PyTorch in turn, on the same work, in one run: ratios of medians and how they spread.
//!
//!     cargo run --release -p optmsm-benches --bin compare -- --python venv/bin/python
//!
//! Two PyTorch processes take part: `stock` as it comes, and one whose C allocator keeps its memory (huge pages
//! allowed), which is what its tuning guide gets from another allocator. The best mode of either is the best peer.
//! Before anything is timed, every mode must give our logits, loss and gradients.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use optmsm_benches::product::{Product, SHAPES, Shape};
use optmsm_benches::timing::{median, repetitions, seconds};
use optmsm_benches::work::{Forward, ROWS, Training, cpu_in, forward_flop, other};
use optmsm_benches::{machine, peak, peer, standard};
use optmsm_core::config::{InputSpec, ModelConfig};
use optmsm_core::learner::LearnerConfig;
use optmsm_core::models::{Cost, Kind};
use optmsm_core::precision::Precision;
use optmsm_cpu::Isa;
use peer::Peer;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

#[path = "compare/check.rs"]
mod check;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Before a side is timed, the other one's workers, which spin for a while, come to rest. (OMP_WAIT_POLICY=PASSIVE would
/// keep the peer's from spinning, and makes it 5–30 % slower.)
const REST: Duration = Duration::from_millis(300);

#[derive(Parser)]
#[command(about = "Times ours and PyTorch in turn on the same work")]
struct Args {
    /// Python that has torch and safetensors.
    #[arg(long)]
    python: PathBuf,
    /// Threads of both sides; all cores when not given. Products are timed on one thread, too.
    #[arg(long)]
    threads: Option<usize>,
    /// Times that every side has its turn.
    #[arg(long, default_value_t = 7)]
    alternations: usize,
    /// The other models instead of the standard work.
    #[arg(long)]
    models: bool,
    /// Only works whose name contains this, for example `train`, `forward/small` or `gemm`.
    #[arg(long)]
    only: Option<String>,
    /// Seconds of one turn.
    #[arg(long, default_value_t = 0.25)]
    turn: f64,
    /// Writes every number to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One line of the comparison.
struct Work {
    name: String,
    /// Rows of a call; 0 for a product.
    rows: usize,
    threads: usize,
    /// Arithmetic of a call.
    flop: f64,
    contestants: Vec<Contestant>,
}

/// A side and its times: seconds of each call, a list an alternation.
struct Contestant {
    name: String,
    run: Runner,
    times: Vec<Vec<f64>>,
}

/// How a side is timed.
enum Runner {
    Ours(Box<dyn FnMut()>),
    /// The command, without `reps`; and whether the stock process gets it.
    Peer(Value, bool),
}

/// The two PyTorch processes.
struct Peers {
    tuned: Peer,
    stock: Peer,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let threads = args.threads.unwrap_or_else(machine::cores);
    let mut peers = Peers {
        tuned: Peer::start(&args.python, threads, false)?,
        stock: Peer::start(&args.python, threads, true)?,
    };
    let info = peers.tuned.ask(&json!({"cmd": "info"}))?;
    println!("PyTorch {info}");
    let peak = measure_peak(threads);
    println!("peak {peak}");
    let wanted = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let names = if args.models { every_model() } else { every_name(threads) };
    for kind in Kind::ALL.iter().filter(|kind| args.models && **kind != Kind::OptMsm) {
        peers.describe(*kind)?;
    }
    for name in names.iter().filter(|name| wanted(name) && !name.starts_with("gemm")) {
        check::outputs(&mut peers.tuned, &info, name)?;
    }
    let mut works = Vec::new();
    println!(
        "{:<34} {:>11} {:>11}  {:<22} {:>6} {:>13} {:>6}",
        "work", "ours", "best peer", "", "ratio", "spread", "limit"
    );
    for name in names {
        if !wanted(&name) {
            continue;
        }
        let mut work = build(&name, &info, threads)?;
        alternate(&mut work, &mut peers, &args)?;
        let limit = peak[format!("gflops_{}", work.threads)].as_f64();
        let summary = work.summary(limit);
        println!("{}", line(&summary));
        works.push(summary);
    }
    if let Some(path) = &args.json {
        let all = json!({
            "machine": machine::describe(), "peer": info, "threads": threads, "alternations": args.alternations,
            "isa": Isa::best().name(), "peak": peak, "works": works,
        });
        std::fs::write(path, serde_json::to_string(&all)?).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

/// Registers and copies on one thread and on all, each instruction set that the machine has.
fn measure_peak(threads: usize) -> Value {
    let mut peak = BTreeMap::new();
    for n in [1, threads] {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            peak.insert(format!("{}_{n}", isa.name()), peak::gflops(isa, n));
        }
        let best = Isa::ALL.into_iter().filter_map(|isa| peak.get(&format!("{}_{n}", isa.name())).copied());
        let best = best.fold(0.0, f64::max);
        peak.insert(format!("gflops_{n}"), best);
        peak.insert(format!("copy_{n}"), peak::copy_gb(n));
    }
    json!(peak)
}

impl Peers {
    /// Says what another model is.
    fn describe(&mut self, kind: Kind) -> Result<()> {
        let (config, _) = other(kind);
        // Every setting, also those that a configuration may leave out.
        let mut settings = serde_json::to_value(&config)?;
        settings["kind"] = json!(kind);
        settings[kind.name()] = serde_json::to_value(Own(&config))?;
        let weight = if kind == Kind::Adasparse { config.adasparse.sparsity } else { 0.0 };
        for peer in [&mut self.tuned, &mut self.stock] {
            peer.ask(&json!({"cmd": "model", "settings": settings, "weight": weight}))?;
        }
        Ok(())
    }
}

/// Settings of a kind alone.
struct Own<'a>(&'a ModelConfig);

impl Serialize for Own<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        self.0.serialize_own(to)
    }
}

/// Names of the works of a model, `train` or `forward`.
fn names(size: &str, kind: &str) -> Vec<String> {
    match kind {
        "train" => vec![format!("train/{size}")],
        _ => [ROWS, 64, 1].map(|rows| format!("forward/{size}/{rows}")).to_vec(),
    }
}

/// A work without what its precision adds to its name, and its precision.
fn precision(work: &str) -> (&str, Precision) {
    work.strip_suffix("/bf16").map_or((work, Precision::F32), |work| (work, Precision::Bf16))
}

/// Kind, size and rows of a call of a work on the model.
fn parts(work: &str) -> Result<(&str, &str, usize)> {
    let (work, _) = precision(work);
    match work.split('/').collect::<Vec<_>>()[..] {
        [kind @ ("train" | "model"), size] => Ok((kind, size, ROWS)),
        [kind @ "forward", size, rows] => Ok((kind, size, rows.parse()?)),
        _ => Err(format!("{work} is not a work on the model").into()),
    }
}

/// Model and inputs of a work.
fn inputs(kind: &str, size: &str) -> Result<(ModelConfig, InputSpec)> {
    if kind != "model" {
        return Ok(standard(size == "large"));
    }
    let kind = Kind::ALL.iter().find(|kind| kind.name() == size);
    Ok(other(*kind.ok_or(format!("{size} is no kind of model"))?))
}

/// The peer's modes of a work on the model.
fn modes<'a>(info: &'a Value, work: &str) -> Result<Vec<&'a str>> {
    let (kind, _, rows) = parts(work)?;
    let modes = if precision(work).1 == Precision::Bf16 {
        &info["bf16"]
    } else if kind != "forward" {
        &info[kind]
    } else {
        &info[kind][rows.to_string()]
    };
    Ok(modes.as_array().ok_or("the peer has no such work")?.iter().filter_map(Value::as_str).collect())
}

/// Training of every kind that the peer has in the same file; OptMSM is the standard work.
fn every_model() -> Vec<String> {
    let others = Kind::ALL.iter().filter(|kind| **kind != Kind::OptMsm);
    others.map(|kind| format!("model/{}", kind.name())).collect()
}

fn every_name(threads: usize) -> Vec<String> {
    let mut all = Vec::new();
    for kind in ["train", "forward"] {
        for size in ["small", "large"] {
            all.extend(names(size, kind));
        }
    }
    for size in ["small", "large"] {
        all.extend([format!("train/{size}/bf16"), format!("forward/{size}/{ROWS}/bf16")]);
    }
    let counts = if threads > 1 { vec![1, threads] } else { vec![1] };
    for threads in counts {
        all.extend(SHAPES.map(|shape| format!("gemm/{threads}/{}", shape.name())));
    }
    all
}

/// Sets up our side of a work and names every contestant.
fn build(name: &str, info: &Value, threads: usize) -> Result<Work> {
    if let ["gemm", threads, shape] = name.split('/').collect::<Vec<_>>()[..] {
        return product(name, threads.parse()?, shape);
    }
    let (kind, size, rows) = parts(name)?;
    let (work, precision) = precision(name);
    let inputs = inputs(kind, size)?;
    let flop = match kind {
        "model" => 2.0 * Cost::of(&inputs.0, &inputs.1)?.multiply_adds,
        _ => forward_flop(&inputs.0, &inputs.1),
    };
    let (flop, run): (f64, Box<dyn FnMut()>) = if kind != "forward" {
        let mut training =
            Training::on(cpu_in(precision, threads)?, &inputs, LearnerConfig::default(), rows)?;
        (3.0 * flop, Box::new(move || training.step()))
    } else {
        let mut forward = Forward::on(cpu_in(precision, threads)?, &inputs, rows)?;
        (flop, Box::new(move || forward.predict()))
    };
    let mut contestants = vec![Contestant::new("ours", Runner::Ours(run))];
    let is_stock = |mode: &str| info["stock"].as_array().is_some_and(|all| all.iter().any(|m| m == mode));
    for stock in [false, true] {
        for mode in modes(info, name)?.into_iter().filter(|mode| !stock || is_stock(mode)) {
            let command = json!({"cmd": "time", "work": format!("{work}/{mode}")});
            let label = if stock { format!("{mode}, stock") } else { mode.to_string() };
            contestants.push(Contestant::new(&label, Runner::Peer(command, stock)));
        }
    }
    Ok(Work { name: name.into(), rows, threads, flop: flop * rows as f64, contestants })
}

/// Ours packs its weights in every call, as `torch.mm` must; what it does once a step is timed apart.
fn product(name: &str, threads: usize, shape: &str) -> Result<Work> {
    let shape = *SHAPES.iter().find(|s| s.name() == shape).ok_or("no such product")?;
    let ((m, n, k), flop) = (shape.sizes(), shape.flop());
    let mut product = Product::new(shape, threads)?;
    product.run();
    let (error, bound) = (product.error(), 2.0 * k as f64 * f64::from(f32::EPSILON));
    if error.is_nan() || error > bound {
        return Err(format!("{name}: a relative error of {error:e}, above {bound:e}").into());
    }
    let kind = if matches!(shape, Shape::Forward(..)) { "xwT" } else { "dw" };
    let mm = json!({"cmd": "mm", "m": m, "n": n, "k": k, "kind": kind, "count": threads});
    let mut packed = Product::new(shape, threads)?;
    let mut contestants = vec![Contestant::new(
        "ours",
        Runner::Ours(Box::new(move || {
            product.pack();
            product.run();
        })),
    )];
    contestants.push(Contestant::new("torch.mm", Runner::Peer(mm, false)));
    if kind == "xwT" {
        contestants
            .push(Contestant::new("ours, packed before", Runner::Ours(Box::new(move || packed.run()))));
    }
    Ok(Work { name: name.into(), rows: 0, threads, flop, contestants })
}

/// Every side once to warm up and to see how long a call takes, then turn by turn.
fn alternate(work: &mut Work, peers: &mut Peers, args: &Args) -> Result<()> {
    let mut reps = Vec::new();
    for contestant in &mut work.contestants {
        contestant.turn(peers, 3)?;
        reps.push(repetitions(args.turn, median(&contestant.turn(peers, 5)?)));
    }
    for _ in 0..args.alternations {
        for (contestant, &reps) in work.contestants.iter_mut().zip(&reps) {
            std::thread::sleep(REST);
            let times = contestant.turn(peers, reps)?;
            contestant.times.push(times);
        }
    }
    Ok(())
}

impl Contestant {
    fn new(name: &str, run: Runner) -> Self {
        Self { name: name.into(), run, times: Vec::new() }
    }

    fn turn(&mut self, peers: &mut Peers, reps: usize) -> Result<Vec<f64>> {
        match &mut self.run {
            Runner::Ours(f) => Ok(seconds(reps, f)),
            Runner::Peer(command, stock) => {
                let peer = if *stock { &mut peers.stock } else { &mut peers.tuned };
                command["reps"] = reps.into();
                peer::floats(&peer.ask(command)?)
            }
        }
    }

    fn is_ours(&self) -> bool {
        matches!(self.run, Runner::Ours(_))
    }

    fn is_stock(&self) -> bool {
        matches!(self.run, Runner::Peer(_, true))
    }

    fn median(&self) -> f64 {
        median(&self.times.concat())
    }
}

impl Work {
    /// The fastest contestant of a kind.
    fn best(&self, of: impl Fn(&Contestant) -> bool) -> Option<&Contestant> {
        self.contestants.iter().filter(|c| of(c)).min_by(|a, b| a.median().total_cmp(&b.median()))
    }

    /// Medians, the ratio to the best peer with its spread over the alternations, the share of the arithmetic limit.
    fn summary(&self, limit_gflops: Option<f64>) -> Value {
        let ours = &self.contestants[0];
        let against = |peer: Option<&Contestant>| {
            peer.map(|peer| {
                let pairs = ours.times.iter().zip(&peer.times);
                let ratios: Vec<f64> = pairs.map(|(o, p)| median(p) / median(o)).collect();
                let (low, high) = ratios.iter().fold((f64::MAX, 0.0f64), |(l, h), &r| (l.min(r), h.max(r)));
                json!({
                    "name": peer.name, "seconds": peer.median(), "ratio": peer.median() / ours.median(),
                    "low": low, "high": high,
                })
            })
        };
        let medians: BTreeMap<&str, f64> =
            self.contestants.iter().map(|c| (c.name.as_str(), c.median())).collect();
        let raw: BTreeMap<&str, &[Vec<f64>]> =
            self.contestants.iter().map(|c| (c.name.as_str(), &c.times[..])).collect();
        // One row reads every weight for two operations each: memory, not arithmetic, is its limit.
        let limit = limit_gflops.filter(|_| self.rows != 1);
        json!({
            "name": self.name, "rows": self.rows, "threads": self.threads, "flop": self.flop, "ours": ours.median(),
            "best": against(self.best(|c| !c.is_ours())), "stock": against(self.best(Contestant::is_stock)),
            "share": limit.map(|gflops| self.flop / ours.median() / 1e9 / gflops),
            "medians": medians, "times": raw,
        })
    }
}

/// A line of the printed table.
fn line(work: &Value) -> String {
    let number = |v: &Value| v.as_f64().unwrap_or(f64::NAN);
    let (rows, flop) = (number(&work["rows"]), number(&work["flop"]));
    let rate = |seconds: f64| match rows {
        0.0 => format!("{:.0} GFLOP/s", flop / seconds / 1e9),
        1.0 => format!("{:.1} µs", 1e6 * seconds),
        _ => format!("{:.1} k rows/s", rows / seconds / 1e3),
    };
    let best = &work["best"];
    let name = |v: &Value| v.as_str().unwrap_or("").to_string();
    let spread = format!("{:.2}–{:.2}", number(&best["low"]), number(&best["high"]));
    let limit = work["share"].as_f64().map_or("–".into(), |share| format!("{:.0} %", 100.0 * share));
    let stock = &work["stock"];
    let stock = if stock.is_null() {
        String::new()
    } else {
        format!("   stock PyTorch {:.2} × ({})", number(&stock["ratio"]), name(&stock["name"]))
    };
    format!(
        "{:<34} {:>11} {:>11}  {:<22} {:>6.2} {spread:>13} {limit:>6}{stock}",
        name(&work["name"]),
        rate(number(&work["ours"])),
        rate(number(&best["seconds"])),
        name(&best["name"]),
        number(&best["ratio"]),
    )
}

/// A file that is removed when this goes.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("optmsm-compare-{}-{name}", std::process::id())))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
