//! Where the settings of a configuration were written, so that an error about one points at it.

use std::ops::Range;

use optmsm_core::error::Error as CoreError;
use optmsm_data::DataError;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::Error;

/// The file that a configuration came from, and what was set over it.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The file as the user gave it, and its text.
    file: Option<(String, String)>,
    /// Keys as errors name them, and `key=value` as the user gave it, in the order in which they were applied.
    overrides: Vec<(String, String)>,
}

/// Where a setting was written is no part of a configuration: two are equal when their settings are.
impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Where a key is in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// Its value.
    Value(Range<usize>),
    /// The innermost table or array that would hold it.
    Inside(Range<usize>),
}

impl Origin {
    /// A file; `name` as the user gave it.
    pub(crate) fn of_file(name: &str, text: &str) -> Self {
        Self { file: Some((name.into(), text.into())), overrides: Vec::new() }
    }

    /// The same with more keys set over it, each by a `key=value`.
    pub(crate) fn with_overrides(mut self, overrides: Vec<(String, String)>) -> Self {
        self.overrides.extend(overrides);
        self
    }

    /// Gives an error about a setting the place where it was written: the override that set it last, or line and column in the
    /// file; the line of the table around it where it was left out. Other errors, and those of a configuration that
    /// no file holds, stay as they are.
    pub fn locate(&self, error: Error) -> Error {
        let (key, problem, fix) = match error {
            Error::Core(CoreError::Config { key, problem, fix, .. })
            | Error::Data(DataError::Config(CoreError::Config { key, problem, fix, .. })) => {
                (key, problem, fix)
            }
            other => return other,
        };
        match self.place(&key) {
            Some(place) => Error::Setting { place, key, problem, fix },
            None => CoreError::config(key, problem, fix).into(),
        }
    }

    fn place(&self, key: &str) -> Option<String> {
        let sets = |(set, _): &&(String, String)| {
            key.strip_prefix(set.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        if let Some((_, text)) = self.overrides.iter().rev().find(sets) {
            return Some(format!("--set {text}"));
        }
        let (name, text) = self.file.as_ref()?;
        Some(match find(text, key) {
            Some(Found::Value(span)) => place(name, text, span.start),
            Some(Found::Inside(span)) => format!("{name} line {}", line_and_column(text, span.start).0),
            None => name.clone(),
        })
    }
}

/// `NAME line L column C`, from 1.
pub(crate) fn place(name: &str, text: &str, at: usize) -> String {
    let (line, column) = line_and_column(text, at);
    format!("{name} line {line} column {column}")
}

/// Line and column in characters, both from 1.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    (1 + before.matches('\n').count(), 1 + before[start..].chars().count())
}

/// Finds a dotted key. An element of an array is `[i]`, or in an array of tables the `name` of one: `data.fields.age.column`.
fn find(text: &str, key: &str) -> Option<Found> {
    let root = DeTable::parse(text).ok()?;
    let (mut table, mut rest, mut around) = (root.get_ref(), key, None);
    loop {
        let (first, after) = split(rest);
        // Keys that this program knows are plain words, so a dot always ends one.
        let Some((_, value)) = table.iter().find(|(k, _)| k.get_ref() == first) else {
            return around.map(Found::Inside);
        };
        let mut value = value;
        rest = after;
        while let (DeValue::Array(array), false) = (value.get_ref(), rest.is_empty()) {
            let found = element(array.iter().map(name_of), rest)
                .and_then(|(at, after)| Some((array.get(at)?, after)));
            let Some((inner, after)) = found else { return Some(Found::Inside(value.span())) };
            (value, rest) = (inner, after);
        }
        if rest.is_empty() {
            return Some(Found::Value(value.span()));
        }
        let DeValue::Table(inner) = value.get_ref() else { return Some(Found::Value(value.span())) };
        (table, around) = (inner, Some(value.span()));
    }
}

/// The first word of a key, and what follows its dot (with the bracket of an index).
pub(crate) fn split(key: &str) -> (&str, &str) {
    match key.find(['.', '[']) {
        Some(at) => (&key[..at], key[at..].strip_prefix('.').unwrap_or(&key[at..])),
        None => (key, ""),
    }
}

/// The element of an array that `rest` begins with, by index or by name; and what follows it. Names may hold dots: the longest counts.
pub(crate) fn element<'a, 'k>(
    names: impl Iterator<Item = Option<&'a str>>,
    rest: &'k str,
) -> Option<(usize, &'k str)> {
    let inside = |after: &'k str| after.strip_prefix('.').unwrap_or(after);
    if let Some((index, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        return Some((index.parse().ok()?, inside(after)));
    }
    let named = names.enumerate().filter_map(|(at, name)| {
        let after = rest.strip_prefix(name?)?;
        (after.is_empty() || after.starts_with('.')).then(|| (at, inside(after)))
    });
    named.min_by_key(|(_, after)| after.len())
}

/// The `name` of a table in an array.
fn name_of<'a>(value: &'a Spanned<DeValue<'a>>) -> Option<&'a str> {
    let DeValue::Table(table) = value.get_ref() else { return None };
    let (_, name) = table.iter().find(|(k, _)| k.get_ref() == "name")?;
    name.get_ref().as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
[data]
train = \"a.csv\"
\"é\" = 1

[[data.fields]]
name = \"age\"
column = \"\"

[[data.fields]]
name = \"age.group\"
kind = { a = [1, 22] }

[model]
dnn = { hidden = [8, 0] }
tower.hidden = []
";

    fn at(key: &str) -> String {
        Origin::of_file("my.toml", TEXT).place(key).unwrap()
    }

    #[test]
    fn values_of_every_form_are_found() {
        assert_eq!(at("data.train"), "my.toml line 2 column 9");
        assert_eq!(at("data.fields.age.column"), "my.toml line 7 column 10");
        assert_eq!(at("data.fields[0].column"), "my.toml line 7 column 10");
        assert_eq!(at("data.fields.age.group.kind"), "my.toml line 11 column 8");
        assert_eq!(at("data.fields.age.group.kind.a[1]"), "my.toml line 11 column 18");
        assert_eq!(at("model.dnn.hidden"), "my.toml line 14 column 18");
        assert_eq!(at("model.tower.hidden"), "my.toml line 15 column 16");
    }

    #[test]
    fn what_was_left_out_is_placed_in_the_table_around_it() {
        assert_eq!(at("model.dnn.dropout"), "my.toml line 14");
        assert_eq!(at("data.fields.age.min_frequency"), "my.toml line 5");
        assert_eq!(at("data.label"), "my.toml line 1");
        assert_eq!(at("train.batch_size"), "my.toml");
    }

    #[test]
    fn the_last_override_of_a_key_is_named() {
        let sets = ["model.dnn.hidden=[3]", "model.dnn.hidden=[]", "model.dnn.hid=1"];
        let given = |set: &str| (set.split_once('=').unwrap().0.to_string(), set.to_string());
        let origin = Origin::of_file("my.toml", TEXT).with_overrides(sets.map(given).into());
        assert_eq!(origin.place("model.dnn.hidden").unwrap(), "--set model.dnn.hidden=[]");
        assert_eq!(origin.place("model.tower.hidden").unwrap(), "my.toml line 15 column 16");
        let whole = Origin::default().with_overrides(vec![given("data.fields=[]")]);
        assert_eq!(whole.place("data.fields.age.column").unwrap(), "--set data.fields=[]");
        assert_eq!(whole.place("data.train"), None);
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_and_column("aé = 1\nxé", 5), (1, 5));
        assert_eq!(line_and_column("é\né", 4), (2, 2));
    }
}
