//! Rows with their predictions: what is written, read back by the readers of csv and parquet.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int8Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float32Array, Int32Array, RecordBatch, StringArray, UInt16Array,
};
use arrow_ipc::writer::FileWriter;
use arrow_schema::DataType;
use common::{Files, categorical, config, multi, numeric};
use optmsm_core::batch::{Batch, Column};
use optmsm_data::{DataError, OutputFormat, Predictions, Schema, Source, SynthConfig, synth};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Something of each row that is no round number: predictions in the place of a model's.
fn predict(out: &mut [f32], batch: &Batch) -> Result<(), DataError> {
    for (row, p) in out.iter_mut().enumerate() {
        let sum = batch.columns.iter().map(|column| match column {
            Column::Categorical(ids) => ids[row] as f32,
            Column::Numeric(values) => values[row],
            Column::Multi { offsets, ids, .. } => {
                ids[offsets[row] as usize..offsets[row + 1] as usize].iter().sum::<u32>() as f32
            }
        });
        *p = 0.5 + 0.5 * (sum.sum::<f32>() * 0.37).sin();
    }
    Ok(())
}

fn write(source: impl Into<Source>, schema: &Schema, to: &Path) -> Result<(), DataError> {
    let name = to.to_str().unwrap();
    let rows = Predictions::open(source, schema, OutputFormat::of(name)?)?;
    rows.write(name, File::create(to).unwrap(), predict)
}

fn parquet(path: &Path) -> Vec<RecordBatch> {
    let file = File::open(path).unwrap();
    ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap).collect()
}

fn column(batches: &[RecordBatch], name: &str) -> Vec<ArrayRef> {
    batches.iter().map(|b| b.column_by_name(name).unwrap_or_else(|| panic!("no {name}")).clone()).collect()
}

fn predictions(batches: &[RecordBatch]) -> Vec<f32> {
    let values = column(batches, "prediction");
    values.iter().flat_map(|v| v.as_primitive::<Float32Type>().values().to_vec()).collect()
}

/// Values row by row as the pieces of a CSV; a null is `None`.
fn texts(batches: &[RecordBatch], name: &str) -> Vec<Option<String>> {
    let values = column(batches, name);
    values
        .iter()
        .flat_map(|v| v.as_string::<i32>().iter().map(|v| v.map(str::to_owned)).collect::<Vec<_>>())
        .collect()
}

/// The last value of each line but the header's.
fn last(text: &str) -> Vec<f32> {
    text.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse().unwrap()).collect()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// More rows than are read at a time, as CSV and as Parquet, and their schema.
fn synthetic(files: &Files) -> (Schema, [std::path::PathBuf; 2]) {
    let synth = SynthConfig { rows: 10_000, ..SynthConfig::default() };
    let paths = ["s.csv", "s.parquet"].map(|name| files.path(name));
    synth::write_csv(&synth, 0..synth.rows, File::create(&paths[0]).unwrap()).unwrap();
    synth::write_parquet(&synth, 0..synth.rows, File::create(&paths[1]).unwrap()).unwrap();
    let fields = vec![categorical("user_id"), multi("tags"), numeric("price"), numeric("position")];
    (Schema::fit(&config(fields), &paths[0]).unwrap(), paths)
}

