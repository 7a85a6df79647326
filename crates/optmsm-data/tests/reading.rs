//! How the text of a file becomes rows and values: quotes, headers, missing values, spellings, and files of other kinds.

mod common;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray,
};
use common::*;
use optmsm_data::{
    DataConfig, Dataset, Encoding, FieldConfig, Missing, Need, OutputFormat, Predictions, Quoting, Reading,
    RowReader, Schema, Source, Spelling, Transform, UnseenScenario,
};
use parquet::arrow::ArrowWriter;

fn city() -> DataConfig {
    config(vec![categorical("city")])
}

fn with(quoting: Quoting) -> DataConfig {
    DataConfig { quoting, ..city() }
}

fn values(schema: &Schema, field: usize) -> Vec<&str> {
    schema.fields[field].encoding.vocabulary().unwrap().values().collect()
}

/// The message of fitting to a file, which must be that of loading it too.
fn message(config: &DataConfig, name: &str, bytes: &[u8]) -> String {
    let files = Files::new();
    let path = files.write(name, bytes);
    let fitted = files.plain(Schema::fit(config, &path).unwrap_err());
    let mut schema = fit(&city(), "label,scenario,city\n1,home,Rome\n");
    schema.reading = config.reading();
    assert_eq!(files.plain(Dataset::load(&path, &schema).unwrap_err()), fitted);
    fitted
}

/// A file of `rows` rows, from line 2 on, of which some have other text.
fn lines(rows: usize, others: &[(usize, &str)]) -> String {
    let mut text = String::from("label,scenario,city\n");
    for line in 2..rows + 2 {
        match others.iter().find(|(at, _)| *at == line) {
            Some((_, other)) => text += &format!("{other}\n"),
            None => text += &format!("{},home,c{}\n", line % 2, line % 7),
        }
    }
    text
}

const NONE: &str = "data.quoting = \"none\" if quotes mean nothing in this file";

#[test]
fn a_quote_that_is_not_closed_on_its_line_swallows_nothing() {
    let wanted = |line: usize| {
        format!(
            "t.csv line {line}: a quote is opened and not closed on its line; \
             close or remove it; or set {NONE}, \"standard\" if values have line breaks in them"
        )
    };
    for (text, line) in [
        // The next quote stands at the beginning of a value, behind a value, or alone.
        (lines(30, &[(11, "1,home,\"dark"), (21, "0,home,\"light")]), 11),
        (lines(30, &[(11, "1,home,\"dark"), (21, "0,home,light\"")]), 11),
        (lines(30, &[(5, "1,\"home,x"), (6, "1,home\",x")]), 5),
        (lines(30, &[(31, "1,home,\"dark")]), 31),
        (lines(30, &[(31, "1,home,\"")]), 31),
        ("label,scenario,city\n1,home,\"two\nlines\"\n".to_owned(), 2),
        ("label,scenario,city\r\n1,home,x\r\n\r\n1,home,\"two\rlines\"\r\n".to_owned(), 4),
        ("label,scenario,\"ci\nty\"\n1,home,x\n".to_owned(), 1),
        // In the middle of many pieces.
        (lines(90_000, &[(70_001, "1,home,\"dark"), (80_001, "0,home,dark\"")]), 70_001),
    ] {
        assert_eq!(message(&city(), "t.csv", text.as_bytes()), wanted(line));
        let files = Files::new();
        let path = files.write("t.csv", &text);
        for threads in [1, 2, 8] {
            let source = Source::from(&path).with_threads(threads);
            assert_eq!(files.plain(Schema::fit(&city(), source).unwrap_err()), wanted(line));
        }
    }
}

#[test]
fn standard_quotes_may_hold_lines_and_must_be_closed() {
    let standard = with(Quoting::Standard);
    let schema = fit(&standard, &lines(30, &[(11, "1,home,\"dark"), (21, "0,home,light\"")]));
    assert_eq!(schema.rows, 20);
    assert!(
        values(&schema, 0).iter().any(|v| v.starts_with("dark\n0,home,c5\n") && v.ends_with("home,light"))
    );
    let open =
        format!("t.csv line 11: a quote is opened and never closed; close or remove it; or set {NONE}");
    assert_eq!(message(&standard, "t.csv", lines(30, &[(11, "1,home,\"dark")]).as_bytes()), open);
}

