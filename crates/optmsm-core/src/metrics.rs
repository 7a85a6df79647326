//! Metrics of predicted probabilities (model.md §11), overall and per scenario, in `f64`, with sample weights.
//!
//! A row of weight w counts as w rows would; one of weight 0 is as good as absent. What a set of rows cannot define is `None`, never
//! a made-up 0.5. Nothing depends on the order of the rows.

mod curves;

use serde::{Deserialize, Serialize};

pub use curves::{Bin, calibration_bins, roc};

/// Bins of the expected calibration error.
const ECE_BINS: usize = 15;
/// Probabilities are kept this far from 0 and 1 in the log loss: the resolution of `f32` near 1.
const LOG_LOSS_EPS: f64 = 1e-7;
/// The group of rows without one: they are no part of the GAUC.
pub const NO_GROUP: u64 = 0;

/// Scored rows. Columns have one entry per row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rows<'a> {
    /// 0 or 1.
    pub labels: &'a [f32],
    /// Sample weights, finite and at least 0; empty means 1 for every row.
    pub weights: &'a [f32],
    /// Scenario of each row.
    pub scenarios: &'a [u32],
    /// Groups of the GAUC, [`NO_GROUP`] for a row without one; empty means no GAUC.
    pub groups: &'a [u64],
}

/// Metrics of one set of rows, weighted where its rows have weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Rows of a weight above 0.
    pub rows: u64,
    /// Those of them with label 1.
    pub positives: u64,
    /// Sum of the rows' weights; `None` where all rows of the data weigh the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Rows of equal weights that would estimate a mean as well, (Σ w)² / Σ w² (Kish, 1965); `None` where all rows of the data
    /// weigh the same, and without rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_rows: Option<f64>,
    /// Area under the ROC curve; `None` with one class.
    pub auc: Option<f64>,
    /// Mean AUC of groups, each by the weight of its rows; `None` without groups of two classes.
    pub gauc: Option<f64>,
    /// Mean binary cross-entropy; `None` without rows.
    pub log_loss: Option<f64>,
    /// Mean prediction over mean label; `None` without positives.
    pub calibration: Option<f64>,
    /// Expected calibration error over 15 bins of equal mass; `None` without rows.
    pub ece: Option<f64>,
}

/// Metrics of a data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// All rows.
    pub overall: Metrics,
    /// Rows of each scenario.
    pub scenarios: Vec<Metrics>,
}

/// A scored row.
#[derive(Clone, Copy, Debug)]
struct Scored {
    p: f32,
    y: f32,
    w: f32,
}

impl Scored {
    fn weight(&self) -> f64 {
        f64::from(self.w)
    }

    fn is_positive(&self) -> bool {
        self.y > 0.5
    }
}

/// Metrics of `predictions` (probabilities) of `rows`, overall and for each of `count` scenarios.
pub fn evaluate(predictions: &[f32], rows: Rows, count: usize) -> Report {
    let all = weighing(predictions.len(), rows.weights);
    let mut of_scenario = vec![Vec::new(); count];
    all.iter().for_each(|&r| of_scenario[rows.scenarios[r as usize] as usize].push(r));
    let differ = !equal(rows.weights, &all);
    let metrics = |set: Vec<u32>| metrics(predictions, rows, set, differ);
    Report { overall: metrics(all), scenarios: of_scenario.into_iter().map(metrics).collect() }
}

/// The rows of a weight above 0.
fn weighing(count: usize, weights: &[f32]) -> Vec<u32> {
    (0..count as u32).filter(|&r| weights.get(r as usize).is_none_or(|&w| w > 0.0)).collect()
}

/// Whether the rows of a set weigh the same.
fn equal(weights: &[f32], set: &[u32]) -> bool {
    weights.is_empty() || set.windows(2).all(|pair| weights[pair[0] as usize] == weights[pair[1] as usize])
}

/// Rows of a set by their number. Weights that are all the same become 1, whose sums are exact.
fn scored<'a>(
    predictions: &'a [f32],
    labels: &'a [f32],
    weights: &'a [f32],
    set: &[u32],
) -> impl Fn(u32) -> Scored + Copy + 'a {
    let weights = if equal(weights, set) { &[] } else { weights };
    move |r| Scored {
        p: predictions[r as usize],
        y: labels[r as usize],
        w: weights.get(r as usize).copied().unwrap_or(1.0),
    }
}

/// Sorts a set by prediction, then by label, then by weight, so that nothing depends on the order that its rows came in.
fn sort(set: &mut [u32], scored: impl Fn(u32) -> Scored) -> Vec<Scored> {
    set.sort_by(|&a, &b| {
        let (a, b) = (scored(a), scored(b));
        a.p.total_cmp(&b.p).then(a.y.total_cmp(&b.y)).then(a.w.total_cmp(&b.w))
    });
    set.iter().map(|&r| scored(r)).collect()
}

/// All rows that have a weight, sorted.
fn sorted(predictions: &[f32], labels: &[f32], weights: &[f32]) -> Vec<Scored> {
    let mut set = weighing(predictions.len(), weights);
    let scored = scored(predictions, labels, weights, &set);
    sort(&mut set, scored)
}

