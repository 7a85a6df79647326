//! A whole file of encoded rows.

use optmsm_core::batch::Batch;

use crate::error::Result;
use crate::reader::{Extra, Need, RowReader};
use crate::schema::Schema;
use crate::source::{PROGRESS_ROWS, Progress, Source};
use crate::split::{self, Part, SplitConfig};

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
        Self::read(RowReader::open(source, schema, Need::Labelled)?, schema, &mut progress)
    }

    /// [`Dataset::load`] of one part of a file.
    ///
    /// # Errors
    /// As [`Dataset::load`], and when no row falls into the part.
    pub fn load_part(
        source: impl Into<Source>,
        schema: &Schema,
        split: &SplitConfig,
        part: Part,
    ) -> Result<Self> {
        let reader = RowReader::open(source, schema, Need::Labelled)?.select(split, part)?;
        let name = reader.name().to_string();
        let set = Self::read(reader, schema, &mut |_| {})?;
        match set.rows() {
            0 => Err(split::empty(&name, part)),
            _ => Ok(set),
        }
    }

    fn read(mut reader: RowReader, schema: &Schema, progress: &mut dyn FnMut(Progress)) -> Result<Self> {
        let mut set = Self { batch: Batch::new(&schema.input_spec()), extra: Extra::default() };
        let rows = PROGRESS_ROWS as usize;
        while reader.read(&mut set.batch, &mut set.extra, rows)? == rows {
            progress(reader.progress());
        }
        progress(reader.progress());
        Ok(set)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.batch.rows()
    }
}
