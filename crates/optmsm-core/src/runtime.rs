//! One model in the memory of one backend: parameters, and the lanes that take blocks through it.

use std::ops::Range;

use crate::backend::{Backend, Elem, Mat, Part, Write};
use crate::batch::Batch;
use crate::config::Role;
use crate::error::{Error, Result};
use crate::inputs::{Block, Inputs};
use crate::model::{Grads, Model};
use crate::params::{Flat, Tensor, TensorSink, TensorSource};
use crate::plan::Plan;
use crate::predictor::Sums;
use crate::tables::Tables;

/// Dense parameters and embedding tables, with their averages where there are any.
#[derive(Debug)]
pub(crate) struct Params<B: Backend> {
    pub(crate) dense: Flat<B>,
    pub(crate) average: Option<Flat<B>>,
    pub(crate) tables: Tables<B>,
}

impl<B: Backend> Params<B> {
    pub(crate) fn new(be: &B, model: &impl Model<B>, averaged: bool) -> Result<Self> {
        let flat = || Flat::new(be, model.params());
        let tables = Tables::new(be, model.embedding().tables(), averaged)?;
        Ok(Self { dense: flat()?, average: averaged.then(flat).transpose()?, tables })
    }

    /// Whether there are averages.
    pub(crate) fn averaged(&self) -> bool {
        self.average.is_some()
    }

    /// Parameters that a pass reads: the dense parameters, or their average.
    pub(crate) fn read(&self, averaged: bool) -> &Flat<B> {
        self.average.as_ref().filter(|_| averaged).unwrap_or(&self.dense)
    }

    /// Initial values, those of tables rounded to the nearest that their type holds; averages start there.
    pub(crate) fn init(&mut self, be: &B, model: &impl Model<B>, seed: u64) -> Result<()> {
        self.dense.init(be, seed);
        self.average.iter_mut().for_each(|average| average.init(be, seed));
        self.tables.init(be, model.embedding().tables(), seed)
    }

    /// The averages where there are any, else the parameters.
    pub(crate) fn export(
        &self,
        be: &B,
        model: &impl Model<B>,
        sink: &mut dyn TensorSink<B::Elem>,
    ) -> Result<()> {
        model.params().export(be, &self.read(true).buf, sink, str::to_string)?;
        self.tables.export(be, model.embedding().tables(), sink)
    }

    /// Parameters; averages start there.
    pub(crate) fn import(
        &mut self,
        be: &B,
        model: &impl Model<B>,
        source: &dyn TensorSource<B::Elem>,
    ) -> Result<()> {
        for flat in std::iter::once(&mut self.dense).chain(&mut self.average) {
            model.params().import(be, &mut flat.buf, source, str::to_string)?;
        }
        self.tables.import(be, model.embedding().tables(), source)
    }
}

/// A model with its weights, as every pass reads them.
pub(crate) struct Weights<'a, B: Backend, M: Model<B>> {
    pub(crate) be: &'a B,
    pub(crate) model: &'a M,
    pub(crate) params: &'a Params<B>,
    pub(crate) prepared: &'a M::Prepared,
    /// Whether the averages are read; `prepared` is of them then.
    pub(crate) averaged: bool,
}

/// What a pass over a plan is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pass {
    /// Loss and gradients, with dropout masks of this seed and step.
    Train { seed: u64, step: u32 },
    /// Logits; the model's sums and the gate's only when they are asked for.
    Predict { stats: bool, gates: bool },
}

/// What one lane owns.
struct Lane<B: Backend, M: Model<B>> {
    act: M::Activations,
    groups: B::Ids,
    groups_host: Vec<u32>,
    logits: Tensor<B>,        // [rows of the lane, 1]
    d_logits: Tensor<B>,      // [rows of a block, 1]
    stats: Tensor<B>,         // [1, 1 + stats]: Σ w·BCE, then the model's
    gates: Option<Tensor<B>>, // Σ α by scenario, [S, gates]; from the first pass on that asks for it
    train: Option<LaneGrads<B>>,
}

/// What a training lane sums and leaves.
pub(crate) struct LaneGrads<B: Backend> {
    pub(crate) grads: Grads<B>,
    pub(crate) d_first: [Tensor<B>; 2], // δ of the first layers, [rows of the lane, N], by role
}

