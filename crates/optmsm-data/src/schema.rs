//! Facts from the training file about its columns, and the file that keeps them.

mod check;
mod counts;
mod fit;
mod gather;
mod numeric;
mod peek;
mod quantile;
mod vocab;

use std::fs;
use std::io;
use std::path::Path;

use optmsm_core::config::{FieldKind, FieldSpec, InputSpec, Pooling, Role};
use optmsm_core::error::Error as CoreError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::{ByScenario, ListText, Marks, Transform, UnseenScenario};
use crate::error::{DataError, FileErrorKind, Result, quote};
use crate::source::Reading;
use crate::util::write_atomic;
pub use numeric::NumericStats;
pub use peek::{Form, Holds, Peek, PeekColumn, Value, bracketed};
pub(crate) use quantile::bucket;
pub use vocab::Vocabulary;

/// Name of the fallback scenario of `unseen_scenario = "oov"`.
pub const FALLBACK: &str = "<unseen>";

/// Most scenarios that a message lists.
const LISTED: usize = 20;

const FORMAT: &str = "optmsm-schema";
/// Version that a schema without the features of the later ones is still written as: older programs read it.
const PLAIN: u64 = 1;
/// That of fields with more than lists of values and statistics.
const FIELDS: u64 = 2;
/// That of files read otherwise than with each text as a value of its own.
const VERSION: u64 = 3;

/// Everything needed to encode a row: columns, vocabularies, scenarios and numeric statistics.
///
/// Made by [`Schema::fit`] from the training file alone, saved with the run, used for every later file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// How files are read.
    #[serde(flatten)]
    pub reading: Reading,
    /// Column of the label.
    pub label: String,
    /// Column of the scenario's name.
    pub scenario: String,
    /// Column of the sample weight.
    pub weight: Option<String>,
    /// Column whose values group the rows for GAUC.
    pub group: Option<String>,
    /// Column of the true probability.
    pub probability: Option<String>,
    /// Treatment of a scenario that training never saw.
    pub unseen_scenario: UnseenScenario,
    /// Rows of the training file.
    pub rows: u64,
    /// Scenarios in the order of their ids: sorted by name, the fallback last.
    pub scenarios: Vec<ScenarioSchema>,
    /// Fields in the order of the configuration.
    pub fields: Vec<FieldSchema>,
}

/// One scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioSchema {
    /// Name, as the file writes it.
    pub name: String,
    /// Its rows of the training file; 0 for the fallback.
    pub rows: u64,
    /// Those of them whose label is 1.
    pub positives: u64,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSchema {
    /// Name, as in checkpoints.
    pub name: String,
    /// Column of the file.
    pub column: String,
    /// Which encoding reads it.
    pub role: Role,
    /// Table that it shares with the other fields that name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// How a value becomes ids or a number.
    pub encoding: Encoding,
}

/// How a value becomes ids or a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Encoding {
    /// The whole value is looked up; the empty value is one too.
    Categorical {
        /// Values and ids.
        vocabulary: Vocabulary,
    },
    /// The value is split and each part looked up.
    Multi {
        /// How a text holds the values.
        #[serde(default, skip_serializing_if = "ListText::is_default")]
        list: ListText,
        /// Text between values.
        separator: String,
        /// Text between a value and its weight.
        weight_separator: Option<String>,
        /// How the rows become one vector.
        pooling: Pooling,
        /// Values after the first N are left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_length: Option<u32>,
        /// Values and ids.
        vocabulary: Vocabulary,
    },
    /// The value is a number, and its bucket an id: 1 below the first cut, 2 from there to below the second one and so
    /// on; the id after the last bucket's is that of a missing value.
    Buckets {
        /// Marks of a number's text.
        #[serde(default, skip_serializing_if = "Marks::is_default")]
        marks: Marks,
        /// First value of every bucket except the first, rising.
        cuts: Vec<f64>,
        /// Statistics of the numbers.
        stats: NumericStats,
    },
    /// The value is a number.
    Numeric {
        /// Marks of a number's text.
        #[serde(default, skip_serializing_if = "Marks::is_default")]
        marks: Marks,
        /// Transformation of the number.
        transform: Transform,
        /// Statistics that the transform uses.
        stats: NumericStats,
        /// Replacement for a missing value, already transformed.
        fill: f32,
        /// Of `transform = "quantile"`: rising values that part the training rows into steps of the same size.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ladder: Vec<f64>,
    },
}

