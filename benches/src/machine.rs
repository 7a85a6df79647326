//! Description of the machine that a measurement was taken on.

use std::fs::read_to_string;
use std::path::Path;

use serde_json::{Value, json};

/// Model of the processor, cores that this process may use, caches of one core.
pub fn describe() -> Value {
    let info = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|(_, v)| v));
    let caches: Vec<String> = (0..8).filter_map(cache).collect();
    json!({
        "cpu": model.unwrap_or("unknown"),
        "cores": cores(),
        "caches": caches,
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
    })
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// For example `L2 1024K`.
fn cache(index: usize) -> Option<String> {
    let folder = Path::new("/sys/devices/system/cpu/cpu0/cache").join(format!("index{index}"));
    let read = |name: &str| read_to_string(folder.join(name)).ok().map(|v| v.trim().to_string());
    let kind = read("type")?;
    let kind = if kind == "Unified" { String::new() } else { format!(" {}", kind.to_lowercase()) };
    Some(format!("L{}{kind} {}", read("level")?, read("size")?))
}
