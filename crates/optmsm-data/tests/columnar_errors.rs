//! Bad Parquet and Arrow files: the message says the file, the place, the column and the fix.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use arrow_schema::Field;
use common::*;
use optmsm_data::{DataConfig, Dataset, FieldConfig, Schema, Source};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/columnar").join(name)
}

fn city() -> DataConfig {
    config(vec![categorical("city")])
}

/// The message of fitting to fixtures, without the folder.
fn message(config: &DataConfig, names: &[&str]) -> String {
    let error = Schema::fit(config, Source::list(names.iter().map(|n| fixture(n)))).unwrap_err();
    error.to_string().replace(&fixture("").display().to_string(), "")
}

#[test]
fn values_and_columns() {
    let cases: [(&[&str], &str); 8] = [
        (
            &["bad-label.parquet"],
            "bad-label.parquet row 3, column 'label': the label is missing; give 0 or 1, or drop the row",
        ),
        (
            &["bad-list.parquet"],
            "bad-list.parquet row 1, column 'city': is a list, where one value is wanted; \
             set kind = \"multi\", or name another column",
        ),
        (
            &["bad-struct.parquet"],
            "bad-struct.parquet columns, column 'city': is of type Struct(\"name\": Utf8), which cannot be read; \
             name a column of numbers, strings, booleans, times, lists of them or maps of them",
        ),
        (
            &["good.parquet", "drift-type.parquet"],
            "drift-type.parquet columns, column 'city': holds numbers, but in good.parquet it holds text; \
             write it as the same type in all files",
        ),
        (
            &["good.parquet", "drift-column.parquet"],
            "drift-column.parquet columns, column 'city': is missing, but good.parquet has it; \
             write all files with the same columns",
        ),
        (
            &["drift-column.parquet"],
            "drift-column.parquet columns: no column 'city', which data.fields.city names; \
             name one of the columns: label, scenario",
        ),
        (&["empty.parquet"], "empty.parquet: the file has no row; give at least one row"),
        (
            &["good.parquet", "rows.csv"],
            "rows.csv: one of the files is a CSV and the other is not: good.parquet; give files of one kind",
        ),
    ];
    for (names, wanted) in cases {
        assert_eq!(message(&city(), names), wanted);
    }
}

#[test]
fn strings_that_are_not_utf8() {
    let error = message(&city(), &["bad-utf8.parquet"]);
    assert!(error.starts_with("bad-utf8.parquet row group 1, column 'city': cannot be decoded: "), "{error}");
    assert!(error.ends_with("; write the strings as UTF-8"), "{error}");
}

#[test]
fn files_that_are_cut_or_something_else() {
    let files = Files::new();
    let parquet = std::fs::read(fixture("good.parquet")).unwrap();
    let arrow = std::fs::read(fixture("zstd.feather")).unwrap();
    let cases = [
        ("cut.parquet", &parquet[..parquet.len() / 2], "a Parquet"),
        ("none.parquet", b"", "a Parquet"),
        ("cut.feather", &arrow[..arrow.len() / 2], "an Arrow"),
        ("none.arrow", b"", "an Arrow"),
    ];
    for (name, bytes, kind) in cases {
        let error = files.plain(Schema::fit(&city(), files.write(name, bytes)).unwrap_err());
        assert!(error.starts_with(&format!("{name}: cannot be read as {kind} file: ")), "{error}");
        assert!(
            error.ends_with("; check that it is one, and that it was written or copied to its end"),
            "{error}"
        );
    }
}

#[test]
fn folders_and_globs() {
    let files = Files::new();
    let folder = files.path("folder");
    std::fs::create_dir(&folder).unwrap();
    let fit = |path: PathBuf| files.plain(Schema::fit(&city(), path).unwrap_err());
    assert_eq!(
        fit(folder.clone()),
        "folder: the folder holds no file of data; \
         put .csv, .csv.gz, .csv.zst, .parquet, .arrow, .feather or .ipc into it"
    );
    std::fs::write(folder.join("_SUCCESS"), "").unwrap();
    std::fs::write(folder.join("notes.doc"), "").unwrap();
    assert_eq!(
        fit(folder),
        "folder/notes.doc: is not a kind of data file; take it out of the folder, or let its name end in \
         .csv, .csv.gz, .csv.zst, .parquet, .arrow, .feather or .ipc"
    );
    assert_eq!(fit(files.path("part-*.parquet")), "part-*.parquet: no file matches; check the pattern");
    assert_eq!(
        Schema::fit(&city(), Source::list(Vec::<PathBuf>::new())).unwrap_err().to_string(),
        "data: no file is named; give at least one path"
    );
}

