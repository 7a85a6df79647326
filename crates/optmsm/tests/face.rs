//! Properties that a program relies on at compile time, and the options of a learner.
#![cfg(feature = "cpu")]

use std::fmt::Debug;

use optmsm::optim::Schedule;
use optmsm::prelude::*;

/// Compiles for what may be shared between threads and printed.
fn shared<T: Send + Sync + Debug>() {}

#[test]
fn public_types_are_send_sync_and_debug() {
    shared::<Cpu>();
    shared::<AnyModel<Cpu>>();
    shared::<Learner<Cpu, AnyModel<Cpu>>>();
    shared::<Learner<Cpu, OptMsm>>();
    shared::<Predictor<Cpu, AnyModel<Cpu>>>();
    shared::<Batch>();
    shared::<Error>();
}

#[cfg(feature = "cuda")]
#[test]
fn so_are_those_of_a_gpu() {
    shared::<Cuda>();
    shared::<Learner<Cuda, AnyModel<Cuda>>>();
    shared::<Predictor<Cuda, AnyModel<Cuda>>>();
}

fn input() -> InputSpec {
    let user = FieldSpec::new("user", Role::Shared, FieldKind::Categorical { vocab: 3 });
    InputSpec { scenarios: 2, fields: vec![user] }
}

#[test]
fn a_builder_sets_what_its_methods_say() {
    let model = OptMsm::new(&ModelConfig::default(), &input()).unwrap();
    let rule = |lr| OptimizerConfig { lr, ..OptimizerConfig::default() };
    let schedule = ScheduleConfig { kind: Schedule::Linear, period: Period::Steps(9), ..Default::default() };
    let average = AverageConfig::default();
    let builder = Learner::builder(Cpu::new().unwrap(), model.clone());
    let learner = builder
        .optimizer(rule(0.5))
        .embedding_optimizer(rule(0.25))
        .schedule(schedule.clone())
        .clip_norm(2.0)
        .average(average.clone())
        .max_rows(8)
        .seed(3)
        .build()
        .unwrap();
    let config = LearnerConfig {
        optimizer: rule(0.5),
        embedding_optimizer: Some(rule(0.25)),
        schedule,
        clip_norm: Some(2.0),
        average: Some(average),
    };
    assert_eq!(learner.config(), &config);
    assert!(format!("{learner:?}").contains("seed: 3"), "{learner:?}");
    let named = Learner::new(Cpu::new().unwrap(), model.clone(), config.clone(), 8, 3).unwrap();
    assert_eq!(learner.export().unwrap(), named.export().unwrap());
    let replaced = Learner::builder(Cpu::new().unwrap(), model.clone()).clip_norm(9.0).config(config.clone());
    assert_eq!(replaced.build().unwrap().config(), &config);
    let error = Learner::builder(Cpu::new().unwrap(), model).clip_norm(-1.0).build().unwrap_err();
    assert!(error.to_string().contains("train.clip_norm"), "{error}");
}

#[test]
fn options_of_the_cpu_are_checked() {
    let cpu = Cpu::with(CpuOptions { threads: Some(1), ..CpuOptions::default() }).unwrap();
    assert_eq!(cpu.threads(), 1);
    assert!(Cpu::with(CpuOptions { threads: Some(0), ..CpuOptions::default() }).is_err());
}
