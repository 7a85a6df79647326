//! One fault of the system: what happens, and at which call.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

use super::trace;

/// A run that takes longer hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Number of a system call.
pub(crate) type Call = i64;

/// Effect of a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    /// `kill -9` before the call is made.
    KillBefore,
    /// `kill -9` after it.
    KillAfter,
    /// The call is not made and returns this error.
    Fail(i32),
    /// The call reads or writes half of what it is asked to.
    Short,
}

/// When it happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The kind of call that counts; every one without.
    pub(crate) call: Option<Call>,
    /// Calls of the kind before the one that is struck.
    pub(crate) nth: usize,
    pub(crate) act: Act,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = self.call.map_or("system call".into(), trace::name);
        let nth = self.nth + 1;
        match self.act {
            Act::KillBefore => write!(f, "killed before {call} {nth}"),
            Act::KillAfter => write!(f, "killed after {call} {nth}"),
            Act::Fail(error) => write!(f, "{call} {nth} fails: {}", std::io::Error::from_raw_os_error(error)),
            Act::Short => write!(f, "{call} {nth} does half"),
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Had to be ended, for it hung.
    pub(crate) late: bool,
    /// The calls of all threads, in order.
    pub(crate) calls: Vec<Call>,
    /// Whether the fault came to happen.
    pub(crate) struck: bool,
}
