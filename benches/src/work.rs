//! The standard work: 16 shared and 4 specific categorical fields, three scenarios.

use optmsm_core::backend::Backend;
use optmsm_core::batch::{Batch, Column};
use optmsm_core::config::{FieldKind, FieldSpec, InputSpec, ModelConfig, Role};
use optmsm_core::error::Result;
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::AnyModel;
use optmsm_core::models::{self, Kind};
use optmsm_core::params::HostTensor;
use optmsm_core::philox::Stream;
use optmsm_core::plan::Plan;
use optmsm_core::precision::Precision;
use optmsm_core::predictor::Predictor;
use optmsm_cpu::{Buffer, Cpu, CpuOptions};

/// Rows of a training batch.
pub const ROWS: usize = 4096;
/// Different batches that a timed loop takes in turn.
pub const BATCHES: usize = 8;

/// Configuration and inputs of the standard work; `large` has tables of up to 200,000 rows.
pub fn standard(large: bool) -> (ModelConfig, InputSpec) {
    with_tables(|i| match i {
        _ if !large => 1_000,
        0..2 => 200_000,
        2..8 => 20_000,
        _ => 1_000,
    })
}

/// The inputs of the small standard work with another model, its settings as they are by default.
pub fn other(kind: Kind) -> (ModelConfig, InputSpec) {
    (ModelConfig { kind, ..ModelConfig::default() }, standard(false).1)
}

/// The standard work with tables of these sizes for the shared fields.
pub fn with_tables(vocab: impl Fn(usize) -> usize) -> (ModelConfig, InputSpec) {
    let field = |name, role, vocab| FieldSpec::new(name, role, FieldKind::Categorical { vocab });
    let shared = (0..16).map(|i| field(format!("shared{i}"), Role::Shared, vocab(i)));
    let specific = (0..4).map(|i| field(format!("specific{i}"), Role::Specific, 50));
    let mut config = ModelConfig::default();
    config.experts.hidden = vec![256, 128];
    config.specific.hidden = vec![64];
    config.tower.hidden = vec![128, 64];
    config.hyper.rank = 32;
    config.hyper.trunk = 64;
    (config, InputSpec { scenarios: 3, fields: shared.chain(specific).collect() })
}

/// Random rows; ids are `floor(u³ · vocab)`.
pub fn rows(input: &InputSpec, rows: u64, seed: u64) -> Batch {
    let mut batch = Batch::new(input);
    let stream = |name: &str| Stream::new(seed, name);
    let (label, scenario) = (stream("label"), stream("scenario"));
    batch.labels = (0..rows).map(|i| f32::from(label.uniform(i) < 0.3)).collect();
    batch.scenarios = (0..rows).map(|i| (scenario.uniform(i) * input.scenarios as f64) as u32).collect();
    for (field, column) in input.fields.iter().zip(&mut batch.columns) {
        if let (Column::Categorical(ids), FieldKind::Categorical { vocab }) = (column, field.kind) {
            let u = stream(&field.name);
            ids.extend((0..rows).map(|i| (u.uniform(i).powi(3) * vocab as f64) as u32));
        }
    }
    batch
}

/// `len` random numbers in [-0.5, 0.5).
pub fn random(len: usize, name: &str) -> Buffer {
    let stream = Stream::new(1, name);
    (0..len as u64).map(|i| stream.uniform(i) as f32 - 0.5).collect()
}

/// `len` zeros.
pub fn zeros(len: usize) -> Buffer {
    (0..len).map(|_| 0.0).collect()
}

/// FLOP of a row's forward pass in products, two a multiply-add, without what is done once a step. Training does three
/// times as much: the gradients of weights and of inputs are products of the same size.
pub fn forward_flop(config: &ModelConfig, input: &InputSpec) -> f64 {
    let fields = |role| input.fields.iter().filter(|f| f.role == role).count();
    let (d, k) = (config.embedding_dim, config.experts.count(input.scenarios));
    let chain = |first: usize, hidden: &[usize]| -> (usize, usize) {
        hidden.iter().fold((0, first), |(sum, width), &out| (sum + width * out, out))
    };
    let (experts, m) = chain(d * fields(Role::Shared), &config.experts.hidden);
    let (specific, p) =
        chain(d * fields(Role::Specific) + config.hyper.scenario_dim, &config.specific.hidden);
    let mut width = m + p;
    let mut tower = 0;
    for &out in config.tower.hidden.iter().chain(&[1]) {
        let r = config.hyper.rank.min(width).min(out);
        tower += width * r + r * r + r * out;
        width = out;
    }
    2.0 * (k * experts + specific + p * k + tower) as f64
}

/// A CPU backend with this many threads.
pub fn cpu(threads: usize) -> Result<Cpu> {
    cpu_in(Precision::F32, threads)
}

