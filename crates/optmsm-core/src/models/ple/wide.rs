//! A level before the last: every scenario's stream and the shared one of every row, which the shared stream of the level reads.

use crate::backend::{Backend, Mat, Products, Write};
use crate::config::ExpertsConfig;
use crate::error::Result;
use crate::layers::mlp::MlpActivations;
use crate::layers::{Experts, Gate, Linear, Mixture};
use crate::model::{Builder, Cx};
use crate::params::{Flat, Tensor};

use super::{EXPERTS, Sources};

/// Experts O_ij and H_k, the scenarios' gates, the shared stream's gate.
#[derive(Clone, Debug)]
pub(super) struct Wide {
    pub(super) own: Vec<Experts>, // expert j of every scenario, side by side
    pub(super) shared: Experts,
    gates: Linear,
    shared_gate: Gate,
    scenarios: usize,
}

/// Packed weights.
#[derive(Debug)]
pub(super) struct WidePrepared<B: Backend> {
    own: Vec<Vec<B::Packed>>,
    shared: Vec<B::Packed>,
    gates: B::Packed,
    shared_gate: B::Packed,
}

/// Activations of one block, and the streams behind the level.
#[derive(Debug)]
pub(super) struct WideActivations<B: Backend> {
    own: Vec<MlpActivations<B>>,
    shared: MlpActivations<B>,
    outputs: Tensor<B>, // O_11 … O_S1, O_12 … O_S2 and so on, then H_1 …, [rows, (S·own + shared)·m]
    d_outputs: Tensor<B>, // the same
    logits: Tensor<B>,  // of the scenarios' gates, then their gradient, [rows, S·(own + shared)]
    alpha: Tensor<B>,   // the same
    d_alpha: Tensor<B>, // the same
    shared_gate: Mixture<B>,
    pub(super) x: Tensor<B>,   // streams of the scenarios, [rows, S·m]
    pub(super) d_x: Tensor<B>, // the same
    pub(super) x_0: Tensor<B>, // shared stream, [rows, m]
    pub(super) d_x_0: Tensor<B>,
}

impl Wide {
    /// Level `name`; the `first` one reads fields.
    pub(super) fn new(
        build: &mut Builder,
        name: &str,
        inputs: usize,
        (own, shared): (usize, usize),
        layers: (&[usize], f64),
        first: bool,
    ) -> Self {
        let s = build.scenarios();
        let config = |count| ExpertsConfig { count, hidden: layers.0.to_vec(), dropout: layers.1 };
        let experts = |build: &mut Builder, j| {
            let name = format!("{name}.own.{j}");
            match first {
                true => Experts::new(build, &name, inputs, &config(s)).reading_fields(),
                false => Experts::of_columns(build, &name, inputs, &config(s)),
            }
        };
        let of_scenarios = (0..own).map(|j| experts(build, j)).collect();
        let common = Experts::new(build, &format!("{name}.shared"), inputs, &config(shared));
        let common = if first { common.reading_fields() } else { common };
        let shape = [inputs, own + shared];
        let gates = Linear::side_by_side(&mut build.params, &format!("{name}.gate"), s, shape, first);
        let shape = [inputs, s * own + shared];
        let shared_gate = Gate::shared(build, &format!("{name}.shared_gate"), shape);
        Self { own: of_scenarios, shared: common, gates: gates.without_relu(), shared_gate, scenarios: s }
    }

    /// m.
    pub(super) fn width(&self) -> usize {
        self.shared.width()
    }

    /// Columns of all scenarios' expert `j`.
    fn row_of(&self, j: usize) -> (usize, usize) {
        let width = self.scenarios * self.width();
        (j * width, width)
    }

    /// Columns of expert `j` of scenario `i`.
    fn place(&self, i: usize, j: usize) -> (usize, usize) {
        ((j * self.scenarios + i) * self.width(), self.width())
    }

