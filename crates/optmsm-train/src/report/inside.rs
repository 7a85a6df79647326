//! The inside of the runs: exhibits of the models, vocabularies, settings, files.

use super::chart;
use super::html::{Cell, count, details, escape, head, number, percent, table};
use super::sections::{left_out, pictured};
use super::{ExhibitReport, RunReport};
use crate::coverage::FieldCoverage;
use crate::findings::Finding;
use crate::settings::differences;

/// One block per run, beside each other where there is room.
fn side(runs: &[RunReport], block: impl Fn(usize, &RunReport) -> String) -> String {
    let one = |(i, r): (usize, &RunReport)| {
        format!("<div><h3>{}<bdi>{}</bdi></h3>{}</div>", chart::swatch(i), escape(&r.run), block(i, r))
    };
    format!("<div class=\"side\">{}</div>", runs.iter().enumerate().map(one).collect::<String>())
}

/// Warnings about the models.
pub(super) fn findings(runs: &[RunReport]) -> String {
    side(runs, |_, r| {
        let item = |f: &Finding| format!("<li><bdi>{}</bdi></li>", escape(&f.to_string()));
        match r.findings.is_empty() {
            true => "<p>None.</p>".into(),
            false => format!("<ul>{}</ul>", r.findings.iter().map(item).collect::<String>()),
        }
    })
}

/// Exhibits of the models: title, how to read it, and what all runs show.
pub(super) fn exhibits(runs: &[RunReport]) -> Vec<(String, String, String)> {
    let mut shown: Vec<&ExhibitReport> = Vec::new();
    for exhibit in runs.iter().flat_map(|r| &r.exhibits) {
        if shown.iter().all(|e| e.title != exhibit.title) {
            shown.push(exhibit);
        }
    }
    let section = |e: &&ExhibitReport| {
        let of = |r: &RunReport| r.exhibits.iter().position(|own| own.title == e.title);
        let content = match e.by_scenario && e.full.is_none() {
            true => bars(runs, e, &|r| of(r).map(|at| &r.exhibits[at])),
            false => side(runs, |_, r| match of(r) {
                Some(at) => values(&r.exhibits[at]),
                None => "<p>This model has none.</p>".into(),
            }),
        };
        (e.title.clone(), e.says.clone(), content)
    };
    shown.iter().map(section).collect()
}

/// Exhibits by scenario as bars, one chart per column, the numbers below.
fn bars<'a>(
    runs: &'a [RunReport],
    first: &ExhibitReport,
    of: &dyn Fn(&'a RunReport) -> Option<&'a ExhibitReport>,
) -> String {
    // By name, because runs may number their scenarios in different ways.
    let find = |r: &'a RunReport, name: &str, column: &str| {
        let e = of(r)?;
        let (row, column) =
            (e.rows.iter().position(|n| n == name)?, e.columns.iter().position(|n| n == column)?);
        e.values[row][column]
    };
    let names = pictured(runs);
    let mut html = "<div class=\"plots\">".to_string();
    for column in &first.columns {
        let of = |r: &'a RunReport| names.iter().map(|name| find(r, name, column)).collect();
        html += &chart::bars(column, &names, &runs.iter().map(of).collect::<Vec<_>>());
    }
    html += "</div>";
    html += &left_out(runs);
    for (r, e) in runs.iter().filter_map(|r| Some((r, of(r)?))) {
        html += &details(&format!("Numbers of {}", r.run), &values(e));
    }
    html
}

/// One exhibit as a table.
fn values(e: &ExhibitReport) -> String {
    let mut names = head([if e.by_scenario { "scenario" } else { "" }]);
    names.extend(e.columns.iter().cloned());
    let cell = |v: &Option<f64>| match (v, e.full) {
        (Some(v), Some(full)) => Cell::heat(format!("{v:.3}"), v / full),
        (Some(v), None) => Cell::new(number(Some(*v), 4)),
        (None, _) => Cell::new("·"),
    };
    let rows = e.rows.iter().zip(&e.values);
    let rows =
        rows.map(|(name, values)| std::iter::once(Cell::new(name)).chain(values.iter().map(cell)).collect());
    table(&e.title, &names, &rows.collect::<Vec<_>>(), 1)
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
