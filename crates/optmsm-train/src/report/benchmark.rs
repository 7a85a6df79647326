//! The page of a benchmark: where each model stands, with intervals.

use optmsm_core::metrics::AUC;

use super::chart::{Dot, dots};
use super::html::{Cell, count, details, escape, head, json, number, table};
use super::page::{document, section};
use super::sections::PICTURES;
use crate::bench::{Bench, Measure, Standing};
use crate::error::{Error, Result};

/// One HTML file that shows all contestants, the numbers as JSON in its last element.
///
/// # Errors
/// The numbers cannot be written as JSON.
pub(crate) fn bench_page(bench: &Bench) -> Result<String> {
    let numbers = json(bench).map_err(|e| Error::bug("benchmark", e))?;
    let says = format!(
        "Mean of {} seeds on the test rows, after {} trials of each model on the validation rows; bars are 95 % intervals of the mean over the \
         seeds. Strong: the best, and those whose difference from it seeds alone explain.",
        bench.seeds.len(),
        bench.trials
    );
    let left_out: String = bench
        .left_out
        .iter()
        .map(|l| format!("<p>Left out: {}. {}</p>", escape(&l.name), escape(&l.reason)))
        .collect();
    let scenarios = "The largest scenarios; the table has all.";
    let body = section("Models", &says, &(pictures(bench) + &standings(bench) + &left_out))
        + &section("AUC by scenario", scenarios, &by_scenario(bench))
        + &section("Settings", "What was searched, and what was chosen.", &settings(bench));
    Ok(document(&format!("Benchmark {}", bench.name), "", &body, &numbers))
}

/// A picture of a measure of all standings, the highest first; empty where none has it.
fn picture(bench: &Bench, title: &str, measure: impl Fn(&Standing) -> Option<Measure>) -> String {
    let mut found = Vec::new();
    for (rank, standing) in bench.standings.iter().enumerate() {
        let Some(Measure { spread, interval }) = measure(standing) else { continue };
        let strong = rank == 0 || standing.tied == Some(true);
        found.push(Dot { name: &standing.name, value: spread.mean, interval, strong });
    }
    found.sort_by(|a, b| b.value.total_cmp(&a.value));
    if found.is_empty() { String::new() } else { dots(title, &found) }
}

fn pictures(bench: &Bench) -> String {
    let all = [
        picture(bench, "AUC of all test rows", |s| s.auc),
        picture(bench, "mean AUC of the scenarios", |s| s.scenario_mean),
        picture(bench, "AUC of the worst scenario", |s| s.scenario_worst),
    ];
    format!("<div class=\"plots\">{}</div>", all.concat())
}

fn standings(bench: &Bench) -> String {
    let titles = [
        "model",
        "beside the best",
        "AUC",
        "mean of scenarios",
        "worst scenario",
        "parameters",
        "multiply-adds",
        "seconds",
    ];
    let mean = |measure: Option<Measure>| Cell::new(number(measure.map(|m| m.spread.mean), 4));
    let rows = bench.standings.iter().enumerate().map(|(rank, s)| {
        let strong = rank == 0 || s.tied == Some(true);
        let model = s.model.as_ref();
        vec![
            Cell::new(&s.name),
            Cell::new(s.beside(rank)),
            mean(s.auc).best(strong),
            mean(s.scenario_mean),
            mean(s.scenario_worst),
            Cell::new(model.map_or("–".into(), |m| count(m.parameters as u64))),
            Cell::new(model.map_or("–".into(), |m| count(m.multiply_adds as u64))),
            Cell::new(number(model.and_then(|m| m.seconds).map(|seconds| seconds.mean), 1)),
        ]
    });
    table("Parameters without embedding tables", &head(titles), &rows.collect::<Vec<_>>(), 2)
}

fn by_scenario(bench: &Bench) -> String {
    let Some(first) = bench.standings.first() else { return String::new() };
    let mut largest: Vec<usize> = (0..first.scenarios.len()).collect();
    largest.sort_by_key(|&i| std::cmp::Reverse(first.scenarios[i].rows));
    largest.truncate(PICTURES);
    largest.sort_unstable();
    let of = |s: &Standing, i: usize| {
        let auc = s.scenarios[i].metrics.iter().find(|(metric, _)| **metric == AUC)?;
        let spread = auc.1?;
        Some(Measure { spread, interval: spread.interval() })
    };
    let name = |i: usize| first.scenarios[i].scenario.as_deref().unwrap_or("–");
    let plots: String = largest.iter().map(|&i| picture(bench, name(i), |s| of(s, i))).collect();
    let titles = ["scenario", "rows"].into_iter().chain(bench.standings.iter().map(|s| s.name.as_str()));
    let rows = (0..first.scenarios.len()).map(|i| {
        let aucs = bench.standings.iter().map(|s| Cell::new(number(of(s, i).map(|m| m.spread.mean), 4)));
        [Cell::new(name(i)), Cell::new(count(first.scenarios[i].rows))].into_iter().chain(aucs).collect()
    });
    let titles: Vec<String> = titles.map(String::from).collect();
    format!(
        "<div class=\"plots\">{plots}</div>{}",
        table("AUC, mean over the seeds", &titles, &rows.collect::<Vec<_>>(), 1)
    )
}

fn settings(bench: &Bench) -> String {
    let of = |s: &Standing| {
        let model = s.model.as_ref()?;
        let row = |(key, range): (&String, &String)| {
            let chosen = model.chosen.settings.get(key).cloned().unwrap_or_default();
            vec![Cell::code(key), Cell::code(range), Cell::code(chosen)]
        };
        let rows: Vec<_> = model.space.iter().map(row).collect();
        let caption = format!(
            "Trial {} of {}, valid {} {:.4}",
            model.chosen.trial,
            bench.trials,
            bench.monitor.title(),
            model.chosen.value
        );
        let table = table(&caption, &head(["setting", "searched", "chosen"]), &rows, 3);
        Some(details(&s.name, &format!("{table}<pre>{}</pre>", escape(&model.resolved))))
    };
    bench.standings.iter().filter_map(of).collect()
}
