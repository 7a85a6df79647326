//! Whatever decodes the rows, one thread or eight, one kind of file or another: the same schema, rows, caches and
//! errors.

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use common::*;
use optmsm_core::batch::Batch;
use optmsm_data::{
    Cache, DataConfig, Dataset, Encoding, Extra, FieldConfig, Missing, Need, Quoting, RowReader, Schema,
    Source, Split, SplitConfig, Transform,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

const ROWS: usize = 30_000;
const THREADS: [usize; 3] = [1, 2, 8];

/// One row; every kind of value, with missing ones and such as need quotes.
#[derive(Clone)]
struct Record {
    label: i64,
    scenario: String,
    user: i64,
    city: Option<String>,
    tags: Vec<String>,
    price: Option<f64>,
    age: Option<i32>,
    weight: f64,
}

fn record(i: usize) -> Record {
    // Consecutive rows share nothing that chunks of one size could hide.
    let x = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let pick = |n: u64, shift: u32| (x >> shift) % n;
    let cities = ["Rome", "São Paulo", "a, b", "a \"b\"", "two\nlines", "c"];
    Record {
        label: pick(2, 60) as i64,
        scenario: ["home", "search", "ads"][pick(3, 50) as usize].into(),
        user: pick(9000, 20) as i64,
        city: (pick(9, 30) > 0).then(|| cities[pick(6, 40) as usize].into()),
        tags: (0..pick(4, 10)).map(|k| format!("t{}", pick(30, 12 + 5 * k as u32))).collect(),
        price: (pick(11, 33) > 0).then(|| pick(100_000, 24) as f64 / 100.0),
        age: (pick(7, 45) > 0).then(|| pick(90, 22) as i32),
        weight: pick(16, 18) as f64 / 4.0 + 0.1,
    }
}

fn csv(records: &[Record]) -> Vec<u8> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(["label", "scenario", "user", "city", "tags", "price", "age", "w"]).unwrap();
    let text = |v: Option<String>| v.unwrap_or_default();
    for r in records {
        out.write_record([
            &r.label.to_string(),
            &r.scenario,
            &r.user.to_string(),
            &text(r.city.clone()),
            &r.tags.join("|"),
            &text(r.price.map(|v| v.to_string())),
            &text(r.age.map(|v| v.to_string())),
            &r.weight.to_string(),
        ])
        .unwrap();
    }
    out.into_inner().unwrap()
}

