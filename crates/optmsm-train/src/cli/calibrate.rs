//! `optmsm calibrate`: probabilities of a run's best parameters, corrected by labelled rows.

use std::path::PathBuf;

use crate::calibration::{self, Calibration, FOLDS, Fit, Labelled, Map, Method};
use crate::checkpoint::Checkpoint;
use crate::config::BackendKind;
use crate::coverage::Counter;
use crate::error::{Error, Result};
use crate::evaluate::{self, CHUNK, Evaluation, evaluate};
use crate::folder::Folder;
use crate::run::Run;
use crate::sampling::{self, Shift, Weighing};
use crate::{data_files, extreme, say};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use optmsm_core::backend::Backend;
use optmsm_core::metrics::{Kind, METRICS, Metric, Metrics};
use optmsm_data::{Dataset, Need, RowReader, Schema, Selection, Source, Split, printable};
use serde::Serialize;

use super::Output;
use super::apply;
use crate::device::{self, Device};

/// Largest logit.
const LARGEST: f64 = f32::MAX as f64;

#[derive(Args)]
pub(super) struct Options {
    /// Run folder.
    run: PathBuf,
    /// File, folder or quoted glob of labelled rows; the run's validation rows when not given.
    #[arg(long)]
    data: Option<String>,
    /// Kind of function that is fitted.
    #[arg(long, value_enum, default_value_t = Method::Platt)]
    method: Method,
    /// With data.negative_rate: the file has all rows of label 0.
    #[arg(long, requires = "data")]
    unsampled: bool,
    /// Backend that computes, whatever trained the run.
    #[arg(long, value_enum, default_value_t = BackendKind::Cpu)]
    backend: BackendKind,
    /// Change how the file is read: --set 'data.delimiter=";"', or data.quoting, columns, null_values, label_values.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    output: Output,
}

/// Document that `--json` prints.
#[derive(Serialize)]
struct Done<'a> {
    run: String,
    data: &'a str,
    method: Method,
    folds: usize,
    all: &'a Map,
    scenarios: Vec<OfScenario<'a>>,
    before: &'a Evaluation,
    after: &'a Evaluation,
}

/// The function of a scenario; null where it has that of all rows.
#[derive(Serialize)]
struct OfScenario<'a> {
    scenario: &'a str,
    own: Option<&'a Map>,
}

/// Labelled rows with what a run says of them.
struct Scored {
    rows: Dataset, // without fields
    logits: Vec<f64>,
    predictions: Vec<f32>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    Run::refuse_missing(&options.run)?;
    let _held = Folder::take(&options.run, "RUN")?;
    let run = Run::open(&options.run)?;
    let schema = apply::schema(&run, &options.set)?;
    let (source, selection) = match &options.data {
        Some(path) => (Source::from(path.as_str()), None),
        None => {
            let valid = data_files::source(&run.config, Split::Valid).ok_or_else(|| {
                let problem = "names no data.valid to calibrate on";
                Error::configuration(
                    run.folder.join("config.toml").display(),
                    problem,
                    "give a file with --data",
                )
            })?;
            valid.files().map_err(|e| data_files::gone(e.into(), "--data"))?;
            (valid, data_files::selection(&run.config, Split::Valid))
        }
    };
    let data = source.to_string();
    if selection.is_none() {
        warn(&run, &source)?;
    }
    let whole = options.unsampled || data_files::is_unsampled(&run.config, &source)?;
    let weighing = Weighing::of(&run.config.data, &schema, whole)?;
    let best = run.checkpoint("best")?;
    let from = (source, selection);
    let scored = match Device::open(options.backend, &run.config.train)? {
        Device::Cpu(be) => score(be, &run, &best, &schema, from)?,
        Device::Cuda(be) => score(be, &run, &best, &schema, from)?,
    };
    let batch = &scored.rows.batch;
    let rows = Labelled {
        logits: &scored.logits,
        labels: &batch.labels,
        weights: &weighing.weights(batch),
        scenarios: &batch.scenarios,
        count: schema.scenarios.len(),
    };
    let fit = Fit::new(options.method, &rows)
        .map_err(|problem| Error::rows(&data, problem, "give other rows, or more of them"))?;
    let crossed = fit.crossed(&rows);
    let [before, after] =
        [&scored.predictions, &crossed].map(|p| evaluate(&scored.rows, &schema, &weighing, p));
    let negative_rates = sampling::rates(&run.config.data, &schema)?;
    let calibration = Calibration { checkpoint: best.sha256, negative_rates, data, fit };
    calibration.save(&run)?;
    let Calibration { data, fit, .. } = &calibration;
    if !options.output.json {
        return super::print(text(data, fit, &before, &after).as_bytes());
    }
    let scenarios = schema.scenarios.iter().zip(&fit.scenarios);
    super::print_json(&Done {
        run: run.folder.display().to_string(),
        data,
        method: fit.method,
        folds: FOLDS,
        all: &fit.all,
        scenarios: scenarios.map(|(s, own)| OfScenario { scenario: &s.name, own: own.as_ref() }).collect(),
        before: &before,
        after: &after,
    })
}

