//! Rows with their predictions, written as CSV or Parquet.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::Builder;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, Float32Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use csv::{ByteRecord, QuoteStyle};
use flate2::write::GzEncoder;
use optmsm_core::batch::Batch;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::encode::{Extra, Need, RecordBuffer, RowReader};
use crate::error::{DataError, FileErrorKind, Result};
use crate::schema::Schema;
use crate::source::{Quoting, Reading, Source, Whole};

/// Name of the column that is added.
const COLUMN: &str = "prediction";

/// Rows that are read and predicted at a time.
const CHUNK: usize = 4096;

/// Rows of a row group, and the bytes of one at which it ends sooner: what the writer holds.
const GROUP_ROWS: usize = 128 << 10;
const GROUP_BYTES: usize = 64 << 20;

/// How predictions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Text.
    Csv,
    /// Text, packed by gzip.
    CsvGzip,
    /// Text, packed by Zstandard.
    CsvZstd,
    /// Parquet, in row groups of at most 131,072 rows and about 64 MB, packed by Snappy.
    Parquet,
}

impl OutputFormat {
    /// By the name of a file; `-`, the standard output, is CSV.
    ///
    /// # Errors
    /// The name is that of a kind of file that is read, but not written.
    pub fn of(name: &str) -> Result<Self> {
        let lower = name.to_ascii_lowercase();
        let ends = |suffixes: &[&str]| suffixes.iter().any(|s| lower.ends_with(s));
        Ok(match () {
            () if ends(&[".parquet", ".pq", ".parq"]) => Self::Parquet,
            () if ends(&[".gz"]) => Self::CsvGzip,
            () if ends(&[".zst"]) => Self::CsvZstd,
            () if ends(&[".arrow", ".feather", ".ipc"]) => {
                let fix = "let the name end in .parquet, .csv, .csv.gz or .csv.zst";
                return Err(DataError::unfit(name, "predictions are not written as Arrow files", fix));
            }
            () => Self::Csv,
        })
    }
}

/// Rows that are waiting for their predictions.
///
/// A CSV's rows are written as they are, with a column `prediction` at the end. Of Parquet and Arrow files, CSV gets
/// the number of the row (from 1, over all files) and the prediction. Parquet gets every column: of a CSV as text, of
/// other files as they are stored, those of folders as text; `prediction` is a 32-bit float.
pub struct Predictions<'a> {
    reader: RowReader<'a>,
    schema: &'a Schema,
    format: OutputFormat,
    whole: Option<Whole>,
}

impl std::fmt::Debug for Predictions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { reader, format, .. } = self;
        f.debug_struct("Predictions").field("reader", reader).field("format", format).finish_non_exhaustive()
    }
}

impl<'a> Predictions<'a> {
    /// Opens a source.
    ///
    /// # Errors
    /// As [`RowReader::open`]; there is a column `prediction` already.
    pub fn open(source: impl Into<Source>, schema: &'a Schema, format: OutputFormat) -> Result<Self> {
        let source = source.into();
        let whole = if format == OutputFormat::Parquet { Whole::open(&source)? } else { None };
        let reader = RowReader::open(source.clone(), schema, Need::Unlabelled)?;
        let taken = match &whole {
            Some(whole) => whole.schema().column_with_name(COLUMN).is_some(),
            None => reader.header().iter().any(|name| name == COLUMN.as_bytes()),
        };
        if taken {
            let problem = format!("has a column '{COLUMN}' already");
            return Err(DataError::unfit(&source.to_string(), problem, "rename or drop it"));
        }
        Ok(Self { reader, schema, format, whole })
    }

    /// Reads, predicts and writes all rows; `name` stands for `out` in messages. Memory does not grow with the rows.
    ///
    /// # Errors
    /// A row cannot be used, `predict` failed, or `out` cannot be written.
    pub fn write<E: From<DataError>>(
        self,
        name: &str,
        out: impl Write + Send,
        predict: impl FnMut(&mut [f32], &Batch) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let Self { reader, schema, format, whole } = self;
        let batch = Batch::new(&schema.input_spec());
        let rows = Rows { reader, predict, batch, extra: Extra::default(), predictions: Vec::new() };
        match (format, whole) {
            (OutputFormat::Parquet, Some(whole)) => rows.typed(&whole, name, out),
            (OutputFormat::Parquet, None) => rows.text(name, out),
            _ => rows.csv(&schema.reading, name, Packed::new(format, out).map_err(|e| failed(name, e))?),
        }
    }
}

