//! An MLP of embedded fields and the scenario's embedding, MLP([e ; z_s]): the specific encoding (model.md §4), a whole
//! network with the scenario as a feature.
//!
//! The rows of a scenario share z_s, so its gradient and that of the columns that read it are made once per step from δ
//! summed by scenario.

use crate::backend::{Backend, Groups, Layout, Mat, MatMut, Products, Write};
use crate::error::Result;
use crate::layers::Mlp;
use crate::layers::mlp::MlpActivations;
use crate::model::{Builder, Cx, Fields, FirstLayer, Folding, Grads};
use crate::params::{Flat, Init, ParamId, Tensor};

/// The MLP, the first layer of which reads fields and z_s.
#[derive(Clone, Debug)]
pub struct InputMlp {
    mlp: Mlp,
    scenario: ParamId,      // [S, q]
    d_by_scenario: ParamId, // of the first layer's output, summed by scenario, [S, N]
    fields: usize,          // Σ d
    scenario_dim: usize,    // q
}

/// Packed weights.
#[derive(Debug)]
pub struct InputMlpPrepared<B: Backend> {
    layers: Vec<B::Packed>,
    scenario: B::Packed, // columns of the first layer that read z_s
}

/// Input, hidden outputs and gradients of one block.
#[derive(Debug)]
pub struct InputMlpActivations<B: Backend> {
    x: Tensor<B>, // [e ; z_s], [rows, Σ d + q]
    mlp: MlpActivations<B>,
}

impl InputMlp {
    /// `make` adds the MLP `name` for the number of inputs it is given; it reads `fields` and the scenario's embedding `[S, q]`.
    pub fn new(
        build: &mut Builder,
        name: &str,
        fields: Fields,
        scenario: ParamId,
        make: impl FnOnce(&mut Builder, usize) -> Mlp,
    ) -> Self {
        let (width, s) = (build.embedding().width(fields), build.scenarios());
        let scenario_dim = build.params.spec(scenario).shape[1];
        let mlp = make(build, width + scenario_dim).reading_fields();
        let shape = [s, mlp.first().outputs];
        let d_by_scenario = build.derived.add(format!("{name}.0.by_scenario"), &shape, Init::Zero);
        Self { mlp, scenario, d_by_scenario, fields: width, scenario_dim }
    }

    /// The layer that reads the fields.
    pub fn first(&self) -> FirstLayer {
        let first = self.mlp.first();
        let folds = first.folds.map(|folds| Folding { scenario: Some(self.scenario), ..folds });
        FirstLayer { folds, ..first }
    }

    /// Columns of the output.
    pub fn width(&self) -> usize {
        self.mlp.width()
    }

    /// Room for packed weights.
    pub fn alloc<B: Backend>(&self, be: &B, used: Products) -> Result<InputMlpPrepared<B>> {
        let scenario = be.alloc_packed(1, self.first().outputs, self.scenario_dim, used)?;
        Ok(InputMlpPrepared { layers: self.mlp.alloc(be, used)?, scenario })
    }

    /// Memory for `rows` rows.
    pub fn activations<B: Backend>(
        &self,
        be: &B,
        rows: usize,
        training: bool,
    ) -> Result<InputMlpActivations<B>> {
        let x = Tensor::new(be, rows, self.fields + self.scenario_dim)?;
        Ok(InputMlpActivations { x, mlp: self.mlp.activations(be, rows, training)? })
    }

    /// Packs the weights.
    pub fn pack<B: Backend>(&self, be: &B, packed: &mut InputMlpPrepared<B>, params: &Flat<B>) {
        self.mlp.pack(be, &mut packed.layers, params);
        let w_z = params.mat(self.first().weight).cols(self.fields, self.scenario_dim);
        be.pack(&mut packed.scenario, w_z, Layout::OutIn);
    }

    /// out = MLP([e ; z_s]); the reader's fields come first, so that `embed` fills these columns.
    pub fn forward<B: Backend>(
        &self,
        cx: Cx<B>,
        out: MatMut<B::Buf>,
        act: &mut InputMlpActivations<B>,
        embed: impl FnOnce(MatMut<B::Buf>),
        packed: &InputMlpPrepared<B>,
    ) {
        let n = cx.x.rows;
        if cx.x.folded(self.first().weight).is_none() {
            embed(act.x.mat_mut(n).cols(0, self.fields));
            let z = act.x.mat_mut(n).cols(self.fields, self.scenario_dim);
            cx.be.gather_rows(z, cx.params.mat(self.scenario), cx.x.inputs.scenarios(), cx.x.first);
        }
        self.mlp.forward(cx, out, &mut act.mlp, act.x.mat(n), &packed.layers);
    }

    /// e as [`InputMlp::forward`] left it.
    pub fn embedded<'a, B: Backend>(&self, act: &'a InputMlpActivations<B>, rows: usize) -> Mat<'a, B::Buf> {
        act.x.mat(rows).cols(0, self.fields)
    }

    /// Adds to the gradients and sets δ: [`Mlp::backward_to_fields`].
    #[allow(clippy::too_many_arguments)] // the sides of a backward pass
    pub fn backward<B: Backend>(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        mut delta: MatMut<B::Buf>,
        d_out: MatMut<B::Buf>,
        relu: Option<Mat<B::Buf>>,
        act: &mut InputMlpActivations<B>,
        packed: &InputMlpPrepared<B>,
    ) {
        let Grads { dense, derived } = grads;
        self.mlp.backward_to_fields(cx, dense, delta.again(), d_out, relu, &mut act.mlp, &packed.layers);
        // forward: y = [e ; z_s] Wᵀ + b; the rows of a scenario share z_s
        let by_scenario = derived.mat_mut(self.d_by_scenario);
        cx.be.col_sum(by_scenario, Write::Add, delta.as_mat(), Groups::Rows(cx.x.groups));
    }

    /// Sets the columns that read z_s, and adds to the gradient of z. Once per step.
    pub fn finish<B: Backend>(
        &self,
        be: &B,
        Grads { dense, derived }: &mut Grads<B>,
        packed: &InputMlpPrepared<B>,
        params: &Flat<B>,
    ) {
        // forward: y = … + z W_zᵀ with z [S, q] and W_z the last columns of the first layer
        let (delta, z) = (derived.mat(self.d_by_scenario), params.mat(self.scenario));
        let d_w = dense.mat_mut(self.first().weight).cols(self.fields, self.scenario_dim);
        be.linear_dw(d_w, Write::Set, delta, z, Groups::One(0));
        let d_z = dense.mat_mut(self.scenario);
        be.linear_dx(d_z, Write::Add, delta, &packed.scenario, Groups::One(0), None);
    }
}
