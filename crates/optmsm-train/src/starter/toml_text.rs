//! The text of a starter configuration.

use optmsm_core::config::Role;
use optmsm_core::models;
use optmsm_data::{Holds, ListText, Marks, Quoting, Reading, printable};

use super::columns::{Column, Columns};
use super::guess::{Field, Guessed, Kind, MOST_SCENARIOS, Use};

/// Characters of an example or a name in a comment.
const LONGEST: usize = 24;

/// A value for a comment or a message: quoted, control characters escaped, cut when it is long.
pub(super) fn shown(value: &str) -> String {
    match value.char_indices().nth(LONGEST) {
        None => format!("{value:?}"),
        Some((cut, _)) => format!("{:?}…", &value[..cut]),
    }
}

/// A TOML string.
fn string(value: &str) -> String {
    toml::Value::String(value.into()).to_string()
}

/// Type, distinct values, missing share, examples.
fn seen(column: &Column, rows: u64) -> String {
    let of = column.of.as_ref().map(|of| printable(of).into_owned());
    let values = match () {
        () if column.holds == Holds::Unreadable || column.unreadable.is_some() => None,
        () if column.examples.is_empty() => Some("all missing".into()),
        () => Some(values(column, rows)),
    };
    let text = of.into_iter().chain(values).collect::<Vec<_>>().join(": ");
    let mut first = text.chars();
    first.next().map_or(String::new(), |c| c.to_uppercase().chain(first).collect())
}

fn values(column: &Column, rows: u64) -> String {
    let examples: Vec<String> = column.examples.iter().map(|e| shown(e)).collect();
    let missing = match column.missing {
        0 => "none missing".to_string(),
        n => format!("{} missing", percent(n, rows)),
    };
    let values = if column.distinct() == 1 { "value" } else { "values" };
    format!("{} {values}, {missing}, such as {}", column.distinct(), examples.join(", "))
}

/// A share in words.
pub(super) fn percent(part: u64, of: u64) -> String {
    let share = 100.0 * part as f64 / of.max(1) as f64;
    // Rounding must not say that nothing is missing.
    if part > 0 && share < 0.1 { "under 0.1 %".into() } else { format!("{share:.1} %") }
}

pub(super) fn write(
    path: &str,
    columns: &Columns,
    guessed: &Guessed,
    siblings: &[Option<String>; 2],
) -> String {
    let Columns { rows, whole, about, list, .. } = columns;
    let looked = match whole {
        true => format!("all {rows} rows"),
        false => format!("the first {rows} rows, of about {about}"),
    };
    let mut text = format!(
        "# A configuration to start from, guessed from {looked} of {}.\n# Read it through: a guess says what it was made \
         from. docs/config.md lists every key.\n#\n#     optmsm check THIS_FILE          what becomes of the data, and the memory it takes\n\
         #     optmsm train --config THIS_FILE\n\n[data]\ntrain = {}\n",
        printable(path),
        string(path)
    );
    let [valid, test] = siblings;
    let ending = if list.iter().any(|c| c.of.is_some()) { "parquet" } else { "csv" };
    match valid {
        Some(path) => text += &format!("valid = {}   # has the same columns\n", string(path)),
        None => {
            text += &format!(
                "# valid = \"valid.{ending}\"   # rows that early stopping watches: without them the last pass is kept\n"
            );
        }
    }
    match test {
        Some(path) => text += &format!("test = {}   # has the same columns\n", string(path)),
        None => text += &format!("# test = \"test.{ending}\"     # rows that are scored once, at the end\n"),
    }
    if siblings.iter().all(Option::is_none) {
        let by = guessed.group.map_or("row", |group| &list[group].name);
        text += &format!(
            "# split = {{ valid = 0.1, test = 0.1, by = {} }}   # or this: both are parts of these rows\n",
            string(by)
        );
    }
    text += &form(&columns.reading);
    let label = &list[guessed.label];
    let labels = label.labels();
    let positives = percent(labels.iter().filter(|one| **one).count() as u64, *rows);
    text += &format!("\n# {positives} of the rows are 1.\nlabel = {}\n", string(&label.name));
    if let Some([zero, one]) = label.label_values() {
        text += &format!("label_values = [{}, {}]   # how 0 and 1 are written\n", string(zero), string(one));
    }
    let scenario = &list[guessed.scenario];
    text += &format!("\n# {}.\nscenario = {}\n", seen(scenario, *rows), string(&scenario.name));
    if scenario.distinct() > MOST_SCENARIOS {
        text += "# Many scenarios: those with few rows learn little of their own; grouping them may help.\n";
    }
    if !whole {
        text += "# What to do with a scenario that only later files have: \"oov\" maps it to a fallback that is trained too.\n\
                 # unseen_scenario = \"oov\"\n";
    }
    if let Some(group) = guessed.group {
        let group = &list[group];
        text += &format!(
            "\n# Groups rows for GAUC, the AUC within a user: {} values.\ngroup = {}\n",
            group.distinct(),
            string(&group.name)
        );
    }
    for (column, one) in list.iter().zip(&guessed.uses) {
        if *one == Use::Probability {
            text += &format!(
                "\n# True probabilities, as simulated data has them: their metrics are reported as the ceiling.\nprobability = {}\n",
                string(&column.name)
            );
        }
    }
    text += "\n# Fields: what the model reads. role = \"shared\" (the default): what scenarios have in common, users and items;\n\
             # role = \"specific\": what sets them apart.\n";
    for (column, one) in list.iter().zip(&guessed.uses) {
        match one {
            Use::Field(field) => text += &field_text(column, field, *rows),
            Use::Left(why) => {
                let seen = Some(seen(column, *rows)).filter(|seen| !seen.is_empty());
                let seen = seen.map_or(String::new(), |seen| format!(" {seen}."));
                text += &format!("\n# {}: left out: {}.{seen}\n", shown(&column.name), printable(why));
            }
            _ => {}
        }
    }
    text + &settings(*about, valid.is_some(), scenario.distinct())
}