    /// Columns of the shared experts.
    fn shared_place(&self) -> (usize, usize) {
        (self.row_of(self.own.len()).0, self.shared.count() * self.width())
    }

    /// Columns of scenario `i`'s gate: own experts, shared ones.
    fn gate_places(&self, i: usize) -> [(usize, usize); 2] {
        let (own, shared) = (self.own.len(), self.shared.count());
        [(i * (own + shared), own), (i * (own + shared) + own, shared)]
    }

    /// Room for packed weights.
    pub(super) fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<WidePrepared<B>> {
        Ok(WidePrepared {
            own: self.own.iter().map(|e| e.alloc(be, used)).collect::<Result<_>>()?,
            shared: self.shared.alloc(be, used)?,
            gates: self.gates.alloc(be, used)?,
            shared_gate: self.shared_gate.alloc(be, used)?,
        })
    }

    /// Packs the weights.
    pub(super) fn pack<B: Backend>(&self, be: &B, packed: &mut WidePrepared<B>, params: &Flat<B>) {
        self.own.iter().zip(&mut packed.own).for_each(|(e, w)| e.pack(be, w, params));
        self.shared.pack(be, &mut packed.shared, params);
        self.gates.pack(be, &mut packed.gates, params);
        self.shared_gate.pack(be, &mut packed.shared_gate, params);
    }

    /// Memory for `rows` rows.
    pub(super) fn activations<B: Backend>(
        &self,
        be: &B,
        rows: usize,
        training: bool,
    ) -> Result<WideActivations<B>> {
        let forward = |cols: usize| Tensor::new(be, rows, cols);
        let backward = |cols: usize| Tensor::new(be, if training { rows } else { 0 }, cols);
        let (first, rest) = self.shared_place();
        let (m, weights) = (self.width(), self.gates.width());
        Ok(WideActivations {
            own: self.own.iter().map(|e| e.activations(be, rows, training)).collect::<Result<_>>()?,
            shared: self.shared.activations(be, rows, training)?,
            outputs: forward(first + rest)?,
            d_outputs: backward(first + rest)?,
            logits: forward(weights)?,
            alpha: forward(weights)?,
            d_alpha: backward(weights)?,
            shared_gate: self.shared_gate.activations(be, rows, training)?,
            x: forward(self.scenarios * m)?,
            d_x: backward(self.scenarios * m)?,
            x_0: forward(m)?,
            d_x_0: backward(m)?,
        })
    }

