//! A Parquet or Arrow file: a look at it, then all columns that can be read as fields, fitted and loaded.
//!
//! A file that begins as Parquet does is taken for one, every other for Arrow.

use std::path::Path;

use optmsm_data::{DataConfig, FieldConfig, Holds, Kind, Peek, Source};

use crate::{Folder, field, fit_and_load, memory};

/// The fixtures of the readers' tests.
pub fn seeds() -> Vec<Vec<u8>> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/optmsm-data/tests/fixtures/columnar");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("fixtures").flatten().map(|e| e.path()).collect();
    files.retain(|path| {
        path.extension().is_some_and(|end| ["parquet", "arrow", "feather"].iter().any(|known| end == *known))
    });
    files.sort();
    files.iter().map(|path| std::fs::read(path).expect("a fixture")).collect()
}

/// Reads a file.
pub fn run(bytes: &[u8]) {
    let folder = Folder::new();
    let name = if bytes.starts_with(b"PAR1") { "t.parquet" } else { "t.arrow" };
    let source = Source::from(folder.write(name, bytes));
    // A record batch may be declared to unpack to 1 GiB, which is not touched before it is there.
    memory::within(1200, || {
        let Ok(mut peek) = Peek::open(source.clone()) else { return };
        for _ in 0..1000 {
            if !peek.next_row().unwrap_or(false) {
                break;
            }
            (0..peek.columns().len()).for_each(|column| _ = peek.value(column));
        }
        let special = |name: &str| ["label", "scenario"].contains(&name);
        let fields = peek.columns().iter().filter(|c| !special(&c.name)).filter_map(|column| {
            let kind = match column.holds {
                Holds::Unreadable => return None,
                Holds::Lists { .. } => Kind::Multi,
                Holds::Floats | Holds::Times => Kind::Numeric,
                _ => Kind::Categorical,
            };
            let weights = (kind == Kind::Multi).then(|| ":".to_owned());
            Some(FieldConfig { weight_separator: weights, ..field(&column.name, kind) })
        });
        let config = DataConfig { fields: fields.collect(), ..DataConfig::default() };
        drop(peek);
        drop(fit_and_load(&config, &source));
    });
}
