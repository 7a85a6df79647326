//! Settings of the data: the `[data]` table of the configuration.

mod field;
mod number;
mod scenarios;
mod stream;

use std::collections::{HashMap, HashSet};

use optmsm_core::error::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::source::{Paths, Quoting, Reading, Spelling, Split, SplitConfig, two_values};
pub(crate) use field::{DEFAULT_SEPARATOR, MAX_IDS};
pub use field::{FieldConfig, Kind, ListText, Missing};
pub use number::{Marks, Transform};
pub use scenarios::{ByScenario, Equal, NegativeRate, ScenarioWeights};
pub use stream::{BLOCK_ROWS, StreamConfig, StreamMode};

/// Files, columns and fields of the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Files to train on; the schema comes from them alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<Paths>,
    /// Files that early stopping watches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid: Option<Paths>,
    /// Files that are scored at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Paths>,
    /// Makes the three parts from `train`, in place of `valid` and `test`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitConfig>,
    /// Column of the label.
    pub label: String,
    /// How the labels 0 and 1 are written; `0`, `1` or as booleans when not given.
    #[serde(deserialize_with = "two_values", skip_serializing_if = "Option::is_none")]
    pub label_values: Option<[String; 2]>,
    /// Column of the scenario's name.
    pub scenario: String,
    /// Column of the sample weight, finite and at least 0; none weighs every row 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// How much the rows of each scenario weigh in the training loss, on top of their own weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario_weights: Option<ScenarioWeights>,
    /// Whether metrics weigh rows by `weight`, as training does; if not, every row counts once.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub weighted_metrics: bool,
    /// Share of rows of label 0 that were kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_rate: Option<NegativeRate>,
    /// Parts that have all rows of label 0 in spite of `negative_rate`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unsampled: Vec<Split>,
    /// Column whose values group the rows for GAUC, such as the user; rows without one are no part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Column of the true probability of a click, for simulated data: its metrics are the ceiling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<String>,
    /// Character between values; ASCII.
    pub delimiter: char,
    /// Meaning of quotes in a CSV.
    #[serde(skip_serializing_if = "Quoting::is_strict")]
    pub quoting: Quoting,
    /// Names of the columns of CSV files without a header; empty for files with one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Texts of missing values beside the empty one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null_values: Option<Vec<String>>,
    /// Treatment of a scenario that training never saw.
    pub unseen_scenario: UnseenScenario,
    /// Share of training rows that train the fallback when `unseen_scenario = "oov"`, in [0, 1).
    pub oov_rate: f64,
    /// When rows come from disk instead of memory.
    #[serde(skip_serializing_if = "StreamConfig::is_default")]
    pub stream: StreamConfig,
    /// The input fields, in the order of the model's inputs.
    pub fields: Vec<FieldConfig>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            train: None,
            valid: None,
            test: None,
            split: None,
            label: "label".into(),
            scenario: "scenario".into(),
            weight: None,
            scenario_weights: None,
            weighted_metrics: true,
            negative_rate: None,
            unsampled: Vec::new(),
            group: None,
            probability: None,
            label_values: None,
            delimiter: ',',
            quoting: Quoting::default(),
            columns: Vec::new(),
            null_values: None,
            unseen_scenario: UnseenScenario::Error,
            oov_rate: 0.05,
            stream: StreamConfig::default(),
            fields: Vec::new(),
        }
    }
}

/// Treatment of a scenario that training never saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnseenScenario {
    /// Stop with an error that names it.
    #[default]
    Error,
    /// Map it to a fallback, one more scenario, which training feeds with a share of all rows.
    Oov,
}

impl DataConfig {
    /// Column of the weights that metrics count.
    pub fn metrics_weight(&self) -> Option<&str> {
        self.weight.as_deref().filter(|_| self.weighted_metrics)
    }

    /// How files are read.
    pub fn reading(&self) -> Reading {
        Reading {
            delimiter: self.delimiter,
            quoting: self.quoting,
            columns: self.columns.clone(),
            null_values: self.null_values.clone(),
            label_values: self.label_values.clone(),
            spelling: Spelling::Canonical,
        }
    }

