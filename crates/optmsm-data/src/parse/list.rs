//! Lists of a file: their values and weights.

use super::brackets::values as bracketed;
use super::number::single;
use crate::config::ListText;
use crate::error::quote;
use crate::fault::{Parsed, fault};
use crate::source::{Cell, List, Speller, utf8};

/// How a multi field writes its list.
#[derive(Clone, Copy)]
pub(crate) struct ListFormat<'a> {
    pub(crate) text: ListText,
    pub(crate) separator: &'a str,
    pub(crate) weight_separator: Option<&'a str>,
    pub(crate) speller: &'a Speller,
}

/// Hands every value of a list, as UTF-8, and its weight to `each`; missing values are skipped.
///
/// Weights are read only if the format has a `weight_separator`; without one every weight is 1.
#[inline]
pub(crate) fn list(
    cell: Cell,
    format: ListFormat,
    scratch: &mut String,
    mut each: impl FnMut(&[u8], f32),
) -> Parsed<()> {
    let speller = format.speller;
    let mut each = |name: &[u8], weight| match speller.text(name) {
        b"" => {}
        name => each(name, weight),
    };
    if let Cell::List(elements) = cell {
        return elements_of(elements, format, scratch, |name, weight| each(name.as_bytes(), weight));
    }
    let value = match cell {
        Cell::Text(value) => speller.list(value),
        other => speller.cell(other).bytes(scratch)?,
    };
    match (format.separator.as_bytes(), format.weight_separator) {
        // Searching a byte is several times faster than searching a string, and nearly all separators are one.
        ([separator], None) if format.text == ListText::Separated => {
            if !value.is_ascii() {
                utf8(value)?;
            }
            value.split(|byte| byte == separator).for_each(|name| each(name, 1.0));
            Ok(())
        }
        _ => split(utf8(value)?, format, |name, weight| each(name.as_bytes(), weight)),
    }
}

/// Whether nothing but an entry of a list's dictionary decides about its id, and no limit which entries count.
pub(crate) fn is_plain_list(weight_separator: Option<&str>, max_length: Option<u32>) -> bool {
    weight_separator.is_none() && max_length.is_none()
}

/// Hands the first `max_length` values of a list and their weights to `each`, up to its first fault.
pub(crate) fn each_value(
    cell: Cell,
    format: ListFormat,
    max_length: Option<u32>,
    scratch: &mut String,
    mut each: impl FnMut(&[u8], f32) -> Parsed<()>,
) -> Parsed<()> {
    let (mut left, mut done) = (max_length.unwrap_or(u32::MAX), Ok(()));
    list(cell, format, scratch, |name, weight| {
        if left > 0 && done.is_ok() {
            left -= 1;
            done = each(name, weight);
        }
    })?;
    done
}

#[inline(never)] // keeps the loop over a text tight
fn elements_of(
    elements: List,
    format: ListFormat,
    scratch: &mut String,
    mut each: impl FnMut(&str, f32),
) -> Parsed<()> {
    for i in 0..elements.len() {
        let weight = match elements.weight(i).filter(|_| format.weight_separator.is_some()) {
            Some(Cell::Missing) | None => 1.0,
            Some(weight) => match single(weight, scratch)? {
                Ok(w) if w.is_finite() => w,
                _ => {
                    let weight = weight.text(scratch)?.to_owned();
                    return bad_weight(elements.cell(i).text(scratch)?, &weight);
                }
            },
        };
        match format.speller.cell(elements.cell(i)).text(scratch)? {
            "" => {}
            // Strings of a list may have their weights in them, as in a CSV.
            text if format.weight_separator.is_some() && !elements.weighted() => {
                element(text, format, &mut each)?;
            }
            text => each(text, weight),
        }
    }
    Ok(())
}

fn split(value: &str, format: ListFormat, mut each: impl FnMut(&str, f32)) -> Parsed<()> {
    let trimmed = format.text == ListText::Trimmed;
    let one = |text: &str| element(if trimmed { text.trim() } else { text }, format, &mut each);
    // Searching a char is several times faster than searching a string, and nearly all separators are one.
    match format.separator.as_bytes() {
        _ if format.text == ListText::Json => bracketed(value, one),
        [byte] => value.split(char::from(*byte)).try_for_each(one),
        _ => value.split(format.separator).try_for_each(one),
    }
}

