//! One value of a file: cell to text, number, label, weight or list.

mod brackets;

pub(crate) use brackets::values as bracketed;

use std::str;

use crate::config::ListText;
use crate::error::quote;
use crate::numeric::{Marks, Transform};
use crate::reading::{Speller, respell};
use crate::source::{Cell, List};

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
#[inline]
pub(crate) fn text(bytes: &[u8]) -> Parsed<&str> {
    str::from_utf8(bytes).or_else(|e| {
        let at = e.valid_up_to() + 1;
        fault(format!("byte {at} of the value is not valid UTF-8"), "save the file as UTF-8")
    })
}

/// A label, 0 or 1.
#[inline]
pub(crate) fn label(cell: Cell, speller: &Speller) -> Parsed<f32> {
    match (cell, speller.labels()) {
        (_, Some(labels)) => return given_label(cell, speller, labels),
        (Cell::Text(b"0") | Cell::Int(0) | Cell::UInt(0) | Cell::Bool(false), None) => return Ok(0.0),
        (Cell::Text(b"1") | Cell::Int(1) | Cell::UInt(1) | Cell::Bool(true), None) => return Ok(1.0),
        _ => {}
    }
    let mut scratch = String::new();
    let value = cell.text(&mut scratch)?;
    let text = respell(value.trim().as_bytes());
    match str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok()) {
        Some(0.0) => Ok(0.0),
        Some(1.0) => Ok(1.0),
        _ if speller.text(text).is_empty() => fault("the label is missing", "give 0 or 1, or drop the row"),
        _ => fault(
            format!("{} is not 0 or 1", quote(value)),
            "fix the value, name the column of the label in data.label, or say how 0 and 1 are written: data.label_values = [\"no\", \"yes\"]",
        ),
    }
}

/// A label that is one of two texts; numbers are the same however they are written.
fn given_label(cell: Cell, speller: &Speller, labels: &[Box<[u8]>; 2]) -> Parsed<f32> {
    let mut scratch = String::new();
    let value = speller.cell(cell).text(&mut scratch)?;
    let text = speller.text(value.trim().as_bytes());
    let number = |text: &[u8]| str::from_utf8(text).ok()?.parse::<f64>().ok();
    let is = |label: &[u8]| text == label || number(text).is_some_and(|v| number(label) == Some(v));
    match labels.each_ref().map(|label| is(label)) {
        [true, _] => Ok(0.0),
        [_, true] => Ok(1.0),
        _ if text.is_empty() => fault("the label is missing", "give it a value, or drop the row"),
        _ => {
            let [zero, one] = labels.each_ref().map(|label| quote(&String::from_utf8_lossy(label)));
            fault(
                format!("{} is not {zero} or {one}, which data.label_values names", quote(value)),
                "fix the value, or data.label_values",
            )
        }
    }
}

/// A number as the 32 bits that its text means: what a CSV of the same rows would give.
///
/// Some, with its text, if it is no number.
fn single(cell: Cell, scratch: &mut String) -> Parsed<std::result::Result<f32, String>> {
    match cell {
        Cell::Single(v) => return Ok(Ok(v)),
        Cell::Int(v) => return Ok(Ok(v as f32)),
        Cell::UInt(v) => return Ok(Ok(v as f32)),
        Cell::Double(v) if !is_between(v) => return Ok(Ok(v as f32)),
        _ => {}
    }
    let value = cell.text(scratch)?;
    Ok(value.trim().parse::<f32>().map_err(|_| value.to_owned()))
}

/// Whether a 64-bit number may lie on one side of the middle of two 32-bit ones and its text on the other.
///
/// The shortest text lies within half a unit of the number's last bit, so only numbers next to such a middle can: 29 bits go, and the
/// middle is their highest alone. Numbers that 32 bits hold with fewer bits, or not at all, have other middles.
fn is_between(v: f64) -> bool {
    const GONE: u64 = (1 << 29) - 1;
    const MIDDLE: u64 = 1 << 28;
    let near = (v.to_bits() & GONE).abs_diff(MIDDLE) <= 1;
    near || (v != 0.0 && !(f64::from(f32::MIN_POSITIVE)..1e38).contains(&v.abs()))
}

/// A sample weight.
pub(crate) fn weight(cell: Cell, scratch: &mut String) -> Parsed<f32> {
    match single(cell, scratch)? {
        // -0 is at least 0 too; written as 0 it cannot surprise anyone downstream.
        Ok(w) if w.is_finite() && w >= 0.0 => Ok(w + 0.0),
        _ => fault(
            format!("{} is not a weight", quote(cell.text(scratch)?)),
            "give a finite number of at least 0",
        ),
    }
}

