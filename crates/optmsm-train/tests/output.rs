//! Where output goes: pipes that nobody reads, full disks, closed descriptors, signals; and names that try to steer a terminal.
#![cfg(unix)]

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use common::{CONFIG, Place, code};

/// Outputs, and what writing to them gives.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sink {
    /// A pipe whose reader is gone.
    Closed,
    /// A disk without space.
    Full,
}

impl Sink {
    fn open(self) -> Stdio {
        match self {
            // The reader ends with the statement.
            Sink::Closed => std::io::pipe().unwrap().1.into(),
            Sink::Full => OpenOptions::new().write(true).open("/dev/full").unwrap().into(),
        }
    }
}

impl Place {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_optmsm"));
        command.current_dir(self.path("")).args(args);
        command
    }

    /// The program as a shell starts it after `before`.
    fn shell(&self, before: &str, args: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        let script = format!("{before}; exec \"$0\" \"$@\"");
        command.current_dir(self.path("")).args(["-c", &script, env!("CARGO_BIN_EXE_optmsm")]).args(args);
        command
    }
}

/// A trained run `r` in a folder with test rows.
fn trained() -> Place {
    let config = CONFIG.replace("valid = \"valid.csv\"", "valid = \"valid.csv\"\ntest = \"valid.csv\"");
    let place = Place::new(&config, 100, 9);
    code(&place.run(&["train", "--config", "config.toml", "--run", "r", "-q"]), 0);
    place
}

fn no_panic(out: &Output, what: &str) {
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code().is_some_and(|code| code != 101), "{what}: {:?} {stderr}", out.status);
    assert!(!stderr.contains("panicked"), "{what}: {stderr}");
}

/// A reader that has seen enough ends every command quietly; a full disk is an error.
#[test]
fn results_that_cannot_be_written() {
    let place = trained();
    let commands: &[&[&str]] = &[
        &["--help"],
        &["--version"],
        &["train", "--help"],
        &["help", "predict"],
        &["completions", "bash"],
        &["man"],
        &["inspect", "r"],
        &["inspect", "r", "--json"],
        &["evaluate", "r", "--data", "valid.csv"],
        &["evaluate", "r", "--data", "valid.csv", "--json"],
        &["predict", "r", "--data", "valid.csv", "--out", "-"],
        &["synth", "--rows", "5000", "--out", "-"],
        &["synth", "--rows", "50", "--format", "parquet", "--out", "-"],
        &["check", "config.toml"],
        &["check", "config.toml", "--json"],
        &["recipe", "--list"],
        &["prepare", "--config", "config.toml"],
        &["report", "r", "--out", "r.html"],
        &["compare", "config.toml", "--seeds", "1", "--out", "c", "-q"],
        &["compare", "config.toml", "--seeds", "1", "--out", "c", "-q", "--json"],
        &["train", "--resume", "--run", "r"],
        &["train", "--resume", "--run", "r", "--json"],
    ];
    for args in commands {
        for (sink, wanted) in [(Sink::Closed, 0), (Sink::Full, 2)] {
            let out = place.command(args).stdout(sink.open()).output().unwrap();
            no_panic(&out, &args.join(" "));
            let stderr = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(wanted), "{args:?} into {sink:?}: {stderr}");
            let said = stderr.contains("error: standard output: cannot be written: No space left");
            assert_eq!(said, sink == Sink::Full, "{args:?} into {sink:?}: {stderr}");
        }
    }
}

