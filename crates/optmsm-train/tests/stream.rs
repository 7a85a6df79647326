//! Training on rows that come from disk.

use std::fs;

use common::Place;

mod common;

/// Three windows of one block and a short one.
const ROWS: usize = 3 * 8192 + 777;

fn place() -> Place {
    // As many users as no multiple of three: otherwise each would have one label, which is said, too.
    let config =
        common::CONFIG.replace("batch_size = 16", "batch_size = 500").replace("epochs = 3", "epochs = 2");
    Place::new(&config.replace("dropout = 0.1", "dropout = 0"), ROWS, 307)
}

fn train(place: &Place, run: &str, more: &[&str]) -> std::process::Output {
    let stream = ["--set", "data.stream.mode=always", "--set", "data.stream.shuffle_rows=8192"];
    place.run(&[&["train", "--config", "config.toml", "--run", run], &stream[..], more].concat())
}

fn ok(out: &std::process::Output) -> String {
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{text}");
    text
}

fn checkpoints(place: &Place, run: &str) -> [Vec<u8>; 2] {
    ["last", "best"].map(|name| place.bytes(&format!("{run}/checkpoints/{name}.safetensors")))
}

fn caches(place: &Place) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir(place.path(".optmsm-cache")).unwrap().map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn a_run_resumed_in_the_middle_of_a_pass_equals_the_uninterrupted_one() {
    let place = place();
    ok(&train(&place, "whole", &[]));
    let whole = checkpoints(&place, "whole");
    // In the first window, at the end of one, inside a batch that spans two, in the second pass.
    for steps in ["3", "16", "17", "51", "60"] {
        let run = format!("cut-{steps}");
        assert_eq!(train(&place, &run, &["--max-steps", steps]).status.code(), Some(130));
        ok(&place.run(&["train", "--resume", "--run", &run]));
        assert!(checkpoints(&place, &run) == whole, "interrupted after {steps} steps");
    }
    // Neither the threads nor the size of a window of another run matter to it.
    ok(&train(&place, "threads", &["--set", "train.threads=3"]));
    assert!(checkpoints(&place, "threads") == whole);
    ok(&train(&place, "window", &["--set", "data.stream.shuffle_rows=16384"]));
    assert!(checkpoints(&place, "window") != whole, "another window is another order");
    assert_eq!(caches(&place).len(), 2, "one cache a file, for all of these runs");
}

#[test]
fn a_pass_takes_every_row_once() {
    // A learning rate of nothing leaves the mean loss of a pass that of the data, whatever the order.
    let place = place();
    let still =
        ["--set", "train.optimizer.rule=sgd", "--set", "train.optimizer.lr=1e-30", "--set", "train.epochs=1"];
    ok(&train(&place, "disk", &still));
    let memory = ["train", "--config", "config.toml", "--run", "memory", "--set", "data.stream.mode=never"];
    ok(&place.run(&[&memory[..], &still].concat()));
    let lines = |run: &str| {
        let text = String::from_utf8(place.bytes(&format!("{run}/metrics.jsonl"))).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        line["overall"].clone()
    };
    // The parameters are the same, and so are the rows that are scored: the same numbers, from disk and from memory.
    assert_eq!(lines("disk"), lines("memory"));
    assert_eq!(lines("disk")["rows"], 40);
}

#[test]
fn a_damaged_cache_is_made_anew_with_a_warning() {
    let place = place();
    ok(&train(&place, "first", &[]));
    let cache = caches(&place).into_iter().find(|p| p.to_string_lossy().contains("train-")).unwrap();
    let mut bytes = fs::read(&cache).unwrap();
    bytes[5000] ^= 4;
    fs::write(&cache, bytes).unwrap();
    let said = ok(&train(&place, "second", &[]));
    assert!(said.contains("warning: ") && said.contains("the checksum of block 0 is"), "{said}");
    assert!(checkpoints(&place, "first") == checkpoints(&place, "second"));
    let said = common::besides_the_model(&ok(&train(&place, "third", &[])));
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn prepare_says_what_it_made_and_finds_it_again() {
    let place = place();
    let prepare = || {
        let out = place.run(&["prepare", "--config", "config.toml"]);
        ok(&out);
        String::from_utf8(out.stdout).unwrap()
    };
    let first = prepare();
    assert!(first.contains(&format!("train rows: {ROWS}, ")) && first.contains("made in"), "{first}");
    let second = prepare();
    assert!(
        second.contains("valid rows: 40, ") && second.contains("found in") && !second.contains("made"),
        "{second}"
    );
    assert_eq!(caches(&place).len(), 2);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let place = place();
    for (set, message) in [
        (
            "data.stream.shuffle_rows=100",
            "`data.stream.shuffle_rows`: must be at least 8192, got 100; raise it",
        ),
        ("data.stream.folder=\"\"", "`data.stream.folder`: is empty; name a folder, or leave it out"),
    ] {
        let out = place.run(&["train", "--config", "config.toml", "--run", "r", "--set", set]);
        let text = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{text}");
        assert!(text.contains(message), "{text}");
    }
    // A folder that cannot be made.
    let out = train(&place, "r", &["--set", "data.stream.folder=\"train.csv/inside\""]);
    let text = String::from_utf8(out.stderr).unwrap();
    assert_eq!((out.status.code(), place.path("r").exists()), (Some(2), false), "{text}");
}
