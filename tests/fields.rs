//! Gradients of whole steps, on the CPU against the reference, and lists that grow from batch to batch.

use optmsm_core::backend::Backend;
use optmsm_core::batch::Batch;
use optmsm_core::gradcheck::{Case, all_cases, case, random_parameters};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::AnyModel;
use optmsm_core::models::{self, Kind, optmsm::field_cases};
use optmsm_core::optim::{OptimizerConfig, Rule};
use optmsm_core::params::HostTensor;
use optmsm_core::reference::Reference;
use optmsm_cpu::{Cpu, CpuOptions, Isa};
use optmsm_testkit::require;

const ROWS: usize = 300;

fn learner<B: Backend>(be: B, case: &Case, config: &LearnerConfig, rows: usize) -> Learner<B, AnyModel<B>> {
    let model = models::build(&case.config, &case.input).unwrap();
    Learner::new(be, model, config.clone(), rows, 7).unwrap()
}

fn convert<T: Copy, U>(tensors: &[HostTensor<T>], to: impl Fn(T) -> U) -> Vec<HostTensor<U>> {
    let tensor = |t: &HostTensor<T>| HostTensor {
        name: t.name.clone(),
        shape: t.shape.clone(),
        data: t.data.iter().map(|&v| to(v)).collect(),
    };
    tensors.iter().map(tensor).collect()
}

fn only(batch: &Batch, row: usize) -> Batch {
    let mut one = batch.clone();
    one.clear();
    one.push_row(batch, row);
    one
}

/// One case's gradients in f64: parameters that f32 holds, the gradient of each tensor, and the mean over rows of the
/// largest element that a row's own gradient has there.
struct Expected {
    parameters: Vec<HostTensor<f32>>,
    gradients: Vec<HostTensor<f64>>,
    scales: Vec<f64>,
}

impl Expected {
    /// Without weights, the loss is the mean of the rows' losses, and so is the gradient: also a test of the reference, which
    /// takes a row alone as one id or one row, and all of them together by id or by row over several lanes.
    fn of(case: &Case, batch: &Batch) -> Self {
        let config = LearnerConfig::default();
        let mut all = learner(Reference::<f64>::with_lanes(3, 40), case, &config, ROWS);
        let parameters = convert(&random_parameters(&all.export().unwrap(), 5), |v| v as f32);
        all.import(&convert(&parameters, f64::from)).unwrap();
        let (_, gradients) = all.loss_and_gradients(batch).unwrap();
        let mut mean = convert(&gradients, |_| 0.0);
        let mut scales = vec![0.0; gradients.len()];
        for row in 0..ROWS {
            let (_, own) = all.loss_and_gradients(&only(batch, row)).unwrap();
            for ((mean, scale), own) in mean.iter_mut().zip(&mut scales).zip(&own) {
                mean.data.iter_mut().zip(&own.data).for_each(|(m, g)| *m += g / ROWS as f64);
                *scale += own.data.iter().fold(0.0, |m: f64, g| m.max(g.abs())) / ROWS as f64;
            }
        }
        for ((g, m), scale) in gradients.iter().zip(&mean).zip(&scales) {
            for (a, b) in g.data.iter().zip(&m.data) {
                assert!((a - b).abs() <= 1e-12 * scale, "{}: {} is {a}, rows give {b}", case.name, g.name);
            }
        }
        let mut whole = learner(Reference::new().with_whole_fields(), case, &config, ROWS);
        whole.import(&convert(&parameters, f64::from)).unwrap();
        for ((g, w), scale) in gradients.iter().zip(whole.loss_and_gradients(batch).unwrap().1).zip(&scales) {
            assert_eq!(g.name, w.name);
            for (a, b) in g.data.iter().zip(&w.data) {
                // Both are the exact gradient but for their own roundings.
                let allowed = 2.0 * CHAIN * (f64::EPSILON / 2.0) * scale;
                assert!((a - b).abs() <= allowed, "{}: {} is {a} by id, {b} whole", case.name, g.name);
            }
        }
        Self { parameters, gradients, scales }
    }
}

