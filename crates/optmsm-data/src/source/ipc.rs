//! The messages of an Arrow file or stream. Each is checked before it is decoded: the library makes room for what a message declares.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchReader};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{read_dictionary, read_footer_length, read_record_batch};
use arrow_ipc::{Block, Message, MessageHeader, root_as_footer, root_as_message};
use arrow_schema::{ArrowError, Schema, SchemaRef};

use super::bounds::{BATCH, unpacks};

/// Bytes that begin and end a file; a stream has neither.
const MAGIC: &[u8; 6] = b"ARROW1";
/// Bytes of a file's end: the length of its footer, and what ends it.
const END: u64 = 4 + MAGIC.len() as u64;
/// Mark before the length of a message, but not in old files.
const MARK: [u8; 4] = [0xff; 4];

type Result<T> = std::result::Result<T, ArrowError>;

/// Record batches with some of their columns.
pub(super) struct Messages<R> {
    reader: R,
    size: u64,
    next: Next,
    schema: SchemaRef,
    columns: Option<Vec<usize>>,
    projected: SchemaRef,
    dictionaries: HashMap<i64, ArrayRef>,
}

/// Where the next message is.
enum Next {
    /// In a file: blocks that its footer names, those of dictionaries first.
    Blocks(VecDeque<Block>),
    /// In a stream: here.
    Here(u64),
    Ended,
}

impl<R: Read + Seek> Messages<R> {
    /// Reads the schema, of a file also where its messages are; `columns` are those to decode, all of them if not given.
    ///
    /// # Errors
    /// It is neither, or was cut.
    pub(super) fn open(mut reader: R, columns: Option<Vec<usize>>) -> Result<Self> {
        let size = reader.seek(SeekFrom::End(0))?;
        let begin = take(&mut reader, size, 0..size.min(MAGIC.len() as u64))?;
        let (schema, next) = match begin.as_slice() == MAGIC {
            true => footer(&mut reader, size)?,
            false => {
                let (bytes, body) =
                    message(&mut reader, size, 0)?.ok_or_else(|| error("it holds nothing"))?;
                let message = parse(&bytes)?;
                (schema(message.header_as_schema())?, Next::Here(end(body, &message)?))
            }
        };
        let schema = Arc::new(schema);
        let projected = match &columns {
            Some(columns) => Arc::new(schema.project(columns)?),
            None => schema.clone(),
        };
        Ok(Self { reader, size, next, schema, columns, projected, dictionaries: HashMap::new() })
    }

    /// The next message, and the place of its body.
    fn message(&mut self) -> Result<Option<(Vec<u8>, Range<u64>)>> {
        let found = match &mut self.next {
            Next::Blocks(blocks) => {
                let Some(block) = blocks.pop_front() else { return Ok(None) };
                let begin = block.offset();
                let length = i64::from(block.metaDataLength());
                let body = range(begin.checked_add(length), block.bodyLength())?;
                let bytes = take(&mut self.reader, self.size, range(Some(begin), length)?)?;
                let behind = if bytes.starts_with(&MARK) { 8 } else { 4 };
                let Some(message) = bytes.get(behind..) else { return Err(error("a message has no length")) };
                Some((message.to_vec(), body))
            }
            Next::Here(at) => match message(&mut self.reader, self.size, *at)? {
                Some((bytes, begin)) => {
                    let end = end(begin, &parse(&bytes)?)?;
                    *at = end;
                    Some((bytes, begin..end))
                }
                None => None,
            },
            Next::Ended => None,
        };
        if found.is_none() {
            self.next = Next::Ended;
        }
        Ok(found)
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some((bytes, body)) = self.message()? else { return Ok(None) };
            let message = parse(&bytes)?;
            let body = Buffer::from(take(&mut self.reader, self.size, body)?);
            let version = message.version();
            match message.header_type() {
                MessageHeader::DictionaryBatch => {
                    let batch = message.header_as_dictionary_batch();
                    let batch = batch.ok_or_else(|| error("a dictionary is not there"))?;
                    batch.data().map_or(Ok(()), |data| check(data, &body))?;
                    read_dictionary(&body, batch, &self.schema, &mut self.dictionaries, &version)?;
                }
                MessageHeader::RecordBatch => {
                    let batch = message.header_as_record_batch();
                    let batch = batch.ok_or_else(|| error("a record batch is not there"))?;
                    check(batch, &body)?;
                    let (schema, columns) = (self.schema.clone(), self.columns.as_deref());
                    let read = read_record_batch(&body, batch, schema, &self.dictionaries, columns, &version);
                    return read.map(Some);
                }
                MessageHeader::NONE => {}
                other => {
                    return Err(error(format!("a message holds neither rows nor a dictionary: {other:?}")));
                }
            }
        }
    }
}

impl<R: Read + Seek> Iterator for Messages<R> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.batch().transpose()
    }
}

