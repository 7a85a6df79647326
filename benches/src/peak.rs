//! The machine's limits as a program meets them: multiply-adds in registers, and a copy through memory.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use optmsm_cpu::Isa;

/// Multiply-adds of one register loop's turn: accumulators that hide the latency of a multiply-add.
const ACCUMULATORS: usize = 12;
/// Turns of a timed loop.
const TURNS: usize = 400_000;
/// Runs, of which the best counts: a limit is what the machine can do undisturbed.
const RUNS: usize = 15;
/// Elements of a copied buffer: 64 MB, more than the caches hold.
const COPIED: usize = 16 << 20;

/// GFLOP/s of multiply-adds that stay in registers, all threads together.
pub fn gflops(isa: Isa, threads: usize) -> f64 {
    let lanes = match isa {
        Isa::Avx512 => 16,
        Isa::Avx2 => 8,
        Isa::Neon | Isa::Portable => 4,
    };
    let work = || {
        let turn = match isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: callers ask for instruction sets that `Isa::is_available` has found.
            Isa::Avx512 => unsafe { x86::avx512(TURNS) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx2 => unsafe { x86::avx2(TURNS) },
            #[cfg(target_arch = "x86_64")]
            Isa::Neon | Isa::Portable => x86::portable(TURNS),
            #[cfg(not(target_arch = "x86_64"))]
            _ => portable(TURNS),
        };
        black_box(turn);
    };
    assert!(isa.is_available(), "this machine has no {}", isa.name());
    let flop = 2.0 * (lanes * ACCUMULATORS * TURNS * threads) as f64;
    flop / fastest(threads, || work) / 1e9
}

/// GB/s of a copy, read and written bytes together, all threads together.
pub fn copy_gb(threads: usize) -> f64 {
    let seconds = fastest(threads, || {
        let (from, mut to) = (vec![1.0f32; COPIED], vec![0.0f32; COPIED]);
        move || black_box(&mut to).copy_from_slice(black_box(&from))
    });
    8.0 * (COPIED * threads) as f64 / seconds / 1e9
}

/// Seconds from the common start of all threads to the end of the last, in the best run.
fn fastest<F: FnMut()>(threads: usize, make: impl Fn() -> F + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let runs: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let one = || {
            let mut work = make();
            work();
            let run = |_| {
                barrier.wait();
                let start = Instant::now();
                work();
                start.elapsed().as_secs_f64()
            };
            (0..RUNS).map(run).collect()
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        handles.into_iter().map(|h| h.join().expect("a timing thread ends")).collect()
    });
    let slowest = |run: usize| runs.iter().map(|times| times[run]).fold(0.0, f64::max);
    (0..RUNS).map(slowest).fold(f64::INFINITY, f64::min)
}

/// A product and then a sum, in the registers that every machine of the architecture has.
#[cfg(not(target_arch = "x86_64"))]
#[inline(never)]
fn portable(turns: usize) -> f32 {
    let (a, b) = (black_box(0.999f32), black_box(0.5f32));
    let mut acc = [black_box(1.0f32); 4 * ACCUMULATORS];
    for _ in 0..turns {
        for acc in &mut acc {
            *acc = *acc * a + b;
        }
    }
    acc.iter().sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::ACCUMULATORS;

    /// A product and then a sum, in the four-number registers that every x86-64 has.
    #[inline(never)]
    pub(super) fn portable(turns: usize) -> f32 {
        let (a, b) = (black_box([0.999f32; 4]), black_box([0.5f32; 4]));
        // SAFETY: SSE is part of x86-64, and the arrays hold four numbers.
        unsafe {
            let (a, b) = (_mm_loadu_ps(a.as_ptr()), _mm_loadu_ps(b.as_ptr()));
            let mut acc = [a; ACCUMULATORS];
            for _ in 0..turns {
                for acc in &mut acc {
                    *acc = _mm_add_ps(_mm_mul_ps(*acc, a), b);
                }
            }
            acc.into_iter().map(|v| _mm_cvtss_f32(v)).sum()
        }
    }

    #[inline(never)]
    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(turns: usize) -> f32 {
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.5)));
        let mut acc = [_mm512_set1_ps(black_box(1.0)); ACCUMULATORS];
        for _ in 0..turns {
            for acc in &mut acc {
                *acc = _mm512_fmadd_ps(*acc, a, b);
            }
        }
        acc.into_iter().map(|v| _mm512_reduce_add_ps(v)).sum()
    }

    #[inline(never)]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(turns: usize) -> f32 {
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.5)));
        let mut acc = [_mm256_set1_ps(black_box(1.0)); ACCUMULATORS];
        for _ in 0..turns {
            for acc in &mut acc {
                *acc = _mm256_fmadd_ps(*acc, a, b);
            }
        }
        acc.into_iter().map(|v| _mm256_cvtss_f32(v)).sum()
    }
}
