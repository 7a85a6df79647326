//! Ranges that settings of models have in common. Keys are whole: `model.experts.hidden`.

use super::{ExpertsConfig, InputSpec};
use crate::error::{Error, Result};

/// Widest layer or embedding: what is computed from widths then fits an integer, and what does not fit memory is an error.
const MAX_WIDTH: usize = 1 << 16;

/// Most experts.
pub(crate) const MAX_EXPERTS: usize = 1 << 10;

/// Most layers, or levels of layers, whose number is a setting.
const MAX_LAYERS: usize = 64;

/// Most weights of gates per row, where the gates of all scenarios are computed on every row.
const MAX_GATES: usize = 1 << 14;

/// A width.
pub(crate) fn width(key: &str, v: usize) -> Result<()> {
    some(key, v, MAX_WIDTH)
}

/// A number of experts.
pub(crate) fn count(key: &str, v: usize) -> Result<()> {
    some(key, v, MAX_EXPERTS)
}

/// A number of layers.
pub(crate) fn layers(key: &str, v: usize) -> Result<()> {
    some(key, v, MAX_LAYERS)
}

/// A number from 1 to `most`.
pub(crate) fn some(key: &str, v: usize, most: usize) -> Result<()> {
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

/// Scenarios of a kind that computes an expert or tower of all of them on every row.
pub(crate) fn on_every_row(kind: &str, scenarios: usize) -> Result<()> {
    if scenarios <= MAX_EXPERTS {
        return Ok(());
    }
    let problem = format!(
        "has {scenarios} scenarios, and {kind} computes experts or towers of all of them on every row: there may be {MAX_EXPERTS}"
    );
    Err(Error::config(
        "data.scenario",
        problem,
        "name a column of fewer values, or choose another model.kind",
    ))
}

/// Of every scenario, experts on every row: the setting `key`, of which there are `each`.
pub(crate) fn each_on_every_row(key: &str, scenarios: usize, each: usize) -> Result<()> {
    most_of_scenarios(key, scenarios, each, MAX_EXPERTS / scenarios, "the experts of every scenario")
}

/// Gates of all scenarios on every row: over `each` experts, the setting `key`, and `others`.
pub(crate) fn gates_on_every_row(key: &str, scenarios: usize, each: usize, others: usize) -> Result<()> {
    let most = (MAX_GATES / scenarios).saturating_sub(others);
    most_of_scenarios(key, scenarios, each, most, "the gates of every scenario over all experts")
}

/// The setting `key` is at most `most` with so many scenarios.
fn most_of_scenarios(key: &str, scenarios: usize, each: usize, most: usize, all: &str) -> Result<()> {
    if each <= most {
        return Ok(());
    }
    let problem = format!("{each} with {scenarios} scenarios is too much: {all} are computed on every row");
    let fix = match most {
        0 => "choose another model.kind".into(),
        most => format!("set it to {most} or less"),
    };
    Err(Error::config(key, problem, fix))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::case;
    use crate::models::{Kind, ModelConfig};

    /// Key and message of the settings of a kind with these scenarios.
    fn refused(kind: Kind, scenarios: usize, set: impl FnOnce(&mut ModelConfig)) -> Option<(String, String)> {
        let case = case("limits", |c| {
            c.config = ModelConfig { kind, ..Default::default() };
            c.input.scenarios = scenarios;
            set(&mut c.config);
        });
        match case.config.validate(&case.input) {
            Err(e @ Error::Config { .. }) => {
                let Error::Config { key, .. } = &e else { unreachable!() };
                Some((key.clone(), e.to_string()))
            }
            other => other.map(|()| None).unwrap(),
        }
    }

    #[test]
    fn limits_name_the_setting_that_can_change_them() {
        assert_eq!(refused(Kind::Ple, 8, |c| c.ple.own = 128), None);
        let (key, message) = refused(Kind::Ple, 8, |c| c.ple.own = 129).unwrap();
        assert_eq!(key, "model.ple.own");
        assert!(message.contains("set it to 128 or less"), "{message}");
        assert_eq!(refused(Kind::Ple, 1, |c| c.ple.own = 257).unwrap().0, "model.ple.own");
        let many = |c: &mut ModelConfig| (c.ple.own, c.ple.shared) = (10, 160);
        let (key, message) = refused(Kind::Ple, 100, many).unwrap();
        assert_eq!(key, "model.ple.shared");
        assert!(message.contains("160 with 100") && message.contains("set it to 153 or less"), "{message}");
        assert_eq!(refused(Kind::Ple, 100, |c| (c.ple.own, c.ple.shared) = (10, 153)), None);
        assert_eq!(refused(Kind::Ple, 2000, |c| c.ple.levels = 1), None);
        assert_eq!(refused(Kind::Ple, 2000, |_| {}).unwrap().0, "data.scenario");

        // As many experts as scenarios, and gates of all scenarios over all of them.
        assert_eq!(refused(Kind::Hmoe, 128, |_| {}), None);
        let (key, message) = refused(Kind::Hmoe, 129, |_| {}).unwrap();
        assert_eq!(key, "model.hmoe.experts.count");
        assert!(message.contains("set it to 127 or less"), "{message}");
        assert_eq!(refused(Kind::Hmoe, 129, |c| c.hmoe.experts.count = 127), None);
        assert_eq!(refused(Kind::Hmoe, 2000, |_| {}).unwrap().0, "data.scenario");

        let (_, message) = refused(Kind::Hamur, 3, |c| c.hamur.rank = 70_000).unwrap();
        assert!(message.contains("at most 256"), "{message}");
        assert_eq!(refused(Kind::Hamur, 3, |c| c.hamur.hidden = vec![8, 1]).unwrap().0, "model.hamur.hidden");
        assert_eq!(
            refused(Kind::Adasparse, 3, |c| c.adasparse.sparsity = 1e39).unwrap().0,
            "model.adasparse.sparsity"
        );
        assert_eq!(refused(Kind::Dcnv2, 3, |c| c.dcnv2.cross = 65).unwrap().0, "model.dcnv2.cross");
    }
}
