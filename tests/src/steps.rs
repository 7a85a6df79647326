//! Whole steps of Adam against the steps of exact arithmetic.
//!
//! Two trajectories in different precision part: where they are after many steps depends on the loss surface, which
//! nothing bounds in advance. The end of one step from the numbers that a backend really has can be derived. So the
//! reference follows a free run step by step from those numbers. Then two such runs are as far apart as the exact steps
//! from both sides are, and the two bounds.

use std::collections::BTreeSet;

use optmsm_core::backend::Backend;
use optmsm_core::batch::{Batch, Column};
use optmsm_core::gradcheck::{Case, all_cases, random_parameters};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::AnyModel;
use optmsm_core::models;
use optmsm_core::optim::OptimizerConfig;
use optmsm_core::params::HostTensor;
use optmsm_testkit::bounded::Bounded;

use crate::bounds::{Chain, Exact, U, convert, named, wide};

/// Where a step must land.
#[derive(Clone, Debug)]
pub struct Landing {
    /// The exact step from the parameters and the state of the run.
    pub exact: HostTensor<f64>,
    /// How far each element may be from it.
    pub bounds: Vec<f64>,
}

/// Rows of a batch; not a multiple of any tile.
pub const ROWS: usize = 37;

/// The rule of every step here.
pub fn adam() -> OptimizerConfig {
    OptimizerConfig { lr: 0.01, ..OptimizerConfig::default() }
}

/// A learner with the initial values of `seed`, the same on every backend.
///
/// # Panics
/// Where memory is short.
pub fn learner<B: Backend>(be: B, case: &Case, seed: u64) -> Learner<B, AnyModel<B>> {
    let model = models::build(&case.config, &case.input).unwrap();
    let config = LearnerConfig { optimizer: adam(), ..LearnerConfig::default() };
    Learner::new(be, model, config, ROWS, seed).unwrap()
}

/// Models whose layers are instances of everything a step of OptMSM runs.
///
/// # Panics
/// Where a case was renamed.
pub fn whole_models() -> Vec<Case> {
    let mut cases = all_cases();
    cases.retain(|c| {
        ["gate instance rank 2", "gate scenario rank 2", "select scenario rank 0"].contains(&c.name.as_str())
    });
    assert_eq!(cases.len(), 3);
    cases
}

/// The first of ten batches for a step whose bounds hold: next to a kink, for one, a rounding may turn a gradient into
/// another.
///
/// # Panics
/// Where there is none.
pub fn batch_of(case: &Case, number: u64, is_well_conditioned: impl Fn(&Batch) -> bool) -> Batch {
    let mut batches = (0..10).map(|other| case.batch(ROWS, number + 1000 * other));
    batches.find(is_well_conditioned).unwrap_or_else(|| panic!("{}, {number}: no batch will do", case.name))
}

/// Steps of a learner from random parameters, each within its bounds.
///
/// # Panics
/// Where one is not.
pub fn follow<B: Backend<Elem = f32>>(be: B, case: &Case, steps: u64) {
    let mut learner = learner(be, case, 7);
    let wider = random_parameters(&wide(&learner.export().unwrap()), 3);
    learner.import(&convert(&wider, |v| v as f32)).unwrap();
    for number in 0..steps {
        let batch = batch_of(case, number, |batch| is_well_conditioned(&learner, case, batch));
        step(&mut learner, case, &adam(), &batch);
    }
}

/// Whether the bounds of a step on this batch hold where the learner is: see [`Exact::is_well_conditioned`].
pub fn is_well_conditioned<B: Backend<Elem = f32>>(
    learner: &Learner<B, AnyModel<B>>,
    case: &Case,
    batch: &Batch,
) -> bool {
    let (parameters, v) = (wide(&learner.export().unwrap()), learner.backend().product_rounding());
    let exact = Exact::of(&case.config, &case.input, &parameters, batch);
    exact.is_well_conditioned(case, &parameters, batch, Chain::CASES, v)
}

