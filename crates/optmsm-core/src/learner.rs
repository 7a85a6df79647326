//! Training: one step at a time, on any backend, for any model.

mod builder;
mod footprint;
mod trace;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, Elem, Mat, TableStep, Write};
use crate::batch::Batch;
use crate::error::{BatchPart, Error, Result};
use crate::lanes::{StepKey, TrainingLanes};
use crate::model::{Exhibit, Measured, Model, ModelSpec};
use crate::optim::{
    AverageConfig, Clip, DecayRows, OptimizerConfig, Period, Schedule, ScheduleConfig, Update,
};
use crate::params::{HostTensor, TableSpec, TensorSink, TensorSource};
use crate::plan::Plan;
use crate::predictor::{Answer, plain};
use crate::rounding::{Rounding, TableDtype};
use crate::runtime::Params;
use crate::tables::{CURRENT, Moving, PIECE, Rest};

pub use builder::LearnerBuilder;
pub use footprint::{Footprint, footprint};
pub use trace::{KEPT, Trace, TracedStep};

use trace::Tracer;

/// How parameters move.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnerConfig {
    /// Dense parameters.
    pub optimizer: OptimizerConfig,
    /// Embedding tables, in the sparse form; the dense one's values when not given.
    pub embedding_optimizer: Option<OptimizerConfig>,
    /// Learning rate over the steps.
    pub schedule: ScheduleConfig,
    /// Largest global norm of the gradient; not clipped when not given.
    pub clip_norm: Option<f64>,
    /// Average of the parameters over the steps, which predicts in their place; none when not given.
    pub average: Option<AverageConfig>,
}

impl LearnerConfig {
    /// The tables' update rule.
    pub fn tables(&self) -> &OptimizerConfig {
        self.embedding_optimizer.as_ref().unwrap_or(&self.optimizer)
    }

    /// Checks every constant; keys start with `train.`.
    pub fn validate(&self) -> Result<()> {
        self.optimizer.validate("train.optimizer", false)?;
        let of_tables = match self.embedding_optimizer {
            Some(_) => "train.embedding_optimizer",
            None => "train.optimizer",
        };
        self.tables().validate(of_tables, true)?;
        if self.embedding_optimizer.is_some() && self.optimizer.decay_rows == DecayRows::All {
            let fix = "set it in train.embedding_optimizer, which moves the tables";
            return Err(Error::config(
                "train.optimizer.decay_rows",
                "is about rows of embedding tables",
                fix,
            ));
        }
        self.schedule.validate("train.schedule")?;
        self.average.as_ref().map_or(Ok(()), |average| average.validate("train.average"))?;
        match self.clip_norm {
            Some(v) if !(v.is_finite() && v > 0.0) => {
                let problem = format!("must be above 0, got {v}");
                Err(Error::config("train.clip_norm", problem, "change it, or leave it out"))
            }
            _ => Ok(()),
        }
    }

    /// How a step of an update rule moves rows of tables that it does not touch.
    fn rest(&self, step: u64, share: f64) -> Rest {
        let rule = self.tables();
        let shrink = match rule.decay_rows {
            DecayRows::Touched => 1.0,
            DecayRows::All => 1.0 - rule.lr * share * rule.weight_decay,
        };
        Rest { shrink, keep: self.average.as_ref().map_or(1.0, |average| average.keep(step)) }
    }

    /// Whether tables are stored otherwise than they are exported.
    fn tables_have_state(&self) -> bool {
        self.average.is_some() || self.tables().decay_rows == DecayRows::All
    }
}

/// Loss of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLoss {
    /// Weighted mean of the binary cross-entropy.
    pub bce: f64,
    /// The penalties.
    pub penalty: f64,
}

impl StepLoss {
    /// From the sums of a batch of `rows` rows of the weight `weight` together.
    fn of<B: Backend, M: Model<B>>(model: &M, sums: &[f64], rows: usize, weight: f64) -> Self {
        let bce = if weight > 0.0 { sums[0] / weight } else { 0.0 };
        Self { bce, penalty: model.penalty(&sums[1..], rows as f64) }
    }

