//! How the text of a file becomes rows, and which texts are one value: delimiter, quotes, header, missing values, labels.

use std::collections::HashMap;

use optmsm_core::error::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize};

use super::cell::Cell;

/// How files are read. Saved with the schema; another file of the same columns may be read in another way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Character between values of a CSV; ASCII.
    pub delimiter: char,
    /// Meaning of quotes in a CSV.
    #[serde(default, skip_serializing_if = "Quoting::is_strict")]
    pub quoting: Quoting,
    /// Names of the columns of a CSV without a header; empty for one with a header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Texts of missing values beside the empty one; [`NULLS`], and [`NUMBER_NULLS`] for numbers, when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_values: Option<Vec<String>>,
    /// Texts of the labels 0 and 1, when they are others than `0`, `1` and those of booleans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_values: Option<[String; 2]>,
    /// Which texts are one value.
    #[serde(default, skip_serializing_if = "Spelling::is_as_written")]
    pub spelling: Spelling,
}

/// Texts that are missing values unless `data.null_values` says otherwise: what databases and other programs write for them.
pub const NULLS: [&str; 4] = ["", "NULL", "\\N", "NaN"];

/// Texts that are missing values in a column of numbers on top, where it can mean nothing else.
pub const NUMBER_NULLS: [&str; 10] =
    ["NA", "N/A", "n/a", "#N/A", "<NA>", "null", "Null", "None", "none", "nil"];

/// Meaning of quotes in a CSV.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quoting {
    /// A quote at the beginning of a value is closed at its end, on the same line: a stray one cannot swallow rows.
    #[default]
    Strict,
    /// The same, but a value in quotes may have line breaks in it.
    Standard,
    /// Nothing: they are characters like any other.
    None,
}

/// Which texts are one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spelling {
    /// Each is a value of its own, as in schemas before their third version.
    #[default]
    AsWritten,
    /// `1024.0` is `1024`; `True`, `TRUE`, `true` are `1`, and `False` and its like `0`; a float that is NaN is a missing value.
    Canonical,
}

impl Quoting {
    pub(crate) fn is_strict(&self) -> bool {
        *self == Self::Strict
    }
}

impl Spelling {
    fn is_as_written(&self) -> bool {
        *self == Self::AsWritten
    }
}

impl Default for Reading {
    /// A CSV with a header and commas, as a configuration that says nothing of it reads one.
    fn default() -> Self {
        Self {
            delimiter: ',',
            quoting: Quoting::default(),
            columns: Vec::new(),
            null_values: None,
            label_values: None,
            spelling: Spelling::Canonical,
        }
    }
}

impl Reading {
    /// Whether the first version of a schema file has words for it.
    pub(crate) fn is_plain(&self) -> bool {
        let Self { delimiter, .. } = *self;
        *self == Self { delimiter, spelling: Spelling::AsWritten, ..Self::default() }
    }

    /// The text that stands for all spellings of a value; the empty one for a missing value.
    pub fn canonical<'a>(&self, value: &'a str) -> &'a str {
        // Only ASCII is cut off, so what is left is UTF-8 as well.
        std::str::from_utf8(Speller::new(self).text(value.as_bytes())).unwrap_or(value)
    }

    /// Checks every setting.
    pub(crate) fn validate(&self) -> Result<()> {
        let fail =
            |key: &str, problem: String, fix: &str| Err(Error::config(format!("data.{key}"), problem, fix));
        let d = self.delimiter;
        if !d.is_ascii() || matches!(d, '"' | '\n' | '\r' | '\0') {
            let problem = format!("{d:?} cannot stand between values");
            return fail("delimiter", problem, "use one ASCII character, such as \",\" or \"\\t\"");
        }
        let mut places = HashMap::with_capacity(self.columns.len());
        for (i, column) in self.columns.iter().enumerate() {
            if column.is_empty() {
                return fail("columns", format!("the name of column {} is empty", i + 1), "give it one");
            }
            if let Some(first) = places.insert(column, i) {
                let problem = format!("'{column}' appears twice, as columns {} and {}", first + 1, i + 1);
                return fail("columns", problem, "rename one");
            }
        }
        if let Some([zero, one]) = &self.label_values {
            let speller = Speller::new(&Self { label_values: None, ..self.clone() });
            let [zero, one] = [zero, one].map(|v| speller.text(v.as_bytes()));
            if zero.is_empty() || one.is_empty() {
                return fail("label_values", "holds a missing value".into(), "give the text of each label");
            }
            if zero == one {
                return fail(
                    "label_values",
                    "holds one value twice".into(),
                    "give that of 0, then that of 1",
                );
            }
        }
        Ok(())
    }
}

