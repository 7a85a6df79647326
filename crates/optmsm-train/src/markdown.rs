//! Tables and numbers as Markdown.

use optmsm_data::{SplitConfig, printable};

use crate::data_files::DataFile;
use crate::provenance::Provenance;
use crate::statistics::Spread;

/// A table: the first column to the left, the others to the right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let names: Vec<String> = header.iter().map(|h| h.to_string()).collect();
    let rule: Vec<String> = (0..header.len()).map(|i| if i == 0 { "---" } else { "---:" }.into()).collect();
    rows.iter().fold(line(&names) + &line(&rule), |text, row| text + &line(row))
}

/// A name from the data or the user, which may hold what Markdown reads.
pub(crate) fn name(text: &str) -> String {
    printable(text).replace('\\', "\\\\").replace('|', "\\|")
}

/// Text of a value that is not there.
pub(crate) const NONE: &str = "–";

/// `mean ± sd` with this many decimals.
pub(crate) fn spread(value: Option<Spread>, decimals: usize) -> String {
    match value {
        None => NONE.into(),
        Some(Spread { mean, sd: Some(sd), .. }) => format!("{mean:.decimals$} ± {sd:.decimals$}"),
        Some(Spread { mean, .. }) => format!("{mean:.decimals$}"),
    }
}

/// A p-value: three decimals, or that it is below them.
pub(crate) fn p(value: Option<f64>) -> String {
    match value {
        None => NONE.into(),
        Some(p) if p < 0.001 => "< 0.001".into(),
        Some(p) => format!("{p:.3}"),
    }
}

/// An interval with five decimals and signs.
pub(crate) fn interval(value: Option<[f64; 2]>) -> String {
    value.map_or(NONE.into(), |[low, high]| format!("{low:+.5} … {high:+.5}"))
}

/// Lines on the files and on how they were split.
pub(crate) fn made_from(files: &[DataFile], split: Option<&SplitConfig>) -> String {
    let file = |f: &DataFile| format!("- {}: {} bytes, SHA-256 {}\n", name(&f.path), f.bytes, f.sha256);
    let split = split.map(|s| {
        let by = name(&s.by);
        format!("- split: valid {}, test {}, seed {}, by {by}\n", s.valid, s.test, s.seed)
    });
    files.iter().map(file).chain(split).collect()
}

/// A line on the program and the machine.
pub(crate) fn made_by(here: &Provenance) -> String {
    format!("- optmsm {}; {}, {} cores, {}\n", here.version, here.cpu, here.cores, here.system)
}