impl Encoding {
    /// `categorical`, `multi`, `buckets` or `numeric`.
    pub fn kind(&self) -> &'static str {
        match self {
            Encoding::Categorical { .. } => "categorical",
            Encoding::Multi { .. } => "multi",
            Encoding::Buckets { .. } => "buckets",
            Encoding::Numeric { .. } => "numeric",
        }
    }

    /// How values become ids; none of numbers.
    pub fn vocabulary(&self) -> Option<&Vocabulary> {
        match self {
            Encoding::Categorical { vocabulary } | Encoding::Multi { vocabulary, .. } => Some(vocabulary),
            Encoding::Buckets { .. } | Encoding::Numeric { .. } => None,
        }
    }

    fn vocabulary_mut(&mut self) -> Option<&mut Vocabulary> {
        match self {
            Encoding::Categorical { vocabulary } | Encoding::Multi { vocabulary, .. } => Some(vocabulary),
            Encoding::Buckets { .. } | Encoding::Numeric { .. } => None,
        }
    }

    /// Number of ids; none of numbers that stay numbers.
    pub fn ids(&self) -> Option<usize> {
        match self {
            Encoding::Categorical { vocabulary } | Encoding::Multi { vocabulary, .. } => {
                Some(vocabulary.size())
            }
            Encoding::Buckets { cuts, .. } => Some(cuts.len() + 3),
            Encoding::Numeric { .. } => None,
        }
    }

    /// Whether the first version of the file has words for it.
    fn is_plain(&self) -> bool {
        match self {
            Encoding::Categorical { vocabulary } => vocabulary.is_plain(),
            Encoding::Multi { list, vocabulary, max_length, .. } => {
                list.is_default() && vocabulary.is_plain() && max_length.is_none()
            }
            Encoding::Buckets { .. } => false,
            Encoding::Numeric { marks, transform, .. } => {
                marks.is_default() && *transform != Transform::Quantile
            }
        }
    }
}

/// The file: what it is comes before what it holds.
#[derive(Serialize)]
struct Saved<'a> {
    format: &'a str,
    version: u64,
    fingerprint: String,
    schema: &'a Schema,
}

#[derive(Deserialize)]
struct Label {
    format: String,
    version: u64,
}

#[derive(Deserialize)]
struct Content {
    fingerprint: String,
    schema: Schema,
}

impl Schema {
    /// Specification of the model's inputs.
    pub fn input_spec(&self) -> InputSpec {
        let kind = |encoding: &Encoding| match encoding {
            Encoding::Categorical { vocabulary } => FieldKind::Categorical { vocab: vocabulary.size() },
            Encoding::Multi { vocabulary, pooling, .. } => {
                FieldKind::Multi { vocab: vocabulary.size(), pooling: *pooling }
            }
            Encoding::Buckets { .. } => FieldKind::Categorical { vocab: encoding.ids().unwrap_or(0) },
            Encoding::Numeric { .. } => FieldKind::Numeric,
        };
        let spec = |f: &FieldSchema| FieldSpec {
            table: f.table.clone(),
            ..FieldSpec::new(&f.name, f.role, kind(&f.encoding))
        };
        InputSpec { scenarios: self.scenarios.len(), fields: self.fields.iter().map(spec).collect() }
    }

    /// Id of the scenario that stands for every unseen one; none if unseen scenarios are errors.
    pub fn fallback_scenario(&self) -> Option<u32> {
        match self.unseen_scenario {
            UnseenScenario::Error => None,
            UnseenScenario::Oov => (self.scenarios.len() as u32).checked_sub(1),
        }
    }

    /// Id of a scenario that training saw.
    pub fn scenario_id(&self, name: &str) -> Option<u32> {
        let known = &self.scenarios[..self.known_scenarios()];
        known.binary_search_by(|s| s.name.as_str().cmp(name)).ok().map(|i| i as u32)
    }

    /// The number of each scenario in the order of their ids; none of one that the setting `data.KEY` does not name.
    ///
    /// # Errors
    /// It names a scenario that training never saw.
    pub fn by_scenario(&self, key: &str, given: &ByScenario) -> Result<Vec<Option<f64>>> {
        let mut numbers = vec![None; self.scenarios.len()];
        for (name, number) in given {
            let Some(id) = self.scenario_id(name) else {
                let known = self.scenarios[..self.known_scenarios()].iter().map(|s| quote(&s.name));
                let mut known: Vec<_> = known.take(LISTED + 1).collect();
                if known.len() > LISTED {
                    known[LISTED] = "…".into();
                }
                let fix = format!("name one of {}", known.join(", "));
                let problem = "is no scenario of the training rows";
                return Err(CoreError::config(format!("data.{key}.{name}"), problem, fix).into());
            };
            numbers[id as usize] = Some(*number);
        }
        Ok(numbers)
    }

