//! One value of a file: text to number, label, weight or list.

use std::str;

use crate::error::quote;
use crate::numeric::Transform;

/// A value that cannot be used, before the file, line and column are known.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) problem: String,
    pub(crate) fix: String,
}

pub(crate) type Parsed<T> = std::result::Result<T, Fault>;

#[cold]
pub(crate) fn fault<T>(problem: impl Into<String>, fix: impl Into<String>) -> Parsed<T> {
    Err(Fault { problem: problem.into(), fix: fix.into() })
}

/// Text of a value.
pub(crate) fn text(bytes: &[u8]) -> Parsed<&str> {
    str::from_utf8(bytes).or_else(|e| {
        let at = e.valid_up_to() + 1;
        fault(format!("byte {at} of the value is not valid UTF-8"), "save the file as UTF-8")
    })
}

/// A label, 0 or 1.
pub(crate) fn label(bytes: &[u8]) -> Parsed<f32> {
    match bytes {
        b"0" => return Ok(0.0),
        b"1" => return Ok(1.0),
        _ => {}
    }
    let value = text(bytes)?;
    match value.trim().parse::<f64>() {
        Ok(0.0) => Ok(0.0),
        Ok(1.0) => Ok(1.0),
        _ if value.trim().is_empty() => fault("the label is empty", "give 0 or 1, or drop the row"),
        _ => fault(
            format!("{} is not 0 or 1", quote(value)),
            "fix the value, or name the column of the label in data.label",
        ),
    }
}

/// A sample weight.
pub(crate) fn weight(bytes: &[u8]) -> Parsed<f32> {
    let value = text(bytes)?;
    match value.trim().parse::<f32>() {
        // -0 is at least 0 too; written as 0 it cannot surprise anyone downstream.
        Ok(w) if w.is_finite() && w >= 0.0 => Ok(w + 0.0),
        _ => fault(format!("{} is not a weight", quote(value)), "give a finite number of at least 0"),
    }
}

/// A true probability.
pub(crate) fn probability(bytes: &[u8]) -> Parsed<f32> {
    let value = text(bytes)?;
    match value.trim().parse::<f32>() {
        Ok(p) if (0.0..=1.0).contains(&p) => Ok(p + 0.0),
        _ => fault(
            format!("{} is not a probability", quote(value)),
            "give a number from 0 to 1, or leave data.probability out",
        ),
    }
}

/// A number of a numeric field, before its transform; none when missing.
pub(crate) fn number(bytes: &[u8], transform: Transform) -> Parsed<Option<f64>> {
    let value = text(bytes)?;
    let trimmed = value.trim();
    if trimmed.is_empty() {
        return Ok(None);
    }
    let Ok(v) = trimmed.parse::<f64>() else {
        return fault(
            format!("{} is not a number", quote(value)),
            "fix the value, or set kind = \"categorical\"",
        );
    };
    if !v.is_finite() {
        return fault(
            format!("{} is not a finite number", quote(value)),
            "fix the value, or leave it empty if it is missing",
        );
    }
    if v.abs() > f64::from(f32::MAX) {
        return fault(too_large(value), "fix the value, or scale the column");
    }
    if transform == Transform::Log1p && v <= -1.0 {
        return fault(
            format!("{} has no log1p", quote(value)),
            "give values above -1, or set another transform",
        );
    }
    Ok(Some(v))
}

pub(crate) fn too_large(value: &str) -> String {
    format!("{} is too large for a 32-bit number", quote(value))
}

/// How a multi field writes its list.
#[derive(Clone, Copy)]
pub(crate) struct ListFormat<'a> {
    pub(crate) separator: &'a str,
    pub(crate) weight_separator: Option<&'a str>,
}

/// Hands every value of a list and its weight to `each`; empty values are skipped.
pub(crate) fn list(bytes: &[u8], format: ListFormat, mut each: impl FnMut(&str, f32)) -> Parsed<()> {
    let value = text(bytes)?;
    let one = |element: &str| {
        if element.is_empty() {
            return Ok(());
        }
        let (name, weight) = match format.weight_separator.and_then(|by| element.rsplit_once(by)) {
            Some((name, weight)) => (name, element_weight(name, weight)?),
            None => (element, 1.0),
        };
        if !name.is_empty() {
            each(name, weight);
        }
        Ok(())
    };
    // Searching a char is several times faster than searching a string, and nearly all separators are one.
    match format.separator.as_bytes() {
        [byte] => value.split(char::from(*byte)).try_for_each(one),
        _ => value.split(format.separator).try_for_each(one),
    }
}

fn element_weight(name: &str, weight: &str) -> Parsed<f32> {
    match weight.trim().parse::<f32>() {
        Ok(w) if w.is_finite() => Ok(w),
        _ => fault(
            format!("the weight {} of {} is not a finite number", quote(weight), quote(name)),
            "fix it, or leave weight_separator out",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(value: &str, separator: &str, weight_separator: Option<&str>) -> Vec<(String, f32)> {
        let mut out = Vec::new();
        let format = ListFormat { separator, weight_separator };
        list(value.as_bytes(), format, |name, w| out.push((name.to_owned(), w))).unwrap();
        out
    }

    fn own(list: &[(&str, f32)]) -> Vec<(String, f32)> {
        list.iter().map(|&(n, w)| (n.to_owned(), w)).collect()
    }

    #[test]
    fn lists() {
        assert_eq!(elements("", "|", None), []);
        assert_eq!(elements("|", "|", None), []);
        assert_eq!(elements("a||b|", "|", None), own(&[("a", 1.0), ("b", 1.0)]));
        assert_eq!(elements("a, b", ", ", None), own(&[("a", 1.0), ("b", 1.0)]));
        assert_eq!(elements("ä§b", "§", None), own(&[("ä", 1.0), ("b", 1.0)]));
        let weighted = own(&[("a", 0.5), ("b", 1.0), ("x:y", -2.0)]);
        assert_eq!(elements("a:0.5|b|x:y:-2|:3", "|", Some(":")), weighted);
        assert_eq!(elements("a:0.5", "|", None), own(&[("a:0.5", 1.0)]));
    }

    #[test]
    fn labels_may_be_written_as_floats() {
        for (value, wanted) in [("0", 0.0), ("1", 1.0), ("1.0", 1.0), ("0.0", 0.0), (" 1 ", 1.0)] {
            assert_eq!(label(value.as_bytes()).unwrap(), wanted);
        }
        for value in ["", " ", "2", "0.5", "-1", "true", "nan"] {
            assert!(label(value.as_bytes()).is_err(), "{value}");
        }
    }

    #[test]
    fn numbers() {
        let parse = |v: &str| number(v.as_bytes(), Transform::None).map_err(|f| f.problem);
        assert_eq!(parse(" -1.5e2 "), Ok(Some(-150.0)));
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse(" "), Ok(None));
        assert_eq!(parse("1,5"), Err("\"1,5\" is not a number".into()));
        assert_eq!(parse("1e999"), Err("\"1e999\" is not a finite number".into()));
        assert_eq!(parse("1e39"), Err("\"1e39\" is too large for a 32-bit number".into()));
        let problem = number(b"-1", Transform::Log1p).unwrap_err().problem;
        assert_eq!(problem, "\"-1\" has no log1p");
    }
}