impl<R: Read + Seek> RecordBatchReader for Messages<R> {
    fn schema(&self) -> SchemaRef {
        self.projected.clone()
    }
}

fn error(problem: impl Into<String>) -> ArrowError {
    ArrowError::ParseError(problem.into())
}

fn parse(bytes: &[u8]) -> Result<Message<'_>> {
    root_as_message(bytes).map_err(|e| error(format!("a message cannot be read: {e}")))
}

/// Bytes at a place of a file of `size` bytes.
fn take(reader: &mut (impl Read + Seek), size: u64, place: Range<u64>) -> Result<MutableBuffer> {
    let Range { start, end } = place;
    if end > size {
        return Err(error(format!("it ends at byte {size}, but goes on to byte {end}")));
    }
    let no_memory = |_| error(format!("there is no memory for {} bytes", end - start));
    let mut bytes = MutableBuffer::try_from_len_zeroed((end - start) as usize).map_err(no_memory)?;
    reader.seek(SeekFrom::Start(start))?;
    reader.read_exact(bytes.as_slice_mut())?;
    Ok(bytes)
}

/// A place as a file gives it.
fn range(start: Option<i64>, length: i64) -> Result<Range<u64>> {
    let place = || Some(u64::try_from(start?).ok()?..u64::try_from(start?.checked_add(length)?).ok()?);
    place().filter(|place| place.start <= place.end).ok_or_else(|| error("a message lies nowhere"))
}

/// The schema of a file and the places of its messages.
fn footer(reader: &mut (impl Read + Seek), size: u64) -> Result<(Schema, Next)> {
    let start = size.checked_sub(END).ok_or_else(|| error("it was cut"))?;
    let end = take(reader, size, start..size)?;
    let length = read_footer_length(end.as_slice().try_into().map_err(|_| error("it was cut"))?)? as u64;
    let begin = start.checked_sub(length).ok_or_else(|| error("its footer is longer than the file"))?;
    let bytes = take(reader, size, begin..start)?;
    let footer = root_as_footer(&bytes).map_err(|e| error(format!("its footer cannot be read: {e}")))?;
    let blocks = [footer.dictionaries(), footer.recordBatches()];
    let blocks = blocks.into_iter().flatten().flat_map(|blocks| blocks.iter().copied().collect::<Vec<_>>());
    Ok((schema(footer.schema())?, Next::Blocks(blocks.collect())))
}

fn schema(found: Option<arrow_ipc::Schema>) -> Result<Schema> {
    let schema = found.ok_or_else(|| error("it has no schema"))?;
    match schema.endianness().equals_to_target_endianness() {
        true => try_fb_to_schema(schema),
        false => Err(error("its numbers are in the byte order of another machine")),
    }
}

/// The message at a place of a stream and the place behind it; none at the end.
fn message(reader: &mut (impl Read + Seek), size: u64, at: u64) -> Result<Option<(Vec<u8>, u64)>> {
    let mut begin = at;
    let mut word = |reader: &mut _| -> Result<Option<[u8; 4]>> {
        let place = begin..begin + 4;
        begin = place.end;
        // Some writers end a stream with nothing.
        if place.end > size { Ok(None) } else { Ok(take(reader, size, place)?.as_slice().try_into().ok()) }
    };
    let mut length = word(reader)?;
    if length == Some(MARK) {
        length = word(reader)?;
    }
    match length.map(i32::from_le_bytes) {
        None | Some(0) => Ok(None),
        Some(length) => {
            let length = u64::try_from(length).map_err(|_| error("a message is shorter than nothing"))?;
            let end = begin + length;
            Ok(Some((take(reader, size, begin..end)?.to_vec(), end)))
        }
    }
}

/// The place behind the body of a message of a stream.
fn end(begin: u64, message: &Message) -> Result<u64> {
    let length = u64::try_from(message.bodyLength()).ok();
    length.and_then(|length| begin.checked_add(length)).ok_or_else(|| error("a message has no length"))
}

/// Checks that the parts of a message lie in it, and that it may unpack to what they declare.
fn check(batch: arrow_ipc::RecordBatch, body: &[u8]) -> Result<()> {
    let mut bytes = 0u64;
    for part in batch.buffers().into_iter().flatten() {
        let place = range(Some(part.offset()), part.length())?;
        let part = body.get(place.start as usize..place.end as usize);
        let part = part.ok_or_else(|| error("a part of a record batch lies behind its end"))?;
        // Before each part that may be packed stands its size; −1 before one that is not.
        if let Some(declared) = batch.compression().and_then(|_| part.first_chunk::<8>()) {
            bytes = bytes.saturating_add(u64::try_from(i64::from_le_bytes(*declared)).unwrap_or(0));
        }
    }
    unpacks(body.len() as u64, bytes, BATCH).map_err(error)
}
