//! Products of the standard work on one thread, beside `matrixmultiply`. Throughput counts two FLOP a multiply-add.
#![allow(missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use optmsm_benches::peak;
use optmsm_benches::product::{Product, SHAPES, Shape};
use optmsm_benches::work::random;
use optmsm_cpu::Isa;

fn gemm(c: &mut Criterion) {
    let isa = Isa::best();
    println!("limit: {:.1} GFLOP/s in {} registers", peak::gflops(isa, 1), isa.name());
    let mut group = c.benchmark_group("gemm");
    for shape in SHAPES {
        group.throughput(Throughput::Elements(shape.flop() as u64)).sample_size(20);
        let mut product = Product::new(shape, 1).unwrap();
        group.bench_function(BenchmarkId::new("ours", shape.name()), |b| b.iter(|| product.run()));
        if let Shape::Forward(..) = shape {
            group.bench_function(BenchmarkId::new("ours, packing included", shape.name()), |b| {
                b.iter(|| {
                    product.pack();
                    product.run();
                });
            });
        }
        let (m, n, k) = shape.sizes();
        // x [m, k] and W [n, k] read transposed, or d_y [k, m] read transposed and x [k, n].
        let ((a_row, a_col), (b_row, b_col)) = match shape {
            Shape::Forward(..) => ((k as isize, 1), (1, k as isize)),
            Shape::Weight(..) => ((1, m as isize), (n as isize, 1)),
        };
        let (left, right, mut out) = (random(m * k, "left"), random(n * k, "right"), vec![0.0f32; m * n]);
        group.bench_function(BenchmarkId::new("matrixmultiply", shape.name()), |bench| {
            bench.iter(|| {
                let (a, b, c) = (left.as_ptr(), right.as_ptr(), out.as_mut_ptr());
                // SAFETY: the three slices hold m·k, n·k and m·n elements, which the strides above stay inside.
                unsafe {
                    matrixmultiply::sgemm(
                        m, k, n, 1.0, a, a_row, a_col, b, b_row, b_col, 0.0, c, n as isize, 1,
                    );
                }
            });
        });
    }
}

criterion_group!(benches, gemm);
criterion_main!(benches);
