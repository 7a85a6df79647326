//! `optmsm models`: the architectures there are, and what each is made of.

use std::path::PathBuf;

use crate::config::{self, Config};
use crate::data_files;
use crate::error::{Error, Result};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use optmsm_core::config::{FieldKind, FieldSpec, InputSpec, Pooling};
use optmsm_core::models::{About, Cost, Kind, ModelConfig};
use optmsm_data::synth::{self, SynthConfig};
use serde::{Serialize, Serializer};

use super::Output;

#[derive(Args)]
pub(super) struct Options {
    /// Show one kind: its equation, its paper, its settings.
    kind: Option<String>,
    /// Configuration whose fields and scenarios sizes are for; without one, the built-in data's.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Change a setting: --set model.embedding_dim=32.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    output: Output,
}

/// A kind, as it is printed.
#[derive(Serialize)]
struct Row {
    kind: &'static str,
    title: &'static str,
    paper: &'static str,
    forward: &'static str,
    /// Dense parameters; null where the model does not fit the data.
    parameters: Option<usize>,
    /// Elements of embedding tables, of a configuration's data.
    #[serde(skip_serializing_if = "Option::is_none")]
    tables: Option<usize>,
    /// Multiply-adds per predicted row; null as `parameters`.
    multiply_adds: Option<f64>,
    /// Why it does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    settings: Settings,
}

/// Settings of a kind alone.
struct Settings(ModelConfig);

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        self.0.serialize_own(to)
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    let (config, input) = match &options.config {
        Some(path) => {
            let config = Config::load(path, &options.set)?;
            let input = data_files::fit(&config)?.input_spec();
            (config, input)
        }
        None => {
            let config = Config { data: synth::data_config(), ..Config::default() };
            (config.override_with(&options.set)?, built_in())
        }
    };
    let kinds = match &options.kind {
        None => Kind::ALL.to_vec(),
        Some(name) => vec![find("models", name)?],
    };
    let row = |kind: Kind| -> Result<Row> {
        let model = ModelConfig { kind, ..config.model.clone() };
        let cost = match Cost::of(&model, &input) {
            Err(e) if options.kind.is_some() => return Err(e.into()),
            cost => cost,
        };
        let About { title, paper, forward } = kind.about();
        Ok(Row {
            kind: kind.name(),
            title,
            paper,
            forward,
            parameters: cost.as_ref().ok().map(|cost| cost.parameters),
            tables: cost.as_ref().ok().filter(|_| options.config.is_some()).map(|cost| cost.tables),
            multiply_adds: cost.as_ref().ok().map(|cost| cost.multiply_adds),
            problem: cost.err().map(|e| e.to_string()),
            settings: Settings(model),
        })
    };
    let rows: Vec<Row> = kinds.into_iter().map(row).collect::<Result<_>>()?;
    if options.output.json {
        return super::print_json(&rows);
    }
    let text = match &rows[..] {
        [row] if options.kind.is_some() => one(row)?,
        rows => all(rows),
    };
    super::print(text.as_bytes())
}

/// Scenarios and fields of the built-in data; no size here depends on vocabularies.
fn built_in() -> InputSpec {
    let field = |f: &optmsm_data::FieldConfig| {
        let kind = match f.kind {
            optmsm_data::Kind::Categorical => FieldKind::Categorical { vocab: 2 },
            optmsm_data::Kind::Multi => FieldKind::Multi { vocab: 2, pooling: Pooling::Mean },
            optmsm_data::Kind::Numeric => FieldKind::Numeric,
        };
        FieldSpec::new(&f.name, f.role, kind)
    };
    let fields = synth::data_config().fields.iter().map(field).collect();
    InputSpec { scenarios: SynthConfig::default().scenarios.len(), fields }
}

/// A kind by its name.
///
/// # Errors
/// There is none; `argument` is what named it.
pub(super) fn find(argument: &str, name: &str) -> Result<Kind> {
    let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let found = Kind::ALL.iter().copied().find(|kind| kind.name() == name);
    let fix = || config::known("kinds", name, &names);
    found.ok_or_else(|| Error::argument(argument, format!("no kind is named '{name}'"), fix()))
}

/// A line for each kind.
fn all(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["kind", "parameters", "multiply-adds per row", "model", "paper"]);
    for r in rows {
        let number = |v: Option<f64>| v.map_or("–".to_string(), |v| format!("{v:.0}"));
        let (parameters, products) = (number(r.parameters.map(|n| n as f64)), number(r.multiply_adds));
        table.add_row([r.kind, &parameters, &products, r.title, r.paper]);
    }
    for column in table.column_iter_mut().skip(1).take(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let unfit = rows.iter().filter_map(|r| Some(format!("{}: {}\n", r.kind, r.problem.as_ref()?)));
    let unfit: String = unfit.collect();
    format!(
        "{table}\n\n{unfit}parameters without embedding tables; optmsm models KIND shows a kind's settings\n"
    )
}

/// Everything about a kind.
fn one(r: &Row) -> Result<String> {
    let mut text = format!("{}: {}\n{}\n\n    {}\n\n", r.kind, r.title, r.paper, r.forward);
    text += &format!("parameters            {}\n", r.parameters.unwrap_or_default());
    if let Some(tables) = r.tables {
        text += &format!("elements of tables    {tables}\n");
    }
    text += &format!("multiply-adds per row {:.0}\n\n", r.multiply_adds.unwrap_or_default());
    let mut model = toml::Table::new();
    let own = toml::Table::try_from(&r.settings);
    let own = own.map_err(|e| Error::bug("settings", e))?;
    match r.settings.0.kind {
        Kind::OptMsm => model = own,
        kind => drop(model.insert(kind.name().into(), own.into())),
    }
    let shown = toml::Table::from_iter([("model".to_string(), model.into())]);
    Ok(text + &toml::to_string(&shown).map_err(|e| Error::bug("settings", e))?)
}
