//! Epochs, evaluation, early stopping, checkpoints: for any model on any backend.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::thread::Builder;

use optmsm_core::backend::Backend;
use optmsm_core::learner::{KEPT, Learner, LearnerConfig, Trace};
use optmsm_core::metrics::{AUC, LOG_LOSS, Metric};
use optmsm_core::model::{Measured, Model};
use optmsm_core::params::TensorSink;
use optmsm_core::rounding::TableDtype;
use optmsm_data::{DataError, Split, printable};

use crate::alone::{SUSPICIOUS, suspicion};
use crate::balance::Balance;
use crate::calibration;
use crate::checkpoint::{self, Outline, Position};
use crate::error::{Error, FileErrorKind, Result};
use crate::evaluate::{Evaluation, evaluate};
use crate::every::{Every, Place};
use crate::extreme;
use crate::history::Line;
use crate::loader::Order;
use crate::progress::Progress;
use crate::record::Record;
use crate::resume;
use crate::rows::Rows;
use crate::run::Run;
use crate::sampling::{Shift, Weighing};
use crate::say;
use crate::stretch::MeanLoss;
use crate::tensorboard::Writer;

/// Metrics of validation rows that the line of an evaluation has.
const SHOWN: [&Metric; 2] = [&AUC, &LOG_LOSS];
/// Steps between two looks at losses: a device need not stop for it.
const LOOK_EVERY: u64 = KEPT as u64;
/// Batches that the loader is ahead.
const AHEAD: usize = 2;
/// Batches that are there at a time: those ahead, and with the loader, the learner, and on the way back one each.
pub(crate) const PLANS: usize = AHEAD + 3;

/// Encoded data of a run.
#[derive(Debug)]
pub struct Data {
    /// Rows to train on.
    pub train: Rows,
    /// Rows that early stopping watches; without them every evaluation counts as better.
    pub valid: Option<Rows>,
    /// Rows that are scored once, at the end, with the best parameters.
    pub test: Option<Rows>,
    /// The files that they come from.
    pub record: Record,
}

/// Next step after an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More training, if configuration and early stopping leave some.
    Continue,
    /// The end of the run, as after the last pass.
    Stop,
}

/// Watches a run from outside, and may end it.
pub trait Observer: std::fmt::Debug {
    /// Some rows were trained on; their mean loss is there every few steps.
    fn trained(&self, _rows: u64, _loss: Option<f64>) {}

    /// Parameters were evaluated on the validation rows, if there are any, and saved.
    fn evaluated(&self, _at: &Position, _valid: Option<&Evaluation>) -> Next {
        Next::Continue
    }

    /// The test rows were scored with the best parameters; one prediction per row.
    fn tested(&self, _evaluation: &Evaluation, _predictions: &[f32]) {}
}

