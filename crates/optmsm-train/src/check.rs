//! Checks before anything is trained: how a configuration reads its data, and how much memory training takes.

mod memory;
mod ranks;

use std::borrow::Cow;
use std::collections::BTreeMap;

use optmsm_core::batch::{Batch, Column};
use optmsm_core::config::{FieldKind, InputSpec, Role};
use optmsm_core::counting::Counting;
use optmsm_core::model::{Model, ModelSpec};
use optmsm_core::models;
use optmsm_data::{
    Dataset, Extra, FieldConfig, Need, NegativeRate, Progress, RowReader, ScenarioSchema, ScenarioWeights,
    Schema, Source, Split, UnseenScenario, printable,
};
use serde::Serialize;

use crate::alone::{SUSPICIOUS, alone};
use crate::balance::Balance;
use crate::config::Config;
use crate::coverage::Counter;
use crate::error::Result;
use crate::verify::{Labels, expected, watch};
use crate::{data_files, rows, sampling};

pub use memory::Memory;
pub use ranks::{RanksCheck, Sent};

/// Rows that are read at a time.
const CHUNK: usize = 4096;

/// Everything that a check found.
#[derive(Debug, Serialize)]
pub struct Check {
    /// The files, in the order train, valid, test.
    pub files: Vec<FileCheck>,
    /// Scenarios of the training rows that were looked at.
    pub scenarios: Vec<ScenarioCheck>,
    /// The fields, in the order of the configuration.
    pub fields: Vec<FieldCheck>,
    /// Tensors of the model.
    pub tensors: Vec<TensorCheck>,
    /// Elements of all of them.
    pub parameters: usize,
    /// Memory of training, in bytes; of several ranks, that of one.
    pub memory: Memory,
    /// Bytes that ranks send each other; none of training in one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<RanksCheck>,
    /// Warnings of the rows that were looked at against training on them as they are.
    pub warnings: Vec<String>,
}

/// The rows of one part of the data.
#[derive(Debug, Serialize)]
pub struct FileCheck {
    /// `train`, `valid` or `test`.
    pub split: &'static str,
    /// As it is opened.
    pub path: String,
    /// Rows that were looked at; where one file is split, those of this part.
    pub rows: u64,
    /// Whether these were all.
    pub whole: bool,
    /// Rows of the part: estimated from its size unless `whole`; null where there is no size.
    pub about_rows: Option<u64>,
    /// Share of rows whose label is 1.
    pub positives: f64,
    /// Share of rows whose scenario the training rows that were looked at do not have.
    pub unseen_scenarios: f64,
    /// Whether training reads its rows from disk when it needs them (`data.stream`).
    pub streamed: bool,
}

/// One scenario.
#[derive(Debug, Serialize)]
pub struct ScenarioCheck {
    /// Name, rows and positives.
    #[serde(flatten)]
    pub scenario: ScenarioSchema,
    /// Σ w of its rows in the training loss, by `data.weight` and `data.scenario_weights`.
    pub weight: f64,
    /// Rows of one weight that these count as: (Σ w)² / Σ w².
    pub effective_rows: f64,
}

/// One field.
#[derive(Debug, Serialize)]
pub struct FieldCheck {
    /// Name.
    pub name: String,
    /// Column of the files.
    pub column: String,
    /// `categorical`, `multi` or `numeric`.
    pub kind: &'static str,
    /// Which encoding reads it.
    pub role: Role,
    /// Rows of its table, the out-of-vocabulary one included; null for numbers.
    pub ids: Option<usize>,
    /// Whether `ids` is that of the whole training file, and not an estimate.
    pub exact: bool,
    /// Share of out-of-vocabulary ids by file; empty for numbers.
    pub oov: BTreeMap<&'static str, f64>,
    /// Share of rows without a value by file.
    pub missing: BTreeMap<&'static str, f64>,
    /// AUC of the field alone on the rows of valid, or else of test, a value scoring as the mean label of the training rows that have it;
    /// null without such rows of both labels.
    pub auc: Option<f64>,
}

