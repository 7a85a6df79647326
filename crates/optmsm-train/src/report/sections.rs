//! How good the runs are: comparison, training, calibration, ROC.

use optmsm_core::metrics::{AUC, LOG_LOSS, METRICS, Metric};

use super::chart::{Plot, Series, range};
use super::html::{Cell, count, details, escape, head, number, table};
use super::{Line, RunReport, SCORED, SetReport};
use crate::sampling::weighed_by;

/// Scenarios that have pictures, the largest ones; tables have all.
pub(super) const PICTURES: usize = 24;

/// Names of the scenarios of all runs.
pub(super) fn scenarios(runs: &[RunReport]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for set in runs.iter().flat_map(|r| &r.scenarios) {
        if !names.contains(&set.name.as_str()) {
            names.push(&set.name);
        }
    }
    names
}

/// Those with pictures: with the most rows of any run's data, in their own order.
pub(super) fn pictured(runs: &[RunReport]) -> Vec<&str> {
    let rows =
        |name: &str| runs.iter().filter_map(|r| find(r, name)).map(|s| s.metrics.rows).max().unwrap_or(0);
    let mut names = scenarios(runs);
    names.retain(|name| rows(name) > 0);
    let mut largest = names.clone();
    largest.sort_by_key(|name| std::cmp::Reverse(rows(name)));
    largest.truncate(PICTURES);
    names.retain(|name| largest.contains(name));
    names
}

fn find<'a>(run: &'a RunReport, name: &str) -> Option<&'a SetReport> {
    run.scenarios.iter().find(|s| s.name == name)
}

/// Note of the sections on scenarios that they do not draw; empty if there are none.
pub(super) fn left_out(runs: &[RunReport]) -> String {
    let (all, drawn) = (scenarios(runs).len(), pictured(runs).len());
    match all - drawn {
        0 => String::new(),
        n => format!(
            "<p>{n} of {all} scenarios have no picture: no rows here, or not among the {PICTURES} largest.</p>"
        ),
    }
}

/// Whether all runs were scored on the same rows, as far as hashes of files and counts tell; no value is the best of others' rows.
fn same_rows(runs: &[RunReport]) -> bool {
    let counts = |s: &SetReport| (s.name.clone(), s.metrics.rows, s.metrics.positives);
    let scored = |r: &RunReport| {
        let files = r.files.iter().filter(|f| f.role == SCORED).map(|f| f.sha256.clone());
        let mut sets: Vec<_> = r.scenarios.iter().map(counts).filter(|s| s.1 > 0).collect();
        sets.sort_unstable(); // runs may number their scenarios in different ways
        (files.collect::<Vec<_>>(), sets, (r.weighted_by.clone(), r.negatives_weighted))
    };
    runs.windows(2).all(|pair| scored(&pair[0]) == scored(&pair[1]))
}

/// A paragraph for each run whose rows are weighed.
fn weighted(runs: &[RunReport]) -> String {
    let says = |r: &RunReport| {
        let column = r.weighted_by.as_ref().map(|column| format!("column <code>{}</code>", escape(column)));
        let by = weighed_by(column, r.negatives_weighted)?;
        let m = &r.overall.metrics;
        let effective = m.effective_rows.map_or(String::new(), |n| {
            format!(": {} rows, which say as much as {} of equal weights", count(m.rows), count(n as u64))
        });
        let run = escape(&r.run);
        Some(format!("<p>Metrics, bins and curves of <bdi>{run}</bdi> are weighted by {by}{effective}.</p>"))
    };
    runs.iter().filter_map(says).collect()
}

/// Whether `v` is the best value of a metric of `all`, when there are several.
fn best(v: Option<f64>, all: &[Option<f64>], metric: &Metric) -> bool {
    let cost = |v| metric.better.cost(v);
    let least = all.iter().flatten().map(|&v| cost(v)).fold(f64::INFINITY, f64::min);
    all.len() > 1 && v.is_some_and(|v| cost(v) <= least)
}

