//! Lanes that take the blocks of a batch through a model, at the same time: forward, and in training backward.
//!
//! A lane owns the activations of one block and, in training, gradients of its own. Lanes are summed in order, so that results
//! do not depend on the number of threads.

mod split;
mod training;

use crate::backend::{Backend, Groups, Mat, Write};
use crate::batch::Batch;
use crate::error::{BatchPart, Error, Result};
use crate::fold::{Folded, Folds};
use crate::model::{Cx, Measure, Measured, Model};
use crate::params::Tensor;
use crate::plan::Plan;
use crate::runtime::Weights;
use crate::uploaded::{Block, Inputs};

use split::Split;
pub(crate) use training::{LaneGrads, StepKey, Totals, TrainingLanes};

/// Uploaded inputs and lanes with their activations, sized once for the largest batch; `G` is what a lane of a training pass
/// has beside.
pub(crate) struct Lanes<B: Backend, M: Model<B>, G = ()> {
    lanes: Vec<Lane<B, M, G>>,
    active: usize, // lanes that the last pass used
    pub(crate) inputs: Inputs<B>,
    max_rows: usize,
    split: Split,
    block_rows: usize,
    host: Vec<B::Elem>,
}

/// One lane.
struct Lane<B: Backend, M: Model<B>, G> {
    groups: B::Ids,
    groups_host: Vec<u32>,
    work: Work<B, M, G>,
}

/// Memory that the blocks of a lane write.
pub(crate) struct Work<B: Backend, M: Model<B>, G> {
    pub(crate) act: M::Activations,
    pub(crate) logits: Tensor<B>, // [rows of the lane, 1]
    pub(crate) sums: Tensor<B>,   // [1, 1 + n]: Σ w·BCE, then those of the model's measures over rows
    by_scenario: Vec<Tensor<B>>, // of each measure over scenarios its sums and those of squares, [2·S, elements]; from the first pass on that asks for it
    pub(crate) grads: G,
    folded: Option<Folded<B>>,
}

/// A pass: dropout masks of a seed and step, when training.
pub(crate) type Masks = Option<(u64, u32)>;

impl<B: Backend, M: Model<B>> Lanes<B, M> {
    /// Lanes that predict.
    pub(crate) fn new(be: &B, model: &M, max_rows: usize) -> Result<Self> {
        Self::allocate(be, model, max_rows, false, |_, _| Ok(()))
    }

    /// The same with room for what folded tables give.
    pub(crate) fn folding(self, be: &B, folds: &Folds<B>) -> Result<Self> {
        let Self { mut lanes, block_rows, .. } = self;
        for lane in &mut lanes {
            lane.work.folded = Some(folds.alloc(be, block_rows)?);
        }
        Ok(Self { lanes, ..self })
    }
}

impl<B: Backend, M: Model<B>, G: Send> Lanes<B, M, G> {
    /// `grads` makes what a lane has beside from the rows of a lane and of a block.
    fn allocate(
        be: &B,
        model: &M,
        max_rows: usize,
        training: bool,
        grads: impl Fn(usize, usize) -> Result<G>,
    ) -> Result<Self> {
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
        let (spec, scenarios) = (model.spec(), model.spec().input().scenarios);
        let lane = |_| -> Result<Lane<B, M, G>> {
            let work = Work {
                act: model.alloc_activations(be, block_rows, training)?,
                logits: Tensor::new(be, lane_rows, 1)?,
                sums: Tensor::new(be, 1, 1 + spec.sums())?,
                by_scenario: Vec::new(),
                folded: None,
                grads: grads(lane_rows, block_rows)?,
            };
            Ok(Lane { groups: be.alloc_ids(scenarios + 1)?, groups_host: vec![0; scenarios + 1], work })
        };
        // No number of rows up to `max_rows` uses more lanes.
        let lanes = split.lanes.min(max_rows.div_ceil(split.min_rows));
        Ok(Self {
            lanes: (0..lanes).map(lane).collect::<Result<_>>()?,
            active: 0,
            inputs: Inputs::new(be, spec.input(), max_rows, training, training && model.batch_statistics())?,
            max_rows,
            split,
            block_rows,
            host: vec![B::Elem::default(); lane_rows.max(1 + spec.sums())],
        })
    }

