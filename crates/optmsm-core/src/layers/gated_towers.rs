//! Towers by scenario, each hidden layer of which a gate unit scales: h_{l+1} = ReLU(W_{s,l} h_l + b_{s,l}) ⊙ 2σ(Gate_l(g)).
//!
//! Chang et al., KDD 2023, the half of PEPNet that personalizes parameters (PPNet). All gates read g = [sg(h_0) ; z_s ; p], p the
//! priors: embeddings of some fields. Dropout follows the product.

use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::error::Result;
use crate::layers::gate_unit::{GateInput, GateUnit, GateUnitActivations, GateUnitPrepared};
use crate::layers::scenario_linear::ScenarioLinear;
use crate::model::{Builder, Cx, Exhibit, Grads, Heads, Measure, Measured, Shows};
use crate::params::{Flat, Tensor};

/// Layers by scenario, and a gate for each except the last.
#[derive(Clone, Debug)]
pub struct GatedTowers {
    layers: Vec<ScenarioLinear>,
    gates: Vec<GateUnit>,
    widths: Vec<usize>, // of the hidden layers
    input: GateInput,
    dropout: f64,
    first_site: u32,
}

/// Packed weights.
#[derive(Debug)]
pub struct GatedTowersPrepared<B: Backend> {
    layers: Vec<B::Packed>,
    gates: Vec<GateUnitPrepared<B>>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct GatedTowersActivations<B: Backend> {
    input: Tensor<B>,    // g = [h_0 ; z_s ; p]
    a: Vec<Tensor<B>>,   // ReLU(W h_l + b), [rows, width of layer l]
    d_a: Vec<Tensor<B>>, // the same
    h: Vec<Tensor<B>>,   // h_{l+1}, [rows, width of layer l]
    d_h: Vec<Tensor<B>>, // the same
    gates: Vec<GateUnitActivations<B>>,
}

impl GatedTowers {
    /// Towers `towers.{l}` with at least one hidden layer, and gates `gates.{l}` with theirs; h_0 has `input.fields` columns.
    pub fn new(
        build: &mut Builder,
        input: GateInput,
        (hidden, dropout): (&[usize], f64),
        gate: (&[usize], f64),
    ) -> Self {
        let (s, first_site) = (build.scenarios(), build.dropout_sites());
        let of =
            |(l, &width): (usize, &usize)| GateUnit::new(build, &format!("gates.{l}"), input, gate, width);
        let gates: Vec<GateUnit> = hidden.iter().enumerate().map(of).collect();
        let widths: Vec<usize> =
            std::iter::once(input.fields).chain(hidden.iter().copied()).chain([1]).collect();
        let layer = |(l, w): (usize, &[usize])| {
            let name = format!("towers.{l}");
            ScenarioLinear::new(&mut build.params, &name, s, [w[0], w[1]], l < hidden.len())
        };
        let layers = widths.windows(2).enumerate().map(layer).collect();
        Self { layers, gates, widths: hidden.to_vec(), input, dropout, first_site }
    }

    /// Room for packed weights.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<GatedTowersPrepared<B>> {
        Ok(GatedTowersPrepared {
            layers: self.layers.iter().map(|l| l.alloc(be, used)).collect::<Result<_>>()?,
            gates: self.gates.iter().map(|g| g.alloc(be, used)).collect::<Result<_>>()?,
        })
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(
        &self,
        be: &B,
        rows: usize,
        training: bool,
    ) -> Result<GatedTowersActivations<B>> {
        let hidden = |rows: usize| -> Result<Vec<Tensor<B>>> {
            self.widths.iter().map(|&width| Tensor::new(be, rows, width)).collect()
        };
        let back = if training { rows } else { 0 };
        Ok(GatedTowersActivations {
            input: Tensor::new(be, rows, self.input.width())?,
            a: hidden(rows)?,
            d_a: hidden(back)?,
            h: hidden(rows)?,
            d_h: hidden(back)?,
            gates: self.gates.iter().map(|g| g.activations(be, rows, training)).collect::<Result<_>>()?,
        })
    }

    /// Packs the weights.
    pub fn pack<B: Backend>(&self, be: &B, packed: &mut GatedTowersPrepared<B>, params: &Flat<B>) {
        self.layers.iter().zip(&mut packed.layers).for_each(|(l, w)| l.pack(be, w, params));
        self.gates.iter().zip(&mut packed.gates).for_each(|(g, w)| g.pack(be, w, params));
    }

    fn drop<B: Backend>(&self, cx: Cx<B>, layer: usize, x: MatMut<B::Buf>) {
        cx.x.drop(cx.be, x, self.dropout, self.first_site + layer as u32);
    }