/// How the rows of a CSV are told apart, where that is not as usual.
fn form(reading: &Reading) -> String {
    let mut text = String::new();
    if reading.delimiter != ',' {
        text += &format!("delimiter = {}\n", string(&reading.delimiter.to_string()));
    }
    match reading.quoting {
        Quoting::Strict => {}
        Quoting::Standard => {
            text += "quoting = \"standard\"   # values in quotes may have line breaks in them\n"
        }
        Quoting::None => text += "quoting = \"none\"\n",
    }
    if !reading.columns.is_empty() {
        let names: Vec<String> = reading.columns.iter().map(|name| string(name)).collect();
        text += &format!(
            "# There is no header: these are the columns' names, here and below.\ncolumns = [{}]\n",
            names.join(", ")
        );
    }
    text
}

fn field_text(column: &Column, field: &Field, rows: u64) -> String {
    let mut text = format!(
        "\n# {}.\n# {}.\n[[data.fields]]\nname = {}\n",
        seen(column, rows),
        printable(&field.why.join("; ")),
        string(&column.name)
    );
    match field.kind {
        Kind::Categorical => {}
        Kind::Numeric { skewed, marks } => {
            text += "kind = \"numeric\"\n";
            let Marks { decimal, thousands } = marks;
            if decimal != '.' {
                text += &format!("decimal = {}\n", string(&decimal.to_string()));
            }
            if let Some(mark) = thousands {
                text += &format!("thousands = {}\n", string(&mark.to_string()));
            }
            if skewed {
                text += &format!(
                    "# transform = \"log1p\"   # most values are small: the mean is {:.3}, the greatest {:.3}\n",
                    column.sum / column.present() as f64,
                    column.greatest
                );
            }
        }
        Kind::Multi { list, separator, weights } => {
            text += "kind = \"multi\"\n";
            text += match list {
                ListText::Separated => "",
                ListText::Trimmed => "list = \"trimmed\"\n",
                ListText::Json => "list = \"json\"\n",
            };
            if separator != '|' {
                text += &format!("separator = {}\n", string(&separator.to_string()));
            }
            if weights {
                text += "weight_separator = \":\"\n";
            }
        }
    }
    if field.role == Role::Specific {
        text += "role = \"specific\"\n";
    }
    if field.min_frequency > 1 {
        text += &format!("min_frequency = {}\n", field.min_frequency);
    }
    text
}

/// Rows below which dropout is worth its time, and a pass is few steps (docs/benchmarks/ideas.md).
const FEW_ROWS: u64 = 100_000;

/// The tables of model and training for so many rows and scenarios, `valid`: with rows that early stopping watches. They are the first
/// settings to try, and defaults except where the number of rows decides.
pub fn settings(rows: u64, valid: bool, scenarios: usize) -> String {
    // Measured on two data sets of about 100,000 rows (docs/training.md); beyond that ids have more rows each, and less decay is safer.
    let (batch, lr, decay) = match rows {
        0..20_000 => (256, "0.001", "0.01"),
        20_000..5_000_000 => (2048, "0.004", "0.01"),
        _ => (4096, "0.004", "0.001"),
    };
    let dim = if rows < 20_000 { 8 } else { 16 };
    let (average, steps) = if rows < 5_000_000 { (0.995, 200) } else { (0.999, 1000) };
    let few_rows = rows < FEW_ROWS;
    let (epochs, why) = match valid {
        true => (if few_rows { 60 } else { 20 }, "at most: early stopping ends it"),
        false => (3, "few: nothing watches for overfitting without data.valid"),
    };
    let model = models::starter(scenarios, MOST_SCENARIOS, few_rows);
    format!(
        "\n# docs/choosing.md says which model for which data; optmsm bench THIS_FILE compares them all on these rows.\n\
         [model]\nembedding_dim = {dim}\ninit_std = 0.1\n{model}\n\
         # The first setting to try (docs/training.md); optmsm tune searches it with the learning rate.\n\
         [train.embedding_optimizer]\nweight_decay = {decay}   # of embedding tables: from 1e-4 to 3e-2, more where values are seldom\n\n\
         [train]\nbatch_size = {batch}\nepochs = {epochs}            # {why}\n\
         average = {{ kind = \"ema\", decay = {average} }} # the mean of the last {steps} steps or so predicts\n\n\
         [train.optimizer]\nrule = \"adam\"\nlr = {lr}\n"
    )
}