/// The same with products in another precision.
pub fn cpu_in(precision: Precision, threads: usize) -> Result<Cpu> {
    Cpu::with(CpuOptions { threads: Some(threads), precision, ..CpuOptions::default() })
}

/// Training steps on planned batches in turn, as the trainer does behind its loader.
pub struct Training<B: Backend<Elem = f32> = Cpu> {
    learner: Learner<B, AnyModel<B>>,
    batches: Vec<Batch>,
    plans: Vec<Plan<f32>>,
    next: usize,
}

impl Training {
    /// A learner and a few batches of `rows` rows.
    ///
    /// # Errors
    /// When memory or threads are short.
    pub fn new(
        standard: &(ModelConfig, InputSpec),
        learner: LearnerConfig,
        rows: usize,
        threads: usize,
    ) -> Result<Self> {
        Self::on(cpu(threads)?, standard, learner, rows)
    }
}

impl<B: Backend<Elem = f32>> Training<B> {
    /// The same on any backend.
    ///
    /// # Errors
    /// When memory is short.
    pub fn on(
        be: B,
        (config, input): &(ModelConfig, InputSpec),
        learner: LearnerConfig,
        rows: usize,
    ) -> Result<Self> {
        let model = models::build(config, input)?;
        let learner = Learner::new(be, model, learner, rows, 1)?;
        let batches: Vec<_> = (0..BATCHES as u64).map(|seed| self::rows(input, rows as u64, seed)).collect();
        let plan = |batch| {
            let mut plan = Plan::default();
            plan.build(batch, input, true).map(|()| plan)
        };
        let plans = batches.iter().map(plan).collect::<Result<_>>()?;
        Ok(Self { learner, batches, plans, next: 0 })
    }

    /// One step whose batch is planned first, on this thread.
    ///
    /// # Errors
    /// When the device failed.
    pub fn plan_and_step(&mut self) -> Result<()> {
        let at = self.next % self.plans.len();
        self.plans[at].build(&self.batches[at], self.learner.spec().input(), true)?;
        self.step();
        Ok(())
    }

    /// The learner.
    pub fn learner(&mut self) -> &mut Learner<B, AnyModel<B>> {
        &mut self.learner
    }

    /// One step.
    ///
    /// # Panics
    /// When a step fails: its batches are valid, so that is a bug.
    pub fn step(&mut self) {
        let plan = &self.plans[self.next % self.plans.len()];
        self.learner.step_plan(plan).expect("a planned batch of the right size trains");
        self.next += 1;
    }

    /// Whether the loss of the last step is a number.
    pub fn is_sound(&mut self) -> bool {
        self.learner.loss().is_ok_and(|loss| loss.total().is_finite())
    }
}

/// Predictions for batches in turn, as a server makes them: checking and ordering the rows included.
pub struct Forward<B: Backend<Elem = f32> = Cpu> {
    predictor: Predictor<B, AnyModel<B>>,
    batches: Vec<Batch>,
    out: Vec<f32>,
    next: usize,
}

impl Forward {
    /// A predictor with initial parameters and batches of `rows` rows.
    ///
    /// # Errors
    /// When memory or threads are short.
    pub fn new(standard: &(ModelConfig, InputSpec), rows: usize, threads: usize) -> Result<Self> {
        Self::on(cpu(threads)?, standard, rows)
    }
}

impl<B: Backend<Elem = f32>> Forward<B> {
    /// The same on any backend.
    ///
    /// # Errors
    /// When memory is short.
    pub fn on(be: B, (config, input): &(ModelConfig, InputSpec), rows: usize) -> Result<Self> {
        let parameters = initial(config, input)?;
        let model = models::build(config, input)?;
        let predictor = Predictor::new(be, model, &parameters, rows)?;
        let count = if rows > 1 { BATCHES as u64 } else { 64 };
        let batches = (0..count).map(|seed| self::rows(input, rows as u64, 100 + seed)).collect();
        Ok(Self { predictor, batches, out: vec![0.0; rows], next: 0 })
    }

    /// One batch.
    ///
    /// # Panics
    /// When it fails: its batches are valid, so that is a bug.
    pub fn predict(&mut self) {
        let batch = &self.batches[self.next % self.batches.len()];
        self.predictor.predict_into(&mut self.out, batch).expect("a valid batch is predicted");
        std::hint::black_box(&self.out);
        self.next += 1;
    }
}

/// Initial parameters by the names of checkpoints.
///
/// # Errors
/// When memory is short.
pub fn initial(config: &ModelConfig, input: &InputSpec) -> Result<Vec<HostTensor<f32>>> {
    let model = models::build(config, input)?;
    Learner::new(cpu(1)?, model, LearnerConfig::default(), 1, 1)?.export()
}
