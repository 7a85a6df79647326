//! The ranks of a training job. All of them run the same program; rank 0 has the run's folder and speaks.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use optmsm_comm::{Alone, Comm, Cores, gather, share, world};
use optmsm_core::error::Error as CoreError;
use optmsm_core::ranks::Job;
use optmsm_data::printable;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{BackendKind, TrainConfig};
use crate::error::{Error, Result};
use crate::say;

/// Time that the first rank has to say what all have met.
const GRACE: Duration = Duration::from_secs(2);
/// Time that a launcher has to pass on what a rank said: it drops what it has not read once the job ends.
const HEARD: Duration = Duration::from_millis(300);

/// The ranks of a job, as one of them sees them; by default this process alone.
#[derive(Clone, Debug)]
pub struct Ranks {
    comm: Arc<dyn Comm>,
    failed: Arc<AtomicBool>, // whether the others know that this one has
}

impl Default for Ranks {
    fn default() -> Self {
        Self::new(Arc::new(Alone))
    }
}

impl Ranks {
    /// Those that a transport joins.
    pub fn new(comm: Arc<dyn Comm>) -> Self {
        Self { comm, failed: Arc::default() }
    }

    /// Those that the launcher of this process has started; this one alone, where it was started by itself. All but the first are silent
    /// from then on.
    ///
    /// # Errors
    /// There is a launcher, but no transport to the other ranks.
    pub fn started() -> Result<Self> {
        let ranks = Self::new(world().map_err(gone)?);
        if !ranks.leads() {
            say::leave_it_to_others();
        } else if let Some(text) = Cores::here().filter(|_| ranks.are_several()).and_then(|c| c.warning()) {
            say::warning(&text);
        }
        Ok(ranks)
    }

    /// They train with `groups` groups of each batch.
    ///
    /// # Errors
    /// As [`Job::new`].
    pub fn job(&self, groups: usize) -> Result<Job> {
        Ok(Job::new(Arc::clone(&self.comm), groups)?)
    }

    /// The transport.
    pub fn comm(&self) -> &dyn Comm {
        &*self.comm
    }

    /// Whether they can train by a configuration.
    ///
    /// # Errors
    /// As [`Ranks::job`]; it asks for a GPU.
    pub fn check(&self, config: &TrainConfig) -> Result<()> {
        if self.are_several() && config.backend == BackendKind::Cuda {
            let fix = "set it to \"cpu\", or start one process";
            return Err(CoreError::config("train.backend", "trains in one process so far", fix).into());
        }
        self.job(config.groups).map(|_| ())
    }

    /// Whether this is the one that writes and speaks.
    pub fn leads(&self) -> bool {
        self.comm.rank() == 0
    }

    /// Whether there are others.
    pub fn are_several(&self) -> bool {
        self.comm.size() > 1
    }

    /// Whether any of them says so; all call.
    pub(crate) fn any(&self, flag: bool) -> Result<bool> {
        if !self.are_several() {
            return Ok(flag);
        }
        let mut flags = vec![0; self.comm.size()];
        let counts = vec![1; flags.len()];
        self.comm.allgatherv(&[u8::from(flag)], &mut flags, &counts).map_err(gone)?;
        Ok(flags.contains(&1))
    }

    /// Warns where they compute with different instruction sets; `name` is that of this one's backend.
    pub(crate) fn compare(&self, name: &str) -> Result<()> {
        if !self.are_several() {
            return Ok(());
        }
        // Threads may differ.
        let set = name.split(',').next().unwrap_or_default();
        let mut sets = gather(&*self.comm, set.as_bytes()).map_err(gone)?;
        sets.sort();
        sets.dedup();
        if sets.len() > 1 {
            let sets: Vec<_> = sets.iter().map(|set| String::from_utf8_lossy(set)).collect();
            say::warning(&format!(
                "ranks compute as {}: results are those of this mixture, and no other machines have the same bits",
                sets.join("), ") + ")"
            ));
        }
        Ok(())
    }

    /// Returns once all have called it.
    pub(crate) fn wait(&self) -> Result<()> {
        self.comm.barrier().map_err(gone)
    }

    /// Ends the job where this rank cannot go on and the others do not know it. What stops all of them at the same place, they return.
    pub(crate) fn end(&self, e: &Error) {
        let known = matches!(e, Error::Elsewhere { .. } | Error::Interrupted { .. } | Error::Diverged { .. });
        if !self.are_several() || known || self.failed.load(Ordering::Relaxed) {
            return;
        }
        if !self.leads() {
            // Mostly it is the same error as that of the first one, which is about to say it and to end this process.
            std::thread::sleep(GRACE);
        }
        let rank = self.comm.rank();
        // Where it cannot be written, nobody reads it any more.
        let _ = writeln!(std::io::stderr().lock(), "error: rank {rank}: {}", printable(&e.to_string()));
        std::thread::sleep(HEARD);
        self.comm.abort(e.exit_code().into())
    }

    /// A value that the first one makes, for all of them. Where it fails, the others end with its exit code.
    pub(crate) fn share<T: Serialize + DeserializeOwned>(
        &self,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if !self.are_several() {
            return make();
        }
        let made = if self.leads() { Some(make()) } else { None };
        let mut bytes = match &made {
            Some(Ok(value)) => serde_json::to_vec(&Ok::<_, u8>(value)),
            Some(Err(e)) => serde_json::to_vec(&Err::<(), _>(e.exit_code())),
            None => Ok(Vec::new()),
        }
        .map_err(|e| Error::bug("ranks", e))?;
        share(&*self.comm, &mut bytes, 0).map_err(gone)?;
        self.failed.store(matches!(made, Some(Err(_))), Ordering::Relaxed);
        made.unwrap_or_else(|| {
            let told: Result<T, u8> = serde_json::from_slice(&bytes).map_err(|e| Error::bug("ranks", e))?;
            told.map_err(|code| Error::Elsewhere { code })
        })
    }
}

/// Threads of a process that a launcher has started beside others on a machine, all of whose cores it may run on.
pub(crate) fn threads() -> Option<usize> {
    let Cores { allowed, machine, ranks } = Cores::here()?;
    let ranks = ranks.filter(|&ranks| ranks > 1 && allowed == machine)?;
    // It knows quotas, too.
    let cores = std::thread::available_parallelism().ok()?.get();
    Some((cores / ranks).max(1))
}

/// A rank is gone.
fn gone(e: optmsm_comm::CommError) -> Error {
    CoreError::from(e).into()
}
