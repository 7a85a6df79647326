//! Probabilities of a trained model, corrected by labelled rows: `calibration.json` of a run folder.
//!
//! A function of the logit is fitted for each scenario that has enough rows, and one for all others.

mod isotonic;
mod platt;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use optmsm_core::predictor::{Answer, probability};
use optmsm_export::{Curves, Points};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, FileErrorKind, Result};
use crate::run::Run;
use crate::sampling::{self, Shift};
use crate::seal;

/// Name of the file.
pub(crate) const NAME: &str = "calibration.json";
/// Least rows of each label that are needed in all: more than [`FOLDS`], so that every fit of cross-fitting has rows of both.
const LEAST: usize = 10;
/// Parts of the rows in cross-fitting.
pub const FOLDS: usize = 5;

/// Kind of function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// σ(a z + b): two numbers.
    Platt,
    /// Any function that rises with the logit: needs some thousand rows.
    Isotonic,
}

impl Method {
    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Method::Platt => "platt",
            Method::Isotonic => "isotonic",
        }
    }

    /// Least rows of each label with which a scenario has a fit of its own.
    pub fn least(self) -> usize {
        match self {
            Method::Platt => 50,
            Method::Isotonic => 500,
        }
    }

    /// Fits rows, at least one of each label.
    fn fit(self, rows: &[Row]) -> Map {
        match self {
            Method::Platt => {
                let (slope, intercept) = platt::fit(rows);
                Map::Platt { slope, intercept }
            }
            Method::Isotonic => {
                let (logits, probabilities) = isotonic::fit(rows);
                Map::Isotonic { logits, probabilities }
            }
        }
    }
}

/// A labelled row of a weight above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    logit: f64,
    weight: f64,
    positive: bool,
}

/// A fitted function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Map {
    /// σ(slope · z + intercept).
    Platt {
        /// Above 0.
        slope: f64,
        /// Any number.
        intercept: f64,
    },
    /// Linear between points, constant beyond.
    Isotonic {
        /// Rising.
        logits: Vec<f64>,
        /// Not falling, in [0, 1].
        probabilities: Vec<f64>,
    },
}

impl Map {
    /// The probability of a logit; NaN of NaN.
    pub fn at(&self, logit: f64) -> f32 {
        match self {
            Map::Platt { slope, intercept } => probability(slope * logit + intercept),
            Map::Isotonic { .. } if logit.is_nan() => f32::NAN,
            Map::Isotonic { logits, probabilities } => isotonic::at(logit, logits, probabilities) as f32,
        }
    }

    /// Whether it can be what a fit gives.
    fn is_sound(&self) -> bool {
        match self {
            Map::Platt { slope, intercept } => *slope > 0.0 && slope.is_finite() && intercept.is_finite(),
            Map::Isotonic { logits, probabilities } => {
                !logits.is_empty()
                    && logits.len() == probabilities.len()
                    && logits.iter().all(|z| z.is_finite())
                    && logits.is_sorted_by(|a, b| a < b)
                    && probabilities.iter().all(|p| (0.0..=1.0).contains(p))
                    && probabilities.is_sorted()
            }
        }
    }
}

/// Labelled rows with their logits, in which `data.negative_rate` is taken into account already.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// One per row.
    pub logits: &'a [f64],
    /// 0 or 1.
    pub labels: &'a [f32],
    /// Finite and at least 0; empty means 1 for every row.
    pub weights: &'a [f32],
    /// Scenario of each row.
    pub scenarios: &'a [u32],
    /// Number of scenarios.
    pub count: usize,
}

