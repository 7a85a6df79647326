//! `optmsm gradcheck`: kind × option × layer → worst relative error.

use std::collections::BTreeMap;

use crate::error::Result;
use clap::Args;
use comfy_table::{Table, presets};
use optmsm_core::gradcheck::{case, check, layer_of};
use optmsm_core::models::Kind;
use serde::Serialize;

use super::{Output, models};

#[derive(Args)]
pub(super) struct Options {
    /// Check the models of these kinds; of all kinds where none is named. The wrong derivative that must be caught is always there.
    #[arg(long, value_name = "KIND", num_args = 0..)]
    models: Vec<String>,
    #[command(flatten)]
    output: Output,
}

/// Largest error that passes.
const LIMIT: f64 = 1e-6;

/// Output of `--json`.
#[derive(Serialize)]
struct Checked {
    /// Errors below this pass.
    limit: f64,
    /// The largest, the control's left out.
    worst: f64,
    /// Whether all pass and the control does not.
    passed: bool,
    cases: Vec<Case>,
}

/// One option of a model.
#[derive(Serialize)]
struct Case {
    kind: Kind,
    option: String,
    /// Whether its derivative is wrong on purpose.
    control: bool,
    /// Worst relative error by layer.
    layers: BTreeMap<String, f64>,
}

impl Case {
    fn worst(&self) -> f64 {
        self.layers.values().copied().fold(0.0, f64::max)
    }
}

pub(super) fn run(options: &Options) -> Result<u8> {
    let named = options.models.iter().map(|name| models::find("gradcheck --models", name));
    let named: Vec<Kind> = named.collect::<Result<_>>()?;
    let kinds = Kind::ALL.iter().filter(|kind| named.is_empty() || named.contains(kind));
    let control = case("control: penalty left out", |_| {});
    let mut cases = Vec::new();
    for (case, control) in kinds.flat_map(|kind| kind.cases()).map(|c| (c, false)).chain([(control, true)]) {
        let mut layers: BTreeMap<String, f64> = BTreeMap::new();
        for e in check(&case, control)? {
            let error = layers.entry(layer_of(&e.name).to_string()).or_default();
            *error = error.max(e.error);
        }
        cases.push(Case { kind: case.config.kind, option: case.name, control, layers });
    }
    let worst = cases.iter().filter(|c| !c.control).map(Case::worst).fold(0.0, f64::max);
    let caught = cases.iter().filter(|c| c.control).all(|c| c.worst() >= LIMIT);
    let checked = Checked { limit: LIMIT, worst, passed: worst < LIMIT && caught, cases };
    match options.output.json {
        true => super::print_json(&checked)?,
        false => super::print(show(&checked, caught).as_bytes())?,
    }
    Ok(u8::from(!checked.passed))
}

fn show(checked: &Checked, caught: bool) -> String {
    let mut text = String::new();
    for kinds in checked.cases.chunk_by(|a, b| (a.kind, a.control) == (b.kind, b.control)) {
        let title = if kinds[0].control { "control" } else { kinds[0].kind.name() };
        text += &format!("{title}\n{}\n\n", layers(kinds, caught));
    }
    let verdict = if checked.worst < LIMIT { "all below" } else { "NOT all below" };
    let control = if caught { "" } else { "the wrong derivative of the control was not caught\n" };
    format!("{text}worst relative error {:.1e}: {verdict} {LIMIT:.0e}\n{control}", checked.worst)
}

/// Options × layers of one kind.
fn layers(cases: &[Case], caught: bool) -> Table {
    let mut columns: Vec<&String> = Vec::new();
    for layer in cases.iter().flat_map(|c| c.layers.keys()) {
        if !columns.contains(&layer) {
            columns.push(layer);
        }
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["option"].into_iter().chain(columns.iter().map(|c| c.as_str())).chain([""]));
    for case in cases {
        let cells =
            columns.iter().map(|c| case.layers.get(*c).map_or("–".to_string(), |e| format!("{e:.0e}")));
        let note = match (case.control, caught) {
            (false, _) => "",
            (true, true) => "fails, as it should",
            (true, false) => "NOT caught",
        };
        table.add_row([case.option.clone()].into_iter().chain(cells).chain([note.to_string()]));
    }
    table
}
