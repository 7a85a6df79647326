//! A folder with a configuration and two small files, and the program run in it.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Fields and a model; what a test needs otherwise is replaced.
pub(crate) const CONFIG: &str = r#"
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
embedding_dim = 5
experts = { hidden = [8, 4], dropout = 0.1 }
specific = { hidden = [4] }
tower = { hidden = [4] }
hyper = { scenario_dim = 3, trunk = 4, rank = 2 }

[train]
batch_size = 16
epochs = 3
patience = 9
optimizer = { lr = 0.01 }
"#;

/// Fields of what `optmsm synth` writes, and a small model.
pub(crate) const SYNTH: &str = r#"
[data]
train = "train.csv"
valid = ["valid.csv"]
group = "user_id"
[[data.fields]]
name = "user_id"
[[data.fields]]
name = "tags"
kind = "multi"
[[data.fields]]
name = "price"
kind = "numeric"
transform = "log1p"
[[data.fields]]
name = "position"
role = "specific"
[model]
embedding_dim = 4
experts = { hidden = [8, 4] }
specific = { hidden = [4] }
tower = { hidden = [4] }
hyper = { scenario_dim = 3, trunk = 4, rank = 2 }
[train]
batch_size = 64
epochs = 2
"#;

/// The folder.
pub(crate) struct Place(TempDir);

impl Place {
    /// Nothing in it.
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// `config`, `rows` rows to train on and 40 to validate, of `users` users in two scenarios.
    pub(crate) fn new(config: &str, rows: usize, users: usize) -> Self {
        let place = Self::empty();
        place.write("config.toml", config);
        for (name, rows) in [("train.csv", rows), ("valid.csv", 40)] {
            let mut text = "label,scenario,user,tags,price\n".to_string();
            for i in 0..rows {
                let (user, tags) = (i * 7 % users, ["a|b", "", "c", "b|c|a"][i % 4]);
                let label = u8::from((user + i % 3) % 3 == 0);
                text += &format!("{label},{},u{user},{tags},{}.5\n", ["home", "ads"][i % 2], i % 13);
            }
            place.write(name, text);
        }
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.run_in("", args)
    }

    /// Runs the program in one of its folders.
    pub(crate) fn run_in(&self, folder: &str, args: &[&str]) -> Output {
        let program = env!("CARGO_BIN_EXE_optmsm");
        Command::new(program).current_dir(self.path(folder)).args(args).output().unwrap()
    }
}

/// Standard error without the warnings about the model, of which a tiny one on a few rows has many.
pub(crate) fn besides_the_model(said: &str) -> String {
    let places =
        ["Experts apart", "Outputs of the experts", "Gate by scenario", "Generated weights", "scenario "];
    let of_the_model =
        |line: &&str| line.strip_prefix("warning: ").is_some_and(|w| places.iter().any(|p| w.starts_with(p)));
    said.lines().filter(|line| !of_the_model(line)).map(|line| format!("{line}\n")).collect()
}

/// Checks an exit code; returns what the program wrote to standard error.
pub(crate) fn code(out: &Output, wanted: i32) -> String {
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(wanted), "{stderr}");
    stderr
}

/// Runs the program, which must do its work; returns what it wrote to standard output.
pub(crate) fn good(place: &Place, args: &[&str]) -> String {
    let out = place.run(args);
    code(&out, 0);
    String::from_utf8(out.stdout).unwrap()
}

/// Runs the program on bad input; returns its message.
pub(crate) fn bad(place: &Place, args: &[&str]) -> String {
    code(&place.run(args), 2).trim_end().to_owned()
}