/// What a pass writes: uploaded inputs and lanes with their activations, sized once for the largest batch.
pub(crate) struct Runtime<B: Backend, M: Model<B>> {
    lanes: Vec<Lane<B, M>>,
    active: usize, // lanes that the last pass used
    pub(crate) inputs: Inputs<B>,
    max_rows: usize,
    split: Split,
    /// What lanes sum of the dense gradients: all but the first layers' weights, which are made afterwards.
    summed: Vec<Range<usize>>,
    stats: Vec<B::Elem>,
    host: Vec<B::Elem>,
    block_rows: usize,
}

/// How rows are cut into lanes: a function of the number of rows alone, so that neither the threads nor the
/// room for larger batches changes the order of a sum.
#[derive(Clone, Copy, Debug)]
struct Split {
    lanes: usize,
    min_rows: usize,
}

impl Split {
    /// Rows of each lane but the last one used, which may have fewer.
    fn lane_rows(self, rows: usize) -> usize {
        rows.div_ceil(self.lanes).max(self.min_rows)
    }

    /// Lanes that get rows.
    fn lanes(self, rows: usize) -> usize {
        rows.div_ceil(self.lane_rows(rows))
    }
}

impl<B: Backend, M: Model<B>> Runtime<B, M> {
    pub(crate) fn new(be: &B, model: &M, max_rows: usize, training: bool) -> Result<Self> {
        if max_rows == 0 {
            return Err(Error::config("batch_size", "must be at least 1, got 0", "raise it"));
        }
        if !be.fields_by_id() {
            let (name, lanes, block) = (be.name(), be.lanes(), be.block_rows());
            let one = lanes == 1 && block >= max_rows;
            assert!(
                one,
                "{name}: gradients of fields for a whole batch, but {lanes} lanes of blocks of {block} rows"
            );
        }
        let split = Split { lanes: be.lanes(), min_rows: be.min_lane_rows().max(1) };
        let lane_rows = split.lane_rows(max_rows).min(max_rows);
        let block_rows = be.block_rows().min(lane_rows);
        let scenarios = model.input().scenarios;
        let widths = [Role::Shared, Role::Specific].map(|role| model.first_layer(role).outputs);
        let lane = |_| -> Result<Lane<B, M>> {
            let train = || -> Result<LaneGrads<B>> {
                let grads =
                    Grads { dense: Flat::new(be, model.params())?, derived: Flat::new(be, model.derived())? };
                let [shared, specific] = widths.map(|w| Tensor::new(be, lane_rows, w));
                Ok(LaneGrads { grads, d_first: [shared?, specific?] })
            };
            Ok(Lane {
                act: model.alloc_activations(be, block_rows, training)?,
                groups: be.alloc_ids(scenarios + 1)?,
                groups_host: vec![0; scenarios + 1],
                logits: Tensor::new(be, lane_rows, 1)?,
                d_logits: Tensor::new(be, if training { block_rows } else { 0 }, 1)?,
                stats: Tensor::new(be, 1, 1 + model.stats())?,
                gates: None,
                train: training.then(train).transpose()?,
            })
        };
        // No number of rows up to `max_rows` uses more lanes.
        let lanes = split.lanes.min(max_rows.div_ceil(split.min_rows));
        Ok(Self {
            lanes: (0..lanes).map(lane).collect::<Result<_>>()?,
            active: 0,
            inputs: Inputs::new(be, model.input(), max_rows, training)?,
            max_rows,
            split,
            summed: model
                .params()
                .without(&[Role::Shared, Role::Specific].map(|role| model.first_layer(role).weight)),
            stats: vec![B::Elem::default(); 1 + model.stats()],
            host: vec![B::Elem::default(); lane_rows],
            block_rows,
        })
    }

    /// Rows of the batch that each lane takes.
    pub(crate) fn lane_rows(&self, rows: usize) -> usize {
        self.split.lane_rows(rows)
    }

    /// What the lanes of the last pass, if it trained, summed and left.
    pub(crate) fn grads(&self) -> impl Iterator<Item = &LaneGrads<B>> {
        self.lanes[..self.active].iter().filter_map(|lane| lane.train.as_ref())
    }

    /// What one of them left.
    ///
    /// # Panics
    /// When it did not train: a bug.
    pub(crate) fn lane_grads(&self, lane: usize) -> &LaneGrads<B> {
        // invariant: a learner's lanes all train, and only those with rows are asked for
        self.lanes[lane].train.as_ref().expect("a learner's lanes train")
    }

