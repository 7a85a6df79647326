//! A small job that has of everything, and what it leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use optmsm_testkit::mpi::{Ended, Job, Launcher};
use serde_json::Value;

use super::common::Place;

/// Two fields of one table, lists and numbers; weights; everything that training has beside a rule.
pub(crate) const CONFIG: &str = r#"
[data]
train = "train.csv"
valid = "valid.csv"
test = "test.csv"
weight = "weight"
stream = { shuffle_rows = 8192 }

[[data.fields]]
name = "user"
table = "people"

[[data.fields]]
name = "friend"
table = "people"

[[data.fields]]
name = "tags"
kind = "multi"
oov_dropout = 0.1

[[data.fields]]
name = "price"
kind = "numeric"

[model]
embedding_dim = 5
embeddings = { dtype = "bf16" }
experts = { hidden = [8, 4], dropout = 0.2 }
specific = { hidden = [4] }
tower = { hidden = [4], dropout = 0.1 }
hyper = { scenario_dim = 3, trunk = 4, rank = 2 }

[train]
batch_size = 24
epochs = 2
patience = 9
groups = 4
threads = 1
clip_norm = 0.5
average = { kind = "ema", decay = 0.9 }
optimizer = { lr = 0.01 }
embedding_optimizer = { rule = "rowwise_adagrad", lr = 0.05 }
checkpoint_every = { steps = 3 }
"#;

/// No test takes a tenth of it; what does hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(100);

/// One job at a time: ranks that wait take a whole core each.
static ONE: Mutex<()> = Mutex::new(());

/// A folder with the configuration and rows, and a launcher.
pub(crate) struct Work {
    pub(crate) place: Place,
    launcher: Launcher,
    _one: MutexGuard<'static, ()>,
}

impl Work {
    /// With batches that differ by a row and are no multiple of the groups; none where there is no launcher.
    pub(crate) fn new() -> Option<Self> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let launcher = Launcher::mpich(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
        let place = Place::empty();
        place.write("config.toml", CONFIG);
        for (name, rows) in
            [("train", 203), ("valid", 61), ("test", 50), ("few", 13), ("many", 2 * 8192 + 77)]
        {
            place.write(&format!("{name}.csv"), self::rows(rows));
        }
        Some(Self { place, launcher, _one: one })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_optmsm"));
        command.args(args).current_dir(self.place.path(""));
        command
    }

    /// Starts the program on some ranks, each of which does what `disturb` says before.
    pub(crate) fn start(&self, ranks: usize, disturb: &str, args: &[&str]) -> Job {
        self.start_named("job", ranks, disturb, args)
    }

    /// The same for jobs that run at the same time.
    pub(crate) fn start_named(&self, job: &str, ranks: usize, disturb: &str, args: &[&str]) -> Job {
        self.launcher.start(ranks, disturb, &self.command(args), &self.place.path(job)).unwrap()
    }

    /// Runs it to its end, which is this exit code; 0 ranks are one process without a launcher.
    pub(crate) fn run(&self, ranks: usize, code: i32, args: &[&str]) -> Ended {
        let ended = match ranks {
            0 => {
                let out = self.command(args).output().unwrap();
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                Ended { status: out.status, stdout: text(&out.stdout), stderr: text(&out.stderr) }
            }
            _ => self.start(ranks, "", args).wait(LIMIT),
        };
        assert_eq!(ended.status.code(), Some(code), "{ranks} ranks, {args:?}: {}", ended.stderr);
        ended
    }

    /// Trains by the configuration in a folder.
    pub(crate) fn train(&self, ranks: usize, code: i32, run: &str, more: &[&str]) -> Ended {
        self.run(ranks, code, &[&["train", "--config", "config.toml", "--run", run], more].concat())
    }

    /// Goes on in a folder.
    pub(crate) fn resume(&self, ranks: usize, code: i32, run: &str, more: &[&str]) -> Ended {
        self.run(ranks, code, &[&["train", "--resume", "--run", run], more].concat())
    }

    /// The files of a run that do not tell how and where it was trained, by name; of metrics all but the speed, and of the others only
    /// that they are there.
    pub(crate) fn left(&self, run: &str) -> BTreeMap<String, Vec<u8>> {
        let mut left = BTreeMap::new();
        let folder = self.place.path(run);
        for below in ["", "checkpoints"] {
            for entry in fs::read_dir(folder.join(below)).unwrap().map(Result::unwrap) {
                let name = Path::new(below).join(entry.file_name()).display().to_string();
                let content = match name.as_str() {
                    "schema.json" => fs::read(entry.path()).unwrap(),
                    "metrics.jsonl" => without_speed(&fs::read_to_string(entry.path()).unwrap()).into(),
                    _ if below == "checkpoints" => fs::read(entry.path()).unwrap(),
                    _ => Vec::new(),
                };
                left.insert(name, content);
            }
        }
        left
    }
}

/// Names of files that differ between two runs.
pub(crate) fn differences(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let names = a.keys().chain(b.keys()).collect::<std::collections::BTreeSet<_>>();
    names.into_iter().filter(|name| a.get(*name) != b.get(*name)).cloned().collect()
}

fn without_speed(metrics: &str) -> String {
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        // The check sum is over the speed, too.
        for key in ["rows_per_second", "crc32"] {
            assert!(line.as_object_mut().unwrap().remove(key).is_some(), "{line}");
        }
        format!("{line}\n")
    };
    metrics.lines().map(line).collect()
}

/// The program's words, but for its speed.
pub(crate) fn said(text: &str) -> Vec<String> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let is_speed = |i: usize| words.get(i + 1) == Some(&"rows/s");
        let others = words.iter().enumerate().filter(|(i, _)| !is_speed(*i)).map(|(_, word)| *word);
        others.collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect()
}

fn rows(count: usize) -> String {
    let mut text = "label,scenario,user,friend,tags,price,weight\n".to_string();
    for i in 0..count {
        let (user, friend) = (i * 7 % 31, i * i % 37);
        let tags = ["a|b", "", "c", "b|c|a", "d|a"][i % 5];
        let label = u8::from((user + i % 3) % 3 == 0);
        let weight = [1.0, 0.5, 2.25][i % 3];
        text +=
            &format!("{label},{},u{user},u{friend},{tags},{}.5,{weight}\n", ["home", "ads"][i % 2], i % 13);
    }
    text
}
