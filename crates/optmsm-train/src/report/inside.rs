//! What the runs are made of: experts, gate, generated weights, vocabularies, settings, files.

use super::RunReport;
use super::chart;
use super::html::{Cell, count, details, escape, head, number, percent, table};
use super::sections::{left_out, pictured, scenarios};
use crate::coverage::FieldCoverage;
use crate::settings::differences;

/// One block a run, beside each other where there is room.
fn side(runs: &[RunReport], block: impl Fn(usize, &RunReport) -> String) -> String {
    let one = |(i, r): (usize, &RunReport)| {
        format!("<div><h3>{}<bdi>{}</bdi></h3>{}</div>", chart::swatch(i), escape(&r.run), block(i, r))
    };
    format!("<div class=\"side\">{}</div>", runs.iter().enumerate().map(one).collect::<String>())
}

/// Mean |cos| of each pair of experts.
pub(super) fn cosines(runs: &[RunReport]) -> String {
    side(runs, |_, r| {
        let pair =
            |i: usize, j: usize| r.diagnostics.get(&format!("abs_cos.{}.{}", i.min(j), i.max(j))).copied();
        let experts = (1..).find(|&j| pair(0, j).is_none()).unwrap_or(1);
        if experts < 2 {
            return "<p>One expert: there is no pair.</p>".into();
        }
        let mut names = head(["expert"]);
        names.extend((0..experts).map(|j| j.to_string()));
        let cell = |i: usize, j: usize| match pair(i, j) {
            Some(v) if i != j => Cell::heat(format!("{v:.3}"), v),
            _ => Cell::new("·"),
        };
        let row = |i: usize| {
            std::iter::once(Cell::new(i.to_string())).chain((0..experts).map(|j| cell(i, j))).collect()
        };
        let rows: Vec<Vec<Cell>> = (0..experts).map(row).collect();
        let penalty = number(r.diagnostics.get("orthogonality").copied(), 5);
        table(&format!("Mean |cos|; orthogonality penalty {penalty}"), &names, &rows, 1)
    })
}

/// Mean gate weights by scenario and expert.
pub(super) fn gates(runs: &[RunReport]) -> String {
    let largest =
        runs.iter().flat_map(|r| r.gates.iter().flatten().flatten()).fold(0.0_f64, |a, &b| a.max(b));
    side(runs, |_, r| {
        let Some(experts) = r.gates.iter().flatten().map(Vec::len).max() else {
            return "<p>No gate (<code>combine = \"select\"</code>): scenario s takes expert s.</p>".into();
        };
        let mut names = head(["scenario"]);
        names.extend((0..experts).map(|k| format!("expert {k}")));
        let rows = r.scenarios.iter().zip(&r.gates).map(|(s, weights)| {
            let cells = (0..experts).map(|k| match weights {
                Some(weights) => Cell::heat(format!("{:.3}", weights[k]), weights[k] / largest),
                None => Cell::new("–"),
            });
            std::iter::once(Cell::new(&s.name)).chain(cells).collect()
        });
        table("Mean weight", &names, &rows.collect::<Vec<_>>(), 1)
    })
}

