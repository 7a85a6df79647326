//! The folder that every case starts in, always at the same path: what a run records of paths is the same each time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::fault::{Call, Ended, Fault};
use super::{elsewhere, trace};

const PROGRAM: &str = env!("CARGO_BIN_EXE_optmsm");

/// Files by their paths, without what differs between two equal runs: times.
pub(crate) type Snapshot = BTreeMap<String, Vec<u8>>;

/// How a command ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) late: bool,
    pub(crate) calls: Vec<Call>,
    pub(crate) struck: bool,
}

impl Outcome {
    pub(crate) fn success(&self) -> bool {
        self.status.success()
    }

    /// A fault that no circumstance excuses: a panic, an abort, or another signal than `kill -9`.
    pub(crate) fn died(&self) -> bool {
        let code = self.status.code();
        code == Some(101)
            || self.stderr.contains("panicked at")
            || (code.is_none() && !self.struck && !self.late)
    }

    /// The last line of standard error: the message of a refusal.
    pub(crate) fn message(&self) -> &str {
        self.stderr.trim_end().lines().last().unwrap_or_default()
    }

    /// Whether the last line is an error or a warning that names one of these files, its folder, or what is no file.
    pub(crate) fn names_one_of(&self, files: impl IntoIterator<Item = String>) -> bool {
        let message = self.message();
        let said = |part: &str| message.contains(part);
        let named = |path: String| match path.rsplit_once('/') {
            Some((folder, name)) => said(name) || said(folder),
            None => said(&path),
        };
        let start = message.starts_with("error: ") || message.starts_with("warning: ");
        let other = ["standard output", "thread", "interrupt handler", "current directory"];
        start && (files.into_iter().any(named) || other.into_iter().any(said))
    }
}

/// The folder, and beside it the states that it is set to.
pub(crate) struct Stage {
    root: TempDir,
    traces: bool,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let stage = Self { root: tempfile::tempdir().unwrap(), traces: trace::allowed() };
        fs::create_dir(stage.path("")).unwrap();
        stage
    }

    /// Whether system calls are seen, so that they can be made to fail.
    pub(crate) fn traces(&self) -> bool {
        self.traces
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("case").join(name)
    }

    fn state(&self, name: &str) -> PathBuf {
        self.root.path().join("states").join(name)
    }

    /// Keeps the folder as a state.
    pub(crate) fn keep(&self, state: &str) {
        copy(&self.path(""), &self.state(state));
    }

    /// Sets the folder to a state.
    pub(crate) fn set(&self, state: &str) {
        fs::remove_dir_all(self.path("")).unwrap();
        copy(&self.state(state), &self.path(""));
    }

    /// The program in the folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.here(PROGRAM);
        command.args(args);
        command
    }

    /// The same with a shell's redirection.
    pub(crate) fn redirected(&self, args: &[&str], redirection: &str) -> Command {
        let mut command = self.here("sh");
        command.args(["-c", &format!("exec \"$0\" \"$@\" {redirection}"), PROGRAM]).args(args);
        command
    }

    /// Commands in the folder print to files, which cannot fill up as pipes do.
    fn here(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let file = |name| File::create(self.root.path().join(name)).unwrap();
        command.current_dir(self.path("")).env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        command
    }

    /// Runs a command with a fault, or none.
    pub(crate) fn run(&self, args: &[&str], fault: Option<Fault>) -> Outcome {
        let run = if self.traces { trace::run } else { elsewhere::run };
        self.end(run(&mut self.command(args), fault))
    }

    /// Runs a command untraced, which is faster.
    pub(crate) fn plain(&self, command: &mut Command) -> Outcome {
        self.end(elsewhere::run(command, None))
    }

    fn end(&self, ended: std::io::Result<Ended>) -> Outcome {
        let Ended { status, late, calls, struck } = ended.unwrap();
        let text =
            |name| String::from_utf8_lossy(&fs::read(self.root.path().join(name)).unwrap()).into_owned();
        Outcome { status, stdout: text("stdout"), stderr: text("stderr"), late, calls, struck }
    }

    /// Content of the folder.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut files = Snapshot::new();
        let root = self.path("");
        walk(&root, &mut |path| {
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            let bytes = if path.is_dir() { Vec::new() } else { fs::read(path).unwrap() };
            // An event file is named after the time, and each record holds one.
            match name.split_once("events.out.tfevents") {
                Some((folder, _)) => files.insert(format!("{folder}events"), Vec::new()),
                None => files.insert(name.clone(), timeless(&name, bytes)),
            };
        });
        files
    }
}

/// Names of files that only one has, or that differ.
pub(crate) fn differences(a: &Snapshot, b: &Snapshot) -> Vec<String> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    names.into_iter().filter(|name| a.get(*name) != b.get(*name)).cloned().collect()
}

/// Calls `each` for everything below a folder, folders first.
fn walk(folder: &Path, each: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        each(&path);
        if path.is_dir() {
            walk(&path, each);
        }
    }
}

/// Copies a folder with its files' times.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    walk(from, &mut |path| {
        let target = to.join(path.strip_prefix(from).unwrap());
        if path.is_dir() {
            return fs::create_dir(target).unwrap();
        }
        fs::copy(path, &target).unwrap();
        let modified = fs::metadata(path).unwrap().modified().unwrap();
        let times = FileTimes::new().set_modified(modified);
        File::options().write(true).open(target).unwrap().set_times(times).unwrap();
    });
}

/// Names of what may differ between two equal runs: times, what the system says of the machine, and a checksum that covers them.
const OTHERWISE: [&str; 6] = ["seconds", "rows_per_second", "stamp", "cpu", "cores", "crc32"];

/// A file's content without times.
fn timeless(name: &str, bytes: Vec<u8>) -> Vec<u8> {
    let text = || String::from_utf8_lossy(&bytes).into_owned();
    match name.rsplit(['/', '.']).next() {
        Some("seconds") => Vec::new(),
        Some("json" | "jsonl") => json(&text()).into_bytes(),
        Some("md") => columns(&text()).into_bytes(),
        _ => bytes,
    }
}

/// A document, or one in every line; what is none stays as it is.
pub(crate) fn json(text: &str) -> String {
    let document =
        |text: &str| serde_json::from_str::<Value>(text).map(|value| drop_times(value).to_string());
    let line = |line: &str| document(line).unwrap_or_else(|_| line.to_string()) + "\n";
    document(text).unwrap_or_else(|_| text.lines().map(line).collect())
}

fn drop_times(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(key, _)| !OTHERWISE.contains(&key.as_str()));
            kept.map(|(key, value)| (key, drop_times(value))).collect()
        }
        Value::Array(values) => values.into_iter().map(drop_times).collect(),
        other => other,
    }
}

/// Markdown without the columns of times and the line of the machine.
fn columns(text: &str) -> String {
    let mut dropped: Vec<usize> = Vec::new();
    let mut kept = String::new();
    for line in text.lines().filter(|line| !line.contains(" cores")) {
        let cells: Vec<&str> = line.split('|').collect();
        if !line.starts_with('|') {
            dropped.clear();
        } else if dropped.is_empty() {
            let timed = |cell: &str| cell.contains("seconds") || cell.contains("rows/s");
            dropped = (0..cells.len()).filter(|&i| timed(cells[i])).collect();
        }
        let cells =
            cells.iter().enumerate().filter(|(i, _)| !dropped.contains(i)).map(|(_, cell)| cell.trim());
        kept += &cells.collect::<Vec<_>>().join("|");
        kept.push('\n');
    }
    kept
}
