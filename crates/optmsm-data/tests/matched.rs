//! Errors as a program matches them: by variant and data, never by text.

use std::error::Error as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use optmsm_core::error::Error as CoreError;
use optmsm_data::{
    DataConfig, DataError, Dataset, FieldConfig, FileErrorKind, Place, Result, Schema, SynthConfig, synth,
};

const ROWS: &str = "label,scenario,user\n1,home,a\n0,ads,b\n";

fn config() -> DataConfig {
    DataConfig { fields: vec![FieldConfig::new("user")], ..DataConfig::default() }
}

/// A folder with a file of rows, and their schema.
fn place() -> (tempfile::TempDir, PathBuf, Schema) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.csv");
    fs::write(&path, ROWS).unwrap();
    let schema = Schema::fit(&config(), &path).unwrap();
    (folder, path, schema)
}

fn error<T>(result: Result<T>) -> DataError {
    result.map(|_| ()).unwrap_err()
}

/// The kind of an error about the whole file at `path`.
fn kind<T>(result: Result<T>, path: &Path) -> FileErrorKind {
    match error(result) {
        DataError::File { path: of, kind, .. } => {
            assert_eq!(Path::new(&of), path);
            kind
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_has_its_path_and_kind() {
    let (folder, path, schema) = place();
    let inside = |name: &str| folder.path().join(name);
    for none in ["none.csv", "none-*.csv", "empty"] {
        fs::create_dir_all(inside("empty")).unwrap();
        assert_eq!(
            kind(Dataset::load(inside(none), &schema), &inside(none)),
            FileErrorKind::Missing,
            "{none}"
        );
    }
    fs::write(inside("none.txt"), "").unwrap();
    assert_eq!(kind(Dataset::load(inside("none.txt"), &schema), &inside("none.txt")), FileErrorKind::Unfit);

    let (whole, cut) = (inside("whole.parquet"), inside("cut.parquet"));
    let synthetic = SynthConfig { rows: 100, ..SynthConfig::default() };
    synth::write_parquet(&synthetic, 0..100, fs::File::create(&whole).unwrap()).unwrap();
    let of_parquet = Schema::fit(&synth::data_config(), &whole).unwrap();
    let bytes = fs::read(&whole).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(kind(Dataset::load(&cut, &of_parquet), &cut), FileErrorKind::Damaged);

    let saved = inside("schema.json");
    assert_eq!(kind(Schema::load(&saved), &saved), FileErrorKind::Missing);
    schema.save(&saved).unwrap();
    let text = fs::read_to_string(&saved).unwrap();
    fs::write(&saved, &text[..text.len() / 2]).unwrap();
    assert_eq!(kind(Schema::load(&saved), &saved), FileErrorKind::Damaged);
    fs::write(&saved, text.replacen("home", "away", 1)).unwrap();
    assert_eq!(kind(Schema::load(&saved), &saved), FileErrorKind::Damaged);
    fs::write(&saved, "{\"format\": \"another\", \"version\": 1}").unwrap();
    assert_eq!(kind(Schema::load(&saved), &saved), FileErrorKind::Unfit);
    drop(path);
}

#[test]
fn the_system_is_the_source() {
    let (folder, _, schema) = place();
    let path = folder.path().join("none/schema.json");
    let error = error(schema.save(&path));
    let shown = path.display().to_string();
    assert!(matches!(&error, DataError::Io { path, action: "write", .. } if *path == shown), "{error:?}");
    let source = error.source().and_then(|e| e.downcast_ref::<io::Error>()).map(io::Error::kind);
    assert_eq!(source, Some(io::ErrorKind::NotFound));
    assert_eq!(error.file_kind(), Some(FileErrorKind::Missing));
}

#[test]
fn a_row_and_a_value_have_their_place() {
    let (_folder, path, schema) = place();
    let shown = path.display().to_string();
    let read = |text: &str| {
        fs::write(&path, text).unwrap();
        error(Dataset::load(&path, &schema))
    };
    match read("label,scenario,user\n1,home,a\n0,ads\n") {
        DataError::Row { path, place, .. } => assert_eq!((path, place), (shown.clone(), Place::Line(3))),
        other => panic!("{other:?}"),
    }
    match read("label,scenario,user\n2,home,a\n") {
        DataError::Value { path, place, column, .. } => {
            assert_eq!((path, place, column.as_str()), (shown.clone(), Place::Line(2), "label"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_setting_has_its_key() {
    let (_folder, path, _) = place();
    let twice = DataConfig { fields: vec![FieldConfig::new("user"), FieldConfig::new("user")], ..config() };
    match error(Schema::fit(&twice, &path)) {
        DataError::Config(CoreError::Config { key, .. }) => assert!(key.starts_with("data.fields"), "{key}"),
        other => panic!("{other:?}"),
    }
}
