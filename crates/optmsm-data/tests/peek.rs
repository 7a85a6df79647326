//! A look at columns: what they hold, and their values.

mod common;

use std::fs::File;
use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::types::Int8Type;
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, RecordBatch,
    StringArray, StructArray, UInt64Array,
};
use arrow_schema::{DataType, Field};
use common::Files;
use optmsm_data::{Form, Holds, Peek, Value};
use parquet::arrow::ArrowWriter;

fn columns() -> Vec<(&'static str, ArrayRef)> {
    let (mut floats, mut tags) =
        (ListBuilder::new(Float32Builder::new()), ListBuilder::new(StringBuilder::new()));
    let mut map = MapBuilder::new(None, StringBuilder::new(), Float32Builder::new());
    floats.append_value([Some(0.5), None]);
    floats.append_null();
    tags.append_value([Some("a"), None, Some("b")]);
    tags.append_value(Vec::<Option<&str>>::new());
    map.keys().append_value("k");
    map.values().append_value(2.0);
    map.append(true).unwrap();
    map.append(true).unwrap();
    let field = Arc::new(Field::new("f", DataType::Utf8, true));
    let inner: ArrayRef = Arc::new(StringArray::from(vec!["x", "y"]));
    vec![
        ("text", Arc::new(StringArray::from(vec![Some("t"), None]))),
        ("word", Arc::new(["x", "y"].into_iter().collect::<DictionaryArray<Int8Type>>())),
        ("flag", Arc::new(BooleanArray::from(vec![true, false]))),
        ("count", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
        ("float", Arc::new(Float32Array::from(vec![0.1, 1.0]))),
        ("decimal", Arc::new(Decimal128Array::from(vec![150, 1]).with_precision_and_scale(9, 2).unwrap())),
        ("day", Arc::new(Date32Array::from(vec![19_000, 1]))),
        ("vector", Arc::new(floats.finish())),
        ("tags", Arc::new(tags.finish())),
        ("weights", Arc::new(map.finish())),
        ("inside", Arc::new(StructArray::from(vec![(field, inner)]))),
    ]
}

#[test]
fn columns_of_every_type() {
    let files = Files::new();
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns().into_iter().map(|(n, c)| (n, c, true))).unwrap();
    std::fs::create_dir(files.path("tab=1")).unwrap();
    let file = File::create(files.path("tab=1/t.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let mut peek = Peek::open(files.path("tab=1")).unwrap();
    assert_eq!(peek.delimiter(), None);
    let many = |values: &[&str]| Err(values.iter().map(|v| v.to_string()).collect::<Vec<_>>());
    let lists = |floats, weighted| Holds::Lists { floats, weighted };
    let wanted = [
        ("text", Holds::Text, [Ok("t"), Ok("")]),
        ("word", Holds::Dictionary, [Ok("x"), Ok("y")]),
        ("flag", Holds::Booleans, [Ok("1"), Ok("0")]),
        ("count", Holds::Integers, [Ok("18446744073709551615"), Ok("0")]),
        ("float", Holds::Floats, [Ok("0.1"), Ok("1")]),
        ("decimal", Holds::Floats, [Ok("1.50"), Ok("0.01")]),
        ("day", Holds::Times, [Ok("19000"), Ok("1")]),
        ("vector", lists(true, false), [many(&["0.5"]), Ok("")]),
        ("tags", lists(false, false), [many(&["a", "b"]), many(&[])]),
        ("weights", lists(false, true), [many(&["k"]), many(&[])]),
        ("inside", Holds::Unreadable, [Ok(""), Ok("")]),
        ("tab", Holds::Text, [Ok("1"), Ok("1")]),
    ];
    let found: Vec<_> = peek.columns().iter().map(|c| (c.name.clone(), c.holds)).collect();
    assert_eq!(found, wanted.each_ref().map(|w| (w.0.to_owned(), w.1)));
    assert_eq!(
        [&peek.columns()[3].of, &peek.columns()[11].of],
        [&Some("UInt64".into()), &Some("folders".into())]
    );
    for row in 0..2 {
        assert!(peek.next_row().unwrap());
        for (c, (name, _, values)) in wanted.iter().enumerate() {
            let found = match peek.value(c) {
                Value::One(text) => Ok(text.to_owned()),
                Value::Many(items) => Err(items.to_vec()),
                Value::Bytes => panic!("{name} of row {row}"),
            };
            assert_eq!(found, values[row].clone().map(str::to_owned), "{name} of row {row}");
        }
    }
    assert!(!peek.next_row().unwrap());
}

#[test]
fn bytes_are_no_text_and_a_column_may_be_left_out() {
    let files = Files::new();
    let path = files.write("t.csv", b"a,b,c\nx,caf\xe9,1\ny,\x00\xff,2\nz,bar,3\n");
    let read = |left: &[&str]| {
        let left = left.iter().map(|name| name.to_string()).collect();
        let mut peek = Peek::open_without(path.clone(), Form::default(), &left).unwrap();
        let mut seen = Vec::new();
        while peek.next_row().unwrap() {
            seen.push(
                (0..3)
                    .map(|c| match peek.value(c) {
                        Value::One(text) => text.to_owned(),
                        other => format!("{other:?}"),
                    })
                    .collect::<Vec<_>>(),
            );
        }
        seen
    };
    assert_eq!(read(&[]), [["x", "Bytes", "1"], ["y", "Bytes", "2"], ["z", "bar", "3"]]);
    assert_eq!(read(&["b", "c"]), [["x", "", ""], ["y", "", ""], ["z", "", ""]]);
}

#[test]
fn a_delimiter_is_what_cuts_the_header() {
    let files = Files::new();
    for (text, delimiter, columns) in [
        ("a,b\n1,2\n", ',', 2),
        ("a\tb,c\td\n1\t2\t3\n", '\t', 3),
        ("\u{feff}a;b\n1;2\n", ';', 2),
        ("\"x,y,z\"|b\n1|2\n", '|', 2),
        ("a\n1\n", ',', 1),
    ] {
        let peek = Peek::open(files.write("t.csv", text)).unwrap();
        assert_eq!((peek.delimiter(), peek.columns().len()), (Some(delimiter), columns), "{text}");
        assert!(peek.columns().iter().all(|c| c.holds == Holds::Text && c.of.is_none()));
    }
    let says = |text: &str| files.plain(Peek::open(files.write("t.csv", text)).unwrap_err());
    assert_eq!(
        says("a,a\n1,2\n"),
        "t.csv line 1: column 'a' appears twice, as columns 1 and 2; rename or drop one"
    );
    assert_eq!(says(""), "t.csv: the file is empty; give a header line and at least one row");
}
