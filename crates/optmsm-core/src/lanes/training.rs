//! From a plan to the gradients of all parameters.

use std::ops::Range;

use super::{Lanes, Masks, Work};
use crate::backend::{Backend, Elem, Mat};
use crate::batch::Batch;
use crate::embedding_grads::EmbeddingGrads;
use crate::error::{BatchPart, Error, Result};
use crate::model::{Exhibit, Grads, Measured, Model, Reader, ReaderGrads};
use crate::params::{Flat, Tensor};
use crate::plan::Plan;
use crate::runtime::{Params, Weights};
use crate::uploaded::Inputs;

/// Gradients that a lane sums, and those that it leaves for the readers.
pub(crate) struct LaneGrads<B: Backend> {
    pub(crate) grads: Grads<B>,
    pub(crate) readers: Vec<Tensor<B>>, // [rows of the lane, columns] by reader
    d_logits: Tensor<B>,                // [rows of a block, 1]
}

/// Memory that the blocks of a training lane write.
type TrainingWork<B, M> = Work<B, M, LaneGrads<B>>;

/// Lanes that train, and the memory of a step beside them.
pub(crate) struct TrainingLanes<B: Backend, M: Model<B>> {
    lanes: Lanes<B, M, LaneGrads<B>>,
    prepared: M::Prepared,
    scratch: M::Scratch,
    embedding: EmbeddingGrads<B>,
    /// Elements of the dense gradients that lanes sum: all except those that are made afterwards.
    summed: Vec<Range<usize>>,
}

/// Seed and number of a step, of which its random draws are a function, and whether running statistics move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepKey {
    pub(crate) seed: u64,
    pub(crate) step: u32,
    pub(crate) moving: bool,
}

impl StepKey {
    fn masks(self) -> Masks {
        Some((self.seed, self.step))
    }
}

/// A batch, which the rows that go through the model together may be a part of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    pub(crate) rows: usize,
    pub(crate) weight_sum: f64,
}

/// A model with its parameters.
pub(crate) type Of<'a, B, M> = (&'a B, &'a M, &'a Params<B>);

/// A model with the weights made of its parameters.
fn weights<'a, B: Backend, M: Model<B>>(
    (be, model, params): Of<'a, B, M>,
    prepared: &'a M::Prepared,
) -> Weights<'a, B, M> {
    Weights { be, model, params, prepared, averaged: false, folds: None }
}

impl<B: Backend, M: Model<B>> TrainingLanes<B, M> {
    pub(crate) fn new(be: &B, model: &M, max_rows: usize) -> Result<Self> {
        let spec = model.spec();
        let lanes = Lanes::allocate(be, model, max_rows, true, |lane_rows, block_rows| {
            let reader = |r: &Reader| Tensor::new(be, lane_rows, r.grad_width());
            Ok(LaneGrads {
                grads: Grads::new(be, spec)?,
                readers: spec.readers().iter().map(reader).collect::<Result<_>>()?,
                d_logits: Tensor::new(be, block_rows, 1)?,
            })
        })?;
        Ok(Self {
            lanes,
            prepared: model.alloc_prepared(be, true)?,
            scratch: model.alloc_scratch(be)?,
            embedding: EmbeddingGrads::new(be, spec, max_rows)?,
            summed: spec.params().without(&spec.after_lanes()),
        })
    }

    /// Leaves the gradient of the mean loss of a plan: see [`TrainingLanes::grads`] and [`TrainingLanes::embedding`].
    pub(crate) fn gradients(
        &mut self,
        be: &B,
        model: &M,
        params: &mut Params<B>,
        plan: &Plan<B::Elem>,
        key: StepKey,
    ) -> Result<()> {
        self.prepare(be, model, params);
        self.load(be, plan, None)?;
        if model.batch_statistics() {
            self.measure((be, model, params), plan, key);
            let Self { lanes, prepared, .. } = self;
            let Some((first, inputs)) = lanes.first() else { return Ok(()) };
            let sums = &first.grads.grads.derived;
            model.settle(be, prepared, sums, &mut params.running, &inputs.groups, key.moving);
        }
        let whole = Totals { rows: plan.rows(), weight_sum: plan.weight_sum };
        self.backward((be, model, params), plan, key, whole);
        let Self { lanes, prepared, scratch, .. } = self;
        if let Some((first, _)) = lanes.first_mut() {
            model.finish(be, &mut first.grads.grads, scratch, prepared, &params.dense);
        }
        if model.batch_statistics() {
            self.correct((be, model, params), plan, key);
        }
        self.fields((be, model, params), plan.rows())
    }

    /// Packs and generates weights.
    pub(crate) fn prepare(&mut self, be: &B, model: &M, params: &Params<B>) {
        model.prepare(be, &mut self.prepared, &params.dense, &params.running);
    }

    /// Uploads a plan; `scenarios` has the first row of each scenario in the whole batch where the plan is of a part of it.
    pub(crate) fn load(&mut self, be: &B, plan: &Plan<B::Elem>, scenarios: Option<&[u32]>) -> Result<()> {
        if plan.labels.len() != plan.rows() {
            let problem = "has no labels; training needs one per row";
            return Err(Error::batch(BatchPart::Batch, None, problem));
        }
        self.lanes.load(be, plan, true)?;
        self.lanes.inputs.load_scenarios(be, scenarios);
        Ok(())
    }

