//! Rows of a CSV file, encoded through a schema.

use std::io::Read;
use std::path::Path;

use csv::ByteRecord;
use optmsm_core::batch::{Batch, Column};

use crate::error::{Result, list, quote};
use crate::fit::scenario_name;
use crate::hash::hash_bytes;
use crate::parse::{self, Fault, ListFormat, Parsed, fault};
use crate::schema::{Encoding, Schema};
use crate::source::{CsvFile, Progress};
use crate::split::{Part, Selector, SplitConfig};

/// Which columns a file must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Everything that the schema names: to train or to evaluate.
    Labelled,
    /// The scenario and the fields: to predict. Label, weight, group and probability are not looked at.
    Unlabelled,
}

/// What evaluation needs of the rows beside the batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extra {
    /// 64-bit hash of each row's group, the same on every platform; empty if the schema names no group.
    pub groups: Vec<u64>,
    /// True probability of each row; empty if the schema names no such column.
    pub probabilities: Vec<f32>,
}

impl Extra {
    /// Drops the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.groups.clear();
        self.probabilities.clear();
    }
}

/// Rows as the file has them, to write them out again; keeps its memory from one read to the next.
#[derive(Clone, Debug, Default)]
pub struct RecordBuffer {
    records: Vec<ByteRecord>,
    len: usize,
}

impl RecordBuffer {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The rows, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ByteRecord> {
        self.records[..self.len].iter()
    }

    /// Drops the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// A record to read into; [`RecordBuffer::keep`] makes it part of the rows.
    fn spare(&mut self) -> &mut ByteRecord {
        if self.len == self.records.len() {
            // Room for a usual row at once: each record grows by itself, and rows differ in length.
            self.records.push(ByteRecord::with_capacity(256, 32));
        }
        &mut self.records[self.len]
    }

    fn keep(&mut self) {
        self.len += 1;
    }
}

/// Where in a record each thing lies.
struct Layout {
    label: Option<usize>,
    weight: Option<usize>,
    group: Option<usize>,
    probability: Option<usize>,
    scenario: usize,
    fields: Vec<usize>,
}

impl Layout {
    fn new(file: &CsvFile, schema: &Schema, need: Need) -> Result<Self> {
        let optional = |column: Option<&String>, key| match (need, column) {
            (Need::Labelled, Some(column)) => file.find(column, key).map(Some),
            _ => Ok(None),
        };
        Ok(Self {
            label: optional(Some(&schema.label), "data.label")?,
            scenario: file.find(&schema.scenario, "data.scenario")?,
            weight: optional(schema.weight.as_ref(), "data.weight")?,
            group: optional(schema.group.as_ref(), "data.group")?,
            probability: optional(schema.probability.as_ref(), "data.probability")?,
            fields: schema
                .fields
                .iter()
                .map(|f| file.find(&f.column, &format!("data.fields.{}", f.name)))
                .collect::<Result<_>>()?,
        })
    }
}

/// A stream of encoded rows. Reading a row allocates nothing once the buffers have grown to size.
pub struct RowReader<'a> {
    file: CsvFile,
    encoder: Encoder<'a>,
    record: ByteRecord,
    selector: Option<Selector>,
}

impl<'a> RowReader<'a> {
    /// Opens a file, or the standard input for `-`, and finds the columns in its header.
    ///
    /// # Errors
    /// The file cannot be opened, is empty, or lacks a column; the message says what to do.
    pub fn open(path: impl AsRef<Path>, schema: &'a Schema, need: Need) -> Result<Self> {
        Self::new(CsvFile::open(path.as_ref(), schema.delimiter)?, schema, need)
    }

    /// Reads from anything; `name` stands for the path in messages.
    ///
    /// # Errors
    /// As [`RowReader::open`].
    pub fn from_reader(
        name: &str,
        reader: impl Read + Send + 'static,
        schema: &'a Schema,
        need: Need,
    ) -> Result<Self> {
        Self::new(CsvFile::from_reader(name, Box::new(reader), schema.delimiter, None)?, schema, need)
    }

    fn new(file: CsvFile, schema: &'a Schema, need: Need) -> Result<Self> {
        let layout = Layout::new(&file, schema, need)?;
        Ok(Self { file, encoder: Encoder { schema, layout }, record: ByteRecord::new(), selector: None })
    }

    /// Reads the rows of one part only, and passes over the others. To be called before the first read.
    ///
    /// # Errors
    /// The file lacks the column that the split names.
    pub fn select(mut self, split: &SplitConfig, part: Part) -> Result<Self> {
        let column = split.column().map(|c| self.file.find(c, "data.split.by")).transpose()?;
        self.selector = Some(Selector::new(split, part, column));
        Ok(self)
    }

    /// The header as the file has it, without a byte order mark.
    pub fn header(&self) -> &ByteRecord {
        self.file.header()
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.file.progress()
    }

    /// Appends up to `max_rows` rows; returns how many, fewer only at the end of the file.
    ///
    /// # Errors
    /// A row cannot be used; the rows before it have been appended, and nothing of it. A file with a header
    /// but no row is an error of the first read.
    ///
    /// # Panics
    /// If `batch` was not made from this schema's [`Schema::input_spec`].
    pub fn read(&mut self, batch: &mut Batch, extra: &mut Extra, max_rows: usize) -> Result<usize> {
        let mut rows = 0;
        let Self { file, encoder, record, selector } = self;
        while rows < max_rows && encoder.read_row(file, selector, record, batch, extra)? {
            rows += 1;
        }
        Ok(rows)
    }

