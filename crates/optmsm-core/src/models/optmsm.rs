//! OptMSM (Tang et al., ECML PKDD 2023, arXiv 2306.13382), as model.md §1–§6 defines it.

mod cases;
mod config;

use crate::backend::{Backend, Mat, MatMut, Products, Write};
use crate::config::{InputSpec, ModelConfig, Role};
use crate::error::Result;
use crate::layers::expert_output::ExpertOutputActivations;
use crate::layers::hyper::GeneratedNorms;
use crate::layers::input_mlp::{InputMlpActivations, InputMlpPrepared};
use crate::layers::mlp::MlpActivations;
use crate::layers::orthogonality::OrthogonalityActivations;
use crate::layers::tower::{TowerActivations, TowerPrepared, TowerScratch};
use crate::layers::{ExpertOutput, Experts, Gate, InputMlp, Mixture, Mlp, Orthogonality, Tower, TowerSpec};
use crate::model::{
    Builder, Cx, Exhibit, Fields, Grads, Measure, Measured, Model, ModelSpec, Reader, ReaderGrads,
};
use crate::models::About;
use crate::params::{Flat, Init, Tensor};

pub use cases::{cases, field_cases};
pub use config::{Activation, Combine, SpecificConfig};
pub(crate) use config::{starter, validate, validate_roles};

/// In words.
pub const ABOUT: About = About {
    title: "shared-information experts, a gate, and a tower generated for each scenario",
    paper: "Tang et al., ECML PKDD 2023, arXiv 2306.13382",
    forward: "e_k = E_k(e_sh); g = MLP([e_sp ; z_s]); α = softmax(W_g g + b_g); o = tower_s([Σ α_k e_k ; g])",
};

/// Readers: shared fields, specific fields.
const SHARED: usize = 0;
const SPECIFIC: usize = 1;

/// Shared-information experts kept apart by a penalty, a specific encoding that gates them, and a tower
/// generated for each scenario.
#[derive(Clone, Debug)]
pub struct OptMsm {
    spec: ModelSpec,
    experts: Experts,
    output: ExpertOutput,
    orthogonality: Orthogonality,
    specific: InputMlp,
    combine: Combine,
    gate: Option<Gate>,
    tower: Tower,
    width: usize,    // m
    encoding: usize, // p
}

/// Packed and generated weights.
#[derive(Debug)]
pub struct Prepared<B: Backend> {
    experts: Vec<B::Packed>,
    specific: InputMlpPrepared<B>,
    gate: Option<B::Packed>,
    tower: TowerPrepared<B>,
}

/// Activations of one block.
#[derive(Debug)]
pub struct Activations<B: Backend> {
    e_sh: Tensor<B>, // [rows, d·F_sh]
    experts: MlpActivations<B>,
    output: ExpertOutputActivations<B>,
    specific: InputMlpActivations<B>,
    e: Tensor<B>,   // [rows, K·m]
    d_e: Tensor<B>, // [rows, K·m]
    orthogonality: OrthogonalityActivations<B>,
    gate: Mixture<B>, // of no expert without a gate
    h0: Tensor<B>,    // [mix ; g], [rows, m + p]
    d_h0: Tensor<B>,  // [rows, m + p]
    tower: TowerActivations<B>,
}

impl OptMsm {
    /// A model for these inputs.
    ///
    /// # Errors
    /// When the configuration does not fit itself or the inputs.
    pub fn new(config: &ModelConfig, input: &InputSpec) -> Result<Self> {
        let config = &super::checked(super::Kind::OptMsm, config, input)?;
        let mut build = Builder::new(config.embedding(), input);
        let (s, q) = (input.scenarios, config.hyper.scenario_dim);
        let scenario = build.params.add("scenario.weight", &[s, q], Init::Normal(config.init_std));
        let shared = build.embedding().width(Fields::Role(Role::Shared));
        let mut experts = Experts::new(&mut build, "experts", shared, &config.experts).reading_fields();
        if config.expert_output != Activation::Relu {
            experts = experts.to_linear_end();
        }
        let specific =
            InputMlp::new(&mut build, "specific", Fields::Role(Role::Specific), scenario, |build, inputs| {
                Mlp::new(&mut build.params, "specific", inputs, &config.specific.hidden)
            });
        let (count, width, encoding) = (experts.count(), experts.width(), specific.width());
        let output = ExpertOutput::new(config.expert_output, count, width);
        let gate =
            (config.combine == Combine::Gate).then(|| Gate::shared(&mut build, "gate", [encoding, count]));
        let (tower, hyper) = (&config.tower, &config.hyper);
        let inputs = width + encoding;
        let place = TowerSpec { scenario, inputs, row: encoding, tower, hyper, overparameterize: 0 };
        let tower = Tower::new(&mut build, place);
        let readers = vec![
            Reader::linear(build.embedding(), Fields::Role(Role::Shared), experts.first()),
            Reader::linear(build.embedding(), Fields::Role(Role::Specific), specific.first()),
        ];
        let orthogonality = Orthogonality::new(config.orthogonality, count);
        let mut measures = orthogonality.measures().to_vec();
        measures.push(Measure::of_scenarios(count * width));
        let combine = config.combine;
        measures.extend(gate.as_ref().map(|_| Measure::of_scenarios(count)));
        let spec = build.build(readers, measures);
        Ok(Self { spec, experts, orthogonality, specific, combine, gate, tower, output, width, encoding })
    }
}

