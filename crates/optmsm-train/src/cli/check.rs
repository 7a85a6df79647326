//! `optmsm check`.

use std::path::PathBuf;

use crate::check::{Check, FieldCheck, Memory, ScenarioCheck, check};
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
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let overrides = super::overrides(&options.set, options.backend);
    let config = Config::load(&options.config, &overrides)?;
    let found = check(&config, options.rows)?;
    found.warnings.iter().for_each(|text| say::warning(text));
    match options.output.json {
        true => super::print_json(&found),
        false => super::print(text(&found).as_bytes()),
    }
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
    let size = |bytes: usize| match bytes {
        0..10_000 => format!("{bytes} B "),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    };
    let rows = lines.into_iter().map(|(what, place, bytes)| [what.into(), place.into(), size(bytes)]);
    super::table(["memory", "of", "size"], rows)
}