#[test]
fn every_kind_of_file_holds_the_same() {
    let files = Files::new();
    let (schema, [csv, typed]) = synthetic(&files);
    let plain = files.path("p.csv");
    write(&csv, &schema, &plain).unwrap();
    let plain = text(&plain);
    let wanted = last(&plain);
    assert_eq!(wanted.len(), 10_000);
    assert_eq!(plain.lines().next().unwrap(), format!("{},prediction", text(&csv).lines().next().unwrap()));

    // Packed: the same bytes.
    write(&csv, &schema, &files.path("p.csv.gz")).unwrap();
    write(&csv, &schema, &files.path("p.csv.zst")).unwrap();
    let mut unpacked = String::new();
    let file = File::open(files.path("p.csv.gz")).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut unpacked).unwrap();
    assert!(unpacked == plain);
    let file = File::open(files.path("p.csv.zst")).unwrap();
    assert!(zstd::decode_all(file).unwrap() == plain.as_bytes());

    // A CSV's columns as text, value by value.
    let out = files.path("from-csv.parquet");
    write(&csv, &schema, &out).unwrap();
    let batches = parquet(&out);
    assert_eq!(predictions(&batches), wanted);
    let mut reader = csv::Reader::from_path(&csv).unwrap();
    let header = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(batches[0].num_columns(), header.len() + 1);
    for (c, name) in header.iter().enumerate() {
        let values: Vec<Option<String>> = rows.iter().map(|row| Some(row[c].to_owned())).collect();
        assert!(texts(&batches, name) == values, "{name}");
    }

    // Parquet's own columns, as they were.
    let out = files.path("from-parquet.parquet");
    write(&typed, &schema, &out).unwrap();
    let (before, after) = (parquet(&typed), parquet(&out));
    assert_eq!(predictions(&after), wanted);
    let (old, new) = (before[0].schema(), after[0].schema());
    assert_eq!(new.fields().len(), old.fields().len() + 1);
    for (a, b) in old.fields().iter().zip(new.fields()) {
        assert_eq!((a.name(), a.data_type()), (b.name(), b.data_type()));
        assert_eq!(format!("{:?}", column(&before, a.name())), format!("{:?}", column(&after, b.name())));
    }
    assert_eq!(*new.field(new.fields().len() - 1).data_type(), DataType::Float32);
    // As CSV, rows of Parquet are named by their number.
    write(&typed, &schema, &files.path("n.csv")).unwrap();
    let numbered = text(&files.path("n.csv"));
    assert_eq!((last(&numbered), numbered.lines().nth(3).unwrap().split_once(',').unwrap().0), (wanted, "3"));
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// `rows` rows of one folder: labels, an integer, a dictionary of text, and one of integers.
fn part(rows: i32, first: i32) -> RecordBatch {
    let mut words = StringDictionaryBuilder::<Int32Type>::new();
    (0..rows).for_each(|i| words.append_option(["x", "y", "x"].get(i as usize % 4)));
    let keys = arrow_array::Int8Array::from_iter((0..rows).map(|i| (i % 5 > 0).then_some((i % 2) as i8)));
    let numbers = DictionaryArray::<Int8Type>::new(keys, Arc::new(UInt16Array::from(vec![500, 60_000])));
    batch(vec![
        ("label", Arc::new(Int32Array::from_iter_values((0..rows).map(|i| i % 2)))),
        ("n", Arc::new(Int32Array::from_iter_values(first..first + rows))),
        ("word", Arc::new(words.finish())),
        ("code", Arc::new(numbers)),
    ])
}

#[test]
fn folders_dictionaries_and_large_arrow_batches() {
    let files = Files::new();
    for (folder, first) in [("a", 0), ("b%20c", 9000), ("__HIVE_DEFAULT_PARTITION__", 18_000)] {
        std::fs::create_dir_all(files.path(&format!("d/scenario=home/day={folder}"))).unwrap();
        write_parquet(&files.path(&format!("d/scenario=home/day={folder}/p.parquet")), &part(9000, first));
    }
    let schema = Schema::fit(&config(vec![numeric("n"), categorical("word")]), files.path("d")).unwrap();
    let out = files.path("p.pq");
    write(files.path("d"), &schema, &out).unwrap();
    let batches = parquet(&out);
    let numbers = column(&batches, "n");
    let numbers: Vec<i32> =
        numbers.iter().flat_map(|v| v.as_primitive::<Int32Type>().values().to_vec()).collect();
    // Files in the order of their names: the folder of missing values first.
    assert!(numbers.into_iter().eq((18_000..27_000).chain(0..18_000)));
    let days = texts(&batches, "day");
    assert_eq!([&days[0], &days[9000], &days[26_999]], [&None, &Some("a".into()), &Some("b c".into())]);
    assert!(texts(&batches, "scenario").iter().all(|s| s.as_deref() == Some("home")));
    assert_eq!(*batches[0].column_by_name("code").unwrap().data_type(), *part(1, 0).column(3).data_type());
    write(files.path("d"), &schema, &files.path("p.csv")).unwrap();
    assert_eq!(predictions(&batches), last(&text(&files.path("p.csv"))));

    // One record batch of all rows, whose columns keep their types.
    std::fs::create_dir_all(files.path("scenario=home")).unwrap();
    let (arrow, rows) = (files.path("scenario=home/d.arrow"), part(9000, 0));
    let mut writer = FileWriter::try_new(File::create(&arrow).unwrap(), &rows.schema()).unwrap();
    writer.write(&rows).unwrap();
    writer.finish().unwrap();
    write(&arrow, &schema, &files.path("a.parquet")).unwrap();
    let written = parquet(&files.path("a.parquet"));
    assert_eq!(predictions(&written), predictions(&batches)[9000..18_000]);
    let all = arrow_of(&written, "code");
    assert_eq!(format!("{all:?}"), format!("{:?}", arrow_of(&[rows], "code")));
}