impl<B: Backend> Model<B> for OptMsm {
    type Prepared = Prepared<B>;
    type Activations = Activations<B>;
    type Scratch = TowerScratch<B>;

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn alloc_prepared(&self, be: &B, training: bool) -> Result<Prepared<B>> {
        let used = Products::of(training);
        Ok(Prepared {
            experts: self.experts.alloc(be, used)?,
            specific: self.specific.alloc(be, used)?,
            gate: self.gate.as_ref().map(|g| g.alloc(be, used)).transpose()?,
            tower: self.tower.alloc(be, used)?,
        })
    }

    fn alloc_activations(&self, be: &B, rows: usize, training: bool) -> Result<Activations<B>> {
        let forward = |cols: usize| Tensor::new(be, rows, cols);
        let backward = |cols: usize| Tensor::new(be, if training { rows } else { 0 }, cols);
        let (count, experts) = (self.experts.count(), self.experts.count() * self.width);
        let gates = if self.combine == Combine::Select { 0 } else { count };
        Ok(Activations {
            e_sh: forward(self.spec.readers()[SHARED].width())?,
            experts: self.experts.activations(be, rows, training)?,
            output: self.output.activations(be, rows)?,
            specific: self.specific.activations(be, rows, training)?,
            e: forward(experts)?,
            d_e: backward(experts)?,
            orthogonality: self.orthogonality.activations(be, rows)?,
            gate: Mixture::new(be, rows, gates, training)?,
            h0: forward(self.width + self.encoding)?,
            d_h0: backward(self.width + self.encoding)?,
            tower: self.tower.activations(be, rows, training)?,
        })
    }

    fn alloc_scratch(&self, be: &B) -> Result<TowerScratch<B>> {
        self.tower.scratch(be)
    }

    fn prepare(&self, be: &B, prepared: &mut Prepared<B>, params: &Flat<B>, _: &Flat<B>) {
        self.experts.pack(be, &mut prepared.experts, params);
        self.specific.pack(be, &mut prepared.specific, params);
        if let (Some(gate), Some(packed)) = (&self.gate, &mut prepared.gate) {
            gate.pack(be, packed, params);
        }
        self.tower.prepare(be, &mut prepared.tower, params);
    }

    fn forward(
        &self,
        cx: Cx<B>,
        logits: MatMut<B::Buf>,
        sums: Option<MatMut<B::Buf>>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
    ) {
        let (be, n, m, p) = (cx.be, cx.x.rows, self.width, self.encoding);
        self.spec.embed_for_layer(cx, SHARED, act.e_sh.mat_mut(n));
        let Activations { e, experts, output, e_sh, .. } = act;
        self.output.forward(be, e, output, n, |y| {
            self.experts.forward(cx, y, experts, e_sh.mat(n), &prepared.experts);
        });
        if let Some(sums) = sums {
            self.orthogonality.forward(be, sums, &mut act.orthogonality, act.e.mat(n));
        }

        let (g, embed) = (act.h0.mat_mut(n).cols(m, p), |e: MatMut<B::Buf>| self.spec.embed(cx, SPECIFIC, e));
        self.specific.forward(cx, g, &mut act.specific, embed, &prepared.specific);
        if let (Some(gate), Some(packed)) = (&self.gate, &prepared.gate) {
            gate.forward(cx, &mut act.gate, act.h0.mat(n).cols(m, p), packed);
        }
        let mix = act.h0.mat_mut(n).cols(0, m);
        match self.combine {
            Combine::Gate => act.gate.forward(be, mix, act.e.mat(n)),
            Combine::Mean => {
                be.fill(act.gate.logits_mut(n), 0.0);
                act.gate.forward(be, mix, act.e.mat(n));
            }
            Combine::Select => be.select(mix, act.e.mat(n), cx.x.groups),
        }
        let h0 = act.h0.mat(n);
        self.tower.forward(cx, logits, &mut act.tower, h0, h0.cols(m, p), &prepared.tower);
    }

