//! Runs beside each other: each on a thread of its own, all on the same rows, which are in memory once.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::{Builder, scope};

use optmsm_data::DataError;

use crate::error::{Error, Result};

/// Does `work` for every task in order, up to `jobs` at a time, and hands each result to `seen` on the calling thread as it comes.
/// Once `stop` says so or a task fails, none is begun any more.
///
/// # Errors
/// That of the first task that failed, of several rather one that is no interrupt; those that had begun have ended then.
pub(super) fn each<T: Sync, R: Send>(
    tasks: &[T],
    jobs: usize,
    stop: impl Fn() -> bool + Sync,
    work: impl Fn(&T) -> Result<R> + Sync,
    mut seen: impl FnMut(&T, R),
) -> Result<()> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut problem: Option<Error> = None;
    scope(|scope| {
        let (send, receive) = channel();
        for _ in 0..jobs.min(tasks.len()) {
            let (send, next, failed, stop, work) = (send.clone(), &next, &failed, &stop, &work);
            let worker = move || {
                while !stop() && !failed.load(Ordering::Relaxed) {
                    let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                    let done = work(task);
                    failed.fetch_or(done.is_err(), Ordering::Relaxed);
                    // The receiver stays until all senders are gone.
                    drop(send.send((task, done)));
                }
            };
            if let Err(e) = Builder::new().name("run".into()).spawn_scoped(scope, worker) {
                failed.store(true, Ordering::Relaxed);
                problem = Some(DataError::thread(e).into());
            }
        }
        drop(send);
        for (task, done) in receive {
            match done {
                Ok(result) => seen(task, result),
                Err(e) if matches!(problem, None | Some(Error::Interrupted { .. })) => problem = Some(e),
                Err(_) => {}
            }
        }
    });
    problem.map_or(Ok(()), Err)
}

/// Result of `work`, whose panic is an [`Error::Bug`].
pub(super) fn caught<R>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|panic| Err(Error::bug("training", said(&*panic))))
}

/// Message of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_task_is_done_once() {
        for jobs in [1, 3, 64] {
            let tasks: Vec<u32> = (0..20).collect();
            let (begun, mut sum) = (Mutex::new(Vec::new()), 0);
            let work = |task: &u32| {
                begun.lock().unwrap().push(*task);
                Ok(task * task)
            };
            each(&tasks, jobs, || false, work, |_, square| sum += square).unwrap();
            // 19 · 20 · 39 / 6
            assert_eq!(sum, 2470);
            let mut begun = begun.into_inner().unwrap();
            begun.sort();
            assert_eq!(begun, tasks);
        }
    }

    #[test]
    fn none_is_begun_after_a_failure_or_a_stop() {
        let tasks: Vec<u32> = (0..20).collect();
        let fails = |task: &u32| match task {
            3 => Err(Error::argument("task", "failed", "do nothing")),
            _ => Ok(*task),
        };
        let mut done = Vec::new();
        let problem = each(&tasks, 1, || false, fails, |_, task| done.push(task)).unwrap_err();
        assert_eq!((problem.to_string().as_str(), &done[..]), ("task: failed; do nothing", &[0, 1, 2][..]));
        let (stopped, mut done) = (AtomicBool::new(false), Vec::new());
        let work = |task: &u32| {
            stopped.store(*task == 4, Ordering::Relaxed);
            Ok(*task)
        };
        each(&tasks, 1, || stopped.load(Ordering::Relaxed), work, |_, task| done.push(task)).unwrap();
        assert_eq!(done, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_panic_is_an_error() {
        let problem = caught::<()>(|| panic!("layer {} broke", 1)).unwrap_err();
        assert_eq!(problem.to_string(), "training: layer 1 broke; report this");
        assert_eq!(caught(|| Ok(1)).unwrap(), 1);
    }
}