#[test]
fn csv_files_with_other_columns() {
    let files = Files::new();
    let first = files.write("a.csv", "label,scenario,city\n1,home,Rome\n");
    let cases = [
        ("label,scenario\n", "no column 'city', which a.csv has; its columns are: label, scenario"),
        (
            "label,scenario,city,x\n",
            "a column 'x', which a.csv does not have; its columns are: label, scenario, city, x",
        ),
        (
            "label,city,scenario\n",
            "the columns are in another order than in a.csv; its columns are: label, city, scenario",
        ),
    ];
    for (header, problem) in cases {
        let second = files.write("b.csv", header);
        let error = files.plain(Schema::fit(&city(), Source::list([&first, &second])).unwrap_err());
        assert_eq!(error, format!("b.csv line 1: {problem}; write all files with the same header"));
    }
}

/// A file with checked pages, one bit of one byte flipped: an error, or what the file held before.
#[test]
fn flipped_bits_give_an_error_or_the_right_rows() {
    let config = config(vec![numeric("small"), categorical("city"), multi("tags")]);
    let bytes = std::fs::read(fixture("checked.parquet")).unwrap();
    let schema = Schema::fit(&config, fixture("checked.parquet")).unwrap();
    let right = Dataset::load(fixture("checked.parquet"), &schema).unwrap();
    let files = Files::new();
    let (mut same, mut errors) = (0, 0);
    for at in 0..bytes.len() {
        let mut broken = bytes.clone();
        broken[at] ^= 1 << (at % 8);
        let path = files.write("broken.parquet", &broken);
        match Dataset::load(Source::from(&path).with_threads(2), &schema) {
            Ok(set) => {
                assert!(set == right, "byte {at}: other rows and no error");
                same += 1;
            }
            Err(e) => {
                let text = files.plain(e);
                assert!(text.starts_with("broken.parquet"), "byte {at}: {text}");
                errors += 1;
            }
        }
    }
    assert!(same > 0 && errors > 500, "{same} {errors}");
}

#[test]
fn flipped_bits_of_an_arrow_file_never_panic() {
    let fields = vec![numeric("small"), categorical("city"), multi("tags"), FieldConfig::new("scenario")];
    let config = config(fields);
    let bytes = std::fs::read(fixture("polars.arrow")).unwrap();
    let schema = Schema::fit(&config, fixture("polars.arrow")).unwrap();
    let files = Files::new();
    for at in (0..bytes.len()).step_by(17) {
        let mut broken = bytes.clone();
        broken[at] ^= 1 << (at % 8);
        let path = files.write("broken.arrow", &broken);
        if let Err(e) = Dataset::load(Source::from(&path).with_threads(2), &schema) {
            let text = files.plain(e);
            assert!(text.starts_with("broken.arrow"), "byte {at}: {text}");
        }
    }
}

/// Before each packed part of an Arrow file stands its unpacked size, which a reader makes room for.
#[test]
fn declared_sizes_of_packed_parts_are_not_believed() {
    let files = Files::new();
    let config = config(vec![numeric("small"), categorical("city"), multi("tags")]);
    for (name, begin) in [("lz4.feather", b"\x04\x22\x4d\x18"), ("zstd.feather", b"\x28\xb5\x2f\xfd")] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let right = Schema::fit(&config, fixture(name)).unwrap();
        let (mut refused, mut unread) = (0, 0);
        for at in (8..bytes.len()).filter(|&at| bytes[at..].starts_with(begin)) {
            // 2^39 and 2^61 more, and a negative size.
            for (byte, bit) in [(4, 7), (7, 5), (7, 7)] {
                let mut broken = bytes.clone();
                broken[at - 8 + byte] ^= 1 << bit;
                match Schema::fit(&config, files.write(name, &broken)) {
                    Ok(schema) => {
                        assert_eq!(schema, right); // of a column that is not read
                        unread += 1;
                    }
                    Err(e) => {
                        let error = files.plain(e);
                        assert!(error.starts_with(&format!("{name}: cannot be decoded: ")), "{error}");
                        refused += usize::from(error.contains("packed bytes are said to hold"));
                    }
                }
            }
        }
        assert!(refused > 10, "{name}: {refused} refused, {unread} not read");
    }
}