/// Frobenius norms of generated weights.
pub(super) fn norms(runs: &[RunReport]) -> String {
    let layers = runs.iter().map(|r| r.norms.len()).max().unwrap_or(0);
    if layers == 0 {
        return "<p>Every row has weights of its own (<code>condition = \"instance\"</code>).</p>".into();
    }
    // By name, because runs may number their scenarios in different ways.
    let find = |r: &RunReport, name: &str, layer: usize, bias: bool| {
        let s = r.scenarios.iter().position(|s| s.name == name)?;
        let norms = r.norms.get(layer)?;
        Some(if bias { norms.bias[s] } else { norms.weight[s] })
    };
    let kinds = (0..layers).flat_map(|layer| [(layer, false), (layer, true)]);
    let title = |layer: usize, bias: bool| {
        format!("{} of tower layer {layer}", if bias { "Bias" } else { "Weights" })
    };
    let names = pictured(runs);
    let mut html = "<div class=\"plots\">".to_string();
    for (layer, bias) in kinds.clone() {
        let of = |r: &RunReport| names.iter().map(|name| find(r, name, layer, bias)).collect();
        html += &chart::bars(&title(layer, bias), &names, &runs.iter().map(of).collect::<Vec<_>>());
    }
    html += "</div>";
    html += &left_out(runs);
    let all = scenarios(runs);
    for r in runs.iter().filter(|r| !r.norms.is_empty()) {
        let mut head = head(["scenario"]);
        head.extend(kinds.clone().take(2 * r.norms.len()).map(|(layer, bias)| title(layer, bias)));
        let row = |name: &&str| {
            let cells = kinds.clone().take(2 * r.norms.len());
            let cells = cells.map(|(layer, bias)| Cell::new(number(find(r, name, layer, bias), 4)));
            std::iter::once(Cell::new(*name)).chain(cells).collect()
        };
        let rows: Vec<_> = all.iter().map(row).collect();
        html += &details(&format!("Numbers of {}", r.run), &table("Frobenius norms", &head, &rows, 1));
    }
    html
}

/// Coverage of vocabularies.
pub(super) fn coverage(runs: &[RunReport]) -> String {
    side(runs, |_, r| {
        let names = head([
            "field",
            "role",
            "kind",
            "vocabulary",
            "seen here",
            "share seen",
            "unknown values",
            "missing",
        ]);
        let optional = |v: Option<u64>| Cell::new(v.map_or("–".into(), count));
        let row = |f: &FieldCoverage| {
            let role = format!("{:?}", f.role).to_lowercase();
            let mut cells = vec![Cell::new(&f.field), Cell::new(role), Cell::new(f.kind)];
            cells.extend([optional(f.vocabulary), optional(f.seen)]);
            let shares = [f.seen_share(), f.unknown_share(), f.missing_share()];
            cells.extend(shares.map(|share| Cell::bar(percent(share), share)));
            cells
        };
        let rows: Vec<_> = r.coverage.iter().map(row).collect();
        table(&format!("Fields on {}", r.data), &names, &rows, 3)
    })
}

/// Settings that differ, and all of each run.
pub(super) fn settings(runs: &[RunReport]) -> String {
    let keys = differences(runs.iter().map(|r| &r.settings));
    let mut html = match (runs.len(), keys.len()) {
        (1, _) => String::new(),
        (_, 0) => "<p>The runs have the same settings.</p>".into(),
        _ => {
            let mut names = head(["setting"]);
            names.extend(runs.iter().map(|r| r.run.clone()));
            let value =
                |r: &RunReport, key: &str| Cell::code(r.settings.get(key).map_or("–", String::as_str));
            let row = |key: &&str| {
                std::iter::once(Cell::code(*key)).chain(runs.iter().map(|r| value(r, key))).collect()
            };
            let rows: Vec<_> = keys.iter().map(row).collect();
            table("Settings that differ", &names, &rows, usize::MAX)
        }
    };
    for r in runs {
        let row = |(key, value): (&String, &String)| vec![Cell::code(key), Cell::code(value)];
        let rows: Vec<_> = r.settings.iter().map(row).collect();
        html += &details(
            &format!("All settings of {}", r.run),
            &table("Settings", &head(["setting", "value"]), &rows, 2),
        );
    }
    html
}

/// Hashes and sizes.
pub(super) fn files(runs: &[RunReport]) -> String {
    let mut rows = Vec::new();
    for r in runs {
        let mut row = |what: &str, file: &str, bytes: String, hash: &str| {
            let cells =
                [Cell::new(&r.run), Cell::new(what), Cell::path(file), Cell::new(bytes), Cell::code(hash)];
            rows.push(cells.to_vec());
        };
        row("schema", "", String::new(), &r.schema);
        row("model and schema", "", String::new(), &r.fingerprint);
        for f in &r.files {
            let bytes = f.bytes.map_or("cannot be read".into(), count);
            row(&f.role, &f.path, bytes, f.sha256.as_deref().unwrap_or("–"));
        }
    }
    table("SHA-256", &head(["run", "what", "file", "bytes", "hash"]), &rows, usize::MAX)
}
