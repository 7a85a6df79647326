//! Where no process may trace another: kills come at random times.
#![cfg_attr(
    all(target_os = "linux", target_arch = "x86_64"),
    allow(dead_code, reason = "only runs without a fault are made")
)]

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::fault::{Act, Call, Ended, Fault, LIMIT};

/// No process may trace another here, or no call be seen.
pub(crate) fn allowed() -> bool {
    false
}

/// No call can be made to fail.
pub(crate) fn acts(_: Call) -> &'static [Act] {
    &[]
}

/// A call is a millisecond.
pub(crate) fn name(_: Call) -> String {
    "millisecond".into()
}

const TICK: Duration = Duration::from_millis(1);

/// Runs a command to its end. A fault is a kill; each millisecond stands for a system call.
///
/// # Errors
/// The program cannot be started or waited for.
pub(crate) fn run(command: &mut Command, fault: Option<Fault>) -> io::Result<Ended> {
    let begun = Instant::now();
    let mut child = command.spawn()?;
    let first = fault.map_or(LIMIT, |fault| TICK * fault.nth as u32);
    let (mut status, mut late) = (until(&mut child, begun + first)?, false);
    let struck = status.is_none();
    if struck {
        late = fault.is_none();
        child.kill()?;
        status = Some(child.wait()?);
    }
    let calls = vec![0; begun.elapsed().as_millis() as usize + 1];
    Ok(Ended { status: status.unwrap_or_default(), late, calls, struck })
}

/// How the child ended, if it did in time.
fn until(child: &mut Child, end: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= end {
            return Ok(status);
        }
        sleep(TICK);
    }
}
