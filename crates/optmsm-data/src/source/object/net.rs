//! The thread that talks to stores.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use object_store::ObjectStore;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::error::{DataError, FileErrorKind, Result};

/// Requests under way at once: enough to hide the latency of each, few enough for a store and for open files.
const AT_ONCE: usize = 32;

/// An answer that is under way; who drops it no longer wants it.
pub(super) struct Pending<T> {
    answer: Receiver<T>,
    task: AbortHandle,
    name: String,
}

/// Starts a request; `name` stands for what is asked for in messages.
pub(super) fn start<T: Send + 'static>(
    name: &str,
    request: impl Future<Output = T> + Send + 'static,
) -> Result<Pending<T>> {
    static SLOTS: Semaphore = Semaphore::const_new(AT_ONCE);
    let (sender, answer) = sync_channel(1); // room for the answer: the thread of all requests never waits
    let task = handle(name)?.spawn(async move {
        let _slot = SLOTS.acquire().await;
        let answer = request.await;
        sender.send(answer).ok();
    });
    Ok(Pending { answer, task: task.abort_handle(), name: name.to_owned() })
}

impl<T> Pending<T> {
    pub(super) fn wait(self) -> Result<T> {
        self.answer.recv().map_err(|_| {
            // The client gave up on a setting that it took for granted.
            let fix = "check the store's settings in the environment; if they are right, report this";
            DataError::file(FileErrorKind::System, &self.name, "the request was given up", fix)
        })
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The thread's runtime, which lives as long as the program.
fn handle(name: &str) -> Result<Handle> {
    static RUNTIME: OnceLock<std::result::Result<Handle, String>> = OnceLock::new();
    let begin = || -> std::io::Result<Handle> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let work = move || runtime.block_on(std::future::pending::<()>());
        std::thread::Builder::new().name("object-store".into()).spawn(work)?;
        Ok(handle)
    };
    RUNTIME.get_or_init(|| begin().map_err(|e| e.to_string())).clone().map_err(|e| {
        let problem = format!("no thread for its requests can be started: {e}");
        DataError::file(FileErrorKind::System, name, problem, "raise the limits of this process")
    })
}

/// The store of a bucket, with the connections and credentials that it already has.
pub(super) fn store(
    bucket: &str,
    open: impl FnOnce() -> Result<Arc<dyn ObjectStore>>,
) -> Result<Arc<dyn ObjectStore>> {
    static STORES: Mutex<BTreeMap<String, Arc<dyn ObjectStore>>> = Mutex::new(BTreeMap::new());
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(store) = stores.get(bucket) {
        return Ok(store.clone());
    }
    let store = open()?;
    stores.insert(bucket.to_owned(), store.clone());
    Ok(store)
}