#[test]
fn nothing_stands_behind_a_closing_quote() {
    let wanted = format!(
        "t.csv line 4: a quote is closed before ',' or the end of the line; \
         write a quote inside a value in quotes twice; or set {NONE}"
    );
    for row in ["1,home,\"a\"b", "1,home,\"a\" ", "1,\"home\"x,\"a\"", "1,home,\"\"\"a\"\"b\"c"] {
        for quoting in [Quoting::Strict, Quoting::Standard] {
            assert_eq!(message(&with(quoting), "t.csv", lines(9, &[(4, row)]).as_bytes()), wanted, "{row}");
        }
    }
}

#[test]
fn quotes_inside_a_value_and_quotes_that_mean_nothing() {
    let rows = [(3, "1,home,a\"b"), (4, "1,home,5\""), (5, "1,home,a\"\"")];
    let schema = fit(&city(), &lines(9, &rows));
    assert_eq!(schema.rows, 9);
    assert!(["a\"b", "5\"", "a\"\""].iter().all(|v| values(&schema, 0).contains(v)));
    let text =
        lines(9, &[(3, "1,home,\"dark"), (4, "1,home,\"a\"b"), (6, "0,home,\""), (7, "1,home,\"a b\"")]);
    let schema = fit(&with(Quoting::None), &text);
    assert_eq!(schema.rows, 9);
    assert!(["\"dark", "\"a\"b", "\"", "\"a b\""].iter().all(|v| values(&schema, 0).contains(v)));
    let few = message(&with(Quoting::None), "t.csv", lines(9, &[(3, "1,home,\"a,b\"")]).as_bytes());
    assert!(
        few.starts_with("t.csv line 3: 4 values where the header has 3 columns; fix the row; no value may"),
        "{few}"
    );
}

