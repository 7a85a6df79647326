//! Arrow streams, in and out.

use std::io::Cursor;
use std::iter::repeat_n;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder, StringDictionaryBuilder, StringViewBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int8Type, Int32Type, UInt32Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, Int32Array, Int64Array,
    LargeStringArray, ListArray, NullArray, RecordBatch, StringArray, StringViewArray, TimestampSecondArray,
    UInt64Array,
};
use arrow_buffer::OffsetBuffer;
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field};

use crate::client::{Client, Reply};
use crate::toy::{Served, expected};

const ARROW: &str = "application/vnd.apache.arrow.stream";

fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter(columns.iter().cloned()).unwrap()
}

fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    stream_with(batches, IpcWriteOptions::default())
}

fn stream_with(batches: &[RecordBatch], options: IpcWriteOptions) -> Vec<u8> {
    let mut stream = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|batch| stream.write(batch).unwrap());
    stream.into_inner().unwrap()
}

fn ask(client: &mut Client, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let headers = [&[("Content-Type", ARROW)], headers].concat();
    client.ask("POST", "/predict", &headers, body)
}

/// The batch of an answer.
fn answered(reply: &Reply) -> RecordBatch {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.headers["content-type"], ARROW);
    let mut batches = StreamReader::try_new(Cursor::new(&reply.body), None).unwrap();
    let batch = batches.next().unwrap().unwrap();
    assert!(batches.next().is_none());
    let schema = batch.schema();
    assert_eq!(schema.metadata()["model_name"], "ctr");
    assert_eq!(schema.metadata()["model_version"], "1");
    batch
}

fn probabilities(batch: &RecordBatch) -> Vec<f32> {
    batch.column_by_name("probability").unwrap().as_primitive::<Float32Type>().values().to_vec()
}

fn pages(rows: usize) -> ArrayRef {
    Arc::new(StringArray::from(vec!["home"; rows]))
}

fn lists(rows: &[Option<&[&str]>]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in rows {
        row.iter().for_each(|tags| tags.iter().for_each(|tag| builder.values().append_value(tag)));
        builder.append(row.is_some());
    }
    Arc::new(builder.finish())
}

#[test]
fn a_stream_is_answered_with_one() {
    let served = Served::one();
    let mut client = served.client();
    let tags = lists(&[Some(&["ab", "cde"]), Some(&[]), None]);
    let mut weights = ListBuilder::new(arrow_array::builder::Float32Builder::new());
    weights.append_value([Some(0.5), Some(2.0)]);
    weights.append_value([]);
    weights.append_null();
    let first = batch(&[
        ("page", pages(3)),
        ("age", Arc::new(Float64Array::from(vec![Some(30.0), Some(1.5), None]))),
        ("city", Arc::new(StringArray::from(vec![Some("oslo"), None, Some("é")]))),
        ("tags", tags),
        ("tags.weights", Arc::new(weights.finish())),
        ("other", Arc::new(TimestampSecondArray::from(vec![1, 2, 3]))),
    ]);
    let wanted =
        [(30.0, 4.0 + 7.0), (1.5, 0.0), (0.0, 1.0)].map(|(age, letters)| expected(0.1, age, letters));
    let body = stream(std::slice::from_ref(&first));
    assert_eq!(probabilities(&answered(&ask(&mut client, &[], &body))), wanted);
    assert_eq!(ask(&mut client, &[("Accept", "application/json")], &body).probabilities(), wanted);
    // Several batches are one request.
    let body = stream(&[first.clone(), first.slice(0, 1)]);
    let twice = [&wanted[..], &wanted[..1]].concat();
    assert_eq!(probabilities(&answered(&ask(&mut client, &[], &body))), twice);
    // More than are predicted on the connection's thread.
    let body = stream(&[batch(&[("page", pages(1000)), ("age", Arc::new(Int64Array::from(vec![7; 1000])))])]);
    assert_eq!(probabilities(&answered(&ask(&mut client, &[], &body))), vec![expected(0.1, 7.0, 0.0); 1000]);
    let empty = stream(&[first.slice(0, 0)]);
    assert_eq!(probabilities(&answered(&ask(&mut client, &[], &empty))), [0.0; 0]);
    served.end();
}

#[test]
fn json_is_answered_with_a_stream_where_it_is_asked_for() {
    let served = Served::one();
    let mut client = served.client();
    let headers = [("Content-Type", "application/json"), ("Accept", ARROW)];
    let body = br#"{"user": {"age": 1}, "scenario": "home", "items": [{}, {"city": "oslo"}, {"city": "a"}], "top": 2}"#;
    let best = answered(&client.ask("POST", "/predict", &headers, body));
    assert_eq!(probabilities(&best), [expected(0.1, 1.0, 4.0), expected(0.1, 1.0, 1.0)]);
    assert_eq!(best.column_by_name("index").unwrap().as_primitive::<UInt32Type>().values(), &[1, 2]);
    served.end();
}

