//! Settings of one input field.

use optmsm_core::config::{Pooling, Role};
use optmsm_core::error::{Error, Result};
use serde::{Deserialize, Serialize};

use super::number::Transform;

/// Separator of a multi field that names none.
pub(crate) const DEFAULT_SEPARATOR: &str = "|";

/// Most ids that a field may ask for: with out-of-vocabulary and missing ones they fit 32 bits by far.
pub(crate) const MAX_IDS: u32 = 1 << 31;

/// One input field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldConfig {
    /// Name, as in checkpoints (`embeddings.{name}.weight`).
    pub name: String,
    /// Column of the file; the name if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Which encoding reads it.
    #[serde(default = "shared")]
    pub role: Role,
    /// Kind of its values.
    #[serde(default)]
    pub kind: Kind,
    /// Multi only: how a text holds the values.
    #[serde(default, skip_serializing_if = "ListText::is_default")]
    pub list: ListText,
    /// Multi only: text between values; `|` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Multi only: text between a value and its weight, such as `:` in `a:0.5|b:2`; none means no weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_separator: Option<String>,
    /// Multi only: how the rows of the values become one vector; the mean if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Multi only: values after the first N of a list are left out. All are kept if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
    /// Numeric only: character before the decimals of a text; `.` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimal: Option<char>,
    /// Numeric only: character between groups of three digits of a text; none if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thousands: Option<char>,
    /// Numeric only: what becomes of the number; `standardize` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<Transform>,
    /// Numeric only: what a missing value counts as, in the units of the column, so it is transformed like
    /// any other value; the training mean of the transformed value if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<f64>,
    /// Numeric only: the number becomes one of N ids, each with about the same number of training rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<u32>,
    /// Values rarer than this in training are out-of-vocabulary; not for numeric fields.
    #[serde(default = "one")]
    pub min_frequency: u64,
    /// Only the N values most frequent in training are kept. Ties go by value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// Values become one of N ids by a hash. No value is out-of-vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_buckets: Option<u32>,
    /// Values are integers below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<u32>,
    /// Meaning of a missing value.
    #[serde(default, skip_serializing_if = "Missing::is_default")]
    pub missing: Missing,
    /// Share of values that training takes for out-of-vocabulary, in [0, 1), so that the row of such values is trained.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub oov_dropout: f64,
    /// Table that it shares with all fields that name it: one list of values, one set of rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Training leaves its table as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub freeze: bool,
    /// Rows that its table starts from: `FILE.safetensors:TENSOR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<String>,
    /// Text file with the value of each row of `init_from`, one per line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_values: Option<String>,
}

fn shared() -> Role {
    Role::Shared
}

fn one() -> u64 {
    1
}

fn is_zero(v: &f64) -> bool {
    *v == 0.0
}

/// Kind of a field's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One value, taken as it is written; the empty one means "missing" and is a value of its own.
    #[default]
    Categorical,
    /// Any number of values with a separator between them; empty ones are skipped, an empty list is one.
    Multi,
    /// One number; an empty one is missing.
    Numeric,
}

/// How a text holds the values of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListText {
    /// With a separator between them, which is all that is taken away.
    #[default]
    Separated,
    /// With a separator between them and blanks around them, which are no part of them.
    Trimmed,
    /// In brackets, as JSON, Python and numpy write lists.
    Json,
}

impl ListText {
    /// Whether it is what a configuration means that does not say it.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Meaning of a missing value: an empty text, a null or an empty list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// The empty text, a value like any other: out-of-vocabulary if training never saw it. An empty list has no row.
    #[default]
    Value,
    /// An id of its own, whether training saw it or not. An empty list is a list of it.
    Own,
}

