//! Parts of a model that do nothing, as its exhibits tell.

use optmsm_core::model::Shows;

use super::Finding;
use crate::report::ExhibitReport;

/// Evenness from which weights are taken for even. Shannon's entropy is then at least as large a share of its maximum, and
/// about 0.98 of it where the weights are this even.
const EVEN: f64 = 0.96;
/// Largest difference of a mean weight between scenarios, up to which they are taken for the same.
const SAME: f64 = 0.02;
/// Mean weight in units of an even one, 1/K, below which a part is taken for unused.
const UNUSED: f64 = 0.05;
/// Size of an output in units of the largest, below which it is taken for nothing.
const DEAD: f64 = 1e-3;
/// Mean |cos| below which non-negative outputs are taken for disjoint.
const DISJOINT: f64 = 0.05;
/// Distance between scenarios in units of the weights' own norm, below which generated weights are taken for equal.
const EQUAL: f64 = 0.01;

/// Findings of all exhibits, in their order.
pub(super) fn find(exhibits: &[ExhibitReport]) -> Vec<Finding> {
    let silent: Vec<&str> = exhibits.iter().filter(|e| e.shows == Shows::Outputs).flat_map(dead).collect();
    let of = |e: &ExhibitReport| match &e.shows {
        Shows::Values => Vec::new(),
        Shows::Gate { evenness } => gate(e, *evenness),
        Shows::Outputs => outputs(e),
        Shows::Cosines { non_negative: true } => disjoint(e, &silent).into_iter().collect(),
        Shows::Cosines { non_negative: false } => Vec::new(),
        Shows::Generated { apart } => equal(e, apart).into_iter().collect(),
    };
    exhibits.iter().flat_map(of).collect()
}

fn finding(e: &ExhibitReport, what: String, advice: &str) -> Finding {
    Finding { place: e.title.clone(), what, advice: advice.into() }
}

/// Values of a column, of the rows that have one.
fn column(e: &ExhibitReport, at: usize) -> impl Iterator<Item = f64> {
    e.values.iter().filter_map(move |row| row[at])
}

fn max(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::NEG_INFINITY, f64::max)
}

fn gate(e: &ExhibitReport, evenness: Option<f64>) -> Vec<Finding> {
    let (count, scenarios) = (e.columns.len(), e.values.iter().filter(|row| row[0].is_some()).count());
    if count < 2 || scenarios == 0 {
        return Vec::new();
    }
    let mut found = Vec::new();
    let spread = |at| max(column(e, at)) + max(column(e, at).map(|v| -v));
    let widest = max((0..count).map(spread));
    if let Some(evenness) = evenness.filter(|&evenness| evenness > EVEN) {
        let what = format!(
            "the weights are nearly even in all rows (entropy at least {evenness:.3} of the maximum)"
        );
        found.push(finding(
            e,
            what,
            "a plain mean would predict much the same: compare with a model without it",
        ));
    } else if scenarios > 1 && widest < SAME {
        let what = format!("the mean weights differ by at most {widest:.3} between scenarios");
        let advice = "it does not tell scenarios apart: compare with a model without it, and see that it reads the scenario";
        found.push(finding(e, what, advice));
    }
    let most = |at: usize| max(column(e, at));
    let unused = (0..count).filter(|&at| most(at) < UNUSED / count as f64);
    let names: Vec<&str> = unused.map(|at| e.columns[at].as_str()).collect();
    if !names.is_empty() {
        let what = format!("almost no weight in any scenario for {}", names.join(", "));
        found.push(finding(e, what, "the model predicts much the same without: try fewer of them"));
    }
    found
}

/// Columns that are nothing beside the largest value.
fn dead(e: &ExhibitReport) -> impl Iterator<Item = &str> {
    let columns = || (0..e.columns.len()).map(|at| max(column(e, at)));
    let largest = max(columns());
    let names = e.columns.iter().zip(columns());
    names.filter(move |&(_, most)| largest >= 0.0 && most <= DEAD * largest).map(|(name, _)| name.as_str())
}

fn outputs(e: &ExhibitReport) -> Vec<Finding> {
    let names: Vec<&str> = dead(e).collect();
    let what = || format!("outputs of 0 in (almost) all rows of {}", names.join(", "));
    let advice = "it is dead: lower train.optimizer.lr, use fewer experts, or train with another train.seed";
    (!names.is_empty()).then(|| finding(e, what(), advice)).into_iter().collect()
}

fn disjoint(e: &ExhibitReport, silent: &[&str]) -> Option<Finding> {
    let alive = |at: usize| !silent.contains(&e.columns[at].as_str());
    let pairs = || (0..e.rows.len()).flat_map(|i| (i + 1..e.columns.len()).map(move |j| (i, j)));
    let cosines = || pairs().filter(|&(i, j)| alive(i) && alive(j)).filter_map(|(i, j)| e.values[i][j]);
    let (all, apart) = (cosines().count(), cosines().filter(|&cos| cos < DISJOINT).count());
    let what = || {
        format!(
            "{apart} of {all} pairs are orthogonal only since at most one of the two is active (mean |cos| below {DISJOINT})"
        )
    };
    let advice = "they share the rows' units out instead of saying different things: compare with model.orthogonality = 0, and with model.expert_output = \"linear\"";
    (apart > 0).then(|| finding(e, what(), advice))
}

fn equal(e: &ExhibitReport, apart: &[(String, f64)]) -> Option<Finding> {
    let same: Vec<_> = apart.iter().filter(|&&(_, apart)| apart < EQUAL).collect();
    let names: Vec<&str> = same.iter().map(|(name, _)| name.as_str()).collect();
    let most = max(same.iter().map(|&&(_, apart)| apart));
    let what = || {
        let names = names.join(", ");
        format!(
            "the weights of {names} are the same in all scenarios (at most {:.2} % of their norm apart)",
            100.0 * most
        )
    };
    let advice = "weights that all scenarios share would predict much the same: compare with a shared tower";
    (e.rows.len() > 1 && !same.is_empty()).then(|| finding(e, what(), advice))
}

#[cfg(test)]
mod tests;
