//! The program run under ptrace, which sees every system call of every thread, however it is made: calls are noted, and one
//! of them can be killed, failed or cut short.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::fault::{Act, Call, Ended, Fault, LIMIT};

/// Whether one process may trace another here: not in every container.
pub(crate) fn allowed() -> bool {
    run(&mut Command::new("true"), None).is_ok()
}

/// Runs a command to its end. The fault strikes at most once.
///
/// # Errors
/// The program cannot be started or traced.
pub(crate) fn run(command: &mut Command, fault: Option<Fault>) -> io::Result<Ended> {
    // SAFETY: between fork and exec the closure makes one system call, which neither allocates nor locks.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(io::Error::from)) };
    let child = Pid::from_raw(command.spawn()?.id() as i32);
    waitpid(child, Some(WaitPidFlag::__WALL))?;
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(child, options)?;
    let (done, waiting) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let late = waiting.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
        if late {
            kill(child, Signal::SIGKILL).ok();
        }
        late
    });
    let mut tracer = Tracer { child, fault, armed: false, inside: HashMap::new(), calls: Vec::new() };
    let status = tracer.follow()?;
    drop(done);
    let late = watchdog.join().unwrap_or(true);
    Ok(Ended { status, late, calls: tracer.calls, struck: fault.is_some() && tracer.fault.is_none() })
}

/// Calls that can fail or come short, and how. Memory is left out: an allocator that gets none ends any program.
const FAILING: [(Call, &str, &[Act]); 26] = {
    use Act::{Fail, Short};
    const WRITE: &[Act] =
        &[Short, Fail(libc::ENOSPC), Fail(libc::EIO), Fail(libc::EDQUOT), Fail(libc::EINTR)];
    const OPEN: &[Act] =
        &[Fail(libc::EMFILE), Fail(libc::EACCES), Fail(libc::EIO), Fail(libc::ENOSPC), Fail(libc::EINTR)];
    const READ: &[Act] = &[Short, Fail(libc::EIO), Fail(libc::EINTR)];
    const SYNC: &[Act] = &[Fail(libc::EIO), Fail(libc::ENOSPC), Fail(libc::EINTR)];
    const NAME: &[Act] = &[Fail(libc::ENOSPC), Fail(libc::EIO), Fail(libc::EACCES)];
    const STAT: &[Act] = &[Fail(libc::EIO), Fail(libc::EACCES)];
    const THREAD: &[Act] = &[Fail(libc::EAGAIN)];
    [
        (libc::SYS_write, "write", WRITE),
        (libc::SYS_pwrite64, "pwrite64", WRITE),
        (libc::SYS_copy_file_range, "copy_file_range", WRITE),
        (libc::SYS_openat, "openat", OPEN),
        (libc::SYS_read, "read", READ),
        (libc::SYS_pread64, "pread64", READ),
        (libc::SYS_getdents64, "getdents64", &[Fail(libc::EIO)]),
        (libc::SYS_fsync, "fsync", SYNC),
        (libc::SYS_fdatasync, "fdatasync", SYNC),
        (libc::SYS_ftruncate, "ftruncate", SYNC),
        (libc::SYS_fallocate, "fallocate", SYNC),
        (libc::SYS_rename, "rename", NAME),
        (libc::SYS_renameat2, "renameat2", NAME),
        (libc::SYS_link, "link", NAME),
        (libc::SYS_linkat, "linkat", NAME),
        (libc::SYS_mkdir, "mkdir", NAME),
        (libc::SYS_unlink, "unlink", STAT),
        (libc::SYS_unlinkat, "unlinkat", STAT),
        (libc::SYS_flock, "flock", &[Fail(libc::EINTR), Fail(libc::ENOLCK)]),
        (libc::SYS_statx, "statx", STAT),
        (libc::SYS_readlink, "readlink", STAT),
        (libc::SYS_lseek, "lseek", &[Fail(libc::EIO)]),
        (libc::SYS_fchmod, "fchmod", &[Fail(libc::EPERM), Fail(libc::EIO)]),
        (libc::SYS_getcwd, "getcwd", &[Fail(libc::ENOENT)]),
        (libc::SYS_clone, "clone", THREAD),
        (libc::SYS_clone3, "clone3", THREAD),
    ]
};