impl Labelled<'_> {
    /// Rows that have a weight and are `taken`, by scenario.
    fn by_scenario(&self, taken: impl Fn(usize) -> bool) -> Vec<Vec<Row>> {
        let mut rows = vec![Vec::new(); self.count];
        for (i, (&logit, &label)) in self.logits.iter().zip(self.labels).enumerate() {
            let weight = self.weights.get(i).map_or(1.0, |&weight| f64::from(weight));
            if weight > 0.0 && taken(i) {
                rows[self.scenarios[i] as usize].push(Row { logit, weight, positive: label > 0.5 });
            }
        }
        rows
    }

    /// Part of each row, below [`FOLDS`]. Rows of a weight above 0 take turns, label by label and within a label scenario by scenario,
    /// where the turns of one scenario begin after those of the scenario before it: the parts have the same number of rows of a label
    /// and of a scenario's label, up to one.
    fn folds(&self) -> Vec<usize> {
        let counts = |i: usize| self.weights.get(i).is_none_or(|&weight| weight > 0.0);
        let rows =
            || (0..self.labels.len()).map(|i| (i, usize::from(self.labels[i] > 0.5), self.scenarios[i]));
        let mut turns = vec![[0; 2]; self.count + 1];
        rows().filter(|&(i, ..)| counts(i)).for_each(|(_, label, s)| turns[s as usize + 1][label] += 1);
        for s in 1..self.count {
            turns[s] = [0, 1].map(|label| turns[s][label] + turns[s - 1][label]);
        }
        let fold = |(i, label, s): (usize, usize, u32)| {
            let turn = &mut turns[s as usize][label];
            let fold = *turn % FOLDS;
            *turn += usize::from(counts(i));
            fold
        };
        rows().map(fold).collect()
    }
}

/// Number of rows of the rarer label.
fn rarer(rows: &[Row]) -> usize {
    let positives = rows.iter().filter(|r| r.positive).count();
    positives.min(rows.len() - positives)
}

/// The function as a formula of the logit z, or its number of points.
impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Map::Platt { slope, intercept } => {
                let sign = if *intercept < 0.0 { '−' } else { '+' };
                write!(f, "σ({slope:.4} z {sign} {:.4})", intercept.abs())
            }
            Map::Isotonic { logits, .. } => write!(f, "{} points", logits.len()),
        }
    }
}

/// Functions of all scenarios.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Kind of functions.
    pub method: Method,
    /// That of scenarios without one of their own: fitted to all rows.
    pub all: Map,
    /// In the order of the scenarios; none of one that has too few rows of a label.
    pub scenarios: Vec<Option<Map>>,
}

impl Fit {
    /// Fits labelled rows.
    ///
    /// # Errors
    /// Says in a few words what they lack.
    pub fn new(method: Method, rows: &Labelled) -> std::result::Result<Self, String> {
        let rows = rows.by_scenario(|_| true);
        let rarer_of_all = rarer(&rows.concat());
        if rarer_of_all < LEAST {
            return Err(format!(
                "has {rarer_of_all} rows of its rarer label, but at least {LEAST} are needed"
            ));
        }
        let own: Vec<bool> = rows.iter().map(|rows| rarer(rows) >= method.least()).collect();
        Ok(Self::of(method, &rows, &own))
    }

    /// Fits rows by scenario, at least one of each label in all and in each scenario that gets a function of its `own`.
    fn of(method: Method, rows: &[Vec<Row>], own: &[bool]) -> Self {
        let scenarios = rows.iter().zip(own).map(|(rows, own)| own.then(|| method.fit(rows))).collect();
        Self { method, all: method.fit(&rows.concat()), scenarios }
    }

    /// Predictions of the rows that it was fitted to, each by a fit to the parts of the rows that it is not in, with functions for
    /// the same scenarios.
    pub fn crossed(&self, rows: &Labelled) -> Vec<f32> {
        let folds = rows.folds();
        let own: Vec<bool> = self.scenarios.iter().map(Option::is_some).collect();
        let mut predictions = vec![0.0; folds.len()];
        for fold in 0..FOLDS {
            let fit = Self::of(self.method, &rows.by_scenario(|row| folds[row] != fold), &own);
            for (row, p) in predictions.iter_mut().enumerate().filter(|(row, _)| folds[*row] == fold) {
                *p = fit.at(rows.logits[row], rows.scenarios[row]);
            }
        }
        predictions
    }

