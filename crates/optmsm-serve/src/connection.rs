//! Connections: who gets one, how long it may do nothing, and how it ends.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use crate::app::{App, answer};

/// Most bytes of a header, and of what is read ahead of a body.
const BUFFER: usize = 32 << 10;

/// Time for the first request of a connection that is open when the server ends.
const GRACE: Duration = Duration::from_millis(100);

/// How far the end of the server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Phase {
    /// It has not begun.
    Serving,
    /// Connections end after the answer that they wait for.
    Draining,
}

/// Accepts connections until `phase` is [`Phase::Draining`], and then those that arrived before; returns the ones that are open.
pub(crate) async fn accept(
    app: &Arc<App>,
    router: &Router,
    listener: TcpListener,
    mut phase: watch::Receiver<Phase>,
) -> JoinSet<()> {
    let places = Arc::new(Semaphore::new(app.config.connections.min(Semaphore::MAX_PERMITS)));
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let arrived = async {
            // Who finds no place waits in the system's queue.
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            arrived = arrived => arrived,
            _ = phase.wait_for(|phase| *phase == Phase::Draining) => break,
        };
        match (place, accepted) {
            (Ok(place), Ok((stream, _))) => {
                open.spawn(serve(app.clone(), router.clone(), stream, place, phase.clone()));
            }
            (_, Err(e)) => pause(app, &e).await,
            // Nobody closes the semaphore.
            (Err(_), Ok(_)) => break,
        }
    }
    // Connections that the system has completed, though nobody took them yet. The system's own listener knows them all.
    let Ok(listener) = listener.into_std() else { return open };
    while let Ok(place) = places.clone().try_acquire_owned() {
        let Ok((stream, _)) = listener.accept() else { break };
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            open.spawn(serve(app.clone(), router.clone(), stream, place, phase.clone()));
        }
    }
    open
}

/// Waits where the system has no room for another connection; one that its peer gave up is nothing.
async fn pause(app: &App, e: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if !matches!(e.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        if app.sampler.lets_through(std::time::Instant::now()) {
            (app.notice)(&format!(
                "a connection cannot be accepted: {e}; raise ulimit -n, or lower the number of clients"
            ));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Counts a connection while it is open.
struct Open<'a>(&'a App);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

async fn serve(
    app: Arc<App>,
    router: Router,
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    mut phase: watch::Receiver<Phase>,
) {
    app.metrics.connections.inc();
    let _open = Open(&app);
    // Answers are small: none waits for another one to fill a packet.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    // An answer that nobody takes ends the connection.
    stream.set_write_timeout(Some(app.config.header_timeout));
    let asked = AtomicBool::new(false);
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        let (app, router) = (app.clone(), router.clone());
        async move { Ok::<_, Infallible>(answer(app, router, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(app.config.header_timeout).max_buf_size(BUFFER);
    let stream = pin!(stream);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // Errors are of the peer: it left, or what it sent is no HTTP, which it was told.
    let draining = async {
        // An error means that the server is gone.
        let _ = phase.wait_for(|phase| *phase == Phase::Draining).await;
    };
    tokio::select! {
        _ = connection.as_mut() => return,
        () = draining => {}
    }
    // A connection without a request is closed by hyper, though one may be on its way or here, and not read yet.
    let fresh = !asked.load(Ordering::Relaxed);
    if fresh && tokio::time::timeout(GRACE, connection.as_mut()).await.is_ok() {
        return;
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
