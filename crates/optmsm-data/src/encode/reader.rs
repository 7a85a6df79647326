//! Rows of files, encoded through a schema.

use std::io::Read;
use std::sync::Arc;

use arrow_array::RecordBatchReader;
use csv::ByteRecord;
use optmsm_core::batch::{Batch, Column};

use super::extra::{Extra, Need};
use super::rows::{Encoded, Encoder, Layout};
use crate::error::{DataError, Result};
use crate::schema::Schema;
use crate::source::{Progress, Records, Selector, Source, Split, SplitConfig, Stream};

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

    /// Adds an encoded row of a block.
    fn push(&mut self, block: &Encoded, row: usize) {
        if self.len == self.records.len() {
            // Room for a usual row at once: each record grows by itself, and rows differ in length.
            self.records.push(ByteRecord::with_capacity(256, 32));
        }
        block.copy(row, &mut self.records[self.len]);
        self.len += 1;
    }
}

/// A stream of encoded rows, read and encoded ahead by the threads of its [`Source`].
///
/// Rows, errors and their order do not depend on the threads. What they hold, beside a row group's pages each, is at most 16 MB
/// of encoded rows, and a few batches a thread.
pub struct RowReader<'a> {
    schema: &'a Schema,
    header: ByteRecord,
    has_header: bool,
    name: String,
    state: State,
    block: Option<Encoded>,    // the one at hand
    taken: usize,              // rows of it
    error: Option<DataError>,  // to come behind it
    progress: Progress,        // behind the rows taken
    missing: Option<Vec<u64>>, // rows without a value, one count a field
}

enum State {
    Opened(Box<Records>, Layout, Option<Selector>),
    Running(Box<Stream<Encoder>>),
    Ended,
}

impl<'a> RowReader<'a> {
    /// Opens a source and finds the columns in its first file.
    ///
    /// # Errors
    /// The file cannot be opened, is empty, or lacks a column; the message says what to do.
    pub fn open(source: impl Into<Source>, schema: &'a Schema, need: Need) -> Result<Self> {
        Self::new(Records::open(&source.into(), &schema.reading)?, schema, need)
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
        Self::new(Records::from_reader(name, Box::new(reader), &schema.reading)?, schema, need)
    }

    /// Reads Arrow batches, each once; `name` stands for the path in messages.
    ///
    /// # Errors
    /// As [`RowReader::open`].
    pub fn from_batches(
        name: &str,
        batches: Box<dyn RecordBatchReader + Send>,
        schema: &'a Schema,
        need: Need,
    ) -> Result<Self> {
        Self::new(Records::from_batches(name, batches)?, schema, need)
    }

    fn new(mut records: Records, schema: &'a Schema, need: Need) -> Result<Self> {
        let layout = Layout::new(&mut records, schema, need)?;
        let (header, name) = (records.header().clone(), records.name().to_owned());
        let has_header = records.has_header();
        let progress = Progress { rows: 0, bytes: 0, total_bytes: records.total_bytes() };
        let state = State::Opened(Box::new(records), layout, None);
        Ok(Self {
            schema,
            header,
            has_header,
            name,
            state,
            block: None,
            taken: 0,
            error: None,
            progress,
            missing: None,
        })
    }

    /// The first file, as messages name it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Reads the rows of one part only, and passes over the others. To be called before the first read.
    ///
    /// # Errors
    /// The file lacks the column that the split names.
    pub fn select(mut self, split: &SplitConfig, part: Split) -> Result<Self> {
        if let State::Opened(records, _, selector) = &mut self.state {
            let column = split.column().map(|c| records.find(c, "data.split.by")).transpose()?;
            *selector = Some(Selector::new(split, part, column));
        }
        Ok(self)
    }

    /// Counts the rows that have no value, for [`RowReader::missing`]. To be called before the first read.
    #[must_use]
    pub fn count_missing(mut self) -> Self {
        self.missing = Some(vec![0; self.schema.fields.len()]);
        self
    }

    /// Rows read so far that have no value, one count a field: a null or a text that stands for one, of numbers also blanks, of lists
    /// also one without a value in it. Empty without [`RowReader::count_missing`].
    pub fn missing(&self) -> &[u64] {
        self.missing.as_deref().unwrap_or_default()
    }

    /// Names of the values of [`RowReader::read_records`]: a CSV's header without a byte order mark, with the
    /// columns of its folders at the end; of other files one column, `row`, the number of the row from 1.
    pub fn header(&self) -> &ByteRecord {
        &self.header
    }

    /// Whether the names stand in the file, of a CSV; one without a header has them from `data.columns`.
    pub fn has_header(&self) -> bool {
        self.has_header
    }

