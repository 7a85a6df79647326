//! Values that are written in several ways: numbers, booleans, labels, missing ones, in every kind of file.

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
use optmsm_data::{DataConfig, Dataset, Encoding, FieldConfig, Missing, Need, Schema, Spelling, Transform};
use parquet::arrow::ArrowWriter;

/// A field `city`.
fn city() -> DataConfig {
    config(vec![categorical("city")])
}

fn values(schema: &Schema, field: usize) -> Vec<&str> {
    schema.fields[field].encoding.vocabulary().unwrap().values().collect()
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