/// Warns of rows that are better left for something else.
fn warn(run: &Run, source: &Source) -> Result<()> {
    for (part, why) in [
        (Split::Train, "whose labels the model knows, so that its probabilities seem better than they are"),
        (Split::Test, "whose metrics then say less of other rows"),
    ] {
        for path in data_files::of_part(&run.config, part, source)? {
            let (path, part) = (path.display(), part.name());
            say::warning(&format!("{path}: is of data.{part}, {why}; calibrate on rows of their own"));
        }
    }
    Ok(())
}

/// Reads labelled rows, and what the best parameters say of them.
fn score<B: Backend<Elem = f32>>(
    be: B,
    run: &Run,
    best: &Checkpoint,
    schema: &Schema,
    (source, selection): (Source, Selection),
) -> Result<Scored> {
    let predictor = device::predictor(be, run, best, None, CHUNK)?;
    let shift = Shift::of(&run.config.data, schema)?;
    let plain = calibration::answer(shift.clone(), None);
    let mut reader = RowReader::open(source.clone(), schema, Need::Labelled)?;
    if let Some((split, part)) = selection {
        reader = reader.select(split, part)?;
    }
    let (mut logits, mut predictions, mut counter) = (Vec::new(), Vec::new(), Counter::new(schema));
    let rows = evaluate::scored(&mut reader, schema, |batch| {
        counter.add(batch);
        let (found, first) = (predictor.logits(batch)?, predictions.len());
        let of_rows = || found.iter().map(|&o| f64::from(o)).zip(&batch.scenarios);
        predictions.extend(of_rows().map(|(o, &scenario)| plain(o, scenario)));
        // An infinite one is as good as the largest.
        logits.extend(of_rows().map(|(o, &scenario)| shift.at(o.clamp(-LARGEST, LARGEST), scenario)));
        extreme::check(&predictions[first..], batch, first, schema, &source.to_string())
    })?;
    apply::warn(&counter, run, schema, &source.to_string());
    Ok(Scored { rows, logits, predictions })
}

/// Metrics that a calibration is for: it leaves rankings within a scenario as they are.
fn changed() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().filter(|metric| metric.kind != Kind::Ranking)
}

/// A line for each scenario, then one for all rows.
fn text(data: &str, fit: &Fit, before: &Evaluation, after: &Evaluation) -> String {
    let mut table = Table::new();
    let mut header = vec!["scenario", "rows", "positives", "probability"];
    header.extend(changed().flat_map(|metric| [metric.title, "→"]));
    table.load_preset(presets::NOTHING).set_header(header);
    let number = |v: Option<f64>| v.map_or("–".to_string(), |v| format!("{v:.4}"));
    let mut line = |name: &str, map: String, before: &Metrics, after: &Metrics| {
        let mut cells =
            vec![printable(name).into_owned(), before.rows.to_string(), before.positives.to_string(), map];
        cells.extend(changed().flat_map(|metric| [before, after].map(|found| number(found.get(metric)))));
        table.add_row(cells);
    };
    for ((before, after), own) in before.scenarios.iter().zip(&after.scenarios).zip(&fit.scenarios) {
        let map = own.as_ref().map_or("as of all".to_string(), Map::to_string);
        if before.metrics.rows > 0 {
            line(&before.scenario, map, &before.metrics, &after.metrics);
        }
    }
    line("all", fit.all.to_string(), &before.overall, &after.overall);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let (method, least) = (fit.method.name(), fit.method.least());
    format!(
        "calibrated by {method} on {data}; z is the logit of the model\n{table}\n\n\
         → by cross-fitting: each of {FOLDS} parts of the rows as the other parts calibrate it.\n\
         A scenario with fewer than {least} rows of a label is calibrated as all rows are.\n"
    )
}
