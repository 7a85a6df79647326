//! Ranks that are processes of an MPI job. The library is found at run time ([`abi`]), or the program is linked with it ([`linked`]).

#[cfg(all(feature = "abi", not(feature = "mpi")))]
mod abi;
#[cfg(all(feature = "abi", not(feature = "mpi")))]
mod find;
#[cfg(feature = "mpi")]
mod linked;

use std::ffi::{c_char, c_int, c_void};
use std::fmt;
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use crate::launch::Launch;
use crate::{Comm, CommError, Result, check};

#[cfg(all(feature = "abi", not(feature = "mpi")))]
pub(crate) use abi::open;
#[cfg(feature = "mpi")]
pub(crate) use linked::open;

/// Longest text of MPI: MPI_MAX_LIBRARY_VERSION_STRING of the standard interface and of MPICH.
const MOST_TEXT: usize = 8192;

/// How often, and how far apart, [`Comm::abort`] looks whether a call of another thread has returned: a second.
const ABORT_TRIES: usize = 100;
const ABORT_PAUSE: Duration = Duration::from_millis(10);

/// A code of MPI: 0 is success.
type Code = c_int;

/// A library of MPI, with what the two ways to it have in common. `C` is a communicator, `E` an error handler.
struct Functions<C, E> {
    world: C,
    errors_return: E,
    serialized: c_int,
    initialized: unsafe extern "C" fn(*mut c_int) -> Code,
    finalized: unsafe extern "C" fn(*mut c_int) -> Code,
    init_thread: unsafe extern "C" fn(*mut c_int, *mut *mut *mut c_char, c_int, *mut c_int) -> Code,
    query_thread: unsafe extern "C" fn(*mut c_int) -> Code,
    finalize: unsafe extern "C" fn() -> Code,
    abort: unsafe extern "C" fn(C, c_int) -> Code,
    error_string: unsafe extern "C" fn(c_int, *mut c_char, *mut c_int) -> Code,
    library_version: unsafe extern "C" fn(*mut c_char, *mut c_int) -> Code,
    comm_dup: unsafe extern "C" fn(C, *mut C) -> Code,
    comm_free: unsafe extern "C" fn(*mut C) -> Code,
    set_errhandler: unsafe extern "C" fn(C, E) -> Code,
    comm_rank: unsafe extern "C" fn(C, *mut c_int) -> Code,
    comm_size: unsafe extern "C" fn(C, *mut c_int) -> Code,
    barrier: unsafe extern "C" fn(C) -> Code,
}

/// Behaviour of each way on its own.
///
/// The operations are those of [`Comm`]. Counts are one for each rank and fill their buffers, and `root` is a rank; calls come one at
/// a time.
trait Library {
    type Comm: Copy;
    type Errors: Copy;

    fn functions(&self) -> &Functions<Self::Comm, Self::Errors>;
    fn alltoallv(
        &self,
        job: &At<Self::Comm>,
        send: &[u8],
        counts: &[usize],
        receive: &mut [u8],
        received: &[usize],
    ) -> Code;
    fn allgatherv(&self, job: &At<Self::Comm>, send: &[u8], receive: &mut [u8], counts: &[usize]) -> Code;
    fn bcast(&self, job: &At<Self::Comm>, data: &mut [u8], root: usize) -> Code;
}

/// The place of a process in a job.
#[derive(Clone, Copy)]
struct At<C> {
    comm: C,
    rank: usize,
    size: usize,
}

/// A rank of an MPI job, with a communicator of its own: what else the process does with MPI does not meet its messages.
struct Job<L: Library> {
    library: L,
    /// Name and version, for messages.
    version: String,
    at: At<L::Comm>,
    /// Whether MPI is initialized by this, which then finalizes it.
    initialized: bool,
    /// Held during each call; whether one has failed.
    failed: Mutex<bool>,
}

// SAFETY: what keeps it from being Send and Sync is a handle of MPI, which all threads may use: MPI_THREAD_SERIALIZED is provided,
// and calls come one at a time, since `failed` is locked during each.
unsafe impl<L: Library> Send for Job<L> {}
// SAFETY: as above.
unsafe impl<L: Library> Sync for Job<L> {}

