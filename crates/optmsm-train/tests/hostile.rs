//! Files that ask for absurd memory or contradict themselves, read by the program with little of it: exit code 2, a message that names the
//! file, and no output.
#![cfg(target_os = "linux")]

mod common;

use std::process::{Command, Output};

use common::{CONFIG, Place, code};
use optmsm_data::Schema;

/// The memory that the program may ask for, in KiB: several times what it takes here.
const MEMORY: u64 = 1_500_000;

/// Runs the program with so much memory.
fn run(place: &Place, args: &[&str]) -> Output {
    let limited = format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\"");
    let program = env!("CARGO_BIN_EXE_optmsm");
    Command::new("sh")
        .current_dir(place.path(""))
        .args(["-c", &limited, program])
        .args(args)
        .args(["--set", "train.threads=2"].iter().filter(|_| args[0] == "train"))
        .output()
        .unwrap()
}

fn trained() -> Place {
    let place = Place::new(CONFIG, 80, 7);
    code(&run(&place, &["train", "--config", "config.toml", "--run", "run", "-q"]), 0);
    place
}

/// Fails to predict from a file; returns the message.
fn refused(place: &Place, data: &str) -> String {
    let message = code(&run(place, &["predict", "run", "--data", data, "--out", "out.csv"]), 2);
    assert!(!place.path("out.csv").exists(), "{message}");
    assert!(message.contains(data), "{message}");
    message
}