/// A scalar of a configuration, taken for its text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Integer(i64),
    Bool(bool),
    Float(f64),
}

/// Reads `data.label_values`, whose two values may be numbers, booleans or texts.
pub(crate) fn two_values<'de, D: Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<[String; 2]>, D::Error> {
    let text = |scalar| match scalar {
        Scalar::Text(v) => v,
        Scalar::Integer(v) => v.to_string(),
        Scalar::Bool(v) => v.to_string(),
        Scalar::Float(v) => v.to_string(),
    };
    let Some(values) = Option::<Vec<Scalar>>::deserialize(from)? else { return Ok(None) };
    let values: Vec<String> = values.into_iter().map(text).collect();
    let wrong = |values: Vec<String>| {
        let found = values.len();
        serde::de::Error::custom(format!(
            "`data.label_values`: {found} values, expected 2: that of 0, then that of 1"
        ))
    };
    values.try_into().map(Some).map_err(wrong)
}

/// Brings a value to the spelling that stands for all of its, as a [`Reading`] says.
#[derive(Clone, Debug)]
pub(crate) struct Speller {
    canonical: bool,
    nulls: Vec<Box<[u8]>>,        // canonical, without the empty one
    number_nulls: Vec<Box<[u8]>>, // of columns of numbers on top
    numbers: Vec<f64>,            // nulls that are numbers
    changes: [bool; 256],         // last bytes of texts that may have another spelling
    labels: Option<[Box<[u8]>; 2]>,
}

impl Speller {
    pub(crate) fn new(reading: &Reading) -> Self {
        let canonical = reading.spelling == Spelling::Canonical;
        let respelled = |text: &str| -> Box<[u8]> {
            if canonical { respell(text.as_bytes()).into() } else { text.as_bytes().into() }
        };
        let all = |texts: &[&str]| -> Vec<Box<[u8]>> {
            texts.iter().map(|text| respelled(text)).filter(|text| !text.is_empty()).collect()
        };
        let given = reading.null_values.as_ref();
        let given = given.map(|given| given.iter().map(String::as_str).collect::<Vec<_>>());
        let (nulls, number_nulls) = match (&given, canonical) {
            (Some(given), _) => (all(given), Vec::new()),
            (None, true) => (all(&NULLS), all(&NUMBER_NULLS)),
            (None, false) => (Vec::new(), Vec::new()),
        };
        let number = |null: &[u8]| std::str::from_utf8(null).ok()?.trim().parse::<f64>().ok();
        let mut changes = [false; 256];
        let ends = nulls.iter().filter_map(|null| null.last().copied());
        ends.chain(canonical.then_some(*b"0eE").into_iter().flatten())
            .for_each(|last| changes[usize::from(last)] = true);
        Self {
            canonical,
            numbers: nulls.iter().filter_map(|null| number(null)).filter(|v| !v.is_nan()).collect(),
            nulls,
            number_nulls,
            changes,
            labels: reading.label_values.as_ref().map(|pair| pair.each_ref().map(|text| respelled(text))),
        }
    }

    /// A value as text; the empty text for a missing one.
    #[inline]
    pub(crate) fn text<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        match value.last() {
            Some(&last) if self.changes[usize::from(last)] => self.changed(value),
            _ => value,
        }
    }

    #[inline(never)]
    fn changed<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        let value = if self.canonical { respell(value) } else { value };
        if self.is_null(value) { b"" } else { value }
    }

    fn is_null(&self, value: &[u8]) -> bool {
        self.nulls.iter().any(|null| **null == *value)
    }

    /// A single value, in place of which the one that stands for it is looked up.
    #[inline]
    pub(crate) fn cell<'a>(&self, cell: Cell<'a>) -> Cell<'a> {
        match cell {
            Cell::Text(value) => Cell::Text(self.text(value)),
            Cell::Missing | Cell::List(_) => cell,
            Cell::Int(_) | Cell::UInt(_) if self.numbers.is_empty() => cell,
            typed => self.typed(typed),
        }
    }

    fn typed<'a>(&self, cell: Cell<'a>) -> Cell<'a> {
        let cell = match cell {
            Cell::Bool(v) if self.canonical => Cell::Int(v.into()),
            Cell::Single(v) if self.canonical && v.is_nan() => return Cell::Missing,
            Cell::Double(v) if self.canonical && v.is_nan() => return Cell::Missing,
            other => other,
        };
        let is_null = |text: &[u8]| self.is_null(text);
        let null = !self.numbers.is_empty() && cell.bytes(&mut String::new()).is_ok_and(is_null);
        if null { Cell::Missing } else { cell }
    }

    /// The text of a whole list, which is not respelled as a whole: the empty one for a missing list.
    #[inline]
    pub(crate) fn list<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        let may = |&last: &u8| self.changes[usize::from(last)];
        if value.last().is_some_and(may) && self.is_null(value) { b"" } else { value }
    }

    /// Whether a number stands for a missing one.
    #[inline]
    pub(crate) fn is_missing_number(&self, v: f64) -> bool {
        v.is_nan() || self.numbers.contains(&v)
    }

    /// Meaning of a text that is no number in a column of numbers: nothing, a missing one, or that of a boolean.
    pub(crate) fn number(&self, text: &str) -> Option<Option<f64>> {
        let bytes = text.as_bytes();
        if self.is_null(bytes) || self.number_nulls.iter().any(|null| **null == *bytes) {
            return Some(None);
        }
        match respell(bytes) {
            b"0" if self.canonical => Some(Some(0.0)),
            b"1" if self.canonical => Some(Some(1.0)),
            _ => None,
        }
    }

    /// Whether booleans are numbers.
    pub(crate) fn reads_booleans(&self) -> bool {
        self.canonical
    }

    /// The texts of the labels 0 and 1, where they are given.
    pub(crate) fn labels(&self) -> Option<&[Box<[u8]>; 2]> {
        self.labels.as_ref()
    }
}

