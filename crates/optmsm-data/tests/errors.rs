//! Bad input: the exact message says what, where and the fix.

mod common;

use common::*;
use optmsm_data::{
    DataConfig, Dataset, FieldConfig, Need, Quoting, RowReader, Schema, Transform, UnseenScenario,
};

fn all() -> DataConfig {
    DataConfig {
        quoting: Quoting::Standard,
        weight: Some("w".into()),
        probability: Some("p".into()),
        ..config(vec![
            categorical("city"),
            FieldConfig { weight_separator: Some(":".into()), ..multi("tags") },
            FieldConfig { transform: Some(Transform::Log1p), ..numeric("age") },
        ])
    }
}

fn cities() -> DataConfig {
    DataConfig { quoting: Quoting::Standard, ..config(vec![categorical("city")]) }
}

const GOOD: &str = "label,scenario,w,p,city,tags,age\n1,web,1,0.5,Rome,a:2|b,30\n0,app,2,0.5,\"Pa\nris\",,\n";

/// The message of fitting to a file, which must be that of loading it too: the same text whoever reads first.
fn message(bytes: impl AsRef<[u8]>) -> String {
    let files = Files::new();
    let path = files.write("data.csv", bytes);
    let fitted = files.plain(Schema::fit(&all(), &path).unwrap_err());
    let schema = fit(&all(), GOOD);
    let loaded = files.plain(Dataset::load(&path, &schema).unwrap_err());
    assert_eq!(fitted, loaded);
    fitted
}

/// The message of a file of good rows with one more, which begins on line 5.
fn row(text: &str) -> String {
    message(format!("{GOOD}{text}\n1,web,1,0.5,Rome,a,30\n"))
}

#[test]
fn files() {
    let files = Files::new();
    let missing = files.path("none.csv");
    assert_eq!(
        files.plain(Schema::fit(&all(), &missing).unwrap_err()),
        "none.csv: no such file; check the path"
    );
    let folder = files.path("folder");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(
        files.plain(Schema::fit(&all(), &folder).unwrap_err()),
        "folder: the folder holds no file of data; \
         put .csv, .csv.gz, .csv.zst, .parquet, .arrow, .feather or .ipc into it"
    );
    assert_eq!(
        Schema::fit(&all(), "-").unwrap_err().to_string(),
        "standard input: cannot be trained on; give a file: training reads it more than once"
    );
    let empty = "data.csv: the file is empty; give a header line and at least one row";
    assert_eq!([message(""), message("\n\n"), message("\u{feff}")], [empty; 3]);
    let header_only = "data.csv: the file has a header but no row; give at least one row";
    assert_eq!(message(GOOD.lines().next().unwrap()), header_only);
    assert_eq!(message("label,scenario,w,p,city,tags,age\r\n\r\n"), header_only);
}

#[test]
fn headers() {
    assert_eq!(
        message("label,scenario,w,p,City,tags,age\n"),
        "data.csv line 1: no column 'city', which data.fields.city names; did you mean 'City'? \
         The columns are: label, scenario, w, p, City, tags, age"
    );
    assert_eq!(
        message("\n\nclick,scenario,w,p,city,tags,age\n"),
        "data.csv line 3: no column 'label', which data.label names; \
         name one of the columns: click, scenario, w, p, city, tags, age"
    );
    assert_eq!(
        message("label;scenario;w;p;city;tags;age\n"),
        "data.csv line 1: no column 'label', which data.label names; the header is one column, \
         'label;scenario;w;p;city;tags;age', when split at ',': check data.delimiter"
    );
    assert_eq!(
        message("label,scenario,w,p,city,tags,age,city\n"),
        "data.csv line 1: column 'city' appears twice, as columns 5 and 8; rename or drop one"
    );
    assert_eq!(
        message(b"label,scenario,w,p,cit\xff,tags,age\n"),
        "data.csv line 1: the name of column 5 is not valid UTF-8; save the file as UTF-8"
    );
}

#[test]
fn rows() {
    let fix = "fix the row; a value with ',' or a line break in it must be in quotes";
    assert_eq!(row("1,web,1"), format!("data.csv line 5: 3 values where the header has 7 columns; {fix}"));
    assert_eq!(
        row("1,web,1,0.5,Rome,a,30,40"),
        format!("data.csv line 5: 8 values where the header has 7 columns; {fix}")
    );
    let open = "data.csv line 5: a quote is opened and never closed; close or remove it; \
                or set data.quoting = \"none\" if quotes mean nothing in this file";
    assert_eq!([row("1,web,1,0.5,\"Rome,a,30"), row("1,web,1,0.5,Rome,a,\"30")], [open; 2]);
}

