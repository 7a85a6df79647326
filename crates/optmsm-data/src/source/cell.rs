//! One value as its source holds it.

use std::fmt::Write;

use crate::fault::{Parsed, fault};

/// One value as its source holds it: a CSV gives text only, a columnar file what its column is.
#[derive(Clone, Copy)]
pub(crate) enum Cell<'a> {
    /// A null; a CSV writes it as an empty text.
    Missing,
    /// A string, not yet known to be UTF-8.
    Text(&'a [u8]),
    Int(i64),
    UInt(u64),
    /// A 32-bit float; narrower ones, too.
    Single(f32),
    Double(f64),
    Bool(bool),
    List(List<'a>),
}

/// The values of a list cell: a range of a column's elements.
#[derive(Clone, Copy)]
pub(crate) struct List<'a> {
    pub(crate) elements: &'a dyn Elements,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Elements of the lists of a column.
pub(crate) trait Elements {
    /// Element `i` of the column's lists, laid end to end.
    fn cell(&self, i: usize) -> Cell<'_>;

    /// Its weight; none if the elements are plain values.
    fn weight(&self, i: usize) -> Option<Cell<'_>>;

    /// Whether elements are pairs of a value and a weight.
    fn weighted(&self) -> bool;
}

impl<'a> List<'a> {
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn cell(&self, i: usize) -> Cell<'a> {
        self.elements.cell(self.start + i)
    }

    pub(crate) fn weight(&self, i: usize) -> Option<Cell<'a>> {
        self.elements.weight(self.start + i)
    }

    pub(crate) fn weighted(&self) -> bool {
        self.elements.weighted()
    }
}

impl<'a> Cell<'a> {
    /// The bytes that a CSV of the same rows would hold; `scratch` holds those of a number.
    ///
    /// Integers are decimal, floats the shortest text that reads back as the same float of their width,
    /// booleans `true` and `false`, a null the empty text. A list has none.
    #[inline]
    pub(crate) fn bytes<'s>(self, scratch: &'s mut String) -> Parsed<&'s [u8]>
    where
        'a: 's,
    {
        match self {
            Cell::Text(bytes) => Ok(bytes), // all that a CSV gives
            other => other.write(scratch),
        }
    }

    #[inline(never)]
    fn write<'s>(self, scratch: &'s mut String) -> Parsed<&'s [u8]>
    where
        'a: 's,
    {
        scratch.clear();
        let written = match self {
            Cell::Missing => Ok(()),
            Cell::Text(bytes) => return Ok(bytes),
            Cell::Bool(v) => return Ok(if v { b"true" } else { b"false" }),
            Cell::Int(v) => write!(scratch, "{v}"),
            Cell::UInt(v) => write!(scratch, "{v}"),
            Cell::Single(v) => write!(scratch, "{v}"),
            Cell::Double(v) => write!(scratch, "{v}"),
            Cell::List(_) => {
                return fault(
                    "is a list, where one value is wanted",
                    "set kind = \"multi\", or name another column",
                );
            }
        };
        written.ok(); // writing to a String cannot fail
        Ok(scratch.as_bytes())
    }

    /// [`Cell::bytes`] as text.
    #[inline]
    pub(crate) fn text<'s>(self, scratch: &'s mut String) -> Parsed<&'s str>
    where
        'a: 's,
    {
        utf8(self.bytes(scratch)?)
    }
}

/// The text of a value, which must be UTF-8.
#[inline]
pub(crate) fn utf8(bytes: &[u8]) -> Parsed<&str> {
    std::str::from_utf8(bytes).or_else(|e| {
        let at = e.valid_up_to() + 1;
        fault(format!("byte {at} of the value is not valid UTF-8"), "save the file as UTF-8")
    })
}