/// Metrics of a set of rows whose weights are above 0; `differ` tells whether weights of the data do.
fn metrics(predictions: &[f32], rows: Rows, mut set: Vec<u32>, differ: bool) -> Metrics {
    let scored = scored(predictions, rows.labels, rows.weights, &set);
    let sorted = sort(&mut set, scored);
    let sum = |of: fn(&Scored) -> f64| sorted.iter().map(of).fold(0.0, |sum, v| sum + v);
    let (mass, clicks) = (sum(Scored::weight), sum(|r| r.weight() * f64::from(r.y)));
    let weight = || set.iter().fold(0.0, |sum, &r| sum + f64::from(rows.weights[r as usize]));
    let effective = mass * mass / sum(|r| r.weight() * r.weight());
    Metrics {
        rows: sorted.len() as u64,
        positives: sorted.iter().filter(|r| r.is_positive()).count() as u64,
        weight: differ.then(weight),
        effective_rows: (differ && mass > 0.0).then_some(effective),
        auc: auc_sorted(&sorted),
        log_loss: (mass > 0.0).then(|| sum(|r| r.weight() * cross_entropy(r)) / mass),
        calibration: (clicks > 0.0).then(|| sum(|r| r.weight() * f64::from(r.p)) / clicks),
        ece: expected_calibration_error(&sorted),
        gauc: (!rows.groups.is_empty()).then(|| group_auc(set, scored, rows.groups)).flatten(),
    }
}

fn cross_entropy(row: &Scored) -> f64 {
    let p = f64::from(row.p).clamp(LOG_LOSS_EPS, 1.0 - LOG_LOSS_EPS);
    if row.is_positive() { -p.ln() } else { -(1.0 - p).ln() }
}

/// Area under the ROC curve, exact, ties by midrank (Mann and Whitney, 1947); `None` with one class or a
/// prediction that is NaN.
pub fn auc(predictions: &[f32], labels: &[f32]) -> Option<f64> {
    auc_sorted(&sorted(predictions, labels, &[]))
}

/// Weight of the rows of labels 1 and 0.
fn masses(rows: &[Scored]) -> (f64, f64) {
    let add = |(up, down), r: &Scored| match r.is_positive() {
        true => (up + r.weight(), down),
        false => (up, down + r.weight()),
    };
    rows.iter().fold((0.0, 0.0), add)
}

/// Σ w_i w_j [p_i > p_j] over positives i and negatives j, a tie counting half, over Σ w_i w_j; rows in order of prediction.
fn auc_sorted(rows: &[Scored]) -> Option<f64> {
    if rows.iter().any(|r| r.p.is_nan()) {
        return None;
    }
    // Twice the mass of (negative, positive) pairs in the right order; a tie counts one. Of whole weights below 2⁵³ exact.
    let (mut doubled, mut positives, mut negatives) = (0.0, 0.0, 0.0);
    for tie in rows.chunk_by(|a, b| a.p == b.p) {
        let (up, down) = masses(tie);
        doubled += up * (2.0 * negatives + down);
        (positives, negatives) = (positives + up, negatives + down);
    }
    // Rounding of other weights may leave an area just above 1.
    (positives > 0.0 && negatives > 0.0).then(|| (doubled / (2.0 * positives * negatives)).min(1.0))
}

/// Σ w_g AUC_g / Σ w_g over the groups with both classes, w_g the weight of a group's rows (Zhu et al., KDD 2017); `set` is sorted.
fn group_auc(mut set: Vec<u32>, scored: impl Fn(u32) -> Scored, groups: &[u64]) -> Option<f64> {
    let group = |r: u32| groups[r as usize];
    set.retain(|&r| group(r) != NO_GROUP);
    // Stable, so rows stay in order of prediction within a group.
    set.sort_by_key(|&r| group(r));
    let (mut sum, mut weight) = (0.0, 0.0);
    for of_group in set.chunk_by(|&a, &b| group(a) == group(b)) {
        let rows: Vec<Scored> = of_group.iter().map(|&r| scored(r)).collect();
        if let Some(auc) = auc_sorted(&rows) {
            let (up, down) = masses(&rows);
            sum += auc * (up + down);
            weight += up + down;
        }
    }
    (weight > 0.0).then(|| sum / weight)
}

/// Σ_bins |Σ w p − Σ w y| / Σ w. Bins have equal mass; equal predictions share their mean label, so that a bin
/// border inside a tie does not depend on the order of the rows.
fn expected_calibration_error(rows: &[Scored]) -> Option<f64> {
    if rows.is_empty() {
        return None;
    }
    let smooth = curves::smooth(rows);
    let gap = |bin: &[curves::Smooth]| bin.iter().map(|r| r.w * (r.p - r.y)).sum::<f64>().abs();
    let mass: f64 = smooth.iter().map(|r| r.w).sum();
    Some(curves::bins(&smooth).into_iter().map(gap).sum::<f64>() / mass)
}

/// Relative improvement (AUC − 0.5) / (AUC_base − 0.5) − 1 (Yan et al., ICML 2014); `None` where the base is not above 0.5: below it
/// the sign would turn.
pub fn rela_impr(auc: f64, base: f64) -> Option<f64> {
    (base > 0.5).then(|| (auc - 0.5) / (base - 0.5) - 1.0)
}

#[cfg(test)]
mod tests;