/// The runs beside each other.
pub(super) fn comparison(runs: &[RunReport]) -> String {
    let mut names = head(["run", "scored on", "parameters", "best step", "rows", "positives"]);
    names.extend(METRICS.iter().map(|m| m.title.to_string()));
    let ceiling = runs.iter().any(|r| r.overall.ceiling_auc.is_some());
    if ceiling {
        names.push("AUC of the true probabilities".into());
    }
    names.push("AUC in its test".into());
    let same = same_rows(runs);
    let tested = |r: &RunReport| {
        let of = |l: &Line| l.evaluation.overall.clone();
        r.history.iter().rfind(|l| l.split == "test").map(of)
    };
    let test = |r: &RunReport| tested(r).and_then(|m| m.get(&AUC));
    let size = |r: &RunReport| tested(r).map(|m| (m.rows, m.positives, m.effective_rows));
    let same_test = runs.windows(2).all(|pair| size(&pair[0]) == size(&pair[1]));
    let rows: Vec<Vec<Cell>> = runs
        .iter()
        .map(|r| {
            let m = &r.overall.metrics;
            let mut cells = vec![Cell::new(&r.run), Cell::path(&r.data)];
            cells.extend([r.parameters, r.best_step, m.rows, m.positives].map(|v| Cell::new(count(v))));
            cells.extend(METRICS.iter().map(|metric| {
                let all: Vec<_> = runs.iter().map(|r| r.overall.metrics.get(metric)).collect();
                Cell::new(number(m.get(metric), 4)).best(same && best(m.get(metric), &all, metric))
            }));
            if ceiling {
                cells.push(Cell::new(number(r.overall.ceiling_auc, 4)));
            }
            let all: Vec<_> = runs.iter().map(test).collect();
            cells.push(Cell::new(number(test(r), 4)).best(same_test && best(test(r), &all, &AUC)));
            cells
        })
        .collect();
    let mut html = match same {
        true => String::new(),
        false => "<p>The runs were scored on different rows, so no value is marked as the best.</p>".into(),
    };
    html += &weighted(runs);
    html += &table("All rows", &names, &rows, 2);
    let ceiling = |name: &str| runs.iter().filter_map(|r| find(r, name)?.ceiling_auc).next();
    let known = scenarios(runs).into_iter().any(|name| ceiling(name).is_some());
    let of = |name: &str, metric: &Metric| -> Vec<Cell> {
        let all: Vec<_> = runs.iter().map(|r| find(r, name).and_then(|s| s.metrics.get(metric))).collect();
        all.iter().map(|&v| Cell::new(number(v, 4)).best(same && best(v, &all, metric))).collect()
    };
    let effective = |r: &RunReport, name: &str| find(r, name).and_then(|s| s.metrics.effective_rows);
    let weighted = runs.iter().any(|r| r.overall.metrics.effective_rows.is_some());
    for metric in METRICS {
        let mut names = head(["scenario", "rows", "positives"]);
        names.extend(weighted.then(|| "effective rows".into()));
        names.extend(runs.iter().map(|r| r.run.clone()));
        let known = known && *metric == AUC;
        if known {
            names.push("true probabilities".into());
        }
        let row = |name: &&str| {
            let counts =
                runs.iter().filter_map(|r| find(r, name)).map(|s| [s.metrics.rows, s.metrics.positives]);
            let [rows, positives] = counts.max().unwrap_or_default();
            let mut cells = vec![Cell::new(*name), Cell::new(count(rows)), Cell::new(count(positives))];
            if weighted {
                let least = runs.iter().filter_map(|r| effective(r, name)).reduce(f64::min);
                cells.push(Cell::new(number(least, 0)));
            }
            cells.extend(of(name, metric));
            if known {
                cells.push(Cell::new(number(ceiling(name), 4)));
            }
            cells
        };
        let rows: Vec<_> = scenarios(runs).iter().map(row).collect();
        let title = format!("{} by scenario", metric.title);
        let one = table(&title, &names, &rows, 1);
        html += &if *metric == AUC { one } else { details(&title, &one) };
    }
    html
}

fn valid(run: &RunReport) -> impl Iterator<Item = &Line> + Clone {
    run.history.iter().filter(|l| l.split == "valid")
}

