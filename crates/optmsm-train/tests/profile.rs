//! `optmsm train --profile`: the table, and the same run as without it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Wide enough that the products are a good part of a step, however often the machine turns to something else: operations
/// below 0.2 % of it share a line.
const CONFIG: &str = r#"
[data]
train = "train.csv"
valid = "valid.csv"

[[data.fields]]
name = "user"

[[data.fields]]
name = "tags"
kind = "multi"

[[data.fields]]
name = "price"
kind = "numeric"

[model]
embedding_dim = 64
experts = { hidden = [256, 64], dropout = 0.1 }
specific = { hidden = [4] }
tower = { hidden = [4] }
hyper = { scenario_dim = 3, trunk = 4, rank = 2 }

[train]
batch_size = 50
epochs = 3
optimizer = { lr = 0.01 }
"#;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.path("config.toml"), CONFIG).unwrap();
        for (name, rows) in [("train.csv", 1000), ("valid.csv", 40)] {
            let mut text = "label,scenario,user,tags,price\n".to_string();
            for i in 0..rows {
                let (user, tags) = (i * 7 % 200, ["a|b", "", "c", "b|c|a"][i % 4]);
                let label = u8::from((user + i % 3) % 3 == 0);
                text += &format!("{label},{},u{user},{tags},{}.5\n", ["home", "ads"][i % 2], i % 13);
            }
            fs::write(place.path(name), text).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn train(&self, run: &str, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_optmsm"))
            .current_dir(self.0.path())
            .args(["train", "--config", "config.toml", "--run", run, "--set", "train.threads=2"])
            .args(more)
            .output()
            .unwrap()
    }

    fn checkpoints(&self, run: &str) -> [Vec<u8>; 2] {
        ["best", "last"].map(|name| {
            let path = self.path(&format!("{run}/checkpoints/{name}.safetensors"));
            fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        })
    }
}

/// Whether a line of the table is about `name`, which may be more than one word.
fn has_line(text: &str, name: &str) -> bool {
    text.lines().any(|l| {
        l.trim_start_matches('│').trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with("  "))
    })
}

fn profiled(out: &Output, steps: u32) {
    let text = String::from_utf8_lossy(&out.stdout);
    for name in ["operation", "linear", "linear_bwd_by_value", "between operations", "a step"] {
        assert!(has_line(&text, name), "no line for {name} in {text}");
    }
    assert!(text.contains(&format!("{steps} training steps, 2 threads")), "{text}");
    let step = text.lines().find(|l| l.contains("a step")).unwrap();
    assert!(step.contains("100.0 %"), "{step}");
}

#[test]
fn a_profiled_run_prints_a_table_and_trains_the_same() {
    let place = Place::new();
    let plain = place.train("plain", &[]);
    assert!(plain.status.success(), "{}", String::from_utf8_lossy(&plain.stderr));
    assert!(!has_line(&String::from_utf8_lossy(&plain.stdout), "a step"));
    let out = place.train("profiled", &["--profile"]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    // 20 batches a pass.
    profiled(&out, 60);
    assert!(place.checkpoints("plain") == place.checkpoints("profiled"));
}

#[test]
fn an_interrupted_profiled_run_prints_its_table() {
    let place = Place::new();
    let out = place.train("profiled", &["--profile", "--max-steps", "30"]);
    assert_eq!(out.status.code(), Some(130), "{}", String::from_utf8_lossy(&out.stderr));
    profiled(&out, 30);
    place.train("plain", &["--max-steps", "30"]);
    assert!(place.checkpoints("plain") == place.checkpoints("profiled"));
}