    /// The probability of a logit of a scenario.
    pub fn at(&self, logit: f64, scenario: u32) -> f32 {
        self.scenarios[scenario as usize].as_ref().unwrap_or(&self.all).at(logit)
    }

    fn is_sound(&self, scenarios: usize) -> bool {
        let mut maps = self.scenarios.iter().flatten().chain([&self.all]);
        let of_method = |map: &Map| match map {
            Map::Platt { .. } => self.method == Method::Platt,
            Map::Isotonic { .. } => self.method == Method::Isotonic,
        };
        self.scenarios.len() == scenarios && maps.all(|map| map.is_sound() && of_method(map))
    }
}

/// Content of the file in a run folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// SHA-256 of the checkpoint whose logits were fitted.
    pub checkpoint: String,
    /// `data.negative_rate` by scenario, by which the logits were moved.
    pub negative_rates: Vec<f64>,
    /// Files of the rows, as they were named.
    pub data: String,
    /// The functions.
    pub fit: Fit,
}

/// Kind and rows, in a few words.
impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.fit.method.name(), self.data)
    }
}

impl Calibration {
    /// Writes it to a run's folder, in place of what was there.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn save(&self, run: &Run) -> Result<()> {
        seal::save(&run.folder.join(NAME), self)
    }

    /// That of a run, if it has one.
    ///
    /// # Errors
    /// It is damaged, of other parameters than `best`, the run's best ones now, or of another `data.negative_rate`.
    pub fn of(run: &Run, best: &Checkpoint) -> Result<Option<Self>> {
        let path = run.folder.join(NAME);
        let fix = "calibrate the run again, or leave it out with --uncalibrated";
        let Some(found) = seal::load::<Self>(&path, fix)? else { return Ok(None) };
        let fail = |kind, problem: &str| Err(Error::file(kind, path.display(), problem, fix));
        if found.checkpoint != best.sha256 {
            return fail(FileErrorKind::Foreign, "is of other parameters than the run's best ones are now");
        }
        if found.negative_rates != sampling::rates(&run.config.data, &run.schema)? {
            return fail(FileErrorKind::Foreign, "was made under another data.negative_rate");
        }
        if !found.fit.is_sound(run.schema.scenarios.len()) {
            return fail(FileErrorKind::Damaged, "is damaged: it holds what no fit gives");
        }
        Ok(Some(found))
    }
}

/// [`answer`] for other runtimes. A fit has functions of its method alone.
pub fn described(shift: &Shift, fit: Option<&Fit>) -> optmsm_export::Answer {
    let shifts = shift.by_scenario().to_vec();
    let Some(fit) = fit else { return optmsm_export::Answer { shifts, curves: Curves::Plain } };
    let maps = || fit.scenarios.iter().map(|own| own.as_ref().unwrap_or(&fit.all));
    let curves = match fit.method {
        Method::Platt => Curves::Lines(
            maps()
                .filter_map(|map| match map {
                    Map::Platt { slope, intercept } => Some([*slope, *intercept]),
                    Map::Isotonic { .. } => None,
                })
                .collect(),
        ),
        Method::Isotonic => Curves::Points(
            maps()
                .filter_map(|map| match map {
                    Map::Isotonic { logits, probabilities } => {
                        Some(Points { logits: logits.clone(), probabilities: probabilities.clone() })
                    }
                    Map::Platt { .. } => None,
                })
                .collect(),
        ),
    };
    optmsm_export::Answer { shifts, curves }
}

/// How probabilities are made of a model's logits, with or without a calibration.
pub fn answer(shift: Shift, fit: Option<Fit>) -> Answer {
    match fit {
        None => Arc::new(move |logit, scenario| probability(shift.at(logit, scenario))),
        Some(fit) => Arc::new(move |logit, scenario| fit.at(shift.at(logit, scenario), scenario)),
    }
}

/// σ(x).
fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

/// ln(1 + eˣ).
fn log1p_exp(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
