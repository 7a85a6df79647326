//! The job that this process is part of.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::launch::Launch;
use crate::{Alone, Comm, Result};

/// The job that this process was started in: [`Alone`], unless a launcher of MPI jobs (mpirun, mpiexec, srun) has started several
/// processes, which its environment variables say. MPI is initialized then, and finalized when the last handle drops; as it starts
/// only once in a process, a program that works on keeps one. Every call before that returns the same job. Finalizing waits for all
/// ranks, so a rank that cannot go on calls [`Comm::abort`] before it drops its handle.
///
/// With the feature `mpi` the program has the MPI of its build. Else, with the feature `abi`, the library `libmpi_abi` of MPI 5.0's
/// standard binary interface is looked for: where the environment variable `OPTMSM_MPI` says (the library or its folder); beside the
/// launcher; where the system looks for libraries (`LD_LIBRARY_PATH`); and beside every `mpiexec` in `PATH`.
///
/// # Errors
/// No MPI library can be loaded or used, it sees another job than the launcher has started, or this crate is built without MPI.
pub fn world() -> Result<Arc<dyn Comm>> {
    static WORLD: Mutex<Option<Weak<dyn Comm>>> = Mutex::new(None);
    let Some(launch) = Launch::here()?.filter(|launch| launch.size != Some(1)) else {
        return Ok(Arc::new(Alone));
    };
    let mut world = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(job) = world.as_ref().and_then(Weak::upgrade) {
        return Ok(job);
    }
    let job = open(&launch)?;
    launch.agrees(&*job)?;
    *world = Some(Arc::downgrade(&job));
    Ok(job)
}

/// Whether this process is the first of its job, or has none, as the launcher's environment variables say: it does not begin MPI.
pub fn is_first() -> bool {
    !matches!(Launch::here(), Ok(Some(Launch { rank: 1.., .. })))
}

#[cfg(all(unix, any(feature = "abi", feature = "mpi")))]
fn open(launch: &Launch) -> Result<Arc<dyn Comm>> {
    Ok(Arc::new(crate::mpi::open(launch)?))
}

#[cfg(not(all(unix, any(feature = "abi", feature = "mpi"))))]
fn open(Launch { launcher, signs, .. }: &Launch) -> Result<Arc<dyn Comm>> {
    Err(crate::CommError::new(format!(
        "{launcher} has started this process ({signs}), but the program is built without MPI; build it with the feature `abi` of \
         optmsm-comm, or start it without a launcher"
    )))
}
