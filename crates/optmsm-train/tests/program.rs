//! The program as a user meets it: commands, exact messages, exit codes, and what is left on the disk.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::Place;

const CONFIG: &str = r#"
[data]
train = "train.csv"
valid = "valid.csv"
test = "test.csv"

[[data.fields]]
name = "user"

[[data.fields]]
name = "tags"
kind = "multi"

[[data.fields]]
name = "price"
kind = "numeric"

[[data.fields]]
name = "slot"
role = "specific"

[model]
embedding_dim = 4
experts = { hidden = [8, 4], dropout = 0.1 }
specific = { hidden = [4] }
tower = { hidden = [4] }
hyper = { scenario_dim = 3, trunk = 4, rank = 2 }

[train]
batch_size = 16
epochs = 4
optimizer = { lr = 0.01 }
"#;

impl Place {
    /// A config and three small files.
    fn small() -> Self {
        let place = Self::empty();
        place.write("config.toml", CONFIG);
        for (name, rows) in [("train.csv", 100), ("valid.csv", 40), ("test.csv", 40)] {
            place.write(name, csv(rows));
        }
        place
    }

    /// Trains into `run`; must succeed.
    fn train(&self, run: &str, more: &[&str]) -> String {
        let out = self.run(&[&["train", "--config", "config.toml", "--run", run], more].concat());
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Exit code 2, this message, and no run folder.
    fn refused(&self, args: &[&str], message: &str) {
        let out = self.run(args);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(stderr.trim_end(), format!("error: {message}"));
        assert_eq!(out.status.code(), Some(2));
        assert!(!self.path("r").exists(), "something was written");
        assert!(out.stdout.is_empty());
    }

    fn refused_train(&self, message: &str) {
        self.refused(&["train", "--config", "config.toml", "--run", "r"], message);
    }

    fn refused_set(&self, sets: &[&str], message: &str) {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let args: Vec<_> =
            ["train", "--config", "config.toml", "--run", "r"].into_iter().chain(sets).collect();
        self.refused(&args, message);
    }
}

/// Rows whose label follows user, scenario and tags.
fn csv(rows: usize) -> String {
    let mut text = "label,scenario,user,tags,price,slot\n".to_string();
    for i in 0..rows {
        let (user, scenario, slot) = (i * 7 % 11, ["home", "search", "ads"][i % 3], i % 4);
        let label = u8::from((user + slot + i % 3) % 3 == 0);
        let price = if i % 9 == 0 { String::new() } else { format!("{}.5", i % 13) };
        let tags = ["a|b", "", "c", "b|c|a"][i % 4];
        text += &format!("{label},{scenario},u{user},{tags},{price},s{slot}\n");
    }
    text
}

#[test]
fn train_evaluate_predict_inspect() {
    let place = Place::small();
    let trained = place.train("r", &[]);
    let table = |text: &str| {
        text.lines().take_while(|l| !l.starts_with("run folder")).map(String::from).collect::<Vec<_>>()
    };
    let evaluated = place.run(&["evaluate", "r", "--data", "test.csv"]);
    assert_eq!(table(&trained), table(&String::from_utf8(evaluated.stdout).unwrap()));
    assert!(trained.contains("home") && trained.contains("all"));

    let out = place.run(&["predict", "r", "--data", "test.csv", "--out", "p.csv"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let predicted = place.text("p.csv");
    let input = place.text("test.csv");
    assert_eq!(predicted.lines().count(), input.lines().count());
    for (i, (p, line)) in predicted.lines().zip(input.lines()).enumerate() {
        let (kept, last) = p.rsplit_once(',').unwrap();
        assert_eq!(kept, line);
        assert!(if i == 0 {
            last == "prediction"
        } else {
            (0.0..=1.0).contains(&last.parse::<f32>().unwrap())
        });
    }

    // The same over a pipe.
    let mut child = Command::new(env!("CARGO_BIN_EXE_optmsm"))
        .current_dir(place.path(""))
        .args(["predict", "r", "--data", "-", "--out", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap(), predicted);

    let shown = String::from_utf8(place.run(&["inspect", "r"]).stdout).unwrap();
    for part in ["tower.0.core.weight", "embeddings.user.weight", "experts.1.weight", "search"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let lines = place.text("r/metrics.jsonl");
    assert!(
        lines.lines().all(|l| l.contains("\"auc\"") && l.contains("abs_cos.0.1") && l.contains("\"search\""))
    );
    assert_eq!(lines.lines().filter(|l| l.contains("\"split\":\"test\"")).count(), 1);
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let place = Place::small();
    place.train("whole", &[]);
    // 7 batches per pass: 10 steps stop in the middle of the second.
    for threads in ["1", "3"] {
        let run = format!("halves-{threads}");
        let threads = format!("train.threads={threads}");
        let args =
            ["train", "--config", "config.toml", "--run", &run, "--set", &threads, "--max-steps", "10"];
        let out = place.run(&args);
        assert_eq!(out.status.code(), Some(130), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(String::from_utf8_lossy(&out.stderr).contains("error: stopped at step 10; the run is saved"));
        let out = place.run(&["train", "--resume", "--run", &run]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        for file in ["best", "last"] {
            let path = |run: &str| format!("{run}/checkpoints/{file}.safetensors");
            assert!(place.bytes(&path("whole")) == place.bytes(&path(&run)), "{file} after {run}");
        }
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_and_exits_130() {
    let place = Place::small();
    place.write("train.csv", csv(20_000));
    let child = Command::new(env!("CARGO_BIN_EXE_optmsm"))
        .current_dir(place.path(""))
        .args(["train", "--config", "config.toml", "--run", "r", "--set", "train.epochs=1000"])
        .args(["--set", "train.patience=1000", "--set", "train.optimizer.lr=1e-4"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !place.path("r/checkpoints/best.safetensors").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130));
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(stderr.contains("continue it with: optmsm train --resume --run r"), "{stderr}");
    assert!(place.run(&["evaluate", "r", "--data", "test.csv"]).status.success());
}

#[test]
fn bad_files_are_refused() {
    let place = Place::small();
    let good = csv(100);
    let with = |text: &str| place.write("train.csv", text);
    fs::remove_file(place.path("train.csv")).unwrap();
    place.refused_train("train.csv: no such file; check the path; it starts from the current directory");
    let header = "label,scenario,user,tags,price,slot\n";
    let cases: [(&str, &str); 4] = [
        ("", "train.csv"),
        (header, "train.csv"),
        (&good.replacen("user", "usr", 1), "'user'"),
        (&good.replacen("0,search", "0,search,extra", 1), "line"),
    ];
    for (text, part) in cases {
        with(text);
        let out = place.run(&["train", "--config", "config.toml", "--run", "r"]);
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(stderr.starts_with("error: train.csv") && stderr.contains(part), "{stderr}");
        assert_eq!((out.status.code(), place.path("r").exists()), (Some(2), false), "{stderr}");
    }
    // The messages themselves, word by word, are tested in optmsm-data.
    for (column, value) in [("price", "abc"), ("price", "inf"), ("label", "2")] {
        let line = match column {
            "price" => format!("1,home,u1,a,{value},s1"),
            _ => format!("{value},home,u1,a,1,s1"),
        };
        with(&format!("{header}{line}\n"));
        let out = place.run(&["train", "--config", "config.toml", "--run", "r"]);
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        let start = format!("error: train.csv line 2, column '{column}': \"{value}\"");
        assert!(stderr.starts_with(&start), "{stderr}");
        assert_eq!((out.status.code(), place.path("r").exists()), (Some(2), false));
    }
    let mut garbled = good.clone().into_bytes();
    garbled[60] = 0xff;
    place.write("train.csv", garbled);
    let out = place.run(&["train", "--config", "config.toml", "--run", "r"]);
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("UTF-8"),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert_eq!((out.status.code(), place.path("r").exists()), (Some(2), false));
}

#[test]
fn bad_settings_are_refused() {
    let place = Place::small();
    place.refused_set(
        &["train.batchsize=4"],
        "--set train.batchsize=4: unknown key 'batchsize'; did you mean 'batch_size'?",
    );
    place.refused_set(
        &["model.combine=select", "model.experts.count=2"],
        "--set model.experts.count=2, `model.experts.count`: combine = \"select\" gives each scenario its own expert, but K = 2 and \
         S = 3; set experts.count = 3 (or 0), or combine = \"gate\"",
    );
    place.refused_set(
        &["model.expert_output=normalized", "model.experts.hidden=[4, 1]"],
        "--set model.experts.hidden=[4, 1], `model.experts.hidden`: ends in a width of 1, and a normalized output of one element is \
         always 0; make the last width at least 2, or set model.expert_output = \"linear\"",
    );
    place.refused_set(
        &["model.hyper.rank=5"],
        "--set model.hyper.rank=5, `model.hyper.rank`: 5 is larger than every tower layer can use (4); set it to 4 or less, or 0 to \
         generate whole matrices",
    );
    place.refused_set(
        &["train.epochs=0"],
        "--set train.epochs=0, `train.epochs`: must be at least 1, got 0; raise it",
    );
    for (set, key, most) in [
        ("train.batch_size=1000000000000000", "train.batch_size", 16_777_216),
        ("model.embedding_dim=4294967296000000", "model.embedding_dim", 65_536),
        ("model.experts.hidden=[1000000000000]", "model.experts.hidden", 65_536),
        ("model.experts.count=2000000000", "model.experts.count", 1_024),
    ] {
        let value = set.split_once('=').unwrap().1.trim_matches(['[', ']']);
        let fix = if key.ends_with("count") { "set it to fewer" } else { "lower it" };
        place.refused_set(
            &[set],
            &format!("--set {set}, `{key}`: must be at most {most}, got {value}; {fix}"),
        );
    }
    let huge = ["model.experts.hidden=[65536,65536,65536]", "model.experts.count=1024"];
    let message = "backend cpu: no memory for 35188.4 GB; lower train.batch_size or the model's widths";
    place.refused_set(&huge, message);
    place.refused_set(
        &["train.optimizer.lr=-1"],
        "--set train.optimizer.lr=-1, `train.optimizer.lr`: must be above 0, got -1; change it",
    );
    place.refused_set(&["seed"], "--set seed: has no '='; write key=value, for example train.seed=2");
    place.write("config.toml", CONFIG.replace("batch_size", "batchsize"));
    place.refused_train("config.toml line 30 column 1: unknown key 'batchsize'; did you mean 'batch_size'?");
    place.write("config.toml", CONFIG.replace("batch_size = 16", "batch_size = \"many\""));
    place.refused_train(
        "config.toml line 30 column 14: invalid type: string \"many\", expected usize; give a value of that type",
    );
    // Checks without the data, and checks that need it.
    place.write("config.toml", CONFIG.replace("name = \"slot\"", "name = \"slot\"\nseparator = \"\""));
    place.refused_train(
        "config.toml line 20 column 13, `data.fields.slot.separator`: means something for kind = \"multi\" only; leave it out, \
         or set kind = \"multi\"",
    );
    place.write("config.toml", CONFIG.replace("rank = 2", "rank = 5"));
    place.refused_train(
        "config.toml line 27 column 47, `model.hyper.rank`: 5 is larger than every tower layer can use (4); set it to 4 or \
         less, or 0 to generate whole matrices",
    );
    place.write("config.toml", CONFIG.replace("\ntrain = \"train.csv\"", ""));
    place.refused_train("config.toml line 2, `data.train`: is missing; give the path of a file or folder");
    fs::remove_file(place.path("config.toml")).unwrap();
    place.refused_train(
        "config.toml: cannot be read: No such file or directory (os error 2); check the path given to --config",
    );
}

#[test]
fn an_existing_run_is_refused() {
    let place = Place::small();
    place.train("done", &[]);
    let before = place.bytes("done/checkpoints/best.safetensors");
    place.refused(
        &["train", "--config", "config.toml", "--run", "done"],
        "done: holds a run already; continue it with --resume, or choose another folder with --run",
    );
    assert_eq!(place.bytes("done/checkpoints/best.safetensors"), before);
}

#[test]
fn bad_checkpoints_are_refused() {
    let place = Place::small();
    place.train("done", &[]);
    let path = "done/checkpoints/best.safetensors";
    let good = place.bytes(path);
    let evaluate = ["evaluate", "done", "--data", "test.csv"];
    let says = |problem: &str| {
        let out = place.run(&evaluate);
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(stderr.contains(&format!("error: {path}: {problem}")), "{stderr}");
        assert_eq!(out.status.code(), Some(2));
    };
    place.write(path, &good[..good.len() - 5]);
    says("is truncated or damaged");
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    place.write(path, &flipped);
    says("is damaged: its content does not match its checksum");
    place.write(path, &good);
    let config = place.text("done/config.toml");
    place.write("done/config.toml", config.replace("trunk = 4", "trunk = 5"));
    says("is of another model");
    place.write("done/config.toml", config);
    fs::remove_file(place.path(path)).unwrap();
    says("cannot be read");
}

#[test]
fn an_unseen_scenario_is_refused_or_mapped() {
    let place = Place::small();
    let strange = csv(40).replace("search", "mail");
    place.write("strange.csv", &strange);
    place.train("strict", &[]);
    let out = place.run(&["predict", "strict", "--data", "strange.csv", "--out", "p.csv"]);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(
        stderr.contains("strange.csv line 3, column 'scenario'") && stderr.contains("\"mail\""),
        "{stderr}"
    );
    assert!(stderr.contains("unseen_scenario = \"oov\""), "{stderr}");
    assert_eq!((out.status.code(), place.path("p.csv").exists()), (Some(2), false));
    place.train("open", &["--set", "data.unseen_scenario=oov"]);
    let out = place.run(&["predict", "open", "--data", "strange.csv", "--out", "p.csv"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_diverging_loss_stops_and_keeps_the_checkpoint() {
    let place = Place::small();
    place.train("r", &["--set", "train.epochs=1"]);
    let files = ["r/checkpoints/best.safetensors", "r/checkpoints/last.safetensors"];
    let before = files.map(|f| place.bytes(f));
    let set =
        ["--set", "train.optimizer.rule=sgd", "--set", "train.optimizer.lr=1e30", "--set", "train.epochs=9"];
    let out = place.run(&[&["train", "--resume", "--run", "r"], &set[..]].concat());
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("error: step ") && stderr.contains("the loss is NaN; the last finite loss was"),
        "{stderr}"
    );
    assert!(stderr.contains("lower train.optimizer.lr, or set train.clip_norm = 1.0"), "{stderr}");
    assert!(before == files.map(|f| place.bytes(f)), "a good checkpoint was overwritten");
    assert!(place.run(&["evaluate", "r", "--data", "test.csv"]).status.success());
}

/// A tmpfs of 64 KiB, unmounted when it goes; `None` where mounting is not allowed.
#[cfg(target_os = "linux")]
struct SmallDisk(PathBuf);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn new(at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&at).output();
        mount.is_ok_and(|m| m.status.success()).then_some(Self(at))
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let place = Place::small();
    place.train("r", &[]);
    place.write("many.csv", csv(5_000));
    let Some(disk) = SmallDisk::new(place.path("small")) else {
        println!("SKIPPED: mounting a tmpfs is not allowed here");
        return;
    };
    let full = |args: &[&str], part: &str| {
        let out = place.run(args);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(stderr.contains(part) && stderr.contains("No space left"), "{stderr}");
        assert_eq!(out.status.code(), Some(2), "{stderr}");
    };
    full(&["predict", "r", "--data", "many.csv", "--out", "small/p.csv"], "small/p.csv: cannot be written");
    full(&["synth", "--rows", "5000", "--out", "small/s.csv"], "small/s.csv");
    assert_eq!(fs::read_dir(&disk.0).unwrap().count(), 0);
    // Room for configuration and schema, not for the checkpoints of a wider model.
    let wide = ["--set", "model.experts.hidden=[256, 64]", "--set", "train.epochs=1"];
    let args = [&["train", "--config", "config.toml", "--run", "small/r"], &wide[..]].concat();
    full(&args, "small/r/checkpoints/last.safetensors: cannot write");
    assert_eq!(fs::read_dir(disk.0.join("r/checkpoints")).unwrap().count(), 0);
}

/// One batch per pass: the loss is finite, the update after it is not.
#[test]
fn parameters_that_are_no_numbers_are_never_saved() {
    for monitor in ["auc", "log_loss"] {
        let place = Place::small();
        let monitor = format!("train.monitor={monitor}");
        let sets = ["train.batch_size=100", "train.optimizer.rule=sgd", "train.optimizer.lr=1e38", &monitor];
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let args: Vec<_> =
            ["train", "--config", "config.toml", "--run", "r"].into_iter().chain(sets).collect();
        let out = place.run(&args);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains("error: step 1: the loss is NaN") || stderr.contains("error: step 2"),
            "{stderr}"
        );
        assert!(!place.path("r/metrics.jsonl").exists() || !stderr.contains("step 1"), "{stderr}");
    }
}

/// Evaluation sees longer lists than training had so far, and a later training batch is larger than those before:
/// 130 ids where 128 had been enough, whenever the rows with 0 and 4 values fall into different batches.
#[test]
fn lists_may_be_longer_in_validation() {
    let place = Place::small();
    let rows = |n: usize, tags: &dyn Fn(usize) -> usize| {
        let mut text = "label,scenario,user,tags,price,slot\n".to_string();
        for i in 0..n {
            let tags = vec!["a"; tags(i)].join("|");
            text += &format!("{},home,u{},{tags},1,s1\n", i % 2, i % 5);
        }
        text
    };
    place.write("train.csv", rows(128, &|i| [0, 4, 2][i.min(2)]));
    place.write("valid.csv", rows(64, &|_| 5));
    place.write("test.csv", rows(64, &|_| 5));
    for seed in ["1", "2", "3", "4", "5", "6"] {
        place.train(seed, &["--set", "train.batch_size=64", "--set", &format!("train.seed={seed}")]);
    }
}

#[test]
fn a_bad_setting_leaves_no_synthetic_data() {
    let place = Place::small();
    let out = place.run(&["train", "--rows", "1000", "--run", "r", "--set", "model.hyper.rank=999"]);
    assert_eq!((out.status.code(), place.path("r").exists()), (Some(2), false));
}

#[test]
fn gradcheck_passes() {
    let place = Place::small();
    let out = place.run(&["gradcheck"]);
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{text}");
    assert!(text.contains("all below 1e-6") && text.contains("fails, as it should"), "{text}");
}

#[test]
fn synth_writes_what_was_asked() {
    let place = Place::small();
    assert!(place.run(&["synth", "--rows", "50", "--out", "s.csv"]).status.success());
    assert_eq!(place.text("s.csv").lines().count(), 51);
    let left: Vec<_> = fs::read_dir(place.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|n| Path::new(n).extension().is_some_and(|e| e == "tmp")));
}