    /// h_0 `[rows, fields]`, to be written before [`GatedTowers::forward`].
    pub fn input_mut<'a, B: Backend>(
        &self,
        act: &'a mut GatedTowersActivations<B>,
        rows: usize,
    ) -> MatMut<'a, B::Buf> {
        act.input.mat_mut(rows).cols(0, self.input.fields)
    }

    /// h_0 as it was written.
    pub fn input<'a, B: Backend>(&self, act: &'a GatedTowersActivations<B>, rows: usize) -> Mat<'a, B::Buf> {
        act.input.mat(rows).cols(0, self.input.fields)
    }

    /// Logits `[rows, 1]`; `embed` fills the priors `[rows, prior]` if there are any.
    pub fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        logits: MatMut<B::Buf>,
        act: &mut GatedTowersActivations<B>,
        embed: impl FnOnce(MatMut<B::Buf>),
        packed: &GatedTowersPrepared<B>,
    ) {
        let (n, last, input) = (cx.x.rows, self.gates.len(), &self.input);
        input.gather_scenarios(cx, act.input.mat_mut(n));
        if input.prior > 0 {
            embed(act.input.mat_mut(n).cols(input.first_prior(), input.prior));
        }
        let g = act.input.mat(n);
        for (l, gate) in self.gates.iter().enumerate() {
            let (before, after) = act.h.split_at_mut(l);
            let x = before.last().map_or(g.cols(0, input.fields), |h| h.mat(n));
            self.layers[l].forward(cx, act.a[l].mat_mut(n), x, &packed.layers[l]);
            let (mut y, a) = (after[0].mat_mut(n), act.a[l].mat(n));
            gate.forward(cx, y.again(), &mut act.gates[l], a, g, &packed.gates[l]);
            self.drop(cx, l, y);
        }
        self.layers[last].forward(cx, logits, act.h[last - 1].mat(n), &packed.layers[last]);
    }

    /// Adds to the gradients, and sets that of h_0.
    pub fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        mut d_h0: MatMut<B::Buf>,
        d_logits: Mat<B::Buf>,
        act: &mut GatedTowersActivations<B>,
        packed: &GatedTowersPrepared<B>,
    ) {
        let (n, last, dense) = (cx.x.rows, self.gates.len(), &mut grads.dense);
        let g = act.input.mat(n);
        let (h, d_h) = (act.h[last - 1].mat(n), (act.d_h[last - 1].mat_mut(n), Write::Set));
        self.layers[last].backward(cx, dense, d_h, None, d_logits, h, &packed.layers[last]);
        // forward: a = ReLU(W h_l + b) and h_{l+1} = a ⊙ 2σ(o), then dropout
        for (l, gate) in self.gates.iter().enumerate().rev() {
            let (before, after) = act.d_h.split_at_mut(l);
            self.drop(cx, l, after[0].mat_mut(n));
            let (a, d_a) = (act.a[l].mat(n), (act.d_a[l].mat_mut(n), Write::Set));
            gate.backward_to_scaled(cx, d_a, after[0].mat(n), a, &mut act.gates[l]);
            cx.be.relu_bwd(act.d_a[l].mat_mut(n), a);
            let d_x = before.last_mut().map_or(d_h0.again(), |d| d.mat_mut(n));
            let x = if l == 0 { g.cols(0, self.input.fields) } else { act.h[l - 1].mat(n) };
            let d_a = act.d_a[l].mat(n);
            self.layers[l].backward(cx, dense, (d_x, Write::Set), None, d_a, x, &packed.layers[l]);
        }
        for ((gate, own), packed) in self.gates.iter().zip(&mut act.gates).zip(&packed.gates) {
            gate.backward(cx, grads, own, g, packed);
            gate.backward_to_fields(cx, d_h0.again(), own, packed);
        }
    }

    /// Sets the gradient of the priors `[rows, prior]`, after [`GatedTowers::backward`].
    pub fn backward_to_prior<B: Backend>(
        &self,
        cx: Cx<B>,
        mut d_prior: MatMut<B::Buf>,
        act: &GatedTowersActivations<B>,
        packed: &GatedTowersPrepared<B>,
    ) {
        for (l, gate) in self.gates.iter().enumerate() {
            let write = if l == 0 { Write::Set } else { Write::Add };
            gate.backward_to_prior(cx, (d_prior.again(), write), &act.gates[l], &packed.gates[l]);
        }
    }

    /// Adds to the gradient of z. Once per step.
    pub fn finish<B: Backend>(&self, be: &B, grads: &mut Grads<B>, packed: &GatedTowersPrepared<B>) {
        self.gates.iter().zip(&packed.gates).for_each(|(gate, packed)| gate.finish(be, grads, packed));
    }

    /// The gates' factors, a measure for each hidden layer.
    pub fn measures(&self) -> impl Iterator<Item = Measure> {
        self.widths.iter().map(|&width| Measure::of_scenarios(width))
    }

    /// Values of measure `layer` of [`GatedTowers::measures`].
    pub fn measured<'a, B: Backend>(
        &self,
        act: &'a GatedTowersActivations<B>,
        layer: usize,
        rows: usize,
    ) -> Mat<'a, B::Buf> {
        self.gates[layer].factors(&act.gates[layer], rows)
    }

    /// How far the gates are from leaving the layers alone, from the measures from number `first` among those over scenarios.
    pub fn exhibit(&self, measured: &Measured, first: usize) -> Exhibit {
        let distance = |means: Vec<f64>| {
            let squares = means.iter().map(|m| (m - 1.0).powi(2)).sum::<f64>();
            (squares / means.len() as f64).sqrt()
        };
        let layers = 0..self.gates.len();
        let columns: Vec<Vec<Option<Vec<f64>>>> =
            layers.clone().map(|l| measured.scenario_means(first + l)).collect();
        let row = |s: usize| columns.iter().map(move |column| column[s].clone().map(distance));
        Exhibit {
            title: "Gates of the towers by scenario".into(),
            says: "Root mean square of a unit's mean factor, 0 to 2, minus 1 over the units of a layer: 0 where the gate leaves \
                   the layer as it is for the rows of a scenario."
                .into(),
            rows: Heads::Scenarios,
            columns: Heads::Named(layers.map(|l| format!("layer {l}")).collect()),
            values: (0..measured.rows.len()).flat_map(row).collect(),
            full: Some(1.0),
            shows: Shows::Values,
        }
    }
}
