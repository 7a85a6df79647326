//! Gate units: y = x ⊙ 2σ(MLP([sg(c) ; z_s ; p])).
//!
//! Chang et al., KDD 2023 (PEPNet). The gate reads c, the embeddings of the fields, without training them unless an ablation asks
//! for it; the scenario's embedding z_s and the priors p, embeddings of some fields, learn from it. The rows of a scenario share
//! z_s, so its gradient is made once per step from δ summed by scenario.

use crate::backend::{Backend, Groups, Layout, Mat, MatMut, Products, Write};
use crate::error::Result;
use crate::layers::Mlp;
use crate::layers::mlp::MlpActivations;
use crate::model::{Builder, Cx, Exhibit, Grads, Heads, Measured, ModelSpec, Shows};
use crate::params::{Flat, Init, ParamId, Tensor};

/// Columns of a gate's input, [c ; z_s ; p].
#[derive(Clone, Copy, Debug)]
pub struct GateInput {
    /// The scenarios' embeddings, `[S, q]`.
    pub scenario: ParamId,
    /// Columns of c.
    pub fields: usize,
    /// q.
    pub scenario_dim: usize,
    /// Columns of p.
    pub prior: usize,
    /// Whether the gate leaves c alone.
    pub stop_gradient: bool,
}

impl GateInput {
    /// All columns.
    pub fn width(&self) -> usize {
        self.fields + self.scenario_dim + self.prior
    }

    /// First column of p.
    pub fn first_prior(&self) -> usize {
        self.fields + self.scenario_dim
    }

    /// Writes z_s into its columns of `x` `[rows, width]`.
    pub fn gather_scenarios<B: Backend>(&self, cx: Cx<B>, x: MatMut<B::Buf>) {
        let z = x.cols(self.fields, self.scenario_dim);
        cx.be.gather_rows(z, cx.params.mat(self.scenario), cx.x.inputs.scenarios(), cx.x.first);
    }
}

/// One unit.
#[derive(Clone, Debug)]
pub struct GateUnit {
    mlp: Mlp,
    input: GateInput,
    d_by_scenario: ParamId, // δ of the first layer, summed by scenario, [S, h]
}

/// Packed weights.
#[derive(Debug)]
pub struct GateUnitPrepared<B: Backend> {
    layers: Vec<B::Packed>,
    fields: B::Packed,   // columns of the first layer that read c; none where c is left alone
    scenario: B::Packed, // those that read z_s
    prior: B::Packed,    // those that read p
}

/// Activations of one block.
#[derive(Debug)]
pub struct GateUnitActivations<B: Backend> {
    mlp: MlpActivations<B>,
    o: Tensor<B>, // output of the MLP, then its gradient, [rows, outputs]
    g: Tensor<B>, // 2σ(o), [rows, outputs]
}

impl GateUnit {
    /// The MLP `name` with these hidden layers, then a linear one to `outputs`.
    pub fn new(
        build: &mut Builder,
        name: &str,
        input: GateInput,
        (hidden, dropout): (&[usize], f64),
        outputs: usize,
    ) -> Self {
        let (s, site) = (build.scenarios(), build.dropout_sites());
        let mlp = Mlp::to_linear(&mut build.params, name, input.width(), hidden, outputs)
            .with_dropout(dropout, site);
        let shape = [s, mlp.first().outputs];
        let d_by_scenario = build.derived.add(format!("{name}.0.by_scenario"), &shape, Init::Zero);
        Self { mlp, input, d_by_scenario }
    }

    /// Columns of c that learn.
    fn learning(&self) -> usize {
        if self.input.stop_gradient { 0 } else { self.input.fields }
    }

    /// Room for packed weights.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<GateUnitPrepared<B>> {
        let columns = |inputs: usize| be.alloc_packed(1, self.mlp.first().outputs, inputs, used);
        Ok(GateUnitPrepared {
            layers: self.mlp.alloc(be, used)?,
            fields: columns(self.learning())?,
            scenario: columns(self.input.scenario_dim)?,
            prior: columns(self.input.prior)?,
        })
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(
        &self,
        be: &B,
        rows: usize,
        training: bool,
    ) -> Result<GateUnitActivations<B>> {
        Ok(GateUnitActivations {
            mlp: self.mlp.activations(be, rows, training)?,
            o: Tensor::new(be, rows, self.mlp.width())?,
            g: Tensor::new(be, rows, self.mlp.width())?,
        })
    }

    /// Packs the weights.
    pub fn pack<B: Backend>(&self, be: &B, packed: &mut GateUnitPrepared<B>, params: &Flat<B>) {
        self.mlp.pack(be, &mut packed.layers, params);
        let (first, input) = (params.mat(self.mlp.first().weight), &self.input);
        be.pack(&mut packed.scenario, first.cols(input.fields, input.scenario_dim), Layout::OutIn);
        if self.learning() > 0 {
            be.pack(&mut packed.fields, first.cols(0, input.fields), Layout::OutIn);
        }
        if input.prior > 0 {
            be.pack(&mut packed.prior, first.cols(input.first_prior(), input.prior), Layout::OutIn);
        }
    }

