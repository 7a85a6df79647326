//! `schema.json`: what parses as a schema is signed and loaded, and rows are encoded by it; everything else is loaded as it is.

use std::io::Cursor;

use optmsm_core::batch::Batch;
use optmsm_data::{Extra, Need, RowReader, Schema};

use crate::signed::sample;
use crate::{Folder, memory};

/// Texts that mean something.
pub const WORDS: &[&str] = &[
    "\"missing\":true",
    "\"oov\"",
    "\"<unseen>\"",
    "\"table\":\"users\"",
    "\"hash\":{\"buckets\":4294967295,\"salt\":\"\"}",
    "\"ids\":4294967295",
    "[]",
    "{}",
    "1e308",
    "\"transform\":\"none\"",
    "\"max_length\":0",
];

/// A good schema: alone, and as its file.
pub fn seeds() -> Vec<Vec<u8>> {
    let schema = &sample().schema;
    let folder = Folder::new();
    let path = folder.write("schema.json", b"");
    schema.save(&path).expect("a schema that can be saved");
    let alone = serde_json::to_vec(schema).expect("a schema is JSON");
    vec![alone, std::fs::read(path).expect("its file")]
}

/// Loads a schema and encodes rows by it.
pub fn run(bytes: &[u8]) {
    let folder = Folder::new();
    let path = folder.write("schema.json", bytes);
    memory::within(64, || {
        if let Ok(schema) = serde_json::from_slice::<Schema>(bytes) {
            schema.save(&path).expect("a schema that can be saved");
        }
        let Ok(schema) = Schema::load(&path) else { return };
        assert_eq!(schema.fingerprint().len(), 64);
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let mut columns: Vec<&str> = vec![&schema.scenario];
        columns.extend(schema.fields.iter().map(|field| field.column.as_str()));
        columns.sort_unstable();
        columns.dedup();
        let by = schema.reading.delimiter.to_string();
        let line =
            |value: &dyn Fn(&str) -> String| columns.iter().map(|c| value(c)).collect::<Vec<_>>().join(&by);
        let mut text = line(&|column| quoted(column)) + "\n";
        for value in ["", "u1", "3", "1e30", "a:1|b", "-7.5"] {
            let cell = |column: &str| match column == schema.scenario {
                true => quoted(&schema.scenarios[0].name),
                false => quoted(value),
            };
            text += &(line(&cell) + "\n");
        }
        let Ok(mut reader) = RowReader::from_reader("t.csv", Cursor::new(text), &schema, Need::Unlabelled)
        else {
            return;
        };
        let mut batch = Batch::new(&schema.input_spec());
        while reader.read(&mut batch, &mut Extra::default(), 1).is_ok_and(|rows| rows > 0) {}
        batch.validate(&schema.input_spec()).expect("rows that fit their schema");
    });
}
