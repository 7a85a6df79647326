//! `optmsm serve`: runs that answer over HTTP.

mod runs;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use optmsm_core::fold::FoldOptions;
use optmsm_serve::{Config, Log, Server, Source};

use self::runs::Runs;
use super::signals;
use crate::config::BackendKind;
use crate::error::Result;
use crate::say;
use crate::scorer::ScorerOptions;

/// Time between looks at whether the program was told to stop.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Args)]
pub(super) struct Options {
    /// Run folders: RUN, NAME=RUN or NAME/VERSION=RUN; the name is that of the folder where none is given, the version 1.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<Source>,
    /// Address to listen on; 0.0.0.0 for all.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 for one that the system chooses.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Share of a name's requests for a version: NAME/VERSION=0.1. The first version of a name gets what is left.
    #[arg(long = "share", value_name = "NAME/VERSION=SHARE", value_parser = share)]
    shares: Vec<(String, String, f64)>,
    /// Requests that are predicted at the same time; all cores when not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Largest body of a request.
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
    max_body: usize,
    /// Most rows of a request.
    #[arg(long, value_name = "ROWS", default_value_t = 16_384)]
    max_rows: usize,
    /// Time for a request, from its header to its answer.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    timeout: Duration,
    /// Requests that may wait for a thread; more are refused.
    #[arg(long, value_name = "REQUESTS", default_value_t = 256)]
    queue: usize,
    /// Look at the runs' files this often, and load those that changed.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    watch: Option<Duration>,
    /// Write a line of JSON for each request to a file; - for standard output.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Report requests that take this long or longer, at most ten a minute.
    #[arg(long, value_name = "MILLISECONDS")]
    slow: Option<u64>,
    /// Be ready without predicting made-up rows first.
    #[arg(long)]
    no_warm_up: bool,
    /// Refuse rows with columns that the model lacks.
    #[arg(long)]
    strict: bool,
    /// Let no request load or unload models.
    #[arg(long)]
    no_repository: bool,
    /// On a signal, go on to accept connections for this long, not ready any more.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1")]
    linger: Duration,
    /// Then wait this long for requests in flight.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30")]
    drain: Duration,
    /// The device that computes, whatever trained the run.
    #[arg(long, value_enum, default_value_t = BackendKind::Cpu)]
    backend: BackendKind,
    /// Take the models at their word, though a run was calibrated.
    #[arg(long)]
    uncalibrated: bool,
    /// Take up to so much memory for each model to fold the layers that read fields into tables; probabilities stay the same up to
    /// rounding.
    #[arg(long, value_name = "MEBIBYTES")]
    fold: Option<usize>,
}

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "no number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

fn share(text: &str) -> std::result::Result<(String, String, f64), String> {
    let split = text.split_once('=').and_then(|(of, share)| Some((of.split_once('/')?, share.parse().ok()?)));
    let ((name, version), share) = split.ok_or("not of the form NAME/VERSION=SHARE, as in ctr/2=0.1")?;
    Ok((name.to_owned(), version.to_owned(), share))
}

impl Options {
    fn config(&self) -> Config {
        let mut config = Config::new(self.runs.clone());
        config.shares = self.shares.clone();
        (config.host, config.port) = (self.host, self.port);
        config.threads = self.threads.unwrap_or(config.threads);
        (config.max_body, config.max_rows) = (self.max_body, self.max_rows);
        config.max_held = config.max_held.max(self.max_body);
        (config.timeout, config.queue, config.watch) = (self.timeout, self.queue, self.watch);
        (config.linger, config.drain) = (self.linger, self.drain);
        config.log = self.log.as_ref().map(|path| match super::is_stdout(path) {
            true => Log::Stdout,
            false => Log::File(path.clone()),
        });
        config.slow = self.slow.map(Duration::from_millis);
        config.warm_up = !self.no_warm_up;
        (config.strict, config.repository) = (self.strict, !self.no_repository);
        config
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    // Before models are loaded: what is stopped then stops.
    let stop = signals::stop_on_interrupt()?;
    let config = options.config();
    let fold = options.fold.map(|mebibytes| {
        let memory = mebibytes.saturating_mul(1 << 20);
        FoldOptions { memory, ..FoldOptions::default() }
    });
    let runs = Runs(ScorerOptions {
        backend: Some(options.backend),
        threads: Some(config.threads),
        uncalibrated: options.uncalibrated,
        fold,
    });
    let server = Server::start(config, Arc::new(runs), Arc::new(say::line))?;
    let address = server.address();
    say::line(&format!("listens on http://{address}, and loads"));
    let mut said = false;
    while !server.is_over() {
        if !said && server.is_ready() {
            said = true;
            say::line(&format!("ready: POST http://{address}/predict"));
        }
        if stop.load(Ordering::Relaxed) {
            say::line("stops: answers the requests that it has; another signal ends it at once");
            server.stop();
            break;
        }
        sleep(LOOK);
    }
    server.wait()?;
    Ok(())
}
