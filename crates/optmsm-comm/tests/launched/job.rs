//! A job of ranks that say what became of them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use optmsm_testkit::mpi::{self, Launcher};
use tempfile::TempDir;

/// A launcher, and the ranks built for its MPI.
pub(crate) struct Mpi {
    pub(crate) launcher: Launcher,
    pub(crate) ranks: PathBuf,
}

/// Nothing here takes a tenth of it; what does hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// One at a time: ranks that wait take a whole core each.
static ONE: Mutex<()> = Mutex::new(());

pub(crate) struct Job {
    _one: MutexGuard<'static, ()>,
    job: mpi::Job,
    size: usize,
    joined: TempDir, // a file of each rank that has joined
    _folder: TempDir,
}

impl Job {
    pub(crate) fn start(mpi: &Mpi, size: usize, part: &str, variables: &[(&str, &str)]) -> Self {
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let [joined, folder] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let mut ranks = Command::new(&mpi.ranks);
        ranks.arg(part).arg(joined.path()).envs(variables.iter().copied()).env("RUST_BACKTRACE", "0");
        let job = mpi.launcher.start(size, "", &ranks, folder.path()).unwrap();
        Self { _one, job, size, joined, _folder: folder }
    }

    /// Ends a rank as the system does where memory is short, once all have joined the job of MPI.
    pub(crate) fn kill(&self, rank: usize) {
        let start = Instant::now();
        let joined = |rank: usize| self.joined.path().join(rank.to_string()).exists();
        while !(0..self.size).all(joined) {
            assert!(start.elapsed() < LIMIT, "ranks have not joined within {LIMIT:?}");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(mpi::signal(self.job.rank(rank).unwrap(), "KILL"));
    }

    /// Waits for the launcher and all ranks; the launcher's code is this, or any but 0. Returns what they have said.
    pub(crate) fn ends(self, code: Option<i32>) -> String {
        let out = self.job.wait(LIMIT);
        let said = out.stdout + &out.stderr;
        match code {
            Some(code) => assert_eq!(out.status.code(), Some(code), "{said}"),
            None => assert!(!out.status.success(), "{said}"),
        }
        said
    }

    /// Waits for a job in which every rank says that all was as it must be.
    pub(crate) fn fine(self) -> String {
        let size = self.size;
        let said = self.ends(Some(0));
        assert_eq!(said.matches("fine: ").count(), size, "{said}");
        for rank in 0..size {
            let of = if size == 1 { "fine: Alone".into() } else { format!("fine: rank {rank} of {size}, ") };
            assert!(said.contains(&of), "{said}");
        }
        said
    }
}
