//! What made a result: program, sources, machine.

use std::process::Command;

use serde::Serialize;

/// What made a result.
#[derive(Clone, Debug, Serialize)]
pub struct Provenance {
    /// Version of this program.
    pub version: &'static str,
    /// Commit of the current folder, with `+` where files differ from it; none outside git.
    pub git: Option<String>,
    /// Name of the processor.
    pub cpu: String,
    /// Logical cores that the program may use.
    pub cores: usize,
    /// System and architecture.
    pub system: String,
}

impl Provenance {
    /// Of this process.
    pub fn here() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            git: git(),
            cpu: cpu(),
            cores: std::thread::available_parallelism().map_or(1, |n| n.get()),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

fn git() -> Option<String> {
    let ask = |args: &[&str]| {
        let out = Command::new("git").args(args).output().ok().filter(|out| out.status.success())?;
        Some(String::from_utf8_lossy(&out.stdout).trim().to_string())
    };
    let commit = ask(&["rev-parse", "HEAD"])?;
    let changed = ask(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
    Some(if changed { commit + "+" } else { commit })
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|l| l.starts_with("model name"));
    let name = line.and_then(|l| l.split_once(':')).map(|(_, name)| name.trim().to_string());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_string())
}