    /// [`RowReader::read`], which also replaces `records` by the rows as the file has them.
    ///
    /// # Errors
    /// As [`RowReader::read`].
    ///
    /// # Panics
    /// As [`RowReader::read`].
    pub fn read_records(
        &mut self,
        batch: &mut Batch,
        extra: &mut Extra,
        records: &mut RecordBuffer,
        max_rows: usize,
    ) -> Result<usize> {
        records.clear();
        let Self { file, encoder, selector, .. } = self;
        while records.len() < max_rows && encoder.read_row(file, selector, records.spare(), batch, extra)? {
            records.keep();
        }
        Ok(records.len())
    }
}

struct Encoder<'a> {
    schema: &'a Schema,
    layout: Layout,
}

impl Encoder<'_> {
    /// Reads and appends the next row that is selected, whole or not at all; false at the end of the file.
    fn read_row(
        &self,
        file: &mut CsvFile,
        selector: &mut Option<Selector>,
        record: &mut ByteRecord,
        batch: &mut Batch,
        extra: &mut Extra,
    ) -> Result<bool> {
        loop {
            if !file.read(record)? {
                return Ok(false);
            }
            if selector.as_mut().is_none_or(|s| s.takes(|c| &record[c])) {
                break;
            }
        }
        let (rows, groups, probabilities) = (batch.rows(), extra.groups.len(), extra.probabilities.len());
        match self.encode(record, batch, extra) {
            Ok(()) => Ok(true),
            Err((column, fault)) => {
                truncate(batch, rows);
                extra.groups.truncate(groups);
                extra.probabilities.truncate(probabilities);
                Err(file.value_error(record, column, fault))
            }
        }
    }

    fn encode(
        &self,
        record: &ByteRecord,
        batch: &mut Batch,
        extra: &mut Extra,
    ) -> std::result::Result<(), (usize, Fault)> {
        let layout = &self.layout;
        assert_eq!(batch.columns.len(), layout.fields.len(), "columns of the batch, fields of the schema");
        for ((field, &c), values) in self.schema.fields.iter().zip(&layout.fields).zip(&mut batch.columns) {
            encode_value(&field.encoding, &record[c], values).map_err(|f| (c, f))?;
        }
        if let Some(c) = layout.label {
            batch.labels.push(parse::label(&record[c]).map_err(|f| (c, f))?);
        }
        if let Some(c) = layout.weight {
            batch.weights.push(parse::weight(&record[c]).map_err(|f| (c, f))?);
        }
        if let Some(c) = layout.group {
            extra.groups.push(hash_bytes(&record[c]));
        }
        if let Some(c) = layout.probability {
            extra.probabilities.push(parse::probability(&record[c]).map_err(|f| (c, f))?);
        }
        let c = layout.scenario;
        batch.scenarios.push(self.scenario(&record[c]).map_err(|f| (c, f))?);
        Ok(())
    }

    fn scenario(&self, bytes: &[u8]) -> Parsed<u32> {
        let name = scenario_name(bytes)?;
        match self.schema.scenario_id(name).or(self.schema.fallback_scenario()) {
            Some(id) => Ok(id),
            None => {
                let known = list(self.schema.scenarios.iter().map(|s| s.name.as_str()));
                fault(
                    format!("scenario {} is not one that training saw ({known})", quote(name)),
                    "fix the value, or train with data.unseen_scenario = \"oov\"",
                )
            }
        }
    }
}

impl std::fmt::Debug for RowReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowReader").field("file", &self.file.name()).finish_non_exhaustive()
    }
}

/// Appends one value to the column of its field.
fn encode_value(encoding: &Encoding, bytes: &[u8], column: &mut Column) -> Parsed<()> {
    match (encoding, column) {
        (Encoding::Categorical { vocabulary }, Column::Categorical(ids)) => {
            ids.push(vocabulary.id(parse::text(bytes)?));
        }
        (
            Encoding::Multi { separator, weight_separator, vocabulary, .. },
            Column::Multi { offsets, ids, weights },
        ) => {
            let format = ListFormat { separator, weight_separator: weight_separator.as_deref() };
            let weighted = weight_separator.is_some();
            parse::list(bytes, format, |name, weight| {
                ids.push(vocabulary.id(name));
                if weighted {
                    weights.push(weight);
                }
            })?;
            match u32::try_from(ids.len()) {
                Ok(end) => offsets.push(end),
                Err(_) => {
                    return fault(
                        "more than 2^32 values of one field in memory",
                        "read fewer rows at a time",
                    );
                }
            }
        }
        (Encoding::Numeric { transform, stats, fill }, Column::Numeric(values)) => {
            let value = match parse::number(bytes, *transform)? {
                Some(v) => transform.apply(v, stats) as f32,
                None => *fill,
            };
            if !value.is_finite() {
                let problem = parse::too_large(parse::text(bytes)?);
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

/// Drops what a row that failed left behind.
fn truncate(batch: &mut Batch, rows: usize) {
    let Batch { labels, weights, scenarios, columns } = batch;
    scenarios.truncate(rows);
    labels.truncate(rows);
    weights.truncate(rows);
    for column in columns {
        match column {
            Column::Categorical(ids) => ids.truncate(rows),
            Column::Numeric(values) => values.truncate(rows),
            Column::Multi { offsets, ids, weights } => {
                offsets.truncate(rows + 1);
                let end = offsets.last().map_or(0, |&o| o as usize);
                ids.truncate(end);
                weights.truncate(end);
            }
        }
    }
}
