//! Training.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use optmsm_data::interruptible;
use optmsm_train::checkpoint::Position;
use optmsm_train::error::Error;
use optmsm_train::evaluate::Evaluation;
use optmsm_train::folder::{Folder, named};
use optmsm_train::run::Run;
use optmsm_train::say;
use optmsm_train::session::{Changes, Session};
use optmsm_train::trainer::{Control, Next, Observer};
use pyo3::prelude::*;
use serde::Serialize;

use crate::config::Config;
use crate::wait::wait;

/// A word of training on the way.
enum Event {
    Began { total: u64 },
    Trained { rows: u64, loss: Option<f64> },
    Evaluated { json: String, answer: SyncSender<Next> },
}

/// An evaluation as the callbacks get it.
#[derive(Serialize)]
struct Heard<'a> {
    step: u64,
    epoch: u64,
    passes: Option<f64>,
    loss: f64,
    best: bool,
    best_step: u64,
    evaluations: u64,
    stale: u64,
    valid: Option<&'a Evaluation>,
}

/// Hands events over to the thread that has the interpreter.
#[derive(Debug)]
struct Teller {
    events: Sender<Event>,
    rows: Cell<u64>, // not told yet
    told: Cell<Instant>,
}

/// Least time between two words of progress: each costs a turn of the interpreter.
const PAUSE: Duration = Duration::from_millis(50);

impl Observer for Teller {
    fn trained(&self, rows: u64, loss: Option<f64>) {
        self.rows.set(self.rows.get() + rows);
        if loss.is_some() && self.told.get().elapsed() >= PAUSE {
            self.told.set(Instant::now());
            self.events.send(Event::Trained { rows: self.rows.take(), loss }).ok();
        }
    }

    fn evaluated(&self, at: &Position, valid: Option<&Evaluation>) -> Next {
        let heard = Heard {
            step: at.step,
            epoch: at.epoch,
            passes: at.passes,
            loss: at.loss,
            best: at.best_step == at.step,
            best_step: at.best_step,
            evaluations: at.evaluations,
            stale: at.stale,
            valid,
        };
        let (answer, answered) = sync_channel(1);
        let Ok(json) = serde_json::to_string(&heard) else { return Next::Continue };
        match self.events.send(Event::Evaluated { json, answer }) {
            Ok(()) => answered.recv().unwrap_or(Next::Stop),
            Err(_) => Next::Continue,
        }
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Event")
    }
}

/// Trains in a folder: a new run of a configuration, or the run that is there where none is given. Without a folder it is a new one below
/// `runs` with a name; with `begun` it begins with the parameters of that run. Returns the folder and what came of it as JSON.
///
/// `began(rows)`, `trained(rows, loss | None)` and `evaluated(json) -> bool`, whether to stop, are called on the way.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "called by optmsm/training.py alone, by name")]
pub(crate) fn train(
    py: Python<'_>,
    folder: Option<PathBuf>,
    name: &str,
    begun: Option<PathBuf>,
    config: Option<Config>,
    overrides: Vec<String>,
    allow_changed_data: bool,
    max_steps: Option<u64>,
    began: Py<PyAny>,
    trained: Py<PyAny>,
    evaluated: Py<PyAny>,
) -> PyResult<(PathBuf, String)> {
    let work = |stop: Arc<AtomicBool>, events: Sender<Event>| {
        let session = interruptible(&stop, || match config {
            Some(config) => {
                let held = match &folder {
                    Some(folder) => Folder::take(folder, "run")?,
                    None => Folder::take_free(named(name), "run")?,
                };
                let from = begun.map(|folder| Run::open(&folder)).transpose()?;
                Session::start(held, config.settings, from.as_ref())
            }
            None => {
                let folder = folder.unwrap_or_default();
                Session::reopen(&folder, &Changes { set: overrides, allow_changed_data }, |_| Ok(()))
            }
        })?;
        let folder = session.run.folder.clone();
        let total = session.run.config.train.epochs.saturating_mul(session.data.train.rows() as u64);
        events.send(Event::Began { total }).ok();
        let teller = Teller { events, rows: Cell::new(0), told: Cell::new(Instant::now()) };
        let control =
            Control { resume: session.resume, stop: &stop, max_steps, quiet: false, observer: Some(&teller) };
        let ended = session.train(&control)?;
        ended.findings.iter().for_each(|finding| say::warning(&finding.to_string()));
        let ended = serde_json::to_string(&ended).map_err(|e| Error::bug("JSON", e))?;
        Ok((folder, ended))
    };
    wait(py, work, |py, event, stop| match event {
        Event::Began { total } => began.call1(py, (total,)).map(|_| ()),
        Event::Trained { rows, loss } => trained.call1(py, (rows, loss)).map(|_| ()),
        Event::Evaluated { json, answer } => {
            let stops = evaluated.call1(py, (json,)).and_then(|stops| stops.is_truthy(py));
            if stops.is_err() {
                // Before the answer, so that training is interrupted rather than done.
                stop.store(true, Ordering::Relaxed);
            }
            let next = if matches!(stops, Ok(true)) { Next::Stop } else { Next::Continue };
            answer.send(next).ok();
            stops.map(|_| ())
        }
    })
}
