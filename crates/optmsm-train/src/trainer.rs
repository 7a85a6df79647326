//! Epochs, evaluation, early stopping, checkpoints: for any model on any backend.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::thread::Builder;

use optmsm_core::backend::Backend;
use optmsm_core::learner::{Learner, StepLoss};
use optmsm_core::model::Model;
use optmsm_core::rounding::TableDtype;
use optmsm_data::{DataError, Part};
use serde::Serialize;

use crate::alone::{SUSPICIOUS, suspicion};
use crate::balance::Balance;
use crate::checkpoint::{self, Outline, Progress as Position};
use crate::config::TrainConfig;
use crate::error::{Error, Result};
use crate::evaluate::{Evaluation, evaluate};
use crate::extreme;
use crate::loader::Order;
use crate::progress::Progress;
use crate::record::Record;
use crate::resume;
use crate::rows::Rows;
use crate::run::Run;
use crate::say;
use crate::tensorboard::Writer;

/// Steps between two looks at the loss: a device need not stop for it.
const LOSS_EVERY: u64 = 16;
/// Batches that the loader is ahead.
const AHEAD: usize = 2;
/// Batches that are there at a time: those ahead, and with the loader, the learner, and on the way back one each.
pub(crate) const PLANS: usize = AHEAD + 3;

/// Encoded data of a run.
#[derive(Debug)]
pub struct Data {
    /// Rows to train on.
    pub train: Rows,
    /// Rows that early stopping watches; without them every pass counts as better.
    pub valid: Option<Rows>,
    /// Rows that are scored once, at the end, with the best parameters.
    pub test: Option<Rows>,
    /// The files that they come from.
    pub record: Record,
}

/// What follows an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next pass, if configuration and early stopping leave one.
    Continue,
    /// The end of the run, as after the last pass.
    Stop,
}

/// Watches a run from outside, and may end it.
pub trait Observer: std::fmt::Debug {
    /// A pass was evaluated and saved.
    fn evaluated(&self, _at: &Position) -> Next {
        Next::Continue
    }

    /// The test rows were scored with the best parameters; one prediction a row.
    fn tested(&self, _evaluation: &Evaluation, _predictions: &[f32]) {}
}

/// How a run begins and when it is interrupted.
#[derive(Clone, Copy, Debug)]
pub struct Control<'a> {
    /// Continue from the checkpoint `last`.
    pub resume: bool,
    /// Becomes true when the user asks to stop.
    pub stop: &'a AtomicBool,
    /// Step after which to stop and save, as if the user had asked.
    pub max_steps: Option<u64>,
    /// Print nothing.
    pub quiet: bool,
    /// Hears of every evaluation.
    pub observer: Option<&'a dyn Observer>,
}

/// A line of `metrics.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    step: u64,
    epoch: u64,
    split: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    train_loss: Option<f64>,
    rows_per_second: f64,
    #[serde(flatten)]
    evaluation: &'a Evaluation,
}

