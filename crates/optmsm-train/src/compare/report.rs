//! From runs to spreads, differences and what may be concluded.

use optmsm_core::metrics::{AUC, Better, METRICS, Metric, Metrics, rela_impr};
use optmsm_data::SplitConfig;
use serde::{Serialize, Serializer};

use super::{Entry, RunResult};
use crate::checkpoint::sha256;
use crate::data_files::DataFile;
use crate::error::{Error, Result};
use crate::evaluate::Evaluation;
use crate::provenance::Provenance;
use crate::scored::Scores;
use crate::statistics::{Delong, PairedT, Spread, delong, holm, paired_t, signed_rank};

/// Fewer seeds allow no verdict: at two or three, one lucky spread makes any t large.
const FEWEST_SEEDS: usize = 5;
/// Chance of a false "better" or "worse" in the whole comparison, seeds being the only chance.
const LEVEL: f64 = 0.05;

/// A whole comparison, as `compare.json` has it.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Program and machine that made it.
    pub program: Provenance,
    /// Files that were read.
    pub files: Vec<DataFile>,
    /// How `data.train` was split, if it was.
    pub split: Option<SplitConfig>,
    /// Seeds of the runs, the same for every configuration.
    pub seeds: Vec<u64>,
    /// Column by whose values the test rows are weighed in all metrics; none where each counts once.
    pub weighted_by: Option<String>,
    /// Whether rows of label 0 stand there for those that sampling dropped, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub negatives_weighted: bool,
    /// Whether validation rows chose the parameters that were scored.
    pub valid: bool,
    /// In the order given; the first is what others are compared with.
    pub configurations: Vec<Configuration>,
    /// Of every other configuration from the first.
    pub differences: Vec<Difference>,
}

/// A configuration's results on the test rows.
#[derive(Clone, Debug, Serialize)]
pub struct Configuration {
    /// Name in the tables.
    pub name: String,
    /// The file it came from.
    pub path: String,
    /// SHA-256 of the resolved configuration, as TOML.
    pub sha256: String,
    /// The resolved configuration.
    pub resolved: String,
    /// Number of parameters.
    pub parameters: u64,
    /// All test rows.
    pub overall: Scored,
    /// Those of each scenario.
    pub scenarios: Vec<Scored>,
    /// Passes that the parameters had seen that were scored.
    pub best_epoch: Option<Spread>,
    /// Seconds of a run.
    pub seconds: Option<Spread>,
    /// Training rows per second, validation included.
    pub rows_per_second: Option<Spread>,
    /// Result of each seed.
    pub runs: Vec<RunResult>,
}

/// Metrics of one set of rows over the seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Scored {
    /// Scenario; none for all rows.
    pub scenario: Option<String>,
    /// Rows.
    pub rows: u64,
    /// Rows with label 1.
    pub positives: u64,
    /// Rows of equal weights that would say as much; none where all weigh the same.
    pub effective_rows: Option<f64>,
    /// Each compared metric, by its key.
    #[serde(flatten, serialize_with = "by_key")]
    pub metrics: Vec<(&'static Metric, Option<Spread>)>,
    /// (AUC − 0.5) / (mean AUC of the first configuration − 0.5) − 1; none for the first, and where its mean AUC is not
    /// above 0.5. A ratio seed by seed would be ruled by the seed whose base comes closest to 0.5.
    pub rela_impr: Option<Spread>,
}

/// A metric of a configuration less that of the first, run by run.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Name of the configuration.
    pub configuration: String,
    /// Scenario; none for all rows.
    pub scenario: Option<String>,
    /// One of the compared metrics, by its key.
    #[serde(serialize_with = "key")]
    pub metric: &'static Metric,
    /// One for each seed.
    pub by_seed: Vec<f64>,
    /// Their mean and spread.
    pub spread: Option<Spread>,
    /// Paired t-test over seeds.
    pub t: Option<PairedT>,
    /// Exact p of Wilcoxon's signed-rank test over seeds.
    pub signed_rank_p: Option<f64>,
    /// The t-test's p after Holm's correction for the number of configurations; for the AUC of all rows alone.
    pub holm_p: Option<f64>,
    /// Change of the mean difference that other test rows could make; for the AUC of all rows alone.
    pub rows: Option<Delong>,
    /// For the AUC of all rows alone.
    pub verdict: Option<Verdict>,
}

/// Conclusion that the differences of AUC allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every seed gave the same AUC.
    Equal,
    /// Fewer than five seeds, or differences that do not spread, which no test can judge.
    TooFew,
    /// Seeds alone explain the difference.
    NotShown,
    /// More than seeds explain, but not more than other test rows might take back.
    TheseRows,
    /// Higher than seeds and the choice of test rows explain.
    Better,
    /// Lower than seeds and the choice of test rows explain.
    Worse,
}

