//! A CSV file: fitted and loaded. Every record that the `csv` crate reads is a row, or there is an error.

use optmsm_data::{DataConfig, FieldConfig, Kind, Peek, Source};

use crate::{Folder, field, fit_and_load, memory};

/// Texts that mean something.
pub const WORDS: &[&str] =
    &["\"", "\"\"", ",", "\n", "\r\n", "|", ":", "\u{feff}", "\"\n\"", "1,home,a,b|c,2\n"];

/// Good files.
pub fn seeds() -> Vec<Vec<u8>> {
    let rows = "label,scenario,a,m,n\n1,home,x,b:2|c,2.5\n0,ads,y,,-1\n0,home,\"x\"\"y\",c:0.5,\n1,ads,\"two\nlines\",b,7\n";
    [
        rows.to_owned(),
        rows.replace('\n', "\r\n"),
        format!("\u{feff}{rows}\n\n"),
        rows.to_owned() + &"0,home,x,b,1\n".repeat(200),
    ]
    .map(String::into_bytes)
    .into()
}

/// Reads a file.
pub fn run(bytes: &[u8]) {
    let folder = Folder::new();
    let source = Source::from(folder.write("t.csv", bytes));
    let lists = FieldConfig { weight_separator: Some(":".into()), ..field("m", Kind::Multi) };
    let fields = vec![field("a", Kind::Categorical), lists, field("n", Kind::Numeric)];
    let config = DataConfig { fields, ..DataConfig::default() };
    memory::within(64 + (bytes.len() >> 12), || {
        if let Ok((schema, set)) = fit_and_load(&config, &source) {
            let mut records = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
            let count = records.byte_records().filter(Result::is_ok).count();
            assert_eq!((set.rows(), schema.rows), (count, count as u64), "rows, and those of the csv crate");
        }
        if let Ok(mut peek) = Peek::open(source.clone()) {
            while let Ok(true) = peek.next_row() {
                (0..peek.columns().len()).for_each(|column| _ = peek.value(column));
            }
        }
    });
}
