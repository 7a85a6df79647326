//! The standard binary interface of MPI 5.0: a library of any implementation, found at run time. Handles are fixed numbers.
//!
//! Source: MPI: A Message-Passing Interface Standard, version 5.0, June 2025, chapter 20 and appendix A.

use std::error::Error;
use std::ffi::{c_int, c_void};
use std::path::Path;

use libloading::os::unix::{Library as Loaded, RTLD_LOCAL, RTLD_NOW};

use super::{At, Code, Functions, Job, Library, bytes, find, room};
use crate::launch::Launch;
use crate::{Comm, CommError, Result};

/// Version of the interface that the constants below belong to.
const VERSION: c_int = 1;
const SERIALIZED: c_int = 2048;

/// A handle of MPI: an address in the interface, but the predefined ones are small numbers.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Handle(usize);

const WORLD: Handle = Handle(0x101);
const ERRORS_RETURN: Handle = Handle(0x143);
const BYTE: Handle = Handle(0x247);

type Alltoallv = unsafe extern "C" fn(
    *const c_void,
    *const i64,
    *const isize,
    Handle,
    *mut c_void,
    *const i64,
    *const isize,
    Handle,
    Handle,
) -> Code;
type Allgatherv = unsafe extern "C" fn(
    *const c_void,
    i64,
    Handle,
    *mut c_void,
    *const i64,
    *const isize,
    Handle,
    Handle,
) -> Code;
type Bcast = unsafe extern "C" fn(*mut c_void, i64, Handle, c_int, Handle) -> Code;

/// Functions of the library: those with counts of 64 bits, so that nothing is too long.
struct Abi {
    functions: Functions<Handle, Handle>,
    alltoallv: Alltoallv,
    allgatherv: Allgatherv,
    bcast: Bcast,
}

/// The job that `launch` says this process is part of.
pub(crate) fn open(launch: &Launch) -> Result<impl Comm + use<>> {
    let mut tried = Vec::new();
    for candidate in find::candidates() {
        match load(&candidate) {
            Ok(abi) => return Job::new(abi, &candidate.display().to_string(), launch),
            Err(problem) => tried.push(format!("{}: {problem}", candidate.display())),
        }
    }
    Err(CommError::new(format!(
        "{} has started this process ({}), and no MPI library with the standard binary interface of MPI 5.0 can be loaded; {}; name \
         its path in {} if it is elsewhere (tried: {})",
        launch.launcher,
        launch.signs,
        launch.remedy,
        find::VARIABLE,
        tried.join("; ")
    )))
}

fn load(path: &Path) -> std::result::Result<Abi, String> {
    // SAFETY: a library of MPI; what it runs when it is loaded only prepares itself.
    let library = unsafe { Loaded::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    // It stays loaded, as its functions are kept, and it may have threads of its own.
    let library: &'static Loaded = Box::leak(Box::new(library.map_err(said)?));
    let none = |error| format!("it has not the standard interface: {}", said(error));
    let (abi, version) = symbols(library).map_err(none)?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: it may be called before MPI is initialized.
    let code = unsafe { version(&mut major, &mut minor) };
    // MPICH's own interface, of libmpi beside libmpi_abi.
    if major < 0 {
        return Err("it has not the standard interface, but its own".into());
    }
    if code != 0 || major != VERSION {
        return Err(format!("its standard interface is of version {major}.{minor}, and {VERSION} is needed"));
    }
    Ok(abi)
}

/// The loader's own words.
fn said(error: libloading::Error) -> String {
    error.source().map_or(error.to_string(), |source| source.to_string())
}

type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> Code;

fn symbols(library: &'static Loaded) -> std::result::Result<(Abi, Version), libloading::Error> {
    macro_rules! symbol {
        ($name:literal) => {
            // SAFETY: a function of this name has this type in the standard.
            *unsafe { library.get(concat!($name, "\0").as_bytes()) }?
        };
    }
    let functions = Functions {
        world: WORLD,
        errors_return: ERRORS_RETURN,
        serialized: SERIALIZED,
        initialized: symbol!("MPI_Initialized"),
        finalized: symbol!("MPI_Finalized"),
        init_thread: symbol!("MPI_Init_thread"),
        query_thread: symbol!("MPI_Query_thread"),
        finalize: symbol!("MPI_Finalize"),
        abort: symbol!("MPI_Abort"),
        error_string: symbol!("MPI_Error_string"),
        library_version: symbol!("MPI_Get_library_version"),
        comm_dup: symbol!("MPI_Comm_dup"),
        comm_free: symbol!("MPI_Comm_free"),
        set_errhandler: symbol!("MPI_Comm_set_errhandler"),
        comm_rank: symbol!("MPI_Comm_rank"),
        comm_size: symbol!("MPI_Comm_size"),
        barrier: symbol!("MPI_Barrier"),
    };
    let (alltoallv, allgatherv) = (symbol!("MPI_Alltoallv_c"), symbol!("MPI_Allgatherv_c"));
    let abi = Abi { functions, alltoallv, allgatherv, bcast: symbol!("MPI_Bcast_c") };
    Ok((abi, symbol!("MPI_Abi_get_version")))
}

/// Counts as MPI takes them, with the place where each part begins.
fn parts(counts: &[usize]) -> (Vec<i64>, Vec<isize>) {
    let mut next = 0;
    let first = |&count: &usize| {
        let first = next;
        next += count as isize;
        first
    };
    let firsts = counts.iter().map(first).collect();
    (counts.iter().map(|&count| count as i64).collect(), firsts)
}

impl Library for Abi {
    type Comm = Handle;
    type Errors = Handle;

    fn functions(&self) -> &Functions<Handle, Handle> {
        &self.functions
    }

    fn alltoallv(
        &self,
        at: &At<Handle>,
        send: &[u8],
        counts: &[usize],
        receive: &mut [u8],
        received: &[usize],
    ) -> Code {
        let (sent, from) = parts(counts);
        let (received, to) = parts(received);
        let (send, receive) = (bytes(send), room(receive));
        let call = self.alltoallv;
        // SAFETY: the parts lie within the buffers, and are one for each rank.
        unsafe {
            call(
                send,
                sent.as_ptr(),
                from.as_ptr(),
                BYTE,
                receive,
                received.as_ptr(),
                to.as_ptr(),
                BYTE,
                at.comm,
            )
        }
    }

    fn allgatherv(&self, at: &At<Handle>, send: &[u8], receive: &mut [u8], counts: &[usize]) -> Code {
        let (received, to) = parts(counts);
        let (from, length, receive) = (bytes(send), send.len() as i64, room(receive));
        // SAFETY: as above.
        unsafe {
            (self.allgatherv)(from, length, BYTE, receive, received.as_ptr(), to.as_ptr(), BYTE, at.comm)
        }
    }

    fn bcast(&self, at: &At<Handle>, data: &mut [u8], root: usize) -> Code {
        // SAFETY: the buffer is as long as it is said to be, and `root` is a rank.
        unsafe { (self.bcast)(room(data), data.len() as i64, BYTE, root as c_int, at.comm) }
    }
}
