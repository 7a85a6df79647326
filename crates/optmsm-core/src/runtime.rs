//! One model in the memory of one backend: parameters, and the lanes that take blocks through it.

use crate::backend::{Backend, Elem};
use crate::config::Role;
use crate::error::{Error, Result};
use crate::inputs::{Block, Inputs};
use crate::layers::embedding::TableSpec;
use crate::model::{Grads, Model};
use crate::params::{Flat, Tensor, TensorSink, TensorSource, initial};
use crate::plan::Plan;

/// Dense parameters and embedding tables.
#[derive(Debug)]
pub(crate) struct Params<B: Backend> {
    pub(crate) dense: Flat<B>,
    pub(crate) tables: Vec<B::Table>,
}

/// Elements of a table that are on their way to or from it at a time.
const PIECE: usize = 1 << 16;

impl<B: Backend> Params<B> {
    pub(crate) fn new(be: &B, model: &impl Model<B>) -> Result<Self> {
        let tables = model.embedding().tables().iter().map(|t| be.alloc_table(t.rows, t.width, t.dtype));
        Ok(Self { dense: Flat::new(be, model.params())?, tables: tables.collect::<Result<_>>()? })
    }

    /// Initial values, those of tables rounded to the nearest that their type holds.
    pub(crate) fn init(&mut self, be: &B, model: &impl Model<B>, seed: u64) -> Result<()> {
        self.dense.init(be, seed);
        for (spec, table) in model.embedding().tables().iter().zip(&mut self.tables) {
            for (first, rows) in pieces(spec) {
                let range = first * spec.width..(first + rows) * spec.width;
                put_rows(be, spec, table, first, &initial(&spec.name, range, spec.init, seed))?;
            }
        }
        Ok(())
    }

    pub(crate) fn export(
        &self,
        be: &B,
        model: &impl Model<B>,
        sink: &mut dyn TensorSink<B::Elem>,
    ) -> Result<()> {
        model.params().export(be, &self.dense.buf, sink, str::to_string)?;
        let mut host = Vec::new();
        for (spec, table) in model.embedding().tables().iter().zip(&self.tables) {
            sink.begin(&spec.name, &[spec.rows, spec.width], spec.dtype);
            for (first, rows) in pieces(spec) {
                host.resize(rows * spec.width, B::Elem::default());
                be.download_rows(&mut host, table, first)?;
                sink.piece(&host);
            }
        }
        Ok(())
    }