    /// Rows of the batch that each lane takes.
    pub(crate) fn lane_rows(&self, rows: usize) -> usize {
        self.split.lane_rows(rows)
    }

    /// The lanes with rows of the last pass.
    fn active(&self) -> impl Iterator<Item = &Work<B, M, G>> {
        self.lanes[..self.active].iter().map(|lane| &lane.work)
    }

    /// Sums and logits of each lane that the last pass used, over `rows` rows: two row vectors.
    pub(crate) fn computed(&self, rows: usize) -> impl Iterator<Item = (Mat<'_, B::Buf>, Mat<'_, B::Buf>)> {
        let lane_rows = self.lane_rows(rows);
        self.active().enumerate().map(move |(index, lane)| {
            let own = lane_rows.min(rows - index * lane_rows);
            (lane.sums.mat(1), Mat::new(lane.logits.buf(), 1, own))
        })
    }

    /// Uploads a plan for the passes that follow.
    fn load(&mut self, be: &B, plan: &Plan<B::Elem>, training: bool) -> Result<()> {
        let rows = plan.rows();
        if rows > self.max_rows {
            let problem = format!("{rows} rows, but memory is for {}; split it", self.max_rows);
            return Err(Error::batch(BatchPart::Batch, None, problem));
        }
        self.inputs.load(be, plan, training)?;
        self.active = self.split.lanes(rows);
        Ok(())
    }

    /// Calls `begin` for every lane with rows, then `block` for each of its blocks with the block's first row within the
    /// lane.
    fn pass(
        &mut self,
        on: &Weights<B, M>,
        plan: &Plan<B::Elem>,
        masks: Masks,
        begin: impl Fn(&mut Work<B, M, G>) + Sync,
        block: impl Fn(&mut Work<B, M, G>, Cx<B>, usize) + Sync,
    ) {
        let Weights { be, params, averaged, .. } = *on;
        let (dense, tables) = (params.read(averaged), &params.tables);
        let rows = plan.rows();
        let lane_rows = self.lane_rows(rows);
        let Self { lanes, inputs, block_rows, active, .. } = self;
        // Lanes without rows are left out: nothing is zeroed, computed or summed for them.
        be.for_lanes(&mut lanes[..*active], |index, lane| {
            let Lane { groups, groups_host, work } = lane;
            begin(work);
            let (start, end) = (index * lane_rows, ((index + 1) * lane_rows).min(rows));
            let mut first = start;
            while first < end {
                let n = (end - first).min(*block_rows);
                for (group, &offset) in groups_host.iter_mut().zip(&plan.offsets) {
                    *group = offset.clamp(first as u32, (first + n) as u32) - first as u32;
                }
                be.upload_ids(groups, groups_host);
                let x = Block { first, rows: n, inputs, groups, tables, averaged, masks, folded: None };
                block(work, Cx { be, params: dense, x: &x }, first - start);
                first += n;
            }
        });
    }