/// Whoever does not listen to the progress changes nothing, and the exit code tells errors.
#[test]
fn progress_that_cannot_be_written_is_dropped() {
    let place = trained();
    place.write("tune.toml", place.text("config.toml") + "\n[tune]\n\"train.epochs\" = { int = [1, 2] }\n");
    let commands: &[(&[&str], i32)] = &[
        (&["train", "--config", "config.toml", "--run"], 0),
        (&["compare", "config.toml", "--seeds", "1", "--out"], 0),
        (&["tune", "tune.toml", "--trials", "2", "--out"], 0),
        (&["predict", "r", "--data", "gone.csv", "--out"], 2),
        (&["train", "--config", "gone.toml", "--run"], 2),
        (&["no-such-command"], 2),
    ];
    for (i, (args, wanted)) in commands.iter().enumerate() {
        for sink in [Sink::Closed, Sink::Full] {
            let folder = format!("{i}-{sink:?}");
            let args = [*args, &[folder.as_str()]].concat();
            let out = place.command(&args).stderr(sink.open()).output().unwrap();
            assert_eq!(out.status.code(), Some(*wanted), "{args:?} into {sink:?}");
            let mut more = place.command(&[&args[..], &["x"]].concat());
            let status = more.stderr(sink.open()).stdout(sink.open()).status().unwrap();
            assert_eq!(status.code(), Some(2), "{args:?} and a word too many");
        }
    }
    let best = |run: &str| place.bytes(&format!("{run}/checkpoints/best.safetensors"));
    assert!(best("0-Closed") == best("r") && best("0-Full") == best("r"));
}

/// No file gets the descriptor of an output that was closed: the output would be written into it.
#[test]
fn descriptors_closed_at_the_start() {
    let place = trained();
    let predict = |out: &str| ["predict", "r", "--data", "valid.csv", "--out", out].map(String::from);
    let wanted = place.run(&predict("p.csv").each_ref().map(String::as_str));
    code(&wanted, 0);
    for (i, closed) in ["exec <&-", "exec >&-", "exec 2>&-", "exec <&- >&- 2>&-"].into_iter().enumerate() {
        let out = format!("{i}.csv");
        let status = place.shell(closed, &predict(&out).each_ref().map(String::as_str)).status().unwrap();
        assert_eq!((status.code(), place.bytes(&out)), (Some(0), place.bytes("p.csv")), "{closed}");
        let run = format!("r{i}");
        let args = ["train", "--config", "config.toml", "--run", &run];
        assert_eq!(place.shell(closed, &args).status().unwrap().code(), Some(0), "{closed}");
        for file in ["schema.json", "checkpoints/best.safetensors"] {
            assert!(
                place.bytes(&format!("{run}/{file}")) == place.bytes(&format!("r/{file}")),
                "{closed}: {file}"
            );
        }
    }
}

/// A write beyond the limit of the process fails, rather than the signal that comes with it.
#[test]
fn a_limit_of_file_sizes_is_an_error() {
    let place = trained();
    let train = place.text("train.csv");
    let (header, rows) = train.split_once('\n').unwrap();
    place.write("many.csv", format!("{header}\n{}", rows.repeat(50)));
    let commands: [&[&str]; 3] = [
        &["synth", "--rows", "20000", "--out", "s.csv"],
        &["predict", "r", "--data", "many.csv", "--out", "p.csv"],
        &["train", "--config", "config.toml", "--run", "big", "--set", "model.experts.hidden=[256, 64]"],
    ];
    for args in commands {
        let out = place.shell("ulimit -f 16", args).output().unwrap();
        let stderr = code(&out, 2);
        assert!(stderr.contains("File too large"), "{stderr}");
    }
    assert!(!place.path("s.csv").exists() && !place.path("p.csv").exists());
}

fn kill(child: &Child, signal: &str) {
    Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
}