impl<L: Library> Job<L> {
    /// Initializes MPI, unless others have done so in this process. `name` says in messages which library that is.
    fn new(library: L, name: &str, launch: &Launch) -> Result<Self> {
        let f = library.functions();
        // SAFETY: these may be called at any time.
        let version = text(|to, length| unsafe { (f.library_version)(to, length) });
        // Only the first line is the version; MPICH tells how it was built, too.
        let version = format!(
            "{name} ({})",
            version
                .lines()
                .next()
                .unwrap_or("of unknown version")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        );
        launch.known_to(&version)?;
        let bad = |what: &str, code: Code| failure(f, what, code, &version);
        let number = |what: &str, ask: &dyn Fn(*mut c_int) -> Code| {
            let mut number = 0;
            let code = ask(&mut number);
            if code == 0 { Ok(number) } else { Err(bad(what, code)) }
        };
        // SAFETY: as above.
        if number("MPI_Finalized", &|to| unsafe { (f.finalized)(to) })? != 0 {
            return Err(CommError::new(format!(
                "{version} was finalized in this process, and starts only once; keep the handle of the job until the last use"
            )));
        }
        // SAFETY: as above.
        let initialized = number("MPI_Initialized", &|to| unsafe { (f.initialized)(to) })? == 0;
        let provided = if initialized {
            // SAFETY: MPI is not initialized, nor finalized; arguments of the program may be missing.
            number("MPI_Init_thread", &|to| unsafe {
                (f.init_thread)(null_mut(), null_mut(), f.serialized, to)
            })?
        } else {
            // SAFETY: MPI is initialized.
            number("MPI_Query_thread", &|to| unsafe { (f.query_thread)(to) })?
        };
        // Levels grow with what they allow.
        if provided < f.serialized {
            return Err(CommError::new(format!(
                "{version} does not allow calls from several threads, one at a time (MPI_THREAD_SERIALIZED); use one that was built \
                 for threads, or have whatever else initializes MPI in this process ask for it"
            )));
        }
        let mut comm = f.world;
        // SAFETY: MPI is initialized, and all ranks come here; `comm` outlives the call.
        let code = unsafe { (f.comm_dup)(f.world, &mut comm) };
        if code != 0 {
            return Err(bad("MPI_Comm_dup", code));
        }
        // SAFETY: a communicator and an error handler of this library.
        let code = unsafe { (f.set_errhandler)(comm, f.errors_return) };
        if code != 0 {
            return Err(bad("MPI_Comm_set_errhandler", code));
        }
        // SAFETY: a communicator of this library.
        let rank = number("MPI_Comm_rank", &|to| unsafe { (f.comm_rank)(comm, to) })?;
        // SAFETY: as above.
        let size = number("MPI_Comm_size", &|to| unsafe { (f.comm_size)(comm, to) })?;
        let at = At { comm, rank: rank as usize, size: size as usize };
        Ok(Self { library, version, at, initialized, failed: Mutex::new(false) })
    }

    /// Calls MPI, one at a time. After a failure nothing works any more: ranks do not agree on which operation comes next.
    fn call(&self, what: &str, call: impl FnOnce(&L, &At<L::Comm>) -> Code) -> Result<()> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let At { rank, size, .. } = self.at;
        if *failed {
            return Err(CommError::new(format!(
                "rank {rank} of {size}: {what}: an operation before has failed"
            )));
        }
        match call(&self.library, &self.at) {
            0 => Ok(()),
            code => {
                *failed = true;
                let of = format!("rank {rank} of {size}, {}", self.version);
                Err(failure(self.library.functions(), what, code, &of))
            }
        }
    }
}

/// A code of MPI as an error.
fn failure<C, E>(f: &Functions<C, E>, what: &str, code: Code, of: &str) -> CommError {
    // SAFETY: an MPI that returns codes knows their texts.
    let said = text(|to, length| unsafe { (f.error_string)(code, to, length) });
    CommError::new(format!("{of}: {what} failed: {}", said.trim()))
}