    /// Takes the gradients of all lanes out.
    pub(crate) fn take_grads(&mut self) -> Vec<LaneGrads<B>> {
        self.lanes.iter_mut().filter_map(|lane| lane.train.take()).collect()
    }

    /// Activations of the first lane, what it left, and the batch; `None` before a pass that trains.
    pub(crate) fn first_lane(&mut self) -> Option<(&M::Activations, &mut LaneGrads<B>, &Inputs<B>)> {
        let lane = self.lanes[..self.active].first_mut()?;
        Some((&lane.act, lane.train.as_mut()?, &self.inputs))
    }

    /// Sums and logits of each lane that the last pass used, over `rows` rows: two row vectors.
    pub(crate) fn computed(&self, rows: usize) -> impl Iterator<Item = (Mat<'_, B::Buf>, Mat<'_, B::Buf>)> {
        let lane_rows = self.lane_rows(rows);
        self.lanes[..self.active].iter().enumerate().map(move |(index, lane)| {
            let own = lane_rows.min(rows - index * lane_rows);
            (lane.stats.mat(1), Mat::new(lane.logits.buf(), 1, own))
        })
    }

    /// Adds what the other lanes of the last pass summed to the first one's, in order.
    pub(crate) fn sum_lanes(&mut self, be: &B) -> Option<&mut LaneGrads<B>> {
        let (first, rest) = self.lanes[..self.active].split_first_mut()?;
        let sum = &mut first.train.as_mut()?.grads;
        // invariant: a learner's lanes all train
        let other = |i: usize| &rest[i].train.as_ref().expect("a learner's lanes train").grads;
        for range in &self.summed {
            be.accumulate(&mut sum.dense.buf, rest.len(), |i| &other(i).dense.buf, range.clone());
        }
        let all = 0..sum.derived.layout().len();
        be.accumulate(&mut sum.derived.buf, rest.len(), |i| &other(i).derived.buf, all);
        first.train.as_mut()
    }

    /// Takes every block of the plan forward and, when training, backward.
    pub(crate) fn run(&mut self, on: &Weights<B, M>, plan: &Plan<B::Elem>, pass: Pass) -> Result<()> {
        let Weights { be, model, params, prepared, averaged } = *on;
        let (dense, tables) = (params.read(averaged), &params.tables);
        let rows = plan.rows();
        if rows > self.max_rows {
            let problem = format!("{rows} rows, but memory is for {}; split it", self.max_rows);
            return Err(Error::Batch { place: "batch".into(), problem });
        }
        let (masks, stats, gates) = match pass {
            Pass::Train { seed, step } => (Some((seed, step)), true, false),
            Pass::Predict { stats, gates } => (None, stats, gates),
        };
        let training = masks.is_some();
        if training && plan.labels.len() != rows {
            let problem = "has no labels; training needs one a row".into();
            return Err(Error::Batch { place: "batch".into(), problem });
        }
        self.inputs.load(be, plan, training)?;
        self.active = self.split.lanes(rows);
        let lane_rows = self.lane_rows(rows);
        let Self { lanes, inputs, block_rows, active, summed, .. } = self;
        let scenarios = model.input().scenarios;
        let scale = if plan.weight_sum > 0.0 { 1.0 / plan.weight_sum } else { 0.0 };
        // Lanes without rows are left out: nothing is zeroed, computed or summed for them.
        be.for_lanes(&mut lanes[..*active], |index, lane| {
            if stats {
                be.fill(lane.stats.mat_mut(1), 0.0);
            }
            let mut gates = lane.gates.as_mut().filter(|_| gates);
            if let Some(sums) = &mut gates {
                be.fill(sums.mat_mut(scenarios), 0.0);
            }
            let mut train = lane.train.as_mut().filter(|_| training);
            if let Some(train) = &mut train {
                let Grads { dense, derived } = &mut train.grads;
                summed.iter().for_each(|range| be.fill(dense.range_mut(range.clone()), 0.0));
                let all = 0..derived.layout().len();
                be.fill(derived.range_mut(all), 0.0);
            }
            let (begin, end) = (index * lane_rows, ((index + 1) * lane_rows).min(rows));
            let mut first = begin;
            while first < end {
                let n = (end - first).min(*block_rows);
                for (group, &offset) in lane.groups_host.iter_mut().zip(&plan.offsets) {
                    *group = offset.clamp(first as u32, (first + n) as u32) - first as u32;
                }
                be.upload_ids(&mut lane.groups, &lane.groups_host);
                let groups = &lane.groups;
                let x = Block { first, rows: n, inputs, groups, tables, averaged, masks };
                let own = first - begin;
                let mut logits = lane.logits.mat_mut(own + n).rows(own, n);
                let model_stats = stats.then(|| lane.stats.mat_mut(1).cols(1, model.stats()));
                model.forward(be, logits.again(), model_stats, &mut lane.act, prepared, dense, &x);
                if let (Some(sums), Some(alpha)) = (&mut gates, model.gate_weights(&lane.act, n)) {
                    be.col_sum(sums.mat_mut(scenarios), Write::Add, alpha, Part::Rows(groups));
                }
                if let Some(train) = &mut train {
                    let (d_logits, sum) = (lane.d_logits.mat_mut(n), lane.stats.mat_mut(1).cols(0, 1));
                    let (y, w) = (&inputs.labels, &inputs.weights);
                    be.bce_with_logits(d_logits, sum, logits.as_mat(), y, w, first, scale);
                    let LaneGrads { grads, d_first: [shared, specific] } = &mut **train;
                    let d_first = [shared, specific].map(|d| d.mat_mut(own + n).rows(own, n));
                    let d_logits = lane.d_logits.mat_mut(n);
                    let act = &mut lane.act;
                    model.backward(be, grads, d_first, d_logits, act, prepared, dense, &x, rows);
                }
                first += n;
            }
        });
        Ok(())
    }

