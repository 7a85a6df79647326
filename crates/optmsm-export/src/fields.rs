//! The inputs of an exported model, and how their values become ids and numbers.

use std::collections::HashSet;

use optmsm_core::config::Pooling;
use optmsm_data::{Encoding, NULLS, Reading, Schema, Spelling, Transform, Vocabulary};

use crate::Takes;

/// Id of what is no value of a list: it fills up a shorter one.
pub(crate) const NO_VALUE: i64 = -1;

/// One input of an exported model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Column of a file that holds its values.
    pub column: String,
    /// Type of its elements: `text`, `int64`, `float32` or `float64`.
    pub kind: &'static str,
    /// Whether a row has a list of them.
    pub list: bool,
    /// Meaning of its values, in a few words.
    pub meaning: String,
}

/// How the values of a field become ids or numbers.
#[derive(Clone, Debug)]
pub(crate) enum Coding {
    /// A value that is looked up.
    One(Values),
    /// Values that are looked up.
    List(List),
    /// Bucket of a number.
    Buckets { cuts: Vec<f64> },
    /// A number.
    Number { change: Change, fill: f32 },
}

/// A field with lists.
#[derive(Clone, Debug)]
pub(crate) struct List {
    pub(crate) values: Values,
    pub(crate) mean: bool,
    /// Values after the first so many do not count.
    pub(crate) most: Option<u32>,
    /// Id that an empty list is a list of.
    pub(crate) missing: Option<u32>,
}

/// How a value becomes an id; all others become 0.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    /// By this list.
    Listed(Vec<(String, i64)>),
    /// Integers below this have the next id; -1 stands for a missing value, as do `nulls`.
    Integers { below: i64, missing: i64, nulls: Vec<i64> },
    /// By XXH64, which runtimes lack: ids are given.
    Hashed,
}

/// The way of a number v.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// (v − minus) / by.
    Linear { minus: f64, by: f64 },
    /// ln(1 + v).
    Log1p,
    /// Rank on a ladder.
    Rank(Vec<f64>),
}

/// How a field is coded.
pub(crate) fn coding(encoding: &Encoding, reading: &Reading) -> Coding {
    let safe = |width: f64| if width > 0.0 { width } else { 1.0 };
    match encoding {
        Encoding::Categorical { vocabulary } => Coding::One(values(vocabulary, reading, false)),
        Encoding::Multi { pooling, max_length, vocabulary, .. } => Coding::List(List {
            values: values(vocabulary, reading, true),
            mean: *pooling == Pooling::Mean,
            most: *max_length,
            missing: vocabulary.missing_id(),
        }),
        Encoding::Buckets { cuts, .. } => Coding::Buckets { cuts: cuts.clone() },
        Encoding::Numeric { transform, stats, fill, ladder, .. } => {
            let change = match transform {
                Transform::None => Change::Linear { minus: 0.0, by: 1.0 },
                Transform::Standardize => Change::Linear { minus: stats.mean, by: safe(stats.std) },
                Transform::MinMax => Change::Linear { minus: stats.min, by: safe(stats.max - stats.min) },
                Transform::Log1p => Change::Log1p,
                Transform::Quantile => Change::Rank(ladder.clone()),
            };
            Coding::Number { change, fill: *fill }
        }
    }
}

fn values(vocabulary: &Vocabulary, reading: &Reading, list: bool) -> Values {
    if vocabulary.buckets().is_some() {
        return Values::Hashed;
    }
    let missing = if list { NO_VALUE } else { i64::from(vocabulary.id("")) };
    match vocabulary.integers() {
        Some(below) => Values::Integers { below: below as i64, missing, nulls: missing_integers(reading) },
        None => {
            let listed = vocabulary.values().zip(1..).filter(|(value, _)| !value.is_empty());
            let listed = listed.map(|(value, id)| (value.to_owned(), id));
            Values::Listed(spelled(listed.collect(), reading, |text| match text {
                "" => missing,
                text => i64::from(vocabulary.id(text)),
            }))
        }
    }
}

/// Values by their ids, with the other spellings of missing ones and of booleans, and without what has id 0.
fn spelled(mut keys: Vec<(String, i64)>, reading: &Reading, id: impl Fn(&str) -> i64) -> Vec<(String, i64)> {
    let known: HashSet<&str> = keys.iter().map(|(value, _)| &**value).collect();
    let mut others: Vec<(String, i64)> = Vec::new();
    let nulls: Vec<&str> = reading.null_values.iter().flatten().map(String::as_str).collect();
    // Values are given in the spelling that stands for all of theirs, in which a null need not be written.
    let reader = without_nulls(reading);
    let respelled = nulls.iter().map(|null| reader.canonical(null));
    let booleans = ["true", "True", "TRUE", "false", "False", "FALSE"];
    for text in [""].into_iter().chain(NULLS).chain(nulls.iter().copied()).chain(respelled).chain(booleans) {
        let of = id(reading.canonical(text));
        if of != 0 && !known.contains(text) && others.iter().all(|(other, _)| other != text) {
            others.push((text.to_owned(), of));
        }
    }
    keys.append(&mut others);
    keys
}

/// A reading that spells as another does, but takes no text for a missing value.
fn without_nulls(reading: &Reading) -> Reading {
    Reading { null_values: Some(Vec::new()), ..reading.clone() }
}

/// Integers whose text stands for a missing value.
fn missing_integers(reading: &Reading) -> Vec<i64> {
    let reader = without_nulls(reading);
    // The text 07 is not that of an integer, which is 7.
    let integer = |text: &str| text.parse::<i64>().ok().filter(|v| v.to_string() == text);
    reading.null_values.iter().flatten().filter_map(|null| integer(reader.canonical(null))).collect()
}

