//! Rows of files, encoded through a schema.

mod missing;

use std::io::Read;

use csv::ByteRecord;
use optmsm_core::batch::{Batch, Column};

use crate::encode::{self, encode_value};
use crate::error::{Result, list, quote};
use crate::fit::scenario_name;
use crate::hash::hash_bytes;
use crate::parse::{self, Fault, Parsed, fault};
use crate::schema::{Encoding, Schema};
use crate::source::{AnyRow, Cell, Entry, Progress, Records, Row, Source};
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

    /// Adds the row that was read last.
    fn push(&mut self, file: &mut Records) {
        if self.len == self.records.len() {
            // Room for a usual row at once: each record grows by itself, and rows differ in length.
            self.records.push(ByteRecord::with_capacity(256, 32));
        }
        file.take(&mut self.records[self.len]);
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
    fn new(file: &mut Records, schema: &Schema, need: Need) -> Result<Self> {
        let mut optional = |column: Option<&String>, key| match (need, column) {
            (Need::Labelled, Some(column)) => file.find(column, key).map(Some),
            _ => Ok(None),
        };
        let label = optional(Some(&schema.label), "data.label")?;
        let weight = optional(schema.weight.as_ref(), "data.weight")?;
        let group = optional(schema.group.as_ref(), "data.group")?;
        let probability = optional(schema.probability.as_ref(), "data.probability")?;
        Ok(Self {
            label,
            weight,
            group,
            probability,
            scenario: file.find(&schema.scenario, "data.scenario")?,
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
    file: Records,
    encoder: Encoder<'a>,
    selector: Option<Selector>,
}

impl<'a> RowReader<'a> {
    /// Opens a source and finds the columns in its first file.
    ///
    /// # Errors
    /// The file cannot be opened, is empty, or lacks a column; the message says what to do.
    pub fn open(source: impl Into<Source>, schema: &'a Schema, need: Need) -> Result<Self> {
        Self::new(Records::open(&source.into(), schema.delimiter)?, schema, need)
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
        Self::new(Records::from_reader(name, Box::new(reader), schema.delimiter)?, schema, need)
    }

    fn new(mut file: Records, schema: &'a Schema, need: Need) -> Result<Self> {
        let layout = Layout::new(&mut file, schema, need)?;
        let known = schema.fields.iter().map(|_| Known::default()).collect();
        let encoder = Encoder { schema, layout, known, scratch: String::new() };
        Ok(Self { file, encoder, selector: None })
    }

    /// The file at hand, as messages name it.
    pub(crate) fn name(&self) -> &str {
        self.file.name()
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

    /// Names of the values of [`RowReader::read_records`]: a CSV's header without a byte order mark, with the
    /// columns of its folders at the end; of other files one column, `row`, the number of the row from 1.
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
        let Self { file, encoder, selector } = self;
        while rows < max_rows && encoder.read_row(file, selector, batch, extra)? {
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
        let Self { file, encoder, selector } = self;
        while records.len() < max_rows && encoder.read_row(file, selector, batch, extra)? {
            records.push(file);
        }
        Ok(records.len())
    }
}

/// Ids of the entries of the dictionary at hand: each is looked up once, not for every row.
#[derive(Default)]
struct Known {
    stamp: Option<u64>,
    ids: Vec<Option<u32>>,
}

impl Known {
    fn id(&mut self, entry: Entry, look_up: impl FnOnce(Cell) -> Parsed<u32>) -> Parsed<u32> {
        if self.stamp != Some(entry.dictionary.stamp) {
            self.stamp = Some(entry.dictionary.stamp);
            self.ids.clear();
            self.ids.resize(entry.dictionary.len(), None);
        }
        match self.ids[entry.index] {
            Some(id) => Ok(id),
            None => {
                let id = look_up(entry.dictionary.cell(entry.index))?;
                self.ids[entry.index] = Some(id);
                Ok(id)
            }
        }
    }
}

struct Encoder<'a> {
    schema: &'a Schema,
    layout: Layout,
    known: Vec<Known>, // one a field
    scratch: String,   // text of a value that is none
}

impl Encoder<'_> {
    /// Reads and appends the next row that is selected, whole or not at all; false at the end of the file.
    fn read_row(
        &mut self,
        file: &mut Records,
        selector: &mut Option<Selector>,
        batch: &mut Batch,
        extra: &mut Extra,
    ) -> Result<bool> {
        loop {
            if !file.next()? {
                return Ok(false);
            }
            let Some(selector) = selector else { break };
            if selector.takes(file)? {
                break;
            }
        }
        let (rows, groups, probabilities) = (batch.rows(), extra.groups.len(), extra.probabilities.len());
        let encoded = match file.row() {
            AnyRow::Csv(row) => self.encode(row, batch, extra),
            AnyRow::Columns(row) => self.encode(row, batch, extra),
        };
        match encoded {
            Ok(()) => Ok(true),
            Err((column, fault)) => {
                truncate(batch, rows);
                extra.groups.truncate(groups);
                extra.probabilities.truncate(probabilities);
                Err(file.value_error(column, fault))
            }
        }
    }

    fn encode(
        &mut self,
        row: impl Row,
        batch: &mut Batch,
        extra: &mut Extra,
    ) -> std::result::Result<(), (usize, Fault)> {
        let Self { schema, layout, known, scratch } = self;
        assert_eq!(batch.columns.len(), layout.fields.len(), "columns of the batch, fields of the schema");
        let columns = layout.fields.iter().zip(known).zip(&mut batch.columns);
        for (field, ((&c, known), values)) in schema.fields.iter().zip(columns) {
            let encoded = match (row.entry(c), &field.encoding, &mut *values) {
                (Some(entry), Encoding::Categorical { vocabulary }, Column::Categorical(ids)) => {
                    known.id(entry, |cell| encode::id(vocabulary, cell, scratch)).map(|id| ids.push(id))
                }
                _ => encode_value(&field.encoding, row.cell(c), scratch, values),
            };
            encoded.map_err(|f| (c, f))?;
        }
        if let Some(c) = layout.label {
            batch.labels.push(parse::label(row.cell(c)).map_err(|f| (c, f))?);
        }
        if let Some(c) = layout.weight {
            batch.weights.push(parse::weight(row.cell(c), scratch).map_err(|f| (c, f))?);
        }
        if let Some(c) = layout.group {
            extra.groups.push(hash_bytes(row.cell(c).bytes(scratch).map_err(|f| (c, f))?));
        }
        if let Some(c) = layout.probability {
            extra.probabilities.push(parse::probability(row.cell(c), scratch).map_err(|f| (c, f))?);
        }
        let c = layout.scenario;
        batch.scenarios.push(scenario(schema, row.cell(c), scratch).map_err(|f| (c, f))?);
        Ok(())
    }
}

fn scenario(schema: &Schema, cell: Cell, scratch: &mut String) -> Parsed<u32> {
    let name = scenario_name(cell, scratch)?;
    match schema.scenario_id(name).or(schema.fallback_scenario()) {
        Some(id) => Ok(id),
        None => {
            let known = list(schema.scenarios.iter().map(|s| s.name.as_str()));
            fault(
                format!("scenario {} is not one that training saw ({known})", quote(name)),
                "fix the value, or train with data.unseen_scenario = \"oov\"",
            )
        }
    }
}

impl std::fmt::Debug for RowReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowReader").field("file", &self.file.name()).finish_non_exhaustive()
    }
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
