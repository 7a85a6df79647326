//! Rows in files of every kind, made by pyarrow and polars, and the CSV of the same rows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use optmsm_data::{DataConfig, Dataset, FieldConfig, Quoting, Schema, Source};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::{categorical, config, multi, numeric};

pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/columnar").join(name)
}

/// Every column, numbers both as numbers and as categories.
pub fn all() -> DataConfig {
    let number = |name: &str| numeric(name);
    let category =
        |name: &str| FieldConfig { column: Some(name.into()), ..categorical(&format!("c_{name}")) };
    let mut fields: Vec<_> = ["small", "big", "huge", "narrow", "single", "double", "price", "day", "time"]
        .iter()
        .flat_map(|name| [number(name), category(name)])
        .collect();
    fields.extend(["flag", "city", "code"].map(categorical));
    fields.extend(["tags", "clicks"].map(multi));
    fields.push(FieldConfig { weight_separator: Some(":".into()), ..multi("interests") });
    let quoting = Quoting::Standard;
    DataConfig { quoting, weight: Some("w".into()), group: Some("code".into()), ..config(fields) }
}

/// Schema and rows of a source, each by this many decoding threads.
pub fn load(source: impl Into<Source>, threads: usize) -> (Schema, Dataset) {
    let source = source.into().with_threads(threads);
    let schema = Schema::fit(&all(), source.clone()).unwrap();
    let set = Dataset::load(source, &schema).unwrap();
    (schema, set)
}

pub fn assert_reads_like(source: impl Into<Source>, csv: &str, name: &str) {
    let source = source.into();
    let (schema, set) = load(fixture(csv), 1);
    for threads in [1, 8] {
        let (other_schema, other_set) = load(source.clone(), threads);
        for (other, field) in other_schema.fields.iter().zip(&schema.fields) {
            assert!(other == field, "{name}: field {} differs", field.name);
        }
        assert_eq!(other_schema.scenarios, schema.scenarios, "{name}");
        assert_eq!(other_schema.fingerprint(), schema.fingerprint(), "{name}");
        assert!(other_set == set, "{name}: rows differ");
        // One's schema predicts the other's file.
        assert!(Dataset::load(source.clone(), &schema).unwrap() == set, "{name}: rows differ");
    }
}

/// Writes a Parquet file of one row group of 24 MB: more than is held of it at once when it comes from a store.
pub fn write_large(path: &Path) -> DataConfig {
    const ROWS: u64 = 400_000;
    let numbers = |f: &dyn Fn(u64) -> u64| Arc::new((0..ROWS).map(f).collect::<UInt64Array>()) as ArrayRef;
    let names: Vec<String> = (0..6).map(|i| format!("f{i}")).collect();
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("label", numbers(&|i| i % 2)),
        (
            "scenario",
            Arc::new(StringArray::from_iter_values((0..ROWS).map(|i| ["a", "b"][(i % 2) as usize]))),
        ),
    ];
    for (f, name) in names.iter().enumerate() {
        // Incompressible: an odd constant times the row, mixed.
        let value = move |i: u64| (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 + 2 * f as u64).rotate_left(31);
        columns.push((name, numbers(&value)));
    }
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(ROWS as usize))
        .build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    config(names.iter().map(|n| FieldConfig { hash_buckets: Some(1 << 20), ..categorical(n) }).collect())
}
