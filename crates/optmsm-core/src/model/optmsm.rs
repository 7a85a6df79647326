//! OptMSM (Tang et al., ECML PKDD 2023, arXiv 2306.13382), as model.md §1–§6 defines it.

use std::sync::Arc;

use super::{FirstLayer, GeneratedNorms, Grads, Model};
use crate::backend::{Backend, Layout, Mat, MatMut, Part, Products, Write};
use crate::config::{Combine, InputSpec, ModelConfig, Role};
use crate::error::Result;
use crate::inputs::Block;
use crate::layers::mlp::MlpActivations;
use crate::layers::tower::{TowerActivations, TowerPrepared, TowerScratch};
use crate::layers::{Embedding, Linear, Mlp, Tower};
use crate::params::{Flat, Init, ParamId, ParamLayout, Tensor};

/// Dropout sites of the tower start here, those of the experts at 0.
const TOWER_SITES: u32 = 1 << 16;

/// Shared-information experts kept apart by a penalty, a specific encoding that gates them, and a tower
/// generated for each scenario.
#[derive(Clone, Debug)]
pub struct OptMsm {
    input: InputSpec,
    params: Arc<ParamLayout>,
    derived: Arc<ParamLayout>,
    embedding: Embedding,
    scenario: ParamId, // [S, q]
    experts: Mlp,
    specific: Mlp,
    d_by_scenario: ParamId, // of the first layer's output, summed by scenario, [S, N]
    gate: Option<Linear>,
    tower: Tower,
    orthogonality: f64,
    count: usize,        // K
    width: usize,        // m
    encoding: usize,     // p
    scenario_dim: usize, // q
}

/// Packed and generated weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    experts: Vec<B::Packed>,
    specific: Vec<B::Packed>,
    gate: Option<B::Packed>,
    scenario: B::Packed, // columns of the specific encoding's first layer that read z_s
    tower: TowerPrepared<B>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    e_sh: Tensor<B>, // [rows, d·F_sh]
    e_sp: Tensor<B>, // [rows, d·F_sp + q]
    experts: MlpActivations<B>,
    specific: MlpActivations<B>,
    e: Tensor<B>,        // [rows, K·m]
    d_e: Tensor<B>,      // [rows, K·m]
    inv_norm: Tensor<B>, // [rows, K]
    logits: Tensor<B>,   // gate logits, then their gradient, [rows, K]
    alpha: Tensor<B>,    // [rows, K]
    d_alpha: Tensor<B>,  // [rows, K]
    h0: Tensor<B>,       // [mix ; g], [rows, m + p]
    d_h0: Tensor<B>,     // [rows, m + p]
    tower: TowerActivations<B>,
}

impl OptMsm {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        config.validate(input)?;
        let (mut params, mut derived) = (ParamLayout::default(), ParamLayout::default());
        let embedding = Embedding::new(&mut params, input, config);
        let (s, q) = (input.scenarios, config.hyper.scenario_dim);
        let scenario = params.add("scenario.weight", &[s, q], Init::Normal(config.init_std));
        let count = config.expert_count(s);
        let (shared, hidden) = (embedding.width(Role::Shared), &config.experts.hidden);
        let experts = Mlp::experts(&mut params, "experts", count, shared, hidden);
        let experts = experts.with_dropout(config.experts.dropout, 0);
        let inputs = embedding.width(Role::Specific) + q;
        let specific = Mlp::new(&mut params, "specific", inputs, &config.specific.hidden);
        let (width, encoding) =
            (hidden[hidden.len() - 1], config.specific.hidden[config.specific.hidden.len() - 1]);
        let gate = (config.combine == Combine::Gate)
            .then(|| Linear::new(&mut params, "gate", encoding, count, false));
        let tower = Tower::new(&mut params, &mut derived, config, scenario, s, TOWER_SITES);
        let shape = [s, specific.first().outputs];
        let d_by_scenario = derived.add("specific.0.by_scenario", &shape, Init::Zero);
        Ok(Self {
            input: input.clone(),
            params: Arc::new(params),
            derived: Arc::new(derived),
            embedding,
            scenario,
            experts,
            d_by_scenario,
            specific,
            gate,
            tower,
            orthogonality: config.orthogonality,
            count,
            width,
            encoding,
            scenario_dim: q,
        })
    }
}

impl<B: Backend> Model<B> for OptMsm {
    type Prepared = Prepared<B>;
    type Activations = Activations<B>;
    type Scratch = TowerScratch<B>;

    fn input(&self) -> &InputSpec {
        &self.input
    }

    fn params(&self) -> &Arc<ParamLayout> {
        &self.params
    }

    fn derived(&self) -> &Arc<ParamLayout> {
        &self.derived
    }

