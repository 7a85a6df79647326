//! Rows in memory, read like files.

mod common;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use arrow_ipc::reader::{FileReader, StreamReader};
use common::columnar::{all, assert_reads_like, fixture};
use common::*;
use optmsm_core::batch::Batch;
use optmsm_data::{
    Cache, DataError, Dataset, Extra, FileErrorKind, Frame, InputFile, Need, Prepared, RowReader, Schema,
    Source, interruptible,
};

/// The batches of an Arrow file, with its schema.
fn batches(name: &str) -> (arrow_schema::SchemaRef, Vec<RecordBatch>) {
    let file = File::open(fixture(name)).unwrap();
    match name.ends_with(".arrow") {
        true if name == "stream.arrow" => {
            let reader = StreamReader::try_new(file, None).unwrap();
            (reader.schema(), reader.map(Result::unwrap).collect())
        }
        _ => {
            let reader = FileReader::try_new(file, None).unwrap();
            (reader.schema(), reader.map(Result::unwrap).collect())
        }
    }
}

/// A frame of a file's rows, cut into batches of at most so many.
fn frame(name: &str, most: usize) -> Frame {
    let (schema, batches) = batches(name);
    let cut = |batch: &RecordBatch| {
        let starts = (0..batch.num_rows()).step_by(most);
        starts.map(|at| batch.slice(at, most.min(batch.num_rows() - at))).collect::<Vec<_>>()
    };
    let batches = batches.iter().flat_map(cut).collect();
    Frame::new("rows", schema, batches).unwrap()
}

#[test]
fn a_frame_reads_like_the_csv_however_it_is_cut() {
    for name in ["uncompressed.feather", "polars.arrow", "stream.arrow"] {
        for most in [1, 7, usize::MAX] {
            let frame = frame(name, most);
            assert_eq!(frame.rows(), 100, "{name}");
            assert_reads_like(frame.path(), "rows.csv", &format!("{name} by {most}"));
        }
    }
}

#[test]
fn a_stream_reads_like_the_csv_once() {
    let schema = Schema::fit(&all(), fixture("rows.csv")).unwrap();
    let wanted = Dataset::load(fixture("rows.csv"), &schema).unwrap();
    let (of, batches) = batches("polars.arrow");
    let stream: Box<dyn RecordBatchReader + Send> =
        Box::new(RecordBatchIterator::new(batches.into_iter().map(Ok), of));
    let mut reader = RowReader::from_batches("the stream", stream, &schema, Need::Labelled).unwrap();
    let (mut batch, mut extra) = (Batch::new(&schema.input_spec()), Extra::default());
    while reader.read(&mut batch, &mut extra, 33).unwrap() > 0 {}
    assert_eq!((batch, extra), (wanted.batch, wanted.extra));
}

