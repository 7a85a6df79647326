//! The standard work on one thread, two, and all cores.
#![allow(missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use optmsm_benches::work::{Forward, ROWS, Training};
use optmsm_benches::{machine, standard};
use optmsm_core::learner::LearnerConfig;

fn threads(c: &mut Criterion) {
    let mut group = c.benchmark_group("threads");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
    let mut counts = vec![1, 2, machine::cores()];
    counts.dedup();
    for count in counts {
        let mut training = Training::new(&standard(false), LearnerConfig::default(), ROWS, count).unwrap();
        group.bench_function(BenchmarkId::new("step", count), |b| b.iter(|| training.step()));
        let mut forward = Forward::new(&standard(false), ROWS, count).unwrap();
        group.bench_function(BenchmarkId::new("predict", count), |b| b.iter(|| forward.predict()));
    }
}

criterion_group!(benches, threads);
criterion_main!(benches);