/// Loss and AUC by epoch.
pub(super) fn training(runs: &[RunReport]) -> String {
    if runs.iter().all(|r| valid(r).next().is_none()) {
        return "<p>No run was evaluated on validation data while it trained.</p>".into();
    }
    let curve = |title: &str, y_label: &str, of: &dyn Fn(&Line) -> Option<f64>| {
        let series = runs.iter().enumerate().map(|(run, r)| {
            let points: Vec<_> = valid(r).filter_map(|l| Some((l.step, [l.epoch, of(l)?]))).collect();
            let chosen = points.iter().position(|p| p.0 == r.best_step);
            let points = points.into_iter().map(|p| p.1).collect();
            Series { run, name: &r.run, points, marks: true, chosen, faint: false }
        });
        let series: Vec<_> = series.collect();
        let all = || series.iter().flat_map(|s| &s.points);
        let x = range(all().map(|p| p[0]).chain([1.0]));
        let y = range(all().map(|p| p[1]));
        let plot = Plot {
            title,
            x_label: "epoch",
            y_label,
            x,
            y,
            whole_x: true,
            diagonal: false,
            chance: None,
            series,
        };
        if plot.series.iter().all(|s| s.points.is_empty()) { String::new() } else { plot.draw() }
    };
    let mut html = "<div class=\"plots\">".to_string();
    html += &curve("Mean training loss since the evaluation before", "loss", &|l| l.train_loss);
    html += &curve("AUC of training rows, each before it was learned from", "AUC", &|l| l.train_auc);
    html += &curve("Log loss, validation", "log loss", &|l| l.evaluation.overall.get(&LOG_LOSS));
    html += &curve("AUC, validation, all rows", "AUC", &|l| l.evaluation.overall.get(&AUC));
    for name in pictured(runs) {
        let of = |l: &Line| {
            l.evaluation.scenarios.iter().find(|s| s.scenario == name).and_then(|s| s.metrics.get(&AUC))
        };
        html += &curve(&format!("AUC, validation, {name}"), "AUC", &of);
    }
    html += "</div>";
    for r in runs {
        let mut names = head(["epoch", "step", "split", "loss", "log loss", "AUC"]);
        names.extend(r.scenarios.iter().map(|s| format!("AUC {}", s.name)));
        let row = |l: &Line| {
            let mut cells =
                vec![Cell::new(number(Some(l.epoch), 2)), Cell::new(count(l.step)), Cell::new(&l.split)];
            let all = &l.evaluation.overall;
            cells.extend([l.train_loss, all.get(&LOG_LOSS), all.get(&AUC)].map(|v| Cell::new(number(v, 4))));
            cells.extend(r.scenarios.iter().map(|s| {
                let same = l.evaluation.scenarios.iter().find(|named| named.scenario == s.name);
                Cell::new(number(same.and_then(|named| named.metrics.get(&AUC)), 4))
            }));
            cells
        };
        let rows: Vec<_> = r.history.iter().map(row).collect();
        html += &details(&format!("Numbers of {}", r.run), &table("Evaluations", &names, &rows, 3));
    }
    html
}

/// A picture for all rows and for each scenario that has one.
fn by_scenario(runs: &[RunReport], mut plot: impl FnMut(&str, Vec<Option<&SetReport>>) -> String) -> String {
    let mut html = "<div class=\"plots\">".to_string();
    html += &plot("all rows", runs.iter().map(|r| Some(&r.overall)).collect());
    for name in pictured(runs) {
        html += &plot(name, runs.iter().map(|r| find(r, name)).collect());
    }
    html + "</div>" + &left_out(runs)
}

