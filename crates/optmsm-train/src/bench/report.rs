//! From runs to a ranking, with what may be concluded of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use optmsm_core::config::InputSpec;
use optmsm_core::metrics::AUC;
use optmsm_core::models::Cost;
use optmsm_data::SplitConfig;
use serde::Serialize;

use super::contestant::Ready;
use super::peer::PeerFacts;
use super::{LeftOut, Plan};
use crate::attempt::Own;
use crate::compare::report::{compared, conclude, on_rows, spread};
use crate::compare::{Difference, Scored, Verdict};
use crate::config::{Config, Monitor};
use crate::data_files::DataFile;
use crate::error::{Error, Result};
use crate::evaluate::Evaluation;
use crate::provenance::Provenance;
use crate::scored::{RunResult, Scores};
use crate::settings::flatten;
use crate::statistics::Spread;
use crate::tune::Trial;

/// A benchmark on one data set, as `bench.json` has it.
#[derive(Clone, Debug, Serialize)]
pub struct Bench {
    /// Name of the data.
    pub name: String,
    /// Program and machine that made it.
    pub program: Provenance,
    /// Files that were read.
    pub files: Vec<DataFile>,
    /// How `data.train` was split, if it was.
    pub split: Option<SplitConfig>,
    /// Value of the validation rows that chose.
    pub monitor: Monitor,
    /// Trials of each contestant.
    pub trials: u64,
    /// Seeds of the runs with the chosen settings.
    pub seeds: Vec<u64>,
    /// Column by whose values the test rows are weighed in all metrics; none where each counts once.
    pub weighted_by: Option<String>,
    /// Whether rows of label 0 stand there for those that sampling dropped, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub negatives_weighted: bool,
    /// By mean AUC of the test rows, the best first.
    pub standings: Vec<Standing>,
    /// Of every other from the best.
    pub differences: Vec<Difference>,
    /// Contestants without a result.
    pub left_out: Vec<LeftOut>,
}

/// A contestant's or peer's results on the test rows.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// Name in the tables.
    pub name: String,
    /// AUC of all test rows.
    pub auc: Option<Measure>,
    /// Mean over the scenarios of their AUCs, those without one left out.
    pub scenario_mean: Option<Measure>,
    /// The lowest AUC of a scenario.
    pub scenario_worst: Option<Measure>,
    /// Whether seeds alone explain its distance from the best (p (Holm) ≥ 0.05); none of the best, and where that cannot be said.
    pub tied: Option<bool>,
    /// All test rows.
    pub overall: Scored,
    /// Those of each scenario.
    pub scenarios: Vec<Scored>,
    /// Facts of a model of this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// Facts of another program's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerFacts>,
    /// Metrics by seed.
    pub tests: Vec<Evaluation>,
}

/// A value over seeds, and what its mean may be.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measure {
    /// Mean and spread.
    #[serde(flatten)]
    pub spread: Spread,
    /// The mean's 95 % confidence interval over seeds.
    pub interval: Option<[f64; 2]>,
}

/// How a contestant came to its result, and what it costs.
#[derive(Clone, Debug, Serialize)]
pub struct Model {
    /// `model.kind`.
    pub kind: &'static str,
    /// The search space: ranges by key.
    pub space: BTreeMap<String, String>,
    /// Choice in it.
    pub chosen: Chosen,
    /// All trials, in order.
    pub trials: Vec<Trial>,
    /// The chosen configuration.
    pub resolved: String,
    /// Elements of the dense parameters.
    pub parameters: usize,
    /// Elements of the embedding tables.
    pub tables: usize,
    /// Multiply-adds per predicted row.
    pub multiply_adds: f64,
    /// Passes that the scored parameters had seen.
    pub best_epoch: Option<Spread>,
    /// Seconds of a run.
    pub seconds: Option<Spread>,
}

/// The best trial.
#[derive(Clone, Debug, Serialize)]
pub struct Chosen {
    /// Its number.
    pub trial: u64,
    /// Its best monitored value.
    pub value: f64,
    /// Values of the searched settings.
    pub settings: BTreeMap<String, String>,
}

/// Results of one contestant or peer.
pub(super) struct Ended {
    name: String,
    tests: Vec<Evaluation>,
    predictions: Predictions,
    model: Option<Model>,
    peer: Option<PeerFacts>,
}

/// The test rows' predictions, for each seed.
enum Predictions {
    /// In run folders, with weights or without.
    Runs(Vec<PathBuf>, bool),
    Memory(Vec<Scores>),
}

impl Ended {
    pub(super) fn peer(name: &str, facts: PeerFacts, tests: Vec<Evaluation>, scores: Vec<Scores>) -> Self {
        let predictions = Predictions::Memory(scores);
        Self { name: name.into(), tests, predictions, model: None, peer: Some(facts) }
    }

