//! `optmsm gradcheck`: layer × option → worst relative error.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};
use optmsm_core::gradcheck::{all_cases, case, check, layer_of};
use optmsm_train::error::Result;

/// Largest error that passes.
const LIMIT: f64 = 1e-6;

pub(super) fn run() -> Result<u8> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let mut columns: Vec<String> = Vec::new();
    let (mut worst, mut lines) = (0.0f64, Vec::new());
    let control = case("control: penalty left out", |_| {});
    let cases = all_cases().into_iter().map(|c| (c, false)).chain([(control, true)]);
    for (case, wrong) in cases {
        let mut by_layer: BTreeMap<String, f64> = BTreeMap::new();
        for e in check(&case, wrong)? {
            let error = by_layer.entry(layer_of(&e.name).to_string()).or_default();
            *error = error.max(e.error);
        }
        let own = by_layer.values().copied().fold(0.0, f64::max);
        if wrong && own < LIMIT {
            println!("the wrong derivative of the control was not caught ({own:.1e})");
            return Ok(1);
        }
        worst = if wrong { worst } else { worst.max(own) };
        by_layer
            .keys()
            .filter(|k| !columns.contains(k))
            .cloned()
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|k| columns.push(k));
        lines.push((case.name, by_layer, wrong));
    }
    let header = ["option".to_string()].into_iter().chain(columns.clone()).chain(["".to_string()]);
    table.set_header(header);
    for (name, by_layer, wrong) in lines {
        let cells = columns.iter().map(|c| by_layer.get(c).map_or("–".to_string(), |e| format!("{e:.0e}")));
        let note = if wrong { "fails, as it should" } else { "" };
        table.add_row([name].into_iter().chain(cells).chain([note.to_string()]));
    }
    println!("{table}");
    let verdict = if worst < LIMIT { "all below" } else { "NOT all below" };
    println!("worst relative error {worst:.1e}: {verdict} {LIMIT:.0e}");
    Ok(u8::from(worst >= LIMIT))
}