/// How a run begins and when it is interrupted.
#[derive(Clone, Copy, Debug)]
pub struct Control<'a> {
    /// Continue from the checkpoint `last`.
    pub resume: bool,
    /// Becomes true when the user asks to stop.
    pub stop: &'a AtomicBool,
    /// Step after which to stop and save, as if the user had asked; 0 trains nothing.
    pub max_steps: Option<u64>,
    /// Print nothing.
    pub quiet: bool,
    /// Hears of every evaluation.
    pub observer: Option<&'a dyn Observer>,
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
    let (ranks, job) = (&run.ranks, learner.job());
    let quiet = quiet || !ranks.leads();
    ranks.compare(&learner.backend().name())?;
    let mut at = Position::default();
    if resume {
        let checkpoint = run.checkpoint("last")?;
        learner.import(&checkpoint)?;
        learner.import_state(&checkpoint, checkpoint.position.step)?;
        at = checkpoint.position;
    } else {
        if ranks.leads() {
            resume::keep(run, &data.record, false)?;
        }
        // So that a run can be continued from its first step on.
        save_last(outline(learner)?, learner, run, data, &at)?;
    }
    let config = &run.config.train;
    learner.answer_by(calibration::answer(Shift::of(&run.config.data, &run.schema)?, None));
    let input = run.schema.input_spec();
    let balance = Balance::of(&run.config.data, &run.schema, &data.train)?;
    balance.iter().filter(|_| !quiet).for_each(|balance| say::line(&balance.to_string()));
    let order = Order {
        data: &data.train,
        input: &input,
        batch_size: config.batch_size,
        job: &job,
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
        if !at.monitor.is_empty() && at.monitor != config.monitor.to_string() {
            // Parameters that were best so far go on as that, by the value that early stopping watches now.
            at.best = ranks.share(|| run.monitored(at.best_step))?;
        }
        if ranks.leads() {
            resume::keep(run, &data.record, true)?;
        }
    }
    (at.order, at.monitor) = (order.describe(), config.monitor.to_string());
    let mut board = (config.tensorboard && ranks.leads()).then(|| Writer::open(&run.folder)).transpose()?;
    let batches = order.batches();
    // Of a run that has only its test rows to score there is nothing to stop.
    let going = |at: &Position| at.epoch < config.epochs && at.stale < config.patience.max(1);
    let halted = |at: &Position| Error::Interrupted { step: at.step, run: run.folder.display().to_string() };
    if going(&at) {
        let steps = batches.steps(config.epochs);
        learner.set_run(steps).map_err(|e| run.config.origin.locate(e.into()))?;
        let warmup = config.schedule.warmup;
        if warmup >= steps {
            say::warning(&format!(
                "train.schedule.warmup: is {warmup}, so all {steps} steps of the run are warm-up"
            ));
        }
        if max_steps.is_some_and(|max| at.step >= max) {
            return Err(halted(&at));
        }
    }
    let mut progress = Progress::new(config.epochs * data.train.rows() as u64, quiet);
    let done = std::thread::scope(|scope| {
        let (plans, planned) = sync_channel(AHEAD);
        let (give_back, spare) = channel();
        let begin = (at.epoch, at.batch);
        let of_run = &order;
        let plan = move || of_run.run(begin, config.epochs, &plans, &spare);
        Builder::new().spawn_scoped(scope, plan).map_err(DataError::thread)?;
        let (mut trace, mut last_finite, mut suspected) = (Trace::default(), None, false);
        while going(&at) {
            let Ok(plan) = planned.recv() else { break };
            let plan = plan?;
            let before = batches.rows_at(&at);
            learner.step_cut(&plan)?;
            (at.step, at.batch) = (at.step + 1, at.batch + 1);
            let pass_ends = at.batch == batches.count();
            if pass_ends {
                (at.epoch, at.batch) = (at.epoch + 1, 0);
            }
            at.passes = Some(batches.passes_at(&at));
            let now = Place { step: at.step, rows: batches.rows_at(&at), pass_ends };
            let last = at.epoch == config.epochs;
            let evaluates = last || config.evaluate_every.ends(before, now);
            let saves = config.checkpoint_every.is_some_and(|every| every.ends(before, now));
            // One of the ranks that is asked to stop stops them all.
            let halt =
                ranks.any(stop.load(Ordering::Relaxed))? || max_steps.is_some_and(|max| at.step >= max);
            let shows = at.step.is_multiple_of(LOOK_EVERY) || evaluates;
            if shows || saves || halt {
                learner.trace(&mut trace)?;
                for step in &trace.steps {
                    let loss = step.loss.total();
                    if !loss.is_finite() {
                        return Err(diverged(
                            step.step,
                            loss,
                            last_finite,
                            run,
                            (&data.train, Split::Train),
                        )?);
                    }
                    last_finite = Some(loss);
                }
                at.stretch.add(&trace);
                at.loss = at.stretch.losses.mean().total();
            }
            let rows = plan.rows() as u64;
            progress.advance(rows, shows.then_some(at.loss));
            if let Some(observer) = observer {
                observer.trained(rows, shows.then_some(at.loss));
            }
            // Not where an interrupt made us look: a continued run has the points of an uninterrupted one.
            if shows {
                let loss = std::mem::take(&mut at.stretch.recent).mean();
                if let Some(board) = &mut board {
                    step_scalars(board, learner.config(), at.step, loss, progress.rate())?;
                }
            }
            let _ = give_back.send(plan);
            if evaluates {
                let found = evaluated(learner, run, data, &mut at, last_finite, &progress, board.as_mut())?;
                let auc = found.as_ref().and_then(|found| found.overall.get(&AUC));
                if let (Some(auc), Some(valid), false) =
                    (auc.filter(|&auc| auc > SUSPICIOUS), &data.valid, suspected)
                {
                    suspected = true;
                    say::warning(&suspicion(auc, &run.schema, &data.train, valid)?);
                }
                let ends = observer.is_some_and(|o| o.evaluated(&at, found.as_ref()) == Next::Stop);
                if ranks.any(ends)? {
                    break;
                }
            }
            let stops = halt && going(&at);
            if stops || (saves && !evaluates) {
                save_last(finite(learner, run, data, &at, last_finite)?, learner, run, data, &at)?;
            }
            if stops {
                return Err(halted(&at));
            }
        }
        Ok(())
    });
    progress.finish();
    done?;
    let Some(test) = &data.test else { return Ok(None) };
    let best = run.checkpoint("best")?;
    learner.import(&best)?;
    let (evaluation, predictions) = score(learner, run, (test, Split::Test))?;
    if predictions.iter().any(|p| p.is_nan()) {
        let cause = extreme::cause(test, Split::Test, &run.schema)?.unwrap_or_default();
        say::warning(format!("data.test: predictions are NaN, so there are no metrics. {cause}").trim_end());
    }
    if let Some(observer) = observer {
        observer.tested(&evaluation, &predictions);
    }
    let line = Line {
        step: best.position.step,
        epoch: run.passes(&best.position),
        split: "test".into(),
        train_loss: None,
        train_log_loss: None,
        train_auc: None,
        rows_per_second: progress.rate(),
        evaluation,
    };
    run.log(&line)?;
    if let Some(board) = &mut board {
        board.evaluation("test", &line.evaluation);
        board.write(line.step)?;
    }
    Ok(Some(line.evaluation))
}