    /// Sums what statistics of the batch are made of, in the derived gradients of the first lane.
    pub(crate) fn measure(&mut self, of: Of<B, M>, plan: &Plan<B::Elem>, key: StepKey) {
        let Self { lanes, prepared, .. } = self;
        let on = weights(of, prepared);
        let begin = |work: &mut TrainingWork<B, M>| clear_derived(on.be, &mut work.grads.grads);
        lanes.pass(&on, plan, key.masks(), begin, |work, cx, _| {
            on.model.measure(cx, &mut work.grads.grads.derived, &mut work.act, on.prepared);
        });
        sum_derived(on.be, lanes);
    }

    /// Makes the statistics of a batch from `sums` over all of it.
    pub(crate) fn settle(
        &mut self,
        (be, model, params): (&B, &M, &mut Params<B>),
        sums: &Flat<B>,
        scenarios: &B::Ids,
        moving: bool,
    ) {
        model.settle(be, &mut self.prepared, sums, &mut params.running, scenarios, moving);
    }

    /// Takes the rows forward and back, and sums the lanes' gradients in the first one.
    pub(crate) fn backward(&mut self, of: Of<B, M>, plan: &Plan<B::Elem>, key: StepKey, whole: Totals) {
        let Self { lanes, prepared, summed, .. } = self;
        let on = weights(of, prepared);
        let Weights { be, model, .. } = on;
        let scale = if whole.weight_sum > 0.0 { 1.0 / whole.weight_sum } else { 0.0 };
        let begin = |work: &mut TrainingWork<B, M>| be.fill(work.sums.mat_mut(1), 0.0);
        let measures = model.spec().sums();
        lanes.pass(&on, plan, key.masks(), begin, |work, cx, own| {
            let Work { act, logits, sums, grads: LaneGrads { grads, readers, d_logits }, .. } = work;
            let (first, n) = (cx.x.first, cx.x.rows);
            let mut logits = logits.mat_mut(own + n).rows(own, n);
            model.forward(cx, logits.again(), Some(sums.mat_mut(1).cols(1, measures)), act, on.prepared);
            let (loss, y, w) = (sums.mat_mut(1).cols(0, 1), &cx.x.inputs.labels, &cx.x.inputs.weights);
            be.bce_with_logits(d_logits.mat_mut(n), loss, logits.as_mat(), y, w, first, scale);
            if own == 0 {
                // Not before the forward pass, which would displace them from the cache.
                summed.iter().for_each(|range| be.fill(grads.dense.range_mut(range.clone()), 0.0));
                clear_derived(be, grads);
            }
            let readers = &mut ReaderGrads { of: readers, first: own, rows: n };
            model.backward(cx, grads, readers, d_logits.mat_mut(n), act, on.prepared, whole.rows);
        });
        // Lanes are summed in order, so the result does not depend on who computed which.
        for range in summed.iter() {
            lanes.sum_grads(be, |grads| &mut grads.dense.buf, |grads| &grads.dense.buf, range.clone());
        }
        sum_derived(be, lanes);
    }

    /// From the gradients of derived weights to those of parameters, in `grads` over the whole batch.
    pub(crate) fn finish_on(&mut self, (be, model, params): Of<B, M>, grads: &mut Grads<B>) {
        model.finish(be, grads, &mut self.scratch, &self.prepared, &params.dense);
    }

    /// Adds to the gradients of readers what flows through statistics of the batch.
    pub(crate) fn correct(&mut self, of: Of<B, M>, plan: &Plan<B::Elem>, key: StepKey) {
        let Self { lanes, prepared, scratch, .. } = self;
        let on = weights(of, prepared);
        let begin = |_: &mut TrainingWork<B, M>| ();
        lanes.pass(&on, plan, key.masks(), begin, |work, cx, own| {
            let LaneGrads { readers, .. } = &mut work.grads;
            let readers = &mut ReaderGrads { of: readers, first: own, rows: cx.x.rows };
            on.model.correct(cx, readers, &mut work.act, on.prepared, scratch);
        });
    }

    /// Sets the gradients of fields: [`EmbeddingGrads::backward`].
    pub(crate) fn fields(&mut self, (be, model, params): Of<B, M>, rows: usize) -> Result<()> {
        self.embedding.backward(be, model, params, &mut self.lanes, rows)
    }

    /// Predicts with the averages where there are any: [`Lanes::predict`].
    pub(crate) fn predict(
        &mut self,
        (be, model, params): (&B, &M, &Params<B>),
        plan: &mut Plan<B::Elem>,
        batch: &Batch,
        measured: Option<&mut Measured>,
        each: impl FnMut(usize, B::Elem),
    ) -> Result<()> {
        let Self { lanes, prepared, .. } = self;
        let averaged = params.averaged();
        model.prepare(be, prepared, params.read(averaged), &params.running);
        let on = Weights { be, model, params, prepared, averaged, folds: None };
        lanes.predict(&on, plan, batch, None, measured, each)
    }