/// The text that stands for a value: a boolean's is its number, a whole number's has no fraction.
pub(crate) fn respell(value: &[u8]) -> &[u8] {
    match value {
        b"true" | b"True" | b"TRUE" => b"1",
        b"false" | b"False" | b"FALSE" => b"0",
        _ => whole(value),
    }
}

/// `1024` of `1024.0`; a text that is no whole number, or has a zero before others, as it is.
fn whole(value: &[u8]) -> &[u8] {
    let zeros = value.iter().rev().take_while(|&&b| b == b'0').count();
    let (before, _) = value.split_at(value.len() - zeros);
    let Some((b'.', number)) = before.split_last().filter(|_| zeros > 0) else { return value };
    match number.strip_prefix(b"-").unwrap_or(number) {
        b"0" => number,
        [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => number,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_value_become_one_text() {
        let reading = Reading::default();
        for (written, wanted) in [
            ("1024.0", "1024"),
            ("1024.000", "1024"),
            ("-7.0", "-7"),
            ("0.0", "0"),
            ("-0.0", "-0"),
            ("123456789012345678901.0", "123456789012345678901"),
            ("True", "1"),
            ("TRUE", "1"),
            ("true", "1"),
            ("False", "0"),
            ("FALSE", "0"),
            ("false", "0"),
            ("NULL", ""),
            ("\\N", ""),
            ("NaN", ""),
        ] {
            assert_eq!(reading.canonical(written), wanted, "{written}");
        }
    }

    #[test]
    fn other_texts_stay() {
        let others = [
            "", "0", "1", "100", "1024", "1.50", "1.05", "007", "007.0", "00.0", "1.", ".0", "-.0", "-",
            "1.0.0", "v1.0", "1e3.0", "+1.0", " 1.0", "1.0 ", "NA", "null", "None", "nan", "NULL ", "tRUE",
            "T", "yes", "é.0", "٣.0", "0.0.0", "--1.0",
        ];
        for text in others {
            assert_eq!(Reading::default().canonical(text), text);
        }
        let old = Reading { spelling: Spelling::AsWritten, ..Reading::default() };
        for text in ["1024.0", "True", "NULL", "NaN", ""] {
            assert_eq!(old.canonical(text), text);
        }
    }

    #[test]
    fn null_values_may_be_others() {
        let nulls = |list: &[&str]| Reading {
            null_values: Some(list.iter().map(ToString::to_string).collect()),
            ..Reading::default()
        };
        let reading = nulls(&["-", "NA", "-999.0", "x"]);
        for (written, wanted) in
            [("-", ""), ("NA", ""), ("-999", ""), ("-999.00", ""), ("x", ""), ("NULL", "NULL")]
        {
            assert_eq!(reading.canonical(written), wanted, "{written}");
        }
        let speller = Speller::new(&reading);
        let missing = |cell| matches!(speller.cell(cell), Cell::Missing | Cell::Text(b""));
        assert!(missing(Cell::Int(-999)) && missing(Cell::Double(-999.0)) && missing(Cell::Single(f32::NAN)));
        assert!(!missing(Cell::Int(-998)) && !missing(Cell::UInt(999)) && !missing(Cell::Bool(false)));
        let largest = Speller::new(&nulls(&["9223372036854775807"]));
        assert!(matches!(largest.cell(Cell::Int(i64::MAX)), Cell::Missing));
        assert!(matches!(largest.cell(Cell::Int(i64::MAX - 1)), Cell::Int(_)));
    }
}
