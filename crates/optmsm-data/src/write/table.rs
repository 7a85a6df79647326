//! Parquet files written row by row: what synthetic data and prepared data sets have in common.

use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::builder::{
    Float64Builder, Int8Builder, Int32Builder, Int64Builder, ListBuilder, StringBuilder,
    StringDictionaryBuilder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::properties::WriterProperties;

/// Rows of a row group: a few MB of usual columns, and enough groups to read a large file with many threads.
const GROUP: u64 = 128 << 10;

/// Type of a column of a [`TableWriter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// One text, stored as a dictionary.
    Text,
    /// A list of texts.
    Texts,
    /// A list of integers of 32 bits.
    Ints,
    /// An integer of 8 bits.
    Int8,
    /// An integer of 32 bits.
    Int32,
    /// An integer of 64 bits.
    Int64,
    /// A number of 64 bits.
    Float64,
}

enum Column {
    Text(StringDictionaryBuilder<Int32Type>),
    Texts(ListBuilder<StringBuilder>),
    Ints(ListBuilder<Int32Builder>),
    Int8(Int8Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float64(Float64Builder),
}

impl Column {
    fn new(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Text => Self::Text(StringDictionaryBuilder::new()),
            ColumnType::Texts => Self::Texts(ListBuilder::new(StringBuilder::new())),
            ColumnType::Ints => Self::Ints(ListBuilder::new(Int32Builder::new())),
            ColumnType::Int8 => Self::Int8(Int8Builder::new()),
            ColumnType::Int32 => Self::Int32(Int32Builder::new()),
            ColumnType::Int64 => Self::Int64(Int64Builder::new()),
            ColumnType::Float64 => Self::Float64(Float64Builder::new()),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(column) => Arc::new(column.finish()),
            Self::Texts(column) => Arc::new(column.finish()),
            Self::Ints(column) => Arc::new(column.finish()),
            Self::Int8(column) => Arc::new(column.finish()),
            Self::Int32(column) => Arc::new(column.finish()),
            Self::Int64(column) => Arc::new(column.finish()),
            Self::Float64(column) => Arc::new(column.finish()),
        }
    }
}

/// Writes rows as Parquet, in row groups of 131,072 rows packed with Snappy; memory is that of one row group.
///
/// A row is one value for each column, in any order of columns, then [`TableWriter::end_row`]; none is a null.
pub struct TableWriter<W: Write + Send> {
    names: Vec<String>,
    columns: Vec<Column>,
    rows: u64,
    waiting: u64,
    writer: ArrowWriter<W>,
}

fn failed(e: ParquetError) -> io::Error {
    match e {
        // A full disk should be called that, and not a Parquet error.
        ParquetError::External(e) => match e.downcast::<io::Error>() {
            Ok(e) => *e,
            Err(e) => io::Error::other(e),
        },
        e => io::Error::other(e),
    }
}

fn batch(names: &[String], columns: &mut [Column]) -> ParquetResult<RecordBatch> {
    let columns = columns.iter_mut().map(Column::finish);
    Ok(RecordBatch::try_from_iter_with_nullable(names.iter().zip(columns).map(|(name, c)| (name, c, true)))?)
}

impl<W: Write + Send> TableWriter<W> {
    /// A file of these columns.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn new(out: W, columns: &[(&str, ColumnType)]) -> io::Result<Self> {
        let names: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut columns: Vec<Column> = columns.iter().map(|&(_, kind)| Column::new(kind)).collect();
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let schema = batch(&names, &mut columns).map_err(failed)?.schema();
        let writer = ArrowWriter::try_new(out, schema, Some(properties)).map_err(failed)?;
        Ok(Self { names, columns, rows: 0, waiting: 0, writer })
    }

    /// Gives the row a text.
    ///
    /// # Panics
    /// If the column holds something else; so do the other methods.
    pub fn text(&mut self, column: usize, value: Option<&str>) {
        match &mut self.columns[column] {
            Column::Text(column) => column.append_option(value),
            _ => self.mismatch(column, "text"),
        }
    }

    /// Gives the row a list of texts.
    pub fn texts(&mut self, column: usize, values: impl IntoIterator<Item = impl AsRef<str>>) {
        match &mut self.columns[column] {
            Column::Texts(column) => {
                values.into_iter().for_each(|value| column.values().append_value(value));
                column.append(true);
            }
            _ => self.mismatch(column, "list of texts"),
        }
    }

    /// Gives the row a list of integers.
    pub fn ints(&mut self, column: usize, values: impl IntoIterator<Item = i32>) {
        match &mut self.columns[column] {
            Column::Ints(column) => {
                column.values().extend(values.into_iter().map(Some));
                column.append(true);
            }
            _ => self.mismatch(column, "list of integers"),
        }
    }

    /// Gives the row an integer.
    ///
    /// # Panics
    /// If the column is too narrow for it, too.
    pub fn int(&mut self, column: usize, value: Option<i64>) {
        let fits = match &mut self.columns[column] {
            Column::Int8(column) => {
                value.map(i8::try_from).transpose().map(|v| column.append_option(v)).is_ok()
            }
            Column::Int32(column) => {
                value.map(i32::try_from).transpose().map(|v| column.append_option(v)).is_ok()
            }
            Column::Int64(column) => {
                column.append_option(value);
                true
            }
            _ => false,
        };
        if !fits {
            self.mismatch(column, "integer");
        }
    }

    /// Gives the row a number.
    pub fn number(&mut self, column: usize, value: Option<f64>) {
        match &mut self.columns[column] {
            Column::Float64(column) => column.append_option(value),
            _ => self.mismatch(column, "number"),
        }
    }

    fn mismatch(&self, column: usize, what: &str) -> ! {
        panic!("column '{}' does not hold this {what}", self.names[column])
    }

    /// Ends the row.
    ///
    /// # Errors
    /// The output cannot be written, or a column has no value for a row.
    pub fn end_row(&mut self) -> io::Result<()> {
        self.rows += 1;
        self.waiting += 1;
        if self.waiting == GROUP { self.write() } else { Ok(()) }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn write(&mut self) -> io::Result<()> {
        let rows = batch(&self.names, &mut self.columns).map_err(failed)?;
        self.waiting = 0;
        self.writer.write(&rows).and_then(|()| self.writer.flush()).map_err(failed)
    }

    /// Writes what is left and the end of the file; returns the output.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        if self.waiting > 0 {
            self.write()?;
        }
        self.writer.into_inner().map_err(failed)
    }
}