    /// Tables to look at, of the averages where there are any.
    pub(crate) fn exhibits(
        &mut self,
        (be, model, params): (&B, &M, &Params<B>),
        measured: &Measured,
    ) -> Result<Vec<Exhibit>> {
        let dense = params.read(params.averaged());
        model.prepare(be, &mut self.prepared, dense, &params.running);
        model.exhibits(be, &self.prepared, dense, measured)
    }

    /// The dense gradients; `None` before [`TrainingLanes::gradients`].
    pub(crate) fn grads(&self) -> Option<&Grads<B>> {
        self.lanes.active().next().map(|work| &work.grads.grads)
    }

    /// The gradients of the tables' rows.
    pub(crate) fn embedding(&self) -> &EmbeddingGrads<B> {
        &self.embedding
    }

    /// The batch.
    pub(crate) fn inputs(&self) -> &Inputs<B> {
        &self.lanes.inputs
    }

    /// Sums and logits by lane: [`Lanes::computed`].
    pub(crate) fn computed(&self, rows: usize) -> impl Iterator<Item = (Mat<'_, B::Buf>, Mat<'_, B::Buf>)> {
        self.lanes.computed(rows)
    }

    /// Loss and measures of the last pass, summed over lanes in order: `[1 + n]`.
    pub(crate) fn sums(&mut self, be: &B) -> Result<Vec<f64>> {
        let Lanes { lanes, active, host, .. } = &mut self.lanes;
        let mut total = Vec::new();
        for lane in &lanes[..*active] {
            let sums = lane.work.sums.mat(1);
            total.resize(sums.cols, 0.0);
            be.download(&mut host[..sums.cols], sums.buf, 0)?;
            total.iter_mut().zip(&*host).for_each(|(sum, v)| *sum += v.wide());
        }
        Ok(total)
    }

    /// Makes room for lists of `ids` ids, all of which may be distinct, by field.
    pub(crate) fn reserve(&mut self, be: &B, ids: &[usize]) -> Result<()> {
        self.lanes.inputs.reserve(be, ids)?;
        // A field's distinct ids are at most those of its lists; where a batch repeats them this is more than it takes.
        self.embedding.reserve(be, ids)
    }

    /// Gradients, prepared weights, batch, and the rest.
    pub(crate) fn apart(self) -> (impl Sized, impl Sized, Inputs<B>, impl Sized) {
        let Self { lanes: Lanes { lanes, inputs, .. }, prepared, scratch, embedding, .. } = self;
        let lanes = lanes.into_iter().map(|lane| {
            let Work { grads: LaneGrads { grads, readers, d_logits }, act, logits, sums, .. } = lane.work;
            ((grads, readers), (d_logits, act, logits, sums, lane.groups))
        });
        let (grads, rest): (Vec<_>, Vec<_>) = lanes.unzip();
        ((embedding, grads), (prepared, scratch), inputs, rest)
    }
}

/// Zeroes the sums of derived weights.
fn clear_derived<B: Backend>(be: &B, grads: &mut Grads<B>) {
    let all = 0..grads.derived.layout().len();
    be.fill(grads.derived.range_mut(all), 0.0);
}

/// Adds the derived sums of all other lanes to the first one's.
fn sum_derived<B: Backend, M: Model<B>>(be: &B, lanes: &mut Lanes<B, M, LaneGrads<B>>) {
    let Some((first, _)) = lanes.first() else { return };
    let all = 0..first.grads.grads.derived.layout().len();
    lanes.sum_grads(be, |grads| &mut grads.derived.buf, |grads| &grads.derived.buf, all);
}

impl<B: Backend, M: Model<B>> Lanes<B, M, LaneGrads<B>> {
    /// The first lane, and the batch; `None` before a pass.
    fn first(&self) -> Option<(&TrainingWork<B, M>, &Inputs<B>)> {
        self.active().next().map(|work| (work, &self.inputs))
    }

    /// The same to write.
    pub(crate) fn first_mut(&mut self) -> Option<(&mut TrainingWork<B, M>, &Inputs<B>)> {
        let Self { lanes, active, inputs, .. } = self;
        lanes[..*active].first_mut().map(|lane| (&mut lane.work, &*inputs))
    }

    /// Gradient that a lane left for a reader, with all its rows or more.
    pub(crate) fn reader(&self, lane: usize, reader: usize, rows: usize) -> Mat<'_, B::Buf> {
        self.lanes[lane].work.grads.readers[reader].mat(rows)
    }

    /// Adds elements of a gradient buffer of all other lanes of the last pass to the first one's, in order.
    fn sum_grads(
        &mut self,
        be: &B,
        to: impl Fn(&mut Grads<B>) -> &mut B::Buf,
        from: impl Fn(&Grads<B>) -> &B::Buf + Sync,
        range: Range<usize>,
    ) {
        let Self { lanes, active, .. } = self;
        let Some((first, rest)) = lanes[..*active].split_first_mut() else { return };
        let other = |i: usize| from(&rest[i].work.grads.grads);
        be.accumulate(to(&mut first.work.grads.grads), rest.len(), other, range);
    }
}
