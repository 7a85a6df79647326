//! The MPI that the program is built with and linked to, through the bindings that rsmpi generates from its header. Its counts and
//! places are of 32 bits, so what is longer is cut.

use std::ffi::c_int;

use mpi_sys::{MPI_Comm, MPI_Errhandler};

use super::{At, Code, Functions, Job, Library, bytes, room};
use crate::launch::Launch;
use crate::{Comm, CommError, Result};

/// The variable that names a library for builds that look for one.
const NAMED: &str = "OPTMSM_MPI";
/// The variable that lowers the most bytes of a call, on all ranks alike: so tests cut what is short.
const VARIABLE: &str = "OPTMSM_MPI_MOST";

struct Linked {
    functions: Functions<MPI_Comm, MPI_Errhandler>,
    /// Most bytes that a call takes.
    most: usize,
}

/// The job that this process is part of.
pub(crate) fn open(launch: &Launch) -> Result<impl Comm + use<>> {
    if let Some(path) = std::env::var_os(NAMED).filter(|path| !path.is_empty()) {
        return Err(CommError::new(format!(
            "{NAMED}={}: this program is built with the cargo feature `mpi`, and takes no other MPI than that of its build; unset the \
             variable, or use a program without that feature",
            path.display()
        )));
    }
    let most = match std::env::var(VARIABLE) {
        Ok(most) => {
            most.parse().ok().filter(|most| (1..=c_int::MAX as usize).contains(most)).ok_or_else(|| {
                let range = c_int::MAX;
                CommError::new(format!("{VARIABLE}={most}: the most bytes of a call of MPI are 1 to {range}"))
            })?
        }
        Err(_) => c_int::MAX as usize,
    };
    // SAFETY: constants, set when the program starts.
    let (world, errors_return, serialized) = unsafe {
        (mpi_sys::RSMPI_COMM_WORLD, mpi_sys::RSMPI_ERRORS_RETURN, mpi_sys::RSMPI_THREAD_SERIALIZED)
    };
    let functions = Functions {
        world,
        errors_return,
        serialized,
        initialized: mpi_sys::MPI_Initialized,
        finalized: mpi_sys::MPI_Finalized,
        init_thread: mpi_sys::MPI_Init_thread,
        query_thread: mpi_sys::MPI_Query_thread,
        finalize: mpi_sys::MPI_Finalize,
        abort: mpi_sys::MPI_Abort,
        error_string: mpi_sys::MPI_Error_string,
        library_version: mpi_sys::MPI_Get_library_version,
        comm_dup: mpi_sys::MPI_Comm_dup,
        comm_free: mpi_sys::MPI_Comm_free,
        set_errhandler: mpi_sys::MPI_Comm_set_errhandler,
        comm_rank: mpi_sys::MPI_Comm_rank,
        comm_size: mpi_sys::MPI_Comm_size,
        barrier: mpi_sys::MPI_Barrier,
    };
    Job::new(Linked { functions, most }, "the MPI of the program's build", launch)
}

/// Type of the bytes.
fn byte() -> mpi_sys::MPI_Datatype {
    // SAFETY: a constant, set when the program starts.
    unsafe { mpi_sys::RSMPI_UINT8_T }
}

/// Counts as MPI takes them, with the place where each part begins.
fn parts(counts: &[usize]) -> (Vec<c_int>, Vec<c_int>) {
    let mut next = 0;
    let first = |&count: &usize| {
        let first = next;
        next += count as c_int;
        first
    };
    let firsts = counts.iter().map(first).collect();
    (counts.iter().map(|&count| count as c_int).collect(), firsts)
}

/// The first failure.
fn all(codes: impl IntoIterator<Item = Code>) -> Code {
    codes.into_iter().find(|&code| code != 0).unwrap_or(0)
}

impl Linked {
    /// The parts of one call, all of them together no longer than it takes.
    fn short(
        &self,
        at: &At<MPI_Comm>,
        send: &[u8],
        counts: &[usize],
        receive: &mut [u8],
        received: &[usize],
    ) -> Code {
        let (sent, from) = parts(counts);
        let (received, to) = parts(received);
        let (send, receive) = (bytes(send), room(receive));
        let (sent, from, received, to) = (sent.as_ptr(), from.as_ptr(), received.as_ptr(), to.as_ptr());
        // SAFETY: the parts lie within the buffers, and are one for each rank.
        unsafe { mpi_sys::MPI_Alltoallv(send, sent, from, byte(), receive, received, to, byte(), at.comm) }
    }