/// Rows as `trained` knows them, as an Arrow file whose parts are packed.
fn packed() -> Vec<u8> {
    use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
    use arrow_ipc::CompressionType;
    use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
    use std::sync::Arc;

    let rows = 200;
    let text =
        |of: &dyn Fn(usize) -> String| Arc::new(StringArray::from_iter_values((0..rows).map(of))) as ArrayRef;
    let columns = [
        ("scenario", text(&|i| ["home", "ads"][i % 2].into())),
        ("user", text(&|i| format!("u{}", i % 7))),
        ("tags", text(&|_| "a|b".into())),
        ("price", Arc::new(Float64Array::from_iter_values((0..rows).map(|i| i as f64))) as ArrayRef),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn a_declared_size_is_not_believed() {
    let place = trained();
    let good = packed();
    place.write("good.feather", &good);
    code(&run(&place, &["predict", "run", "--data", "good.feather", "--out", "good.csv"]), 0);
    // One bit of the unpacked size that stands before a packed part: 2^32, 2^40 and 2^62 more.
    let parts: Vec<usize> =
        (8..good.len()).filter(|&at| good[at..].starts_with(b"\x04\x22\x4d\x18")).map(|at| at - 8).collect();
    assert!(parts.len() > 3, "{parts:?}");
    for part in parts {
        for bit in [32, 40, 62] {
            let mut broken = good.clone();
            broken[part + bit / 8] ^= 1 << (bit % 8);
            place.write("bad.feather", &broken);
            let message = refused(&place, "bad.feather");
            assert!(message.contains("packed bytes are said to hold"), "{message}");
        }
    }
}

#[test]
fn a_small_file_that_unpacks_to_very_much_is_refused() {
    let place = trained();
    let header = "scenario,user,tags,price\n";
    let rows: [(&str, u8); 3] = [("", b'a'), ("home,u1,", b'|'), ("home,\"u1", b'a')];
    for (begin, byte) in rows {
        let text = std::io::Read::chain(
            std::io::Cursor::new(format!("{header}{begin}")),
            std::io::Read::take(std::io::repeat(byte), 3 << 29),
        );
        place.write("bomb.csv.zst", zstd::encode_all(text, 1).unwrap());
        assert!(refused(&place, "bomb.csv.zst").contains("the row is longer than 64 MiB"));
    }
}

#[test]
fn checkpoints_and_schemas_that_ask_for_too_much_are_refused() {
    let place = trained();
    place.write("new.csv", "scenario,user,tags,price\nhome,u1,a,1\n");
    let refuses = |name: &str, bytes: Vec<u8>, words: &str| {
        let good = place.bytes(name);
        place.write(name, bytes);
        let message = code(&run(&place, &["predict", "run", "--data", "new.csv", "--out", "out.csv"]), 2);
        assert!(
            message.contains(name) && message.contains(words) && !place.path("out.csv").exists(),
            "{message}"
        );
        place.write(name, good);
    };
    let checkpoint = place.bytes("run/checkpoints/best.safetensors");
    for length in [1 << 33, 1 << 60, u64::MAX] {
        let bytes = [&u64::to_le_bytes(length), &checkpoint[8..]].concat();
        refuses("run/checkpoints/best.safetensors", bytes, "a header of");
    }
    let text = String::from_utf8_lossy(&checkpoint[8..]).into_owned();
    for (from, to) in [
        ("\"shape\":[", "\"shape\":[4611686018427387904,"),
        ("\"data_offsets\":[0,", "\"data_offsets\":[0,9"),
    ] {
        let header_end = text.find("}}").map_or(0, |at| at + 2);
        let header = text[..header_end].replacen(from, to, 1);
        let bytes =
            [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &checkpoint[8 + header_end..]].concat();
        refuses("run/checkpoints/best.safetensors", bytes, "is truncated or damaged");
    }
    // A vocabulary of more ids than a field can have, with a good fingerprint.
    let schema = Schema::load(place.path("run/schema.json")).unwrap();
    for vocabulary in
        [serde_json::json!({"ids": u32::MAX}), serde_json::json!({"hash": {"buckets": u32::MAX, "salt": ""}})]
    {
        let mut json = serde_json::to_value(&schema).unwrap();
        json["fields"][0]["encoding"]["categorical"]["vocabulary"] = vocabulary;
        let path = place.path("forged.json");
        serde_json::from_value::<Schema>(json).unwrap().save(&path).unwrap();
        refuses("run/schema.json", std::fs::read(path).unwrap(), "more than 2147483648");
    }
}

#[test]
fn a_loss_that_is_not_finite_is_put_down_to_large_numbers_before_the_learning_rate() {
    // Of tables of large numbers, so that a product with a larger one is infinite.
    let config = CONFIG.replace("embedding_dim = 5", "embedding_dim = 5\ninit_std = 100.0");
    let none = config.replace("name = \"price\"\n", "name = \"price\"\ntransform = \"none\"\n");
    let weights = config.replace("kind = \"multi\"\n", "kind = \"multi\"\nweight_separator = \":\"\n");
    let from_disk = none.replace("[data]\n", "[data]\nstream = { mode = \"always\" }\n");
    let advice = "set data.fields.price.transform = \"standardize\"";
    // Of both labels: one of them is far from any prediction.
    let price = |value: &str| format!("home,u1,a,{value}");
    let cases = [
        (&none, 5, price("1e37"), "column 'price' is 1e37 in row 5 of the train rows", advice),
        (&none, 79, price("-3e38"), "column 'price' is -3e38 in row 79 of the train rows", advice),
        (&from_disk, 7, price("2e38"), "column 'price' is 2e38 in row 7 of the train rows", advice),
        (
            &weights,
            9,
            "ads,u1,a:1|b:1e38,1".to_string(),
            "a weight in the lists of column 'tags' is 1e38 in row 9",
            "scale the weights",
        ),
    ];
    for (config, row, line, wanted, advice) in cases {
        let place = Place::new(config, 80, 7);
        let text = place.text("train.csv");
        let lines = text.lines().enumerate().map(|(i, l)| match i.checked_sub(row) {
            Some(label @ (0 | 1)) => format!("{label},{line}"),
            _ => l.to_owned(),
        });
        place.write("train.csv", lines.collect::<Vec<_>>().join("\n"));
        let message = code(&run(&place, &["train", "--config", "config.toml", "--run", "run", "-q"]), 1);
        assert!(message.contains(wanted) && message.contains(advice), "{message}");
        assert!(!message.contains("learning rate"), "{message}");
    }
    let place = Place::new(&CONFIG.replace("lr = 0.01", "lr = 1e30"), 80, 7);
    let message = code(&run(&place, &["train", "--config", "config.toml", "--run", "run", "-q"]), 1);
    assert!(message.contains("Likely the learning rate"), "{message}");
}