/// Whether a run can go on where it stopped: with the rows that it began with, and within a pass with their order.
fn same_order(order: &Order, at: &Position, run: &Run) -> Result<()> {
    let (rows, began) = (order.data.rows(), run.schema.rows);
    if rows as u64 != began {
        let problem = format!("has {rows} rows, but had {began} when the run began");
        return Err(Error::rows("data.train", problem, "restore the file, or begin a new run"));
    }
    let now = order.describe();
    if at.batch > 0 && !at.order.is_empty() && at.order != now {
        let problem = format!("stopped within a pass of {}, and cannot go on with {now}", at.order);
        let fix = "continue it with the settings that the pass began with";
        return Err(Error::file(FileErrorKind::Foreign, run.folder.display(), problem, fix));
    }
    Ok(())
}

/// Shows a step in TensorBoard, with the mean loss of the steps since the point before.
fn step_scalars(
    board: &mut Writer,
    config: &LearnerConfig,
    step: u64,
    loss: MeanLoss,
    rows_per_second: f64,
) -> Result<()> {
    let share = config.schedule.share(step);
    let scalars = [
        ("loss", loss.total()),
        ("log_loss", loss.bce),
        ("penalty", loss.penalty),
        ("learning_rate", config.optimizer.lr * share),
        ("embedding_learning_rate", config.tables().lr * share),
        ("rows_per_second", rows_per_second),
    ];
    scalars.iter().for_each(|(name, value)| board.scalar(&format!("train/{name}"), *value));
    board.write(step)
}