    /// The loss that the gradient is of.
    pub fn total(&self) -> f64 {
        self.bce + self.penalty
    }
}

/// A model with its gradients and optimizer state. Where parameters are averaged ([`LearnerConfig::average`]), the model is that
/// of the averages: they predict and are exported, and what training goes on from is part of its state.
pub struct Learner<B: Backend, M: Model<B>> {
    be: Arc<B>,
    model: M,
    config: LearnerConfig,
    seed: u64,
    step: u64,
    params: Params<B>,
    lanes: TrainingLanes<B, M>,
    state: Vec<B::Buf>,       // laid out as the dense parameters
    tables: Vec<Vec<B::Buf>>, // each table's optimizer state; none of a frozen one
    sum_sq: B::Buf,           // [1]
    plan: Plan<B::Elem>,
    tracer: Tracer<B>,
    last: (usize, f64), // rows and Σw of the last step
    answer: Answer,
}

impl<B: Backend, M: Model<B>> std::fmt::Debug for Learner<B, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { config, seed, step, .. } = self;
        let mut f = f.debug_struct("Learner");
        f.field("spec", self.spec()).field("config", config).field("seed", seed).field("step", step);
        f.finish_non_exhaustive()
    }
}

impl<B: Backend, M: Model<B>> Learner<B, M> {
    /// Initial parameters of `seed`, and memory for batches of at most `max_rows` rows.
    ///
    /// # Errors
    /// When a constant is out of range, or memory is short.
    pub fn new(be: B, model: M, config: LearnerConfig, max_rows: usize, seed: u64) -> Result<Self> {
        let mut learner = Self::allocate(be, model, config, max_rows, seed)?;
        let Self { be, model, params, .. } = &mut learner;
        params.init(be, model, seed)?;
        Ok(learner)
    }