#[test]
fn lengths_of_arrow_messages_are_not_believed() {
    let files = Files::new();
    for (name, step) in [("polars.arrow", 24), ("stream.arrow", 40), ("lz4.feather", 40)] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        // Words of 8 bytes, once as large as they can be, and once about the size of a machine's memory.
        for at in (0..bytes.len() - 8).step_by(step) {
            for huge in [i64::MAX, 1 << 38] {
                let mut broken = bytes.clone();
                broken[at..at + 8].copy_from_slice(&huge.to_le_bytes());
                if let Err(e) = Schema::fit(&city(), files.write(name, &broken)) {
                    let error = files.plain(e);
                    assert!(error.starts_with(name), "byte {at}: {error}");
                }
            }
        }
    }
}

/// Writes rows of a label, a scenario, a city and one more column.
fn with_column(files: &Files, name: &str, column: (&str, arrow_array::ArrayRef)) -> PathBuf {
    use arrow_array::{ArrayRef, Int8Array, RecordBatch, StringArray};
    let rows = column.1.len();
    let text = |value: &'static str| Arc::new(StringArray::from(vec![value; rows])) as ArrayRef;
    let labels = Int8Array::from_iter_values((0..rows).map(|i| (i % 2) as i8));
    let columns =
        [("label", Arc::new(labels) as ArrayRef), ("scenario", text("home")), ("city", text("Rome")), column];
    let fields: Vec<_> =
        columns.iter().map(|(name, c)| Field::new(*name, c.data_type().clone(), true)).collect();
    let schema = Arc::new(arrow_schema::Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns.map(|(_, c)| c).into()).unwrap();
    let path = files.path(name);
    let file = std::fs::File::create(&path).unwrap();
    if name.ends_with(".parquet") {
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, schema, None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    } else {
        let mut writer = arrow_ipc::writer::FileWriter::try_new(file, &schema).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
    }
    path
}

#[test]
fn two_columns_of_one_name_are_refused_as_in_a_csv() {
    use arrow_array::{ArrayRef, Int32Array, ListArray, StructArray};
    let files = Files::new();
    let numbers = || Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef;
    let twins = || {
        let field = || Arc::new(Field::new("k", arrow_schema::DataType::Int32, true));
        Arc::new(StructArray::from(vec![(field(), numbers()), (field(), numbers())])) as ArrayRef
    };
    let list = || {
        let item = Arc::new(Field::new("item", twins().data_type().clone(), true));
        let offsets = arrow_buffer::OffsetBuffer::from_lengths([1, 1, 1]);
        Arc::new(ListArray::new(item, offsets, twins(), None)) as ArrayRef
    };
    let same = "column 'city' appears twice, as columns 3 and 4";
    let within = "within column 'pairs', column 'k' appears twice, as columns 1 and 2";
    let cases = [
        ("city.parquet", ("city", numbers()), same),
        ("city.arrow", ("city", numbers()), same),
        // Also those that no field reads, as in a CSV.
        ("label.arrow", ("label", numbers()), "column 'label' appears twice, as columns 1 and 4"),
        ("struct.arrow", ("pairs", twins()), within),
        ("list.arrow", ("pairs", list()), within),
    ];
    for (name, column, problem) in cases {
        let path = with_column(&files, name, column);
        let wanted = format!("{name} columns: {problem}; rename or drop one");
        assert_eq!(files.plain(Schema::fit(&city(), &path).unwrap_err()), wanted);
        assert_eq!(files.plain(optmsm_data::Peek::open(&path).unwrap_err()), wanted);
    }
}

/// Writes rows whose `time` is a Julian day and nanoseconds of it, alone or in a list of one, as Spark writes them.
fn with_times(files: &Files, times: &[(i32, u64)], list: bool) -> PathBuf {
    use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int96, Int96Type};
    use parquet::file::writer::SerializedFileWriter;
    let time = if list {
        "optional group time (LIST) { repeated group list { required int96 element; } }"
    } else {
        "required int96 time;"
    };
    let schema = format!(
        "message m {{ required int32 label; required binary scenario (UTF8); required binary city (UTF8); {time} }}"
    );
    let schema = Arc::new(parquet::schema::parser::parse_message_type(&schema).unwrap());
    let path = files.path("times.parquet");
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let labels: Vec<i32> = (0..times.len() as i32).map(|i| i % 2).collect();
    column.typed::<Int32Type>().write_batch(&labels, None, None).unwrap();
    column.close().unwrap();
    for text in ["home", "Rome"] {
        let mut column = group.next_column().unwrap().unwrap();
        let texts = vec![ByteArray::from(text); times.len()];
        column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        column.close().unwrap();
    }
    let values: Vec<Int96> = times
        .iter()
        .map(|&(day, nanos)| Int96::from(vec![nanos as u32, (nanos >> 32) as u32, day as u32]))
        .collect();
    let mut column = group.next_column().unwrap().unwrap();
    let (there, first) = (vec![2; times.len()], vec![0; times.len()]);
    let levels = |levels| if list { Some(levels) } else { None };
    column.typed::<Int96Type>().write_batch(&values, levels(&there[..]), levels(&first[..])).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    path
}

