//! One value of a file: cell to label, weight, name of a scenario, number or list.

mod brackets;
mod list;
mod number;

use std::str;

use crate::error::quote;
use crate::fault::{Parsed, fault};
use crate::source::{Cell, Speller, respell};
pub(crate) use brackets::values as bracketed;
pub(crate) use list::{ListFormat, each_value, is_plain_list};
use number::single;
pub(crate) use number::{number, too_large};

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

/// Name of a row's scenario, which must not be empty.
pub(crate) fn scenario_name<'s>(cell: Cell<'s>, scratch: &'s mut String) -> Parsed<&'s str> {
    let name = cell.text(scratch)?;
    if name.is_empty() {
        return fault("the scenario is missing", "name one, or drop the row");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Marks, Transform};
    use crate::source::{Reading, Spelling};

    fn speller() -> Speller {
        Speller::new(&Reading::default())
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
}
