//! A whole file of encoded rows.

use optmsm_core::batch::Batch;

use super::cache::Selection;
use super::extra::{Extra, Need};
use super::reader::RowReader;
use crate::error::Result;
use crate::schema::Schema;
use crate::source::{PROGRESS_ROWS, Progress, Source, Split, SplitConfig, empty_split};

/// A whole file of encoded rows: ids and numbers only, never the text they came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    /// The rows, in the order of the file.
    pub batch: Batch,
    /// Groups and true probabilities, where the schema names their columns.
    pub extra: Extra,
}

impl Dataset {
    /// Reads a labelled file through the schema.
    ///
    /// # Errors
    /// The file or a row of it cannot be used; the message says where, and the fix.
    pub fn load(source: impl Into<Source>, schema: &Schema) -> Result<Self> {
        Self::load_with(source, schema, |_| {})
    }

    /// [`Dataset::load`], with a callback every few thousand rows and at the end.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn load_with(
        source: impl Into<Source>,
        schema: &Schema,
        mut progress: impl FnMut(Progress),
    ) -> Result<Self> {
        let reader = RowReader::open(source, schema, Need::Labelled)?;
        Ok(Self::read(reader, schema, usize::MAX, &mut progress)?.0)
    }

    /// [`Dataset::load`] of one part of a file.
    ///
    /// # Errors
    /// As [`Dataset::load`], and when no row falls into the part.
    pub fn load_part(
        source: impl Into<Source>,
        schema: &Schema,
        split: &SplitConfig,
        part: Split,
    ) -> Result<Self> {
        Ok(Self::begin(source, schema, Some((split, part)), usize::MAX)?.0)
    }

    /// [`Dataset::load`] of a file or one part of it, where its rows take at most `most` bytes; none where they take more, which is known
    /// after little more than that was read.
    ///
    /// # Errors
    /// As [`Dataset::load_part`].
    pub fn load_within(
        source: impl Into<Source>,
        schema: &Schema,
        part: Selection,
        most: usize,
    ) -> Result<Option<Self>> {
        let (set, whole) = Self::begin(source, schema, part, most)?;
        Ok(whole.then_some(set))
    }

    /// Rows of a part, and whether these are all.
    fn begin(
        source: impl Into<Source>,
        schema: &Schema,
        part: Selection,
        most: usize,
    ) -> Result<(Self, bool)> {
        let mut reader = RowReader::open(source, schema, Need::Labelled)?;
        if let Some((split, part)) = part {
            reader = reader.select(split, part)?;
        }
        let name = reader.name().to_string();
        let (set, whole) = Self::read(reader, schema, most, &mut |_| {})?;
        match part {
            Some((_, part)) if set.rows() == 0 => Err(empty_split(&name, part)),
            _ => Ok((set, whole)),
        }
    }

    fn read(
        mut reader: RowReader,
        schema: &Schema,
        most: usize,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, bool)> {
        let mut set = Self { batch: Batch::new(&schema.input_spec()), extra: Extra::default() };
        let rows = PROGRESS_ROWS as usize;
        while reader.read(&mut set.batch, &mut set.extra, rows)? == rows {
            progress(reader.progress());
            if set.bytes() > most {
                return Ok((set, false));
            }
        }
        progress(reader.progress());
        Ok((set, true))
    }

    /// Bytes that the rows take.
    fn bytes(&self) -> usize {
        let Extra { groups, probabilities } = &self.extra;
        self.batch.bytes() + size_of_val(&groups[..]) + size_of_val(&probabilities[..])
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.batch.rows()
    }
}