impl Missing {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl FieldConfig {
    /// A shared categorical field that reads the column of its name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            column: None,
            role: Role::Shared,
            kind: Kind::Categorical,
            list: ListText::default(),
            separator: None,
            weight_separator: None,
            pooling: None,
            max_length: None,
            decimal: None,
            thousands: None,
            transform: None,
            fill: None,
            buckets: None,
            min_frequency: 1,
            max_size: None,
            hash_buckets: None,
            ids: None,
            missing: Missing::Value,
            oov_dropout: 0.0,
            table: None,
            freeze: false,
            init_from: None,
            init_values: None,
        }
    }

    /// The column it reads.
    pub fn column(&self) -> &str {
        self.column.as_deref().unwrap_or(&self.name)
    }

    /// Whether a value becomes ids: everything but a number that stays one.
    fn has_ids(&self) -> bool {
        self.kind != Kind::Numeric || self.buckets.is_some()
    }

    fn fail<T>(&self, key: &str, problem: impl Into<String>, fix: impl Into<String>) -> Result<T> {
        Err(Error::config(format!("data.fields.{}.{key}", self.name), problem, fix))
    }

    pub(super) fn validate(&self) -> Result<()> {
        if self.column.as_deref() == Some("") {
            return self.fail("column", "is empty", "name a column of the file, or leave it out");
        }
        let given = [
            ("list", !self.list.is_default(), Kind::Multi, "multi"),
            ("separator", self.separator.is_some(), Kind::Multi, "multi"),
            ("weight_separator", self.weight_separator.is_some(), Kind::Multi, "multi"),
            ("pooling", self.pooling.is_some(), Kind::Multi, "multi"),
            ("max_length", self.max_length.is_some(), Kind::Multi, "multi"),
            ("decimal", self.decimal.is_some(), Kind::Numeric, "numeric"),
            ("thousands", self.thousands.is_some(), Kind::Numeric, "numeric"),
            ("transform", self.transform.is_some(), Kind::Numeric, "numeric"),
            ("fill", self.fill.is_some(), Kind::Numeric, "numeric"),
            ("buckets", self.buckets.is_some(), Kind::Numeric, "numeric"),
        ];
        for (key, is_given, kind, kind_name) in given {
            if is_given && self.kind != kind {
                let problem = format!("means something for kind = \"{kind_name}\" only");
                return self.fail(key, problem, format!("leave it out, or set kind = \"{kind_name}\""));
            }
        }
        self.validate_text()?;
        self.validate_ids()?;
        if let Some(fill) = self.fill {
            if !fill.is_finite() || fill.abs() > f64::from(f32::MAX) {
                return self.fail("fill", format!("must be a finite number, got {fill}"), "change it");
            }
            if self.transform == Some(Transform::Log1p) && fill <= -1.0 {
                let problem = format!("must be above -1 for transform = \"log1p\", got {fill}");
                return self.fail("fill", problem, "raise it");
            }
        }
        Ok(())
    }

    fn validate_text(&self) -> Result<()> {
        let texts = [
            ("separator", &self.separator, "give at least one character, or leave it out"),
            ("weight_separator", &self.weight_separator, "give at least one character, or leave it out"),
            ("table", &self.table, "name the table, or leave it out"),
        ];
        for (key, text, fix) in texts {
            if text.as_deref() == Some("") {
                return self.fail(key, "is empty", fix);
            }
        }
        let separator = self.separator.as_deref().unwrap_or(DEFAULT_SEPARATOR);
        if self.list == ListText::Json && self.separator.is_some() {
            return self.fail("separator", "means nothing with list = \"json\"", "leave one of them out");
        }
        if self.list == ListText::Trimmed && separator.trim().is_empty() {
            let fix = "leave list out: two blanks side by side have no value between them";
            return self.fail("list", "trims the blanks that are the separator", fix);
        }
        for (key, mark) in [("decimal", self.decimal), ("thousands", self.thousands)] {
            let is_part = |c: char| c.is_alphanumeric() || matches!(c, '+' | '-');
            if let Some(mark) = mark.filter(|&c| is_part(c)) {
                return self.fail(key, format!("is {mark:?}, a part of numbers"), "give \",\" or \".\"");
            }
        }
        if self.thousands == Some(self.decimal.unwrap_or('.')) {
            let problem = format!("is {:?}, as the character before decimals", self.decimal.unwrap_or('.'));
            return self.fail("thousands", problem, "set decimal to the other one");
        }
        if self.weight_separator.as_deref() == Some(separator) {
            let problem = format!("is {separator:?}, as the separator between values");
            return self.fail("weight_separator", problem, "use another one, such as \":\"");
        }
        Ok(())
    }

    /// Everything about ids and their table.
    fn validate_ids(&self) -> Result<()> {
        if self.min_frequency == 0 {
            return self.fail("min_frequency", "must be at least 1, got 0", "use 1 to keep every value");
        }
        let numeric = self.kind == Kind::Numeric;
        let of_values = [
            ("min_frequency", self.min_frequency > 1),
            ("max_size", self.max_size.is_some()),
            ("hash_buckets", self.hash_buckets.is_some()),
            ("ids", self.ids.is_some()),
            ("table", self.table.is_some()),
            ("missing", self.missing != Missing::Value),
            ("init_from", self.init_from.is_some()),
        ];
        if let Some((key, _)) = of_values.into_iter().find(|&(_, is_given)| numeric && is_given) {
            return self.fail(key, "means nothing for kind = \"numeric\"", "leave it out");
        }
        let of_ids = [("oov_dropout", self.oov_dropout != 0.0), ("freeze", self.freeze)];
        if let Some((key, _)) = of_ids.into_iter().find(|&(_, is_given)| !self.has_ids() && is_given) {
            let problem = "means nothing for kind = \"numeric\" without buckets";
            return self.fail(key, problem, "leave it out, or set buckets");
        }
        if self.buckets.is_some() {
            for (key, is_given) in [("transform", self.transform.is_some()), ("fill", self.fill.is_some())] {
                if is_given {
                    let fix = "leave one of them out: a bucket does not depend on its number's scale, and a missing value has an id of its own";
                    return self.fail(key, "means nothing with buckets", fix);
                }
            }
        }
        let kinds = [("hash_buckets", self.hash_buckets), ("ids", self.ids)];
        let listed = [("min_frequency", self.min_frequency > 1), ("max_size", self.max_size.is_some())];
        if let (Some(_), Some(_)) = (self.hash_buckets, self.ids) {
            return self.fail("ids", "is given together with hash_buckets", "give one of them");
        }
        for (key, n) in kinds {
            if let (Some(_), Some((other, _))) = (n, listed.into_iter().find(|l| l.1)) {
                return self.fail(other, format!("means nothing with {key}"), "leave one of them out");
            }
        }
        for (key, n) in kinds.into_iter().chain([("buckets", self.buckets), ("max_length", self.max_length)])
        {
            let least = if key == "buckets" { 2 } else { 1 };
            if let Some(n) = n.filter(|n| !(least..=MAX_IDS).contains(n)) {
                return self.fail(key, format!("must be from {least} to {MAX_IDS}, got {n}"), "change it");
            }
        }
        if self.max_size == Some(0) {
            return self.fail("max_size", "must be at least 1, got 0", "leave it out to keep every value");
        }
        if !(0.0..1.0).contains(&self.oov_dropout) {
            return self.fail(
                "oov_dropout",
                format!("must be in [0, 1), got {}", self.oov_dropout),
                "0.01 is usual",
            );
        }
        if self.init_values.is_some() && self.init_from.is_none() {
            return self.fail(
                "init_values",
                "names the rows of init_from, which is not given",
                "leave it out",
            );
        }
        if self
            .init_from
            .as_ref()
            .is_some_and(|from| from.rsplit_once(':').is_none_or(|(f, t)| f.is_empty() || t.is_empty()))
        {
            let fix = "write it as FILE.safetensors:TENSOR";
            return self.fail("init_from", "names no tensor of a file", fix);
        }
        Ok(())
    }

    /// Checks it against the first field of the same table, which may be itself.
    pub(super) fn validate_table(&self, first: &Self) -> Result<()> {
        if self.name == first.name {
            return Ok(());
        }
        if self.table.is_none() || first.table.is_none() {
            let table = self.table.as_ref().unwrap_or(&self.name);
            let problem = format!("table '{table}' has the name of a field that is not part of it");
            let fix = format!("set table = \"{table}\" there too, or rename it");
            return self.fail("table", problem, fix);
        }
        let other = first;
        let differs = [
            ("min_frequency", self.min_frequency != other.min_frequency),
            ("max_size", self.max_size != other.max_size),
            ("hash_buckets", self.hash_buckets != other.hash_buckets),
            ("ids", self.ids != other.ids),
            ("missing", self.missing != other.missing),
            ("freeze", self.freeze != other.freeze),
            ("init_from", self.init_from != other.init_from),
            ("init_values", self.init_values != other.init_values),
        ];
        match differs.into_iter().find(|&(_, differs)| differs) {
            Some((key, _)) => {
                let problem = format!("differs from that of field '{}', which shares the table", other.name);
                self.fail(key, problem, "write the same in both, or give them tables of their own")
            }
            None => Ok(()),
        }
    }
}
