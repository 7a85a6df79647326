//! One table of 200,000 rows in each storage type: lookup and Adam's update of a batch of 4096 rows.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use optmsm_core::backend::{Embedding, Mat, MatMut, Memory, TableStep, TableView, Update};
use optmsm_core::optim::{self, OptimizerConfig, Rule};
use optmsm_core::philox::Stream;
use optmsm_core::rounding::{Rounding, TableDtype};
use optmsm_cpu::Cpu;

const ROWS: usize = 200_000;
const WIDTH: usize = 16;
const BATCH: usize = 4096;

fn tables(c: &mut Criterion) {
    let mut group = c.benchmark_group("tables");
    group.throughput(Throughput::Elements(BATCH as u64)).sample_size(30);
    let be = Cpu::new().unwrap();
    let (values, uniform) = (Stream::new(1, "values"), Stream::new(1, "ids"));
    let numbers = |n: usize| (0..n as u64).map(|i| 0.01 * values.normal(i) as f32).collect::<Vec<_>>();
    let mut ids: Vec<u32> = (0..BATCH as u64).map(|i| (uniform.uniform(i) * ROWS as f64) as u32).collect();
    let mut g = be.alloc(BATCH * WIDTH).unwrap();
    be.upload(&mut g, &numbers(BATCH * WIDTH));
    let mut out = be.alloc(BATCH * WIDTH).unwrap();
    for dtype in TableDtype::ALL {
        let mut table = be.alloc_table(ROWS, WIDTH, dtype).unwrap();
        be.upload_rows(&mut table, 0, &numbers(ROWS * WIDTH));
        group.bench_function(format!("lookup/{}", dtype.name()), |b| {
            b.iter(|| {
                be.lookup(MatMut::new(black_box(&mut out), BATCH, WIDTH), TableView::of(&table), &ids, 0)
            });
        });
        for (name, rule) in [("adam", Rule::Adam), ("rowwise_adagrad", Rule::RowwiseAdagrad)] {
            let config = OptimizerConfig { rule, ..OptimizerConfig::default() };
            let mut state: Vec<_> = (0..config.state().0).map(|_| be.alloc(ROWS * WIDTH).unwrap()).collect();
            ids.sort_unstable();
            ids.dedup();
            let mut t = 0;
            group.bench_function(format!("{name}/{}", dtype.name()), |b| {
                b.iter(|| {
                    t += 1;
                    let update = optim::Update::new(&config, t, 1.0, None);
                    let rounding = Rounding::new(1, t as u32, 0);
                    let g = Mat::new(&g, ids.len(), WIDTH);
                    let (table, state) = (&mut table, &mut state[..]);
                    be.step_rows(TableStep { table, g, state, average: None, rows: &ids, rounding }, &update);
                });
            });
        }
        // The lookup of the next type reads a whole batch again, in random order.
        ids = (0..BATCH as u64).map(|i| (uniform.uniform(i) * ROWS as f64) as u32).collect();
    }
}

criterion_group!(benches, tables);
criterion_main!(benches);