fn predicted(schema: &Schema, text: &str) -> String {
    let files = Files::new();
    let rows = Predictions::open(files.write("in.csv", text), schema, OutputFormat::Csv).unwrap();
    let mut out = Vec::new();
    rows.write("out", &mut out, |p, _| -> Result<(), optmsm_data::DataError> {
        p.fill(0.5);
        Ok(())
    })
    .unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn predictions_have_a_line_for_each_row() {
    let text = lines(5000, &[(11, "1,home,\"dark"), (21, "0,home,\"light\"x"), (30, "1,home,a\"b")]);
    let out = predicted(&fit(&with(Quoting::None), &text), &text);
    for (i, (from, to)) in text.lines().zip(out.lines()).enumerate() {
        assert_eq!(to, format!("{from},{}", if i == 0 { "prediction" } else { "0.5" }));
    }
    assert_eq!(out.lines().count(), 5001);

    // A row of several lines is written in quotes, and is one row again.
    let text = "label,scenario,city\n1,home,\"two\nlines\"\n0,home,\"a,b\"\n";
    let out = predicted(&fit(&with(Quoting::Standard), text), text);
    assert_eq!(out, "label,scenario,city,prediction\n1,home,\"two\nlines\",0.5\n0,home,\"a,b\",0.5\n");

    // Without a header there is none in the output.
    let named = DataConfig { columns: ["label", "scenario", "city"].map(str::to_owned).into(), ..city() };
    let text = "1,home,Rome\n0,home,\"a,b\"\n1,home,Oslo";
    let out = predicted(&fit(&named, text), text);
    assert_eq!(out, "1,home,Rome,0.5\n0,home,\"a,b\",0.5\n1,home,Oslo,0.5\n");
}

#[test]
fn columns_may_be_named_where_there_is_no_header() {
    let named =
        |names: &[&str]| DataConfig { columns: names.iter().map(ToString::to_string).collect(), ..city() };
    let names = ["label", "scenario", "city"];
    let plain = fit(&city(), "label,scenario,city\n1,home,Rome\n0,ads,Oslo\n");
    for text in [
        "1,home,Rome\n0,ads,Oslo\n",
        "\u{feff}1,home,Rome\r\n0,ads,Oslo",
        "\n\n1,home,Rome\n\n0,ads,Oslo\n",
        "label,scenario,city\n1,home,Rome\n0,ads,Oslo\n", // a header that says the same is no row
    ] {
        let schema = fit(&named(&names), text);
        assert_eq!((schema.rows, &schema.fields), (2, &plain.fields), "{text:?}");
        // Files with a header are read by naming no columns, and the other way round.
        let other = Schema { reading: Reading::default(), ..schema.clone() };
        let headed = read(&other, "city,label,scenario\nOslo,1,home\n", Need::Labelled).unwrap();
        assert_eq!(read(&schema, "1,home,Oslo\n", Need::Labelled).unwrap(), headed);
    }
    let says = |names: &[&str], text: &str| {
        let files = Files::new();
        files.plain(Schema::fit(&named(names), files.write("t.csv", text)).unwrap_err())
    };
    assert_eq!(
        says(&names, "1,home,Rome\n0,ads\n"),
        "t.csv line 2: 2 values where data.columns names 3 columns; fix the row; a value with ',' in it must be in quotes"
    );
    assert_eq!(
        says(&["label", "scenario", "town"], "1,home,Rome\n"),
        "t.csv: no column 'city', which data.fields.city names, in data.columns; \
         name one of the columns: label, scenario, town"
    );
    assert_eq!(says(&names, "\n"), "t.csv: the file is empty; give at least one row");
    assert_eq!(
        says(&["label", "city", "label"], ""),
        "config `data.columns`: 'label' appears twice, as columns 1 and 3; rename one"
    );
    assert_eq!(says(&["label", ""], ""), "config `data.columns`: the name of column 2 is empty; give it one");
}

#[test]
fn a_header_is_no_row_where_columns_are_named() {
    let columns: Vec<String> = ["label", "scenario", "city"].map(str::to_owned).into();
    let named = DataConfig { columns, unseen_scenario: UnseenScenario::Oov, ..city() };
    let schema = fit(&named, "1,home,Rome\n0,ads,Oslo\n");
    let wanted = read(&schema, "1,home,Oslo\n0,ads,Rome\n", Need::Unlabelled).unwrap();
    // The same names in another order say where the values are.
    for text in [
        "city,label,scenario\nOslo,1,home\nRome,0,ads\n",
        "scenario,city,label\r\nhome,Oslo,1\r\nads,Rome,0\r\n",
        "\u{feff}\nlabel,city,scenario\n1,Oslo,home\n0,Rome,ads\n",
    ] {
        assert_eq!(read(&schema, text, Need::Unlabelled).unwrap(), wanted, "{text:?}");
    }
    let fix = "if it is one, leave data.columns out (data.columns = []) where its names are those of the columns, \
               or take the line out of the file";
    for (text, why) in [
        ("click,tab,town\n1,home,Oslo\n", "column 1 has \"click\" there, and numbers further down"),
        ("Label,Scenario,City\n1,home,Oslo\n", "column 1 has \"Label\" there, and numbers further down"),
        ("label,scenario,town\n", "it holds \"label\", which data.columns names"),
    ] {
        let wanted = format!("t.csv line 1: looks like a header, not like a row: {why}; {fix}");
        let files = Files::new();
        let path = files.write("t.csv", text);
        let opened = RowReader::open(path.to_str().unwrap(), &schema, Need::Unlabelled);
        assert_eq!(files.plain(opened.err().unwrap()), wanted);
    }
}

#[test]
fn several_files_without_headers_are_one_source() {
    let files = Files::new();
    let columns = ["label", "scenario", "city"].map(str::to_owned).into();
    let path = |name: &str, text: &str| files.write(name, text);
    let parts =
        [path("a.csv", "1,home,Rome\n"), path("b.csv", ""), path("c.csv", "0,home,Oslo\n1,home,Rome\n")];
    let schema = Schema::fit(&DataConfig { columns, ..city() }, Source::list(parts)).unwrap();
    assert_eq!((schema.rows, values(&schema, 0)), (3, vec!["Rome", "Oslo"]));
}

#[test]
fn a_first_line_that_is_a_row_is_no_header() {
    let fix = "if the file has no header, name its columns: data.columns = [\"label\", …], or run optmsm init --no-header; \
               if these are their names, give just them there";
    for (text, why) in [
        (
            "1,home,1027,6.66\n0,ads,1035,3.31\n1,home,1025,3.1\n",
            "column 1 has the value \"1\" again further down",
        ),
        ("0\t\t1\t\t68fd1e64\n1\t\t1\t\t25c83c98\n", "column 3 has the value \"1\" again further down"),
        ("0.5,1.25\n0.75,2\n", "\"0.5\" is a value, not a name"),
        ("5,5,a\n1,2,b\n", "\"5\" is a value, not a name"),
    ] {
        let delimiter = if text.contains('\t') { '\t' } else { ',' };
        let config = DataConfig { delimiter, ..city() };
        let wanted = format!("t.csv line 1: looks like a row, not like a header: {why}; {fix}");
        assert_eq!(message(&config, "t.csv", text.as_bytes()), wanted);
    }
}

#[test]
fn files_of_other_kinds_say_what_they_are() {
    let utf16: Vec<u8> = "\u{feff}label,scenario\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let text = b"label,scenario,city\n1,home,Rome\n";
    let csv_in = |name| format!("{name}: is a text, not ");
    for (name, bytes, wanted) in [
        (
            "t.csv",
            &b"PAR1\x15\x04"[..],
            "t.csv: is a Parquet file, no CSV; let its name end in .parquet, which says how it is read",
        ),
        (
            "t.csv",
            b"\x1f\x8b\x08\0",
            "t.csv: is packed with gzip, no CSV; let its name end in .csv.gz, which says how it is read",
        ),
        (
            "t.tsv",
            b"PK\x03\x04\x14\0data.tsv",
            "t.tsv: is a ZIP archive, no CSV; unpack it with unzip, or pack its file with gzip or Zstandard",
        ),
        (
            "t.csv",
            b"BZh91AY&SY\xf0\0",
            "t.csv: is packed with bzip2, no CSV; unpack it with bunzip2, or pack it with gzip or Zstandard",
        ),
        (
            "t.csv",
            &utf16,
            "t.csv: is a text in UTF-16, no CSV; save it as UTF-8, for example with iconv -t UTF-8",
        ),
        (
            "t.jsonl",
            b"{\"label\": 1, \"city\": \"Rome\"}\n",
            "t.jsonl: is JSON, no CSV; write its rows as CSV or Parquet, for example with pandas.read_json(\u{2026}, lines=True)",
        ),
        (
            "t.txt",
            b"1 3:1 7:0.5\n",
            "t.txt: is the format of libsvm, no CSV; write one column for each feature, or the indices as one list column",
        ),
        (
            "t.csv.gz",
            text,
            "t.csv.gz: is not packed with gzip, as its name says; pack it, or let its name end in .csv",
        ),
        (
            "t.csv.zst",
            b"\x1f\x8b\x08\0",
            "t.csv.zst: its name says that it is packed with Zstandard, but it is packed with gzip; let its name end in .csv.gz, which says how it is read",
        ),
        (
            "t.parquet",
            text,
            &(csv_in("t.parquet") + "a Parquet file; let its name end in .csv, which says how it is read"),
        ),
        (
            "t.feather",
            text,
            &(csv_in("t.feather") + "an Arrow file; let its name end in .csv, which says how it is read"),
        ),
        (
            "t.parquet",
            b"ORC\x01\x02",
            "t.parquet: is an ORC file, not a Parquet file; write its rows as CSV or Parquet",
        ),
    ] {
        assert_eq!(message(&city(), name, bytes), wanted);
    }
}

/// Columns as Parquet.
fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Schema and rows of a column `x`, beside labels and a scenario.
fn of_column(config: &DataConfig, column: ArrayRef) -> (Schema, Dataset) {
    let files = Files::new();
    let rows = column.len();
    let labels: Vec<i64> = (0..rows as i64).map(|i| i % 2).collect();
    let path = files.path("t.parquet");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("label", Arc::new(Int64Array::from(labels))),
        ("scenario", Arc::new(StringArray::from(vec!["home"; rows]))),
        ("x", column),
    ];
    parquet(&path, columns);
    let schema = Schema::fit(config, &path).unwrap();
    let set = Dataset::load(&path, &schema).unwrap();
    (schema, set)
}