/// Trains until the last epoch, early stopping, or `stop`; returns the test set's evaluation, if there is one.
///
/// # Errors
/// When the loss diverges (the last checkpoints stay), on an interrupt (after saving), or when the disk or the
/// device fails.
pub fn train<B: Backend<Elem = f32>, M: Model<B>>(
    learner: &mut Learner<B, M>,
    run: &Run,
    data: &Data,
    control: &Control,
) -> Result<Option<Evaluation>> {
    let Control { resume, stop, max_steps, quiet, observer } = *control;
    let mut at = Position::default();
    if resume {
        let checkpoint = run.checkpoint("last")?;
        learner.import(&checkpoint)?;
        learner.import_state(&checkpoint, checkpoint.progress.step)?;
        at = checkpoint.progress;
    } else {
        resume::keep(run, &data.record, false)?;
        // So that a run can be continued from its first step on.
        save_last(outline(learner)?, learner, run, data, &at)?;
    }
    let config = &run.config.train;
    let input = run.schema.input_spec();
    let balance = Balance::of(&run.config.data, &run.schema, &data.train)?;
    balance.iter().filter(|_| !quiet).for_each(|balance| say::line(&balance.to_string()));
    let order = Order {
        data: &data.train,
        input: &input,
        batch_size: config.batch_size,
        seed: config.seed,
        window: run.config.data.stream.window(),
        factors: balance.as_ref().map_or(&[], |balance| &balance.factors),
        fallback: run.schema.fallback_scenario().map(|s| (s, run.config.data.oov_rate)),
        dropped: run
            .config
            .data
            .fields
            .iter()
            .enumerate()
            .filter(|(_, f)| f.oov_dropout > 0.0)
            .map(|(i, f)| (i, f.name.as_str(), f.oov_dropout))
            .collect(),
    };
    if resume {
        same_order(&order, &at, run)?;
        run.rewind(&at)?;
        if !at.monitor.is_empty() && at.monitor != config.monitor.name() {
            // Parameters that were best so far go on as that, by the value that early stopping watches now.
            at.best = run.monitored(at.best_step)?;
        }
        resume::keep(run, &data.record, true)?;
    }
    (at.order, at.monitor) = (order.describe(), config.monitor.name().into());
    let mut board = config.tensorboard.then(|| Writer::open(&run.folder)).transpose()?;
    let mut progress = Progress::new(config.epochs * data.train.rows() as u64, quiet);
    let done = std::thread::scope(|scope| {
        let (plans, planned) = sync_channel(AHEAD);
        let (give_back, spare) = channel();
        let begin = (at.epoch, at.batch);
        let plan = move || order.run(begin, config.epochs, &plans, &spare);
        Builder::new().spawn_scoped(scope, plan).map_err(DataError::thread)?;
        let batches = data.train.rows().div_ceil(config.batch_size) as u64;
        let (mut last_finite, mut suspected) = (None, false);
        while at.epoch < config.epochs && at.stale < config.patience.max(1) {
            let Ok(plan) = planned.recv() else { break };
            let plan = plan?;
            learner.step_plan(&plan)?;
            (at.step, at.batch) = (at.step + 1, at.batch + 1);
            let end = at.batch == batches;
            let halt = stop.load(Ordering::Relaxed) || max_steps.is_some_and(|max| at.step >= max);
            let mut shown = None;
            if at.step % LOSS_EVERY == 0 || end || halt {
                let parts = learner.loss()?;
                let loss = parts.total();
                if !loss.is_finite() {
                    return Err(diverged(at.step, loss, last_finite, run, (&data.train, Part::Train))?);
                }
                at.loss = loss;
                (last_finite, shown) = (Some(loss), Some(parts));
            }
            progress.advance(plan.rows() as u64, shown.map(|parts| parts.total()));
            // Not where an interrupt made us look: a continued run has the steps of an uninterrupted one.
            if let (Some(board), Some(parts)) =
                (&mut board, shown.filter(|_| at.step % LOSS_EVERY == 0 || end))
            {
                step_scalars(board, config, at.step, parts, progress.rate())?;
            }
            let _ = give_back.send(plan);
            if end {
                (at.epoch, at.batch) = (at.epoch + 1, 0);
                let auc = epoch_end(learner, run, data, &mut at, last_finite, &progress, board.as_mut())?;
                if let (Some(auc), Some(valid), false) =
                    (auc.filter(|&auc| auc > SUSPICIOUS), &data.valid, suspected)
                {
                    suspected = true;
                    say::warning(&suspicion(auc, &run.schema, &data.train, valid)?);
                }
                if observer.is_some_and(|o| o.evaluated(&at) == Next::Stop) {
                    break;
                }
            }
            if halt && at.epoch < config.epochs && at.stale < config.patience.max(1) {
                save_last(finite(learner, run, data, &at, last_finite)?, learner, run, data, &at)?;
                let run = run.folder.display().to_string();
                return Err(Error::Interrupted { step: at.step, run });
            }
        }
        Ok(())
    });
    progress.finish();
    done?;
    let Some(test) = &data.test else { return Ok(None) };
    learner.import(&run.checkpoint("best")?)?;
    let (evaluation, predictions) = score(learner, run, test)?;
    if predictions.iter().any(|p| p.is_nan()) {
        let cause = extreme::cause(test, Part::Test, &run.schema)?.unwrap_or_default();
        say::warning(format!("data.test: predictions are NaN, so there are no metrics. {cause}").trim_end());
    }
    if let Some(observer) = observer {
        observer.tested(&evaluation, &predictions);
    }
    let rows_per_second = progress.rate();
    let (step, epoch) = (at.best_step, at.epoch);
    run.log(&Line {
        step,
        epoch,
        split: "test",
        train_loss: None,
        rows_per_second,
        evaluation: &evaluation,
    })?;
    if let Some(board) = &mut board {
        board.evaluation("test", &evaluation);
        board.write(step)?;
    }
    Ok(Some(evaluation))
}

