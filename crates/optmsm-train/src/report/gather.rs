//! Reads a run and scores a file with its best parameters.

use std::path::Path;

use optmsm_core::backend::Backend;
use optmsm_core::batch::Batch;
use optmsm_core::metrics::{self, AUC, Metrics, Rows};
use optmsm_core::model::{Measured, Model};
use optmsm_core::predictor::Predictor;
use optmsm_data::{Dataset, Need, RowReader, Selection, Source, Split};

use super::{ExhibitReport, Files, RunReport, SCORED, SetReport};
use crate::coverage::{Counter, FieldCoverage};
use crate::error::{Error, Result};
use crate::run::Run;
use crate::sampling::Weighing;
use crate::{data_files, evaluate, findings, history, say, settings};

/// Points of a drawn ROC curve.
const ROC_POINTS: usize = 200;

/// Results of scoring a file's rows.
struct Scored {
    predictions: Vec<f32>,
    rows: Dataset, // without fields
    measured: Measured,
    coverage: Vec<FieldCoverage>,
}

/// Everything about a run, scored on `data`, or on its own validation rows when none is given.
///
/// # Errors
/// When the run or the data cannot be read, or the device failed.
pub fn gather<B: Backend<Elem = f32>, M: Model<B>>(
    predictor: &Predictor<B, M>,
    run: &Run,
    data: Option<&Path>,
    files: &mut Files,
) -> Result<RunReport> {
    let config = &run.config.data;
    let (source, selection) = match (data, data_files::source(&run.config, Split::Valid)) {
        (Some(path), _) => (Source::from(path), None),
        (None, Some(valid)) => {
            valid.files().map_err(|e| data_files::gone(e.into(), "--data"))?;
            (valid, data_files::selection(&run.config, Split::Valid))
        }
        (None, None) => {
            let problem = "names no data.valid to score";
            let place = run.folder.join("config.toml");
            return Err(Error::configuration(place.display(), problem, "give a file with --data"));
        }
    };
    let history = history::read(&run.folder)?;
    let done = ["last", "best"].into_iter().find(|name| run.checkpoint_path(name).exists());
    let at = done.map(|name| run.checkpoint(name)).transpose()?.map_or_else(Default::default, |c| c.position);
    if let Some(gap) = run.gap(&history, &at) {
        say::warning(&format!("{}: {gap}", history::file(&run.folder).display()));
    }
    let scored = score(predictor, run, &source, selection)?;
    let shown = match selection {
        Some(_) => format!("{source} (valid part of data.split)"),
        None => source.to_string(),
    };
    let whole = data_files::is_unsampled(&run.config, &source)?;
    let weighing = Weighing::of(config, &run.schema, whole)?;
    let (overall, scenarios) = sets(run, &scored, &weighing);
    let own = [("data.train", &config.train), ("data.valid", &config.valid), ("data.test", &config.test)];
    let own = own.into_iter().filter_map(|(role, paths)| Some((role, run.config.source(paths.as_ref()?))));
    let mut facts = Vec::new();
    for (role, source) in own.chain([(SCORED, source.clone())]) {
        // Files that are gone since training are listed by name alone.
        let found = source.files().unwrap_or_else(|_| vec![source.to_string().into()]);
        facts.extend(found.iter().map(|path| files.facts(role, path)));
    }
    facts.push(files.facts("best parameters", &run.checkpoint_path("best")));
    let spec = predictor.spec();
    let parameters = spec.parameters() as u64;
    let mean = |(name, v): (String, f64)| v.is_finite().then_some((name, v));
    let measured = &scored.measured;
    let exhibits = predictor.exhibits(measured)?.into_iter();
    let exhibits: Vec<_> = exhibits.map(|exhibit| ExhibitReport::new(exhibit, &run.schema)).collect();
    let findings = findings::find(run, &exhibits, (&scored.rows, &scored.predictions), &weighing)?;
    Ok(RunReport {
        run: run.folder.display().to_string(),
        settings: settings::flatten(&run.config, false)?,
        schema: run.schema.fingerprint(),
        fingerprint: run.fingerprint()?,
        parameters,
        best_step: run.checkpoint("best")?.position.best_step,
        files: facts,
        history,
        data: shown,
        weighted_by: weighing.column,
        negatives_weighted: weighing.negatives.is_some(),
        diagnostics: measured.means(spec).into_iter().filter_map(mean).collect(),
        findings,
        exhibits,
        coverage: scored.coverage,
        overall,
        scenarios,
    })
}

