//! Rows as bytes: arrays one after the other, each behind its length and at a multiple of eight bytes.

use bytemuck::Pod;
use optmsm_core::batch::{Batch, Column};

use crate::encode::extra::Extra;
use crate::schema::{Encoding, Schema};

/// Arrays start at multiples of it, so that they can be read where they lie.
const ALIGN: usize = 8;

fn put<T: Pod>(to: &mut Vec<u8>, values: &[T]) {
    to.extend_from_slice(&(values.len() as u64).to_ne_bytes());
    to.extend_from_slice(bytemuck::cast_slice(values));
    to.resize(to.len().next_multiple_of(ALIGN), 0);
}

/// Appends a batch of its own and what evaluation needs beside it.
pub(super) fn write(to: &mut Vec<u8>, batch: &Batch, extra: &Extra) {
    put(to, &batch.labels);
    put(to, &batch.weights);
    put(to, &batch.scenarios);
    put(to, &extra.groups);
    put(to, &extra.probabilities);
    for column in &batch.columns {
        match column {
            Column::Categorical(ids) => put(to, ids),
            Column::Numeric(values) => put(to, values),
            Column::Multi { offsets, ids, weights } => {
                put(to, offsets);
                put(to, ids);
                put(to, weights);
            }
        }
    }
}

/// Takes a block's arrays out again.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

type Read<T> = Result<T, &'static str>;

impl<'a> Reader<'a> {
    /// A block whose first byte lies at a multiple of eight.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next array, which holds `most` elements or none.
    fn array<T: Pod>(&mut self, most: Option<usize>) -> Read<&'a [T]> {
        let (length, rest) = self.bytes.split_first_chunk::<8>().ok_or("it ends early")?;
        let length = usize::try_from(u64::from_ne_bytes(*length)).map_err(|_| "a length is too large")?;
        let size = length.checked_mul(size_of::<T>()).ok_or("a length is too large")?;
        let padded = size.checked_next_multiple_of(ALIGN).ok_or("a length is too large")?;
        let values = rest.get(..size).ok_or("an array is longer than the block")?;
        self.bytes = rest.get(padded..).ok_or("it ends early")?;
        match most.is_none_or(|most| length == most || length == 0) {
            true => bytemuck::try_cast_slice(values).map_err(|_| "an array is not aligned"),
            false => Err("an array has another length than there are rows"),
        }
    }

    /// Appends `rows` rows to `batch`, which has the columns of the batch that was written.
    pub(super) fn rows(&mut self, rows: usize, batch: &mut Batch, extra: &mut Extra) -> Read<()> {
        batch.labels.extend_from_slice(self.array(Some(rows))?);
        batch.weights.extend_from_slice(self.array(Some(rows))?);
        batch.scenarios.extend_from_slice(self.array(Some(rows))?);
        extra.groups.extend_from_slice(self.array(Some(rows))?);
        extra.probabilities.extend_from_slice(self.array(Some(rows))?);
        for column in &mut batch.columns {
            match column {
                Column::Categorical(ids) => ids.extend_from_slice(self.array(Some(rows))?),
                Column::Numeric(values) => values.extend_from_slice(self.array(Some(rows))?),
                Column::Multi { offsets, ids, weights } => {
                    let (first, more) = (ids.len(), self.array::<u32>(Some(rows + 1))?);
                    if more.first().is_some_and(|&o| o > 0) || more.windows(2).any(|o| o[0] > o[1]) {
                        return Err("the offsets of lists do not rise from 0");
                    }
                    let end = first + more.last().map_or(0, |&o| o as usize);
                    if u32::try_from(end).is_err() {
                        return Err("more than 2^32 values of one field in memory");
                    }
                    offsets.extend(more.iter().skip(1).map(|&o| first as u32 + o));
                    ids.extend_from_slice(self.array(None)?);
                    weights.extend_from_slice(self.array(None)?);
                    if ids.len() != end {
                        return Err("lists have another length than their offsets say");
                    }
                }
            }
        }
        match self.bytes {
            [] => Ok(()),
            _ => Err("it goes on behind its last array"),
        }
    }
}

/// Checks that the rows of a block are rows of a schema.
///
/// # Errors
/// In words, what is not so.
pub(super) fn check(batch: &Batch, extra: &Extra, schema: &Schema) -> Result<(), String> {
    batch.validate(&schema.input_spec()).map_err(|e| e.to_string())?;
    let rows = batch.rows();
    let counts = [
        ("labels", batch.labels.len(), true),
        ("weights", batch.weights.len(), schema.weight.is_some()),
        ("groups", extra.groups.len(), schema.group.is_some()),
        ("probabilities", extra.probabilities.len(), schema.probability.is_some()),
    ];
    for (name, found, is_there) in counts {
        let wanted = if is_there { rows } else { 0 };
        if found != wanted {
            return Err(format!("{found} {name} where {wanted} are wanted"));
        }
    }
    if let Some(p) = extra.probabilities.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(format!("{p} is not a probability"));
    }
    for (field, column) in schema.fields.iter().zip(&batch.columns) {
        if let (Encoding::Multi { weight_separator, .. }, Column::Multi { ids, weights, .. }) =
            (&field.encoding, column)
        {
            let wanted = if weight_separator.is_some() { ids.len() } else { 0 };
            if weights.len() != wanted {
                let problem = format!("{} weights where {wanted} are wanted", weights.len());
                return Err(format!("field '{}': {problem}", field.name));
            }
        }
    }
    Ok(())
}
