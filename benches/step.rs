//! Training step of the standard work, B = 4096, all cores.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use optmsm_benches::work::{ROWS, Training};
use optmsm_benches::{machine, standard};
use optmsm_core::learner::LearnerConfig;

fn step(c: &mut Criterion) {
    let mut group = c.benchmark_group("step");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
    for (name, large) in [("small", false), ("large", true)] {
        let mut training =
            Training::new(&standard(large), LearnerConfig::default(), ROWS, machine::cores()).unwrap();
        group.bench_function(name, |b| b.iter(|| training.step()));
        assert!(training.is_sound(), "the loss is not a number");
    }
}

criterion_group!(benches, step);
criterion_main!(benches);