    /// All the memory of [`Learner::new`], with zeros for parameters.
    fn allocate(be: B, model: M, config: LearnerConfig, max_rows: usize, seed: u64) -> Result<Self> {
        config.validate()?;
        let params = Params::new(&be, &model, config.average.is_some())?;
        let (count, _) = config.optimizer.state();
        let state = (0..count).map(|_| be.alloc(model.spec().params().len())).collect::<Result<_>>()?;
        let (count, per_row) = config.tables().state();
        let table = |t: &TableSpec| -> Result<Vec<B::Buf>> {
            let count = if t.frozen { 0 } else { count };
            let len = if per_row { t.rows } else { t.rows * t.width };
            (0..count).map(|_| be.alloc(len)).collect()
        };
        Ok(Self {
            tables: model.spec().embedding().tables().iter().map(table).collect::<Result<_>>()?,
            lanes: TrainingLanes::new(&be, &model, max_rows)?,
            sum_sq: be.alloc(1)?,
            plan: Plan::default(),
            tracer: Tracer::new(&be, &model, max_rows)?,
            last: (0, 1.0),
            answer: plain(),
            step: 0,
            be: Arc::new(be),
            model,
            config,
            seed,
            params,
            state,
        })
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        &self.be
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Inputs, tensors and measures of the model.
    pub fn spec(&self) -> &ModelSpec {
        self.model.spec()
    }

    /// How parameters move.
    pub fn config(&self) -> &LearnerConfig {
        &self.config
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Says how many steps the run has, first to last, which a schedule of `period = "run"` goes by from then on.
    ///
    /// # Errors
    /// The schedule's rate is 0 in some of them ([`ScheduleConfig::validate_run`]).
    pub fn set_run(&mut self, steps: u64) -> Result<()> {
        let schedule = self.config.schedule.resolved(steps);
        schedule.validate_run("train.schedule", steps)?;
        self.config.schedule = schedule;
        Ok(())
    }

    /// One training step on rows in any order; returns its loss.
    ///
    /// # Errors
    /// When the batch does not fit the model's inputs, the schedule needs [`Learner::set_run`], or the device failed.
    pub fn step(&mut self, batch: &Batch) -> Result<StepLoss> {
        let mut plan = std::mem::take(&mut self.plan);
        let done = plan.build(batch, self.model.spec().input(), true).and_then(|()| self.step_plan(&plan));
        self.plan = plan;
        done?;
        self.loss()
    }

    /// One training step on a plan that a loader made; [`Learner::trace`] reads its loss when wanted.
    pub fn step_plan(&mut self, plan: &Plan<B::Elem>) -> Result<()> {
        let be = Arc::clone(&self.be);
        be.run_step(|| self.step_inside(plan))
    }

    fn step_inside(&mut self, plan: &Plan<B::Elem>) -> Result<()> {
        if self.config.schedule.kind != Schedule::Constant && self.config.schedule.period == Period::RUN {
            let problem = "\"run\" says nothing here, where the number of steps is not known";
            return Err(Error::config("train.schedule.period", problem, "give a number of steps"));
        }
        self.gradients(plan, true)?;
        self.step += 1;
        self.tracer.keep(&*self.be, &self.lanes, plan, self.step);
        let Self { be, config, params, lanes, state, tables, sum_sq, .. } = self;
        let len = params.dense.layout().len();
        let specs = self.model.spec().embedding().tables();
        let Some(grads) = lanes.grads() else { return Ok(()) };
        let (embedding, inputs) = (lanes.embedding(), lanes.inputs());
        let moving = |spec: &&TableSpec| !spec.frozen;
        if config.clip_norm.is_some() {
            be.sum_sq(sum_sq, Write::Set, &grads.dense.buf, len);
            for spec in specs.iter().filter(moving) {
                let len = inputs.touched(spec).unique_count * spec.width;
                be.sum_sq(sum_sq, Write::Add, embedding.table(spec), len);
            }
        }
        let clip = || config.clip_norm.map(|max_norm| Clip { max_norm, sum_sq: &*sum_sq });
        let share = config.schedule.share(self.step);
        let update = Update::new(&config.optimizer, self.step, share, clip());
        be.step_dense(&mut params.dense.buf, &grads.dense.buf, state, len, &update);
        let rest = config.rest(self.step, share);
        if let Some(average) = &mut params.average {
            be.average(&mut average.buf, &params.dense.buf, len, rest.keep);
        }
        let mut update = Update::new(config.tables(), self.step, share, clip());
        let (rows, p) = params.tables.rest(&**be, rest);
        if config.tables().decay_rows == DecayRows::All {
            // They have decayed with all rows; w = p · w̃ moves by lr where w̃ moves by lr / p.
            (update.weight_decay, update.lr) = (0.0, update.lr / p);
        }
        let steps = specs.iter().zip(tables).zip(rows).enumerate();
        let steps = steps.filter_map(|(number, ((spec, state), moving))| {
            let Moving { rows: table, average } = moving?;
            let column = inputs.touched(spec);
            let g = Mat::new(embedding.table(spec), column.unique_count, spec.width);
            let rounding = Rounding::new(self.seed, self.step as u32, number);
            Some(TableStep { table, g, state, average, rows: &column.unique, rounding })
        });
        be.step_tables(steps, &update);
        Ok(())
    }

    /// Leaves the gradient of the mean loss of a plan in the lanes; running statistics move only when `moving`.
    fn gradients(&mut self, plan: &Plan<B::Elem>, moving: bool) -> Result<()> {
        if plan.rows() == 0 {
            return Err(Error::batch(BatchPart::Batch, None, "has no rows"));
        }
        self.last = (plan.rows(), plan.weight_sum);
        let key = StepKey { seed: self.seed, step: self.step as u32, moving };
        self.lanes.gradients(&self.be, &self.model, &mut self.params, plan, key)
    }

    /// Loss of the last step, read back from the device.
    pub fn loss(&mut self) -> Result<StepLoss> {
        let sums = self.lanes.sums(&self.be)?;
        let (rows, weight) = self.last;
        Ok(StepLoss::of(&self.model, &sums, rows, weight))
    }

    /// Moves what the steps since the last call computed into `to`; of more than [`KEPT`] steps the last.
    ///
    /// # Errors
    /// When the device failed.
    pub fn trace(&mut self, to: &mut Trace<B::Elem>) -> Result<()> {
        self.tracer.read(&*self.be, &self.model, to)
    }

    /// From now on, probabilities are what `answer` makes of the logits; training is what it was.
    pub fn answer_by(&mut self, answer: Answer) {
        self.answer = answer;
    }

    /// Probabilities in the order of the rows, with the averaged parameters where there are any, else with the current ones.
    /// A batch of more rows than a step takes is computed in pieces. No later step depends on it.
    ///
    /// # Errors
    /// When the batch does not fit the model's inputs, or the device failed.
    pub fn predict(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        self.predict_and_measure(batch, None)
    }

    /// The same, adding the model's measures to `measured`.
    ///
    /// # Errors
    /// As [`Learner::predict`].
    pub fn predict_measuring(&mut self, batch: &Batch, measured: &mut Measured) -> Result<Vec<f32>> {
        self.predict_and_measure(batch, Some(measured))
    }

    fn predict_and_measure(&mut self, batch: &Batch, measured: Option<&mut Measured>) -> Result<Vec<f32>> {
        let Self { be, model, params, lanes, plan, answer, .. } = self;
        let mut out = vec![0.0; batch.rows()];
        let each = |row: usize, o: B::Elem| out[row] = answer(o.wide(), batch.scenarios[row]);
        lanes.predict((be, model, params), plan, batch, measured, each)?;
        Ok(out)
    }

    /// Tables to look at, made of the weights that predict and of measured rows.
    ///
    /// # Errors
    /// When the device failed.
    pub fn exhibits(&mut self, measured: &Measured) -> Result<Vec<Exhibit>> {
        let Self { be, model, params, lanes, .. } = self;
        lanes.exhibits((be, model, params), measured)
    }

    /// The parameters, or their averages where there are any, by the names of model.md §10.
    pub fn export(&self) -> Result<Vec<HostTensor<B::Elem>>> {
        let mut tensors = Vec::new();
        self.export_to(&mut tensors)?;
        Ok(tensors)
    }

    /// The same in pieces, with the type that each tensor is stored in.
    pub fn export_to(&self, sink: &mut dyn TensorSink<B::Elem>) -> Result<()> {
        self.params.export(&*self.be, &self.model, sink)
    }

    /// The gradients of `self.plan`, by the names of the parameters; tables dense.
    fn export_gradients(&self) -> Result<Vec<HostTensor<B::Elem>>> {
        let Some(grads) = self.lanes.grads() else { return Ok(Vec::new()) };
        let mut tensors = Vec::new();
        self.model.spec().params().export(&*self.be, &grads.dense.buf, &mut tensors, str::to_string)?;
        for spec in self.model.spec().embedding().tables() {
            let own = || &self.plan.columns[spec.fields[0]];
            let unique = &spec.shared.map_or_else(own, |number| &self.plan.shared[number]).unique;
            let mut rows = vec![B::Elem::default(); unique.len() * spec.width];
            self.be.download(&mut rows, self.lanes.embedding().table(spec), 0)?;
            let mut data = vec![B::Elem::default(); spec.rows * spec.width];
            for (&id, g) in unique.iter().zip(rows.chunks(spec.width)) {
                data[id as usize * spec.width..][..spec.width].copy_from_slice(g);
            }
            tensors.push(HostTensor { name: spec.name.clone(), shape: vec![spec.rows, spec.width], data });
        }
        Ok(tensors)
    }

    /// Loss and gradients (by the names of the parameters; tables dense) at the current parameters, without a step.
    pub fn loss_and_gradients(&mut self, batch: &Batch) -> Result<(StepLoss, Vec<HostTensor<B::Elem>>)> {
        let mut plan = std::mem::take(&mut self.plan);
        let done =
            plan.build(batch, self.model.spec().input(), true).and_then(|()| self.gradients(&plan, false));
        self.plan = plan;
        done?;
        Ok((self.loss()?, self.export_gradients()?))
    }

    /// Takes the parameters from `source`, at which averages then start; other optimizer state stays.
    pub fn import(&mut self, source: &dyn TensorSource<B::Elem>) -> Result<()> {
        self.params.import(&*self.be, &self.model, source)
    }

    /// Replaces rows of a table, from row `first` on; `name` is that of [`Learner::export`], and `data` whole rows.
    ///
    /// # Errors
    /// There is no such table or row, or a number is out of the range of the table's type.
    pub fn set_rows(&mut self, name: &str, first: usize, data: &[B::Elem]) -> Result<()> {
        self.params.tables.set_rows(&*self.be, self.model.spec().embedding().tables(), name, first, data)
    }

    /// Optimizer state, as `optimizer.{state}.{parameter}`: with what [`Learner::export`] brings, all that training goes on from.
    pub fn export_state(&self) -> Result<Vec<HostTensor<B::Elem>>> {
        let mut tensors = Vec::new();
        self.export_state_to(&mut tensors)?;
        Ok(tensors)
    }

    /// The same in pieces.
    pub fn export_state_to(&self, sink: &mut dyn TensorSink<B::Elem>) -> Result<()> {
        for (flat, state) in self.state.iter().zip(self.config.optimizer.state_names()) {
            let name = |name: &str| format!("optimizer.{state}.{name}");
            self.model.spec().params().export(&*self.be, flat, sink, name)?;
        }
        let mut host = Vec::new();
        let rule = self.config.tables();
        for (spec, table) in self.model.spec().embedding().tables().iter().zip(&self.tables) {
            let shape = state_shape(rule, spec);
            let len = shape.iter().product();
            for (buf, state) in table.iter().zip(rule.state_names()) {
                sink.begin(&format!("optimizer.{state}.{}", spec.name), &shape, TableDtype::F32);
                for first in (0..len).step_by(PIECE) {
                    host.resize(PIECE.min(len - first), B::Elem::default());
                    self.be.download(&mut host, buf, first)?;
                    sink.piece(&host);
                }
            }
        }
        let (be, model, params) = (&*self.be, &self.model, &self.params);
        if params.averaged() {
            model.spec().params().export(be, &params.dense.buf, sink, |name| format!("{CURRENT}{name}"))?;
        }
        if self.config.tables_have_state() {
            params.tables.export_state(be, model.spec().embedding().tables(), sink)?;
        }
        Ok(())
    }

    /// Takes optimizer state and the number of steps from a checkpoint, after [`Learner::import`] of its parameters.
    pub fn import_state(&mut self, source: &dyn TensorSource<B::Elem>, steps: u64) -> Result<()> {
        for (flat, state) in self.state.iter_mut().zip(self.config.optimizer.state_names()) {
            let name = |name: &str| format!("optimizer.{state}.{name}");
            self.model.spec().params().import(&*self.be, flat, source, name)?;
        }
        let (be, rule) = (&*self.be, self.config.tables());
        for (spec, table) in self.model.spec().embedding().tables().iter().zip(&mut self.tables) {
            for (buf, state) in table.iter_mut().zip(rule.state_names()) {
                let mut first = 0;
                let name = format!("optimizer.{state}.{}", spec.name);
                source.pieces(&name, &state_shape(rule, spec), &mut |data| {
                    be.upload_at(buf, first, data);
                    first += data.len();
                    Ok(())
                })?;
            }
        }
        let Self { model, params, .. } = self;
        if params.averaged() {
            let dense = &mut params.dense.buf;
            model.spec().params().import(be, dense, source, |name| format!("{CURRENT}{name}"))?;
        }
        if self.config.tables_have_state() {
            params.tables.import_state(be, model.spec().embedding().tables(), source)?;
        }
        self.step = steps;
        Ok(())
    }
}

/// Shape of a table's optimizer state.
fn state_shape(rule: &OptimizerConfig, spec: &TableSpec) -> Vec<usize> {
    if rule.state().1 { vec![spec.rows] } else { vec![spec.rows, spec.width] }
}