    /// How far it has come: behind the rows that were read last. Bytes between two batches are estimated.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Appends up to `max_rows` rows; returns how many, fewer only at the end of the file.
    ///
    /// # Errors
    /// A row cannot be used; the rows before it have been appended, and nothing of it, and nothing is read after it. A file with
    /// a header but no row is an error of the first read.
    ///
    /// # Panics
    /// If `batch` was not made from this schema's [`Schema::input_spec`].
    pub fn read(&mut self, batch: &mut Batch, extra: &mut Extra, max_rows: usize) -> Result<usize> {
        self.take(batch, extra, max_rows, |_, _| {})
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
        self.take(batch, extra, max_rows, |block, row| records.push(block, row))
    }

    /// Appends rows and hands each to `each`.
    fn take(
        &mut self,
        batch: &mut Batch,
        extra: &mut Extra,
        max_rows: usize,
        mut each: impl FnMut(&Encoded, usize),
    ) -> Result<usize> {
        let mut rows = 0;
        while rows < max_rows && self.fill()? {
            let Some(block) = &self.block else { break };
            let (from, len) = (self.taken, block.len());
            let to = len.min(from + max_rows - rows);
            append(batch, &block.batch, from, to)
                .map_err(|problem| DataError::unfit(&self.name, problem, "read fewer rows at a time"))?;
            extra.groups.extend(block.extra.groups.get(from..to).unwrap_or_default());
            extra.probabilities.extend(block.extra.probabilities.get(from..to).unwrap_or_default());
            (from..to).for_each(|row| each(block, row));
            for (count, missing) in self.missing.iter_mut().flatten().zip(&block.missing) {
                *count += missing.iter().filter(|&&row| (from..to).contains(&(row as usize))).count() as u64;
            }
            rows += to - from;
            self.taken = to;
            self.progress = block.span().at(to, len);
        }
        Ok(rows)
    }

    /// Goes on to a block of which rows are left; false at the end.
    fn fill(&mut self) -> Result<bool> {
        loop {
            if self.block.as_ref().is_some_and(|block| self.taken < block.len()) {
                return Ok(true);
            }
            self.block = None;
            if let Some(error) = self.error.take() {
                self.state = State::Ended;
                return Err(error);
            }
            self.state = match std::mem::replace(&mut self.state, State::Ended) {
                State::Opened(records, layout, selector) => {
                    let schema = Arc::new(self.schema.clone());
                    let counting = self.missing.is_some();
                    let worker = || Encoder::new(schema.clone(), layout.clone(), selector.clone(), counting);
                    State::Running(Box::new(Stream::new(*records, worker)?))
                }
                State::Running(mut stream) => match stream.next()? {
                    Some(done) => {
                        self.progress = done.made.span().at(0, done.made.len());
                        (self.block, self.taken, self.error) = (Some(done.made), 0, done.error);
                        State::Running(stream)
                    }
                    None => {
                        self.progress.bytes = self.progress.total_bytes.unwrap_or(self.progress.bytes);
                        State::Ended
                    }
                },
                State::Ended => return Ok(false),
            };
        }
    }
}

/// Appends rows of a batch of the same columns.
fn append(to: &mut Batch, from: &Batch, start: usize, end: usize) -> std::result::Result<(), &'static str> {
    assert_eq!(to.columns.len(), from.columns.len(), "columns of the batch, fields of the schema");
    to.labels.extend(from.labels.get(start..end).unwrap_or_default());
    to.weights.extend(from.weights.get(start..end).unwrap_or_default());
    to.scenarios.extend(&from.scenarios[start..end]);
    for (to, from) in to.columns.iter_mut().zip(&from.columns) {
        match (to, from) {
            (Column::Categorical(to), Column::Categorical(from)) => to.extend(&from[start..end]),
            (Column::Numeric(to), Column::Numeric(from)) => to.extend(&from[start..end]),
            (Column::Multi { offsets, ids, weights }, Column::Multi { offsets: of, ids: i, weights: w }) => {
                let (first, last) = (of[start], of[end]);
                let Ok(base) = u32::try_from(ids.len()) else { return Err(TOO_MANY) };
                if base.checked_add(last - first).is_none() {
                    return Err(TOO_MANY);
                }
                offsets.extend(of[start + 1..=end].iter().map(|o| base + (o - first)));
                let range = first as usize..last as usize;
                ids.extend(&i[range.clone()]);
                weights.extend(w.get(range).unwrap_or_default());
            }
            _ => panic!("a batch of another schema: a column holds another kind of field"),
        }
    }
    Ok(())
}

const TOO_MANY: &str = "more than 2^32 values of one field in memory";

impl std::fmt::Debug for RowReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowReader").field("file", &self.name).finish_non_exhaustive()
    }
}
