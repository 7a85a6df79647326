//! A server: its start, its threads, and its end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::admit::Gate;
use crate::app::{App, router};
use crate::config::Config;
use crate::connection::{Phase, accept};
use crate::error::ServeError;
use crate::log::{Logger, Sampler};
use crate::metrics::Metrics;
use crate::model::Loader;
use crate::registry::Registry;
use crate::warm::guarded;
use crate::watch::watch as watch_files;

/// A server that runs on threads of its own.
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    app: Arc<App>,
    thread: JoinHandle<Result<Drained, ServeError>>,
    /// Closed without a word where the server ends before it is ready.
    ready: Mutex<mpsc::Receiver<()>>,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that were cut, for their requests took too long.
    pub cut: usize,
}

impl Server {
    /// Listens, and loads models behind that: the server lives at once, and is ready once all of them are. `notice` hears what
    /// happens, a line at a time, from any thread.
    ///
    /// # Errors
    /// A setting that cannot work, or a port, file or thread that the system refuses. What is wrong with a model is
    /// [`wait`](Self::wait)'s.
    pub fn start(
        config: Config,
        loader: Arc<dyn Loader>,
        notice: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Result<Self, ServeError> {
        config.check()?;
        let runtime = runtime(config.threads)?;
        let wanted = SocketAddr::new(config.host, config.port);
        let refused = |e| {
            let fix = "end what listens there, or give another --port or --host";
            ServeError::system(wanted.to_string(), "listen", e, fix)
        };
        let listener = runtime.block_on(TcpListener::bind(wanted)).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let metrics = Arc::new(Metrics::new());
        let (logger, log) = match &config.log {
            Some(log) => {
                Logger::start(log, metrics.clone()).map(|(logger, thread)| (Some(logger), Some(thread)))?
            }
            None => (None, None),
        };
        let app = Arc::new(App {
            registry: Arc::new(Registry::new(&config, loader, metrics.clone(), notice.clone())),
            gate: Arc::new(Gate::new(&config, metrics.clone())),
            sampler: Sampler::new(config.slow_per_minute),
            metrics,
            logger,
            notice,
            started: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            config,
        });
        let (stop, stopped) = watch::channel(false);
        let (tell, ready) = mpsc::channel();
        let running = app.clone();
        let thread = std::thread::Builder::new().name("optmsm-serve".into()).spawn(move || {
            let ended = runtime.block_on(run(&running, listener, stopped, tell));
            // Work that nobody waits for any more is left alone.
            runtime.shutdown_timeout(Duration::from_millis(100));
            drop(running);
            if let Some(log) = log {
                end(log);
            }
            ended
        });
        let thread = thread.map_err(|e| ServeError::system("a thread", "start", e, "raise ulimit -u"))?;
        Ok(Self { address, stop, app, thread, ready: Mutex::new(ready) })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until all models are loaded and warmed up; false where the server ended before.
    pub fn wait_ready(&self) -> bool {
        let ready = self.ready.lock().unwrap_or_else(|e| e.into_inner());
        self.app.started.load(Ordering::Acquire) || ready.recv().is_ok()
    }

    /// Whether all models were loaded and warmed up.
    pub fn is_ready(&self) -> bool {
        self.app.started.load(Ordering::Acquire)
    }

    /// Whether the server has ended, by a model that it could not load or after [`stop`](Self::stop).
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Tells the server to end. It is not ready any more, but goes on for the time [`Config::linger`]; then it takes no more
    /// connections, and answers what it has within [`Config::drain`]. [`wait`](Self::wait) waits for that.
    pub fn stop(&self) {
        self.app.stopping.store(true, Ordering::Relaxed);
        self.stop.send_replace(true);
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// A model cannot be served when the server starts.
    pub fn wait(self) -> Result<Drained, ServeError> {
        let Self { thread, app, stop, .. } = self;
        // The log's thread ends with the last owner of its sender.
        drop(app);
        let ended = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        drop(stop);
        ended
    }
}

fn runtime(threads: usize) -> Result<Runtime, ServeError> {
    // As many threads may wait as predict, and one that loads, one that looks at files.
    let build = || {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(threads + 2)
            .thread_name("optmsm-serve")
            .enable_all()
            .build();
        runtime.map_err(|e| e.to_string())
    };
    // A thread that does not start is a panic there.
    let runtime = guarded("the start", build).map_err(std::io::Error::other);
    runtime.map_err(|e| ServeError::system("threads", "start", e, "lower --threads, or raise ulimit -u"))
}

async fn run(
    app: &Arc<App>,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    ready: mpsc::Sender<()>,
) -> Result<Drained, ServeError> {
    let (phase, phases) = watch::channel(Phase::Serving);
    let (accepting, router) = (app.clone(), router(app.clone()));
    let accepting = tokio::spawn(async move { accept(&accepting, &router, listener, phases).await });
    tokio::select! {
        loaded = app.registry.load_all() => {
            loaded?;
            app.started.store(true, Ordering::Release);
            // Nobody may wait for it.
            let _ = ready.send(());
        }
        _ = stop.wait_for(|stop| *stop) => {}
    }
    drop(ready);
    let watching = app.config.watch.map(|every| tokio::spawn(watch_files(app.registry.clone(), every)));
    // An error means that the handle is gone, which leaves the server alone for good: it ends as well.
    let _ = stop.wait_for(|stop| *stop).await;
    // The clock of the threads that predict would have even no time wait for them.
    if !app.config.linger.is_zero() {
        tokio::time::sleep(app.config.linger).await;
    }
    phase.send_replace(Phase::Draining);
    if let Some(watching) = watching {
        watching.abort();
    }
    let Ok(mut open) = accepting.await else { return Ok(Drained { cut: 0 }) };
    let drained = tokio::time::timeout(app.config.drain, async { while open.join_next().await.is_some() {} });
    if drained.await.is_ok() {
        return Ok(Drained { cut: 0 });
    }
    while open.try_join_next().is_some() {}
    let cut = open.len();
    (app.notice)(&format!("{cut} connections were cut, for they did not end within {:?}", app.config.drain));
    Ok(Drained { cut })
}

/// Waits for the log's last lines, unless nobody reads them.
fn end(log: JoinHandle<()>) {
    for _ in 0..100 {
        if log.is_finished() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
