//! One value, encoded through a schema: the same code for training, evaluation and prediction.

use optmsm_core::batch::Column;

use crate::config::{DEFAULT_SEPARATOR, ListText, Transform};
use crate::fault::{Parsed, fault};
use crate::parse::{self, ListFormat, each_value};
use crate::schema::{Encoding, Vocabulary, bucket};
use crate::source::{Cell, Speller};

/// Appends one value to the column of its field; what a failure leaves there is of no use.
///
/// # Panics
/// If the column is not that of such a field: a batch of another schema.
pub(crate) fn encode_value(
    encoding: &Encoding,
    speller: &Speller,
    cell: Cell,
    scratch: &mut String,
    column: &mut Column,
) -> Parsed<()> {
    match (encoding, column) {
        (Encoding::Categorical { vocabulary }, Column::Categorical(ids)) => {
            ids.push(id(vocabulary, speller.cell(cell), scratch)?);
        }
        (Encoding::Multi { .. }, Column::Multi { offsets, ids, weights }) => {
            encode_list(encoding, speller, cell, scratch, ids, weights)?;
            offsets.push(offset(ids.len())?);
        }
        (Encoding::Buckets { marks, cuts, .. }, Column::Categorical(ids)) => {
            ids.push(match parse::number(cell, speller, Transform::None, *marks)? {
                Some(v) => 1 + bucket(v, cuts),
                None => cuts.len() as u32 + 2,
            });
        }
        (Encoding::Numeric { marks, transform, stats, fill, ladder }, Column::Numeric(values)) => {
            let value = match parse::number(cell, speller, *transform, *marks)? {
                Some(v) => transform.apply(v, stats, ladder) as f32,
                None => *fill,
            };
            if !value.is_finite() {
                let problem = parse::too_large(&cell)?;
                return fault(
                    format!("{problem} after its transform"),
                    "fix the value, or set transform = \"none\"",
                );
            }
            values.push(value);
        }
        _ => panic!("a batch of another schema: a column holds another kind of field"),
    }
    Ok(())
}

/// The end of a list, as a batch keeps it.
pub(crate) fn offset(ids: usize) -> Parsed<u32> {
    u32::try_from(ids)
        .or_else(|_| fault("more than 2^32 values of one field in memory", "read fewer rows at a time"))
}

/// Id of one value.
pub(crate) fn id(vocabulary: &Vocabulary, cell: Cell, scratch: &mut String) -> Parsed<u32> {
    // Integers that are ids need not become text and back.
    let integer = match cell {
        Cell::Int(v) => vocabulary.find_integer(u64::try_from(v).ok()),
        Cell::UInt(v) => vocabulary.find_integer(Some(v)),
        _ => None,
    };
    integer.map_or_else(|| vocabulary.find_bytes(cell.bytes(scratch)?), Ok)
}

/// Appends the ids and weights of a list.
fn encode_list(
    encoding: &Encoding,
    speller: &Speller,
    cell: Cell,
    scratch: &mut String,
    ids: &mut Vec<u32>,
    weights: &mut Vec<f32>,
) -> Parsed<()> {
    let Encoding::Multi { max_length, vocabulary, .. } = encoding else { return Ok(()) };
    let format = list_format(encoding, speller);
    let weighted = format.weight_separator.is_some();
    let mut push = |id, weight| {
        ids.push(id);
        if weighted {
            weights.push(weight);
        }
    };
    let mut empty = true;
    each_value(cell, format, *max_length, scratch, |name, weight| {
        empty = false;
        push(vocabulary.find_bytes(name)?, weight);
        Ok(())
    })?;
    if let Some(missing) = vocabulary.missing_id().filter(|_| empty) {
        push(missing, 1.0);
    }
    Ok(())
}

/// How the text of a list is read; of other fields what no one asks for.
pub(crate) fn list_format<'a>(encoding: &'a Encoding, speller: &'a Speller) -> ListFormat<'a> {
    let (text, separator, weight_separator) = match encoding {
        Encoding::Multi { list, separator, weight_separator, .. } => {
            (*list, &**separator, weight_separator.as_deref())
        }
        _ => (ListText::default(), DEFAULT_SEPARATOR, None),
    };
    ListFormat { text, separator, weight_separator, speller }
}

/// Whether a value that can be encoded is a missing one: of lists also one without a value in it.
pub(crate) fn is_missing(encoding: &Encoding, speller: &Speller, cell: Cell, scratch: &mut String) -> bool {
    match encoding {
        Encoding::Multi { max_length, .. } => {
            let format = list_format(encoding, speller);
            let mut empty = true;
            let each = |_: &[u8], _| {
                empty = false;
                Ok(())
            };
            each_value(cell, format, *max_length, scratch, each).is_ok() && empty
        }
        // Blanks are a category of their own.
        Encoding::Categorical { .. } => matches!(speller.cell(cell), Cell::Missing | Cell::Text(b"")),
        Encoding::Buckets { marks, .. } => {
            matches!(parse::number(cell, speller, Transform::None, *marks), Ok(None))
        }
        Encoding::Numeric { marks, transform, .. } => {
            matches!(parse::number(cell, speller, *transform, *marks), Ok(None))
        }
    }
}
