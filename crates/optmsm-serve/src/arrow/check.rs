//! Bounds on an Arrow stream before it is decoded: what a few bytes stand for may be large.

use std::collections::HashMap;
use std::vec;

use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::{Message, MessageHeader};
use arrow_schema::{DataType, Field, Schema};
use flatbuffers::VerifierOptions;

/// Most columns of a stream, those in others included.
const FIELDS: usize = 4096;
/// Most messages of a stream; the decoder looks for a dictionary's column among all of them.
const MESSAGES: usize = 4096;
/// Columns around a column; the decoder checks a column again for each of them.
const DEPTH: usize = 8;
/// Bytes of a view up to which its text lies in the view.
const INLINE: usize = 12;

/// The reason for which a stream is not decoded.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is damaged, or not of a form that is read.
    Damaged(String),
    /// It has too many rows.
    Rows,
    /// It stands for too many bytes.
    Bytes,
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self::Damaged(text)
    }
}

fn cut() -> String {
    "it is cut; send all of it".into()
}

/// Checks that each message and each part of it lies in the body, that parts do not overlap to stand for more than there is, and that
/// nothing is to be unpacked. The values that a decoder looks at are at most `max_bytes`.
pub(super) fn check(mut bytes: &[u8], max_rows: usize, max_bytes: usize) -> Result<(), Fault> {
    let mut stream = Stream { schema: None, dictionaries: HashMap::new(), rows: 0, max_rows };
    let (mut messages, mut weight) = (0, 0usize);
    while let Some((mut length, mut rest)) = bytes.split_first_chunk::<4>() {
        if *length == [0xff; 4] {
            (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        }
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|e| e.to_string())?;
        if length == 0 {
            return if rest.is_empty() { Ok(()) } else { Err("bytes follow its end".to_owned().into()) };
        }
        messages += 1;
        if messages > MESSAGES {
            return Err(format!("it has more than {MESSAGES} messages; write longer batches").into());
        }
        let (message, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        // Tables and texts that are there once may be meant many times.
        let options = VerifierOptions {
            max_tables: 16 * FIELDS,
            max_apparent_size: 8 * length + (64 << 10),
            ..VerifierOptions::default()
        };
        let message = arrow_ipc::root_as_message_with_opts(&options, message)
            .map_err(|e| format!("a message is damaged: {e}"))?;
        let length = usize::try_from(message.bodyLength()).map_err(|_| cut())?;
        let (body, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        weight = weight.saturating_add(stream.weigh(message, body)?);
        if weight > max_bytes {
            return Err(Fault::Bytes);
        }
        bytes = rest;
    }
    if bytes.is_empty() { Ok(()) } else { Err(cut().into()) }
}

struct Stream {
    schema: Option<Schema>,
    /// Weights of dictionaries by their numbers.
    dictionaries: HashMap<i64, usize>,
    rows: usize,
    max_rows: usize,
}

impl Stream {
    /// The bytes that a decoder looks at for a message.
    fn weigh(&mut self, message: Message<'_>, body: &[u8]) -> Result<usize, Fault> {
        match message.header_type() {
            MessageHeader::Schema => {
                if self.schema.is_some() {
                    return Err("it has two schemas; keep one".to_owned().into());
                }
                let schema = message.header_as_schema().ok_or_else(|| damaged("a schema"))?;
                let schema = try_fb_to_schema(schema).map_err(|e| e.to_string())?;
                let fields = schema.flattened_fields().len();
                if fields > FIELDS {
                    return Err(format!("it has {fields} columns; send at most {FIELDS}").into());
                }
                self.schema = Some(schema);
                Ok(body.len())
            }
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or_else(|| damaged("a record batch"))?;
                let rows = usize::try_from(batch.length()).map_err(|_| damaged("a record batch"))?;
                self.rows = self.rows.saturating_add(rows);
                if self.rows > self.max_rows {
                    return Err(Fault::Rows);
                }
                let schema = self.schema()?;
                let mut parts = self.parts(&batch, body)?;
                for field in schema.fields() {
                    parts.field(field, 0)?;
                }
                Ok(parts.weight)
            }
            MessageHeader::DictionaryBatch => {
                let of = message.header_as_dictionary_batch();
                let of = of.ok_or_else(|| damaged("a dictionary"))?;
                let batch = of.data().ok_or_else(|| damaged("a dictionary"))?;
                let mut parts = self.parts(&batch, body)?;
                // The decoder takes the first column as well.
                #[expect(deprecated, reason = "numbers of dictionaries have no other way to their columns")]
                let fields = self.schema()?.fields_with_dict_id(of.id());
                let Some(DataType::Dictionary(_, values)) = fields.first().map(|field| field.data_type())
                else {
                    return Err("it has a dictionary of no column; write it again".to_owned().into());
                };
                parts.array(values, None, 0)?;
                let weight = parts.weight;
                let known = self.dictionaries.entry(of.id()).or_default();
                // More values of a dictionary are copied together with those that it has.
                *known = if of.isDelta() { known.saturating_add(weight) } else { weight };
                Ok(*known)
            }
            other => {
                Err(format!("a message is of the type {other:?}; send a schema and record batches").into())
            }
        }
    }

    fn schema(&self) -> Result<&Schema, Fault> {
        self.schema.as_ref().ok_or_else(|| Fault::Damaged("it begins without a schema".into()))
    }

    fn parts<'a>(&'a self, batch: &arrow_ipc::RecordBatch<'a>, body: &'a [u8]) -> Result<Parts<'a>, Fault> {
        if batch.compression().is_some() {
            return Err("it is compressed; write it without compression".to_owned().into());
        }
        let mut buffers = Vec::new();
        for part in batch.buffers().into_iter().flatten() {
            let begin = usize::try_from(part.offset()).ok();
            let length = usize::try_from(part.length()).ok();
            let part = begin.zip(length).and_then(|(begin, length)| body.get(begin..)?.get(..length));
            let behind = || "a part of a record batch lies behind its end; write it again".to_owned();
            buffers.push(part.ok_or_else(behind)?);
        }
        let sum = buffers.iter().map(|part| part.len()).fold(0, usize::saturating_add);
        if sum > body.len() {
            return Err("parts of a record batch overlap; write it again".to_owned().into());
        }
        Ok(Parts {
            nodes: batch
                .nodes()
                .into_iter()
                .flatten()
                .map(|node| node.length())
                .collect::<Vec<_>>()
                .into_iter(),
            buffers: buffers.into_iter(),
            views: batch.variadicBufferCounts().into_iter().flatten().collect::<Vec<_>>().into_iter(),
            dictionaries: &self.dictionaries,
            weight: body.len(),
        })
    }
}