#[test]
fn every_type_that_has_a_meaning_is_read() {
    let served = Served::one();
    let mut client = served.client();
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    words.append_value("abc");
    words.append_null();
    let two = |letters: [f64; 2]| letters.map(|letters| expected(0.1, 0.0, letters)).to_vec();
    let cities: [(ArrayRef, _); 8] = [
        (Arc::new(StringArray::from(vec!["abc", ""])), two([3.0, 0.0])),
        (Arc::new(LargeStringArray::from(vec!["abc", "a"])), two([3.0, 1.0])),
        (Arc::new(StringViewArray::from(vec!["abc", "a text that is not inlined"])), two([3.0, 26.0])),
        (Arc::new(words.finish()), two([3.0, 0.0])),
        (Arc::new(BooleanArray::from(vec![true, false])), two([4.0, 5.0])),
        (Arc::new(Int32Array::from(vec![Some(-12), None])), two([3.0, 0.0])),
        (Arc::new(UInt64Array::from(vec![u64::MAX, 7])), two([20.0, 1.0])),
        (Arc::new(NullArray::new(2)), two([0.0, 0.0])),
    ];
    for (city, wanted) in cities {
        let kind = city.data_type().clone();
        let ages = Arc::new(Float32Array::from(vec![0.0, 0.0]));
        let body = stream(&[batch(&[("page", pages(2)), ("age", ages), ("city", city)])]);
        assert_eq!(probabilities(&answered(&ask(&mut client, &[], &body))), wanted, "{kind}");
    }
    served.end();
}

#[test]
fn streams_that_cannot_be_read_are_refused() {
    let served = Served::with(&[("ctr", 0.1)], |config| config.max_rows = 10);
    let mut client = served.client();
    let ages = |rows| -> ArrayRef { Arc::new(Int64Array::from(vec![1; rows])) };
    let good = stream(&[batch(&[("page", pages(2)), ("age", ages(2))])]);
    let packed = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD)).unwrap();
    let packed = stream_with(&[batch(&[("page", pages(9)), ("age", ages(9))])], packed);
    let of = |columns: &[(&str, ArrayRef)]| stream(&[batch(columns)]);
    let dates: ArrayRef = Arc::new(TimestampSecondArray::from(vec![1]));
    for (body, status, text) in [
        (b"".to_vec(), 400, "the Arrow stream is damaged: Ipc error: it has no schema; write it again"),
        (b"{}".to_vec(), 400, "the body is no Arrow stream that can be read: it is cut; send all of it"),
        (b"ARROW1\0\0".to_vec(), 400, "the body is no Arrow stream that can be read"),
        (good[..good.len() - 20].to_vec(), 400, "it is cut; send all of it"),
        ([&good[..], b"x"].concat(), 400, "bytes follow its end"),
        (packed, 400, "it is compressed; write it without compression"),
        (
            of(&[("age", ages(1))]),
            400,
            "column 'page' is missing; give it, with nulls where there is no value",
        ),
        (
            of(&[("page", pages(1)), ("agE", ages(1))]),
            400,
            "column 'age' is missing; 'agE' is no column of the model",
        ),
        (
            of(&[("page", pages(1)), ("age", ages(1)), ("age", ages(1))]),
            400,
            "column 'age': it is there twice",
        ),
        (
            of(&[("page", pages(1)), ("age", dates)]),
            400,
            "row 1, column 'age': values of the type Timestamp(s) are not read; cast",
        ),
        (of(&[("page", ages(1)), ("age", ages(1))]), 400, "row 1, column 'page': '1' is no scenario"),
        (
            of(&[
                ("page", pages(1)),
                ("age", ages(1)),
                ("tags", lists(&[Some(&["a"])])),
                ("tags.weights", lists(&[Some(&[])])),
            ]),
            400,
            "row 1, column 'tags': 1 values, but 0 weights; send as many",
        ),
        (
            of(&[("page", pages(11)), ("age", ages(11))]),
            413,
            "there are more than 10 rows; send fewer, or raise --max-rows",
        ),
        (
            of(&[("page", pages(1)), ("age", ages(1)), ("tags", lists(&[Some(&["a"; 641])]))]),
            413,
            "lists have more than 640 values in all",
        ),
        // Rows without a byte.
        (of(&[("page", Arc::new(NullArray::new(1 << 40)))]), 413, "there are more than 10 rows"),
    ] {
        let reply = ask(&mut client, &[], &body);
        assert_eq!(reply.status, status, "{text}: {}", reply.text());
        assert!(reply.error().contains(text), "{text}: {}", reply.error());
    }
    assert_eq!(probabilities(&answered(&ask(&mut client, &[], &good))), vec![expected(0.1, 1.0, 0.0); 2]);
    served.end();
}

/// The stream with the last part of its only record batch somewhere else.
fn moved(mut stream: Vec<u8>, offset: i64, length: i64) -> Vec<u8> {
    let (mut at, mut part) = (0, None);
    // A message is 0xffffffff, its length, itself, and its body.
    while let Some(size) = stream[at + 4..].first_chunk::<4>().map(|size| u32::from_le_bytes(*size) as usize)
    {
        let Ok(message) = arrow_ipc::root_as_message(&stream[at + 8..at + 8 + size]) else { break };
        if let Some(batch) = message.header_as_record_batch() {
            part = batch.buffers().unwrap().iter().next_back().map(|part| (part.offset(), part.length()));
            break;
        }
        at += 8 + size + message.bodyLength() as usize;
    }
    let bytes = |(offset, length): (i64, i64)| [offset.to_le_bytes(), length.to_le_bytes()].concat();
    let from = bytes(part.unwrap());
    let place = stream.windows(16).position(|window| window == from).unwrap();
    stream.splice(place..place + 16, bytes((offset, length)));
    stream
}

