//! Values that training did not keep: one of each field, to be shown beside what training had.

use std::sync::Arc;

use super::value::list_format;
use crate::fault::Parsed;
use crate::parse::{each_value, scenario_name};
use crate::schema::{Encoding, Schema, Vocabulary};
use crate::source::{Cell, Done, Records, Rows, Source, Speller, Stream, Values, Work, with_values};

/// Rows that are looked at.
const ROWS: usize = 1 << 16;

/// A value that is out of vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// In the spelling that stands for all of its.
    pub value: String,
    /// A value that training kept: this one spelled in another way if there is such a one, else the most frequent.
    pub kept: Option<String>,
    /// Whether `kept` is this one spelled in another way.
    pub alike: bool,
}

/// Out-of-vocabulary values among the first rows of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknowns {
    /// The first one of each field, in the order of the schema.
    pub fields: Vec<Option<Unknown>>,
    /// The first scenario that training never saw.
    pub scenario: Option<Unknown>,
}

impl Unknowns {
    /// Looks at up to 65,536 rows. It is for a message only: what cannot be read, or read twice, gives none.
    pub fn find(source: &Source, schema: &Schema) -> Self {
        let none = Self { fields: vec![None; schema.fields.len()], scenario: None };
        if source.is_stdin() { none } else { look(source, schema).unwrap_or(none) }
    }
}

fn look(source: &Source, schema: &Schema) -> Option<Unknowns> {
    let mut records = Records::open(&source.clone().with_threads(1), &schema.reading).ok()?;
    let scenario = records.find(&schema.scenario, "data.scenario").ok()?;
    let places = schema.fields.iter().map(|f| records.find(&f.column, "data.fields").ok());
    let places = places.collect::<Option<Vec<_>>>()?;
    let shared = Arc::new((schema.clone(), places, scenario));
    let worker =
        || Look { shared: shared.clone(), speller: Speller::new(&schema.reading), scratch: String::new() };
    let mut stream = Stream::new(records, worker).ok()?;
    let (mut rows, mut first) = (0, Found::default());
    first.fields.resize(schema.fields.len(), None);
    while let Ok(Some(Done { made, .. })) = stream.next() {
        for (first, found) in first.fields.iter_mut().zip(made.fields) {
            *first = first.take().or(found);
        }
        first.scenario = first.scenario.or(made.scenario);
        rows += made.rows;
        if rows >= ROWS {
            break;
        }
    }
    let of_field = |(value, field): (Option<String>, &crate::schema::FieldSchema)| {
        let vocabulary = field.encoding.vocabulary()?;
        Some(beside(value?, |v| vocabulary.id(v) > 0, vocabulary.values().next()))
    };
    let names = || schema.scenarios.iter().filter(|s| s.rows > 0);
    let most = names().max_by_key(|s| s.rows).map(|s| s.name.as_str());
    let kept = |name: &str| names().any(|s| s.name == name);
    Some(Unknowns {
        fields: first.fields.into_iter().zip(&schema.fields).map(of_field).collect(),
        scenario: first.scenario.map(|name| beside(name, kept, most)),
    })
}

/// A value beside one that training kept.
fn beside(value: String, keeps: impl Fn(&str) -> bool, usual: Option<&str>) -> Unknown {
    let trimmed = value.trim();
    let spellings = [
        trimmed.to_string(),
        format!("{trimmed}.0"),
        trimmed.strip_suffix(".0").unwrap_or_default().to_string(),
        trimmed.trim_start_matches('0').to_string(),
        trimmed.to_lowercase(),
        trimmed.to_uppercase(),
        trimmed.trim_matches(['"', '\'']).to_string(),
    ];
    let other = spellings.into_iter().find(|other| !other.is_empty() && *other != value && keeps(other));
    let alike = other.is_some();
    Unknown { value, kept: other.or(usual.map(str::to_owned)), alike }
}