    fn embedding(&self) -> &Embedding {
        &self.embedding
    }

    fn first_layer(&self, role: Role) -> FirstLayer {
        match role {
            Role::Shared => self.experts.first(),
            Role::Specific => self.specific.first(),
        }
    }

    fn embedded<'a>(&self, act: &'a Activations<B>, role: Role, rows: usize) -> Mat<'a, B::Buf> {
        let e = match role {
            Role::Shared => &act.e_sh,
            Role::Specific => &act.e_sp,
        };
        e.mat(rows).cols(0, self.embedding.width(role))
    }

    fn stats(&self) -> usize {
        1 + self.count * (self.count - 1) / 2
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Prepared<B>> {
        let used = Products::of(training);
        Ok(Prepared {
            experts: self.experts.alloc(be, used)?,
            specific: self.specific.alloc(be, used)?,
            gate: self.gate.as_ref().map(|g| g.alloc(be, used)).transpose()?,
            scenario: be.alloc_packed(1, self.specific.first().outputs, self.scenario_dim, used)?,
            tower: self.tower.alloc(be, used)?,
        })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let forward = |cols: usize| Tensor::new(be, rows, cols);
        let backward = |cols: usize| Tensor::new(be, if training { rows } else { 0 }, cols);
        let [shared, specific] = [Role::Shared, Role::Specific].map(|role| self.embedding.width(role));
        let gates = if self.gate.is_some() { self.count } else { 0 };
        Ok(Activations {
            e_sh: forward(shared)?,
            e_sp: forward(specific + self.scenario_dim)?,
            experts: self.experts.activations(be, rows, training)?,
            specific: self.specific.activations(be, rows, training)?,
            e: forward(self.count * self.width)?,
            d_e: backward(self.count * self.width)?,
            inv_norm: forward(self.count)?,
            logits: forward(gates)?,
            alpha: forward(gates)?,
            d_alpha: backward(gates)?,
            h0: forward(self.width + self.encoding)?,
            d_h0: backward(self.width + self.encoding)?,
            tower: self.tower.activations(be, rows, training)?,
        })
    }

    fn alloc_scratch(&self, be: &B) -> Result<TowerScratch<B>> {
        self.tower.scratch(be)
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>) {
        self.experts.pack(be, &mut prepared.experts, params);
        self.specific.pack(be, &mut prepared.specific, params);
        if let (Some(gate), Some(packed)) = (&self.gate, &mut prepared.gate) {
            gate.pack(be, packed, params);
        }
        let (first, q) = (self.embedding.width(Role::Specific), self.scenario_dim);
        let w_z = params.mat(self.specific.first().weight).cols(first, q);
        be.pack(&mut prepared.scenario, w_z, Layout::OutIn);
        self.tower.prepare(be, &mut prepared.tower, params);
    }

    fn forward(
        &self,
        be: &B,
        logits: MatMut<B::Buf>,
        stats: Option<MatMut<B::Buf>>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
        params: &Flat<B>,
        x: &Block<B>,
    ) {
        let (n, m, p) = (x.rows, self.width, self.encoding);
        self.embedding.forward(be, params, Role::Shared, act.e_sh.mat_mut(n), x);
        self.embedding.forward(be, params, Role::Specific, act.e_sp.mat_mut(n), x);
        let fields = self.embedding.width(Role::Specific);
        let z_s = act.e_sp.mat_mut(n).cols(fields, self.scenario_dim);
        be.gather_rows(z_s, params.mat(self.scenario), &x.inputs.scenarios, x.first);

        let e_sh = act.e_sh.mat(n);
        self.experts.forward(be, act.e.mat_mut(n), &mut act.experts, e_sh, &prepared.experts, params, x);
        if let Some(stats) = stats {
            be.orthogonality(act.inv_norm.mat_mut(n), stats, act.e.mat(n));
        }

        let g = act.h0.mat_mut(n).cols(m, p);
        self.specific.forward(be, g, &mut act.specific, act.e_sp.mat(n), &prepared.specific, params, x);
        if let (Some(gate), Some(packed)) = (&self.gate, &prepared.gate) {
            gate.forward(be, act.logits.mat_mut(n), act.h0.mat(n).cols(m, p), packed, params);
            let mix = act.h0.mat_mut(n).cols(0, m);
            be.gate(mix, act.alpha.mat_mut(n), act.logits.mat(n), act.e.mat(n));
        } else {
            be.select(act.h0.mat_mut(n).cols(0, m), act.e.mat(n), x.groups);
        }
        self.tower.forward(be, logits, &mut act.tower, act.h0.mat(n), &prepared.tower, params, x);
    }

    fn backward(
        &self,
        be: &B,
        grads: &mut Grads<B>,
        [d_shared, mut d_specific]: [MatMut<B::Buf>; 2],
        d_logits: MatMut<B::Buf>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
        params: &Flat<B>,
        x: &Block<B>,
        batch_rows: usize,
    ) {
        let (n, m, p) = (x.rows, self.width, self.encoding);
        let Grads { dense, derived } = grads;
        let (d_h0, h0) = (act.d_h0.mat_mut(n), act.h0.mat(n));
        self.tower.backward(
            be,
            dense,
            derived,
            d_h0,
            d_logits,
            &mut act.tower,
            h0,
            &prepared.tower,
            params,
            x,
        );

        // What follows leaves in d_e the gradient before the experts' last ReLU.
        let (d_e, e, inv_norm) = (act.d_e.mat_mut(n), act.e.mat(n), act.inv_norm.mat(n));
        let (d_mix, scale) = (act.d_h0.mat(n).cols(0, m), self.orthogonality / batch_rows as f64);
        if let (Some(gate), Some(packed)) = (&self.gate, &prepared.gate) {
            // forward: mix = Σ_k α_k e_k with α = softmax(W_g g + b_g)
            let (d_logits, d_alpha, alpha) =
                (act.logits.mat_mut(n), act.d_alpha.mat_mut(n), act.alpha.mat(n));
            be.gate_orthogonality_bwd(d_logits, d_alpha, d_e, d_mix, alpha, e, inv_norm, scale);
            let (d_gate, d_g) = (act.logits.mat(n), act.d_h0.mat_mut(n).cols(m, p));
            gate.backward(be, dense, (d_g, Write::Add), None, d_gate, h0.cols(m, p), packed);
        } else {
            be.select_bwd(d_e, Write::Set, d_mix, x.groups);
            be.orthogonality_bwd(act.d_e.mat_mut(n), e, inv_norm, scale);
            be.relu_bwd(act.d_e.mat_mut(n), e);
        }
        let d_e = act.d_e.mat_mut(n);
        self.experts.backward(be, dense, d_shared, d_e, None, &mut act.experts, &prepared.experts, x);
        let (d_first, d_g, g) = (d_specific.again(), act.d_h0.mat_mut(n).cols(m, p), Some(h0.cols(m, p)));
        self.specific.backward(be, dense, d_first, d_g, g, &mut act.specific, &prepared.specific, x);
        // forward: e_sp = [specific fields ; z_s]; the rows of a scenario share z_s
        let by_scenario = derived.mat_mut(self.d_by_scenario);
        be.col_sum(by_scenario, Write::Add, d_specific.as_mat(), Part::Rows(x.groups));
    }

    fn finish(
        &self,
        be: &B,
        grads: &mut Grads<B>,
        scratch: &mut TowerScratch<B>,
        prepared: &Prepared<B>,
        params: &Flat<B>,
    ) {
        let Grads { dense, derived } = grads;
        self.tower.finish(be, dense, derived, &prepared.tower, scratch, params);
        // forward: y = … + z W_zᵀ with z [S, q] and W_z the last columns of the first layer
        let (delta, z) = (derived.mat(self.d_by_scenario), params.mat(self.scenario));
        let (first, q) = (self.embedding.width(Role::Specific), self.scenario_dim);
        let d_w = dense.mat_mut(self.specific.first().weight).cols(first, q);
        be.linear_dw(d_w, Write::Set, delta, z, Part::Group(0));
        let d_z = dense.mat_mut(self.scenario);
        be.linear_dx(d_z, Write::Add, delta, &prepared.scenario, Part::Group(0), None);
    }

    fn gates(&self) -> usize {
        if self.gate.is_some() { self.count } else { 0 }
    }

    fn gate_weights<'a>(&self, act: &'a Activations<B>, rows: usize) -> Option<Mat<'a, B::Buf>> {
        self.gate.is_some().then(|| act.alpha.mat(rows))
    }

    fn generated_norms(
        &self,
        be: &B,
        prepared: &Prepared<B>,
        params: &Flat<B>,
    ) -> Result<Vec<GeneratedNorms>> {
        self.tower.norms(be, &prepared.tower, params)
    }

    fn penalty(&self, stats: &[f64], rows: f64) -> f64 {
        self.orthogonality * stats[0] / rows
    }

    fn diagnostics(&self, stats: &[f64], rows: f64) -> Vec<(String, f64)> {
        let pairs = (0..self.count).flat_map(|i| (i + 1..self.count).map(move |j| (i, j)));
        let cosines = pairs.zip(&stats[1..]).map(|((i, j), sum)| (format!("abs_cos.{i}.{j}"), sum / rows));
        std::iter::once(("orthogonality".to_string(), stats[0] / rows)).chain(cosines).collect()
    }
}
