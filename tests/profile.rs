//! The profiling backend: computes the same, and its times add up.

use std::time::Duration;

use optmsm_core::backend::Backend;
use optmsm_core::gradcheck::{Case, case};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::AnyModel;
use optmsm_core::models;
use optmsm_core::profile::{Profile, Profiled};
use optmsm_core::reference::Reference;
use optmsm_cpu::{Cpu, CpuOptions};

const ROWS: usize = 300;
const THREADS: usize = 3;
const STEPS: u64 = 6;

fn a_case() -> Case {
    case("profile", |c| {
        c.config.experts.dropout = 0.1;
        c.config.tower.dropout = 0.1;
    })
}

fn cpu() -> Cpu {
    Cpu::with(CpuOptions { threads: Some(THREADS), block_rows: 16, ..CpuOptions::default() }).unwrap()
}

fn learner<B: Backend>(be: B) -> Learner<B, AnyModel<B>> {
    let model = models::build(&a_case().config, &a_case().input).unwrap();
    let config = LearnerConfig { clip_norm: Some(1.0), ..LearnerConfig::default() };
    Learner::new(be, model, config, ROWS, 7).unwrap()
}

fn train<B: Backend>(learner: &mut Learner<B, AnyModel<B>>) {
    (0..STEPS).for_each(|seed| {
        learner.step(&a_case().batch(ROWS, seed)).unwrap();
    });
}

fn time(profile: &Profile, which: impl Fn(&str, bool) -> bool) -> Duration {
    profile.phases.iter().filter(|p| which(p.op, p.in_lanes)).map(|p| p.time).sum()
}

#[test]
fn a_profiled_learner_computes_the_same_bits() {
    let (mut plain, mut profiled) = (learner(cpu()), learner(Profiled::new(cpu())));
    train(&mut plain);
    train(&mut profiled);
    assert!(plain.export().unwrap() == profiled.export().unwrap());
    assert!(plain.export_state().unwrap() == profiled.export_state().unwrap());
    let batch = a_case().batch(ROWS, 99);
    assert_eq!(plain.predict(&batch).unwrap(), profiled.predict(&batch).unwrap());
}

#[test]
fn times_add_up_and_steps_are_counted() {
    let mut learner = learner(Profiled::new(cpu()));
    train(&mut learner);
    let profile = learner.backend().take();
    assert_eq!(profile.steps, STEPS);
    for p in &profile.phases {
        assert!(p.time > Duration::ZERO && p.calls >= STEPS, "{p:?}");
    }
    for op in ["linear", "linear_dx", "linear_dw", "lookup", "lookup_bags", "numeric_embed", "for_lanes"] {
        assert!(profile.phases.iter().any(|p| p.op == op), "no {op}");
    }
    // A composition of operations is one operation here, however the backend does it.
    for op in ["linear_dw_bias", "lookup_fields", "gate", "gate_orthogonality_bwd", "step_tables"] {
        assert!(profile.phases.iter().any(|p| p.op == op && p.bytes > 0), "no {op}");
    }
    for op in ["softmax", "mix", "mix_bwd", "orthogonality_bwd", "step_rows"] {
        assert!(!profile.phases.iter().any(|p| p.op == op), "{op} twice");
    }
    let products = profile.phases.iter().filter(|p| p.op.starts_with("linear"));
    assert!(products.clone().all(|p| p.flop > 0 && p.bytes > 0 && p.columns[0] > 0 && p.columns[1] > 0));
    assert!(products.clone().any(|p| p.in_lanes));
    // A clock that only goes forward, however coarse, keeps intervals within each other and beside each other: an
    // operation of a lane lies within its `for_lanes`, on one of the threads, and that within its step.
    let lanes = time(&profile, |_, in_lanes| in_lanes);
    let for_lanes = time(&profile, |op, _| op == "for_lanes");
    assert!(lanes <= THREADS as u32 * for_lanes, "{lanes:?} in lanes, {for_lanes:?} around them");
    let outside = time(&profile, |_, in_lanes| !in_lanes);
    assert!(outside <= profile.wall, "{outside:?} of {:?}", profile.wall);
}

#[test]
fn a_profiled_backend_makes_gradients_of_fields_as_it_would_alone() {
    let whole = || Reference::<f64>::new().with_whole_fields();
    let (mut plain, mut profiled) = (learner(whole()), learner(Profiled::new(whole())));
    train(&mut plain);
    train(&mut profiled);
    assert!(plain.export().unwrap() == profiled.export().unwrap());
    let profile = profiled.backend().take();
    let calls = |op: &str| profile.phases.iter().filter(|p| p.op == op).map(|p| p.calls).sum::<u64>();
    assert_eq!((calls("reduce_fields"), calls("linear_bwd_by_value")), (STEPS, 0));
}

#[test]
fn taking_forgets_and_only_steps_are_timed() {
    let mut learner = learner(Profiled::new(cpu()));
    let nothing = Profile { steps: 0, wall: Duration::ZERO, phases: Vec::new() };
    let batch = a_case().batch(ROWS, 1);
    // Memory, initial parameters, a gradient without a step, a prediction, what a checkpoint holds.
    learner.loss_and_gradients(&batch).unwrap();
    learner.predict(&batch).unwrap();
    learner.export_state().unwrap();
    let parameters = learner.export().unwrap();
    learner.import(&parameters).unwrap();
    assert_eq!(learner.backend().take(), nothing);
    train(&mut learner);
    assert_eq!(learner.backend().take().steps, STEPS);
    assert_eq!(learner.backend().take(), nothing);
    learner.predict(&batch).unwrap();
    assert_eq!(learner.backend().take(), nothing);
    learner.step(&batch).unwrap();
    let one = learner.backend().take();
    assert_eq!(one.steps, 1);
    // Each of them ran in that step alone.
    let for_lanes: u64 = one.phases.iter().filter(|p| p.op == "for_lanes").map(|p| p.calls).sum();
    assert_eq!(for_lanes, 2, "blocks of rows, then fields");
}
