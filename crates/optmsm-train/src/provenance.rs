//! Provenance of a result: program and machine. No version control is asked: in a folder that a stranger prepared, `git` runs what the
//! folder says.

use serde::Serialize;

/// Program and machine that made a result.
#[derive(Clone, Debug, Serialize)]
pub struct Provenance {
    /// Version of this program.
    pub version: &'static str,
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
            cpu: cpu(),
            cores: std::thread::available_parallelism().map_or(1, |n| n.get()),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|l| l.starts_with("model name"));
    let name = line.and_then(|l| l.split_once(':')).map(|(_, name)| name.trim().to_string());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_string())
}
