//! Numbers of a file: cell to 32 or 64 bits.

use crate::config::{Marks, Transform};
use crate::error::quote;
use crate::fault::{Parsed, fault};
use crate::source::{Cell, Speller, utf8};

/// A number as the 32 bits that its text means: what a CSV of the same rows would give.
///
/// Some, with its text, if it is no number.
pub(super) fn single(cell: Cell, scratch: &mut String) -> Parsed<std::result::Result<f32, String>> {
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
            let value = utf8(bytes)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Reading;

    fn speller() -> Speller {
        Speller::new(&Reading::default())
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