/// One tensor of the model.
#[derive(Debug, Serialize)]
pub struct TensorCheck {
    /// Checkpoint name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Elements.
    pub elements: usize,
}

/// Findings in the rows of a file.
struct Seen {
    file: FileCheck,
    batch: Batch,
    extra: Extra,
    missing: Vec<u64>, // by field
    source: Source,
}

/// Reads up to `rows` rows of each file and builds the model on a backend that only counts, for one of `ranks` ranks.
///
/// # Errors
/// Those that training would report for the configuration or for these rows.
pub fn check(config: &Config, rows: u64, ranks: usize) -> Result<Check> {
    look(config, rows.max(1), ranks).map_err(|e| config.origin.locate(e))
}

fn look(config: &Config, rows: u64, ranks: usize) -> Result<Check> {
    let job = ranks::seat(config, 0, ranks)?;
    let source = data_files::source(config, Split::Train).ok_or_else(|| data_files::missing(Split::Train))?;
    let mut progress = Progress { rows: 0, bytes: 0, total_bytes: None };
    let mut schema = Schema::fit_rows(&config.data, source.clone(), rows, |p| progress = p)?;
    let exact = is_whole(&progress, rows);
    if !exact {
        // Rows that were not looked at may hold more scenarios, and rare values may come again.
        let mut open = config.data.clone();
        open.unseen_scenario = UnseenScenario::Oov;
        open.fields.iter_mut().for_each(|f| f.min_frequency = 1);
        schema = Schema::fit_rows(&open, source.clone(), rows, |_| {})?;
    }
    let mut seen = Vec::new();
    for part in [Split::Train, Split::Valid, Split::Test] {
        if let Some(source) = data_files::source(config, part) {
            seen.push(read(config, part, &source, &schema, rows)?);
        }
    }
    let mut input = schema.input_spec();
    if !exact {
        let total = seen[0].file.about_rows.unwrap_or(seen[0].file.rows);
        estimate(&mut input, config, &seen[0], total);
        input.scenarios -= usize::from(config.data.unseen_scenario == UnseenScenario::Error);
    }
    let mut weighed = config.data.clone();
    if !exact {
        // Rows that were not looked at may have the others.
        let seen = |name: &String, _: &mut f64| schema.scenario_id(name).is_some();
        if let Some(ScenarioWeights::Each(named)) = &mut weighed.scenario_weights {
            named.retain(seen);
        }
        if let Some(NegativeRate::Each(named)) = &mut weighed.negative_rate {
            named.retain(seen);
        }
    }
    sampling::rates(&weighed, &schema)?;
    let balance = Balance::of_part(&weighed, &schema, &seen[0].batch)?;
    let scenarios = schema.scenarios.iter().take(input.scenarios).zip(&balance.sums);
    let scenarios = scenarios.map(|(scenario, sums)| ScenarioCheck {
        scenario: scenario.clone(),
        weight: sums.weight,
        effective_rows: sums.effective_rows(),
    });
    let scenarios = scenarios.collect();
    let model = models::build::<Counting>(&config.model, &input)?;
    let tensors = tensors(model.spec());
    let judged = seen.get(1).map(|judged| alone(&seen[0].batch, &judged.batch));
    let auc = |field: usize| judged.as_ref()?[field];
    let fields = schema.fields.iter().zip(&input.fields).enumerate().map(|(i, (f, spec))| {
        let (kind, ids) = match spec.kind {
            FieldKind::Categorical { vocab } => ("categorical", Some(vocab)),
            FieldKind::Multi { vocab, .. } => ("multi", Some(vocab)),
            FieldKind::Numeric => ("numeric", None),
        };
        let shares = |of: &dyn Fn(&Seen) -> Option<f64>| {
            seen.iter().filter_map(|s| Some((s.file.split, of(s)?))).collect::<BTreeMap<_, _>>()
        };
        FieldCheck {
            name: f.name.clone(),
            column: f.column.clone(),
            kind,
            role: f.role,
            ids,
            exact: exact || ids.is_none() || has_fixed_size(&config.data.fields[i]),
            oov: shares(&|s| oov(&s.batch.columns[i])),
            missing: shares(&|s| Some(share(s.missing[i], s.file.rows))),
            auc: auc(i),
        }
    });
    let fields: Vec<FieldCheck> = fields.collect();
    let several = (ranks > 1).then(|| ranks::check(config, &model, &schema.input_spec(), &seen[0], ranks));
    Ok(Check {
        warnings: warnings(config, &schema, &seen, &fields, exact),
        fields,
        scenarios,
        parameters: tensors.iter().map(|t| t.elements).sum(),
        tensors,
        ranks: several.transpose()?,
        memory: memory::memory(config, model, &schema.input_spec(), &seen, job)?,
        files: seen.into_iter().map(|s| s.file).collect(),
    })
}

