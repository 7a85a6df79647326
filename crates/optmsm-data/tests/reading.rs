//! How the text of a file becomes rows: quotes, headers, and files of other kinds.

mod common;

use common::*;
use optmsm_data::{
    DataConfig, Dataset, Need, OutputFormat, Predictions, Quoting, Reading, RowReader, Schema, Source,
    UnseenScenario,
};

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