#[test]
fn values() {
    let cases = [
        (
            "1,web,1,0.5,Rome,a,abc",
            "column 'age': \"abc\" is not a number; fix the value, name it in data.null_values if it is a missing one, set decimal or thousands if it has such marks, or set kind = \"categorical\"",
        ),
        (
            "1,web,1,0.5,Rome,a,-inf",
            "column 'age': \"-inf\" is not a finite number; fix the value, or leave it empty if it is missing",
        ),
        (
            "1,web,1,0.5,Rome,a,1e39",
            "column 'age': \"1e39\" is too large for a 32-bit number; fix the value, or scale the column",
        ),
        (
            "1,web,1,0.5,Rome,a,-1",
            "column 'age': \"-1\" has no log1p; give values above -1, or set another transform",
        ),
        (
            "2,web,1,0.5,Rome,a,3",
            "column 'label': \"2\" is not 0 or 1; fix the value, name the column of the label in data.label, or say how 0 and 1 are written: data.label_values = [\"no\", \"yes\"]",
        ),
        (
            "nan,web,1,0.5,Rome,a,3",
            "column 'label': \"nan\" is not 0 or 1; fix the value, name the column of the label in data.label, or say how 0 and 1 are written: data.label_values = [\"no\", \"yes\"]",
        ),
        (",web,1,0.5,Rome,a,3", "column 'label': the label is missing; give 0 or 1, or drop the row"),
        ("1,,1,0.5,Rome,a,3", "column 'scenario': the scenario is missing; name one, or drop the row"),
        ("1,web,-1,0.5,Rome,a,3", "column 'w': \"-1\" is not a weight; give a finite number of at least 0"),
        ("1,web,NaN,0.5,Rome,a,3", "column 'w': \"NaN\" is not a weight; give a finite number of at least 0"),
        (
            "1,web,1e40,0.5,Rome,a,3",
            "column 'w': \"1e40\" is not a weight; give a finite number of at least 0",
        ),
        ("1,web,,0.5,Rome,a,3", "column 'w': \"\" is not a weight; give a finite number of at least 0"),
        (
            "1,web,1,1.5,Rome,a,3",
            "column 'p': \"1.5\" is not a probability; give a number from 0 to 1, or leave data.probability out",
        ),
        (
            "1,web,1,0.5,Rome,a:1|b:x,3",
            "column 'tags': the weight \"x\" of \"b\" is not a finite number; fix it, or leave weight_separator out",
        ),
        (
            "1,web,1,0.5,Rome,b:inf,3",
            "column 'tags': the weight \"inf\" of \"b\" is not a finite number; fix it, or leave weight_separator out",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(row(text), format!("data.csv line 5, {wanted}"));
    }
}

#[test]
fn text_that_is_not_utf8_in_every_kind_of_column() {
    for (i, column) in ["label", "scenario", "w", "p", "city", "tags", "age"].iter().enumerate() {
        let mut cells: Vec<&[u8]> = vec![b"1", b"web", b"1", b"0.5", b"Rome", b"a", b"3"];
        cells[i] = b"ab\xffc";
        let bytes = [GOOD.as_bytes(), &cells.join(&b','), b"\n"].concat();
        let wanted = format!(
            "data.csv line 5, column '{column}': byte 3 of the value is not valid UTF-8; save the file as UTF-8"
        );
        assert_eq!(message(bytes), wanted);
    }
}

#[test]
fn scenarios_that_training_never_saw() {
    let schema = fit(&cities(), GOOD);
    let error = read(&schema, "label,scenario,city\n1,web,Rome\n1,mail,Rome\n", Need::Labelled).unwrap_err();
    assert_eq!(
        error.to_string(),
        "t.csv line 3, column 'scenario': scenario \"mail\" is not one that training saw (app, web); \
         fix the value, or train with data.unseen_scenario = \"oov\""
    );
    let many: String = (10..40).map(|i| format!("1,s{i},x\n")).collect();
    let schema = fit(&config(vec![categorical("city")]), &format!("label,scenario,city\n{many}"));
    let error = read(&schema, "label,scenario,city\n1,web,Rome\n", Need::Labelled).unwrap_err().to_string();
    assert!(error.contains("(s10, s11, s12, "), "{error}");
    assert!(error.contains("s28, s29, … (10 more)); fix"), "{error}");

    let config = DataConfig { unseen_scenario: UnseenScenario::Oov, ..config(vec![categorical("city")]) };
    let files = Files::new();
    let path = files.write("data.csv", "label,scenario,city\n1,<unseen>,Rome\n");
    assert_eq!(
        files.plain(Schema::fit(&config, &path).unwrap_err()),
        "data.csv: a scenario is named \"<unseen>\", as the fallback; \
         rename it, or set data.unseen_scenario = \"error\""
    );
}

#[test]
fn a_number_that_its_transform_carries_out_of_range() {
    let text = "label,scenario,x\n1,w,0\n1,w,1e-30\n";
    let schema = fit(&config(vec![numeric("x")]), text);
    let error = read(&schema, "label,scenario,x\n1,w,1e30\n", Need::Labelled).unwrap_err();
    assert_eq!(
        error.to_string(),
        "t.csv line 2, column 'x': \"1e30\" is too large for a 32-bit number after its transform; \
         fix the value, or set transform = \"none\""
    );
}

#[test]
fn lines_count_in_files_of_windows_with_quoted_line_breaks() {
    let text = "label,scenario,x\r\n1,w,1\r\n\r\n1,\"w\r\n\r\n\",2\r\n1,w,x\r\n";
    let config = DataConfig { quoting: Quoting::Standard, ..config(vec![numeric("x")]) };
    let files = Files::new();
    let error = Schema::fit(&config, files.write("data.csv", text)).unwrap_err();
    let wanted = "data.csv line 7, column 'x': \"x\" is not a number; fix the value, name it in data.null_values if it is a missing one, set decimal or thousands if it has such marks, or set kind = \"categorical\"";
    assert_eq!(files.plain(error), wanted);
}

#[test]
fn columns_that_predicting_needs() {
    let schema = fit(&cities(), GOOD);
    let open = |text: &'static str, need| RowReader::from_reader("t.csv", text.as_bytes(), &schema, need);
    assert!(open("scenario,city\n", Need::Unlabelled).is_ok());
    let error = open("scenario,city\n", Need::Labelled).unwrap_err().to_string();
    assert!(error.starts_with("t.csv line 1: no column 'label'"), "{error}");
    let error = open("label,city\n", Need::Unlabelled).unwrap_err().to_string();
    assert!(error.starts_with("t.csv line 1: no column 'scenario'"), "{error}");
}

#[test]
fn settings_are_checked_before_any_file_is_opened() {
    let error = Schema::fit(&config(vec![]), "none.csv").unwrap_err();
    assert_eq!(
        error.to_string(),
        "config `data.fields`: is empty; declare at least one field with [[data.fields]]"
    );
}

/// A few kilobytes that hold one line without end, plain or in a quote.
#[test]
fn a_line_without_end_is_an_error_long_before_memory_ends() {
    use std::io::{Read, Write};
    const LONG: u64 = 200 << 20;
    let files = Files::new();
    let header = "label,scenario,city\n";
    for (begin, line) in [("", 1), ("1,home,", 2), ("1,home,\"", 2)] {
        let begin = if line == 1 { begin.to_owned() } else { format!("{header}{begin}") };
        let text = || begin.as_bytes().chain(std::io::repeat(b'a').take(LONG));
        let zstd = {
            let mut to = zstd::Encoder::new(Vec::new(), 1).unwrap();
            std::io::copy(&mut text(), &mut to).unwrap();
            to.finish().unwrap()
        };
        let gzip = {
            let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::copy(&mut text(), &mut to).unwrap();
            to.flush().unwrap();
            to.finish().unwrap()
        };
        for (name, bytes) in [("t.csv.zst", zstd), ("t.csv.gz", gzip)] {
            assert!(bytes.len() < 2 << 20, "{name} is small: {}", bytes.len());
            let error = files.plain(
                Schema::fit(&config(vec![categorical("city")]), files.write(name, bytes)).unwrap_err(),
            );
            assert_eq!(
                error,
                format!(
                    "{name} line {line}: the row is longer than 64 MiB; close the quote that it opens, or break its line"
                )
            );
        }
    }
}

/// Room is made for the values that are there, not for those that a header promises.
#[test]
fn a_wide_header_over_many_short_rows_is_an_error_and_no_memory() {
    let files = Files::new();
    let columns: Vec<String> = (0..20_000).map(|i| format!("c{i}")).collect();
    let text = format!("label,scenario,city,{}\n{}", columns.join(","), "1\n".repeat(1 << 20));
    let error =
        files.plain(Schema::fit(&config(vec![categorical("city")]), files.write("t.csv", text)).unwrap_err());
    assert!(error.starts_with("t.csv line 2: 1 value where the header has 20003 columns; "), "{error}");
}
