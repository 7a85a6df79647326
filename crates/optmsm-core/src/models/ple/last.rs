//! The last level: the row's own scenario's stream, by its own experts and the shared ones alone.

use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::config::ExpertsConfig;
use crate::error::Result;
use crate::layers::mlp::MlpActivations;
use crate::layers::scenario_linear::ScenarioTowersActivations;
use crate::layers::{Experts, Gate, Mixture, ScenarioTowers};
use crate::model::{Builder, Cx};
use crate::params::{Flat, Tensor};

use super::{EXPERTS, Sources};

/// Experts O_sj and H_k, and the scenario's gate.
#[derive(Clone, Debug)]
pub(super) struct Last {
    own: Vec<ScenarioTowers>,
    pub(super) shared: Experts,
    gate: Gate,
}

/// Packed weights.
#[derive(Debug)]
pub(super) struct LastPrepared<B: Backend> {
    own: Vec<Vec<B::Packed>>,
    shared: Vec<B::Packed>,
    gate: B::Packed,
}

/// Activations of one block.
#[derive(Debug)]
pub(super) struct LastActivations<B: Backend> {
    own: Vec<ScenarioTowersActivations<B>>,
    shared: MlpActivations<B>,
    outputs: Tensor<B>,   // O_s1 …, then H_1 …, [rows, (own + shared)·m]
    d_outputs: Tensor<B>, // the same
    gate: Mixture<B>,
}

impl Last {
    /// Level `name`; an `only` one reads fields.
    pub(super) fn new(
        build: &mut Builder,
        name: &str,
        inputs: usize,
        (own, shared): (usize, usize),
        (hidden, dropout): (&[usize], f64),
        only: bool,
    ) -> Self {
        let s = build.scenarios();
        let one = |j| {
            let dropout = (dropout, build.dropout_sites());
            let name = format!("{name}.own.{j}");
            ScenarioTowers::without_logit(&mut build.params, &name, s, inputs, hidden, dropout)
        };
        let of_scenario = (0..own).map(one).collect();
        let config = ExpertsConfig { count: shared, hidden: hidden.to_vec(), dropout };
        let common = Experts::new(build, &format!("{name}.shared"), inputs, &config);
        let common = if only { common.reading_fields() } else { common };
        let gate = Gate::by_scenario(build, &format!("{name}.gate"), [inputs, own + shared]);
        Self { own: of_scenario, shared: common, gate }
    }

    /// m.
    pub(super) fn width(&self) -> usize {
        self.shared.width()
    }

    /// Columns of own expert `j`.
    fn place(&self, j: usize) -> (usize, usize) {
        (j * self.width(), self.width())
    }

    /// Columns of the shared experts.
    fn shared_place(&self) -> (usize, usize) {
        (self.own.len() * self.width(), self.shared.count() * self.width())
    }

    /// Names of its experts.
    pub(super) fn names(&self) -> Vec<String> {
        let own = (0..self.own.len()).map(|j| format!("own {j}"));
        own.chain((0..self.shared.count()).map(|k| format!("shared {k}"))).collect()
    }

    /// Room for packed weights.
    pub(super) fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<LastPrepared<B>> {
        Ok(LastPrepared {
            own: self.own.iter().map(|e| e.alloc(be, used)).collect::<Result<_>>()?,
            shared: self.shared.alloc(be, used)?,
            gate: self.gate.alloc(be, used)?,
        })
    }

    /// Packs the weights.
    pub(super) fn pack<B: Backend>(&self, be: &B, packed: &mut LastPrepared<B>, params: &Flat<B>) {
        self.own.iter().zip(&mut packed.own).for_each(|(e, w)| e.pack(be, w, params));
        self.shared.pack(be, &mut packed.shared, params);
        self.gate.pack(be, &mut packed.gate, params);
    }

    /// Memory for `rows` rows.
    pub(super) fn activations<B: Backend>(
        &self,
        be: &B,
        rows: usize,
        training: bool,
    ) -> Result<LastActivations<B>> {
        let (first, rest) = self.shared_place();
        Ok(LastActivations {
            own: self.own.iter().map(|e| e.activations(be, rows, training)).collect::<Result<_>>()?,
            shared: self.shared.activations(be, rows, training)?,
            outputs: Tensor::new(be, rows, first + rest)?,
            d_outputs: Tensor::new(be, if training { rows } else { 0 }, first + rest)?,
            gate: self.gate.activations(be, rows, training)?,
        })
    }

    /// Weights of the gate, `[rows, own + shared]`.
    pub(super) fn alpha<'a, B: Backend>(&self, act: &'a LastActivations<B>, rows: usize) -> Mat<'a, B::Buf> {
        act.gate.alpha(rows)
    }

    /// out `[rows, m]` of the scenario's stream and the shared one.
    pub(super) fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        out: MatMut<B::Buf>,
        act: &mut LastActivations<B>,
        (x, x_0): (Mat<B::Buf>, Mat<B::Buf>),
        packed: &LastPrepared<B>,
    ) {
        let n = x.rows;
        for (j, ((own, act_j), w)) in self.own.iter().zip(&mut act.own).zip(&packed.own).enumerate() {
            let (at, m) = self.place(j);
            own.forward(cx, act.outputs.mat_mut(n).cols(at, m), act_j, x, w);
        }
        let (at, width) = self.shared_place();
        let shared = act.outputs.mat_mut(n).cols(at, width);
        self.shared.forward(cx, shared, &mut act.shared, x_0, &packed.shared);
        self.gate.forward(cx, &mut act.gate, x, &packed.gate);
        act.gate.forward(cx.be, out, act.outputs.mat(n));
    }

    /// Adds to the gradients of the parameters, and writes those of the inputs.
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub(super) fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        mut to: Sources<B>,
        d_out: Mat<B::Buf>,
        act: &mut LastActivations<B>,
        (x, x_0): (Mat<B::Buf>, Mat<B::Buf>),
        packed: &LastPrepared<B>,
    ) {
        let n = x.rows;
        let outputs = act.outputs.mat(n);
        act.gate.backward(cx.be, act.d_outputs.mat_mut(n), d_out, outputs);
        self.gate.backward(cx, grads, (to.x(), Write::Set), &act.gate, x, &packed.gate);
        let (at, width) = self.shared_place();
        cx.be.relu_bwd(act.d_outputs.mat_mut(n).cols(0, at), outputs.cols(0, at));
        for (j, ((own, act_j), w)) in self.own.iter().zip(&mut act.own).zip(&packed.own).enumerate() {
            let ((at, m), d_x) = (self.place(j), (to.x(), Write::Add));
            own.backward(cx, grads, d_x, (x, None), act.d_outputs.mat_mut(n).cols(at, m), act_j, w);
        }
        let (d, out) = (act.d_outputs.mat_mut(n).cols(at, width), Some(outputs.cols(at, width)));
        let (shared, own, w) = (&self.shared, &mut act.shared, &packed.shared);
        match to {
            Sources::Fields(readers) => {
                shared.backward_to_fields(cx, grads, readers.reader(EXPERTS), d, out, own, w);
            }
            Sources::Streams(_, d_x_0) => {
                shared.backward(cx, grads, (d_x_0, Write::Set), (x_0, false), d, out, own, w);
            }
        }
    }
}
