//! Products of the standard work on one thread, beside `matrixmultiply`. Throughput counts two FLOP a multiply-add.
#![allow(missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use optmsm_core::backend::{Backend, Epilogue, Layout, Mat, MatMut, Part, Write};
use optmsm_core::philox::Stream;
use optmsm_cpu::{Cpu, CpuOptions};

/// Rows, outputs, inputs.
const SHAPES: [(usize, usize, usize); 4] =
    [(256, 256, 512), (256, 128, 256), (256, 64, 128), (512, 256, 512)];

fn gemm(c: &mut Criterion) {
    let cpu = Cpu::new(CpuOptions { threads: Some(1), ..CpuOptions::default() }).unwrap();
    let random = |n: usize, name: &str| -> Vec<f32> {
        let stream = Stream::new(1, name);
        (0..n as u64).map(|i| stream.uniform(i) as f32 - 0.5).collect()
    };
    let mut group = c.benchmark_group("gemm");
    for (m, n, k) in SHAPES {
        let (x, w, d_y) = (random(m * k, "x"), random(n * k, "w"), random(m * n, "d_y"));
        let (mut y, mut d_w) = (vec![0.0f32; m * n], vec![0.0f32; n * k]);
        let mut packed = cpu.alloc_packed(1, n, k).unwrap();
        cpu.pack(&mut packed, Mat::new(&w, n, k), Layout::OutIn);
        group.throughput(Throughput::Elements(2 * (m * n * k) as u64)).sample_size(30);
        let shape = format!("{m}x{n}x{k}");
        group.bench_function(BenchmarkId::new("linear", &shape), |b| {
            b.iter(|| {
                let (y, x) = (MatMut::new(&mut y, m, n), Mat::new(&x, m, k));
                cpu.linear(y, x, &packed, Part::Group(0), Epilogue::NONE);
            });
        });
        group.bench_function(BenchmarkId::new("linear_dw", &shape), |b| {
            b.iter(|| {
                let d_w = MatMut::new(&mut d_w, n, k);
                cpu.linear_dw(d_w, Write::Add, Mat::new(&d_y, m, n), Mat::new(&x, m, k), Part::Group(0));
            });
        });
        group.bench_function(BenchmarkId::new("matrixmultiply", &shape), |b| {
            b.iter(|| {
                let (a, b, c) = (x.as_ptr(), w.as_ptr(), y.as_mut_ptr());
                // SAFETY: the three slices hold m·k, n·k and m·n elements; B is read transposed.
                unsafe {
                    matrixmultiply::sgemm(
                        m, k, n, 1.0, a, k as isize, 1, b, 1, k as isize, 0.0, c, n as isize, 1,
                    );
                }
            });
        });
    }
}

criterion_group!(benches, gemm);
criterion_main!(benches);