    /// Checks every setting; whether the files exist is not looked at.
    ///
    /// # Errors
    /// Names the dotted key, what is wrong with it, and the fix.
    pub fn validate(&self) -> Result<()> {
        let fail =
            |key: &str, problem: String, fix: &str| Err(Error::config(format!("data.{key}"), problem, fix));
        self.reading().validate()?;
        self.stream.validate()?;
        if !(0.0..1.0).contains(&self.oov_rate) {
            return fail("oov_rate", format!("must be in [0, 1), got {}", self.oov_rate), "0.05 is usual");
        }
        let special = [
            ("label", Some(&self.label)),
            ("scenario", Some(&self.scenario)),
            ("weight", self.weight.as_ref()),
            ("group", self.group.as_ref()),
            ("probability", self.probability.as_ref()),
        ];
        for (key, column) in special {
            if column.is_some_and(String::is_empty) {
                return fail(key, "is empty".into(), "name a column of the file");
            }
        }
        if let Some(weights) = &self.scenario_weights {
            weights.validate()?;
        }
        if let Some(rate) = &self.negative_rate {
            rate.validate()?;
        }
        let whole = match (&self.unsampled[..], &self.negative_rate, &self.split) {
            ([], ..) => None,
            (_, None, _) => Some("is given without data.negative_rate"),
            (_, _, Some(_)) => Some("is given beside data.split, whose parts are all of data.train"),
            (parts, ..) => {
                parts.contains(&Split::Train).then_some("names train, which data.negative_rate is of")
            }
        };
        if let Some(problem) = whole {
            return fail(
                "unsampled",
                problem.into(),
                "name files of their own that have all rows of label 0",
            );
        }
        if let Some(split) = &self.split {
            split.validate()?;
            for (key, file) in [("valid", &self.valid), ("test", &self.test)] {
                if file.is_some() {
                    let problem = "is given beside data.split, which takes it from data.train".into();
                    return fail(key, problem, "leave out one of them");
                }
            }
        }
        if self.label == self.scenario {
            let problem = format!("is '{}', as the label", self.scenario);
            return fail("scenario", problem, "name the column that holds the scenario");
        }
        if self.fields.is_empty() {
            return fail("fields", "is empty".into(), "declare at least one field with [[data.fields]]");
        }
        let (mut names, mut tables) = (HashSet::new(), HashMap::new());
        for (i, field) in self.fields.iter().enumerate() {
            if field.name.is_empty() {
                return fail(&format!("fields[{i}].name"), "is empty".into(), "give the field a name");
            }
            if !names.insert(&field.name) {
                let problem = format!("field '{}' is named twice", field.name);
                return fail("fields", problem, "rename or drop one; two fields may read one column");
            }
            field.validate()?;
            for (what, answer) in [("label", Some(&self.label)), ("probability", self.probability.as_ref())] {
                if answer.is_some_and(|column| column == field.column()) {
                    let problem = format!("reads '{}', the column of data.{what}", field.column());
                    let key = format!("fields.{}.column", field.name);
                    return fail(&key, problem, "drop the field: it would show the model the answer");
                }
            }
            let table = field.table.as_ref().unwrap_or(&field.name);
            field.validate_table(tables.entry(table).or_insert(field))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use optmsm_core::config::{Pooling, Role};

    fn with(change: impl FnOnce(&mut DataConfig)) -> String {
        let mut config = DataConfig { fields: vec![FieldConfig::new("age")], ..DataConfig::default() };
        assert!(config.validate().is_ok());
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    fn field(change: impl FnOnce(&mut FieldConfig)) -> String {
        with(|c| change(&mut c.fields[0]))
    }

    #[test]
    fn reads_the_table_of_the_documentation() {
        let text = r#"
            train = "train.csv"
            label = "click"
            delimiter = "\t"
            unseen_scenario = "oov"
            [[fields]]
            name = "user"
            column = "user_id"
            min_frequency = 2
            [[fields]]
            name = "tags"
            kind = "multi"
            separator = ";"
            weight_separator = ":"
            pooling = "sum"
            [[fields]]
            name = "age"
            role = "specific"
            kind = "numeric"
            transform = "minmax"
            fill = 30
        "#;
        let config: DataConfig = toml::from_str(text).unwrap();
        config.validate().unwrap();
        assert_eq!((config.label.as_str(), config.delimiter, config.oov_rate), ("click", '\t', 0.05));
        assert_eq!(config.unseen_scenario, UnseenScenario::Oov);
        let [user, tags, age] = &config.fields[..] else { panic!("three fields") };
        assert_eq!((user.column(), user.min_frequency, user.role), ("user_id", 2, Role::Shared));
        assert_eq!((tags.kind, tags.pooling), (Kind::Multi, Some(Pooling::Sum)));
        assert_eq!(
            (age.transform, age.fill, age.role),
            (Some(Transform::MinMax), Some(30.0), Role::Specific)
        );
        let again: DataConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn unknown_keys_are_errors() {
        let error = toml::from_str::<DataConfig>("lable = \"y\"").unwrap_err().to_string();
        assert!(error.contains("unknown field `lable`"), "{error}");
        let error =
            toml::from_str::<DataConfig>("[[fields]]\nname = \"a\"\nvocab = 3").unwrap_err().to_string();
        assert!(error.contains("unknown field `vocab`"), "{error}");
    }

    #[test]
    fn errors_name_key_problem_and_fix() {
        let cases = [
            (
                with(|c| c.delimiter = '"'),
                r#"config `data.delimiter`: '"' cannot stand between values; use one ASCII character, such as "," or "\t""#,
            ),
            (with(|c| c.oov_rate = 1.0), "config `data.oov_rate`: must be in [0, 1), got 1; 0.05 is usual"),
            (
                with(|c| c.weight = Some(String::new())),
                "config `data.weight`: is empty; name a column of the file",
            ),
            (
                with(|c| {
                    (c.split, c.test) = (Some(SplitConfig::default()), Some("t.csv".to_string().into()))
                }),
                "config `data.test`: is given beside data.split, which takes it from data.train; leave out one of them",
            ),
            (
                with(|c| c.scenario = "label".into()),
                "config `data.scenario`: is 'label', as the label; name the column that holds the scenario",
            ),
            (
                with(|c| c.fields.clear()),
                "config `data.fields`: is empty; declare at least one field with [[data.fields]]",
            ),
            (
                with(|c| c.fields.push(FieldConfig::new("age"))),
                "config `data.fields`: field 'age' is named twice; rename or drop one; two fields may read one column",
            ),
            (field(|f| f.name.clear()), "config `data.fields[0].name`: is empty; give the field a name"),
            (
                field(|f| f.column = Some("label".into())),
                "config `data.fields.age.column`: reads 'label', the column of data.label; drop the field: it would show the model the answer",
            ),
            (
                field(|f| f.separator = Some(";".into())),
                "config `data.fields.age.separator`: means something for kind = \"multi\" only; leave it out, or set kind = \"multi\"",
            ),
            (
                field(|f| f.transform = Some(Transform::Log1p)),
                "config `data.fields.age.transform`: means something for kind = \"numeric\" only; leave it out, or set kind = \"numeric\"",
            ),
            (
                field(|f| f.min_frequency = 0),
                "config `data.fields.age.min_frequency`: must be at least 1, got 0; use 1 to keep every value",
            ),
            (
                field(|f| (f.kind, f.separator) = (Kind::Multi, Some(String::new()))),
                "config `data.fields.age.separator`: is empty; give at least one character, or leave it out",
            ),
            (
                field(|f| (f.kind, f.weight_separator) = (Kind::Multi, Some("|".into()))),
                "config `data.fields.age.weight_separator`: is \"|\", as the separator between values; use another one, such as \":\"",
            ),
            (
                field(|f| (f.kind, f.list, f.separator) = (Kind::Multi, ListText::Json, Some("|".into()))),
                "config `data.fields.age.separator`: means nothing with list = \"json\"; leave one of them out",
            ),
            (
                field(|f| (f.kind, f.list, f.separator) = (Kind::Multi, ListText::Trimmed, Some(" ".into()))),
                "config `data.fields.age.list`: trims the blanks that are the separator; leave list out: two blanks side by side have no value between them",
            ),
            (
                field(|f| f.list = ListText::Json),
                "config `data.fields.age.list`: means something for kind = \"multi\" only; leave it out, or set kind = \"multi\"",
            ),
            (
                field(|f| (f.kind, f.decimal) = (Kind::Numeric, Some('e'))),
                "config `data.fields.age.decimal`: is 'e', a part of numbers; give \",\" or \".\"",
            ),
            (
                field(|f| (f.kind, f.thousands) = (Kind::Numeric, Some('.'))),
                "config `data.fields.age.thousands`: is '.', as the character before decimals; set decimal to the other one",
            ),
            (
                field(|f| (f.kind, f.fill) = (Kind::Numeric, Some(f64::NAN))),
                "config `data.fields.age.fill`: must be a finite number, got NaN; change it",
            ),
            (
                field(|f| {
                    (f.kind, f.transform, f.fill) = (Kind::Numeric, Some(Transform::Log1p), Some(-1.0))
                }),
                "config `data.fields.age.fill`: must be above -1 for transform = \"log1p\", got -1; raise it",
            ),
            (
                field(|f| (f.kind, f.min_frequency) = (Kind::Numeric, 2)),
                "config `data.fields.age.min_frequency`: means nothing for kind = \"numeric\"; leave it out",
            ),
        ];
        for (got, wanted) in cases {
            assert_eq!(got, wanted);
        }
    }
}
