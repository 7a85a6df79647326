//! Signals: the first one asks for a clean stop, the second takes the program down.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};

use crate::error::{Error, INTERRUPTED, Result};
use signal_hook::consts::{self, SIGINT, SIGTERM};
use signal_hook::flag;

static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Becomes true when the user interrupts the program, or a caller the command. A signal that was ignored when the program began (`nohup`, the background
/// jobs of a script) stays ignored.
pub(super) fn stop_on_interrupt() -> Result<Arc<AtomicBool>> {
    if let Some(stop) = super::host::stop() {
        return Ok(stop);
    }
    register().map_err(|e| Error::system("signals", "handled", e, "run as an ordinary process"))?;
    Ok(STOP.clone())
}

fn register() -> io::Result<()> {
    #[cfg(unix)]
    let signals = [consts::SIGHUP, SIGINT, SIGTERM].into_iter().filter(|&signal| !is_ignored(signal));
    #[cfg(not(unix))]
    let signals = [SIGINT, SIGTERM];
    for signal in signals {
        // Before what sets the flag: the first signal finds it false.
        flag::register_conditional_shutdown(signal, INTERRUPTED.into(), STOP.clone())?;
        flag::register(signal, STOP.clone())?;
    }
    // The limit of CPU time: it comes again every second, while the run is saved.
    #[cfg(unix)]
    flag::register(consts::SIGXCPU, STOP.clone())?;
    Ok(())
}

/// Has a file that grows beyond the limit of the process (`ulimit -f`) be an error of the write rather than the end of the program.
pub(super) fn survive_file_limits() {
    // Nobody looks at the flag: a signal that is handled lets the write fail.
    #[cfg(unix)]
    flag::register(consts::SIGXFSZ, Arc::default()).ok();
}

/// Whether the process that started this one had it ignore a signal.
#[cfg(target_os = "linux")]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Whether the process that started this one had it ignore a signal: a shell that inherits that survives the signal.
#[cfg(all(unix, not(target_os = "linux")))]
fn is_ignored(signal: i32) -> bool {
    let script = format!("kill -{signal} $$; exit 0");
    let shell = std::process::Command::new("/bin/sh").args(["-c", &script]).status();
    shell.is_ok_and(|status| status.success())
}