#[test]
fn times_of_96_bits_that_do_not_fit_are_errors_and_never_wrap() {
    const EPOCH: i32 = 2_440_588; // the Julian day of 1970-01-01
    const DAY: u64 = 86_400_000_000_000;
    let files = Files::new();
    let config = |list| {
        let kind = if list { optmsm_data::Kind::Multi } else { optmsm_data::Kind::Categorical };
        config(vec![FieldConfig { kind, ..FieldConfig::new("time") }])
    };
    // The last and first whole days that 64 bits of nanoseconds hold: 2262-04-10 and 1677-09-22.
    let good = [(EPOCH, 5), (EPOCH + 106_750, DAY - 1), (EPOCH - 106_751, 0)];
    for list in [false, true] {
        let schema = Schema::fit(&config(list), with_times(&files, &good, list)).unwrap();
        let values: Vec<&str> = schema.fields[0].encoding.vocabulary().unwrap().values().collect();
        assert_eq!(values, ["-9223286400000000000", "5", "9223286399999999999"]);
    }
    // Spark's last day, a year that no calendar has, the first and last days that there can be.
    for (day, nanos, year) in [
        (5_373_484, 0, 9999),
        (EPOCH + 110_000, 3, 2271),
        (i32::MAX, 0, 5_874_898),
        (i32::MIN, DAY, -5_884_323),
    ] {
        for list in [false, true] {
            let path = with_times(&files, &[(EPOCH, 0), (EPOCH, 1), (day, nanos)], list);
            let error = files.plain(Schema::fit(&config(list), &path).unwrap_err());
            assert_eq!(
                error,
                format!(
                    "times.parquet row group 1, column 'time': cannot be decoded: a time of 96 bits in row 3, about the year {year}, \
                     does not fit the 64 bits of its nanoseconds since 1970; fix the value, or write the column as timestamps of microseconds"
                )
            );
        }
    }
}

#[test]
fn numbers_that_32_bits_do_not_hold_are_errors_of_their_row() {
    use arrow_array::{ArrayRef, Decimal256Array, Float64Array};
    let files = Files::new();
    let double = |v: f64| Arc::new(Float64Array::from(vec![1.0, v, 2.0])) as ArrayRef;
    let decimal = |digits: u32| {
        let value = (0..digits).fold(arrow_buffer::i256::ONE, |v, _| v * arrow_buffer::i256::from_i128(10));
        let values = Decimal256Array::from(vec![arrow_buffer::i256::ONE, value, arrow_buffer::i256::ONE]);
        Arc::new(values.with_precision_and_scale(76, 0).unwrap()) as ArrayRef
    };
    for (name, column) in [
        ("most.parquet", double(f64::MAX)),
        ("least.arrow", double(-1e300)),
        ("just.parquet", double(3.5e38)),
        ("decimal.parquet", decimal(60)),
        ("decimal.arrow", decimal(39)),
    ] {
        let path = with_column(&files, name, ("x", column));
        let error =
            files.plain(Schema::fit(&config(vec![numeric("x"), categorical("city")]), &path).unwrap_err());
        assert!(error.starts_with(&format!("{name} row 2, column 'x': ")), "{error}");
        assert!(
            error.ends_with(" is too large for a 32-bit number; fix the value, or scale the column"),
            "{error}"
        );
    }
    // Numbers that 32 bits do hold.
    let path = with_column(&files, "good.parquet", ("x", double(f64::from(f32::MAX))));
    Schema::fit(&config(vec![numeric("x"), categorical("city")]), &path).unwrap();
}

#[test]
fn a_fill_that_its_transform_makes_infinite_is_an_error_of_its_key() {
    let files = Files::new();
    let text = "label,scenario,x\n0,a,0\n1,a,1e-30\n";
    for (transform, fill) in
        [(optmsm_data::Transform::Standardize, 1e30), (optmsm_data::Transform::MinMax, -3e38)]
    {
        let field = FieldConfig { transform: Some(transform), fill: Some(fill), ..numeric("x") };
        let fields = vec![field, categorical("scenario")];
        let error = Schema::fit(&config(fields), files.write("t.csv", text)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("config `data.fields.x.fill`: {fill} is too large")), "{error}");
    }
}