fn damaged(what: &str) -> Fault {
    Fault::Damaged(format!("{what} is damaged; write it again"))
}

/// The rest of a record batch, in the order in which the decoder takes it.
struct Parts<'a> {
    /// Lengths of arrays.
    nodes: vec::IntoIter<i64>,
    buffers: vec::IntoIter<&'a [u8]>,
    /// Numbers of buffers of the arrays of views.
    views: vec::IntoIter<i64>,
    dictionaries: &'a HashMap<i64, usize>,
    weight: usize,
}

impl Parts<'_> {
    fn field(&mut self, field: &Field, depth: usize) -> Result<(), Fault> {
        #[expect(deprecated, reason = "numbers of dictionaries have no other way to their columns")]
        let dictionary = field.dict_id();
        self.array(field.data_type(), dictionary, depth)
    }

    /// Takes an array, as the decoder's `create_array` does.
    fn array(&mut self, kind: &DataType, dictionary: Option<i64>, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH {
            return Err(format!("columns are nested more than {DEPTH} deep; send flat ones").into());
        }
        let length = self.nodes.next().and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or_else(|| damaged("a record batch"))?;
        // Some arrays have a length, but no bytes.
        self.add(length);
        match kind {
            DataType::Null => {}
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => {
                self.take(3)?;
            }
            DataType::Utf8View | DataType::BinaryView => {
                self.take(1)?;
                let views = self.buffers.next().ok_or_else(|| damaged("a record batch"))?;
                let (views, _) = views.as_chunks::<16>();
                let texts = views.iter().take(length).map(|view| {
                    let [a, b, c, d, ..] = *view;
                    u32::from_le_bytes([a, b, c, d]) as usize
                });
                // Many views may show the same bytes.
                let texts = texts.filter(|length| *length > INLINE).fold(0, usize::saturating_add);
                self.add(texts);
                let more = self.views.next().and_then(|more| usize::try_from(more).ok());
                self.take(more.ok_or_else(|| damaged("a record batch"))?)?;
            }
            DataType::List(of) | DataType::LargeList(of) | DataType::Map(of, _) => {
                self.take(2)?;
                self.field(of, depth + 1)?;
            }
            DataType::ListView(of) | DataType::LargeListView(of) => {
                self.take(3)?;
                self.field(of, depth + 1)?;
            }
            DataType::FixedSizeList(of, size) => {
                self.add(length.saturating_mul(usize::try_from(*size).unwrap_or(0)));
                self.take(1)?;
                self.field(of, depth + 1)?;
            }
            DataType::Struct(fields) => {
                self.take(1)?;
                for field in fields {
                    self.field(field, depth + 1)?;
                }
            }
            DataType::RunEndEncoded(ends, values) => {
                self.field(ends, depth + 1)?;
                self.field(values, depth + 1)?;
            }
            DataType::Dictionary(_, _) => {
                self.take(2)?;
                // The decoder checks the dictionary's values once more.
                let values = dictionary.and_then(|id| self.dictionaries.get(&id));
                self.add(values.copied().unwrap_or(0));
            }
            DataType::Union(_, _) => {
                let fix = "leave such columns out";
                return Err(format!("values of the type {kind} are not read; {fix}").into());
            }
            _ => self.take(2)?,
        }
        Ok(())
    }

    fn take(&mut self, buffers: usize) -> Result<(), Fault> {
        for _ in 0..buffers {
            self.buffers.next().ok_or_else(|| damaged("a record batch"))?;
        }
        Ok(())
    }

    fn add(&mut self, bytes: usize) {
        self.weight = self.weight.saturating_add(bytes);
    }
}