    fn embedded<'a>(&self, act: &'a Activations<B>, reader: usize, rows: usize) -> Mat<'a, B::Buf> {
        match reader {
            SHARED => act.e_sh.mat(rows),
            _ => self.specific.embedded(&act.specific, rows),
        }
    }

    fn backward(
        &self,
        cx: Cx<B>,
        grads: &mut Grads<B>,
        readers: &mut ReaderGrads<B>,
        d_logits: MatMut<B::Buf>,
        act: &mut Activations<B>,
        prepared: &Prepared<B>,
        batch_rows: usize,
    ) {
        let (be, n, m, p) = (cx.be, cx.x.rows, self.width, self.encoding);
        let (d_h0, h0) = (act.d_h0.mat_mut(n), act.h0.mat(n));
        self.tower.backward(cx, grads, d_h0, d_logits, &mut act.tower, h0, &prepared.tower);
        let (d_g, tower) = ((act.d_h0.mat_mut(n).cols(m, p), Write::Add), &mut act.tower);
        self.tower.backward_to_condition(cx, &mut grads.dense, d_g, tower, &prepared.tower);

        // Leaves in d_e the gradient of the experts' last layer before what follows it.
        let (mut d_e, e) = (act.d_e.mat_mut(n), act.e.mat(n));
        let (d_mix, apart) = (act.d_h0.mat(n).cols(0, m), &act.orthogonality);
        if self.output.is_relu() && self.combine != Combine::Select {
            let mixture = &mut act.gate;
            self.orthogonality.backward_with_mixture(be, d_e, d_mix, mixture, apart, e, batch_rows);
        } else {
            match self.combine {
                Combine::Select => be.select_bwd(d_e.again(), Write::Set, d_mix, cx.x.groups),
                Combine::Gate | Combine::Mean => act.gate.backward(be, d_e.again(), d_mix, e),
            }
            self.orthogonality.backward(be, d_e, apart, e, batch_rows);
            self.output.backward(be, &mut act.d_e, &act.output, &act.e, n);
        }
        if let (Some(gate), Some(packed)) = (&self.gate, &prepared.gate) {
            let d_g = (act.d_h0.mat_mut(n).cols(m, p), Write::Add);
            gate.backward(cx, &mut grads.dense, d_g, &act.gate, h0.cols(m, p), packed);
        }
        let (delta, d_e, packed) = (readers.reader(SHARED), act.d_e.mat_mut(n), &prepared.experts);
        let dense = &mut grads.dense;
        self.experts.backward_to_fields(cx, dense, delta, d_e, None, &mut act.experts, packed);
        let (delta, d_g, g) = (readers.reader(SPECIFIC), act.d_h0.mat_mut(n).cols(m, p), h0.cols(m, p));
        self.specific.backward(cx, grads, delta, d_g, Some(g), &mut act.specific, &prepared.specific);
    }

    fn finish(
        &self,
        be: &B,
        grads: &mut Grads<B>,
        scratch: &mut TowerScratch<B>,
        prepared: &Prepared<B>,
        params: &Flat<B>,
    ) {
        self.tower.finish(be, grads, &prepared.tower, scratch, params);
        self.specific.finish(be, grads, &prepared.specific, params);
    }

    fn penalty(&self, sums: &[f64], rows: f64) -> f64 {
        self.orthogonality.penalty(sums, rows)
    }

    fn measured<'a>(&self, act: &'a Activations<B>, measure: usize, rows: usize) -> Mat<'a, B::Buf> {
        if measure == self.orthogonality.measures().len() { act.e.mat(rows) } else { act.gate.alpha(rows) }
    }

    fn exhibits(
        &self,
        be: &B,
        prepared: &Prepared<B>,
        params: &Flat<B>,
        measured: &Measured,
    ) -> Result<Vec<Exhibit>> {
        let mut shown = Vec::new();
        let names = || self.experts.names();
        shown.extend(self.orthogonality.exhibit(&self.spec, measured, names(), self.output.is_relu()));
        shown.push(Exhibit::outputs(measured, 0, names()));
        shown.extend(self.gate.as_ref().map(|_| Exhibit::gate(measured, 1, names())));
        let norms = self.tower.norms(be, &prepared.tower, params)?;
        shown.extend(GeneratedNorms::exhibit(&norms, |l| format!("layer {l}")));
        Ok(shown)
    }
}
