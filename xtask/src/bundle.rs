//! `cargo xtask gpu-bundle`: one folder to carry to a machine with a GPU and without Rust.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use optmsm_ptx::target_dir;
use serde_json::Value;

use crate::bench::{self, Result};

/// Most bytes of a bundle.
const MOST: u64 = 60_000_000;
/// Programs by the name that `run.sh` knows: what cargo makes, and whether it is a test.
const PROGRAMS: [(&str, bool); 4] = [("device", true), ("cuda", true), ("gpu", false), ("optmsm", false)];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder, which must be empty or a bundle; target/gpu-bundle when not given.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Builds the programs, and puts them with PTX, fixtures, peers and `run.sh` into the folder.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask has no parent folder")?;
    let out = args.out.clone().unwrap_or_else(|| target_dir(root).join("gpu-bundle"));
    clear(&out)?;
    // The build is of the sources as they are now.
    let now = bench::now(root)?;
    let folder = |name: &str| -> Result<PathBuf> {
        let path = out.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    };
    let bin = folder("bin")?;
    let tests = cargo(
        root,
        &[
            "test",
            "--no-run",
            "-p",
            "optmsm-cuda",
            "-p",
            "optmsm-tests",
            "--test",
            "device",
            "--test",
            "cuda",
        ],
    )?;
    let programs = cargo(
        root,
        &["build", "-p", "optmsm-benches", "-p", "optmsm-train", "--bin", "gpu", "--bin", "optmsm"],
    )?;
    for (name, is_test) in PROGRAMS {
        let from = executable(if is_test { &tests } else { &programs }, name, is_test)?;
        let to = bin.join(name);
        fs::copy(&from, &to)?;
        let status = Command::new("strip").arg(&to).status();
        let status = status.map_err(|e| format!("strip cannot be started: {e}; install binutils"))?;
        if !status.success() {
            return Err(format!("strip {} failed ({status})", to.display()).into());
        }
    }
    copy(&root.join("kernels/ptx"), &folder("ptx")?, |name| name == "MANIFEST" || name.ends_with(".ptx"))?;
    copy(&root.join("tests/fixtures"), &folder("fixtures")?, |name| name.ends_with(".safetensors"))?;
    copy(&root.join("benches/peers"), &folder("peers")?, |name| name.ends_with(".py"))?;
    let line = ["commit", "rustc"].map(|key| now[key].as_str().unwrap_or("unknown"));
    fs::write(out.join("COMMIT"), format!("OptMSM {}, {}\n", line[0], line[1]))?;
    let script = out.join("run.sh");
    fs::write(&script, include_str!("run.sh"))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let bytes = size(&out)?;
    println!("{}: {:.1} MB; on the machine with a GPU: ./run.sh", out.display(), bytes as f64 / 1e6);
    if bytes > MOST {
        return Err(format!("a bundle may have {} MB", MOST / 1_000_000).into());
    }
    Ok(())
}

/// Removes an earlier bundle; refuses to touch anything else.
fn clear(out: &Path) -> Result<()> {
    if out.join("run.sh").is_file() && out.join("COMMIT").is_file() {
        fs::remove_dir_all(out)?;
    }
    fs::create_dir_all(out)?;
    if fs::read_dir(out)?.next().is_some() {
        return Err(format!("{} is not empty and no bundle; give another folder", out.display()).into());
    }
    Ok(())
}

/// Runs cargo on the release profile; its messages.
fn cargo(root: &Path, arguments: &[&str]) -> Result<Vec<Value>> {
    let mut command = Command::new("cargo");
    command.current_dir(root).args(arguments).args(["--release", "--message-format=json-render-diagnostics"]);
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|e| format!("{command:?} cannot be started: {e}"))?;
    if !output.status.success() {
        return Err(format!("{command:?} failed ({})", output.status).into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The file that cargo made of a target.
fn executable(messages: &[Value], name: &str, is_test: bool) -> Result<PathBuf> {
    let made = |m: &&Value| m["target"]["name"] == name && m["profile"]["test"] == is_test;
    let found = messages.iter().filter(made).find_map(|m| m["executable"].as_str());
    Ok(found.ok_or_else(|| format!("cargo made no executable of {name}"))?.into())
}

/// Copies the files whose names fit.
fn copy(from: &Path, to: &Path, fits: impl Fn(&str) -> bool) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if fits(&entry.file_name().to_string_lossy()) {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Bytes of all files in a folder.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_of_a_target_is_found() {
        let message = |name: &str, test: bool, file: Option<&str>| serde_json::json!({"reason": "compiler-artifact", "target": {"name": name}, "profile": {"test": test}, "executable": file});
        let all = [
            message("gpu", true, Some("a")),
            message("gpu", false, None),
            message("gpu", false, Some("b")),
            serde_json::json!({"reason": "build-finished"}),
        ];
        assert_eq!(executable(&all, "gpu", false).unwrap(), Path::new("b"));
        assert_eq!(
            executable(&all, "cuda", true).unwrap_err().to_string(),
            "cargo made no executable of cuda"
        );
    }

    #[test]
    fn a_folder_that_is_no_bundle_is_left_alone() {
        let folder = std::env::temp_dir().join(format!("optmsm-bundle-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("mine"), "x").unwrap();
        assert!(
            clear(&folder)
                .unwrap_err()
                .to_string()
                .ends_with("is not empty and no bundle; give another folder")
        );
        assert!(folder.join("mine").is_file());
        fs::write(folder.join("run.sh"), "").unwrap();
        fs::write(folder.join("COMMIT"), "").unwrap();
        clear(&folder).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir(&folder).unwrap();
    }
}