/// Mean label over mean prediction, by bins of equal mass.
pub(super) fn calibration(runs: &[RunReport]) -> String {
    let mut html = by_scenario(runs, |title, sets| {
        let bins = || sets.iter().flatten().flat_map(|s| &s.bins);
        let top = 1.05 * bins().flat_map(|b| [b.predicted, b.observed]).fold(1e-3, f64::max);
        let series = sets.iter().enumerate().filter_map(|(run, set)| {
            let points = (*set)?.bins.iter().map(|b| [b.predicted, b.observed]).collect();
            Some(Series { run, name: &runs[run].run, points, marks: true, chosen: None, faint: true })
        });
        let (x_label, y_label, ends) = ("mean prediction", "mean label", [0.0, top]);
        let series = series.collect();
        let chance = bins().map(|b| b.effective_rows).reduce(f64::min);
        Plot { title, x_label, y_label, x: ends, y: ends, whole_x: false, diagonal: true, chance, series }
            .draw()
    });
    for r in runs {
        let names = head(["rows of", "bin", "rows", "share of weight", "mean prediction", "mean label"]);
        let row = |set: &SetReport| {
            let name = set.name.clone();
            let bins = set.bins.clone().into_iter().enumerate();
            bins.map(move |(i, b)| {
                let means = [b.share, b.predicted, b.observed].map(|v| Cell::new(number(Some(v), 4)));
                [Cell::new(&name), Cell::new((i + 1).to_string()), Cell::new(count(b.rows))]
                    .into_iter()
                    .chain(means)
                    .collect()
            })
        };
        let rows: Vec<Vec<Cell>> = std::iter::once(&r.overall).chain(&r.scenarios).flat_map(row).collect();
        html += &details(&format!("Numbers of {}", r.run), &table("Bins", &names, &rows, 1));
    }
    html
}

/// ROC curves.
pub(super) fn roc(runs: &[RunReport]) -> String {
    const RATES: [f64; 6] = [0.01, 0.05, 0.1, 0.2, 0.3, 0.5];
    let mut html = by_scenario(runs, |title, sets| {
        let series = sets.iter().enumerate().filter_map(|(run, set)| {
            let points = (*set)?.roc.clone();
            Some(Series { run, name: &runs[run].run, points, marks: false, chosen: None, faint: false })
        });
        let series: Vec<_> = series.collect();
        if series.iter().all(|s| s.points.is_empty()) {
            return String::new();
        }
        let (x_label, y_label, ends) = ("false positive rate", "true positive rate", [0.0, 1.0]);
        let chance = None;
        Plot { title, x_label, y_label, x: ends, y: ends, whole_x: false, diagonal: true, chance, series }
            .draw()
    });
    for r in runs {
        let mut names = head(["rows of", "AUC"]);
        names.extend(RATES.map(|rate| format!("at {rate}")));
        let row = |set: &SetReport| {
            let mut cells = vec![Cell::new(&set.name), Cell::new(number(set.metrics.get(&AUC), 4))];
            cells.extend(RATES.map(|rate| Cell::new(number(at(&set.roc, rate), 3))));
            cells
        };
        let rows: Vec<_> = std::iter::once(&r.overall).chain(&r.scenarios).map(row).collect();
        let caption = "True positive rate at false positive rates, read off the drawn curve";
        html += &details(&format!("Numbers of {}", r.run), &table(caption, &names, &rows, 1));
    }
    html
}

/// Height of a curve at `x`, by straight lines; the top of a step.
fn at(points: &[[f64; 2]], x: f64) -> Option<f64> {
    let after = points.iter().position(|p| p[0] > x)?;
    let [[x0, y0], [x1, y1]] = [*points.get(after.checked_sub(1)?)?, points[after]];
    Some(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
}

#[cfg(test)]
mod tests {
    use optmsm_core::metrics::CALIBRATION;

    use super::*;

    #[test]
    fn a_curve_is_read_between_its_points() {
        let points = [[0.0, 0.0], [0.0, 0.5], [0.5, 1.0], [1.0, 1.0]];
        assert_eq!([0.0, 0.1, 0.5].map(|x| at(&points, x)), [Some(0.5), Some(0.6), Some(1.0)]);
        assert_eq!((at(&points, 1.0), at(&[], 0.1)), (None, None));
    }

    #[test]
    fn the_best_of_one_is_nothing_to_say() {
        let all = [Some(0.9), Some(1.2), None];
        assert!(best(all[0], &all, &CALIBRATION) && !best(all[1], &all, &CALIBRATION));
        assert!(best(all[0], &all, &LOG_LOSS) && best(all[1], &all, &AUC));
        assert!(!best(None, &all, &LOG_LOSS) && !best(Some(1.0), &[Some(1.0)], &LOG_LOSS));
    }
}