    /// Of a contestant's chosen configuration and its runs.
    ///
    /// # Errors
    /// The configuration makes no model.
    #[expect(clippy::too_many_arguments, reason = "one caller, and each is of another kind")]
    pub(super) fn model(
        ready: &Ready,
        trials: Vec<Trial>,
        trial: u64,
        config: &Config,
        input: &InputSpec,
        runs: Vec<RunResult>,
        folders: Vec<PathBuf>,
        weighted: bool,
    ) -> Result<Self> {
        let cost = Cost::of(&config.model, input)?;
        let value = trials.iter().find(|t| t.trial == trial).and_then(Trial::best);
        let flat = flatten(config, false)?;
        // Where tables have no rule of their own, theirs is the dense one.
        let dense = |key: &str| flat.get(&key.replace("embedding_optimizer", "optimizer")).cloned();
        let own = toml::Value::try_from(Own(&config.model)).map_err(|e| Error::bug("settings", e))?;
        // The table of a kind is not written where all of it is as it always is.
        let prefix = format!("model.{}.", config.model.kind.name());
        let default = |key: &str| {
            let mut names = key.strip_prefix(&prefix)?.split('.');
            Some(names.try_fold(&own, |table, name| table.get(name))?.to_string())
        };
        let setting = |key: &str| {
            flat.get(key).cloned().or_else(|| dense(key)).or_else(|| default(key)).unwrap_or_default()
        };
        let settings = ready.written.iter().map(|(key, _)| (key.clone(), setting(key))).collect();
        let model = Model {
            kind: config.model.kind.name(),
            space: ready.written.iter().cloned().collect(),
            chosen: Chosen {
                trial,
                value: config.train.monitor.sign() * value.map_or(f64::NAN, |(value, _)| value),
                settings,
            },
            trials,
            resolved: config.to_toml()?,
            parameters: cost.parameters,
            tables: cost.tables,
            multiply_adds: cost.multiply_adds,
            best_epoch: spread(&runs, |run| Some(run.best_epoch)),
            seconds: spread(&runs, |run| Some(run.seconds)),
        };
        let predictions = Predictions::Runs(folders, weighted);
        let tests = runs.into_iter().map(|run| run.test).collect();
        Ok(Self { name: ready.name.clone(), tests, predictions, model: Some(model), peer: None })
    }

    fn auc(&self) -> f64 {
        let auc = spread(&self.tests, |test| test.overall.get(&AUC));
        auc.map_or(f64::NEG_INFINITY, |auc| auc.mean)
    }

    fn scores(&self) -> Result<Vec<Scores>> {
        match &self.predictions {
            Predictions::Memory(scores) => Ok(scores.clone()),
            Predictions::Runs(folders, weighted) => {
                folders.iter().map(|f| Scores::load(f, *weighted)).collect()
            }
        }
    }
}

impl Measure {
    /// Of a value of each seed; none unless every seed has it.
    fn of(tests: &[Evaluation], value: impl Fn(&Evaluation) -> Option<f64>) -> Option<Self> {
        let spread = spread(tests, value)?;
        Some(Self { spread, interval: spread.interval() })
    }
}

/// AUCs of the scenarios that have one.
fn aucs(test: &Evaluation) -> impl Iterator<Item = f64> {
    test.scenarios.iter().filter_map(|s| s.metrics.get(&AUC))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    Spread::of(&values.collect::<Vec<_>>()).map(|spread| spread.mean)
}

impl Bench {
    /// Ranks what came to a result, which is something.
    ///
    /// # Errors
    /// Predictions cannot be read, or are of other rows.
    pub(super) fn new(
        plan: &Plan,
        files: Vec<DataFile>,
        mut field: Vec<Ended>,
        left_out: Vec<LeftOut>,
    ) -> Result<Self> {
        // Of equal ones the first given stays first.
        field.sort_by(|a, b| b.auc().total_cmp(&a.auc()));
        let first = field.first().ok_or_else(|| Error::bug("benchmark", "ranks nothing"))?;
        let best: Vec<&Evaluation> = first.tests.iter().collect();
        let (best_scores, count) = (first.scores()?, best[0].scenarios.len());
        let (mut standings, mut differences) = (Vec::new(), Vec::new());
        for (i, ended) in field.iter().enumerate() {
            let tests: Vec<&Evaluation> = ended.tests.iter().collect();
            let against = (i > 0).then_some(&best[..]);
            standings.push(Standing {
                name: ended.name.clone(),
                auc: Measure::of(&ended.tests, |test| test.overall.get(&AUC)),
                scenario_mean: Measure::of(&ended.tests, |test| mean(aucs(test))),
                scenario_worst: Measure::of(&ended.tests, |test| aucs(test).reduce(f64::min)),
                tied: None,
                overall: Scored::new(&tests, against, None),
                scenarios: (0..count).map(|s| Scored::new(&tests, against, Some(s))).collect(),
                model: ended.model.clone(),
                peer: ended.peer.clone(),
                tests: ended.tests.clone(),
            });
            if i == 0 {
                continue;
            }
            for metric in compared() {
                let mut difference = Difference::new(&ended.name, &tests, &best, None, metric);
                if let Some(d) = difference.as_mut().filter(|d| d.is_main()) {
                    d.rows = on_rows(&best_scores, &ended.scores()?)?;
                }
                differences.extend(difference);
            }
        }
        conclude(&mut differences);
        for d in differences.iter().filter(|d| d.is_main()) {
            let tied = match d.verdict {
                Some(Verdict::Equal | Verdict::NotShown) => Some(true),
                Some(Verdict::TheseRows | Verdict::Better | Verdict::Worse) => Some(false),
                Some(Verdict::TooFew) | None => None,
            };
            standings.iter_mut().filter(|s| s.name == d.configuration).for_each(|s| s.tied = tied);
        }
        Ok(Self {
            name: plan.name.clone(),
            program: Provenance::here(),
            files,
            split: plan.config.data.split.clone(),
            monitor: plan.config.train.monitor.clone(),
            trials: plan.trials,
            seeds: plan.seeds.clone(),
            weighted_by: best[0].weighted_by.clone(),
            negatives_weighted: best[0].negatives_weighted,
            standings,
            differences,
            left_out,
        })
    }

    /// The AUC's difference of a contestant from the best.
    pub(crate) fn difference(&self, name: &str) -> Option<&Difference> {
        self.differences.iter().find(|d| d.is_main() && d.configuration == name)
    }
}
