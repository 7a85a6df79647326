//! Rows from Arrow streams, and answers as such.

mod check;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, Float32Array, RecordBatch, UInt32Array, downcast_dictionary_array};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use bumpalo::Bump;
use bytes::Bytes;

use self::check::{Fault, check};
use crate::answer::Failure;
use crate::predict::Columns;
use crate::rows::{Datum, Rows, WEIGHTS, list};
use crate::warm::said;

pub(crate) const ARROW: &str = "application/vnd.apache.arrow.stream";

/// The record batches of a stream.
///
/// # Errors
/// 400 where it is damaged or compressed, 413 where it has too many rows or stands for too many bytes.
pub(crate) fn batches(body: Bytes, columns: &Columns<'_>) -> Result<Vec<RecordBatch>, Failure> {
    // A stream that passes the check may still be damaged in ways that the decoder meets with a panic.
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        check(&body, columns.max_rows, columns.max_bytes)?;
        decode(body).map_err(Decoding::Damaged)
    }));
    let damaged =
        |problem: &str| Failure::request(format!("the Arrow stream is damaged: {problem}; write it again"));
    match decoded.map_err(|panic| damaged(said(&*panic)))? {
        Ok(batches) => Ok(batches),
        Err(Decoding::Damaged(e)) => Err(damaged(&e.to_string())),
        Err(Decoding::Refused(Fault::Damaged(text))) => {
            Err(Failure::request(format!("the body is no Arrow stream that can be read: {text}")))
        }
        Err(Decoding::Refused(Fault::Rows)) => Err(columns.too_many("row")),
        Err(Decoding::Refused(Fault::Bytes)) => Err(columns.too_many_bytes()),
    }
}

/// The reasons for which there are no record batches.
enum Decoding {
    Refused(Fault),
    Damaged(ArrowError),
}

impl From<Fault> for Decoding {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
    }
}

fn decode(body: Bytes) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut buffer = Buffer::from(body);
    let mut decoder = StreamDecoder::new();
    let mut batches = Vec::new();
    while let Some(batch) = decoder.decode(&mut buffer)? {
        batches.push(batch);
    }
    decoder.finish()?;
    match decoder.schema() {
        Some(_) => Ok(batches),
        None => Err(ArrowError::IpcError("it has no schema".into())),
    }
}

/// Rows of record batches.
///
/// # Errors
/// 400: a column is missing, strange, or of a type that no column has; 413: lists or texts are too long in all.
pub(crate) fn rows<'b>(
    batches: &'b [RecordBatch],
    columns: &Columns<'_>,
    bump: &'b Bump,
) -> Result<Rows<'b>, Failure> {
    let total = batches.iter().map(RecordBatch::num_rows).sum();
    let mut rows = Rows::missing(columns.inputs.len(), total);
    let Some(first) = batches.first() else { return Ok(rows) };
    let schema = first.schema_ref();
    let names: Vec<_> = schema.fields().iter().map(|field| &**field.name()).collect();
    for (i, name) in names.iter().enumerate() {
        let weights = name.strip_suffix(WEIGHTS).is_some_and(|of| columns.number(of).is_some());
        let known = columns.number(name).is_some() || weights;
        if !known && columns.strict {
            let problem = format!("column '{name}': the model has no such column");
            return Err(Failure::request(format!("{problem}; {}", columns.meant(name))));
        }
        if known && names[..i].contains(name) {
            return Err(Failure::request(format!("column '{name}': it is there twice; keep one")));
        }
    }
    let place = |name: &str| names.iter().position(|other| *other == name);
    let mut read =
        Reading { bump, values: 0, most: columns.max_values(), bytes: 0, most_bytes: columns.max_bytes };
    for (i, input) in columns.inputs.iter().enumerate() {
        let Some(column) = place(&input.name) else {
            if input.optional {
                continue;
            }
            let near = names.iter().find(|name| {
                columns.number(name).is_none() && strsim::damerau_levenshtein(name, &input.name) <= 2
            });
            let meant = near.map_or("give it, with nulls where there is no value".into(), |near| {
                format!("'{near}' is no column of the model: was it meant?")
            });
            return Err(Failure::request(format!("column '{}' is missing; {meant}", input.name)));
        };
        let weights = place(&format!("{}{WEIGHTS}", input.name));
        let mut row = 0;
        for batch in batches {
            let column = batch.column(column);
            let weights = weights.map(|weights| batch.column(weights));
            for at in 0..batch.num_rows() {
                let value = match weights {
                    Some(weights) => read.weighted(column, weights, at),
                    None => read.value(column, at, true),
                };
                if read.values > read.most {
                    return Err(columns.too_many_values());
                }
                if read.bytes > read.most_bytes {
                    return Err(columns.too_many_bytes());
                }
                let value = value.map_err(|problem| {
                    Failure::request(format!("row {}, column '{}': {problem}", row + 1, input.name))
                })?;
                rows.set(row, i, value);
                row += 1;
            }
        }
    }
    Ok(rows)
}