/// The same of a CSV with these values.
fn of_texts(config: &DataConfig, texts: &[&str]) -> (Schema, Dataset) {
    let files = Files::new();
    let row = |(i, text): (usize, &&str)| format!("{},home,{text}\n", i % 2);
    let text = format!("label,scenario,x\n{}", texts.iter().enumerate().map(row).collect::<String>());
    let path = files.write("t.csv", text);
    let schema = Schema::fit(config, &path).unwrap();
    let set = Dataset::load(&path, &schema).unwrap();
    (schema, set)
}

fn fields() -> Vec<FieldConfig> {
    vec![
        FieldConfig { missing: Missing::Own, ..categorical("x") },
        FieldConfig { hash_buckets: Some(1000), ..categorical("x") },
        FieldConfig { missing: Missing::Own, ..multi("x") },
    ]
    .into_iter()
    .enumerate()
    .map(|(i, f)| FieldConfig { name: format!("f{i}"), column: Some("x".into()), ..f })
    .collect()
}

#[test]
fn whole_numbers_are_one_value_however_they_are_written() {
    let config = config(fields());
    let wanted = of_texts(&config, &["1024", "7", "", "1024"]);
    assert_eq!(values(&wanted.0, 0), ["1024", "7"]);
    for texts in
        [["1024.0", "7.0", "", "1024.0"], ["1024.0", "7", "", "1024.00"], ["1024", "7.000", "NaN", "1024.0"]]
    {
        assert_eq!(of_texts(&config, &texts), wanted, "{texts:?}");
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![Some(1024), Some(7), None, Some(1024)])),
        Arc::new(Float64Array::from(vec![Some(1024.0), Some(7.0), None, Some(1024.0)])),
        Arc::new(Float64Array::from(vec![1024.0, 7.0, f64::NAN, 1024.0])),
        Arc::new(Float32Array::from(vec![1024.0, 7.0, f32::NAN, 1024.0])),
        Arc::new(StringArray::from(vec![Some("1024.0"), Some("7"), None, Some("1024")])),
        Arc::new(
            Decimal128Array::from(vec![Some(102_400), Some(700), None, Some(102_400)])
                .with_precision_and_scale(10, 2)
                .unwrap(),
        ),
    ];
    for column in columns {
        let of = column.data_type().clone();
        assert_eq!(of_column(&config, column), wanted, "{of}");
    }
    // Training on one spelling and scoring another.
    let (schema, _) = of_texts(&config, &["1024.0", "7.0", "8.5"]);
    let batch =
        read(&schema, "label,scenario,x\n1,home,1024\n1,home,7\n1,home,8.5\n1,home,8.50\n", Need::Labelled)
            .unwrap()
            .0;
    assert!(ids(&batch, 0)[..3].iter().all(|&id| id > 0));
    assert_eq!(ids(&batch, 0)[3], 0);
}