impl Verdict {
    fn of(difference: &Difference) -> Self {
        if difference.by_seed.iter().all(|d| *d == 0.0) {
            return Verdict::Equal;
        }
        let Some(p) = difference.holm_p.filter(|_| difference.by_seed.len() >= FEWEST_SEEDS) else {
            return Verdict::TooFew;
        };
        let on_other_rows = difference.rows.is_some_and(|r| r.interval[0] > 0.0 || r.interval[1] < 0.0);
        match difference.spread.map_or(0.0, |s| s.mean) {
            _ if p >= LEVEL => Verdict::NotShown,
            _ if !on_other_rows => Verdict::TheseRows,
            mean if mean > 0.0 => Verdict::Better,
            _ => Verdict::Worse,
        }
    }
}

/// Metrics whose differences are tested: those of which one of two values is better, whatever they are.
pub(crate) fn compared() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().filter(|metric| !matches!(metric.better, Better::Near(_)))
}

/// Writes a metric as its key.
fn key<S: Serializer>(metric: &Metric, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_str(metric.key)
}

/// Writes metrics as a map by their keys.
fn by_key<S: Serializer>(
    metrics: &[(&Metric, Option<Spread>)],
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    to.collect_map(metrics.iter().map(|(metric, spread)| (metric.key, spread)))
}

/// Metrics of one set of rows of a run: all rows, or those of a scenario.
fn metrics(test: &Evaluation, scenario: Option<usize>) -> &Metrics {
    scenario.map_or(&test.overall, |i| &test.scenarios[i].metrics)
}

/// Spread of a value over runs; none unless every run has it.
pub(crate) fn spread<T>(runs: &[T], value: impl Fn(&T) -> Option<f64>) -> Option<Spread> {
    Spread::of(&runs.iter().map(value).collect::<Option<Vec<f64>>>()?)
}

impl Scored {
    /// Of the test rows of a configuration's runs; `base` are those that it is compared with.
    pub(crate) fn new(runs: &[&Evaluation], base: Option<&[&Evaluation]>, scenario: Option<usize>) -> Self {
        let of = |metric: &Metric| spread(runs, |r| metrics(r, scenario).get(metric));
        let improvement = |base: &[&Evaluation]| {
            let base = spread(base, |r| metrics(r, scenario).get(&AUC))?.mean;
            spread(runs, |r| rela_impr(metrics(r, scenario).get(&AUC)?, base))
        };
        let counts = runs.first().map(|r| metrics(r, scenario));
        Self {
            scenario: scenario.map(|i| runs[0].scenarios[i].scenario.clone()),
            rows: counts.map_or(0, |m| m.rows),
            positives: counts.map_or(0, |m| m.positives),
            effective_rows: counts.and_then(|m| m.effective_rows),
            metrics: compared().map(|metric| (metric, of(metric))).collect(),
            rela_impr: base.and_then(improvement),
        }
    }
}

impl Difference {
    /// Between the test rows of two configurations' runs, of which `name` is the first; none where the metric is not defined.
    pub(crate) fn new(
        name: &str,
        runs: &[&Evaluation],
        base: &[&Evaluation],
        scenario: Option<usize>,
        metric: &'static Metric,
    ) -> Option<Self> {
        let pairs = runs.iter().zip(base);
        let by_seed = pairs
            .map(|(r, b)| Some(metrics(r, scenario).get(metric)? - metrics(b, scenario).get(metric)?))
            .collect::<Option<Vec<f64>>>()?;
        Some(Self {
            configuration: name.into(),
            scenario: scenario.map(|i| runs[0].scenarios[i].scenario.clone()),
            metric,
            spread: Spread::of(&by_seed),
            t: paired_t(&by_seed),
            signed_rank_p: signed_rank(&by_seed),
            by_seed,
            holm_p: None,
            rows: None,
            verdict: None,
        })
    }

    /// Whether it is the one that verdicts are about.
    pub(crate) fn is_main(&self) -> bool {
        self.scenario.is_none() && *self.metric == AUC
    }
}

