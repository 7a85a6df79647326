//! The `[tune]` table: which settings may change, and between what.

use optmsm_core::error::Error as CoreError;
use optmsm_core::philox::Stream;
use toml::{Table, Value};

use crate::config::Config;
use crate::error::{Error, Result};

/// Search space of `optmsm tune`, with the number of trials and how they are run.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// Trials, the configuration as it is included.
    pub trials: u64,
    /// Seed of the values; the model's is `train.seed`, the same for every trial.
    pub seed: u64,
    /// Whether bad trials are stopped.
    pub stop: bool,
    axes: Vec<Axis>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq)]
struct Axis {
    key: String,
    range: Range,
}

/// Where a setting's values come from.
#[derive(Clone, Debug, PartialEq)]
enum Range {
    /// Evenly in the logarithm.
    Log(f64, f64),
    /// Evenly.
    Uniform(f64, f64),
    /// Whole numbers, both ends included.
    Int(i64, i64),
    /// One of these.
    Choices(Vec<Value>),
}

/// Searched where a configuration names nothing: the decay of tables, which matters most (docs/training.md), and the learning rate.
const USUAL: [(&str, f64, f64); 2] =
    [("train.embedding_optimizer.weight_decay", 1e-4, 3e-2), ("train.optimizer.lr", 3e-4, 1e-2)];

const OPTIONS: [&str; 3] = ["trials", "seed", "stop"];
const RANGES: [&str; 4] = ["log", "uniform", "int", "choices"];

fn fail<T>(key: &str, problem: impl Into<String>, fix: impl Into<String>) -> Result<T> {
    Err(CoreError::config(format!("tune.{key}"), problem, fix).into())
}

impl Space {
    /// Reads the table of a configuration, or takes `USUAL` without one, and tries every end and every choice in it.
    ///
    /// # Errors
    /// An unknown key, an empty range, a key that the configuration does not have or that cannot be tuned, a
    /// value that it cannot take.
    pub fn new(config: &Config) -> Result<Self> {
        let mut space = Self { trials: 20, seed: 1, stop: true, axes: Vec::new() };
        match &config.tune {
            Some(table) => space.read("", table)?,
            None => space
                .axes
                .extend(USUAL.map(|(key, low, high)| Axis { key: key.into(), range: Range::Log(low, high) })),
        }
        if space.axes.is_empty() {
            let fix = "add a range, for example \"train.optimizer.lr\" = { log = [1e-4, 1e-2] }";
            return Err(CoreError::config("tune", "names nothing to search", fix).into());
        }
        // In the order of their names, however the file nests them.
        space.axes.sort_by(|a, b| a.key.cmp(&b.key));
        space.axes.iter().try_for_each(|axis| axis.check(config))?;
        Ok(space)
    }

    /// Reads `"a.b" = { … }` and `a.b = { … }` alike.
    fn read(&mut self, prefix: &str, table: &Table) -> Result<()> {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            if prefix.is_empty() && OPTIONS.contains(&name.as_str()) {
                self.option(name, value)?;
                continue;
            }
            match value {
                Value::Table(inner) if inner.values().all(Value::is_table) && !inner.is_empty() => {
                    self.read(&format!("{key}."), inner)?;
                }
                Value::Table(inner) => self.axes.push(Axis { range: Range::new(&key, inner)?, key }),
                _ => return fail(&key, "is no range", unknown_option(&key)),
            }
        }
        Ok(())
    }

    fn option(&mut self, name: &str, value: &Value) -> Result<()> {
        match (name, value) {
            ("trials", Value::Integer(n)) if *n > 0 => self.trials = n.unsigned_abs(),
            ("seed", Value::Integer(n)) if *n >= 0 => self.seed = n.unsigned_abs(),
            ("stop", Value::String(s)) if s == "median" || s == "none" => self.stop = s == "median",
            ("trials", _) => {
                return fail(name, format!("must be a whole number from 1 on, got {value}"), "20 is usual");
            }
            ("seed", _) => {
                return fail(name, format!("must be a whole number from 0 on, got {value}"), "change it");
            }
            _ => return fail(name, format!("must be \"median\" or \"none\", got {value}"), "change it"),
        }
        Ok(())
    }

    /// The settings that are searched, by name.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.axes.iter().map(|a| a.key.as_str())
    }

    /// Identity of a search: all that decides values and stopping. A search that gets more trials keeps it.
    pub(super) fn identity(&self) -> String {
        format!("{:?} {} {}", self.axes, self.seed, self.stop)
    }

    /// The values of a trial: a function of seed, trial and key. Trial 0 has none: it is the configuration as it is.
    pub fn values(&self, trial: u64) -> Vec<(String, Value)> {
        let axes = self.axes.iter().filter(|_| trial > 0);
        axes.map(|a| {
            let u = Stream::new(self.seed, &format!("tune {}", a.key)).uniform(trial);
            (a.key.clone(), a.range.at(u))
        })
        .collect()
    }
}

