//! From the values of fields to ids and numbers.

use super::builder::{Builder, Name, int};
use super::proto::Elem;
use crate::fields::{self, Change, Coding, List, NO_VALUE, Names, Values};
use crate::{Takes, Trained};

/// Values that the model reads of a field.
pub(super) enum Encoded {
    /// Ids `[N]`.
    Ids(Name),
    /// Ids and coefficients `[N, L]`; a coefficient of no value is 0. With `missing` = (whether, id), rows that read that id's row alone.
    Bag { ids: Name, coefs: Name, missing: Option<(Name, i64)> },
    /// Numbers `[N]`.
    Numbers(Name),
}

/// Adds all inputs. Returns the scenarios' numbers `[N]`, and each field as it is read.
pub(super) fn encode(b: &mut Builder, trained: &Trained, takes: Takes) -> (Name, Vec<Encoded>) {
    let (schema, names) = (trained.schema, Names::of(trained.schema));
    let described = fields::inputs(schema, takes);
    for input in &described {
        let elem = match input.kind {
            "text" => Elem::Text,
            "int64" => Elem::Int64,
            "float32" => Elem::Float,
            _ => Elem::Double,
        };
        let list = format!("L of {}", input.column);
        let dims: &[&str] = if input.list { &["N", &list] } else { &["N"] };
        b.input(&input.name, elem, dims, &input.meaning);
    }
    let count = schema.scenarios.len() as i64;
    let scenario = match takes {
        Takes::Raw => {
            let (keys, other) = fields::scenarios(schema);
            b.label_encoder(&names.scenario, keys, other)
        }
        Takes::Ids => names.scenario.clone(),
    };
    let nulls = fields::missing_numbers(&schema.reading);
    let coded = schema.fields.iter().zip(names.fields.iter().zip(&names.weights));
    let coded = coded.map(|(field, (name, weights))| {
        let size = field.encoding.ids().unwrap_or(0) as i64;
        match (fields::coding(&field.encoding, &schema.reading), takes) {
            (Coding::One(_) | Coding::Buckets { .. }, Takes::Ids) => Encoded::Ids(name.clone()),
            (Coding::Number { .. }, Takes::Ids) => Encoded::Numbers(name.clone()),
            (Coding::One(Values::Hashed), Takes::Raw) => Encoded::Ids(positive(b, name, size)),
            (Coding::One(values), Takes::Raw) => Encoded::Ids(ids(b, name, values, size)),
            (Coding::Buckets { cuts }, Takes::Raw) => Encoded::Ids(buckets(b, name, &cuts, &nulls)),
            (Coding::Number { change, fill }, Takes::Raw) => {
                Encoded::Numbers(number(b, name, &change, fill, &nulls))
            }
            (Coding::List(list), takes) => bag(b, name, weights.as_deref(), list, size, takes),
        }
    });
    let coded: Vec<Encoded> = coded.collect();
    let scenario = match takes {
        Takes::Raw => scenario,
        Takes::Ids => guarded(b, &scenario, &coded, count),
    };
    (scenario, coded)
}

/// Scenarios as they are given, if neither they nor any id is below 0, which would count from the end of a table. Else they are that of no
/// scenario, which ends the run. One step for all fields costs a single row less than one for each.
fn guarded(b: &mut Builder, scenario: &str, fields: &[Encoded], count: i64) -> Name {
    let zeros = b.axis(&[0]); // the least of no rows
    let given = fields.iter().filter_map(|field| match field {
        Encoded::Ids(ids) => Some(ids.as_str()),
        Encoded::Bag { .. } | Encoded::Numbers(_) => None,
    });
    let all: Vec<&str> = [&*zeros, scenario].into_iter().chain(given).collect();
    let all = b.op("Concat", &all, axis(0));
    let least = b.op("ReduceMin", &[&all], vec![int("keepdims", 0)]);
    let (zero, none) = (b.integers(&[], &[0]), b.integers(&[], &[count]));
    let below = b.op("Less", &[&least, &zero], vec![]);
    b.op("Where", &[&below, &none, scenario], vec![])
}

/// Ids as they are given, of which those below 0, that would count from the end of a table, lie behind it.
fn positive(b: &mut Builder, ids: &str, size: i64) -> Name {
    let (zero, size) = (b.integers(&[], &[0]), b.integers(&[], &[size]));
    let below = b.op("Less", &[ids, &zero], vec![]);
    b.op("Where", &[&below, &size, ids], vec![])
}