/// How a call can fail; in no way for those that the harness leaves alone.
pub(crate) fn acts(call: Call) -> &'static [Act] {
    FAILING.iter().find(|(number, ..)| *number == call).map_or(&[], |(.., acts)| acts)
}

/// A call's name, where a failure is of interest.
pub(crate) fn name(call: Call) -> String {
    let known = FAILING.iter().find(|(number, ..)| *number == call);
    known.map_or_else(|| format!("system call {call}"), |(_, name, _)| name.to_string())
}

struct Tracer {
    child: Pid,
    /// None once it has struck.
    fault: Option<Fault>,
    /// Whether the program itself runs, no longer its loader.
    armed: bool,
    /// Threads inside a system call, with what becomes of it.
    inside: HashMap<Pid, Option<Act>>,
    calls: Vec<Call>,
}

impl Tracer {
    /// Until the child has ended.
    fn follow(&mut self) -> io::Result<ExitStatus> {
        ptrace::syscall(self.child, None)?;
        let any = Some(Pid::from_raw(-1));
        // Other threads of the harness may wait for children of their own.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            let (thread, signal) = match waitpid(any, Some(flags)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.child => {
                    return Ok(ExitStatus::from_raw(code << 8));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.child => {
                    return Ok(ExitStatus::from_raw(signal as i32));
                }
                Ok(WaitStatus::PtraceSyscall(thread)) => {
                    // A thread that is gone, for another one's fault killed it, needs no answer.
                    self.call(thread).ok();
                    (thread, None)
                }
                // The first stop of a new thread.
                Ok(WaitStatus::Stopped(thread, Signal::SIGSTOP)) => (thread, None),
                Ok(WaitStatus::Stopped(thread, signal)) => (thread, Some(signal)),
                Ok(WaitStatus::PtraceEvent(thread, ..)) => (thread, None),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(e) => return Err(e.into()),
            };
            ptrace::syscall(thread, signal).ok();
        }
    }

    /// A thread stands before or after a system call.
    fn call(&mut self, thread: Pid) -> nix::Result<()> {
        let mut registers = ptrace::getregs(thread)?;
        if let Some(act) = self.inside.remove(&thread) {
            match act {
                Some(Act::KillAfter) => kill(self.child, Signal::SIGKILL)?,
                Some(Act::Fail(error)) => {
                    registers.rax = i64::from(-error) as u64;
                    ptrace::setregs(thread, registers)?;
                }
                _ => {}
            }
            return Ok(());
        }
        let call = registers.orig_rax as Call;
        // The runtime of Rust sets up the stack for this before `main`; whatever came earlier was the loader's.
        self.armed |= call == libc::SYS_sigaltstack;
        let act = if self.armed { self.strikes(call) } else { None };
        match act {
            Some(Act::KillBefore) => kill(self.child, Signal::SIGKILL)?,
            Some(Act::Fail(_)) => {
                // No system call has this number: the kernel does nothing.
                registers.orig_rax = u64::MAX;
                ptrace::setregs(thread, registers)?;
            }
            Some(Act::Short) => {
                registers.rdx = registers.rdx.div_ceil(2);
                ptrace::setregs(thread, registers)?;
            }
            _ => {}
        }
        self.inside.insert(thread, act);
        Ok(())
    }

    /// Notes a call; what the fault does to it.
    fn strikes(&mut self, call: Call) -> Option<Act> {
        self.calls.push(call);
        let fault = self.fault.as_mut().filter(|fault| fault.call.is_none_or(|c| c == call))?;
        if fault.nth > 0 {
            fault.nth -= 1;
            return None;
        }
        self.fault.take().map(|fault| fault.act)
    }
}
