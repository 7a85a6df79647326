//! `optmsm train --profile`: the table, and the same run as without it.

use std::process::Output;

use common::Place;

mod common;

/// Wide enough that the products are a good part of a step, however often the machine turns to something else: operations
/// below 0.2 % of it share a line.
fn place() -> Place {
    let wide = [("embedding_dim = 5", "embedding_dim = 64"), ("[8, 4]", "[256, 64]"), ("= 16", "= 50")];
    let config = wide.iter().fold(common::CONFIG.to_string(), |config, (from, to)| {
        assert!(config.contains(from), "{from} is gone");
        config.replace(from, to)
    });
    Place::new(&config, 1000, 200)
}

fn train(place: &Place, run: &str, more: &[&str]) -> Output {
    let args = ["train", "--config", "config.toml", "--run", run, "--set", "train.threads=2"];
    place.run(&[&args, more].concat())
}

fn checkpoints(place: &Place, run: &str) -> [Vec<u8>; 2] {
    ["best", "last"].map(|name| place.bytes(&format!("{run}/checkpoints/{name}.safetensors")))
}

/// Whether a line of the table is about `name`, which may be more than one word.
fn has_line(text: &str, name: &str) -> bool {
    text.lines().any(|l| {
        l.trim_start_matches('│').trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with("  "))
    })
}

fn profiled(out: &Output, steps: u32) {
    let text = String::from_utf8_lossy(&out.stdout);
    for name in ["operation", "smaller ones", "between operations", "a step"] {
        assert!(has_line(&text, name), "no line for {name} in {text}");
    }
    // Which operations have a line of their own is up to the machine's load; something always takes a part of the time.
    let place = |name: &str| text.lines().position(|l| has_line(l, name)).unwrap();
    assert!(place("smaller ones") > place("operation") + 2, "{text}");
    assert!(text.contains(&format!("{steps} training steps, 2 threads")), "{text}");
    let step = text.lines().find(|l| l.contains("a step")).unwrap();
    assert!(step.contains("100.0 %"), "{step}");
}

#[test]
fn a_profiled_run_prints_a_table_and_trains_the_same() {
    let place = place();
    let plain = train(&place, "plain", &[]);
    assert!(plain.status.success(), "{}", String::from_utf8_lossy(&plain.stderr));
    assert!(!has_line(&String::from_utf8_lossy(&plain.stdout), "a step"));
    let out = train(&place, "profiled", &["--profile"]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    // 20 batches per pass.
    profiled(&out, 60);
    assert!(checkpoints(&place, "plain") == checkpoints(&place, "profiled"));
}

#[test]
fn an_interrupted_profiled_run_prints_its_table() {
    let place = place();
    let out = train(&place, "profiled", &["--profile", "--max-steps", "30"]);
    assert_eq!(out.status.code(), Some(130), "{}", String::from_utf8_lossy(&out.stderr));
    profiled(&out, 30);
    train(&place, "plain", &["--max-steps", "30"]);
    assert!(checkpoints(&place, "plain") == checkpoints(&place, "profiled"));
}
