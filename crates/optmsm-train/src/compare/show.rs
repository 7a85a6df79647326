//! A comparison as Markdown.

use super::report::{Comparison, Difference, Scored, Verdict, compared};
use crate::markdown::{NONE, interval, made_by, made_from, name, p, spread, table};
use crate::sampling::weighed_by;

impl Comparison {
    /// Tables and what they allow to say, as `compare.md` has it.
    pub fn markdown(&self) -> String {
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        let mut text = format!(
            "# Comparison\n\nTest rows, mean ± standard deviation over {} (seeds {}).{}\n\n",
            count(self.seeds.len(), "run"),
            seeds.join(", "),
            self.weighted()
        );
        text += &self.overall();
        text += "\n## By scenario\n\n";
        text += &self.by_scenario();
        if self.configurations.len() > 1 {
            let first = name(&self.configurations[0].name);
            text += &format!("\n## Differences from {first}\n\n");
            text += &self.verdicts();
            text += "\n";
            text += &self.differences();
            text += &self.notes();
        }
        text += "\n## Cost\n\n";
        text += &self.cost();
        text += "\n## Made from\n\n";
        text + &self.made_from()
    }

    /// A sentence on how rows are weighed, if they are.
    fn weighted(&self) -> String {
        let column = self.weighted_by.as_ref().map(|column| format!("column `{}`", name(column)));
        let Some(by) = weighed_by(column, self.negatives_weighted) else { return String::new() };
        let overall = &self.configurations[0].overall;
        let effective = overall.effective_rows.map_or(String::new(), |n| {
            format!(": {} rows, which say as much as {n:.0} of equal weights", overall.rows)
        });
        format!(" All metrics are weighted by {by}{effective}.")
    }

    fn overall(&self) -> String {
        let header: Vec<&str> =
            ["configuration"].into_iter().chain(titles()).chain(["parameters", "best epoch"]).collect();
        let rows = self.configurations.iter().map(|c| {
            let mut cells = vec![name(&c.name)];
            cells.extend(metrics(&c.overall));
            cells.extend([c.parameters.to_string(), spread(c.best_epoch, 1)]);
            cells
        });
        table(&header, &rows.collect::<Vec<_>>())
    }

    fn by_scenario(&self) -> String {
        let effective = self.configurations[0].overall.effective_rows.map(|_| "effective rows");
        let header = ["scenario", "configuration", "rows", "positives"].into_iter().chain(effective);
        let header: Vec<&str> = header.chain(titles()).collect();
        let mut rows = Vec::new();
        for i in 0..self.configurations[0].scenarios.len() {
            for c in &self.configurations {
                let s = &c.scenarios[i];
                let scenario = name(s.scenario.as_deref().unwrap_or(NONE));
                let mut cells = vec![scenario, name(&c.name), s.rows.to_string(), s.positives.to_string()];
                cells.extend(effective.map(|_| s.effective_rows.map_or(NONE.into(), |n| format!("{n:.0}"))));
                cells.extend(metrics(s));
                rows.push(cells);
            }
        }
        table(&header, &rows)
    }

    /// One line per configuration: the verdict on its AUC.
    fn verdicts(&self) -> String {
        let line = |d: &Difference| {
            let says = match d.verdict {
                Some(Verdict::Equal) => "equal: the same AUC with every seed",
                Some(Verdict::TooFew) => "no conclusion: too few seeds, or differences that do not spread",
                Some(Verdict::NotShown) => "no difference shown: seeds alone can explain it",
                Some(Verdict::TheseRows) => {
                    "differs on these test rows; other rows of the same kind might show none"
                }
                Some(Verdict::Better) => "better: more than seeds and the choice of test rows explain",
                Some(Verdict::Worse) => "worse: more than seeds and the choice of test rows explain",
                None => return None,
            };
            Some(format!("- **{}**: {says}.\n", name(&d.configuration)))
        };
        let lines: String = self.differences.iter().filter_map(line).collect();
        match lines.is_empty() {
            true => "The test rows have one class only: their AUC is undefined.\n".into(),
            false => lines,
        }
    }

    fn differences(&self) -> String {
        let header = [
            "difference",
            "of",
            "scenario",
            "mean ± sd",
            "95 % over seeds",
            "p (t)",
            "p (Holm)",
            "p (signed rank)",
            "95 % over test rows",
            "p (rows)",
        ];
        let rows = self.differences.iter().map(|d| {
            vec![
                name(&d.configuration),
                d.metric.title.into(),
                d.scenario.as_deref().map_or("all".into(), name),
                signed(d),
                interval(d.t.map(|t| t.interval)),
                p(d.t.map(|t| t.p)),
                p(d.holm_p),
                p(d.signed_rank_p),
                interval(d.rows.map(|r| r.interval)),
                p(d.rows.and_then(|r| r.p)),
            ]
        });
        table(&header, &rows.collect::<Vec<_>>())
    }

    fn notes(&self) -> String {
        let n = self.seeds.len();
        let mut text = "\nVerdicts are about the AUC of all test rows. p values of other lines are not corrected for \
                        their number: with twenty of them, one below 0.05 is what chance gives. Rows of one user are \
                        not independent: with a group column, intervals over test rows are too narrow.\n"
            .to_string();
        if n < 5 {
            text += &format!("{}: too few to conclude anything; use 5 or more.\n", count(n, "seed"));
        } else if n == 5 {
            text += "With 5 seeds the signed-rank p cannot be below 0.0625; use 6 or more for it.\n";
        }
        if !self.valid {
            text += "Without validation rows every run trained all its epochs.\n";
        }
        text
    }

    fn cost(&self) -> String {
        let header = ["configuration", "seconds", "training rows/s"];
        let rows = self
            .configurations
            .iter()
            .map(|c| vec![name(&c.name), spread(c.seconds, 2), spread(c.rows_per_second, 0)]);
        table(&header, &rows.collect::<Vec<_>>())
    }

    fn made_from(&self) -> String {
        let mut text = made_from(&self.files, self.split.as_ref());
        for c in &self.configurations {
            let (called, path) = (name(&c.name), name(&c.path));
            text += &format!("- {called}: {path}, SHA-256 {} when resolved\n", c.sha256);
        }
        text + &made_by(&self.program)
    }
}

/// Titles of what [`metrics`] shows.
fn titles() -> impl Iterator<Item = &'static str> {
    compared().map(|metric| metric.title).chain(["RelaImpr %"])
}

/// The compared metrics, and RelaImpr.
fn metrics(s: &Scored) -> impl Iterator<Item = String> {
    let percent = s.rela_impr.map(|mut r| {
        (r.mean, r.sd) = (100.0 * r.mean, r.sd.map(|sd| 100.0 * sd));
        r
    });
    s.metrics.iter().map(|&(_, of)| spread(of, 4)).chain([spread(percent, 2)])
}

fn signed(d: &Difference) -> String {
    match d.spread {
        Some(s) => s.sd.map_or(format!("{:+.5}", s.mean), |sd| format!("{:+.5} ± {sd:.5}", s.mean)),
        None => NONE.into(),
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