/// A true probability.
pub(crate) fn probability(cell: Cell, scratch: &mut String) -> Parsed<f32> {
    match single(cell, scratch)? {
        Ok(p) if (0.0..=1.0).contains(&p) => Ok(p + 0.0),
        _ => fault(
            format!("{} is not a probability", quote(cell.text(scratch)?)),
            "give a number from 0 to 1, or leave data.probability out",
        ),
    }
}

/// A number of a numeric field, before its transform; none when missing. A text is read by its marks.
#[inline]
pub(crate) fn number(
    cell: Cell,
    speller: &Speller,
    transform: Transform,
    marks: Marks,
) -> Parsed<Option<f64>> {
    let written = |cell: Cell| cell.text(&mut String::new()).map(quote); // for messages
    let v = match cell {
        Cell::Missing => return Ok(None),
        Cell::Int(v) => v as f64,
        Cell::UInt(v) => v as f64,
        Cell::Double(v) => v,
        Cell::Single(v) => shortest(v),
        Cell::Bool(v) if speller.reads_booleans() => f64::from(v),
        Cell::Bool(_) => {
            return fault(
                format!("{} is not a number", written(cell)?),
                "give 0 and 1 in an integer column, or set kind = \"categorical\"",
            );
        }
        Cell::Text(bytes) => {
            let value = text(bytes)?;
            let trimmed = value.trim();
            if trimmed.is_empty() {
                return Ok(None);
            }
            match marks.parse(trimmed) {
                Some(v) => v,
                None => match speller.number(trimmed) {
                    Some(meant) => return Ok(meant),
                    None => {
                        return fault(
                            format!("{} is not a number", quote(value)),
                            "fix the value, name it in data.null_values if it is a missing one, set decimal or thousands if it has such \
                             marks, or set kind = \"categorical\"",
                        );
                    }
                },
            }
        }
        Cell::List(_) => return cell.text(&mut String::new()).map(|_| None),
    };
    if speller.is_missing_number(v) {
        return Ok(None);
    }
    if !v.is_finite() {
        return fault(
            format!("{} is not a finite number", written(cell)?),
            "fix the value, or leave it empty if it is missing",
        );
    }
    if v.abs() > f64::from(f32::MAX) {
        return fault(too_large(&cell)?, "fix the value, or scale the column");
    }
    if transform == Transform::Log1p && v <= -1.0 {
        return fault(
            format!("{} has no log1p", written(cell)?),
            "give values above -1, or set another transform",
        );
    }
    Ok(Some(v))
}

/// The number that the shortest text of a 32-bit number means, such as 0.1 for the 32 bits nearest to it.
fn shortest(v: f32) -> f64 {
    let exact = f64::from(v);
    // Below 2^24 digits before the point cannot be left out, so the shortest text is the one of fewest decimals.
    // A 24-bit number times 10^6 is exact, so the quotient is what parsing the text would give.
    if exact.abs() < f64::from(1 << 24) {
        for power in [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6] {
            let scaled = exact * power;
            let near = scaled.round();
            if (near / power) as f32 == v {
                if (scaled - near).abs() == 0.5 {
                    break; // which of two texts is left to the formatter
                }
                return near / power;
            }
        }
    }
    v.to_string().parse().unwrap_or(exact)
}