/// Values of a dictionary of integers.
fn arrow_of(batches: &[RecordBatch], name: &str) -> Vec<Option<u16>> {
    let value = |array: &ArrayRef| {
        let array = array.as_dictionary::<Int8Type>();
        let values = array.downcast_dict::<UInt16Array>().unwrap();
        (0..array.len())
            .map(|i| array.is_valid(i).then(|| values.into_iter().nth(i).unwrap().unwrap()))
            .take(50)
            .collect::<Vec<_>>()
    };
    column(batches, name).iter().flat_map(value).take(50).collect()
}

#[test]
fn what_cannot_be_written_is_said() {
    let files = Files::new();
    let csv = files.write("d.csv", "label,scenario,n,more\n1,a,1,x\n0,a,2,\u{e9}\n");
    let schema = Schema::fit(&config(vec![numeric("n")]), &csv).unwrap();
    let says = |source: &str, to: &str| {
        files.plain(write(files.path(source), &schema, &files.path(to)).unwrap_err())
    };
    assert_eq!(
        says("d.csv", "p.arrow"),
        "p.arrow: predictions are not written as Arrow files; let the name end in .parquet, .csv, .csv.gz or .csv.zst"
    );
    files.write("taken.csv", "scenario,n,prediction\na,1,0.5\n");
    assert_eq!(says("taken.csv", "p.csv"), "taken.csv: has a column 'prediction' already; rename or drop it");
    files.write("bytes.csv", b"scenario,n,more\na,1,x\na,1,\xff\n");
    assert_eq!(
        says("bytes.csv", "p.parquet"),
        "bytes.csv: row 2, column 'more': the value is not valid UTF-8; save the file as UTF-8, or write the predictions as CSV"
    );
    let scenario = || Arc::new(StringArray::from(vec!["a"])) as ArrayRef;
    let one = |value: ArrayRef, more: &str| {
        let more = (!more.is_empty()).then(|| (more, scenario()));
        batch([("scenario", scenario()), ("n", value)].into_iter().chain(more).collect())
    };
    let int = || Arc::new(Int32Array::from(vec![1])) as ArrayRef;
    for (folder, second) in
        [("types", one(Arc::new(Float32Array::from(vec![1.0])), "")), ("more", one(int(), "extra"))]
    {
        std::fs::create_dir(files.path(folder)).unwrap();
        write_parquet(&files.path(&format!("{folder}/a.parquet")), &one(int(), ""));
        write_parquet(&files.path(&format!("{folder}/b.parquet")), &second);
    }
    let fix = "write all files with the same columns, or the predictions as CSV";
    assert_eq!(
        says("types", "p.parquet"),
        format!(
            "types/b.parquet columns, column 'n': is of type Float32, but in types/a.parquet of type Int32; {fix}"
        )
    );
    assert_eq!(
        says("more", "p.parquet"),
        format!("more/b.parquet columns, column 'extra': is not in more/a.parquet; {fix}")
    );
    write_parquet(&files.path("taken.parquet"), &one(int(), "prediction"));
    assert_eq!(
        says("taken.parquet", "p.parquet"),
        "taken.parquet: has a column 'prediction' already; rename or drop it"
    );
    write_parquet(&files.path("none.parquet"), &one(int(), "").slice(0, 0));
    assert_eq!(says("none.parquet", "p.parquet"), "none.parquet: the file has no row; give at least one row");
}

/// A disk that is full after some bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or_else(|| std::io::Error::other("no space"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn failures_on_the_way_end_it() {
    let files = Files::new();
    let (schema, sources) = synthetic(&files);
    for source in &sources {
        for (format, room) in [
            (OutputFormat::Csv, 9000),
            (OutputFormat::CsvGzip, 900),
            (OutputFormat::CsvZstd, 900),
            (OutputFormat::Parquet, 900),
        ] {
            let rows = Predictions::open(source, &schema, format).unwrap();
            let error = rows.write("p", Full(room), predict).unwrap_err().to_string();
            assert!(error.starts_with("p: cannot be written: ") && error.contains("no space"), "{error}");
            let rows = Predictions::open(source, &schema, format).unwrap();
            let mut calls = 0;
            let done = rows.write("p", std::io::sink(), |_: &mut [f32], _: &Batch| {
                calls += 1;
                if calls < 3 { Ok(()) } else { Err(DataError::io("m", "run", std::io::Error::other("stop"))) }
            });
            assert_eq!(done.unwrap_err().to_string(), "m: cannot run: stop");
        }
    }
}
