//! How values become ids and numbers, as the module reads it.

use optmsm_data::{Encoding, FieldSchema, Marks, NULLS, NUMBER_NULLS, Schema, Spelling, Vocabulary};
use serde_json::{Map, Value, json};

use crate::fields::{Change, Coding, coding, missing_numbers};

/// Content of `fields.json`.
pub(super) fn json(schema: &Schema, facts: &[(String, String)]) -> Value {
    let reading = &schema.reading;
    let canonical = reading.spelling == Spelling::Canonical;
    let (nulls, number_nulls): (Vec<&str>, &[&str]) = match &reading.null_values {
        Some(given) => (given.iter().map(String::as_str).collect(), &[]),
        None if canonical => (NULLS.to_vec(), &NUMBER_NULLS),
        None => (Vec::new(), &[]),
    };
    let fallback = schema.fallback_scenario();
    let known = schema.scenarios.iter().take(fallback.map_or(usize::MAX, |id| id as usize));
    let names: Vec<&str> = known.map(|s| &*s.name).collect();
    let facts: Map<String, Value> = facts.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    json!({
        "facts": facts,
        "spelling": if canonical { "canonical" } else { "as_written" },
        "nulls": nulls,
        "number_nulls": number_nulls,
        "null_numbers": missing_numbers(reading),
        "scenario": { "column": schema.scenario, "names": names, "fallback": fallback },
        "fields": schema.fields.iter().map(|f| field(f, schema)).collect::<Vec<_>>(),
    })
}

fn field(field: &FieldSchema, schema: &Schema) -> Value {
    let mut value = match (&field.encoding, coding(&field.encoding, &schema.reading)) {
        (Encoding::Categorical { vocabulary }, _) => {
            let mut value = json!({ "kind": "one" });
            put(&mut value, values(vocabulary));
            value
        }
        (Encoding::Multi { list, separator, weight_separator, vocabulary, .. }, Coding::List(coded)) => {
            let mut value = json!({
                "kind": "list",
                "list": list,
                "separator": separator,
                "weight_separator": weight_separator,
                "mean": coded.mean,
                "most": coded.most,
            });
            put(&mut value, values(vocabulary));
            value
        }
        (Encoding::Buckets { marks, cuts, .. }, _) => {
            let mut value = json!({ "kind": "buckets", "cuts": cuts });
            put(&mut value, marked(*marks));
            value
        }
        (Encoding::Numeric { marks, fill, .. }, Coding::Number { change, .. }) => {
            let mut value = json!({ "kind": "number", "fill": fill });
            put(&mut value, marked(*marks));
            put(
                &mut value,
                match change {
                    Change::Linear { minus, by } => json!({ "change": "linear", "minus": minus, "by": by }),
                    Change::Log1p => json!({ "change": "log1p" }),
                    Change::Rank(ladder) => json!({ "change": "rank", "ladder": ladder }),
                },
            );
            value
        }
        (encoding, _) => unreachable!("a {} field is coded as one", encoding.kind()),
    };
    put(&mut value, json!({ "name": field.name, "column": field.column }));
    value
}

fn values(vocabulary: &Vocabulary) -> Value {
    let missing = vocabulary.missing_id();
    match (vocabulary.buckets(), vocabulary.integers()) {
        (Some((buckets, seed)), _) => json!({ "buckets": buckets, "seed": seed, "missing": missing }),
        (None, Some(below)) => json!({ "below": below, "missing": missing }),
        (None, None) => json!({ "listed": vocabulary.values().collect::<Vec<_>>(), "missing": missing }),
    }
}

fn marked(marks: Marks) -> Value {
    json!({ "decimal": marks.decimal, "thousands": marks.thousands })
}

/// Adds the entries of one object to another.
fn put(to: &mut Value, from: Value) {
    if let (Value::Object(to), Value::Object(from)) = (to, from) {
        to.extend(from);
    }
}