/// Ids of values, of which that of no value is `NO_VALUE` in lists.
fn ids(b: &mut Builder, name: &str, values: Values, size: i64) -> Name {
    match values {
        Values::Listed(keys) => b.label_encoder(name, keys, 0),
        Values::Integers { below, missing, nulls } => {
            let (one, size, missing) =
                (b.integers(&[], &[1]), b.integers(&[], &[size]), b.integers(&[], &[missing]));
            let (zero, none, below) =
                (b.integers(&[], &[0]), b.integers(&[], &[NO_VALUE]), b.integers(&[], &[below]));
            let id = b.op("Add", &[name, &one], vec![]);
            let low = b.op("Less", &[name, &zero], vec![]);
            let high = b.op("GreaterOrEqual", &[name, &below], vec![]);
            let outside = b.op("Or", &[&low, &high], vec![]);
            let id = b.op("Where", &[&outside, &size, &id], vec![]);
            let mut is_missing = b.op("Equal", &[name, &none], vec![]);
            for null in nulls.into_iter().filter(|&null| null != NO_VALUE) {
                let null = b.integers(&[], &[null]);
                let is_null = b.op("Equal", &[name, &null], vec![]);
                is_missing = b.op("Or", &[&is_missing, &is_null], vec![]);
            }
            b.op("Where", &[&is_missing, &missing, &id], vec![])
        }
        Values::Hashed => {
            let (limit, size) = (b.integers(&[], &[NO_VALUE]), b.integers(&[], &[size]));
            let below = b.op("Less", &[name, &limit], vec![]);
            b.op("Where", &[&below, &size, name], vec![])
        }
    }
}

fn bag(b: &mut Builder, name: &str, weights: Option<&str>, list: List, size: i64, takes: Takes) -> Encoded {
    let List { values, mean, most, missing, .. } = list;
    let ids = match takes {
        Takes::Raw => ids(b, name, values, size),
        Takes::Ids => ids(b, name, Values::Hashed, size),
    };
    let zero = b.integers(&[], &[0]);
    let mut is_value = b.op("GreaterOrEqual", &[&ids, &zero], vec![]);
    if let Some(most) = most.filter(|_| takes == Takes::Raw) {
        let counted = b.cast(&is_value, Elem::Int64);
        let (axis, most) = (b.integers(&[], &[1]), b.integers(&[], &[most.into()]));
        let place = b.op("CumSum", &[&counted, &axis], vec![]);
        let within = b.op("LessOrEqual", &[&place, &most], vec![]);
        is_value = b.op("And", &[&is_value, &within], vec![]);
    }
    let ids = b.op("Max", &[&ids, &zero], vec![]);
    let ones = b.cast(&is_value, Elem::Float);
    let count = b.sum(&ones, 1, true);
    let mut coefs = match weights {
        // A weight beside no value may be anything, NaN too.
        Some(weights) => {
            let none = b.floats(&[], &[0.0]);
            b.op("Where", &[&is_value, weights, &none], vec![])
        }
        None => ones,
    };
    if mean {
        let one = b.floats(&[], &[1.0]);
        let length = b.op("Max", &[&count, &one], vec![]);
        coefs = b.op("Div", &[&coefs, &length], vec![]);
    }
    let missing = missing.filter(|_| takes == Takes::Raw).map(|id| {
        let none = b.floats(&[], &[0.0]);
        (b.op("Equal", &[&count, &none], vec![]), i64::from(id))
    });
    Encoded::Bag { ids, coefs, missing }
}

/// Whether numbers `[N]` are missing.
fn is_missing(b: &mut Builder, name: &str, nulls: &[f64]) -> Name {
    let mut missing = b.op("IsNaN", &[name], vec![]);
    for &null in nulls {
        let null = b.doubles(&[], &[null]);
        let is_null = b.op("Equal", &[name, &null], vec![]);
        missing = b.op("Or", &[&missing, &is_null], vec![]);
    }
    missing
}

/// Number of sorted constants that are below numbers `[N]`, or not above: `[N]`.
fn count(b: &mut Builder, name: &str, sorted: &[f64], or_equal: bool) -> Name {
    let (v, constants) = (b.unsqueeze(name, 1), b.doubles(&[1, sorted.len()], sorted));
    let op = if or_equal { "GreaterOrEqual" } else { "Greater" };
    let above = b.op(op, &[&v, &constants], vec![]);
    let above = b.cast(&above, Elem::Int64);
    b.sum(&above, 1, false)
}