/// A text that MPI writes.
fn text(ask: impl FnOnce(*mut c_char, *mut c_int) -> Code) -> String {
    let (mut text, mut length) = (vec![0u8; MOST_TEXT], 0);
    let code = ask(text.as_mut_ptr().cast(), &mut length);
    text.truncate(if code == 0 { length.max(0) as usize } else { 0 });
    String::from_utf8_lossy(&text).trim_end_matches('\0').into()
}

impl<L: Library> Comm for Job<L> {
    fn rank(&self) -> usize {
        self.at.rank
    }

    fn size(&self) -> usize {
        self.at.size
    }

    fn barrier(&self) -> Result<()> {
        // SAFETY: a communicator of this library.
        self.call("MPI_Barrier", |library, at| unsafe { (library.functions().barrier)(at.comm) })
    }

    fn alltoallv(&self, send: &[u8], counts: &[usize], receive: &mut [u8], received: &[usize]) -> Result<()> {
        check::parts(self, "sent", send, counts)?;
        check::parts(self, "received", receive, received)?;
        let (sent, expected) = (counts[self.at.rank], received[self.at.rank]);
        if sent != expected {
            return Err(CommError::new(check::other(self.at.rank, sent, expected)));
        }
        self.call("MPI_Alltoallv", |library, at| library.alltoallv(at, send, counts, receive, received))
    }

    fn allgatherv(&self, send: &[u8], receive: &mut [u8], counts: &[usize]) -> Result<()> {
        check::parts(self, "received", receive, counts)?;
        if counts[self.at.rank] != send.len() {
            return Err(CommError::new(check::other(self.at.rank, send.len(), counts[self.at.rank])));
        }
        self.call("MPI_Allgatherv", |library, at| library.allgatherv(at, send, receive, counts))
    }

    fn bcast(&self, data: &mut [u8], root: usize) -> Result<()> {
        check::root(self, root)?;
        self.call("MPI_Bcast", |library, at| library.bcast(at, data, root))
    }

    fn abort(&self, code: i32) -> ! {
        // Another thread may be in a call, and even in one that waits for a rank that never comes.
        for _ in 0..ABORT_TRIES {
            let lock = self.failed.try_lock();
            if !matches!(lock, Err(TryLockError::WouldBlock)) {
                let f = self.library.functions();
                // SAFETY: MPI is initialized, not finalized before this drops, and in no other call.
                unsafe { (f.abort)(f.world, code) };
                break;
            }
            std::thread::sleep(ABORT_PAUSE);
        }
        // Launchers end the job when a rank ends without MPI_Finalize.
        // SAFETY: it ends the process, without what runs at an ordinary end, where MPI might wait for the other thread.
        unsafe { libc::_exit(code) }
    }
}

impl<L: Library> Drop for Job<L> {
    /// Finalizes, which waits for the other ranks. After a failure it might wait for ever, so the process ends without, and the
    /// launcher ends the others.
    fn drop(&mut self) {
        let failed = *self.failed.get_mut().unwrap_or_else(PoisonError::into_inner);
        if failed || std::thread::panicking() {
            return;
        }
        let f = self.library.functions();
        // SAFETY: nobody uses the communicator any more.
        unsafe { (f.comm_free)(&mut self.at.comm) };
        if self.initialized {
            // SAFETY: MPI is initialized by this.
            unsafe { (f.finalize)() };
        }
    }
}

impl<L: Library> fmt::Debug for Job<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let At { rank, size, .. } = self.at;
        write!(f, "rank {rank} of {size}, {}", self.version)
    }
}

/// Bytes for MPI to read. Nothing to read is at an address too: an empty slice may be at 1, which is MPI_IN_PLACE.
fn bytes(from: &[u8]) -> *const c_void {
    static NOTHING: u8 = 0;
    if from.is_empty() { (&raw const NOTHING).cast() } else { from.as_ptr().cast() }
}

/// Room for MPI to write.
fn room(to: &mut [u8]) -> *mut c_void {
    if to.is_empty() { bytes(to).cast_mut() } else { to.as_mut_ptr().cast() }
}