/// Waits until the run has begun.
fn begun(place: &Place, run: &str, child: &mut Child) {
    while !place.path(&format!("{run}/checkpoints/last.safetensors")).exists() {
        assert!(child.try_wait().unwrap().is_none(), "{run} has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let place = Place::new(CONFIG, 20_000, 9);
    let long = ["train", "--config", "config.toml", "-q", "--set", "train.epochs=2", "--run"];
    for signal in ["HUP", "INT", "TERM"] {
        let args = [&long[..], &[signal]].concat();
        let mut child =
            place.shell(&format!("trap '' {signal}"), &args).stdout(Stdio::null()).spawn().unwrap();
        begun(&place, signal, &mut child);
        kill(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn every_other_signal_to_stop_saves() {
    let place = Place::new(CONFIG, 20_000, 9);
    let long = ["train", "--config", "config.toml", "-q", "--set", "train.epochs=9999", "--run"];
    for signal in ["HUP", "INT", "TERM", "XCPU"] {
        // One that is ignored leaves the others.
        let others = if signal == "HUP" { "trap '' INT" } else { "trap '' HUP" };
        let args = [&long[..], &[signal, "--set", "train.patience=9999"]].concat();
        let mut child = place.shell(others, &args).stderr(Stdio::piped()).spawn().unwrap();
        begun(&place, signal, &mut child);
        kill(&child, signal);
        let stderr = code(&child.wait_with_output().unwrap(), 130);
        assert!(stderr.contains("the run is saved, continue it with"), "{signal}: {stderr}");
    }
}

/// The first signal waits for a step, which does not come: the configuration is a pipe that nobody writes. The next one ends it.
#[test]
fn a_second_signal_ends_the_program_at_once() {
    let place = Place::new(CONFIG, 100, 9);
    for signal in ["HUP", "INT", "TERM"] {
        let pipe = place.path(signal);
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let mut child = place.command(&["train", "--config", signal, "--run", "r"]).spawn().unwrap();
        let _open = OpenOptions::new().write(true).open(&pipe).unwrap(); // once the program reads it
        let status = loop {
            kill(&child, signal);
            std::thread::sleep(Duration::from_millis(5));
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
        };
        assert_eq!((status.code(), status.signal()), (Some(130), None), "{signal}");
    }
}

/// A machine that starts no more threads: the limit is their stacks, which fit no address space.
#[test]
fn threads_that_cannot_be_started_are_an_error() {
    let place = trained();
    let commands: [&[&str]; 6] = [
        &["train", "--config", "config.toml", "--run", "n"],
        &["train", "--resume", "--run", "r"],
        &["evaluate", "r", "--data", "valid.csv"],
        &["predict", "r", "--data", "valid.csv", "--out", "p.csv"],
        &["check", "config.toml"],
        &["init", "train.csv"],
    ];
    for args in commands {
        let out = place.command(args).env("RUST_MIN_STACK", (1u64 << 48).to_string()).output().unwrap();
        no_panic(&out, &args.join(" "));
        let stderr = code(&out, 2);
        let said =
            ["a thread: cannot start: ", "threads cannot be started: "].iter().any(|s| stderr.contains(s));
        assert!(said && stderr.contains("ulimit -u"), "{args:?}: {stderr}");
        assert!(!place.path("n").exists() && !place.path("p.csv").exists());
    }
    for threads in ["0", "1025", "1000000000"] {
        let set = format!("train.threads={threads}");
        let out = place.run(&["train", "--config", "config.toml", "--run", "n", "--set", &set]);
        let stderr = code(&out, 2);
        assert!(stderr.contains(&format!("must be from 1 to 1024, got {threads}")), "{stderr}");
    }
}

/// Nothing out of the current folder, or found by its name, is run.
#[test]
fn compare_runs_no_other_program() {
    let place = trained();
    let git = "#!/bin/sh\ntouch was-run\necho 0000000000000000000000000000000000000000\n";
    fs::create_dir_all(place.path("bin")).unwrap();
    place.write("bin/git", git);
    Command::new("chmod").arg("+x").arg(place.path("bin/git")).status().unwrap();
    fs::create_dir_all(place.path(".git/refs")).unwrap();
    fs::create_dir_all(place.path(".git/objects")).unwrap();
    place.write(".git/HEAD", "ref: refs/heads/main\n");
    place.write(".git/config", format!("[core]\nfsmonitor = \"{}\"\n", place.path("bin/git").display()));
    let path = format!("{}:{}", place.path("bin").display(), std::env::var("PATH").unwrap());
    let args = ["compare", "config.toml", "--seeds", "1", "--out", "c", "-q"];
    code(&place.command(&args).env("PATH", path).output().unwrap(), 0);
    assert!(!place.path("was-run").exists());
    code(&place.run(&args), 0);
    assert!(!place.path("was-run").exists());
}

/// Scenarios, fields, columns, values and files whose names hold escape sequences, ends of lines and turns of direction.
#[test]
fn names_from_data_cannot_steer_a_terminal() {
    let names =
        ["a\u{1b}[2J", "b\nwarning: all is well", "c\u{202e}txt", "d\u{9b}31m\u{7}", "e\u{2028}\r\0f"];
    let place = Place::empty();
    let mut rows = "label,scenario,\"us\u{1b}]0;er\"\n".to_string();
    for i in 0..100 {
        rows += &format!("{},\"{}\",u{}\n", u8::from(i % 3 == 0), names[i % 5], i % 7);
    }
    let file = "tr\u{1b}[2J\u{202e}ain.csv";
    place.write(file, &rows);
    let config = r#"
[data]
train = "tr\u001b[2J\u202eain.csv"
valid = "tr\u001b[2J\u202eain.csv"
test = "tr\u001b[2J\u202eain.csv"
quoting = "standard"
[[data.fields]]
name = "us\u001b]0;er"
[model]
embedding_dim = 4
experts = { hidden = [4] }
specific = { hidden = [4] }
tower = { hidden = [4] }
hyper = { scenario_dim = 3, trunk = 4, rank = 2 }
[train]
epochs = 2
batch_size = 16
tensorboard = true
"#;
    let toml = "co\u{1b}[31mnfig.toml";
    place.write(toml, config);
    let steers = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2028}".contains(c));
    let clean = |text: &str, what: &str| {
        let at = text.find(steers);
        assert!(at.is_none(), "{what}: {:?}", &text[at.unwrap_or(0)..]);
        assert!(!text.lines().any(|line| line.starts_with("warning: all is well")), "{what}: {text}");
    };
    let run = "r\u{1b}[2J\n";
    let unseen = rows.replace("a\u{1b}[2J", "un\u{1b}[2Jseen");
    place.write("un\u{1b}seen.csv", unseen);
    place.write("bad\u{7}.csv", rows.replace("u3", "u\u{1b}3\"x"));
    let commands: &[&[&str]] = &[
        &["check", toml],
        &["train", "--config", toml, "--run", run],
        &["train", "--config", toml, "--run", run],
        &["train", "--config", toml, "--run", "x", "--set", "train.\u{1b}[2J=1"],
        &["train", "--confug\u{1b}[2J", toml],
        &["inspect", run],
        &["evaluate", run, "--data", file],
        &["evaluate", run, "--data", "un\u{1b}seen.csv"],
        &["evaluate", run, "--data", "gone\u{1b}[2J.csv"],
        &["evaluate", run, "--data", "bad\u{7}.csv"],
        &["predict", run, "--data", "un\u{1b}seen.csv", "--out", "p.csv"],
        &["prepare", "--config", toml],
        &["compare", toml, "--seeds", "1", "--out", "c"],
        &["report", run, "--data", file, "--out", "r.html"],
        &["init", file],
    ];
    for args in commands {
        let out = place.run(args);
        no_panic(&out, &format!("{args:?}"));
        clean(&String::from_utf8(out.stdout).unwrap(), &format!("output of {args:?}"));
        clean(&String::from_utf8(out.stderr).unwrap(), &format!("errors of {args:?}"));
    }
    clean(&place.text("r.html"), "page");
    assert!(place.text("r.html").contains(r"a\u{1b}[2J"), "the page names scenarios");
    clean(&place.text("c/compare.md"), "comparison");
    let events = fs::read_dir(place.path(run)).unwrap().map(|e| e.unwrap().path());
    let events = events.filter(|path| path.to_string_lossy().contains("tfevents")).collect::<Vec<_>>();
    let bytes = fs::read(&events[0]).unwrap();
    let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(names.iter().all(|name| !holds(name)) && holds(r"valid/auc/a\u{1b}[2J"));
}