    /// Number of scenarios that training saw: S without the fallback.
    pub(crate) fn known_scenarios(&self) -> usize {
        self.fallback_scenario().map_or(self.scenarios.len(), |id| id as usize)
    }

    /// SHA-256 of everything the schema says, in hexadecimal: two schemas encode alike if it is the same.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        // Neither the hash nor a schema can fail here: no map, no number that JSON lacks.
        serde_json::to_writer(&mut hash, self).ok();
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Writes the schema as JSON, whole or not at all.
    ///
    /// # Errors
    /// The system cannot write the file.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let json =
            self.to_json().map_err(|e| DataError::io(&path.display().to_string(), "write", e.into()))?;
        write_atomic(path, &json)
    }

    /// The bytes that [`Schema::save`] writes.
    ///
    /// # Errors
    /// None that a schema could have.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let is_plain = |f: &FieldSchema| f.table.is_none() && f.encoding.is_plain();
        let version = match self.reading.is_plain() {
            false => VERSION,
            true if self.fields.iter().all(is_plain) => PLAIN,
            true => FIELDS,
        };
        let saved = Saved { format: FORMAT, version, fingerprint: self.fingerprint(), schema: self };
        let mut json = serde_json::to_vec_pretty(&saved)?;
        json.push(b'\n');
        Ok(json)
    }

    /// Reads a schema that [`Schema::save`] wrote.
    ///
    /// # Errors
    /// There is no such file, it is not a schema or one of a later version, it was changed or cut, or holds what no
    /// training file gives.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let bytes = fs::read(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => DataError::file(
                FileErrorKind::Missing,
                &name,
                "no such file",
                "give the folder of a run, which holds its schema.json",
            ),
            _ => DataError::io(&name, "read", source),
        })?;
        Self::from_json(&bytes, &name)
    }

    /// The schema of bytes that [`Schema::to_json`] made; `name` says in messages where they are from.
    ///
    /// # Errors
    /// They are no schema, or damaged.
    pub fn from_json(bytes: &[u8], name: &str) -> Result<Self> {
        let broken = |e: serde_json::Error| {
            DataError::file(
                FileErrorKind::Damaged,
                name,
                format!("the schema is damaged: {e}"),
                "restore the file, or train again",
            )
        };
        // A file that is no JSON was a schema that is damaged as likely as it was anything else.
        let label: Label = serde_json::from_slice(bytes).map_err(|e| match e.classify() {
            serde_json::error::Category::Data => foreign(name),
            _ => broken(e),
        })?;
        if label.format != FORMAT {
            return Err(foreign(name));
        }
        if !(PLAIN..=VERSION).contains(&label.version) {
            let problem =
                format!("schema version {}, but this program reads {PLAIN} to {VERSION}", label.version);
            return Err(DataError::file(
                FileErrorKind::Foreign,
                name,
                problem,
                "use the program that wrote it, or train again",
            ));
        }
        let mut content: Content = serde_json::from_slice(bytes).map_err(broken)?;
        let found = content.schema.fingerprint();
        if found != content.fingerprint {
            let problem = "the schema was changed after it was written: its fingerprint differs";
            return Err(DataError::file(
                FileErrorKind::Damaged,
                name,
                problem,
                "restore the file, or train again",
            ));
        }
        content.schema.borrow_vocabularies();
        content.schema.check().map_err(|problem| {
            let problem = format!("the schema is damaged: {problem}");
            DataError::file(FileErrorKind::Damaged, name, problem, "restore the file, or train again")
        })?;
        Ok(content.schema)
    }
}

impl Schema {
    /// Gives the fields that share a table the list that its first field keeps.
    fn borrow_vocabularies(&mut self) {
        for i in 1..self.fields.len() {
            let (before, [field, ..]) = self.fields.split_at_mut(i) else { continue };
            let Some(vocabulary) = field.encoding.vocabulary_mut() else { continue };
            let Some(table) = &vocabulary.borrowed else { continue };
            let owner = before.iter().find(|f| f.table.as_ref() == Some(table));
            if let Some(list) = owner.and_then(|f| f.encoding.vocabulary()) {
                *vocabulary = list.lend(table);
            }
        }
    }
}

fn foreign(name: &str) -> DataError {
    DataError::unfit(name, "this is not a schema", "give the schema.json of a run")
}