#[test]
fn a_stream_stands_for_what_it_has() {
    let served = Served::one();
    let mut client = served.client();
    let ages = |rows| -> ArrayRef { Arc::new(Int64Array::from(vec![1; rows])) };
    let with = |other: ArrayRef| stream(&[batch(&[("page", pages(1)), ("age", ages(1)), ("other", other)])]);
    let good = stream(&[batch(&[("page", pages(8)), ("age", ages(8)), ("other", ages(8))])]);
    assert_eq!(ask(&mut client, &[], &good).status, 200);
    let names: Vec<_> = (0..4096).map(|i| format!("x{i}")).collect();
    let nothing: ArrayRef = Arc::new(NullArray::new(1));
    let wide: Vec<_> = names.iter().map(|name| (&**name, nothing.clone())).collect();
    let wide = stream(&[batch(&[&[("page", pages(1)), ("age", ages(1))], &wide[..]].concat())]);
    let row = batch(&[("page", pages(0)), ("age", ages(0))]);
    let many = stream(&repeat_n(row, 4097).collect::<Vec<_>>());
    let deep = (0..10).fold(ages(1), |deep, _| {
        let field = Arc::new(Field::new("item", deep.data_type().clone(), true));
        Arc::new(ListArray::new(field, OffsetBuffer::from_lengths([1]), deep, None))
    });
    for (body, text) in [
        // All other parts lie where they lay.
        (moved(good.clone(), 1, 200), "parts of a record batch overlap"),
        (moved(good, 1, 1 << 40), "a part of a record batch lies behind its end"),
        (wide, "it has 4098 columns; send at most 4096"),
        (many, "it has more than 4096 messages; write longer batches"),
        (with(deep), "columns are nested more than 8 deep; send flat ones"),
    ] {
        let reply = ask(&mut client, &[], &body);
        assert_eq!(reply.status, 400, "{text}: {}", reply.text());
        assert!(reply.error().contains(text), "{text}: {}", reply.error());
    }
    served.end();
}

/// Eight times the largest body, here 800,000 bytes, of a text of 60,000.
#[test]
fn texts_count_each_time_that_they_are_meant() {
    let served = Served::with(&[("ctr", 0.1)], |config| config.max_body = 100_000);
    let mut client = served.client();
    let long = "x".repeat(60_000);
    let words = |rows: usize| -> ArrayRef {
        let mut words = StringDictionaryBuilder::<Int8Type>::new();
        (0..rows).for_each(|_| words.append_value(&long));
        Arc::new(words.finish())
    };
    let listed = |items: usize| -> ArrayRef {
        let mut lists = ListBuilder::new(StringDictionaryBuilder::<Int8Type>::new());
        (0..items).for_each(|_| lists.values().append_value(&long));
        lists.append(true);
        Arc::new(lists.finish())
    };
    let views = |rows: usize| -> ArrayRef {
        let mut views = StringViewBuilder::new();
        let block = views.append_block(long.as_bytes().into());
        (0..rows).for_each(|_| views.try_append_view(block, 0, 60_000).unwrap());
        Arc::new(views.finish())
    };
    let of = |rows: usize, name: &str, column: ArrayRef| {
        let ages = Arc::new(Int64Array::from(vec![0; rows]));
        batch(&[("page", pages(rows)), ("age", ages), (name, column)])
    };
    let field = Arc::new(Field::new("item", DataType::Null, true));
    let nothing = Arc::new(NullArray::new(1 << 30));
    let empty = Arc::new(FixedSizeListArray::new(field, 1 << 30, nothing, None));
    for (body, right) in [
        (stream(&[of(13, "city", words(13))]), true),
        (stream(&[of(14, "city", words(14))]), false),
        (stream(&[of(1, "tags", listed(13))]), true),
        (stream(&[of(1, "tags", listed(14))]), false),
        (stream(&[of(10, "city", views(10))]), true),
        (stream(&[of(14, "city", views(14))]), false),
        // The dictionary is sent once, and looked at for each batch.
        (stream(&vec![of(1, "city", words(1)); 10]), true),
        (stream(&vec![of(1, "city", words(1)); 14]), false),
        // Values without bytes.
        (stream(&[of(1, "other", empty)]), false),
    ] {
        assert!(body.len() < 100_000, "{}", body.len());
        let reply = ask(&mut client, &[], &body);
        assert_eq!(reply.status, if right { 200 } else { 413 }, "{}", String::from_utf8_lossy(&reply.body));
        if !right {
            let text = "the values of the Arrow stream are more than 800000 bytes in all";
            assert!(reply.error().contains(text), "{}", reply.error());
        }
    }
    served.end();
}