/// Warnings of all that training would stop at or warn of, as far as the rows show it. Of a part of the training rows (not `exact`), the vocabulary is
/// small: only a field of which it has no value at all stands out.
fn warnings(
    config: &Config,
    schema: &Schema,
    seen: &[Seen],
    fields: &[FieldCheck],
    exact: bool,
) -> Vec<String> {
    let mut warnings = crate::data_files::unread(config);
    let mut trained = BTreeMap::new();
    for Seen { file, batch, extra, source, .. } in seen {
        let (mut labels, mut counter) = (Labels::default(), Counter::new(schema));
        labels.add(batch);
        counter.add(batch);
        let problem = match file.split {
            "train" => labels.teach().err(),
            "valid" => {
                let scored = || Dataset {
                    batch: Batch {
                        labels: batch.labels.clone(),
                        weights: batch.weights.clone(),
                        scenarios: batch.scenarios.clone(),
                        ..Batch::default()
                    },
                    extra: extra.clone(),
                };
                let judged = labels.judge(&file.path, config);
                let known = judged.and_then(|()| config.train.monitor.check(schema));
                known.and_then(|()| watch(config, schema, &file.path, || Ok(Cow::Owned(scored())))).err()
            }
            _ => None,
        };
        let looked = if file.whole { "" } else { " (of the rows that were looked at)" };
        warnings.extend(problem.map(|e| format!("{}{looked}", config.origin.locate(e))));
        if file.split == "train" {
            trained = counter.unknown_shares();
        } else {
            let wholly = |f: &FieldCheck| f.oov.get(file.split).is_some_and(|&share| share == 1.0);
            let shares = fields.iter().filter(|f| !exact && !wholly(f)).map(|f| (f.name.clone(), 1.0));
            let shares = expected(config, &trained).into_iter().chain(shares).collect();
            warnings.extend(counter.warnings(schema, &shares, source));
        }
    }
    for field in fields {
        if let Some(auc) = field.auc.filter(|&auc| auc > SUSPICIOUS) {
            let name = printable(&field.name);
            warnings.push(format!(
                "field '{name}' alone gives an AUC of {auc:.4}, so it may hold the outcome: leave it out unless it is known before the click"
            ));
        }
    }
    warnings
}