/// One element as text, perhaps with its weight.
fn element(element: &str, format: ListFormat, each: &mut impl FnMut(&str, f32)) -> Parsed<()> {
    if element.is_empty() {
        return Ok(());
    }
    let (name, weight) = match format.weight_separator.and_then(|by| element.rsplit_once(by)) {
        Some((name, weight)) if format.text == ListText::Trimmed => {
            (name.trim_end(), element_weight(name, weight)?)
        }
        Some((name, weight)) => (name, element_weight(name, weight)?),
        None => (element, 1.0),
    };
    if !name.is_empty() {
        each(name, weight);
    }
    Ok(())
}

fn element_weight(name: &str, weight: &str) -> Parsed<f32> {
    match weight.trim().parse::<f32>() {
        Ok(w) if w.is_finite() => Ok(w),
        _ => bad_weight(name, weight),
    }
}

fn bad_weight<T>(name: &str, weight: &str) -> Parsed<T> {
    fault(
        format!("the weight {} of {} is not a finite number", quote(weight), quote(name)),
        "fix it, or leave weight_separator out",
    )
}

#[cfg(test)]
mod tests {
    use std::str;

    use super::*;
    use crate::source::{Elements, Reading};

    fn speller() -> Speller {
        Speller::new(&Reading::default())
    }

    fn elements(value: &str, separator: &str, weight_separator: Option<&str>) -> Vec<(String, f32)> {
        let (text, speller) = (ListText::Separated, &speller());
        read(value, ListFormat { text, separator, weight_separator, speller })
    }

    fn read(value: &str, format: ListFormat) -> Vec<(String, f32)> {
        let mut out = Vec::new();
        let cell = Cell::Text(value.as_bytes());
        list(cell, format, &mut String::new(), |name, w| {
            out.push((str::from_utf8(name).unwrap().to_owned(), w))
        })
        .unwrap();
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
        assert_eq!(elements("a, b", ",", None), own(&[("a", 1.0), (" b", 1.0)]));
    }

    #[test]
    fn blanks_around_values_of_a_trimmed_list_are_no_part_of_them() {
        let (text, speller) = (ListText::Trimmed, &speller());
        let trimmed = |separator, weight_separator| ListFormat { text, separator, weight_separator, speller };
        for value in ["red,dark blue", "red, dark blue", " red ,\tdark blue ", "red,, dark blue, "] {
            assert_eq!(read(value, trimmed(",", None)), own(&[("red", 1.0), ("dark blue", 1.0)]), "{value}");
        }
        assert_eq!(read(" a : 0.5; b:2 ", trimmed(";", Some(":"))), own(&[("a", 0.5), ("b", 2.0)]));
        assert_eq!(read(" , ", trimmed(",", None)), []);
    }

    #[test]
    fn lists_in_brackets_may_have_weights() {
        let (text, speller) = (ListText::Json, &speller());
        let json = |weight_separator| ListFormat { text, separator: "|", weight_separator, speller };
        assert_eq!(read("['a:0.5', 'b']", json(Some(":"))), own(&[("a", 0.5), ("b", 1.0)]));
        assert_eq!(read("['a:0.5', 'b|c']", json(None)), own(&[("a:0.5", 1.0), ("b|c", 1.0)]));
    }

    #[test]
    fn lists_of_values_and_weights() {
        struct Pairs(&'static [(i64, Option<f64>)]);
        impl Elements for Pairs {
            fn cell(&self, i: usize) -> Cell<'_> {
                Cell::Int(self.0[i].0)
            }
            fn weight(&self, i: usize) -> Option<Cell<'_>> {
                Some(self.0[i].1.map_or(Cell::Missing, Cell::Double))
            }
            fn weighted(&self) -> bool {
                true
            }
        }
        let pairs = Pairs(&[(1, Some(0.5)), (2, Some(2.0)), (3, None), (4, Some(f64::INFINITY))]);
        let read = |start, end, weight_separator| {
            let mut out = Vec::new();
            let cell = Cell::List(List { elements: &pairs, start, end });
            let (text, speller) = (ListText::Separated, &speller());
            let format = ListFormat { text, separator: "|", weight_separator, speller };
            list(cell, format, &mut String::new(), |name, w| {
                out.push((str::from_utf8(name).unwrap().to_owned(), w));
            })
            .map(|()| out)
            .map_err(|f| f.problem)
        };
        assert_eq!(read(1, 3, Some(":")), Ok(own(&[("2", 2.0), ("3", 1.0)])));
        assert_eq!(read(0, 1, None), Ok(own(&[("1", 1.0)])));
        assert_eq!(read(2, 2, Some(":")), Ok(vec![]));
        assert_eq!(read(3, 4, Some(":")), Err("the weight \"inf\" of \"4\" is not a finite number".into()));
    }
}