#[test]
fn scenarios_and_groups_are_one_however_they_are_written() {
    let config = DataConfig { group: Some("g".into()), ..config(vec![categorical("x")]) };
    let schema = fit(&config, "label,scenario,g,x\n1,301.0,7.0,a\n0,302.0,8.0,a\n");
    assert_eq!(schema.scenarios.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["301", "302"]);
    let rows = |text: &str| read(&schema, text, Need::Labelled).unwrap();
    let written = rows("label,scenario,g,x\n1,301.0,7.0,a\n0,302.0,8.0,a\n");
    assert_eq!(rows("label,scenario,g,x\n1,301,7,a\n0,302,8,a\n"), written);
}

#[test]
fn booleans_are_one_value_however_they_are_written() {
    let config = config(fields());
    let wanted = of_texts(&config, &["1", "0", "", "1"]);
    for texts in [["True", "False", "", "True"], ["TRUE", "FALSE", "NULL", "true"], ["true", "0", "", "1.0"]]
    {
        assert_eq!(of_texts(&config, &texts), wanted, "{texts:?}");
    }
    let column = Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]));
    assert_eq!(of_column(&config, column), wanted);
    // As numbers, too.
    let config = DataConfig {
        fields: vec![FieldConfig { transform: Some(Transform::None), ..numeric("x") }],
        ..config
    };
    let wanted = of_texts(&config, &["1", "0", "", "1"]);
    assert_eq!(of_texts(&config, &["True", "false", "", "TRUE"]), wanted);
    assert_eq!(
        of_column(&config, Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]))),
        wanted
    );
}