fn share(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

/// Whether a pass that was to take `rows` rows met the end of the file.
fn is_whole(progress: &Progress, rows: u64) -> bool {
    progress.rows < rows || progress.total_bytes == Some(progress.bytes)
}

fn read(config: &Config, part: Split, source: &Source, schema: &Schema, rows: u64) -> Result<Seen> {
    let mut reader = RowReader::open(source.clone(), schema, Need::Labelled)?.count_missing();
    if let Some((split, part)) = data_files::selection(config, part) {
        reader = reader.select(split, part)?;
    }
    let (mut batch, mut extra) = (Batch::new(&schema.input_spec()), Extra::default());
    loop {
        // Rows of other parts count as looked at, too.
        let wanted = rows.saturating_sub(reader.progress().rows).min(CHUNK as u64) as usize;
        if wanted == 0 || reader.read(&mut batch, &mut extra, wanted)? < wanted {
            break;
        }
    }
    let progress = reader.progress();
    let whole = is_whole(&progress, rows);
    let rows = batch.rows() as u64;
    if whole && rows == 0 {
        return Err(data_files::no_rows(source, part));
    }
    let scaled = |total: u64| (rows as f64 * total as f64 / progress.bytes.max(1) as f64) as u64;
    let about_rows = if whole { Some(rows) } else { progress.total_bytes.map(scaled) };
    let positives = batch.labels.iter().filter(|&&y| y == 1.0).count() as u64;
    let unseen = |&&s: &&u32| Some(s) == schema.fallback_scenario();
    let unseen = batch.scenarios.iter().filter(unseen).count() as u64;
    let file = FileCheck {
        split: part.name(),
        path: source.to_string(),
        rows,
        whole,
        about_rows,
        positives: share(positives, rows),
        unseen_scenarios: share(unseen, rows),
        streamed: rows::streams(source, &config.data.stream)?,
    };
    let missing = reader.missing().to_vec();
    Ok(Seen { file, batch, extra, missing, source: source.clone() })
}

/// The ids of a column; `None` for numbers.
fn ids(column: &Column) -> Option<&[u32]> {
    match column {
        Column::Categorical(ids) | Column::Multi { ids, .. } => Some(ids),
        Column::Numeric(_) => None,
    }
}

fn oov(column: &Column) -> Option<f64> {
    let ids = ids(column)?;
    Some(share(ids.iter().filter(|&&id| id == 0).count() as u64, ids.len() as u64))
}

/// Replaces the vocabularies of the rows that were seen by estimates for all `total` rows: with `f` values seen once, √(total /
/// rows)·f + the others, the estimator whose worst error is the least possible (Charikar et al., PODS 2000). Of a field
/// with `min_frequency`, only values count that reach it when their rows grow as the file does.
fn estimate(input: &mut InputSpec, config: &Config, train: &Seen, total: u64) {
    let grow = total as f64 / train.file.rows as f64;
    for ((spec, field), column) in input.fields.iter_mut().zip(&config.data.fields).zip(&train.batch.columns)
    {
        let (FieldKind::Categorical { vocab } | FieldKind::Multi { vocab, .. }) = &mut spec.kind else {
            continue;
        };
        // Sizes that the data has no part in; and fields of one table keep one size, that of the rows read.
        if has_fixed_size(field) || field.table.is_some() {
            continue;
        }
        let mut counts = vec![0u64; *vocab];
        ids(column).unwrap_or_default().iter().for_each(|&id| counts[id as usize] += 1);
        let kept = |&n: &u64| n > 0 && n as f64 * grow >= field.min_frequency as f64;
        let (once, more): (Vec<u64>, Vec<u64>) =
            counts[1..].iter().copied().filter(kept).partition(|&n| n == 1);
        let values = (grow.sqrt() * once.len() as f64) as usize + more.len();
        *vocab = 1 + field.max_size.map_or(values, |most| values.min(most as usize));
    }
}

/// Whether the configuration says how many ids a field has.
fn has_fixed_size(field: &FieldConfig) -> bool {
    field.hash_buckets.is_some() || field.ids.is_some() || field.buckets.is_some()
}

fn tensors(spec: &ModelSpec) -> Vec<TensorCheck> {
    shapes(spec)
        .into_iter()
        .map(|(name, shape)| TensorCheck { name, elements: shape.iter().product(), shape })
        .collect()
}

/// Names and shapes of a model's tensors, dense parameters first.
pub fn shapes(spec: &ModelSpec) -> Vec<(String, Vec<usize>)> {
    let dense = spec.params().specs().iter().chain(spec.running().specs());
    let tables = spec.embedding().tables().iter().map(|t| (t.name.clone(), vec![t.rows, t.width]));
    dense.map(|s| (s.name.clone(), s.shape.clone())).chain(tables).collect()
}
