//! The examples in C and Go, built against the library as users build them, answer as the scorer does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use optmsm_data::Datum;
use optmsm_train::scorer::{Scorer, ScorerOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Folder of the shared library, which cargo made for this test.
fn library() -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let name = format!("{}optmsm_c{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    assert!(folder.join(&name).is_file(), "no {name} in {}", folder.display());
    folder
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Whether a tool is here; says so where it is not.
fn has(tool: &str, ask: &str) -> bool {
    let there = Command::new(tool).arg(ask).output().is_ok_and(|out| out.status.success());
    if !there {
        println!("SKIPPED: {tool} is not installed");
    }
    there
}

fn done(command: &mut Command) -> Output {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

/// The run that the examples are of, small.
fn trained() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run").to_str().unwrap().to_owned();
    crate::common::program(&["train", "--rows", "3000", "--set", "train.epochs=1", "--run", &run, "--quiet"]);
    (folder, run)
}

/// Answers of the scorer to `rows`.
fn expected(run: &str, rows: &[Value]) -> Vec<f32> {
    let scorer = Scorer::open(Path::new(run), &ScorerOptions::default()).unwrap();
    let get = |column: usize, row: usize| Datum::of(&rows[row][&scorer.columns()[column].name]);
    scorer.score(rows.len(), get).unwrap().probabilities
}

/// The probabilities of lines that begin with `words`, in their order.
fn answers(text: &str, words: &str) -> Vec<f32> {
    let lines = text.lines().filter(|line| line.starts_with(words));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
}

/// The candidates that examples score, as rows; `tags` are those of each.
fn candidates(tags: [Value; 3]) -> Vec<Value> {
    let items = [("i3", "c2", 12.5), ("i8", "c0", 3.0), ("i21", "c1", 48.0)];
    let row = |((item, category, price), tags): ((&str, &str, f64), Value)| {
        json!({
            "scenario": "home", "user_id": "u17", "user_segment": "s1", "position": 0, "device": "phone",
            "item_id": item, "category": category, "price": price, "tags": tags
        })
    };
    items.into_iter().zip(tags).map(row).collect()
}

#[test]
fn the_example_in_c_answers() {
    let compiler = std::env::var("CC").unwrap_or("cc".into());
    if !has(&compiler, "--version") {
        return;
    }
    let ((folder, run), (root, library)) = (trained(), (root(), library()));
    let program = folder.path().join("score");
    let mut compile = Command::new(compiler);
    compile.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]);
    compile.arg(root.join("crates/optmsm-c/include")).arg(root.join("examples/c/score.c"));
    compile.arg("-L").arg(&library).args(["-loptmsm_c", "-o"]).arg(&program);
    done(&mut compile);
    let ask = |run: &str| {
        let mut command = Command::new(&program);
        command.arg(run).env("LD_LIBRARY_PATH", &library).env("DYLD_LIBRARY_PATH", &library);
        command
    };
    let out = String::from_utf8(done(&mut ask(&run)).stdout).unwrap();
    assert!(out.starts_with("column scenario: text\n") && out.contains("column tags: list\n"), "{out}");
    let rows = [
        json!({
            "scenario": "home", "user_id": "u17", "item_id": "i3", "user_segment": "s1", "category": "c2",
            "tags": ["t1", "t7"], "price": 12.5, "position": 0
        }),
        json!({
            "scenario": "search", "user_id": "u4", "item_id": "new", "user_segment": "s0", "category": "c5",
            "tags": [], "position": 3
        }),
    ];
    assert_eq!(answers(&out, "row "), expected(&run, &rows), "{out}");
    let lists = expected(&run, &candidates([json!(["t1", "t7"]), json!(["t2"]), json!([])]));
    assert_eq!(answers(&out, "candidate "), lists, "{out}");
    assert_eq!(answers(&out, "json "), lists, "{out}");
    let bad = ask("nowhere").output().unwrap();
    let said = String::from_utf8_lossy(&bad.stderr);
    assert!(bad.status.code() == Some(1) && said.starts_with("error 3: nowhere"), "{said}");
}

#[test]
fn the_header_is_one_of_cpp_too() {
    let compiler = std::env::var("CXX").unwrap_or("c++".into());
    if !has(&compiler, "--version") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("version.cpp"), folder.path().join("version"));
    let text = "#include \"optmsm.h\"\n#include <cstdio>\n\
        int main() { optmsm_options o = OPTMSM_OPTIONS_INIT; std::printf(\"%s %d\", optmsm_version(), o.size == sizeof o); }\n";
    std::fs::write(&source, text).unwrap();
    let mut compile = Command::new(compiler);
    compile
        .args(["-Wall", "-Wextra", "-Werror", "-I"])
        .arg(root().join("crates/optmsm-c/include"))
        .arg(&source);
    compile.arg("-L").arg(library()).args(["-loptmsm_c", "-o"]).arg(&program);
    done(&mut compile);
    let mut run = Command::new(&program);
    run.env("LD_LIBRARY_PATH", library()).env("DYLD_LIBRARY_PATH", library());
    assert_eq!(done(&mut run).stdout, concat!(env!("CARGO_PKG_VERSION"), " 1").as_bytes());
}

#[test]
fn the_example_in_go_answers() {
    if !has("go", "version") {
        return;
    }
    let ((folder, run), (root, library)) = (trained(), (root(), library()));
    let program = folder.path().join("score");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(root.join("examples/go/score.go"));
    build.env("CGO_ENABLED", "1").env("GOCACHE", folder.path().join("cache"));
    build.env("CGO_CFLAGS", format!("-I{}", root.join("crates/optmsm-c/include").display()));
    build.env("CGO_LDFLAGS", format!("-L{}", library.display()));
    done(&mut build);
    let mut ask = Command::new(&program);
    ask.arg(&run).env("LD_LIBRARY_PATH", &library).env("DYLD_LIBRARY_PATH", &library);
    let out = String::from_utf8(done(&mut ask).stdout).unwrap();
    let lists = expected(&run, &candidates([json!(["t1", "t7"]), json!(["t2"]), json!([])]));
    for asker in 0..4 {
        assert_eq!(answers(&out, &format!("asker {asker} ")), lists, "{out}");
    }
    assert!(out.contains("refused: optmsm: error 2: the user of the request, column 'scenario'"), "{out}");
}

/// Whoever links the library gets no name of ours that is not the interface's.
#[test]
fn only_the_interface_is_exported() {
    if !cfg!(target_os = "linux") || !has("nm", "--version") {
        return;
    }
    let library = library().join("liboptmsm_c.so");
    let out = done(Command::new("nm").args(["--dynamic", "--defined-only"]).arg(&library));
    let text = String::from_utf8(out.stdout).unwrap();
    let mut names: Vec<&str> =
        text.lines().filter_map(|line| line.rsplit_once(' ')).map(|(_, name)| name).collect();
    names.sort_unstable();
    let header = std::fs::read_to_string(root().join("crates/optmsm-c/include/optmsm.h")).unwrap();
    let code = header.lines().filter(|line| !line.trim_start().starts_with(['*', '/']));
    let named =
        code.filter_map(|line| line.split_once('(')).filter_map(|(front, _)| front.rsplit([' ', '*']).next());
    let mut wanted: Vec<&str> = named.filter(|name| name.starts_with("optmsm_")).collect();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
}
