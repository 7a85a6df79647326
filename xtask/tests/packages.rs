//! Packages say what they are, hold what they need, and depend on what they use.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The output of cargo, run in the root.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).current_dir(root()).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The packages of the workspace, as `cargo metadata` describes them.
fn members() -> Vec<Value> {
    let text = cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().map(|list| list.iter().map(text).collect()).unwrap_or_default()
}

fn folder(package: &Value) -> PathBuf {
    Path::new(text(&package["manifest_path"])).parent().unwrap().to_owned()
}

/// Packages that `publish = false` does not keep back.
fn published() -> Vec<Value> {
    let published: Vec<_> = members().into_iter().filter(|package| package["publish"].is_null()).collect();
    assert!(published.iter().any(|p| p["name"] == "optmsm-kernels"), "packages were not found");
    published
}

/// Names of the files in a folder.
fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|f| f.is_file()).map(|f| f.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Registries and their readers ask for these keys.
#[test]
fn published_packages_say_what_they_are() {
    for package in published() {
        let name = text(&package["name"]);
        for key in ["description", "license", "readme", "rust_version"] {
            assert!(!text(&package[key]).is_empty(), "{name}: no {key} in Cargo.toml");
        }
        let (keywords, categories) = (texts(&package["keywords"]), texts(&package["categories"]));
        assert!((1..=5).contains(&keywords.len()), "{name}: 1 to 5 keywords, not {keywords:?}");
        assert!((1..=5).contains(&categories.len()), "{name}: 1 to 5 categories, not {categories:?}");
        for word in keywords {
            let valid = word.len() <= 20
                && word.starts_with(|c: char| c.is_ascii_alphanumeric())
                && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-+".contains(c));
            assert!(valid, "{name}: a registry refuses the keyword {word}");
        }
    }
}

#[test]
fn published_packages_hold_what_they_need() {
    for package in published() {
        let name = text(&package["name"]);
        let listed = cargo(&["package", "--list", "--allow-dirty", "--offline", "-p", name]);
        let listed: BTreeSet<&str> = listed.lines().collect();
        let mut needed: Vec<String> =
            ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "src/lib.rs"].map(str::to_owned).into();
        if name == "optmsm-kernels" {
            for (part, prefix) in [("", ""), ("include", "include/"), ("ptx", "ptx/")] {
                let files = names(&root().join("kernels").join(part));
                needed.extend(files.into_iter().map(|file| format!("{prefix}{file}")));
            }
            assert!(needed.iter().any(|file| file == "ptx/MANIFEST"), "{needed:?}");
        }
        for file in needed {
            assert!(
                listed.contains(&*file),
                "{name}: {file} is not in the package; see include in Cargo.toml"
            );
        }
    }
}

/// A dependency that no source names is none.
#[test]
fn dependencies_are_used() {
    let members = members();
    let folders: Vec<_> = members.iter().map(folder).collect();
    for package in &members {
        let mut sources = String::new();
        read(&folder(package), &folders, &mut sources);
        for target in package["targets"].as_array().unwrap() {
            sources.push_str(&fs::read_to_string(text(&target["src_path"])).unwrap());
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = dependency["rename"].as_str().unwrap_or(text(&dependency["name"]));
            assert!(
                is_named(&sources, &name.replace('-', "_")),
                "{}: nothing uses {name}; take it out of Cargo.toml",
                text(&package["name"])
            );
        }
    }
}

/// Every dependency that the workspace lists is used by some package.
#[test]
fn dependencies_of_the_workspace_are_used() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, list) = manifest.split_once("[workspace.dependencies]\n").unwrap();
    let (list, _) = list.split_once("\n[").unwrap();
    let listed: Vec<_> = list.lines().filter_map(|l| l.split_once(" = ")).map(|(name, _)| name).collect();
    assert!(listed.len() > 20, "{listed:?}");
    let members = members();
    let taken: BTreeSet<&str> = members
        .iter()
        .flat_map(|package| package["dependencies"].as_array().unwrap())
        .map(|dependency| text(&dependency["name"]))
        .collect();
    for name in listed {
        assert!(taken.contains(name), "no package takes {name}; take it out of the root's Cargo.toml");
    }
}

/// `cargo update` could bring what the stated compiler refuses.
#[test]
fn dependencies_keep_to_the_rust_version() {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let facts = String::from_utf8(rustc.stdout).unwrap();
    let host = facts.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let text = cargo(&["metadata", "--locked", "--format-version", "1", "--filter-platform", host]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let used: BTreeSet<&str> = metadata["resolve"]["nodes"].as_array().unwrap().iter().map(id).collect();
    let own = members();
    let ours = version(&own[0]).expect("the workspace states its rust-version");
    for package in metadata["packages"].as_array().unwrap().iter().filter(|p| used.contains(id(p))) {
        let needed = version(package).unwrap_or_default();
        assert!(needed <= ours, "{} needs Rust {needed:?}, the workspace states {ours:?}", package["name"]);
    }
}

fn id(value: &Value) -> &str {
    text(&value["id"])
}

/// `[1, 89]` of a package's `rust-version = "1.89"`.
fn version(package: &Value) -> Option<Vec<u32>> {
    let parts = package["rust_version"].as_str()?.split('.');
    Some(parts.take(2).map(|part| part.parse().unwrap()).collect())
}

/// Adds the Rust sources of a package; packages inside it are others.
fn read(folder: &Path, others: &[PathBuf], sources: &mut String) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("target") && !others.contains(&path) {
            read(&path, others, sources);
        } else if path.extension().is_some_and(|e| e == "rs") {
            sources.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// Whether a line that is no comment has the name as a word.
fn is_named(sources: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    sources.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        line.match_indices(name)
            .any(|(at, _)| !line[..at].ends_with(word) && !line[at + name.len()..].starts_with(word))
    })
}

#[test]
fn names_are_words_of_code() {
    assert!(is_named("let x = half::f16::ONE;", "half"));
    assert!(is_named("use half;", "half"));
    assert!(!is_named("// half of it\nlet behalf = 1; let half_way = 2;", "half"));
}