pub(crate) fn too_large(cell: &Cell) -> Parsed<String> {
    Ok(format!("{} is too large for a 32-bit number", quote(cell.text(&mut String::new())?)))
}

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
                text(value)?;
            }
            value.split(|byte| byte == separator).for_each(|name| each(name, 1.0));
            Ok(())
        }
        _ => split(text(value)?, format, |name, weight| each(name.as_bytes(), weight)),
    }
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
    use super::*;
    use crate::reading::{Reading, Spelling};
    use crate::source::Elements;

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
    fn labels_may_be_written_as_floats() {
        for (value, wanted) in [("0", 0.0), ("1", 1.0), ("1.0", 1.0), ("0.0", 0.0), (" 1 ", 1.0)] {
            assert_eq!(label(Cell::Text(value.as_bytes()), &speller()).unwrap(), wanted);
        }
        for value in ["", " ", "2", "0.5", "-1", "yes", "nan", "NULL"] {
            assert!(label(Cell::Text(value.as_bytes()), &speller()).is_err(), "{value}");
        }
    }

    #[test]
    fn typed_cells_read_as_their_text_in_a_csv() {
        let mut scratch = String::new();
        let scratch = &mut scratch;
        let cells = [
            (Cell::Missing, ""),
            (Cell::Int(-7), "-7"),
            (Cell::UInt(u64::MAX), "18446744073709551615"),
            (Cell::Single(0.1), "0.1"),
            (Cell::Double(0.1), "0.1"),
            (Cell::Double(3.0), "3"),
            (Cell::Bool(true), "true"),
        ];
        for (cell, wanted) in cells {
            assert_eq!(cell.text(scratch).unwrap(), wanted);
        }
        for (cell, wanted) in [(Cell::Int(1), 1.0), (Cell::Bool(false), 0.0), (Cell::Double(1.0), 1.0)] {
            assert_eq!(label(cell, &speller()).unwrap(), wanted);
        }
        assert_eq!(label(Cell::Missing, &speller()).unwrap_err().problem, "the label is missing");
        assert_eq!(label(Cell::Int(2), &speller()).unwrap_err().problem, "\"2\" is not 0 or 1");
        assert_eq!(weight(Cell::Double(0.1), scratch).unwrap(), 0.1);
        assert_eq!(weight(Cell::Missing, scratch).unwrap_err().problem, "\"\" is not a weight");
        let plain = Marks::default();
        let none = |v| number(v, &speller(), Transform::None, plain).unwrap();
        assert_eq!(
            [none(Cell::Double(f64::NAN)), none(Cell::Text(b"nan")), none(Cell::Text(b"N/A"))],
            [None; 3]
        );
        assert_eq!([none(Cell::Bool(true)), none(Cell::Text(b"TRUE"))], [Some(1.0); 2]);
        let old = Speller::new(&Reading { spelling: Spelling::AsWritten, ..Reading::default() });
        let flag = number(Cell::Bool(true), &old, Transform::None, plain).unwrap_err().problem;
        assert_eq!(flag, "\"true\" is not a number");
    }

    #[test]
    fn a_narrow_float_is_the_number_that_its_text_means() {
        let mut bits = 1u32;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(0x915F_77F5).wrapping_add(12345);
            for v in [f32::from_bits(bits), (bits % 100_000) as f32 / 100.0] {
                if v.is_finite() {
                    assert_eq!(shortest(v).to_bits(), v.to_string().parse::<f64>().unwrap().to_bits(), "{v}");
                }
            }
        }
    }

    #[test]
    fn a_wide_float_is_the_32_bits_that_its_text_means() {
        let mut scratch = String::new();
        let mut check = |v: f64| {
            let wanted = v.to_string().parse::<f32>().unwrap();
            let got = single(Cell::Double(v), &mut scratch).unwrap().unwrap();
            assert_eq!(got.to_bits(), wanted.to_bits(), "{v:e}");
        };
        let mut bits = 1u64;
        for _ in 0..100_000 {
            bits = bits.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            let any = f64::from_bits(bits);
            // The middle of two neighbours, and the numbers around it.
            let middle = (any.to_bits() >> 29 << 29) + (1 << 28);
            let near = [-2i64, -1, 0, 1, 2].map(|d| f64::from_bits(middle.wrapping_add_signed(d)));
            let usual = [(bits >> 44) as f64 / 1e6, (bits >> 40) as f64 / 100.0, 0.0, -0.0];
            [any].into_iter().chain(near).chain(usual).filter(|v| v.is_finite()).for_each(&mut check);
        }
        for v in [i64::MAX, i64::MIN, 16_777_217, 9_007_199_791_611_905, 0] {
            let wanted = v.to_string().parse::<f32>().unwrap();
            assert_eq!(single(Cell::Int(v), &mut String::new()).unwrap().unwrap(), wanted);
        }
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

    #[test]
    fn numbers() {
        let parse = |v: &str| {
            let cell = Cell::Text(v.as_bytes());
            number(cell, &speller(), Transform::None, Marks::default()).map_err(|f| f.problem)
        };
        assert_eq!(parse(" -1.5e2 "), Ok(Some(-150.0)));
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse(" "), Ok(None));
        assert_eq!(parse("1,5"), Err("\"1,5\" is not a number".into()));
        assert_eq!(parse("1e999"), Err("\"1e999\" is not a finite number".into()));
        assert_eq!(parse("1e39"), Err("\"1e39\" is too large for a 32-bit number".into()));
        let (cell, marks) = (Cell::Text(b"-1"), Marks::default());
        let problem = number(cell, &speller(), Transform::Log1p, marks).unwrap_err().problem;
        assert_eq!(problem, "\"-1\" has no log1p");
    }
}