/// Evaluates, decides whether this is the best so far, and saves; returns the evaluation of the validation rows.
fn evaluated<B: Backend<Elem = f32>, M: Model<B>>(
    learner: &mut Learner<B, M>,
    run: &Run,
    data: &Data,
    at: &mut Position,
    last_finite: Option<f64>,
    progress: &Progress,
    mut board: Option<&mut Writer>,
) -> Result<Option<Evaluation>> {
    let outline = finite(learner, run, data, at, last_finite)?;
    let (mut better, mut note, mut found) = (true, String::new(), None);
    let stretch = std::mem::take(&mut at.stretch);
    let (train_auc, train_log_loss) = (stretch.auc(), Some(stretch.losses.mean().bce));
    let epoch = run.passes(at);
    at.evaluations += 1;
    if let Some(valid) = &data.valid {
        let (evaluation, _) = score(learner, run, (valid, Split::Valid))?;
        let all = &evaluation.overall;
        if all.get(&LOG_LOSS).is_some_and(f64::is_nan) {
            return Err(diverged(at.step, f64::NAN, last_finite, run, (valid, Split::Valid))?);
        }
        let monitor = &run.config.train.monitor;
        let value = monitor.value(&evaluation).ok_or_else(|| monitor.undefined("data.valid"))?;
        better = at.best.is_none_or(|best| value > best);
        at.stale = if better { 0 } else { at.stale + 1 };
        if better {
            (at.best, at.best_step) = (Some(value), at.step);
        }
        let number = |v: Option<f64>| v.map_or("–".into(), |v| format!("{v:.4}"));
        let shown = SHOWN.map(|m| format!("  {} {}", m.title.to_lowercase(), number(all.get(m))));
        note = format!("  valid{}", &shown.concat()[1..]);
        if !monitor.is_among(&SHOWN) {
            note += &format!("  {} {:.4}", printable(&monitor.to_string()), monitor.sign() * value);
        }
        let line = Line {
            step: at.step,
            epoch,
            split: "valid".into(),
            train_loss: Some(at.loss),
            train_log_loss,
            train_auc,
            rows_per_second: progress.rate(),
            evaluation,
        };
        run.log(&line)?;
        if let Some(board) = &mut board {
            board.evaluation("valid", &line.evaluation);
        }
        found = Some(line.evaluation);
    } else {
        at.best_step = at.step;
    }
    if let Some(board) = board {
        board.scalar("train/auc", train_auc.unwrap_or(f64::NAN));
        board.write(at.step)?;
    }
    let mark = if better { "  *" } else { "" };
    let (loss, rate) = (at.loss, progress.rate());
    let place = match run.config.train.evaluate_every {
        Every::Pass => format!("epoch {:>3}", at.epoch),
        _ => format!("step {:>7}  epoch {epoch:>6.2}", at.step),
    };
    let seen = train_auc.map_or(String::new(), |auc| format!("  auc {auc:.4}"));
    progress.line(&format!("{place}  loss {loss:.4}{seen}{note}  {rate:.0} rows/s{mark}"));
    if better {
        save(run, "best", &outline, at, |sink| learner.export_to(sink))?;
    }
    save_last(outline, learner, run, data, at)?;
    Ok(found)
}

/// Names, types and shapes of the parameters, and whether all are finite.
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
    // Rank 0 alone has seen the elements.
    match run.ranks.any(!outline.is_finite())? {
        false => Ok(outline),
        true => Err(diverged(at.step, f64::NAN, last_finite, run, (&data.train, Split::Train))?),
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
    if run.ranks.any(!outline.is_finite())? {
        return Err(diverged(at.step, f64::NAN, Some(at.loss), run, (&data.train, Split::Train))?);
    }
    save(run, "last", &outline, at, |sink| {
        learner.export_to(sink)?;
        learner.export_state_to(sink)
    })
}

/// Writes a checkpoint; of several ranks the first one does, with what the others bring.
fn save(
    run: &Run,
    name: &str,
    outline: &Outline,
    at: &Position,
    export: impl FnOnce(&mut dyn TensorSink<f32>) -> optmsm_core::error::Result<()>,
) -> Result<()> {
    match run.ranks.leads() {
        true => checkpoint::save(&run.checkpoint_path(name), outline, at, &run.fingerprint()?, export)?,
        false => export(&mut Outline::default())?,
    }
    // Nobody reads it before it is there.
    run.ranks.wait()
}

/// Metrics of a data set and one prediction per row.
fn score<B: Backend<Elem = f32>, M: Model<B>>(
    learner: &mut Learner<B, M>,
    run: &Run,
    (data, part): (&Rows, Split),
) -> Result<(Evaluation, Vec<f32>)> {
    let mut measured = Measured::of_rows(learner.spec());
    let (predictions, scored) = data.predict(learner, &mut measured)?;
    let whole = run.config.data.unsampled.contains(&part);
    let weighing = Weighing::of(&run.config.data, &run.schema, whole)?;
    let evaluation = evaluate(&scored, &run.schema, &weighing, &predictions);
    Ok((evaluation.with_diagnostics(measured.means(learner.spec())), predictions))
}

/// The error of a loss of `rows` that is not finite, and what is likely to blame.
fn diverged(
    step: u64,
    loss: f64,
    last: Option<f64>,
    run: &Run,
    (rows, part): (&Rows, Split),
) -> Result<Error> {
    let cause = extreme::cause(rows, part, &run.schema)?.unwrap_or_else(|| of_training(run));
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
