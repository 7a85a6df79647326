//! Frappe: which apps people used where and when, in the libFM files of the NFM paper's copy. A line has a label and ten
//! numbers, which count the values of all columns through.

use std::ops::Range;

use optmsm_data::{ColumnType, Result, Split};

use crate::output::Output;
use crate::raw::{Line, Raw};
use crate::{Published, Recipe, split};

pub(crate) const RECIPE: Recipe = Recipe {
    name: "frappe",
    title: "Frappe",
    page: "https://github.com/hexiangnan/neural_factorization_machine",
    files: &["frappe.train.libfm", "frappe.validation.libfm", "frappe.test.libfm"],
    any_file: true,
    licence: "research; cite Baltrunas et al. (arXiv 1505.03014), no redistribution, no commercial use",
    scenario: "daytime, d0 to d6; weather as a column",
    label: "the app was used; for each use, the makers of the copy drew two that were not",
    split: "the owner's parts; where one of them is missing, all rows by a hash of the row: 80 %, 10 %, 10 %",
    published: &[
        Published { what: "rows of frappe.train.libfm", rows: 202_027, by: "its README, less the others" },
        Published { what: "rows of frappe.validation.libfm", rows: 57_722, by: "counted" },
        Published { what: "rows of frappe.test.libfm", rows: 28_860, by: "counted" },
    ],
    columns: &[
        ("user", ColumnType::Text),
        ("item", ColumnType::Text),
        ("daytime", ColumnType::Text),
        ("weekday", ColumnType::Text),
        ("isweekend", ColumnType::Text),
        ("homework", ColumnType::Text),
        ("cost", ColumnType::Text),
        ("weather", ColumnType::Text),
        ("country", ColumnType::Text),
        ("city", ColumnType::Text),
    ],
    config: include_str!("frappe.toml"),
    cook,
};

/// Numbers of each column's values, by its README.
const NUMBERS: [Range<i64>; 10] = [
    0..957,
    957..5039,
    5039..5046,
    5046..5053,
    5053..5055,
    5055..5058,
    5058..5060,
    5060..5069,
    5069..5149,
    5149..5382,
];
const DAYTIME: usize = 2;

/// A line's label and the numbers of its values, each counted from 0.
fn read(line: Line) -> Result<(bool, [i64; 10])> {
    let [label, values @ ..]: [&[u8]; 11] = line.columns(b" ")?;
    let label = match label {
        b"1" => true,
        b"-1" => false,
        _ => return Err(line.at.value("label", label, "1 or -1")),
    };
    let mut numbers = [0; 10];
    for (i, value) in values.into_iter().enumerate() {
        let (name, range) = (RECIPE.columns[i].0, &NUMBERS[i]);
        let number = value.strip_suffix(b":1").map(|number| line.at.int(name, number)).transpose()?;
        let known = number.filter(|number| range.contains(number));
        numbers[i] = known.map(|number| number - range.start).ok_or_else(|| {
            line.at.value(name, value, &format!("{} to {}, with :1", range.start, range.end - 1))
        })?;
    }
    Ok((label, numbers))
}

fn cook(raw: &mut Raw, out: &mut Output) -> Result<()> {
    let files = raw.files();
    let missing: Vec<&str> = files.iter().copied().filter(|file| !raw.has(file)).collect();
    if !missing.is_empty() {
        raw.warn(format!(
            "no {} is there: all rows are split anew by a hash, 80 % for training, 10 % for validation, 10 % for the test",
            missing.join(", no ")
        ));
    }
    for (&file, part) in files.iter().zip([Split::Train, Split::Valid, Split::Test]) {
        if missing.contains(&file) {
            continue;
        }
        let mut lines = raw.lines(file)?;
        while let Some(line) = lines.next()? {
            let (label, numbers) = read(line)?;
            let texts = numbers.map(|number| number.to_string());
            let part = if missing.is_empty() { part } else { split::by_hash(texts.join(" ").as_bytes()) };
            let mut row = out.row(part, label, &format!("d{}", texts[DAYTIME]));
            for text in &texts {
                row = row.text(text);
            }
            row.end()?;
        }
        raw.count(&format!("rows of {file}"), lines.rows())?;
        raw.record(lines.done());
    }
    Ok(())
}