#[test]
fn labels_may_be_booleans_or_two_other_values() {
    let labels = |config: &DataConfig, labels: [&str; 3]| {
        let [a, b, c] = labels;
        let text = format!("label,scenario,city\n{a},home,x\n{b},home,x\n{c},home,x\n");
        let files = Files::new();
        let schema = Schema::fit(config, files.write("t.csv", &text)).map_err(|e| files.plain(e))?;
        Ok::<_, String>(read(&schema, &text, Need::Labelled).unwrap().0.labels)
    };
    for written in [["True", "False", "True"], ["TRUE", "false", "1"], ["1.0", "0", "true"]] {
        assert_eq!(labels(&city(), written), Ok(vec![1.0, 0.0, 1.0]), "{written:?}");
    }
    let given = |toml: &str| {
        let text = format!("{toml}\n[[fields]]\nname = \"city\"\n");
        let config: DataConfig = toml::from_str(&text).unwrap();
        let again: DataConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        config
    };
    for (setting, written) in [
        ("label_values = [-1, 1]", ["1", "-1", "1"]),
        ("label_values = [-1, 1]", ["+1", "-1.0", "1.0"]),
        ("label_values = [\"no\", \"click\"]", ["click", "no", "click"]),
        ("label_values = [1, 2]", ["2", "1", "2"]),
        ("label_values = [true, false]", ["False", "True", "0"]),
    ] {
        assert_eq!(labels(&given(setting), written), Ok(vec![1.0, 0.0, 1.0]), "{setting}");
    }
    let fix = "fix the value, name the column of the label in data.label, \
               or say how 0 and 1 are written: data.label_values = [\"no\", \"yes\"]";
    assert_eq!(
        labels(&city(), ["1", "-1", "1"]),
        Err(format!("t.csv line 3, column 'label': \"-1\" is not 0 or 1; {fix}"))
    );
    assert_eq!(
        labels(&given("label_values = [-1, 1]"), ["1", "0", "1"]),
        Err("t.csv line 3, column 'label': \"0\" is not \"-1\" or \"1\", which data.label_values names; \
             fix the value, or data.label_values"
            .into())
    );
    for (setting, problem) in [
        ("label_values = [1, 1.0]", "holds one value twice; give that of 0, then that of 1"),
        ("label_values = [\"NULL\", \"x\"]", "holds a missing value; give the text of each label"),
        ("label_values = [\"\", \"x\"]", "holds a missing value; give the text of each label"),
        ("label_values = [\"True\", 1]", "holds one value twice; give that of 0, then that of 1"),
    ] {
        let error = given(setting).validate().unwrap_err().to_string();
        assert_eq!(error, format!("config `data.label_values`: {problem}"));
    }
}

#[test]
fn missing_values_are_the_same_in_every_kind_of_file() {
    let config = config(fields());
    let wanted = of_texts(&config, &["a", "", "b", ""]);
    assert_eq!(ids(&wanted.1.batch, 0), [1, 3, 2, 3]);
    for texts in [["a", "NULL", "b", "\\N"], ["a", "NaN", "b", "NULL"]] {
        assert_eq!(of_texts(&config, &texts), wanted, "{texts:?}");
    }
    let texts =
        [vec![Some("a"), None, Some("b"), Some("")], vec![Some("a"), Some("NULL"), Some("b"), Some("\\N")]];
    for column in texts {
        assert_eq!(of_column(&config, Arc::new(StringArray::from(column))), wanted);
    }
    // Texts that may be values stay so, unless the configuration says otherwise.
    let (schema, _) = of_texts(&config, &["NA", "nan", "None", "null"]);
    assert_eq!(values(&schema, 0), ["NA", "None", "nan", "null"]);
    let own = DataConfig { null_values: Some(vec!["NA".into(), "-1".into()]), ..config.clone() };
    let of_own = of_texts(&own, &["NULL", "NA", "b", "-1"]);
    assert_eq!(ids(&of_own.1.batch, 0), [1, 3, 2, 3]);
    let column = Arc::new(StringArray::from(vec![Some("NULL"), Some("-1"), Some("b"), None]));
    assert_eq!(of_column(&own, column), of_own);
    let numbers = Arc::new(Int64Array::from(vec![5, -1, 6, -1]));
    assert_eq!(of_column(&own, numbers), of_texts(&own, &["5", "NA", "6", ""]));
}