fn batch(records: &[Record]) -> RecordBatch {
    let mut tags = ListBuilder::new(StringBuilder::new());
    for r in records {
        r.tags.iter().for_each(|tag| tags.values().append_value(tag));
        tags.append(true);
    }
    let columns: [(&str, ArrayRef); 8] = [
        ("label", Arc::new(Int64Array::from_iter_values(records.iter().map(|r| r.label)))),
        ("scenario", Arc::new(StringArray::from_iter_values(records.iter().map(|r| &r.scenario)))),
        ("user", Arc::new(Int64Array::from_iter_values(records.iter().map(|r| r.user)))),
        ("city", Arc::new(StringArray::from_iter(records.iter().map(|r| r.city.clone())))),
        ("tags", Arc::new(tags.finish())),
        ("price", Arc::new(Float64Array::from_iter(records.iter().map(|r| r.price)))),
        ("age", Arc::new(Int32Array::from_iter(records.iter().map(|r| r.age)))),
        ("w", Arc::new(Float64Array::from_iter_values(records.iter().map(|r| r.weight)))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

fn parquet(path: &Path, records: &[Record], group: usize) {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let batch = batch(records);
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn arrow(path: &Path, records: &[Record], rows: usize) {
    let batch = batch(records);
    let mut writer =
        arrow_ipc::writer::FileWriter::try_new(File::create(path).unwrap(), &batch.schema()).unwrap();
    for start in (0..records.len()).step_by(rows) {
        writer.write(&batch.slice(start, rows.min(records.len() - start))).unwrap();
    }
    writer.finish().unwrap();
}

/// The same rows as files of every kind: the paths, and what to call them.
fn sources(files: &Files, records: &[Record]) -> Vec<(&'static str, Vec<PathBuf>)> {
    let part = |name: &str, i: usize| files.path(&format!("{name}-{i}"));
    let path = |name: &str| files.path(name);
    fs::write(path("one.csv"), csv(records)).unwrap();
    parquet(&path("groups.parquet"), records, 777);
    parquet(&path("group.parquet"), records, records.len());
    arrow(&path("batches.arrow"), records, 999);
    arrow(&path("batch.arrow"), records, records.len());
    let mut parts = [Vec::new(), Vec::new(), Vec::new()];
    for (i, records) in records.chunks(records.len() / 3 + 5).enumerate() {
        let paths = ["csv", "parquet", "arrow"].map(|kind| part("part", i).with_extension(kind));
        fs::write(&paths[0], csv(records)).unwrap();
        parquet(&paths[1], records, 5000);
        arrow(&paths[2], records, 5000);
        parts.iter_mut().zip(paths).for_each(|(parts, path)| parts.push(path));
    }
    let [csv_parts, parquet_parts, arrow_parts] = parts;
    vec![
        ("csv", vec![path("one.csv")]),
        ("csv parts", csv_parts),
        ("many row groups", vec![path("groups.parquet")]),
        ("one row group", vec![path("group.parquet")]),
        ("parquet parts", parquet_parts),
        ("many arrow batches", vec![path("batches.arrow")]),
        ("one arrow batch", vec![path("batch.arrow")]),
        ("arrow parts", arrow_parts),
    ]
}

fn settings() -> DataConfig {
    let other =
        |field: FieldConfig, name: &str| FieldConfig { column: Some(field.name), name: name.into(), ..field };
    let mut fields =
        vec![categorical("user"), categorical("city"), multi("tags"), numeric("price"), numeric("age")];
    fields.push(FieldConfig { transform: Some(Transform::Log1p), ..other(numeric("price"), "log") });
    fields.push(FieldConfig { transform: Some(Transform::Quantile), ..other(numeric("price"), "rank") });
    fields.push(FieldConfig { buckets: Some(7), ..other(numeric("age"), "bucket") });
    fields.push(FieldConfig { hash_buckets: Some(50), ..other(categorical("user"), "hash") });
    fields.push(FieldConfig { missing: Missing::Own, ..other(categorical("city"), "own") });
    fields.push(FieldConfig { max_length: Some(2), ..other(multi("tags"), "two") });
    let quoting = Quoting::Standard;
    DataConfig { quoting, weight: Some("w".into()), group: Some("user".into()), ..config(fields) }
}

fn source(paths: &[PathBuf], threads: usize) -> Source {
    Source::list(paths).with_threads(threads)
}

#[test]
fn schema_and_rows_are_the_same() {
    let files = Files::new();
    let records: Vec<_> = (0..ROWS).map(record).collect();
    let sources = sources(&files, &records);
    let config = settings();
    let schema = Schema::fit(&config, source(&sources[0].1, 1)).unwrap();
    let set = Dataset::load(source(&sources[0].1, 1), &schema).unwrap();
    assert_eq!((schema.rows, set.rows()), (ROWS as u64, ROWS));
    for (name, paths) in &sources {
        for threads in THREADS {
            let here = format!("{name}, {threads} threads");
            let other = Schema::fit(&config, source(paths, threads)).unwrap();
            for (other, field) in other.fields.iter().zip(&schema.fields) {
                assert!(other == field, "{here}: field {}", field.name);
            }
            assert_eq!(other.fingerprint(), schema.fingerprint(), "{here}");
            assert!(Dataset::load(source(paths, threads), &schema).unwrap() == set, "{here}");
        }
    }
}

/// The numbers are those of Welford's recurrence over the rows in their order, bit for bit.
#[test]
fn statistics_are_those_of_the_rows_in_order() {
    let files = Files::new();
    let records: Vec<_> = (0..ROWS).map(record).collect();
    let path = files.path("rows.parquet");
    parquet(&path, &records, 1000);
    let schema = Schema::fit(&config(vec![numeric("price")]), source(&[path], 8)).unwrap();
    let Encoding::Numeric { stats, .. } = &schema.fields[0].encoding else { panic!("a number") };
    let (mut n, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for v in records.iter().filter_map(|r| r.price) {
        n += 1.0;
        let delta = v - mean;
        mean += delta / n;
        squares += delta * (v - mean);
    }
    let squares: f64 = squares;
    assert_eq!((stats.count as f64, stats.mean, stats.std), (n, mean, (squares / n).sqrt()));
    assert_eq!(stats.missing, records.iter().filter(|r| r.price.is_none()).count() as u64);
}

#[test]
fn caches_have_the_same_bytes() {
    let files = Files::new();
    let records: Vec<_> = (0..ROWS).map(record).collect();
    for (name, paths) in sources(&files, &records) {
        let schema = Schema::fit(&settings(), source(&paths, 2)).unwrap();
        let caches = THREADS.map(|threads| {
            let folder = files.path(&format!("{name}-{threads}"));
            let (cache, _) =
                Cache::prepare(&source(&paths, threads), &schema, None, &folder, |_| {}).unwrap();
            fs::read(cache.path()).unwrap()
        });
        assert!(caches[0] == caches[1] && caches[0] == caches[2], "{name}");
    }
}

#[test]
fn parts_of_a_split_and_a_first_look_are_the_same() {
    let files = Files::new();
    let records: Vec<_> = (0..ROWS).map(record).collect();
    let sources = sources(&files, &records);
    for by in ["row", "user"] {
        let split = SplitConfig { by: by.into(), valid: 0.2, test: 0.2, seed: 5 };
        let config = DataConfig { split: Some(split.clone()), ..settings() };
        let schema = Schema::fit(&config, source(&sources[0].1, 1)).unwrap();
        let part = |paths, threads| {
            Dataset::load_part(source(paths, threads), &schema, &split, Split::Valid).unwrap()
        };
        let wanted = part(&sources[0].1, 1);
        for (name, paths) in &sources {
            for threads in THREADS {
                assert!(
                    Schema::fit(&config, source(paths, threads)).unwrap() == schema,
                    "{name} {threads} {by}"
                );
                assert!(part(paths, threads) == wanted, "{name} {threads} {by}");
            }
        }
    }
    for rows in [1, 5000, 8192, 20_001] {
        let path = files.path("first.csv");
        fs::write(&path, csv(&records[..rows])).unwrap();
        let schema = Schema::fit(&settings(), &path).unwrap();
        for (name, paths) in &sources {
            for threads in THREADS {
                let mut last = 0;
                let first =
                    Schema::fit_rows(&settings(), source(paths, threads), rows as u64, |p| last = p.rows);
                assert!(first.unwrap() == schema, "{name} {threads} {rows}");
                assert_eq!(last, rows as u64, "{name} {threads}");
            }
        }
    }
}

/// An error is about the first faulty row in the order of the files. The rows before it are read first.
#[test]
fn errors_are_the_first_in_the_files() {
    let files = Files::new();
    let good: Vec<_> = (0..ROWS).map(record).collect();
    let schema = Schema::fit(&settings(), {
        fs::write(files.path("good.csv"), csv(&good)).unwrap();
        files.path("good.csv")
    })
    .unwrap();
    for first in [0, 4321, 8191, 8192, 29_998] {
        let mut records = good.clone();
        // The label is looked at before the price when fitting, and after it when encoding; later rows hold worse.
        records[first].price = Some(-1e39);
        records[first + 1..].iter_mut().for_each(|r| r.label = 7);
        let line = 2 + csv(&records[..first]).iter().filter(|&&b| b == b'\n').count() - 1;
        for (name, paths) in sources(&files, &records) {
            let (part, row) = if paths.len() > 1 { (first / 10_005, first % 10_005) } else { (0, first) };
            let place = if name.starts_with("csv") {
                let part_line =
                    2 + csv(&records[first - row..first]).iter().filter(|&&b| b == b'\n').count() - 1;
                format!("line {}", if paths.len() > 1 { part_line } else { line })
            } else {
                format!("row {}", row + 1)
            };
            let wanted = format!(
                "{} {place}, column 'price': \"{}\" is too large for a 32-bit number; fix the value, or scale the column",
                paths[part].file_name().unwrap().to_str().unwrap(),
                -1e39
            );
            for threads in THREADS {
                let fitted = Schema::fit(&settings(), source(&paths, threads)).unwrap_err();
                assert_eq!(files.plain(fitted), wanted, "{name} {threads}");
                let mut reader = RowReader::open(source(&paths, threads), &schema, Need::Labelled).unwrap();
                let (mut batch, mut extra) = (Batch::new(&schema.input_spec()), Extra::default());
                let error = reader.read(&mut batch, &mut extra, usize::MAX).unwrap_err();
                assert_eq!(files.plain(error), wanted, "{name} {threads}");
                assert_eq!((batch.rows(), extra.groups.len()), (first, first), "{name} {threads}");
                assert_eq!(reader.read(&mut batch, &mut extra, 1).unwrap(), 0);
                // A first look that ends before it does not mind.
                assert!(
                    Schema::fit_rows(&settings(), source(&paths, threads), first as u64, |_| {}).is_ok()
                        || first == 0
                );
            }
        }
    }
    // A file with other columns comes behind the rows of those before it.
    let text =
        |label: &str| format!("label,scenario,city\n{}{label},home,Rome\n", "1,home,Rome\n".repeat(40_000));
    let (a, bad, b) = (
        files.write("a.csv", text("1")),
        files.write("bad.csv", text("x")),
        files.write("b.csv", "label,city\n"),
    );
    let city = config(vec![categorical("city")]);
    for threads in THREADS {
        let error = |paths: &[PathBuf]| files.plain(Schema::fit(&city, source(paths, threads)).unwrap_err());
        assert!(
            error(&[bad.clone(), b.clone()]).starts_with("bad.csv line 40002, column 'label': \"x\" is not")
        );
        assert!(
            error(&[a.clone(), b.clone()]).starts_with("b.csv line 1: no column 'scenario', which a.csv has")
        );
    }
}