/// Whether a run can go on where it stopped: with the rows that it began with, and within a pass with their order.
fn same_order(order: &Order, at: &Position, run: &Run) -> Result<()> {
    let (rows, began) = (order.data.rows(), run.schema.rows);
    if rows as u64 != began {
        let problem = format!("has {rows} rows, but had {began} when the run began");
        return Err(Error::file("data.train", problem, "restore the file, or begin a new run"));
    }
    let now = order.describe();
    if at.batch > 0 && !at.order.is_empty() && at.order != now {
        let problem = format!("stopped within a pass of {}, and cannot go on with {now}", at.order);
        let fix = "continue it with the settings that the pass began with";
        return Err(Error::file(run.folder.display(), problem, fix));
    }
    Ok(())
}

/// What TensorBoard shows of a step.
fn step_scalars(
    board: &mut Writer,
    config: &TrainConfig,
    step: u64,
    loss: StepLoss,
    rows_per_second: f64,
) -> Result<()> {
    let learner = config.learner();
    let share = config.schedule.share(step);
    let scalars = [
        ("loss", loss.total()),
        ("log_loss", loss.bce),
        ("penalty", loss.penalty),
        ("learning_rate", config.optimizer.lr * share),
        ("embedding_learning_rate", learner.tables().lr * share),
        ("rows_per_second", rows_per_second),
    ];
    scalars.iter().for_each(|(name, value)| board.scalar(&format!("train/{name}"), *value));
    board.write(step)
}

/// Evaluates, decides whether this is the best so far, and saves; returns the validation AUC.
fn epoch_end<B: Backend<Elem = f32>, M: Model<B>>(
    learner: &mut Learner<B, M>,
    run: &Run,
    data: &Data,
    at: &mut Position,
    last_finite: Option<f64>,
    progress: &Progress,
    board: Option<&mut Writer>,
) -> Result<Option<f64>> {
    let outline = finite(learner, run, data, at, last_finite)?;
    let (mut better, mut note, mut auc) = (true, String::new(), None);
    if let Some(valid) = &data.valid {
        let (evaluation, _) = score(learner, run, valid)?;
        let all = &evaluation.overall;
        auc = all.auc;
        if all.log_loss.is_some_and(f64::is_nan) {
            return Err(diverged(at.step, f64::NAN, last_finite, run, (valid, Part::Valid))?);
        }
        let value = run.config.train.monitor.value(all);
        let value = value.ok_or_else(|| {
            Error::file(
                "data.valid",
                "has one class only, so its AUC is undefined",
                "use monitor = \"log_loss\"",
            )
        })?;
        better = at.best.is_none_or(|best| value > best);
        at.stale = if better { 0 } else { at.stale + 1 };
        if better {
            (at.best, at.best_step) = (Some(value), at.step);
        }
        let number = |v: Option<f64>| v.map_or("–".into(), |v| format!("{v:.4}"));
        note = format!("  valid auc {}  log loss {}", number(all.auc), number(all.log_loss));
        let (train_loss, rows_per_second) = (Some(at.loss), progress.rate());
        let line = Line {
            step: at.step,
            epoch: at.epoch,
            split: "valid",
            train_loss,
            rows_per_second,
            evaluation: &evaluation,
        };
        run.log(&line)?;
        if let Some(board) = board {
            board.evaluation("valid", &evaluation);
            board.write(at.step)?;
        }
    } else {
        at.best_step = at.step;
    }
    let mark = if better { "  *" } else { "" };
    let (epoch, loss, rate) = (at.epoch, at.loss, progress.rate());
    progress.line(&format!("epoch {epoch:>3}  loss {loss:.4}{note}  {rate:.0} rows/s{mark}"));
    if better {
        let path = run.checkpoint_path("best");
        checkpoint::save(&path, &outline, at, &run.fingerprint()?, |sink| learner.export_to(sink))?;
    }
    save_last(outline, learner, run, data, at)?;
    Ok(auc)
}