fn buckets(b: &mut Builder, name: &str, cuts: &[f64], nulls: &[f64]) -> Name {
    let missing = is_missing(b, name, nulls);
    let (one, last) = (b.integers(&[], &[1]), b.integers(&[], &[cuts.len() as i64 + 2]));
    let bucket = count(b, name, cuts, true);
    let id = b.op("Add", &[&bucket, &one], vec![]);
    b.op("Where", &[&missing, &last, &id], vec![])
}

fn number(b: &mut Builder, name: &str, change: &Change, fill: f32, nulls: &[f64]) -> Name {
    let missing = is_missing(b, name, nulls);
    let changed = match change {
        Change::Linear { minus, by } => {
            let (minus, by) = (b.doubles(&[], &[*minus]), b.doubles(&[], &[*by]));
            let v = b.op("Sub", &[name, &minus], vec![]);
            b.op("Div", &[&v, &by], vec![])
        }
        Change::Log1p => {
            let one = b.doubles(&[], &[1.0]);
            let v = b.op("Add", &[name, &one], vec![]);
            b.op("Log", &[&v], vec![])
        }
        Change::Rank(ladder) => rank(b, name, ladder),
    };
    let (v, fill) = (b.cast(&changed, Elem::Float), b.floats(&[], &[fill]));
    b.op("Where", &[&missing, &fill, &v], vec![])
}

/// Rank on a ladder: linear from one rung to the next, the middle of the rungs that a number equals.
fn rank(b: &mut Builder, name: &str, ladder: &[f64]) -> Name {
    let Some(last) = ladder.len().checked_sub(1) else {
        let (none, half) = (b.doubles(&[], &[0.0]), b.doubles(&[], &[0.5]));
        let zeros = b.op("Mul", &[name, &none], vec![]);
        return b.op("Add", &[&zeros, &half], vec![]);
    };
    let (below, upto) = (count(b, name, ladder, false), count(b, name, ladder, true));
    let rungs = b.doubles(&[ladder.len()], ladder);
    let (zero, one, top) = (b.integers(&[], &[0]), b.integers(&[], &[1]), b.integers(&[], &[last as i64]));
    let (half, steps) = (b.doubles(&[], &[0.5]), b.doubles(&[], &[last as f64]));
    // Between the rungs `low` and the next one; at the ends another case is taken.
    let low = b.op("Sub", &[&below, &one], vec![]);
    let low = b.op("Max", &[&low, &zero], vec![]);
    let high = b.op("Min", &[&below, &top], vec![]);
    let (under, over) = (b.op("Gather", &[&rungs, &low], vec![]), b.op("Gather", &[&rungs, &high], vec![]));
    let (rise, step) = (b.op("Sub", &[name, &under], vec![]), b.op("Sub", &[&over, &under], vec![]));
    let share = b.op("Div", &[&rise, &step], vec![]);
    let low = b.cast(&low, Elem::Double);
    let between = b.op("Add", &[&low, &share], vec![]);
    // The middle of the rungs from `below` to `upto` − 1.
    let sum = b.op("Add", &[&below, &upto], vec![]);
    let sum = b.op("Sub", &[&sum, &one], vec![]);
    let sum = b.cast(&sum, Elem::Double);
    let middle = b.op("Mul", &[&sum, &half], vec![]);
    let on_rung = b.op("Less", &[&below, &upto], vec![]);
    let place = b.op("Where", &[&on_rung, &middle, &between], vec![]);
    let inside = b.op("Div", &[&place, &steps], vec![]);
    // Above the last rung and below the first.
    let (zeros, ones) = (b.doubles(&[], &[0.0]), b.doubles(&[], &[1.0]));
    let is_over = b.op("Greater", &[&below, &top], vec![]);
    let inside = b.op("Where", &[&is_over, &ones, &inside], vec![]);
    let is_under = b.op("Equal", &[&upto, &zero], vec![]);
    b.op("Where", &[&is_under, &zeros, &inside], vec![])
}

/// The softmax's, concatenation's and gathering's axis.
pub(super) fn axis(axis: i64) -> Vec<super::proto::Attribute> {
    vec![int("axis", axis)]
}
