//! `optmsm recipe`.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::say;
use clap::Args;
use optmsm_recipes::{Job, Made, RECIPES, Recipe, thousands};
use serde::Serialize;

use super::{Output, print, print_json, table};

#[derive(Args)]
pub(super) struct Options {
    /// Recipe; without it, all are listed.
    name: Option<String>,
    /// Folder of the raw files, as their owner packs them.
    #[arg(long, value_name = "DIR", requires_all = ["name", "out"])]
    raw: Option<PathBuf>,
    /// Folder for Parquet files and configuration.
    #[arg(long, value_name = "DIR", requires_all = ["name", "raw"])]
    out: Option<PathBuf>,
    /// Warn of other counts than the published ones, and go on.
    #[arg(long, requires = "raw")]
    allow_partial: bool,
    /// List all recipes.
    #[arg(long, conflicts_with_all = ["name", "raw", "out"])]
    list: bool,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let chosen = options.name.as_deref().map(find).transpose()?;
    let (Some(recipe), Some(raw), Some(out)) = (chosen, &options.raw, &options.out) else {
        let shown: Vec<&Recipe> = chosen.map_or_else(|| RECIPES.to_vec(), |recipe| vec![recipe]);
        return list(&shown, options.output);
    };
    let job = Job { raw, out, allow_partial: options.allow_partial };
    let made = recipe.run(job, &mut |file| say::line(&format!("reading {file}")))?;
    for warning in &made.warnings {
        say::warning(warning);
    }
    if options.output.json {
        return print_json(&made);
    }
    print(summary(&made).as_bytes())
}

fn find(name: &str) -> Result<&'static Recipe> {
    RECIPES.into_iter().find(|recipe| recipe.name == name).ok_or_else(|| {
        let names: Vec<_> = RECIPES.iter().map(|recipe| recipe.name).collect();
        let likeness = |other: &str| strsim::normalized_damerau_levenshtein(name, other);
        let nearest = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let hint = nearest.filter(|near| likeness(near) >= 0.6).map(|near| format!("did you mean {near}? "));
        let fix = format!("{}they are: {}", hint.unwrap_or_default(), names.join(", "));
        Error::argument(format!("recipe {name:?}"), "is not known", fix)
    })
}

/// A recipe as it is listed.
#[derive(Serialize)]
struct Listed {
    name: &'static str,
    title: &'static str,
    page: &'static str,
    files: &'static [&'static str],
    licence: &'static str,
    scenario: &'static str,
    label: &'static str,
    split: &'static str,
    published: Vec<Count>,
}

#[derive(Serialize)]
struct Count {
    what: &'static str,
    rows: u64,
    by: &'static str,
}

fn list(recipes: &[&Recipe], output: Output) -> Result<()> {
    let listed = recipes.iter().map(|recipe| {
        let Recipe { name, title, page, files, licence, scenario, label, split, published, .. } = recipe;
        let published = published.iter().map(|p| Count { what: p.what, rows: p.rows, by: p.by }).collect();
        Listed { name, title, page, files, licence, scenario, label, split, published }
    });
    if output.json {
        return print_json(&listed.collect::<Vec<_>>());
    }
    let mut text = String::new();
    for recipe in listed {
        let Listed { name, title, page, files, licence, scenario, label, split, published } = recipe;
        let counts: Vec<_> =
            published.iter().map(|p| format!("{} {} ({})", thousands(p.rows), p.what, p.by)).collect();
        text.push_str(&format!("{name}: {title}\n"));
        let lines = [
            ("from", page.to_owned()),
            ("files", files.join(", ")),
            ("licence", licence.to_owned()),
            ("counts", counts.join(", ")),
            ("scenario", scenario.to_owned()),
            ("label", label.to_owned()),
            ("split", split.to_owned()),
        ];
        for (key, value) in lines {
            text.push_str(&format!("  {key:<9} {value}\n"));
        }
        text.push('\n');
    }
    text.push_str("optmsm recipe NAME --raw DIR --out DIR writes Parquet and a configuration.\n");
    print(text.as_bytes())
}

fn summary(made: &Made) -> String {
    let rows = made.parts.iter().map(|part| {
        let rate = 100.0 * part.positives as f64 / part.rows as f64;
        [part.part.to_owned(), part.scenarios.len().to_string(), format!("{rate:.1} %"), thousands(part.rows)]
    });
    let mut text = table(["part", "scenarios", "positive", "rows"], rows);
    let config = made.config.display();
    text.push_str(&format!("{config}: next, optmsm check {config}, optmsm train --config {config}\n"));
    text
}
