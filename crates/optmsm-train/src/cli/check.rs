//! `optmsm check`.

use std::path::PathBuf;

use crate::check::{Check, FieldCheck, Memory, RanksCheck, ScenarioCheck, Sent, check};
use crate::config::{BackendKind, Config};
use crate::error::Result;
use crate::say;
use clap::Args;

use super::Output;

#[derive(Args)]
pub(super) struct Options {
    /// Configuration file.
    config: PathBuf,
    /// Rows of each file to look at.
    #[arg(long, default_value_t = 100_000)]
    rows: u64,
    /// Change one value: --set train.batch_size=4096
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Whose memory to count: short for --set train.backend=…; no device is needed.
    #[arg(long, value_enum)]
    backend: Option<BackendKind>,
    /// Look at training by so many ranks: memory of each, and bytes that they send each other.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    ranks: u16,
    /// With --ranks: the network that each rank has, as 25gbit; says how long the bytes of a step take on it at least.
    #[arg(long, requires = "ranks", conflicts_with = "json", value_parser = network)]
    network: Option<f64>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let overrides = super::overrides(&options.set, options.backend);
    let config = Config::load(&options.config, &overrides)?;
    let found = check(&config, options.rows, options.ranks.into())?;
    found.warnings.iter().for_each(|text| say::warning(text));
    match options.output.json {
        true => super::print_json(&found),
        false => super::print(format!("{}{}", text(&found), ranks(&found, options.network)).as_bytes()),
    }
}

/// Bytes per second of a network such as `25gbit`.
fn network(text: &str) -> Result<f64, String> {
    let lower = text.to_lowercase();
    let bits = [("gbit", 1e9), ("mbit", 1e6)].into_iter().find_map(|(unit, bits)| {
        let number: f64 = lower.strip_suffix(unit)?.trim().parse().ok()?;
        (number > 0.0 && number.is_finite()).then_some(number * bits)
    });
    bits.map(|bits| bits / 8.0).ok_or_else(|| "give gigabits or megabits per second, as 25gbit".into())
}

/// Bytes that ranks send.
fn ranks(found: &Check, network: Option<f64>) -> String {
    let Some(RanksCheck { ranks, groups, rows, most, mean, imbalance }) = &found.ranks else {
        return String::new();
    };
    let line = |name: &str, of: fn(&Sent) -> f64| {
        [name.to_string(), size(of(most) as usize), size(of(mean) as usize)]
    };
    let lines = [
        line("ids", |s| s.ids),
        line("rows of tables", |s| s.rows),
        line("gradients of rows", |s| s.gradients),
        line("dense parameters and gradients", |s| s.dense),
        line("in all", |s| s.total),
    ];
    let mut text = super::table(["sent by a rank per step", "most", "mean"], lines.into_iter());
    text += &format!(
        "{ranks} ranks with {groups} of the groups each, a step of {rows} rows. The memory above is that of one rank.\n\
         The rank that is asked for the most rows of tables sends {imbalance:.2} times the mean.\n"
    );
    if let Some(bytes) = network {
        let seconds = most.total / bytes;
        text += &format!(
            "On a network of {:.0} Gbit/s for each rank these bytes take at least {:.2} ms; time to begin messages, and that of other \
             jobs, comes on top.\n",
            bytes * 8.0 / 1e9,
            seconds * 1e3
        );
    }
    text + "\n"
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn text(found: &Check) -> String {
    let mut text = String::new();
    text += &super::table(
        ["part", "file", "rows looked at", "of about", "positives", "unseen scenarios"],
        found.files.iter().map(|f| {
            let about = f.about_rows.map_or("unknown".into(), |n| n.to_string());
            let about = if f.whole { "all".into() } else { about };
            let part = f.split.to_string();
            [
                part,
                f.path.clone(),
                f.rows.to_string(),
                about,
                percent(f.positives),
                percent(f.unseen_scenarios),
            ]
        }),
    );
    text += &super::table(
        ["scenario", "rows", "positives", "weight", "effective rows"],
        found.scenarios.iter().map(|ScenarioCheck { scenario: s, weight, effective_rows }| {
            let sums = [weight, effective_rows].map(|v| format!("{v:.1}"));
            let [weight, effective_rows] = sums;
            [s.name.clone(), s.rows.to_string(), s.positives.to_string(), weight, effective_rows]
        }),
    );
    let [valid, test] = ["valid", "test"].map(|split| {
        let oov = |f: &FieldCheck| f.oov.get(split).map_or("–".to_string(), |&s| percent(s));
        move |f: &FieldCheck| oov(f)
    });
    text += &super::table(
        ["field", "column", "kind", "role", "missing", "OOV valid", "OOV test", "AUC alone", "ids"],
        found.fields.iter().map(|f| {
            let ids =
                f.ids.map_or("number".into(), |n| if f.exact { n.to_string() } else { format!("about {n}") });
            let missing = f.missing.get("train").map_or("–".to_string(), |&s| percent(s));
            let role = format!("{:?}", f.role).to_lowercase();
            let auc = f.auc.map_or("–".to_string(), |auc| format!("{auc:.4}"));
            [f.name.clone(), f.column.clone(), f.kind.into(), role, missing, valid(f), test(f), auc, ids]
        }),
    );
    if found.files.iter().any(|f| !f.whole) {
        text += "Not all rows were looked at: counts of ids and rows are estimates, and an id counts as out of vocabulary\n\
                 where the training rows that were looked at lack it. --rows looks at more.\n\n";
    }
    text += &super::table(
        ["tensor", "shape", "elements"],
        found.tensors.iter().map(|t| [t.name.clone(), format!("{:?}", t.shape), t.elements.to_string()]),
    );
    text += &format!("parameters  {}\n\n", found.parameters);
    text += &memory(&found.memory);
    let streamed: Vec<&str> = found.files.iter().filter(|f| f.streamed).map(|f| f.split).collect();
    if !streamed.is_empty() {
        text += &format!(
            "Rows of {} come from disk (data.stream): of training rows, data.stream.shuffle_rows decides what they take.\n\n",
            streamed.join(", ")
        );
    }
    text
}

fn memory(m: &Memory) -> String {
    let place = match m.backend {
        BackendKind::Cpu => "host",
        BackendKind::Cuda => "device",
    };
    let mut lines = vec![
        ("parameters", place, m.parameters),
        ("optimizer state", place, m.optimizer),
        ("gradients", place, m.gradients),
        ("packed and generated weights", place, m.prepared),
        ("activations", place, m.activations),
        ("the batch", place, m.inputs),
    ];
    if m.backend == BackendKind::Cuda {
        lines.push(("workspaces and uploads, at most", place, m.reserved));
        lines.push(("device in all", place, m.backend_total));
    }
    lines.push(("rows of data", "host", m.data));
    lines.push(("planned batches", "host", m.batches));
    lines.push(("host in all", "host", m.host_total));
    lines.push(("more while a checkpoint is saved", "host", m.saving));
    let rows = lines.into_iter().map(|(what, place, bytes)| [what.into(), place.into(), size(bytes)]);
    super::table(["memory", "of", "size"], rows)
}

fn size(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B "),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