/// The longest chain of roundings from an input to the loss in these models: at most 64 products a dot product, 16 dot
/// products in a row. Backward is as long a chain again, and then come sums over rows.
const CHAIN: f64 = 2.0 * 64.0 * 16.0 + ROWS as f64;
/// With u of f32.
const LIMIT: f64 = CHAIN / 16_777_216.0;

#[test]
fn fields_by_id_and_whole_have_the_same_gradients() {
    // Rows one by one have the masks of other places, and other statistics than their batch.
    let alone = |c: &Case| !c.name.contains("dropout") && c.config.kind != Kind::Star;
    for mut case in all_cases().into_iter().filter(alone) {
        case.weighted = false;
        Expected::of(&case, &case.batch(ROWS, 4));
    }
}

#[test]
#[should_panic(expected = "gradients of fields for a whole batch, but 2 lanes of blocks of 7 rows")]
fn a_whole_batch_needs_one_lane() {
    let be = Reference::<f64>::with_lanes(2, 7).with_whole_fields();
    learner(be, &case("lanes", |_| {}), &LearnerConfig::default(), ROWS);
}

/// A clipped step of SGD is w − lr · min(1, max_norm / (‖g‖ + 1e-6)) · g, with ‖g‖ over every gradient once.
fn steps_are_clipped(be: impl Fn() -> Reference<f64>) {
    let optimizer = OptimizerConfig { rule: Rule::Sgd, lr: 0.1, ..OptimizerConfig::default() };
    for case in field_cases() {
        let batch = case.batch(ROWS, 5);
        let mut probe = learner(be(), &case, &LearnerConfig::default(), ROWS);
        let before = random_parameters(&probe.export().unwrap(), 5);
        probe.import(&before).unwrap();
        let (_, gradients) = probe.loss_and_gradients(&batch).unwrap();
        let norm = gradients.iter().flat_map(|g| &g.data).map(|g| g * g).sum::<f64>().sqrt();
        for max_norm in [0.01 * norm, 0.99 * norm, 1.01 * norm] {
            let config = LearnerConfig {
                optimizer: optimizer.clone(),
                clip_norm: Some(max_norm),
                ..LearnerConfig::default()
            };
            let mut clipped = learner(be(), &case, &config, ROWS);
            clipped.import(&before).unwrap();
            clipped.step(&batch).unwrap();
            let step = optimizer.lr * (max_norm / (norm + 1e-6)).min(1.0);
            let after = clipped.export().unwrap();
            for (w, after) in before.iter().zip(&after) {
                let g = gradients.iter().find(|g| g.name == w.name).unwrap();
                for ((w, after), g) in w.data.iter().zip(&after.data).zip(&g.data) {
                    let want = w - step * g;
                    // Each square and sum of the norm is rounded, then a handful of operations on what it scales.
                    let count = gradients.iter().map(|g| g.data.len()).sum::<usize>() as f64;
                    let allowed = f64::EPSILON * ((count + 10.0) * (step * g).abs() + want.abs());
                    let name = &case.name;
                    assert!((after - want).abs() <= allowed, "{name}, norm {max_norm}: {after}, not {want}");
                }
            }
        }
    }
}

#[test]
fn the_norm_for_clipping_has_every_gradient_once() {
    steps_are_clipped(|| Reference::with_lanes(3, 40));
    steps_are_clipped(|| Reference::new().with_whole_fields());
}