    pub(crate) fn import(
        &mut self,
        be: &B,
        model: &impl Model<B>,
        source: &dyn TensorSource<B::Elem>,
    ) -> Result<()> {
        model.params().import(be, &mut self.dense.buf, source, str::to_string)?;
        for (spec, table) in model.embedding().tables().iter().zip(&mut self.tables) {
            let mut first = 0;
            source.pieces(&spec.name, &[spec.rows, spec.width], &mut |data| {
                put_rows(be, spec, table, first, data)?;
                first += data.len() / spec.width;
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// `(first row, rows)` of each piece of a table.
fn pieces(spec: &TableSpec) -> impl Iterator<Item = (usize, usize)> {
    let (rows, step) = (spec.rows, (PIECE / spec.width).max(1));
    (0..rows).step_by(step).map(move |first| (first, step.min(rows - first)))
}

/// Uploads rows, unless a finite number of them is out of the range of the table's type.
fn put_rows<B: Backend>(
    be: &B,
    spec: &TableSpec,
    table: &mut B::Table,
    first: usize,
    data: &[B::Elem],
) -> Result<()> {
    let lost = |v: &B::Elem| v.wide().is_finite() && !spec.dtype.nearest(*v).wide().is_finite();
    if let Some(at) = data.iter().position(lost) {
        let (row, v, dtype) = (first + at / spec.width, data[at], spec.dtype.name());
        let fix = "use model.embeddings.dtype = \"f32\", or \"bf16\" for its range";
        let problem = format!("row {row} holds {:e}, out of the range of {dtype}; {fix}", v.wide());
        return Err(Error::Tensor { name: spec.name.clone(), problem });
    }
    be.upload_rows(table, first, data);
    Ok(())
}

/// What one lane owns.
pub(crate) struct Lane<B: Backend, M: Model<B>> {
    act: M::Activations,
    groups: B::Ids,
    groups_host: Vec<u32>,
    logits: Tensor<B>,           // [rows of the lane, 1]
    d_logits: Tensor<B>,         // [rows of a block, 1]
    pub(crate) stats: Tensor<B>, // [1, 1 + stats]: Σ w·BCE, then the model's
    pub(crate) train: Option<LaneGrads<B>>,
}

/// What a training lane sums and leaves.
pub(crate) struct LaneGrads<B: Backend> {
    pub(crate) grads: Grads<B>,
    pub(crate) d_inputs: [Tensor<B>; 2], // [rows of the lane, input width], by role
}

/// A model's lanes with their memory, sized once for the largest batch.
pub(crate) struct Runtime<B: Backend, M: Model<B>> {
    pub(crate) lanes: Vec<Lane<B, M>>,
    pub(crate) prepared: M::Prepared,
    pub(crate) inputs: Inputs<B>,
    pub(crate) max_rows: usize,
    stats: Vec<B::Elem>,
    host: Vec<B::Elem>,
    block_rows: usize,
}

impl<B: Backend, M: Model<B>> Runtime<B, M> {
    pub(crate) fn new(be: &B, model: &M, max_rows: usize, training: bool) -> Result<Self> {
        if max_rows == 0 {
            return Err(Error::config("batch_size", "must be at least 1, got 0", "raise it"));
        }
        let lane_rows = max_rows.div_ceil(be.lanes());
        let block_rows = be.block_rows().min(lane_rows);
        let scenarios = model.input().scenarios;
        let widths = [Role::Shared, Role::Specific].map(|role| model.input_width(role));
        let lane = |_| -> Result<Lane<B, M>> {
            let train = || -> Result<LaneGrads<B>> {
                let grads =
                    Grads { dense: Flat::new(be, model.params())?, derived: Flat::new(be, model.derived())? };
                let [shared, specific] = widths.map(|w| Tensor::new(be, lane_rows, w));
                Ok(LaneGrads { grads, d_inputs: [shared?, specific?] })
            };
            Ok(Lane {
                act: model.alloc_activations(be, block_rows, training)?,
                groups: be.alloc_ids(scenarios + 1)?,
                groups_host: vec![0; scenarios + 1],
                logits: Tensor::new(be, lane_rows, 1)?,
                d_logits: Tensor::new(be, if training { block_rows } else { 0 }, 1)?,
                stats: Tensor::new(be, 1, 1 + model.stats())?,
                train: training.then(train).transpose()?,
            })
        };
        Ok(Self {
            lanes: (0..be.lanes()).map(lane).collect::<Result<_>>()?,
            prepared: model.alloc_prepared(be)?,
            inputs: Inputs::new(be, model.input(), max_rows, training)?,
            max_rows,
            stats: vec![B::Elem::default(); 1 + model.stats()],
            host: vec![B::Elem::default(); lane_rows],
            block_rows,
        })
    }

    /// Rows of the batch that each lane takes.
    pub(crate) fn lane_rows(&self, rows: usize) -> usize {
        rows.div_ceil(self.lanes.len()).max(1)
    }

    /// Takes every block of the plan forward and, when `masks` is given, backward.
    pub(crate) fn run(
        &mut self,
        be: &B,
        model: &M,
        params: &Params<B>,
        plan: &Plan<B::Elem>,
        masks: Option<(u64, u32)>,
    ) -> Result<()> {
        let rows = plan.rows();
        if rows > self.max_rows {
            let problem = format!("{rows} rows, but memory is for {}; split it", self.max_rows);
            return Err(Error::Batch { place: "batch".into(), problem });
        }
        let training = masks.is_some();
        if training && plan.labels.len() != rows {
            let problem = "has no labels; training needs one a row".into();
            return Err(Error::Batch { place: "batch".into(), problem });
        }
        self.inputs.load(be, plan, training)?;
        let lane_rows = self.lane_rows(rows);
        let Self { lanes, prepared, inputs, block_rows, .. } = self;
        let scale = if plan.weight_sum > 0.0 { 1.0 / plan.weight_sum } else { 0.0 };
        be.for_lanes(lanes, |index, lane| {
            be.fill(lane.stats.mat_mut(1), 0.0);
            if let Some(train) = &mut lane.train {
                be.fill(train.grads.dense.all_mut(), 0.0);
                be.fill(train.grads.derived.all_mut(), 0.0);
            }
            let (begin, end) = ((index * lane_rows).min(rows), ((index + 1) * lane_rows).min(rows));
            let mut first = begin;
            while first < end {
                let n = (end - first).min(*block_rows);
                for (group, &offset) in lane.groups_host.iter_mut().zip(&plan.offsets) {
                    *group = offset.clamp(first as u32, (first + n) as u32) - first as u32;
                }
                be.upload_ids(&mut lane.groups, &lane.groups_host);
                let groups = &lane.groups;
                let x = Block { first, rows: n, inputs, groups, tables: &params.tables, masks };
                let own = first - begin;
                let mut logits = lane.logits.mat_mut(own + n).rows(own, n);
                let model_stats = lane.stats.mat_mut(1).cols(1, model.stats());
                model.forward(be, logits.again(), model_stats, &mut lane.act, prepared, &params.dense, &x);
                if let Some(train) = lane.train.as_mut().filter(|_| training) {
                    let (d_logits, sum) = (lane.d_logits.mat_mut(n), lane.stats.mat_mut(1).cols(0, 1));
                    let (y, w) = (&inputs.labels, &inputs.weights);
                    be.bce_with_logits(d_logits, sum, logits.as_mat(), y, w, first, scale);
                    let LaneGrads { grads, d_inputs: [shared, specific] } = train;
                    let d_inputs = [shared, specific].map(|d| d.mat_mut(own + n).rows(own, n));
                    let d_logits = lane.d_logits.mat_mut(n);
                    let act = &mut lane.act;
                    model.backward(be, grads, d_inputs, d_logits, act, prepared, &params.dense, &x, rows);
                }
                first += n;
            }
        });
        Ok(())
    }

    /// Adds the stats of all lanes to `sums`, in lane order.
    pub(crate) fn add_stats(&mut self, be: &B, sums: &mut [f64]) -> Result<()> {
        for lane in &self.lanes {
            be.download(&mut self.stats, lane.stats.buf(), 0)?;
            sums.iter_mut().zip(&self.stats).for_each(|(sum, v)| *sum += v.wide());
        }
        Ok(())
    }

    /// Calls `each` with the row in the input and its logit.
    pub(crate) fn logits(
        &mut self,
        be: &B,
        plan: &Plan<B::Elem>,
        mut each: impl FnMut(usize, B::Elem),
    ) -> Result<()> {
        let lane_rows = self.lane_rows(plan.rows());
        for (lane, order) in self.lanes.iter().zip(plan.order.chunks(lane_rows)) {
            be.download(&mut self.host[..order.len()], lane.logits.buf(), 0)?;
            order.iter().zip(&self.host).for_each(|(&row, &o)| each(row as usize, o));
        }
        Ok(())
    }
}
