//! Parquet and Arrow files read as the CSV of the same rows. The files are made by pyarrow and polars:
//! tests/fixtures/make_parquet.py.

mod common;

use common::columnar::{all, assert_reads_like, fixture};
use common::*;
use optmsm_core::batch::Batch;
use optmsm_data::{Extra, Need, RecordBuffer, RowReader, Schema, Source};

#[test]
fn every_codec_encoding_and_type_reads_like_the_csv() {
    let mut names: Vec<String> =
        ["none", "snappy", "gzip", "brotli", "zstd", "lz4"].map(|c| format!("codec-{c}.parquet")).into();
    names.extend(
        ["page-v1", "page-v2", "plain", "encodings", "types", "polars"].map(|n| format!("{n}.parquet")),
    );
    names.extend(["uncompressed", "lz4", "zstd"].map(|n| format!("{n}.feather")));
    names.extend(["stream.arrow", "polars.arrow"].map(String::from));
    for name in names {
        assert_reads_like(fixture(&name), "rows.csv", &name);
    }
}

#[test]
fn folders_as_spark_writes_them_read_like_the_csv() {
    for kind in ["parquet", "csv"] {
        let folder = fixture(&format!("spark-{kind}"));
        assert_reads_like(&folder, "spark.csv", kind);
        let folders: Vec<_> =
            ["home", "search", "S%C3%A3o%2F1"].map(|s| folder.join(format!("scenario={s}"))).into();
        // In the order that a list gives, not by name: the order of rows is another, the schema the same.
        let listed = Schema::fit(&all(), Source::list(&folders)).unwrap();
        assert_eq!(listed.rows, 100);
        let glob = folder.join(format!("scenario=*/part-*.{kind}"));
        assert_reads_like(glob, "spark.csv", kind);
    }
}

#[test]
fn compressed_csv_reads_like_the_csv() {
    let text = std::fs::read(fixture("rows.csv")).unwrap();
    let files = Files::new();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &text).unwrap();
    let gz = gz.finish().unwrap();
    let zst = zstd::encode_all(&text[..], 3).unwrap();
    for (name, bytes) in [("a.csv.gz", &gz), ("a.csv.zst", &zst)] {
        assert_reads_like(files.write(name, bytes), "rows.csv", name);
        let cut = files.write(name, &bytes[..bytes.len() / 2]);
        let error = files.plain(Schema::fit(&all(), cut).unwrap_err());
        assert!(error.starts_with(&format!("{name}: cannot be unpacked: ")), "{error}");
        assert!(error.ends_with("was not written to its end: copy or write it again"), "{error}");
    }
}

#[test]
fn rows_of_columnar_files_come_out_by_their_number() {
    let schema = Schema::fit(&all(), fixture("rows.csv")).unwrap();
    let source = Source::list([fixture("codec-zstd.parquet"), fixture("types.parquet")]);
    let mut reader = RowReader::open(source, &schema, Need::Unlabelled).unwrap();
    assert_eq!(reader.header(), vec!["row"]);
    let (mut batch, mut extra, mut records) =
        (Batch::new(&schema.input_spec()), Extra::default(), RecordBuffer::default());
    let mut numbers = Vec::new();
    while reader.read_records(&mut batch, &mut extra, &mut records, 33).unwrap() > 0 {
        numbers.extend(records.iter().map(|r| String::from_utf8(r[0].to_vec()).unwrap()));
    }
    assert_eq!(numbers, (1..=200).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(batch.rows(), 200);
    let progress = reader.progress();
    assert_eq!((progress.rows, Some(progress.bytes)), (200, progress.total_bytes));
}

#[test]
fn a_reader_may_be_dropped_in_the_middle() {
    let schema = Schema::fit(&all(), fixture("rows.csv")).unwrap();
    let source = Source::from(fixture("codec-zstd.parquet")).with_threads(4);
    let mut reader = RowReader::open(source, &schema, Need::Labelled).unwrap();
    let (mut batch, mut extra) = (Batch::new(&schema.input_spec()), Extra::default());
    assert_eq!(reader.read(&mut batch, &mut extra, 5).unwrap(), 5);
}

#[test]
fn empty_parts_are_skipped() {
    let config = config(vec![categorical("city")]);
    let (good, empty) = (fixture("good.parquet"), fixture("empty.parquet"));
    let alone = Schema::fit(&config, &good).unwrap();
    for paths in [[&good, &empty], [&empty, &good]] {
        assert_eq!(Schema::fit(&config, Source::list(paths)).unwrap(), alone);
    }
    let files = Files::new();
    let rows = files.write("a.csv", "label,scenario,city\n1,home,Rome\n");
    let header = files.write("b.csv", "label,scenario,city\n");
    let nothing = files.write("c.csv", "");
    for paths in [[&rows, &header, &nothing], [&nothing, &header, &rows]] {
        assert_eq!(Schema::fit(&config, Source::list(paths)).unwrap().rows, 1);
    }
}