    /// Sends bytes to one rank, and receives from one, piece by piece.
    fn pair(&self, at: &At<MPI_Comm>, to: usize, send: &[u8], from: usize, receive: &mut [u8]) -> Code {
        let (mut out, mut into) = (send.chunks(self.most), receive.chunks_mut(self.most));
        // SAFETY: constants, set when the program starts.
        let (nobody, no_status) = unsafe { (mpi_sys::RSMPI_PROC_NULL, mpi_sys::RSMPI_STATUS_IGNORE) };
        loop {
            let (piece, space) = match (out.next(), into.next()) {
                (None, None) => return 0,
                pieces => pieces,
            };
            let to = if piece.is_some() { to as c_int } else { nobody };
            let from = if space.is_some() { from as c_int } else { nobody };
            let (piece, space) = (piece.unwrap_or_default(), space.unwrap_or_default());
            let (sent, received) = (piece.len() as c_int, space.len() as c_int);
            let (piece, space) = (bytes(piece), room(space));
            // SAFETY: the pieces are as long as they are said to be; ranks and types are of this MPI.
            let code = unsafe {
                mpi_sys::MPI_Sendrecv(
                    piece,
                    sent,
                    byte(),
                    to,
                    0,
                    space,
                    received,
                    byte(),
                    from,
                    0,
                    at.comm,
                    no_status,
                )
            };
            if code != 0 {
                return code;
            }
        }
    }
}

impl Library for Linked {
    type Comm = MPI_Comm;
    type Errors = MPI_Errhandler;

    fn functions(&self) -> &Functions<MPI_Comm, MPI_Errhandler> {
        &self.functions
    }

    fn alltoallv(
        &self,
        at: &At<MPI_Comm>,
        send: &[u8],
        counts: &[usize],
        receive: &mut [u8],
        received: &[usize],
    ) -> Code {
        // Both ranks of a part know its length, and so which way it goes: a share of a call, or on its own.
        let long = |&&count: &&usize| count > self.most / at.size;
        let none = |counts: &[usize]| !counts.iter().any(|count| long(&count));
        if none(counts) && none(received) {
            return self.short(at, send, counts, receive, received);
        }
        let (mut send, mut receive) = (cut(send, counts), cut_mut(receive, received));
        // Long parts: in each round to the next further rank, from the one as far on the other side.
        for away in 0..at.size {
            let (to, from) = ((at.rank + away) % at.size, (at.rank + at.size - away) % at.size);
            let out = if long(&&counts[to]) { std::mem::take(&mut send[to]) } else { &[] };
            let into = if long(&&received[from]) { std::mem::take(&mut receive[from]) } else { &mut [] };
            let code = self.pair(at, to, out, from, into);
            if code != 0 {
                return code;
            }
        }
        // The rest is short.
        let sent: Vec<usize> = send.iter().map(|part| part.len()).collect();
        let received: Vec<usize> = receive.iter().map(|part| part.len()).collect();
        let mut space = vec![0; received.iter().sum()];
        let code = self.short(at, &send.concat(), &sent, &mut space, &received);
        for (to, from) in receive.into_iter().zip(cut(&space, &received)) {
            to.copy_from_slice(from);
        }
        code
    }

    fn allgatherv(&self, at: &At<MPI_Comm>, send: &[u8], receive: &mut [u8], counts: &[usize]) -> Code {
        if receive.len() > self.most {
            let mut parts = cut_mut(receive, counts);
            parts[at.rank].copy_from_slice(send);
            return all(parts.into_iter().enumerate().map(|(rank, part)| self.bcast(at, part, rank)));
        }
        let (received, to) = parts(counts);
        let (from, length, receive) = (bytes(send), send.len() as c_int, room(receive));
        // SAFETY: the parts lie within the buffer, and are one for each rank.
        unsafe {
            mpi_sys::MPI_Allgatherv(
                from,
                length,
                byte(),
                receive,
                received.as_ptr(),
                to.as_ptr(),
                byte(),
                at.comm,
            )
        }
    }

    fn bcast(&self, at: &At<MPI_Comm>, data: &mut [u8], root: usize) -> Code {
        let piece = |piece: &mut [u8]| {
            let length = piece.len() as c_int;
            // SAFETY: the piece is as long as it is said to be, and `root` is a rank.
            unsafe { mpi_sys::MPI_Bcast(room(piece), length, byte(), root as c_int, at.comm) }
        };
        all(data.chunks_mut(self.most).map(piece))
    }
}

fn cut<'a>(mut rest: &'a [u8], counts: &[usize]) -> Vec<&'a [u8]> {
    let part = |&count: &usize| rest.split_off(..count).unwrap_or_default();
    counts.iter().map(part).collect()
}

fn cut_mut<'a>(mut rest: &'a mut [u8], counts: &[usize]) -> Vec<&'a mut [u8]> {
    let part = |&count: &usize| rest.split_off_mut(..count).unwrap_or_default();
    counts.iter().map(part).collect()
}