/// What the parameters are.
fn outline<B: Backend<Elem = f32>, M: Model<B>>(learner: &Learner<B, M>) -> Result<Outline> {
    let mut outline = Outline::default();
    learner.export_to(&mut outline)?;
    Ok(outline)
}

/// The same, or that training diverged: a finite loss may be followed by an update that is not.
fn finite<B: Backend<Elem = f32>, M: Model<B>>(
    learner: &Learner<B, M>,
    run: &Run,
    data: &Data,
    at: &Position,
    last_finite: Option<f64>,
) -> Result<Outline> {
    let outline = outline(learner)?;
    match outline.is_finite() {
        true => Ok(outline),
        false => Err(diverged(at.step, f64::NAN, last_finite, run, (&data.train, Part::Train))?),
    }
}

/// Writes the checkpoint `last`: the parameters of `outline`, and the optimizer's state.
fn save_last<B: Backend<Elem = f32>, M: Model<B>>(
    mut outline: Outline,
    learner: &Learner<B, M>,
    run: &Run,
    data: &Data,
    at: &Position,
) -> Result<()> {
    learner.export_state_to(&mut outline)?;
    if !outline.is_finite() {
        return Err(diverged(at.step, f64::NAN, Some(at.loss), run, (&data.train, Part::Train))?);
    }
    checkpoint::save(&run.checkpoint_path("last"), &outline, at, &run.fingerprint()?, |sink| {
        learner.export_to(sink)?;
        learner.export_state_to(sink)
    })
}

/// Metrics of a data set and one prediction a row.
fn score<B: Backend<Elem = f32>, M: Model<B>>(
    learner: &mut Learner<B, M>,
    run: &Run,
    data: &Rows,
) -> Result<(Evaluation, Vec<f32>)> {
    let mut sums = vec![0.0; 1 + learner.model().stats()];
    let (predictions, scored) = data.predict(learner, &mut sums)?;
    let evaluation = evaluate(&scored, &run.schema, &predictions);
    let diagnostics = learner.model().diagnostics(&sums[1..], data.rows() as f64);
    Ok((evaluation.with_diagnostics(diagnostics), predictions))
}

/// The error of a loss of `rows` that is not finite, and what is likely to blame.
fn diverged(
    step: u64,
    loss: f64,
    last: Option<f64>,
    run: &Run,
    (rows, part): (&Rows, Part),
) -> Result<Error> {
    let cause = extreme::cause(rows, part, &run.schema)?.unwrap_or_else(|| of_training(run));
    let last = last.map_or("none".to_string(), |v| format!("{v:.6}"));
    Ok(Error::Diverged { step, loss, last, cause })
}

/// Setting of the training that is likely to blame.
fn of_training(run: &Run) -> String {
    let train = &run.config.train;
    let mut cause = match train.clip_norm {
        None => format!(
            "Likely the learning rate {} is too high: lower train.optimizer.lr, or set train.clip_norm = 1.0",
            train.optimizer.lr
        ),
        Some(_) => {
            format!("Likely the learning rate {} is too high: lower train.optimizer.lr", train.optimizer.lr)
        }
    };
    if run.config.model.embeddings.dtype == TableDtype::F16 {
        cause += "; or, if embeddings have to exceed 65504, set model.embeddings.dtype = \"bf16\"";
    }
    cause
}