#[test]
fn missing_values_of_lists_are_no_values() {
    let list = config(vec![FieldConfig { missing: Missing::Own, ..multi("x") }]);
    let wanted = of_texts(&list, &["a|7", "", "b", ""]);
    assert_eq!(of_texts(&list, &["a|NULL|7.0", "NULL", "\\N|b", "NaN|"]), wanted);
    let mut column = ListBuilder::new(StringBuilder::new());
    for items in [&[Some("a"), Some("NULL"), Some("7.0")][..], &[None], &[Some("b"), Some("NaN")], &[]] {
        items.iter().for_each(|item| column.values().append_option(*item));
        column.append(true);
    }
    assert_eq!(of_column(&list, Arc::new(column.finish())), wanted);
}

#[test]
fn missing_numbers() {
    let number =
        config(vec![FieldConfig { fill: Some(9.0), transform: Some(Transform::None), ..numeric("x") }]);
    let wanted = of_texts(&number, &["1.5", "", "3", ""]);
    assert_eq!(numbers(&wanted.1.batch, 0), [1.5, 9.0, 3.0, 9.0]);
    for texts in [
        ["1.5", "NULL", "3", "NA"],
        ["1.5", "nan", "3.0", "NaN"],
        [" 1.5", " ", "3", "None"],
        ["1.5", "N/A", "3", "<NA>"],
    ] {
        assert_eq!(of_texts(&number, &texts), wanted, "{texts:?}");
    }
    let doubles = Float64Array::from(vec![Some(1.5), Some(f64::NAN), Some(3.0), None]);
    assert_eq!(of_column(&number, Arc::new(doubles)), wanted);
    let texts = StringArray::from(vec![Some("1.5"), Some("NULL"), Some("3.0"), None]);
    assert_eq!(of_column(&number, Arc::new(texts)), wanted);
    let given = DataConfig { null_values: Some(vec!["-".into(), "-999".into()]), ..number.clone() };
    assert_eq!(of_texts(&given, &["1.5", "-999.0", "3", "-"]).1, wanted.1);
    assert_eq!(of_column(&given, Arc::new(Float64Array::from(vec![1.5, -999.0, 3.0, f64::NAN]))).1, wanted.1);
    let files = Files::new();
    for value in ["NA", "-", "missing"] {
        let config = DataConfig { null_values: Some(vec!["?".into()]), ..number.clone() };
        let error = Schema::fit(&config, files.write("t.csv", format!("label,scenario,x\n1,home,{value}\n")));
        let error = files.plain(error.unwrap_err());
        assert!(
            error.starts_with(&format!("t.csv line 2, column 'x': \"{value}\" is not a number; ")),
            "{error}"
        );
    }
    let Encoding::Numeric { stats, .. } = &wanted.0.fields[0].encoding else { panic!("a number") };
    assert_eq!((stats.count, stats.missing), (2, 2));
}

/// A schema of before takes each text for a value of its own.
#[test]
fn schemas_of_before_read_as_before() {
    let mut schema = fit(&config(vec![categorical("x")]), "label,scenario,x\n1,home,a\n");
    schema.reading.spelling = Spelling::AsWritten;
    let files = Files::new();
    let path = files.path("schema.json");
    let list = r#""vocabulary": ["1024.0", "True", "NULL", "NaN", "1"]"#;
    schema.save(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["version"], 1);
    let mut inner = json["schema"].clone();
    inner["fields"][0]["encoding"]["categorical"] = serde_json::from_str(&format!("{{{list}}}")).unwrap();
    let old: Schema = serde_json::from_value(inner).unwrap();
    let text = "label,scenario,x\n1,home,1024.0\n1,home,1024\n1,home,True\n1,home,true\n1,home,NULL\n1,home,NaN\n1,home,1\n";
    assert_eq!(ids(&read(&old, text, Need::Labelled).unwrap().0, 0), [1, 0, 2, 0, 3, 4, 5]);
    let path = files.path("t.parquet");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("scenario", Arc::new(StringArray::from(vec!["home"; 2]))),
        ("x", Arc::new(Float64Array::from(vec![f64::NAN, 1.0]))),
    ];
    parquet(&path, columns);
    let mut reader = optmsm_data::RowReader::open(&path, &old, Need::Unlabelled).unwrap();
    let mut batch = optmsm_core::batch::Batch::new(&old.input_spec());
    reader.read(&mut batch, &mut optmsm_data::Extra::default(), 9).unwrap();
    assert_eq!(ids(&batch, 0), [4, 5]);
}