impl Comparison {
    /// `done` holds the runs of the first entry, one for each seed, then those of the second, and so on; `scores` reads
    /// labels and predictions of an entry's run.
    pub(crate) fn new(
        entries: &[Entry],
        seeds: &[u64],
        files: Vec<DataFile>,
        done: &[RunResult],
        scores: impl Fn(usize, u64) -> Result<Scores>,
    ) -> Result<Self> {
        let runs: Vec<&[RunResult]> = done.chunks(seeds.len()).collect();
        let tests: Vec<Vec<&Evaluation>> =
            runs.iter().map(|runs| runs.iter().map(|run| &run.test).collect()).collect();
        let base = &tests[0];
        let count = base[0].scenarios.len();
        let mut configurations = Vec::with_capacity(entries.len());
        let mut differences = Vec::new();
        let first = seeds.iter().map(|&seed| scores(0, seed)).collect::<Result<Vec<_>>>()?;
        for (i, (entry, &of)) in entries.iter().zip(&runs).enumerate() {
            let (tests, against) = (&tests[i], (i > 0).then_some(&base[..]));
            let resolved = entry.config.to_toml()?;
            configurations.push(Configuration {
                name: entry.name.clone(),
                path: entry.path.clone(),
                sha256: sha256([&resolved]),
                resolved,
                parameters: of[0].parameters,
                overall: Scored::new(tests, against, None),
                scenarios: (0..count).map(|s| Scored::new(tests, against, Some(s))).collect(),
                best_epoch: spread(of, |r| Some(r.best_epoch)),
                seconds: spread(of, |r| Some(r.seconds)),
                rows_per_second: spread(of, |r| (r.seconds > 0.0).then(|| r.rows as f64 / r.seconds)),
                runs: of.to_vec(),
            });
            if i == 0 {
                continue;
            }
            for metric in compared() {
                let mut difference = Difference::new(&entry.name, tests, base, None, metric);
                if let Some(d) = difference.as_mut().filter(|d| d.is_main()) {
                    let other = seeds.iter().map(|&seed| scores(i, seed)).collect::<Result<Vec<_>>>()?;
                    d.rows = on_rows(&first, &other)?;
                }
                differences.extend(difference);
            }
            let by_scenario =
                (0..count).filter_map(|s| Difference::new(&entry.name, tests, base, Some(s), &AUC));
            differences.extend(by_scenario);
        }
        conclude(&mut differences);
        Ok(Self {
            program: Provenance::here(),
            files,
            split: entries[0].config.data.split.clone(),
            seeds: seeds.to_vec(),
            weighted_by: base[0].weighted_by.clone(),
            negatives_weighted: base[0].negatives_weighted,
            valid: crate::data_files::has(&entries[0].config, optmsm_data::Split::Valid),
            configurations,
            differences,
        })
    }
}

/// The mean difference of `other` from `first` over seeds, and what other test rows would make of it.
///
/// # Errors
/// They are not of the same rows.
pub(crate) fn on_rows(first: &[Scores], other: &[Scores]) -> Result<Option<Delong>> {
    let Scores { labels, weights, .. } = &first[0];
    let other_rows =
        |s: &Scores| (&s.labels, &s.weights) != (labels, weights) || s.predictions.len() != labels.len();
    if first.iter().chain(other).any(other_rows) {
        let fix = "delete the folder of the runs and start again";
        return Err(Error::rows("test", "runs were scored on different rows", fix));
    }
    let share = 1.0 / first.len() as f64;
    let plus = other.iter().map(|s| (share, &s.predictions[..]));
    let minus = first.iter().map(|s| (-share, &s.predictions[..]));
    Ok(delong(labels, weights, &plus.chain(minus).collect::<Vec<_>>()))
}

/// Corrects the tests that verdicts are about for their number, and passes the verdicts.
pub(crate) fn conclude(differences: &mut [Difference]) {
    let main: Vec<&mut Difference> = differences.iter_mut().filter(|d| d.is_main()).collect();
    let p: Vec<f64> = main.iter().filter_map(|d| d.t.map(|t| t.p)).collect();
    let mut adjusted = holm(&p).into_iter();
    for difference in main {
        difference.holm_p = difference.t.and_then(|_| adjusted.next());
        difference.verdict = Some(Verdict::of(difference));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(by_seed: &[f64], interval: [f64; 2]) -> Difference {
        Difference {
            configuration: String::new(),
            scenario: None,
            metric: &AUC,
            by_seed: by_seed.to_vec(),
            spread: Spread::of(by_seed),
            t: paired_t(by_seed),
            signed_rank_p: signed_rank(by_seed),
            holm_p: None,
            rows: Some(Delong { difference: 0.0, error: 1.0, interval, p: None }),
            verdict: None,
        }
    }

    fn verdict(by_seed: &[f64], interval: [f64; 2]) -> Verdict {
        let mut differences = [difference(by_seed, interval)];
        conclude(&mut differences);
        differences[0].verdict.unwrap()
    }

    #[test]
    fn verdicts() {
        let (above, across) = ([0.001, 0.003], [-0.001, 0.003]);
        assert_eq!(verdict(&[0.0; 5], across), Verdict::Equal);
        assert_eq!(verdict(&[0.002, 0.0021], above), Verdict::TooFew);
        assert_eq!(verdict(&[0.25; 5], above), Verdict::TooFew); // no spread, no test
        // t = 0.6 / (√10 / √5) by hand: far below 2.776.
        assert_eq!(verdict(&[3.0, -3.0, 3.0, -3.0, 3.0], above), Verdict::NotShown);
        let clear = [0.0020, 0.0021, 0.0019, 0.0022, 0.0018];
        assert_eq!(verdict(&clear, across), Verdict::TheseRows);
        assert_eq!(verdict(&clear, above), Verdict::Better);
        assert_eq!(verdict(&clear.map(|d| -d), [-0.003, -0.001]), Verdict::Worse);
    }

    #[test]
    fn several_configurations_make_each_harder_to_show() {
        // t = 3 / √½ = 4.243, between the tables' 3.747 (p = 0.02) and 4.604 (p = 0.01): times 5 not below 0.05.
        let by_seed = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(verdict(&by_seed, [1.0, 2.0]), Verdict::Better);
        let mut five = [(); 5].map(|()| difference(&by_seed, [1.0, 2.0]));
        conclude(&mut five);
        assert!(five.iter().all(|d| d.verdict == Some(Verdict::NotShown)));
    }
}
