//! A benchmark as Markdown.

use optmsm_core::metrics::{AUC, ECE, GAUC, LOG_LOSS, Metric};

use super::report::{Bench, Measure, Standing};
use crate::compare::Difference;
use crate::markdown::{NONE, interval, made_by, made_from, name, p, spread, table};
use crate::sampling::weighed_by;
use crate::statistics::Spread;

/// Metrics of all test rows that the main table has beside the AUCs.
const METRICS: [&Metric; 3] = [&GAUC, &LOG_LOSS, &ECE];

impl Bench {
    /// Tables and what they allow to say, as `bench.md` has it.
    pub fn markdown(&self) -> String {
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        let mut text = format!(
            "# Benchmark: {}\n\nEach model was tried with {} settings, the configuration as it is included, and the one with the best {} of the \
             validation rows was trained with {} seeds ({}). Test rows, mean ± standard deviation over the seeds.{}\n\n",
            name(&self.name),
            self.trials,
            name(&self.monitor.title()),
            seeds.len(),
            seeds.join(", "),
            self.weighted()
        );
        text += &self.main();
        text += "\n\"Tied\" with the best: seeds alone explain the difference, p (Holm) ≥ 0.05. RelaImpr is against the best, too.\n";
        for left_out in &self.left_out {
            text += &format!("\nLeft out: **{}**. {}\n", name(&left_out.name), name(&left_out.reason));
        }
        text += "\n## AUC by scenario\n\n";
        text += &self.by_scenario();
        if !self.differences.is_empty() {
            text += &format!("\n## Differences from {}\n\n", name(&self.standings[0].name));
            text += &self.pairs();
        }
        text += "\n## Cost\n\n";
        text += &self.cost();
        text += "\n## Settings\n\nWhat was searched, and what was chosen.\n\n";
        text += &self.settings();
        text += "\n## Made from\n\n";
        text + &made_from(&self.files, self.split.as_ref()) + &made_by(&self.program)
    }

    /// A sentence on how rows are weighed, if they are.
    fn weighted(&self) -> String {
        let column = self.weighted_by.as_ref().map(|column| format!("column `{}`", name(column)));
        weighed_by(column, self.negatives_weighted)
            .map_or(String::new(), |by| format!(" All metrics are weighted by {by}."))
    }

    fn main(&self) -> String {
        let titles = METRICS.map(|metric| metric.title);
        let header = ["model", "AUC", "95 % of the mean", "mean of scenarios", "worst scenario"];
        let header: Vec<&str> =
            header.into_iter().chain(titles).chain(["RelaImpr %", "p (Holm)", "beside the best"]).collect();
        let rows = self.standings.iter().enumerate().map(|(rank, s)| {
            let mut cells = vec![name(&s.name), measure(s.auc), range(s.auc)];
            cells.extend([measure(s.scenario_mean), measure(s.scenario_worst)]);
            cells.extend(METRICS.map(|metric| spread(s.metric(metric), 4)));
            let percent = |r: Spread| Spread { mean: 100.0 * r.mean, sd: r.sd.map(|sd| 100.0 * sd), ..r };
            cells.push(spread(s.overall.rela_impr.map(percent), 2));
            cells.push(p(self.difference(&s.name).and_then(|d| d.holm_p)));
            cells.push(s.beside(rank).into());
            cells
        });
        table(&header, &rows.collect::<Vec<_>>())
    }

    fn by_scenario(&self) -> String {
        let names: Vec<String> = self.standings.iter().map(|s| name(&s.name)).collect();
        let header: Vec<&str> =
            ["scenario", "rows", "positives"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let rows = self.standings[0].scenarios.iter().enumerate().map(|(i, of)| {
            let scenario = name(of.scenario.as_deref().unwrap_or(NONE));
            let mut cells = vec![scenario, of.rows.to_string(), of.positives.to_string()];
            let auc = |s: &Standing| {
                s.scenarios[i].metrics.iter().find(|(m, _)| **m == AUC).and_then(|(_, auc)| *auc)
            };
            cells.extend(
                self.standings.iter().map(|s| auc(s).map_or(NONE.into(), |auc| format!("{:.4}", auc.mean))),
            );
            cells
        });
        table(&header, &rows.collect::<Vec<_>>())
    }

    fn pairs(&self) -> String {
        let header = [
            "model",
            "of",
            "mean ± sd",
            "95 % over seeds",
            "p (t)",
            "p (Holm)",
            "95 % over test rows",
            "p (rows)",
        ];
        let row = |d: &Difference| {
            vec![
                name(&d.configuration),
                d.metric.title.into(),
                spread(d.spread, 5),
                interval(d.t.map(|t| t.interval)),
                p(d.t.map(|t| t.p)),
                p(d.holm_p),
                interval(d.rows.map(|r| r.interval)),
                p(d.rows.and_then(|r| r.p)),
            ]
        };
        table(&header, &self.differences.iter().map(row).collect::<Vec<_>>())
    }

    fn cost(&self) -> String {
        let header =
            ["model", "parameters without tables", "multiply-adds per row", "best epoch", "seconds per run"];
        let rows = self.standings.iter().map(|s| {
            let mut cells = vec![name(&s.name)];
            match &s.model {
                Some(m) => cells.extend([
                    m.parameters.to_string(),
                    format!("{:.0}", m.multiply_adds),
                    spread(m.best_epoch, 1),
                    spread(m.seconds, 2),
                ]),
                None => {
                    let seconds = s.peer.as_ref().and_then(|peer| peer.seconds);
                    cells.extend([NONE; 3].map(String::from));
                    cells.push(seconds.map_or(NONE.into(), |seconds| format!("{seconds:.2}")));
                }
            }
            cells
        });
        table(&header, &rows.collect::<Vec<_>>())
    }

    fn settings(&self) -> String {
        let mut text = String::new();
        for s in &self.standings {
            text += &format!("### {}\n\n", name(&s.name));
            if let Some(m) = &s.model {
                let (trial, value) = (m.chosen.trial, m.chosen.value);
                text += &format!("Trial {trial}, valid {} {value:.4}.\n\n", name(&self.monitor.title()));
                let row = |(key, range): (&String, &String)| {
                    vec![name(key), name(range), name(m.chosen.settings.get(key).map_or("", String::as_str))]
                };
                text +=
                    &table(&["setting", "searched", "chosen"], &m.space.iter().map(row).collect::<Vec<_>>());
            } else {
                let facts = s.peer.clone().unwrap_or_default();
                let trials = facts.trials.map_or("an unknown number of".into(), |n| n.to_string());
                let settings =
                    facts.settings.map_or(String::new(), |v| format!(" Chosen: `{}`.", name(&v.to_string())));
                text += &format!("Another program, after {trials} trials.{settings}\n");
            }
            text += "\n";
        }
        text
    }
}

impl Standing {
    /// A metric of all test rows.
    pub(crate) fn metric(&self, metric: &Metric) -> Option<Spread> {
        self.overall.metrics.iter().find(|(m, _)| *m == metric).and_then(|(_, spread)| *spread)
    }

    /// Its place beside the best, in a word.
    pub(crate) fn beside(&self, rank: usize) -> &'static str {
        match self.tied {
            _ if rank == 0 => "best",
            Some(true) => "tied",
            Some(false) => "behind",
            None => NONE,
        }
    }
}

fn measure(measure: Option<Measure>) -> String {
    spread(measure.map(|m| m.spread), 4)
}

fn range(measure: Option<Measure>) -> String {
    let ends = measure.and_then(|m| m.interval);
    ends.map_or(NONE.into(), |[low, high]| format!("{low:.4} … {high:.4}"))
}