    /// Takes a batch forward, in pieces of the rows that there is memory for, with `plan` as scratch. Calls
    /// `each` with every row and its logit, and adds to `sums`.
    pub(crate) fn predict(
        &mut self,
        on: &Weights<B, M>,
        plan: &mut Plan<B::Elem>,
        batch: &Batch,
        mut sums: Sums,
        mut each: impl FnMut(usize, B::Elem),
    ) -> Result<()> {
        let input = on.model.input();
        batch.validate(input)?;
        let rows = batch.rows();
        let (stats, gates) = (sums.stats.is_some(), sums.gates.is_some());
        for lane in self.lanes.iter_mut().filter(|lane| gates && lane.gates.is_none()) {
            lane.gates = Some(Tensor::new(on.be, input.scenarios, on.model.gates())?);
        }
        for first in (0..rows).step_by(self.max_rows) {
            let end = first + self.max_rows.min(rows - first);
            plan.fill(batch, input, first..end, false);
            self.run(on, plan, Pass::Predict { stats, gates })?;
            if let Some(stats) = sums.stats.as_deref_mut() {
                self.add_stats(on.be, stats)?;
            }
            if let Some(gates) = sums.gates.as_deref_mut() {
                self.add_gates(on.be, gates)?;
            }
            self.logits(on.be, plan, &mut each)?;
        }
        Ok(())
    }

    /// Adds the stats of the last pass's lanes to `sums`, in lane order.
    pub(crate) fn add_stats(&mut self, be: &B, sums: &mut [f64]) -> Result<()> {
        for lane in &self.lanes[..self.active] {
            be.download(&mut self.stats, lane.stats.buf(), 0)?;
            sums.iter_mut().zip(&self.stats).for_each(|(sum, v)| *sum += v.wide());
        }
        Ok(())
    }

    /// Adds the gate's weights that the last pass's lanes summed to `gates`, in lane order.
    fn add_gates(&self, be: &B, gates: &mut [f64]) -> Result<()> {
        let mut host = vec![B::Elem::default(); gates.len()];
        for sums in self.lanes[..self.active].iter().filter_map(|lane| lane.gates.as_ref()) {
            be.download(&mut host, sums.buf(), 0)?;
            gates.iter_mut().zip(&host).for_each(|(sum, v)| *sum += v.wide());
        }
        Ok(())
    }

    /// Calls `each` with the row in the input and its logit.
    fn logits(&mut self, be: &B, plan: &Plan<B::Elem>, mut each: impl FnMut(usize, B::Elem)) -> Result<()> {
        let lane_rows = self.lane_rows(plan.rows());
        for (lane, order) in self.lanes.iter().zip(plan.order.chunks(lane_rows)) {
            be.download(&mut self.host[..order.len()], lane.logits.buf(), 0)?;
            order.iter().zip(&self.host).for_each(|(&row, &o)| each(row as usize, o));
        }
        Ok(())
    }
}