    /// Takes a batch forward, in pieces of the rows that there is memory for, with `plan` as scratch. Calls
    /// `each` with every row and its logit, and adds to `measured`. With `same`, all rows are of one scenario, and have the same value
    /// of the fields of which it is true.
    pub(crate) fn predict(
        &mut self,
        on: &Weights<B, M>,
        plan: &mut Plan<B::Elem>,
        batch: &Batch,
        same: Option<&[bool]>,
        mut measured: Option<&mut Measured>,
        mut each: impl FnMut(usize, B::Elem),
    ) -> Result<()> {
        let Weights { be, model, prepared, folds, .. } = *on;
        let (spec, input) = (model.spec(), model.spec().input());
        batch.validate(input)?;
        let rows = batch.rows();
        if let Some(measured) = &mut measured {
            batch.scenarios.iter().for_each(|&s| measured.rows[s as usize] += 1);
            let wanted = !measured.by_scenario.is_empty();
            for lane in self.lanes.iter_mut().filter(|lane| wanted && lane.work.by_scenario.is_empty()) {
                let room = |(_, m): (_, &Measure)| Tensor::new(be, 2 * input.scenarios, m.len());
                lane.work.by_scenario = spec.over_scenarios().map(room).collect::<Result<_>>()?;
            }
        }
        let measuring = measured.is_some();
        let by_scenario = measured.as_ref().is_some_and(|m| !m.by_scenario.is_empty());
        for first in (0..rows).step_by(self.max_rows) {
            let end = first + self.max_rows.min(rows - first);
            plan.fill(batch, input, first..end, false);
            self.load(be, plan, false)?;
            let begin = |work: &mut Work<B, M, G>| {
                if measuring {
                    be.fill(work.sums.mat_mut(1), 0.0);
                }
                let sums = work.by_scenario.iter_mut().filter(|_| by_scenario);
                sums.for_each(|sums| be.fill(sums.mat_mut(2 * input.scenarios), 0.0));
            };
            self.pass(on, plan, None, begin, |work, cx, own| {
                let n = cx.x.rows;
                let logits = work.logits.mat_mut(own + n).rows(own, n);
                let sums = measuring.then(|| work.sums.mat_mut(1).cols(1, spec.sums()));
                let folded = folds.zip(work.folded.as_mut()).map(|(folds, own)| folds.sum(cx, own, same));
                let cx = Cx { x: &Block { folded, ..*cx.x }, ..cx };
                model.forward(cx, logits, sums, &mut work.act, prepared);
                if by_scenario {
                    for ((number, _), sums) in spec.over_scenarios().zip(&mut work.by_scenario) {
                        let values = model.measured(&work.act, number, n);
                        let (s, by) = (input.scenarios, || Groups::Rows(cx.x.groups));
                        be.col_sum(sums.mat_mut(s), Write::Add, values, by());
                        be.col_dot(sums.mat_mut(2 * s).rows(s, s), Write::Add, values, values, by());
                    }
                }
            });
            if let Some(measured) = &mut measured {
                self.add_measured(be, measured)?;
            }
            self.logits(be, plan, &mut each)?;
        }
        Ok(())
    }

    /// Adds the measures of the last pass's lanes, in lane order.
    fn add_measured(&mut self, be: &B, measured: &mut Measured) -> Result<()> {
        use crate::backend::Elem;
        let Measured { sums, by_scenario, squares, .. } = measured;
        let Self { lanes, active, host, .. } = self;
        for Work { sums: own, by_scenario: own_by_scenario, .. } in
            lanes[..*active].iter().map(|lane| &lane.work)
        {
            let host = &mut host[..sums.len()];
            be.download(host, own.buf(), 1)?;
            sums.iter_mut().zip(&*host).for_each(|(sum, v)| *sum += v.wide());
            for ((sums, squares), own) in by_scenario.iter_mut().zip(squares.iter_mut()).zip(own_by_scenario)
            {
                let mut host = vec![B::Elem::default(); sums.len() + squares.len()];
                be.download(&mut host, own.buf(), 0)?;
                sums.iter_mut().chain(squares).zip(&host).for_each(|(sum, v)| *sum += v.wide());
            }
        }
        Ok(())
    }

    /// Calls `each` with the row in the input and its logit.
    fn logits(&mut self, be: &B, plan: &Plan<B::Elem>, mut each: impl FnMut(usize, B::Elem)) -> Result<()> {
        let lane_rows = self.lane_rows(plan.rows());
        for (lane, order) in self.lanes.iter().zip(plan.order.chunks(lane_rows)) {
            be.download(&mut self.host[..order.len()], lane.work.logits.buf(), 0)?;
            order.iter().zip(&self.host).for_each(|(&row, &o)| each(row as usize, o));
        }
        Ok(())
    }
}
