//! Training step and forward pass of the standard work, B = 4096, all cores.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use optmsm_benches::{rows, standard};
use optmsm_core::learner::{Learner, LearnerConfig};
use optmsm_core::model::OptMsm;
use optmsm_core::plan::Plan;
use optmsm_cpu::{Cpu, CpuOptions};

const ROWS: u64 = 4096;

fn step(c: &mut Criterion) {
    let mut group = c.benchmark_group("standard");
    group.throughput(Throughput::Elements(ROWS)).sample_size(20);
    for (name, large) in [("small", false), ("large", true)] {
        let (config, input) = standard(large);
        let model = OptMsm::new(&config, &input).unwrap();
        let cpu = Cpu::new(CpuOptions::default()).unwrap();
        let mut learner = Learner::new(cpu, model, LearnerConfig::default(), ROWS as usize, 1).unwrap();
        let batches: Vec<_> = (0..8).map(|seed| rows(&input, ROWS, seed)).collect();
        let plans: Vec<_> = batches
            .iter()
            .map(|batch| {
                let mut plan = Plan::default();
                plan.build(batch, &input, true).unwrap();
                plan
            })
            .collect();
        let mut next = (0..plans.len()).cycle();
        group.bench_function(format!("train/{name}"), |b| {
            b.iter(|| learner.step_plan(&plans[next.next().unwrap()]).unwrap());
        });
        assert!(learner.loss().unwrap().total().is_finite());
        group.bench_function(format!("forward/{name}"), |b| {
            b.iter(|| black_box(learner.predict(&batches[next.next().unwrap()]).unwrap()));
        });
    }
}

criterion_group!(benches, step);
criterion_main!(benches);
