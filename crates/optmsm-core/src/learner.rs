//! Training: one step at a time, on any backend, for any model.

mod builder;
mod footprint;
mod part;
mod trace;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, Elem};
use crate::batch::Batch;
use crate::error::{BatchPart, Error, Result};
use crate::lanes::{StepKey, TrainingLanes};
use crate::model::{Exhibit, Measured, Model, ModelSpec};
use crate::optim::{AverageConfig, Clip, DecayRows, OptimizerConfig, Period, Schedule, ScheduleConfig};
use crate::params::{HostTensor, TableSpec, TensorSink, TensorSource};
use crate::plan::Plan;
use crate::predictor::{Answer, plain};
use crate::ranks::{AllRows, Cut, Job, On, Team};
use crate::rounding::TableDtype;
use crate::runtime::Params;
use crate::tables::{CURRENT, PIECE, Rest};

pub use builder::LearnerBuilder;
pub use footprint::{Footprint, footprint};
pub(crate) use part::{Gradients, Part, Touched};
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
    pub(crate) fn tables_have_state(&self) -> bool {
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
    pub(crate) fn of<B: Backend, M: Model<B>>(model: &M, sums: &[f64], rows: usize, weight: f64) -> Self {
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
    team: Option<Team<B>>, // with others, or with several groups: `state`, `tables` and the rows of `params` are in its shards then
    part: usize,           // rows that go through the model together at most
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
        Self::in_job(be, model, config, (max_rows, seed), Job::default())
    }

    /// The same as one rank of a job, for batches of at most `max_rows` rows over all ranks; each builds the same model. All ranks
    /// then call the same methods in the same order with the same batches, and all get the same results. Parameters, and with them
    /// all results, depend on the job's number of groups, not on that of its ranks.
    ///
    /// # Errors
    /// As [`Learner::new`].
    pub fn in_job(
        be: B,
        model: M,
        config: LearnerConfig,
        (max_rows, seed): (usize, u64),
        job: Job,
    ) -> Result<Self> {
        let mut learner = Self::allocate(be, model, config, (max_rows, seed), job)?;
        let Self { be, model, params, team, .. } = &mut learner;
        params.init_dense(be, seed);
        match team {
            Some(team) => team.init(be, model, params, seed)?,
            None => params.tables.init(be, model.spec().embedding().tables(), seed)?,
        }
        Ok(learner)
    }

    /// All the memory of [`Learner::in_job`], with zeros for parameters.
    fn allocate(
        be: B,
        model: M,
        config: LearnerConfig,
        (max_rows, seed): (usize, u64),
        job: Job,
    ) -> Result<Self> {
        config.validate()?;
        let (alone, part) = (job.is_plain(), max_rows.div_ceil(job.groups()));
        if !alone && !be.fields_by_id() {
            let problem = format!("is {}, and {} trains with one group so far", job.groups(), be.name());
            return Err(Error::config("train.groups", problem, "set it to 1, or train on the CPU"));
        }
        // Rows that the groups of this rank touch at most, but for lists.
        let copies = part * job.share();
        let params = Params::new(&be, &model, config.average.is_some(), (!alone).then_some(copies))?;
        let (count, _) = config.optimizer.state();
        let flat = |_| be.alloc(model.spec().params().len());
        let state = (0..count).filter(|_| alone).map(flat).collect::<Result<_>>()?;
        let (count, per_row) = config.tables().state();
        let table = |t: &TableSpec| -> Result<Vec<B::Buf>> {
            let count = if t.frozen || !alone { 0 } else { count };
            let len = if per_row { t.rows } else { t.rows * t.width };
            (0..count).map(|_| be.alloc(len)).collect()
        };
        Ok(Self {
            tables: model.spec().embedding().tables().iter().map(table).collect::<Result<_>>()?,
            lanes: TrainingLanes::new(&be, &model, part)?,
            sum_sq: be.alloc(1)?,
            plan: Plan::default(),
            tracer: Tracer::new(&be, &model, if alone { part } else { 0 })?,
            team: (!alone).then(|| Team::new(&be, &model, &config, job)).transpose()?,
            part,
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

    /// The job that it is a rank of.
    pub fn job(&self) -> Job {
        self.team.as_ref().map_or(Job::default(), |team| team.job().clone())
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
        if let Some(team) = &self.team {
            let input = self.model.spec().input();
            batch.validate(input)?;
            if batch.labels.len() != batch.rows() {
                let problem = "has no labels; training needs one per row";
                return Err(Error::batch(BatchPart::Batch, None, problem));
            }
            let (mut own, mut cut) = (Batch::new(input), Cut::default());
            let rows = team.job().own_rows(batch.rows());
            own.push_rows(batch, &rows.map(|row| row as u32).collect::<Vec<_>>());
            let all = AllRows { scenarios: &batch.scenarios, weights: &batch.weights };
            cut.build(&mut own, all, input, team.job())?;
            self.step_cut(&cut)?;
            return self.loss();
        }
        let mut plan = std::mem::take(&mut self.plan);
        let done = plan.build(batch, self.model.spec().input(), true).and_then(|()| self.step_plan(&plan));
        self.plan = plan;
        done?;
        self.loss()
    }

    /// One training step on a plan that a loader made; [`Learner::trace`] reads its loss when wanted.
    pub fn step_plan(&mut self, plan: &Plan<B::Elem>) -> Result<()> {
        if self.team.is_some() {
            let problem = "is above 1, where a plan is not all that a step takes";
            return Err(Error::config("train.groups", problem, "use Learner::step or Learner::step_cut"));
        }
        let be = Arc::clone(&self.be);
        be.run_step(|| self.step_inside(plan))
    }

    /// The same for a rank of a job, on its groups of a batch.
    ///
    /// # Errors
    /// As [`Learner::step`]; another rank is gone.
    pub fn step_cut(&mut self, cut: &Cut<B::Elem>) -> Result<()> {
        if self.team.is_none() {
            return cut.plans.first().map_or(Ok(()), |plan| self.step_plan(plan));
        }
        self.has_schedule()?;
        if cut.rows() == 0 {
            return Err(Error::batch(BatchPart::Batch, None, "has no rows"));
        }
        let Self { be, model, config, seed, step, params, lanes, team, .. } = self;
        let on = On { be: &**be, model: &*model, config, seed: *seed, step: *step + 1 };
        be.run_step(|| team.as_mut().map_or(Ok(()), |team| team.step(&on, params, lanes, cut)))?;
        *step += 1;
        Ok(())
    }

    fn has_schedule(&self) -> Result<()> {
        if self.config.schedule.kind != Schedule::Constant && self.config.schedule.period == Period::RUN {
            let problem = "\"run\" says nothing here, where the number of steps is not known";
            return Err(Error::config("train.schedule.period", problem, "give a number of steps"));
        }
        Ok(())
    }

    fn step_inside(&mut self, plan: &Plan<B::Elem>) -> Result<()> {
        self.has_schedule()?;
        self.gradients(plan, true)?;
        self.step += 1;
        self.tracer.keep(&*self.be, &self.lanes, plan, self.step);
        let Self { be, config, params, lanes, state, tables, sum_sq, .. } = self;
        let specs = self.model.spec().embedding().tables();
        let Some(grads) = lanes.grads() else { return Ok(()) };
        let (embedding, inputs) = (lanes.embedding(), lanes.inputs());
        let touched = |number: usize| {
            let (spec, column) = (&specs[number], inputs.touched(&specs[number]));
            Touched { g: embedding.table(spec), count: column.unique_count, ids: &column.unique }
        };
        let grads = Gradients { dense: &grads.dense.buf, len: params.dense.layout().len(), specs, touched };
        let clip = config.clip_norm.map(|max_norm| {
            grads.sum_sq(&**be, sum_sq);
            Clip { max_norm, sum_sq: &*sum_sq }
        });
        let average = params.average.as_mut().map(|average| &mut average.buf);
        let dense = (&mut params.dense.buf, average, &mut state[..]);
        let part = Part { dense, tables: &mut params.tables, state: tables };
        part.step(&**be, config, (self.seed, self.step), &grads, clip);
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
        if let Some(team) = &self.team {
            return team.loss(&self.model);
        }
        let sums = self.lanes.sums(&self.be)?;
        let (rows, weight) = self.last;
        Ok(StepLoss::of(&self.model, &sums, rows, weight))
    }

    /// Moves what the steps since the last call computed into `to`; of more than [`KEPT`] steps the last.
    ///
    /// # Errors
    /// When the device failed.
    pub fn trace(&mut self, to: &mut Trace<B::Elem>) -> Result<()> {
        if let Some(team) = &mut self.team {
            return team.trace(&self.model, to);
        }
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
        let Self { be, model, config, seed, step, params, lanes, plan, answer, team, part, .. } = self;
        let mut out = vec![0.0; batch.rows()];
        let each = |row: usize, o: B::Elem| out[row] = answer(o.wide(), batch.scenarios[row]);
        let Some(team) = team else {
            lanes.predict((be, model, params), plan, batch, measured, each)?;
            return Ok(out);
        };
        let on = On { be: &**be, model: &*model, config, seed: *seed, step: *step };
        team.predict(&on, params, lanes, plan, batch, *part, measured, each)?;
        Ok(out)
    }

    /// Tables to look at, made of the weights that predict and of measured rows.
    ///
    /// # Errors
    /// When the device failed.
    pub fn exhibits(&mut self, measured: &Measured) -> Result<Vec<Exhibit>> {
        let Self { be, model, params, lanes, team, .. } = self;
        if let Some(team) = team {
            team.bring_averages(be, params)?;
        }
        lanes.exhibits((be, model, params), measured)
    }

    /// The parameters, or their averages where there are any, by the names of model.md §10.
    pub fn export(&self) -> Result<Vec<HostTensor<B::Elem>>> {
        let mut tensors = Vec::new();
        self.export_to(&mut tensors)?;
        Ok(tensors)
    }

    /// The same in pieces, with the type that each tensor is stored in. In a job all ranks call; rank 0 alone gets the rows of
    /// tables and all state, the others names and shapes.
    pub fn export_to(&self, sink: &mut dyn TensorSink<B::Elem>) -> Result<()> {
        let (be, model, params) = (&*self.be, &self.model, &self.params);
        match &self.team {
            Some(team) => team.export((be, model), params, sink),
            None => params.export(be, model, sink),
        }
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
    ///
    /// # Errors
    /// As [`Learner::step`]; the learner is part of a job of more than one group.
    pub fn loss_and_gradients(&mut self, batch: &Batch) -> Result<(StepLoss, Vec<HostTensor<B::Elem>>)> {
        if self.team.is_some() {
            let problem = "is above 1, where gradients are only made for a step";
            return Err(Error::config("train.groups", problem, "use one group"));
        }
        let mut plan = std::mem::take(&mut self.plan);
        let done =
            plan.build(batch, self.model.spec().input(), true).and_then(|()| self.gradients(&plan, false));
        self.plan = plan;
        done?;
        Ok((self.loss()?, self.export_gradients()?))
    }

    /// Takes the parameters from `source`, at which averages then start; other optimizer state stays.
    pub fn import(&mut self, source: &dyn TensorSource<B::Elem>) -> Result<()> {
        let Self { be, model, params, team, .. } = self;
        let Some(team) = team else { return params.import(be, model, source) };
        params.import_dense(be, model, source)?;
        team.import(be, model, params, source)
    }

    /// Replaces rows of a table, from row `first` on; `name` is that of [`Learner::export`], and `data` whole rows.
    ///
    /// # Errors
    /// There is no such table or row, or a number is out of the range of the table's type.
    pub fn set_rows(&mut self, name: &str, first: usize, data: &[B::Elem]) -> Result<()> {
        let Self { be, model, params, team, .. } = self;
        match team {
            Some(team) => team.set_rows(&**be, model, name, first, data),
            None => params.tables.set_rows(be, model.spec().embedding().tables(), name, first, data),
        }
    }

    /// Optimizer state, as `optimizer.{state}.{parameter}`: with what [`Learner::export`] brings, all that training goes on from.
    pub fn export_state(&self) -> Result<Vec<HostTensor<B::Elem>>> {
        let mut tensors = Vec::new();
        self.export_state_to(&mut tensors)?;
        Ok(tensors)
    }

    /// The same in pieces.
    pub fn export_state_to(&self, sink: &mut dyn TensorSink<B::Elem>) -> Result<()> {
        if let Some(team) = &self.team {
            return team.export_state((&*self.be, &self.model), &self.config, &self.params, sink);
        }
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
        let Self { be, model, config, params, team: Some(team), step, .. } = self else {
            return self.import_whole_state(source, steps);
        };
        team.import_state((&**be, &*model), config, params, source)?;
        *step = steps;
        Ok(())
    }

    fn import_whole_state(&mut self, source: &dyn TensorSource<B::Elem>, steps: u64) -> Result<()> {
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
pub(crate) fn state_shape(rule: &OptimizerConfig, spec: &TableSpec) -> Vec<usize> {
    if rule.state().1 { vec![spec.rows] } else { vec![spec.rows, spec.width] }
}