    /// y = x ⊙ 2σ(MLP(input)), both `[rows, outputs]`.
    pub fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        y: MatMut<B::Buf>,
        act: &mut GateUnitActivations<B>,
        x: Mat<B::Buf>,
        input: Mat<B::Buf>,
        packed: &GateUnitPrepared<B>,
    ) {
        let n = x.rows;
        self.mlp.forward(cx, act.o.mat_mut(n), &mut act.mlp, input, &packed.layers);
        cx.be.sigmoid_gate(y, act.g.mat_mut(n), x, act.o.mat(n));
    }

    /// The factors 2σ(·) `[rows, outputs]`, as [`GateUnit::forward`] left them.
    pub fn factors<'a, B: Backend>(&self, act: &'a GateUnitActivations<B>, rows: usize) -> Mat<'a, B::Buf> {
        act.g.mat(rows)
    }

    /// Writes the gradient of x, and keeps that of the MLP's output for [`GateUnit::backward`].
    pub fn backward_to_scaled<B: Backend>(
        &self,
        cx: Cx<B>,
        (d_x, write): (MatMut<B::Buf>, Write),
        d_y: Mat<B::Buf>,
        x: Mat<B::Buf>,
        act: &mut GateUnitActivations<B>,
    ) {
        // forward: y = x ⊙ g with g = 2σ(o)
        cx.be.sigmoid_gate_bwd(act.o.mat_mut(x.rows), d_x, write, d_y, x, act.g.mat(x.rows));
    }

    /// Adds to the gradients, after [`GateUnit::backward_to_scaled`].
    pub fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        Grads { dense, derived }: &mut Grads<B>,
        act: &mut GateUnitActivations<B>,
        input: Mat<B::Buf>,
        packed: &GateUnitPrepared<B>,
    ) {
        let (d_o, own) = (act.o.mat_mut(input.rows), &mut act.mlp);
        let delta = self.mlp.backward_to_constants(cx, dense, input, d_o, None, own, &packed.layers);
        let by_scenario = derived.mat_mut(self.d_by_scenario);
        cx.be.col_sum(by_scenario, Write::Add, delta, Groups::Rows(cx.x.groups));
    }

    /// Adds to the gradient of c unless it is left alone, after [`GateUnit::backward`].
    pub fn backward_to_fields<B: Backend>(
        &self,
        cx: Cx<B>,
        d_fields: MatMut<B::Buf>,
        act: &GateUnitActivations<B>,
        packed: &GateUnitPrepared<B>,
    ) {
        if self.learning() > 0 {
            let delta = act.mlp.delta(d_fields.rows);
            cx.be.linear_dx(d_fields, Write::Add, delta, &packed.fields, Groups::One(0), None);
        }
    }

    /// Writes the gradient of p, after [`GateUnit::backward`].
    pub fn backward_to_prior<B: Backend>(
        &self,
        cx: Cx<B>,
        (d_prior, write): (MatMut<B::Buf>, Write),
        act: &GateUnitActivations<B>,
        packed: &GateUnitPrepared<B>,
    ) {
        let delta = act.mlp.delta(d_prior.rows);
        cx.be.linear_dx(d_prior, write, delta, &packed.prior, Groups::One(0), None);
    }

    /// Adds to the gradient of z. Once per step.
    pub fn finish<B: Backend>(
        &self,
        be: &B,
        Grads { dense, derived }: &mut Grads<B>,
        packed: &GateUnitPrepared<B>,
    ) {
        // forward: y = … + z W_zᵀ, and the rows of a scenario share z_s
        let (delta, d_z) = (derived.mat(self.d_by_scenario), dense.mat_mut(self.input.scenario));
        be.linear_dx(d_z, Write::Add, delta, &packed.scenario, Groups::One(0), None);
    }
}

/// Mean factor of each field by scenario, from a measure of the factors of all embeddings: `number` among those over scenarios.
pub fn factors_of_fields(spec: &ModelSpec, measured: &Measured, number: usize) -> Exhibit {
    let (d, fields) = (spec.embedding().dim(), &spec.input().fields);
    let of = |mean: Option<Vec<f64>>| -> Vec<Option<f64>> {
        let means = |mean: Vec<f64>| mean.chunks(d).map(|m| Some(m.iter().sum::<f64>() / d as f64)).collect();
        mean.map_or(vec![None; fields.len()], means)
    };
    Exhibit {
        title: "Factors of embeddings by scenario".into(),
        says: "Mean factor, 0 to 2, by which the gate scales the elements of a field's embedding for the rows of a scenario: 1 \
               leaves them as they are."
            .into(),
        rows: Heads::Scenarios,
        columns: Heads::Named(fields.iter().map(|f| f.name.clone()).collect()),
        values: measured.scenario_means(number).into_iter().flat_map(of).collect(),
        full: Some(2.0),
        shows: Shows::Values,
    }
}