/// Reads values of arrays.
struct Reading<'b> {
    bump: &'b Bump,
    /// Values in lists so far.
    values: usize,
    most: usize,
    /// Bytes of texts so far. Keys of a dictionary, and views, may each stand for the same long text.
    bytes: usize,
    most_bytes: usize,
}

impl<'b> Reading<'b> {
    fn value(&mut self, array: &'b ArrayRef, at: usize, lists: bool) -> Result<Datum<'b>, String> {
        let array: &'b dyn Array = &**array;
        if array.is_null(at) || *array.data_type() == DataType::Null {
            return Ok(Datum::Missing);
        }
        macro_rules! number {
            ($type:ty) => {
                array.as_primitive::<$type>().value(at)
            };
        }
        Ok(match array.data_type() {
            DataType::Utf8 => self.text(array.as_string::<i32>().value(at))?,
            DataType::LargeUtf8 => self.text(array.as_string::<i64>().value(at))?,
            DataType::Utf8View => self.text(array.as_string_view().value(at))?,
            DataType::Boolean => Datum::Bool(array.as_boolean().value(at)),
            DataType::Int8 => Datum::Int(number!(Int8Type).into()),
            DataType::Int16 => Datum::Int(number!(Int16Type).into()),
            DataType::Int32 => Datum::Int(number!(Int32Type).into()),
            DataType::Int64 => Datum::Int(number!(Int64Type)),
            DataType::UInt8 => Datum::Int(number!(UInt8Type).into()),
            DataType::UInt16 => Datum::Int(number!(UInt16Type).into()),
            DataType::UInt32 => Datum::Int(number!(UInt32Type).into()),
            DataType::UInt64 => {
                let value = number!(UInt64Type);
                i64::try_from(value).map_or(Datum::UInt(value), Datum::Int)
            }
            DataType::Float32 => Datum::Float(number!(Float32Type).into()),
            DataType::Float64 => Datum::Float(number!(Float64Type)),
            DataType::Dictionary(_, _) => downcast_dictionary_array!(
                array => match array.key(at) {
                    Some(key) => return self.value(array.values(), key, false),
                    None => Datum::Missing,
                },
                other => return Err(format!("keys of the type {other}; cast them to int32")),
            ),
            DataType::List(_) | DataType::LargeList(_) if lists => {
                let items = self.items(array, at)?;
                list(self.bump, &items, None)
            }
            other => {
                let fix = "cast it to a string, a number, a boolean or a list of them";
                return Err(format!("values of the type {other} are not read; {fix}"));
            }
        })
    }

    fn text(&mut self, text: &'b str) -> Result<Datum<'b>, String> {
        self.bytes = self.bytes.saturating_add(text.len());
        // The caller looks at the number first.
        if self.bytes > self.most_bytes { Err("too many bytes".into()) } else { Ok(Datum::Text(text)) }
    }

    /// The values of a list.
    fn items(&mut self, array: &'b dyn Array, at: usize) -> Result<Vec<Datum<'b>>, String> {
        let (values, range) = match array.data_type() {
            DataType::List(_) => {
                let array = array.as_list::<i32>();
                let ends = array.value_offsets();
                (array.values(), ends[at] as usize..ends[at + 1] as usize)
            }
            DataType::LargeList(_) => {
                let array = array.as_list::<i64>();
                let ends = array.value_offsets();
                (array.values(), ends[at] as usize..ends[at + 1] as usize)
            }
            other => return Err(format!("weights or values are of the type {other}; send lists of both")),
        };
        self.values = self.values.saturating_add(range.len());
        if self.values > self.most {
            return Err("too many values".into());
        }
        range.map(|at| self.value(values, at, false)).collect()
    }

    fn weighted(
        &mut self,
        column: &'b ArrayRef,
        weights: &'b ArrayRef,
        at: usize,
    ) -> Result<Datum<'b>, String> {
        if column.is_null(at) {
            return Ok(Datum::Missing);
        }
        if weights.is_null(at) {
            return Err("its weights are null; send as many as values".into());
        }
        let (items, weights) = (self.items(&**column, at)?, self.items(&**weights, at)?);
        if items.len() != weights.len() {
            return Err(format!("{} values, but {} weights; send as many", items.len(), weights.len()));
        }
        Ok(list(self.bump, &items, Some(&weights)))
    }
}

/// A stream of one batch: probabilities, and where `items` are given their numbers in front.
pub(crate) fn write(
    model: &str,
    version: &str,
    items: Option<Vec<u32>>,
    probabilities: Vec<f32>,
) -> Result<Bytes, ArrowError> {
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    if let Some(items) = items {
        fields.push(Field::new("index", DataType::UInt32, false));
        arrays.push(Arc::new(UInt32Array::from(items)));
    }
    fields.push(Field::new("probability", DataType::Float32, false));
    arrays.push(Arc::new(Float32Array::from(probabilities)));
    let facts = [("model_name", model), ("model_version", version)];
    let facts: HashMap<_, _> = facts.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let schema = Arc::new(Schema::new_with_metadata(fields, facts));
    let batch = RecordBatch::try_new(schema.clone(), arrays)?;
    let mut stream = StreamWriter::try_new(Vec::new(), &schema)?;
    stream.write(&batch)?;
    Ok(stream.into_inner()?.into())
}