/// One thread of a look.
struct Look {
    shared: Arc<(Schema, Vec<usize>, usize)>, // with the places of the fields and of the scenario
    speller: Speller,
    scratch: String,
}

#[derive(Default)]
struct Found {
    rows: usize,
    fields: Vec<Option<String>>,
    scenario: Option<String>,
}

impl Work for Look {
    type Made = Found;

    fn work(&mut self, mut rows: Rows) -> Done<Found> {
        let Self { shared, speller, scratch } = self;
        let (schema, places, scenario) = &**shared;
        let fields = schema.fields.iter().zip(places).map(|(field, &c)| {
            with_values!(rows, c, |values| {
                (0..rows.len())
                    .find_map(|row| unknown(&field.encoding, speller, values.cell(row), scratch).ok()?)
            })
        });
        let fields = fields.collect();
        let scenario = with_values!(rows, *scenario, |values| {
            (0..rows.len()).find_map(|row| {
                let name = scenario_name(speller.cell(values.cell(row)), scratch).ok()?;
                schema.scenario_id(name).is_none().then(|| name.to_owned())
            })
        });
        let error = rows.take_error();
        Done { bytes: 0, made: Found { rows: rows.len(), fields, scenario }, error }
    }
}

/// The first value of a cell that is out of vocabulary.
fn unknown(
    encoding: &Encoding,
    speller: &Speller,
    cell: Cell,
    scratch: &mut String,
) -> Parsed<Option<String>> {
    let text = |name: &[u8]| Some(String::from_utf8_lossy(name).into_owned());
    let out = |vocabulary: &Vocabulary, name: &[u8]| Ok(vocabulary.find_bytes(name)? == 0);
    match encoding {
        Encoding::Categorical { vocabulary } => {
            let name = speller.cell(cell).bytes(scratch)?;
            Ok(if out(vocabulary, name)? { text(name) } else { None })
        }
        Encoding::Multi { max_length, vocabulary, .. } => {
            let format = list_format(encoding, speller);
            let mut first = None;
            each_value(cell, format, *max_length, scratch, |name, _| {
                if first.is_none() && out(vocabulary, name)? {
                    first = text(name);
                }
                Ok(())
            })?;
            Ok(first)
        }
        Encoding::Buckets { .. } | Encoding::Numeric { .. } => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DataConfig, FieldConfig, Kind};

    #[test]
    fn the_first_unknown_value_stands_beside_a_kept_one() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let train = "label,scenario,user,tags,age\n0,a,7.5,x|Y,1\n1,a,7.5,x,2\n0,b,8.5,z,3\n1,a,Ann,x,4\n";
        let train = write("train.csv", train);
        let tags = FieldConfig { kind: Kind::Multi, ..FieldConfig::new("tags") };
        let age = FieldConfig { kind: Kind::Numeric, ..FieldConfig::new("age") };
        let config =
            DataConfig { fields: vec![FieldConfig::new("user"), tags, age], ..DataConfig::default() };
        let open = DataConfig { unseen_scenario: crate::UnseenScenario::Oov, ..config };
        let schema = Schema::fit(&open, &train).unwrap();
        let data = write("data.csv", "scenario,user,tags,age\na,7.5,x,1\nB,ANN,z|y|q,5\n?,Zoe,w,6\n");
        let found = Unknowns::find(&data.into(), &schema);
        let unknown = |value: &str, kept: &str, alike| {
            Some(Unknown { value: value.into(), kept: Some(kept.into()), alike })
        };
        // "ann" is no value of training's, "Ann" is not found from "ANN"; "Y" is "y" in capitals; and "b" is "B".
        assert_eq!(found.fields, [unknown("ANN", "7.5", false), unknown("y", "Y", true), None]);
        assert_eq!(found.scenario, unknown("B", "b", true));
        assert_eq!(Unknowns::find(&Source::from("-"), &schema).fields, [None, None, None]);
    }
}