#[test]
fn a_fault_in_a_frame_names_the_row_and_the_column() {
    let (of, batches) = batches("uncompressed.feather");
    let frame = Frame::new("rows", of, batches).unwrap();
    let path = frame.path().display().to_string();
    let config = config(vec![categorical("nothing")]);
    let error = Schema::fit(&config, frame.path()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{path} columns: no column 'nothing'")), "{error}");
}

#[test]
fn a_frame_that_was_let_go_of_is_missing() {
    let path = frame("polars.arrow", 50).path().to_owned();
    let error = Schema::fit(&all(), &path).unwrap_err();
    assert_eq!(error.file_kind(), Some(FileErrorKind::Missing));
    assert!(error.to_string().contains("let go of them; give them again"), "{error}");
}

#[test]
fn batches_of_several_schemas_are_refused() {
    let ((schema, mut one), (_, other)) = (batches("polars.arrow"), batches("uncompressed.feather"));
    one.extend(other);
    let error = Frame::new("rows", schema, one).unwrap_err().to_string();
    assert!(error.contains("batch 2 has other columns than the table"), "{error}");
}

#[test]
fn the_state_of_a_frame_is_that_of_its_values() {
    let state = |frame: &Frame| Source::from(frame.path()).described().unwrap()[0].state.clone().unwrap();
    let one = frame("polars.arrow", usize::MAX);
    // However it is cut, and whatever library's types hold the texts.
    for (name, most) in [("polars.arrow", usize::MAX), ("polars.arrow", 7), ("uncompressed.feather", 50)] {
        let same = frame(name, most);
        assert_ne!(one.path(), same.path());
        assert_eq!(state(&one), state(&same), "{name} by {most}");
    }
    let (schema, batches) = batches("polars.arrow");
    let of = |rows: &[(usize, usize)]| {
        let rows = rows.iter().map(|&(at, n)| batches[0].slice(at, n)).collect();
        state(&Frame::new("rows", schema.clone(), rows).unwrap())
    };
    assert_eq!(of(&[(0, 100)]), state(&one));
    for other in [&[(1, 99)][..], &[(0, 99)], &[(50, 50), (0, 50)]] {
        assert_ne!(of(other), state(&one), "{other:?}");
    }
    // Another name is another table.
    let names = schema
        .fields()
        .iter()
        .map(|f| Arc::new(arrow_schema::Field::clone(f).with_name(format!("{}_", f.name()))));
    let renamed = Arc::new(arrow_schema::Schema::new(names.collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(renamed.clone(), batches[0].columns().to_vec()).unwrap();
    assert_ne!(state(&Frame::new("rows", renamed, vec![batch]).unwrap()), state(&one));
    let mut bytes = String::new();
    std::io::Read::read_to_string(&mut InputFile::open(one.path()).unwrap(), &mut bytes).unwrap();
    assert_eq!(bytes, state(&one));
}

/// Numbers are values, not types: what pandas makes of integers among nulls is the same.
#[test]
fn integers_floats_and_booleans_of_one_value_have_one_state() {
    use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int8Array, UInt64Array};
    let state = |array: ArrayRef| {
        let batch = RecordBatch::try_from_iter([("x", array)]).unwrap();
        let frame = Frame::new("rows", batch.schema(), vec![batch]).unwrap();
        Source::from(frame.path()).described().unwrap()[0].state.clone().unwrap()
    };
    let ints = state(Arc::new(Int8Array::from(vec![Some(1), None, Some(0)])));
    assert_eq!(ints, state(Arc::new(Float64Array::from(vec![Some(1.0), Some(f64::NAN), Some(0.0)]))));
    assert_eq!(ints, state(Arc::new(UInt64Array::from(vec![Some(1), None, Some(0)]))));
    assert_eq!(ints, state(Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))));
    assert_ne!(ints, state(Arc::new(Int8Array::from(vec![Some(1), Some(0), None]))));
    // Neighbours that are one float of 64 bits.
    let large = |v| state(Arc::new(UInt64Array::from(vec![v])));
    assert_ne!(large(1 << 60), large((1 << 60) + 1));
}

#[test]
fn a_cache_is_found_by_the_content_of_a_frame() {
    let fitted = Schema::fit(&all(), fixture("rows.csv")).unwrap();
    let files = Files::new();
    let prepare = |frame: &Frame| {
        let source = Source::from(frame.path());
        let (cache, how) = Cache::prepare(&source, &fitted, None, &files.path("caches"), |_| ()).unwrap();
        (cache.rows(), matches!(how, Prepared::Found))
    };
    assert_eq!(prepare(&frame("polars.arrow", usize::MAX)), (100, false));
    assert_eq!(prepare(&frame("polars.arrow", usize::MAX)), (100, true));
    let (schema, batches) = batches("polars.arrow");
    let fewer = Frame::new("rows", schema, vec![batches[0].slice(1, 99)]).unwrap();
    assert_eq!(prepare(&fewer), (99, false));
}

#[test]
fn reading_ends_when_it_is_to_stop() {
    let schema = Schema::fit(&all(), fixture("rows.csv")).unwrap();
    let frame = frame("polars.arrow", 9);
    for path in [fixture("rows.csv"), fixture("codec-zstd.parquet"), frame.path().into()] {
        let stop = Arc::new(AtomicBool::new(true));
        let fitted = interruptible(&stop, || Schema::fit(&all(), &path));
        assert!(matches!(fitted, Err(DataError::Interrupted)), "{}", path.display());
        let loaded = interruptible(&stop, || Dataset::load(&path, &schema));
        assert!(matches!(loaded, Err(DataError::Interrupted)), "{}", path.display());
        stop.store(false, std::sync::atomic::Ordering::Relaxed);
        assert!(interruptible(&stop, || Dataset::load(&path, &schema)).is_ok());
        // Later reading is not stopped by it.
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(Dataset::load(&path, &schema).is_ok());
    }
}
