//! Forward pass of the standard work for one row, a few, and a batch, all cores.
#![allow(missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use optmsm_benches::work::{Forward, ROWS};
use optmsm_benches::{machine, standard};

fn predict(c: &mut Criterion) {
    let mut group = c.benchmark_group("predict");
    for (name, large) in [("small", false), ("large", true)] {
        for rows in [1, 64, ROWS] {
            let mut forward = Forward::new(&standard(large), rows, machine::cores()).unwrap();
            group.throughput(Throughput::Elements(rows as u64)).sample_size(20);
            group.bench_function(BenchmarkId::new(name, rows), |b| b.iter(|| forward.predict()));
        }
    }
}

criterion_group!(benches, predict);
criterion_main!(benches);