    /// Streams `act.x` and `act.x_0` of x `[rows, S·in]`, or `[rows, in]` at the first level, and x_0 `[rows, in]`.
    pub(super) fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        act: &mut WideActivations<B>,
        (x, x_0): (Mat<B::Buf>, Mat<B::Buf>),
        packed: &WidePrepared<B>,
    ) {
        let (be, n) = (cx.be, x.rows);
        for (j, ((own, act_j), w)) in self.own.iter().zip(&mut act.own).zip(&packed.own).enumerate() {
            let (first, width) = self.row_of(j);
            own.forward(cx, act.outputs.mat_mut(n).cols(first, width), act_j, x, w);
        }
        let (first, width) = self.shared_place();
        let shared = act.outputs.mat_mut(n).cols(first, width);
        self.shared.forward(cx, shared, &mut act.shared, x_0, &packed.shared);
        let outputs = act.outputs.mat(n);
        self.shared_gate.forward(cx, &mut act.shared_gate, x_0, &packed.shared_gate);
        act.shared_gate.forward(be, act.x_0.mat_mut(n), outputs);

        self.gates.forward(be, act.logits.mat_mut(n), x, &packed.gates, cx.params);
        for i in 0..self.scenarios {
            let ([(gate, own), (rest, count)], (to, m)) = (self.gate_places(i), self.place(i, 0));
            let logits = act.logits.mat(n).cols(gate, own + count);
            be.softmax(act.alpha.mat_mut(n).cols(gate, own + count), logits);
            let alpha = act.alpha.mat(n);
            be.mix(act.x.mat_mut(n).cols(to, m), alpha.cols(rest, count), outputs.cols(first, width));
            for j in 0..own {
                let expert = outputs.cols(self.place(i, j).0, m);
                be.row_scale(act.x.mat_mut(n).cols(to, m), Write::Add, alpha.cols(gate + j, 1), expert);
            }
        }
    }

    /// From the gradients of the streams, `act.d_x` and `act.d_x_0`: adds to those of the parameters, and sets those of the
    /// inputs.
    pub(super) fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Flat<B>,
        mut to: Sources<B>,
        act: &mut WideActivations<B>,
        (x, x_0): (Mat<B::Buf>, Mat<B::Buf>),
        packed: &WidePrepared<B>,
    ) {
        let (be, n) = (cx.be, x.rows);
        let outputs = act.outputs.mat(n);
        act.shared_gate.backward(be, act.d_outputs.mat_mut(n), act.d_x_0.mat(n), outputs);
        let (first, width) = self.shared_place();
        for i in 0..self.scenarios {
            // forward: x_i = Σ_j α_j O_ij + Σ_k α_k H_k with α = softmax(G_i x_i + c_i)
            let ([(gate, own), (rest, count)], (to, m)) = (self.gate_places(i), self.place(i, 0));
            let (d_x, alpha) = (act.d_x.mat(n).cols(to, m), act.alpha.mat(n));
            let (d_alpha, d_shared) = (act.d_alpha.mat_mut(n).cols(rest, count), act.d_outputs.mat_mut(n));
            let (d_shared, shared) = (d_shared.cols(first, width), outputs.cols(first, width));
            be.mix_bwd(d_alpha, d_shared, Write::Add, d_x, alpha.cols(rest, count), shared);
            for j in 0..own {
                let at = self.place(i, j).0;
                let d_alpha = act.d_alpha.mat_mut(n).cols(gate + j, 1);
                be.row_dot(d_alpha, Write::Set, d_x, outputs.cols(at, m));
                let d_expert = act.d_outputs.mat_mut(n).cols(at, m);
                be.row_scale(d_expert, Write::Add, alpha.cols(gate + j, 1), d_x);
            }
            let (d_alpha, alpha) = (act.d_alpha.mat(n), alpha.cols(gate, own + count));
            let d_logits = act.logits.mat_mut(n).cols(gate, own + count);
            be.softmax_bwd(d_logits, d_alpha.cols(gate, own + count), alpha);
        }

        self.gates.backward(be, grads, (to.x(), Write::Set), None, act.logits.mat(n), x, &packed.gates);
        self.shared_gate.backward(cx, grads, to.x_0(), &act.shared_gate, x_0, &packed.shared_gate);
        for (j, ((own, act_j), w)) in self.own.iter().zip(&mut act.own).zip(&packed.own).enumerate() {
            let (at, width) = self.row_of(j);
            let (d, out) = (act.d_outputs.mat_mut(n).cols(at, width), Some(outputs.cols(at, width)));
            match &mut to {
                Sources::Fields(readers) => {
                    own.backward_to_fields(cx, grads, readers.reader(EXPERTS + j), d, out, act_j, w);
                }
                Sources::Streams(d_x, _) => {
                    own.backward(cx, grads, (d_x.again(), Write::Add), (x, false), d, out, act_j, w);
                }
            }
        }
        let (d, out) = (act.d_outputs.mat_mut(n).cols(first, width), Some(outputs.cols(first, width)));
        let (shared, own, w) = (&self.shared, &mut act.shared, &packed.shared);
        match to {
            Sources::Fields(readers) => {
                let delta = readers.reader(EXPERTS + self.own.len());
                shared.backward_to_fields(cx, grads, delta, d, out, own, w);
            }
            Sources::Streams(_, d_x_0) => {
                shared.backward(cx, grads, (d_x_0, Write::Add), (x_0, false), d, out, own, w);
            }
        }
    }
}
