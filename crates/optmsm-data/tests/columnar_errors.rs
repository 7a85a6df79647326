//! Bad Parquet and Arrow files: the message says the file, the place, the column and the fix.

mod common;

use std::path::PathBuf;

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
            "bad-label.parquet row 3, column 'label': the label is empty; give 0 or 1, or drop the row",
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
    assert_eq!(
        fit(files.path("part-*.parquet")),
        "part-*.parquet: no file matches; check the pattern; it starts from the current directory"
    );
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