fn unknown_option(key: &str) -> String {
    let near = OPTIONS.iter().find(|o| strsim::jaro_winkler(key, o) > 0.8);
    match near {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("give a table with one of {}", RANGES.join(", ")),
    }
}

impl Axis {
    /// Whether the configuration has the key, and can take the ends of the range.
    fn check(&self, config: &Config) -> Result<()> {
        let key = &self.key;
        let reason = match key.as_str() {
            "train.monitor" => Some("trials are ranked by it"),
            "train.seed" => {
                Some("the best of several seeds is luck; optmsm compare --seeds shows their spread")
            }
            _ if key == "data.scenario_weights" || key.starts_with("data.scenario_weights.") => None,
            _ if key == "data_dir" || key.starts_with("data.") => Some("all trials read the same rows"),
            _ => None,
        };
        if let Some(reason) = reason {
            return fail(&format!("{key:?}"), "cannot be searched", format!("leave it out: {reason}"));
        }
        let place = format!("config `tune.{key:?}`");
        let ends = match &self.range {
            Range::Choices(values) => values.clone(),
            range => vec![range.at(0.0), range.at(1.0 - f64::EPSILON)],
        };
        for value in ends {
            config.with_values(&place, &[(key.clone(), value.clone())]).map_err(|e| match e {
                Error::Configuration { .. } => e,
                other => CoreError::config(
                    format!("tune.{key:?}"),
                    format!("{value} cannot be"),
                    other.to_string(),
                )
                .into(),
            })?;
        }
        Ok(())
    }
}

impl Range {
    fn new(key: &str, table: &Table) -> Result<Self> {
        let key = &format!("{key:?}");
        let mut entries = table.iter();
        let (Some((kind, value)), None) = (entries.next(), entries.next()) else {
            let problem = if table.is_empty() { "is empty" } else { "has several ranges" };
            return fail(key, problem, format!("give one of {}", RANGES.join(", ")));
        };
        let Some(kind) = RANGES.iter().find(|k| *k == kind) else {
            let near = RANGES.iter().find(|k| strsim::jaro_winkler(kind, k) > 0.8);
            let fix =
                near.map_or(format!("known: {}", RANGES.join(", ")), |n| format!("did you mean '{n}'?"));
            return fail(key, format!("unknown kind of range '{kind}'"), fix);
        };
        let list = value.as_array().map_or(&[][..], |a| a);
        let number = |v: &Value| v.as_float().or(v.as_integer().map(|i| i as f64));
        match (*kind, list) {
            ("choices", [_, ..]) => Ok(Range::Choices(list.to_vec())),
            ("choices", _) => fail(key, "choices is empty", "give a list of values"),
            ("int", [Value::Integer(low), Value::Integer(high)]) => match low < high {
                true => Ok(Range::Int(*low, *high)),
                false => {
                    fail(key, format!("the range from {low} to {high} is empty"), "give the lower end first")
                }
            },
            ("int", _) => {
                fail(key, format!("int must be two whole numbers, got {value}"), "for example [1, 4]")
            }
            (_, [low, high]) if number(low).and(number(high)).is_some() => {
                let (low, high) = (number(low).unwrap_or_default(), number(high).unwrap_or_default());
                if !(low.is_finite() && high.is_finite() && low < high) {
                    return fail(
                        key,
                        format!("the range from {low} to {high} is empty"),
                        "give the lower end first",
                    );
                }
                match *kind {
                    "log" if low <= 0.0 => {
                        fail(key, format!("log must begin above 0, got {low}"), "raise it, or use uniform")
                    }
                    "log" => Ok(Range::Log(low, high)),
                    _ => Ok(Range::Uniform(low, high)),
                }
            }
            _ => fail(key, format!("{kind} must be two numbers, got {value}"), "for example [0.1, 0.5]"),
        }
    }