/// One step of a learner that trains everything with `adam`, without clipping, from its first step on. Its loss, the
/// parameters and the optimizer's state must be those of the exact step within the bound. Rows that the batch does not
/// name must not move.
///
/// # Panics
/// Where they are not.
pub fn step<B: Backend<Elem = f32>>(
    learner: &mut Learner<B, AnyModel<B>>,
    case: &Case,
    adam: &OptimizerConfig,
    batch: &Batch,
) -> Vec<Landing> {
    let (before, state) = (wide(&learner.export().unwrap()), wide(&learner.export_state().unwrap()));
    let v = learner.backend().product_rounding();
    let exact = Exact::of(&case.config, &case.input, &before, batch);
    let loss = learner.step(batch).unwrap();
    let place = format!("{}, step {} on {}", case.name, learner.steps(), learner.backend().name());
    exact.check_loss(loss, Chain::CASES, v, &place);
    let (after, moved) = (wide(&learner.export().unwrap()), wide(&learner.export_state().unwrap()));
    let mut landings = Vec::new();
    for (i, g) in exact.gradients.iter().enumerate() {
        let touched = touched(case, batch, &g.name);
        let moment = |all: &[HostTensor<f64>], which: &str| {
            named(all, &format!("optimizer.{which}.{}", g.name)).data.clone()
        };
        let (m, second) = (moment(&state, "m"), moment(&state, "v"));
        let (new_m, new_second) = (moment(&moved, "m"), moment(&moved, "v"));
        let (theta, now) = (&named(&before, &g.name).data, &named(&after, &g.name).data);
        let width = g.shape.last().copied().unwrap_or(1);
        let (mut values, mut bounds) = (Vec::new(), Vec::new());
        for e in 0..g.data.len() {
            let (landed, bound) = if touched.as_ref().is_none_or(|rows| rows.contains(&(e / width))) {
                let mut gradient = Bounded::exact(g.data[e], U);
                gradient.error = exact.gradient_bound(i, Chain::CASES, v);
                let to = Adam::new(adam, learner.steps(), touched.is_some())
                    .step(theta[e], m[e], second[e], gradient);
                for (what, got, want) in [("m", new_m[e], to.m), ("v", new_second[e], to.v)] {
                    let off = (got - want.value).abs();
                    let name = &g.name;
                    assert!(off <= 2.0 * want.error, "{place}: {what} of {name} is {got:e}, not {want:?}");
                }
                to.theta
            } else {
                assert_eq!((new_m[e], new_second[e]), (m[e], second[e]), "{place}: {} moved", g.name);
                (theta[e], 0.0)
            };
            let off = (now[e] - landed).abs();
            assert!(off <= bound, "{place}: {} [{e}] is off by {off:.1e}, more than {bound:.1e}", g.name);
            values.push(landed);
            bounds.push(bound);
        }
        landings.push(Landing { exact: HostTensor { data: values, ..g.clone() }, bounds });
    }
    landings
}

/// The rows of an embedding table that a batch names; `None` for a dense parameter.
fn touched(case: &Case, batch: &Batch, name: &str) -> Option<BTreeSet<usize>> {
    let at = case.input.fields.iter().position(|f| name == format!("embeddings.{}.weight", f.name))?;
    match &batch.columns[at] {
        Column::Categorical(ids) | Column::Multi { ids, .. } => {
            Some(ids.iter().map(|&id| id as usize).collect())
        }
        Column::Numeric(_) => None,
    }
}

/// One element's step, with bounds.
struct Adam<'a> {
    config: &'a OptimizerConfig,
    rate: f64,
    root_scale: f64,
    /// No step is longer.
    longest: f64,
}

struct Moved {
    m: Bounded,
    v: Bounded,
    /// Parameter and its bound.
    theta: (f64, f64),
}

impl<'a> Adam<'a> {
    /// Step `t` of `torch.optim.Adam`, or of SparseAdam on rows of a table.
    fn new(config: &'a OptimizerConfig, t: u64, rows: bool) -> Self {
        let OptimizerConfig { lr, beta1, beta2, .. } = *config;
        let (c1, c2) = (1.0 - beta1.powi(t as i32), 1.0 - beta2.powi(t as i32));
        // |m| = (1 − β₁) |Σ β₁ᵏ g_k| and v = (1 − β₂) Σ β₂ᵏ g_k², so by Cauchy and Schwarz
        // |m| ≤ (1 − β₁)/√(1 − β₂) · √Σ (β₁²/β₂)ᵏ · √v.
        let series: f64 = (0..t as i32).map(|k| (beta1 * beta1 / beta2).powi(k)).sum();
        let most = lr * c2.sqrt() / c1 * (1.0 - beta1) / (1.0 - beta2).sqrt() * series.sqrt();
        // m and v were rounded three times each in every step.
        let longest = most * (1.0 + 10.0 * t as f64 * U);
        match rows {
            true => Self { config, rate: lr * c2.sqrt() / c1, root_scale: 1.0, longest },
            false => Self { config, rate: lr / c1, root_scale: 1.0 / c2.sqrt(), longest },
        }
    }

    fn step(&self, theta: f64, m: f64, v: f64, g: Bounded) -> Moved {
        let (exact, rounded) = (|v| Bounded::exact(v, U), |v| Bounded::rounded(v, U));
        let OptimizerConfig { beta1, beta2, .. } = *self.config;
        let m = rounded(beta1) * exact(m) + rounded(1.0 - beta1) * g;
        let v = rounded(beta2) * exact(v) + rounded(1.0 - beta2) * g * g;
        let root = v.sqrt() * rounded(self.root_scale) + rounded(self.config.eps());
        let update = self.rate * m.value / root.value;
        // Where the gradient is within its error of 0, the step may have either sign, and its full length.
        let off = match root.error < root.value {
            true => (2.0 * (rounded(self.rate) * m / root).error).min(2.0 * self.longest),
            false => 2.0 * self.longest,
        };
        Moved { m, v, theta: (theta - update, off + 2.0 * U * (theta.abs() + update.abs())) }
    }
}