#[test]
fn gradients_of_a_step_on_the_cpu_equal_the_reference() {
    let mut cases = field_cases();
    // Masks depend on a row's place in its batch, so rows alone have others.
    cases.retain(|c| c.config.experts.dropout == 0.0);
    cases.push(case("more distinct ids than rows", |c| {
        c.set_vocab(1000);
        c.draw.lists = 16;
    }));
    cases.push(case("as many distinct ids as rows", |c| {
        c.set_vocab(ROWS);
        c.draw.distinct = true;
    }));
    for mut case in cases {
        case.weighted = false;
        let batch = case.batch(ROWS, 3);
        let expected = Expected::of(&case, &batch);
        for isa in Isa::ALL {
            if !require(isa.name(), isa.is_available()) {
                continue;
            }
            let options = CpuOptions {
                isa: Some(isa),
                threads: Some(2),
                lanes: 5,
                block_rows: 32,
                ..CpuOptions::default()
            };
            let mut cpu = learner(Cpu::with(options).unwrap(), &case, &LearnerConfig::default(), ROWS);
            cpu.import(&expected.parameters).unwrap();
            let (_, gradients) = cpu.loss_and_gradients(&batch).unwrap();
            assert_eq!(gradients.len(), expected.gradients.len());
            let mut worst = 0.0f64;
            for ((got, want), scale) in gradients.iter().zip(&expected.gradients).zip(&expected.scales) {
                assert_eq!((&got.name, &got.shape), (&want.name, &want.shape));
                for (a, b) in got.data.iter().zip(&want.data) {
                    let off = (f64::from(*a) - b).abs() / scale.max(1e-3);
                    worst = worst.max(off);
                    let (case, isa) = (&case.name, isa.name());
                    assert!(off <= LIMIT, "{case} on {isa}: {} is {a}, not {b} (off by {off:.1e})", got.name);
                }
            }
            println!("{} on {}: {worst:.1e} of {LIMIT:.1e}", case.name, isa.name());
        }
    }
}

/// Steps with lists of these lengths: each equals that of a learner which has seen no batch before.
fn lists_may_grow<B: Backend>(be: impl Fn() -> B) {
    let config = LearnerConfig { clip_norm: Some(0.5), ..LearnerConfig::default() };
    let of = |lists: usize| {
        case("growing lists", |c| {
            c.set_vocab(500);
            // Ids pay for lists of one.
            c.config.embedding_dim = 16;
            c.draw.lists = lists;
        })
    };
    let rows = 20;
    let mut old = learner(be(), &of(2), &config, rows);
    let mut longest = 0;
    for (seed, lists) in (0..).zip([2, 2, 60, 5, 400, 400, 2]) {
        let batch = of(lists).batch(rows, seed);
        let mut fresh = learner(be(), &of(2), &config, rows);
        fresh.import(&old.export().unwrap()).unwrap();
        fresh.import_state(&old.export_state().unwrap(), old.steps()).unwrap();
        assert!(old.loss_and_gradients(&batch).unwrap() == fresh.loss_and_gradients(&batch).unwrap());
        assert_eq!(old.step(&batch).unwrap(), fresh.step(&batch).unwrap());
        assert!(old.export().unwrap() == fresh.export().unwrap(), "lists shorter than {lists}");
        assert!(old.export_state().unwrap() == fresh.export_state().unwrap(), "lists shorter than {lists}");
        let distinct = |ids: &[u32]| ids.iter().collect::<std::collections::BTreeSet<_>>().len();
        for column in &batch.columns {
            if let optmsm_core::batch::Column::Multi { ids, .. } = column {
                longest = longest.max(distinct(ids));
            }
        }
    }
    assert!(longest > 20 * rows, "{longest} distinct ids only");
}

#[test]
fn lists_may_grow_on_the_reference() {
    lists_may_grow(|| Reference::<f64>::with_lanes(2, 4));
    lists_may_grow(|| Reference::<f64>::new().with_whole_fields());
}

#[test]
fn lists_may_grow_on_the_cpu() {
    lists_may_grow(|| Cpu::with(CpuOptions { threads: Some(2), ..CpuOptions::default() }).unwrap());
}
