//! Ranges that settings of models have in common. Keys are whole: `model.experts.hidden`.

use super::{ExpertsConfig, InputSpec};
use crate::error::{Error, Result};

/// Widest layer or embedding: what is computed from widths then fits an integer, and what does not fit memory is an error.
const MAX_WIDTH: usize = 1 << 16;

/// Most experts.
pub(crate) const MAX_EXPERTS: usize = 1 << 10;

/// A width.
pub(crate) fn width(key: &str, v: usize) -> Result<()> {
    some(key, v, MAX_WIDTH)
}

/// A number of experts.
pub(crate) fn count(key: &str, v: usize) -> Result<()> {
    some(key, v, MAX_EXPERTS)
}

/// A number from 1 to `most`.
fn some(key: &str, v: usize, most: usize) -> Result<()> {
    match v {
        0 => Err(Error::config(key, "must be at least 1, got 0", "raise it")),
        v if v <= most => Ok(()),
        _ => Err(Error::config(key, format!("must be at most {most}, got {v}"), "lower it")),
    }
}

/// Widths of layers, of which there may be none.
pub(crate) fn widths(key: &str, v: &[usize]) -> Result<()> {
    v.iter().try_for_each(|&w| width(key, w))
}

/// Widths of at least one layer.
pub(crate) fn some_widths(key: &str, v: &[usize]) -> Result<()> {
    if v.is_empty() {
        let fix = "give at least one width, for example [64, 32]";
        return Err(Error::config(key, "is empty", fix));
    }
    widths(key, v)
}

/// A probability of dropout.
pub(crate) fn dropout(key: &str, v: f64) -> Result<()> {
    if (0.0..1.0).contains(&v) {
        return Ok(());
    }
    Err(Error::config(key, format!("must be in [0, 1), got {v}"), "lower it"))
}

/// A factor or standard deviation.
pub(crate) fn at_least_zero(key: &str, v: f64) -> Result<()> {
    if v.is_finite() && v >= 0.0 {
        return Ok(());
    }
    let problem = format!("must be finite and at least 0, got {v}");
    Err(Error::config(key, problem, "use 0 or a positive number"))
}

/// Numbers of the fields of these names, in the order of the inputs.
pub(crate) fn fields(key: &str, names: &[String], input: &InputSpec) -> Result<Vec<usize>> {
    for (place, name) in names.iter().enumerate() {
        if !input.fields.iter().any(|f| f.name == *name) {
            let known: Vec<&str> = input.fields.iter().map(|f| f.name.as_str()).collect();
            let fix = format!("name some of these: {}", known.join(", "));
            return Err(Error::config(key, format!("'{name}' is no field"), fix));
        }
        if names[..place].contains(name) {
            return Err(Error::config(key, format!("names '{name}' twice"), "name each field once"));
        }
    }
    let named = input.fields.iter().enumerate().filter(|(_, f)| names.contains(&f.name));
    Ok(named.map(|(number, _)| number).collect())
}

/// Scenarios of a kind that computes `each` experts or towers of all of them on every row.
pub(crate) fn on_every_row(kind: &str, scenarios: usize, each: usize) -> Result<()> {
    let count = scenarios * each;
    if count <= MAX_EXPERTS {
        return Ok(());
    }
    let problem = format!(
        "has {scenarios} scenarios, and {kind} computes {count} experts or towers of theirs on every row, of which there may be \
         {MAX_EXPERTS}"
    );
    Err(Error::config(
        "data.scenario",
        problem,
        "name a column of fewer values, or choose another model.kind",
    ))
}

/// Experts for `scenarios` scenarios, of the table `key`; `other` settings have to change if there are too many scenarios.
pub(crate) fn experts(key: &str, experts: &ExpertsConfig, scenarios: usize, other: &str) -> Result<()> {
    some_widths(&format!("{key}.hidden"), &experts.hidden)?;
    dropout(&format!("{key}.dropout"), experts.dropout)?;
    let count = experts.count(scenarios);
    if count <= MAX_EXPERTS {
        return Ok(());
    }
    if experts.count == 0 {
        let problem = format!(
            "has {scenarios} scenarios, and {key}.count = 0 gives each an expert, of which there may be {MAX_EXPERTS}"
        );
        let fix = format!("name a column of fewer values, or set {other}{key}.count = 8");
        return Err(Error::config("data.scenario", problem, fix));
    }
    let problem = format!("must be at most {MAX_EXPERTS}, got {count}");
    Err(Error::config(format!("{key}.count"), problem, "set it to fewer"))
}