    /// The value at `u` in [0, 1). Real ones have four digits: as many as matter, and the same on every machine.
    fn at(&self, u: f64) -> Value {
        let rounded = |v: f64, low: f64, high: f64| {
            let short: f64 = format!("{v:.3e}").parse().unwrap_or(v);
            Value::Float(short.clamp(low, high))
        };
        match self {
            Range::Log(low, high) => rounded((low.ln() + u * (high.ln() - low.ln())).exp(), *low, *high),
            Range::Uniform(low, high) => rounded(low + u * (high - low), *low, *high),
            Range::Int(low, high) => {
                let width = (i128::from(*high) - i128::from(*low) + 1) as f64;
                Value::Integer(((u * width) as i64).saturating_add(*low).min(*high))
            }
            Range::Choices(values) => {
                values[((u * values.len() as f64) as usize).min(values.len() - 1)].clone()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(text: &str) -> Result<Space> {
        let text = format!("[[data.fields]]\nname = \"a\"\n[tune]\n{text}");
        Space::new(&toml::from_str(&text).unwrap())
    }

    #[test]
    fn values_stay_in_their_ranges_and_reach_all_of_them() {
        let space = space(
            "\"train.optimizer.lr\" = { log = [1e-4, 1e-2] }\nmodel.embedding_dim = { choices = [8, 16] }\n\
             [tune.model.tower]\ndropout = { uniform = [0, 0.5] }\n[tune.train]\nepochs = { int = [1, 4] }",
        )
        .unwrap();
        let keys = ["model.embedding_dim", "model.tower.dropout", "train.epochs", "train.optimizer.lr"];
        assert_eq!(space.keys().collect::<Vec<_>>(), keys);
        assert!(space.values(0).is_empty());
        let (mut seen, mut low) = (std::collections::BTreeSet::new(), 0);
        for trial in 1..=400 {
            let [dim, dropout, epochs, lr] = &space.values(trial)[..] else { panic!("four values") };
            assert!([8, 16].contains(&dim.1.as_integer().unwrap()));
            assert!((0.0..=0.5).contains(&dropout.1.as_float().unwrap()));
            seen.insert(epochs.1.as_integer().unwrap());
            let lr = lr.1.as_float().unwrap();
            assert!((1e-4..=1e-2).contains(&lr));
            low += u32::from(lr < 1e-3);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
        // Half of a log range is below its geometric middle: binomial, five standard deviations.
        assert!((f64::from(low) - 200.0).abs() < 50.0, "{low}");
    }

    #[test]
    fn a_value_depends_on_seed_trial_and_key_alone() {
        let one = space("seed = 3\n\"train.clip_norm\" = { uniform = [1, 2] }").unwrap();
        let two =
            space("seed = 3\ntrials = 99\n\"train.clip_norm\" = { uniform = [1, 2] }\n\"train.epochs\" = { int = [1, 9] }")
                .unwrap();
        let other = space("seed = 4\n\"train.clip_norm\" = { uniform = [1, 2] }").unwrap();
        assert_eq!(one.values(5)[0], two.values(5)[0]);
        assert_ne!(one.values(5)[0], one.values(6)[0]);
        assert_ne!(one.values(5)[0], other.values(5)[0]);
    }

    #[test]
    fn errors_name_key_problem_and_fix() {
        let lr = "\"train.optimizer.lr\"";
        for (text, wanted) in [
            (
                "trials = 3".into(),
                "config `tune`: names nothing to search; add a range, for example \"train.optimizer.lr\" = { log = [1e-4, 1e-2] }",
            ),
            ("trails = 3".into(), "config `tune.trails`: is no range; did you mean 'trials'?"),
            (
                "trials = 0".into(),
                "config `tune.trials`: must be a whole number from 1 on, got 0; 20 is usual",
            ),
            ("stop = true".into(), "config `tune.stop`: must be \"median\" or \"none\", got true; change it"),
            (
                format!("{lr} = {{ log = [1e-2, 1e-4] }}"),
                "config `tune.\"train.optimizer.lr\"`: the range from 0.01 to 0.0001 is empty; give the lower end first",
            ),
            (
                format!("{lr} = {{ log = [0, 1] }}"),
                "config `tune.\"train.optimizer.lr\"`: log must begin above 0, got 0; raise it, or use uniform",
            ),
            (
                format!("{lr} = {{ logs = [1, 2] }}"),
                "config `tune.\"train.optimizer.lr\"`: unknown kind of range 'logs'; did you mean 'log'?",
            ),
            (
                format!("{lr} = {{ uniform = [1] }}"),
                "config `tune.\"train.optimizer.lr\"`: uniform must be two numbers, got [1]; for example [0.1, 0.5]",
            ),
            (
                format!("{lr} = {{ choices = [] }}"),
                "config `tune.\"train.optimizer.lr\"`: choices is empty; give a list of values",
            ),
            (
                format!("{lr} = {{ uniform = [-1, 1] }}"),
                "config `tune.\"train.optimizer.lr\"`: -1.0 cannot be; config `train.optimizer.lr`: must be above 0, got -1; change it",
            ),
            (
                "\"train.optimzer.lr\" = { log = [1, 2] }".into(),
                "config `tune.\"train.optimzer.lr\"`: unknown key 'optimzer'; did you mean 'optimizer'?",
            ),
            (
                "\"train.epochs\" = { uniform = [1, 2] }".into(),
                "config `tune.\"train.epochs\"`: invalid type: floating point `1.0`, expected u64; give a value of that type",
            ),
            (
                "\"train.seed\" = { int = [1, 2] }".into(),
                "config `tune.\"train.seed\"`: cannot be searched; leave it out: the best of several seeds is luck; optmsm compare --seeds shows their spread",
            ),
            (
                "\"data.train\" = { choices = [\"a\"] }".into(),
                "config `tune.\"data.train\"`: cannot be searched; leave it out: all trials read the same rows",
            ),
        ] {
            assert_eq!(space(&text).unwrap_err().to_string(), wanted);
        }
    }
}