fn score<B: Backend<Elem = f32>, M: Model<B>>(
    predictor: &Predictor<B, M>,
    run: &Run,
    source: &Source,
    selection: Selection,
) -> Result<Scored> {
    let schema = &run.schema;
    let mut reader = RowReader::open(source.clone(), schema, Need::Labelled)?.count_missing();
    if let Some((split, part)) = selection {
        reader = reader.select(split, part)?;
    }
    let mut counter = Counter::new(schema);
    let mut scored = Scored {
        predictions: Vec::new(),
        rows: Dataset::default(),
        measured: Measured::new(predictor.spec()),
        coverage: Vec::new(),
    };
    scored.rows = evaluate::scored(&mut reader, schema, |batch| {
        counter.add(batch);
        let answers = predictor.predict_measuring(batch, &mut scored.measured)?;
        scored.predictions.extend(answers);
        Ok(())
    })?;
    if let (Some((_, part)), true) = (selection, scored.predictions.is_empty()) {
        return Err(data_files::no_rows(source, part));
    }
    scored.coverage = counter.finish(reader.missing());
    Ok(scored)
}

/// All rows, and those of each scenario.
fn sets(run: &Run, scored: &Scored, weighing: &Weighing) -> (SetReport, Vec<SetReport>) {
    let (names, p, Dataset { batch, extra }) = (&run.schema.scenarios, &scored.predictions, &scored.rows);
    let Batch { labels, scenarios, .. } = batch;
    let weights = weighing.weights(batch);
    let rows = Rows { labels, weights: &weights, scenarios, groups: &extra.groups };
    let found = metrics::evaluate(p, rows, names.len());
    let ceiling = match extra.probabilities.is_empty() {
        true => metrics::Report { scenarios: vec![Metrics::default(); names.len()], ..Default::default() },
        false => metrics::evaluate(&extra.probabilities, rows, names.len()),
    };
    let mut of_scenario = vec![[const { Vec::new() }; 3]; names.len()];
    for (row, &s) in scenarios.iter().enumerate() {
        let [ps, ys, ws] = &mut of_scenario[s as usize];
        ps.push(p[row]);
        ys.push(labels[row]);
        ws.extend(weights.get(row));
    }
    let set = |name: &str, metrics: &Metrics, ceiling: &Metrics, [p, y, w]: [&[f32]; 3]| SetReport {
        name: name.into(),
        metrics: metrics.clone(),
        ceiling_auc: ceiling.get(&AUC),
        bins: metrics::calibration_bins(p, y, w),
        roc: metrics::roc(p, y, w).map_or(Vec::new(), |points| thin(&points, ROC_POINTS)),
    };
    let each = names.iter().zip(&found.scenarios).zip(&ceiling.scenarios).zip(&of_scenario);
    let scenarios = each
        .map(|(((name, m), c), columns)| set(&name.name, m, c, columns.each_ref().map(Vec::as_slice)))
        .collect();
    (set("all", &found.overall, &ceiling.overall, [p, labels, &weights]), scenarios)
}

/// About `count` points of a curve, evenly along its length; always both ends.
fn thin(points: &[[f64; 2]], count: usize) -> Vec<[f64; 2]> {
    if points.len() <= count {
        return points.to_vec();
    }
    // Both coordinates rise from 0 to 1, so that their sum says where on the curve a point is.
    let place = |p: &[f64; 2]| ((p[0] + p[1]) / 2.0 * (count - 1) as f64).floor();
    let last = points.len() - 1;
    let first_of_its_place = |&i: &usize| i == 0 || i == last || place(&points[i]) != place(&points[i - 1]);
    (0..=last).filter(first_of_its_place).map(|i| points[i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_curve_is_a_part_of_the_curve_and_encloses_nearly_the_same_area() {
        let n = 10_000_u32;
        let p: Vec<f32> = (0..n).map(|i| (i * 7919 % n) as f32 / n as f32).collect();
        let y: Vec<f32> =
            p.iter().enumerate().map(|(i, p)| f32::from(p * p > (i * 31 % 97) as f32 / 97.0)).collect();
        let whole = metrics::roc(&p, &y, &[]).unwrap();
        let thinned = thin(&whole, 200);
        assert!(whole.len() > 5000 && (100..=202).contains(&thinned.len()), "{}", thinned.len());
        assert_eq!((thinned[0], thinned[thinned.len() - 1]), ([0.0, 0.0], [1.0, 1.0]));
        assert!(thinned.iter().all(|p| whole.contains(p)));
        let area = |points: &[[f64; 2]]| {
            points.windows(2).map(|w| (w[1][0] - w[0][0]) * (w[0][1] + w[1][1]) / 2.0).sum::<f64>()
        };
        // Between two kept points the curve stays in their rectangle, and the chord halves it.
        let bound: f64 = thinned.windows(2).map(|w| (w[1][0] - w[0][0]) * (w[1][1] - w[0][1]) / 2.0).sum();
        let auc = metrics::auc(&p, &y).unwrap();
        assert!((area(&thinned) - auc).abs() <= bound + 1e-12 && bound < 0.01, "{} {auc}", area(&thinned));
        assert_eq!(thin(&whole[..5], 200), whole[..5]);
    }
}