fn failed(name: &str, problem: impl std::fmt::Display) -> DataError {
    let fix = "check the folder and the space on its disk";
    DataError::unfit(name, format!("cannot be written: {problem}"), fix)
}

/// Rows on their way.
struct Rows<'a, P> {
    reader: RowReader<'a>,
    predict: P,
    batch: Batch,
    extra: Extra,
    predictions: Vec<f32>,
}

impl<P, E: From<DataError>> Rows<'_, P>
where
    P: FnMut(&mut [f32], &Batch) -> std::result::Result<(), E>,
{
    /// Predicts the next rows as the file has them; false at the end.
    fn next(&mut self, records: &mut RecordBuffer) -> std::result::Result<bool, E> {
        self.batch.clear();
        self.extra.clear();
        let read = self.reader.read_records(&mut self.batch, &mut self.extra, records, CHUNK)?;
        self.predict()?;
        Ok(read > 0)
    }

    fn predict(&mut self) -> std::result::Result<(), E> {
        self.predictions.resize(self.batch.rows(), 0.0);
        if self.batch.rows() > 0 { (self.predict)(&mut self.predictions, &self.batch) } else { Ok(()) }
    }

    fn csv(mut self, reading: &Reading, name: &str, out: Packed<impl Write>) -> std::result::Result<(), E> {
        let fail = |e: csv::Error| failed(name, e);
        let plain = reading.quoting == Quoting::None;
        let style = if plain { QuoteStyle::Never } else { QuoteStyle::Necessary };
        let delimiter = reading.delimiter as u8;
        let mut to = csv::WriterBuilder::new().delimiter(delimiter).quote_style(style).from_writer(out);
        if self.reader.has_header() {
            let mut header = self.reader.header().clone();
            header.push_field(COLUMN.as_bytes());
            to.write_byte_record(&header).map_err(fail)?;
        }
        let (mut records, mut written) = (RecordBuffer::default(), 0);
        while self.next(&mut records)? {
            for (record, p) in records.iter().zip(&self.predictions) {
                // Of the values, only a folder's may hold them.
                if plain
                    && record.iter().any(|value| value.iter().any(|b| [delimiter, b'\r', b'\n'].contains(b)))
                {
                    let problem =
                        format!("the name of its folder has {:?} or a line break in it", reading.delimiter);
                    let fix = "rename the folder, or write the predictions as Parquet";
                    return Err(DataError::unfit(self.reader.name(), problem, fix).into());
                }
                record.iter().try_for_each(|field| to.write_field(field)).map_err(fail)?;
                to.write_field(p.to_string()).map_err(fail)?;
                to.write_record(None::<&[u8]>).map_err(fail)?;
                written += 1;
            }
        }
        self.all(written)?;
        let out = to.into_inner().map_err(|e| failed(name, e.error()))?;
        Ok(out.finish().map_err(|e| failed(name, e))?)
    }

    /// Makes sure that each row has its prediction: rows are counted where the file is cut into pieces, and again where
    /// they are parsed.
    fn all(&self, written: u64) -> Result<()> {
        match self.reader.progress().rows {
            rows if rows == written => Ok(()),
            rows => {
                let problem = format!("has {rows} rows, of which {written} were read");
                Err(DataError::unfit(self.reader.name(), problem, "report this"))
            }
        }
    }

    /// The rows of a CSV as Parquet.
    fn text(mut self, name: &str, out: impl Write + Send) -> std::result::Result<(), E> {
        let names: Vec<String> =
            self.reader.header().iter().map(|n| String::from_utf8_lossy(n).into_owned()).collect();
        let fields = names.iter().map(|name| Arc::new(Field::new(name, DataType::Utf8, false)));
        let mut to = Parquet::new(name, fields.collect(), out)?;
        let mut columns: Vec<StringBuilder> = names.iter().map(|_| StringBuilder::new()).collect();
        let (mut records, mut row) = (RecordBuffer::default(), 0u64);
        while self.next(&mut records)? {
            for record in records.iter() {
                row += 1;
                add(record, &mut columns).map_err(|c| {
                    let problem = format!("row {row}, column '{}': the value is not valid UTF-8", names[c]);
                    let fix = "save the file as UTF-8, or write the predictions as CSV";
                    DataError::unfit(self.reader.name(), problem, fix)
                })?;
            }
            let columns = columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
            to.write(columns.collect(), &self.predictions)?;
        }
        self.all(row)?;
        Ok(to.finish()?)
    }

    /// The rows of Parquet and Arrow files as Parquet; a thread reads them ahead.
    fn typed(mut self, whole: &Whole, name: &str, out: impl Write + Send) -> std::result::Result<(), E> {
        let mut to = Parquet::new(name, whole.schema().fields().to_vec(), out)?;
        let mut rows = 0;
        std::thread::scope(|scope| -> std::result::Result<(), E> {
            let (ready, next) = sync_channel(1);
            let read = move || whole.each(&mut |rows| ready.send(rows).is_ok());
            let ahead = Builder::new().spawn_scoped(scope, read).map_err(DataError::thread)?;
            for batch in next {
                rows += batch.rows;
                for start in (0..batch.rows).step_by(CHUNK) {
                    let count = CHUNK.min(batch.rows - start);
                    self.batch.clear();
                    self.extra.clear();
                    if self.reader.read(&mut self.batch, &mut self.extra, count)? < count {
                        let problem = "has fewer rows than a moment ago";
                        return Err(DataError::file(
                            FileErrorKind::Busy,
                            self.reader.name(),
                            problem,
                            "run it again",
                        )
                        .into());
                    }
                    self.predict()?;
                    let columns = batch.columns.iter().map(|column| column.slice(start, count));
                    to.write(columns.collect(), &self.predictions)?;
                }
            }
            match ahead.join() {
                Ok(done) => Ok(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })?;
        if rows == 0 {
            self.reader.read(&mut self.batch, &mut self.extra, 1)?; // says that there is no row
        }
        Ok(to.finish()?)
    }
}

/// Adds a row, or says which column is no text.
fn add(record: &ByteRecord, columns: &mut [StringBuilder]) -> std::result::Result<(), usize> {
    for (c, (value, column)) in record.iter().zip(columns).enumerate() {
        column.append_value(std::str::from_utf8(value).map_err(|_| c)?);
    }
    Ok(())
}

/// A Parquet file that is being written.
struct Parquet<'a, W: Write + Send> {
    name: &'a str,
    schema: SchemaRef,
    writer: ArrowWriter<W>,
}

impl<'a, W: Write + Send> Parquet<'a, W> {
    fn new(name: &'a str, mut fields: Vec<Arc<Field>>, out: W) -> Result<Self> {
        fields.push(Arc::new(Field::new(COLUMN, DataType::Float32, false)));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_max_row_group_bytes(Some(GROUP_BYTES))
            .build();
        let schema: SchemaRef = Arc::new(ArrowSchema::new(fields));
        let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties)).map_err(|e| {
            let fix = "write the predictions as CSV, or leave the column out of the file";
            DataError::unfit(name, format!("a column cannot be written as Parquet: {e}"), fix)
        })?;
        Ok(Self { name, schema, writer })
    }

    fn write(&mut self, mut columns: Vec<ArrayRef>, predictions: &[f32]) -> Result<()> {
        columns.push(Arc::new(Float32Array::from(predictions.to_vec())));
        // Of the arrays' own types: a text may come as a dictionary, which the writer takes for one.
        let fields = self.schema.fields().iter().zip(&columns);
        let fields = fields.map(|(f, c)| Field::new(f.name(), c.data_type().clone(), true));
        let schema = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
        let batch = RecordBatch::try_new(schema, columns).map_err(|e| failed(self.name, e))?;
        self.writer.write(&batch).map_err(|e| failed(self.name, plain(e)))
    }

    fn finish(self) -> Result<()> {
        self.writer.close().map_err(|e| failed(self.name, plain(e)))?;
        Ok(())
    }
}

/// Text of an error: the system's own, if there is one.
fn plain(error: ParquetError) -> String {
    match error {
        ParquetError::External(inner) => inner.to_string(),
        other => other.to_string(),
    }
}

/// Writer that compresses a text on its way, or passes it on.
enum Packed<W: Write> {
    Plain(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Packed<W> {
    fn new(format: OutputFormat, out: W) -> io::Result<Self> {
        Ok(match format {
            OutputFormat::CsvGzip => Self::Gzip(GzEncoder::new(out, flate2::Compression::default())),
            OutputFormat::CsvZstd => Self::Zstd(zstd::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?),
            _ => Self::Plain(out),
        })
    }

    /// Writes what is left.
    fn finish(self) -> io::Result<()> {
        let mut out = match self {
            Self::Plain(out) => out,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        out.flush()
    }
}

impl<W: Write> Write for Packed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}