/// Names of scenarios by their numbers, and the number of all other names: with S scenarios S if they are errors. So is that of a missing
/// name.
pub(crate) fn scenarios(schema: &Schema) -> (Vec<(String, i64)>, i64) {
    let count = schema.scenarios.len() as i64;
    let fallback = schema.fallback_scenario().map(i64::from);
    let known = schema
        .scenarios
        .iter()
        .filter_map(|s| Some((s.name.clone(), i64::from(schema.scenario_id(&s.name)?))));
    let other = fallback.unwrap_or(count);
    // Number 0 is that of a scenario, so that numbers are looked for from 1.
    let id = |text: &str| match text {
        "" => count + 1,
        text => schema.scenario_id(text).map_or(0, |id| i64::from(id) + 1),
    };
    let keys = spelled(known.map(|(name, id)| (name, id + 1)).collect(), &schema.reading, id);
    (keys.into_iter().map(|(name, id)| (name, id - 1)).collect(), other)
}

/// Numbers that stand for missing ones.
pub(crate) fn missing_numbers(reading: &Reading) -> Vec<f64> {
    let number = |text: &String| match (reading.spelling, &**text) {
        (Spelling::Canonical, "true" | "True" | "TRUE") => Some(1.0),
        (Spelling::Canonical, "false" | "False" | "FALSE") => Some(0.0),
        (_, text) => text.trim().parse::<f64>().ok().filter(|v| !v.is_nan()),
    };
    reading.null_values.iter().flatten().filter_map(number).collect()
}

/// Names of outputs, which no input may have.
pub(crate) const OUTPUTS: [&str; 2] = ["probability", "logit"];

/// Names of the inputs of fields, the scenario's and those of the weights of lists.
pub(crate) struct Names {
    pub(crate) scenario: String,
    pub(crate) fields: Vec<String>,
    pub(crate) weights: Vec<Option<String>>,
}

impl Names {
    pub(crate) fn of(schema: &Schema) -> Self {
        let mut taken: HashSet<String> = OUTPUTS.map(str::to_owned).into();
        // Tables are values of the graph, too.
        taken.extend(
            schema
                .fields
                .iter()
                .map(|f| format!("embeddings.{}.weight", f.table.as_ref().unwrap_or(&f.name))),
        );
        let mut free = |name: &str| {
            let mut name = name.to_owned();
            while !taken.insert(name.clone()) {
                name += "_input";
            }
            name
        };
        let fields: Vec<String> = schema.fields.iter().map(|f| free(&f.name)).collect();
        let weighted =
            |encoding: &Encoding| matches!(encoding, Encoding::Multi { weight_separator: Some(_), .. });
        let weights =
            schema.fields.iter().map(|f| weighted(&f.encoding).then(|| free(&format!("{}.weights", f.name))));
        let weights = weights.collect();
        Self { scenario: free("scenario"), fields, weights }
    }
}

/// The inputs of an exported model: its scenario, its fields, and the weights of weighted lists.
pub fn inputs(schema: &Schema, takes: Takes) -> Vec<Input> {
    let names = Names::of(schema);
    let s = schema.scenarios.len();
    let input = |name: &str, column: &str, kind, list, meaning: String| Input {
        name: name.to_owned(),
        column: column.to_owned(),
        kind,
        list,
        meaning,
    };
    let scenario = match takes {
        Takes::Raw => input(&names.scenario, &schema.scenario, "text", false, "name of the scenario".into()),
        Takes::Ids => input(
            &names.scenario,
            &schema.scenario,
            "int64",
            false,
            format!("number of the scenario, below {s}"),
        ),
    };
    let mut all = vec![scenario];
    for ((field, name), weights) in schema.fields.iter().zip(&names.fields).zip(&names.weights) {
        let column = &*field.column;
        let ids = field.encoding.ids().unwrap_or(0);
        let (kind, list, meaning) = match (coding(&field.encoding, &schema.reading), takes) {
            (Coding::Number { .. }, Takes::Raw) => ("float64", false, "number; NaN if missing".into()),
            (Coding::Buckets { .. }, Takes::Raw) => ("float64", false, "number; NaN if missing".into()),
            (Coding::Number { .. }, Takes::Ids) => ("float32", false, "number after its transform".into()),
            (Coding::Buckets { .. }, Takes::Ids) => ("int64", false, format!("id below {ids}")),
            (Coding::One(_), Takes::Ids) => ("int64", false, format!("id below {ids}")),
            (Coding::List(_), Takes::Ids) => ("int64", true, format!("ids below {ids}, filled up with -1")),
            (Coding::One(values), Takes::Raw) => {
                let (kind, meaning) = of_values(&values, ids, false);
                (kind, false, meaning)
            }
            (Coding::List(list), Takes::Raw) => {
                let (kind, meaning) = of_values(&list.values, ids, true);
                (kind, true, meaning)
            }
        };
        all.push(input(name, column, kind, list, meaning));
        if let Some(weights) = weights {
            all.push(input(weights, column, "float32", true, format!("weight of each value of {name}")));
        }
    }
    all
}

fn of_values(values: &Values, ids: usize, list: bool) -> (&'static str, String) {
    let [missing, empty] = match list {
        true => ["filled up with -1", "filled up with empty ones"],
        false => ["-1 if missing", "empty if missing"],
    };
    match values {
        Values::Listed(_) => ("text", format!("as a CSV has it, {empty}")),
        Values::Integers { below, .. } => ("int64", format!("integer below {below}, {missing}")),
        Values::Hashed => {
            ("int64", format!("id by the hash, below {ids}{}", if list { ", filled up with -1" } else { "" }))
        }
    }
}
