//! The host's twins of mma.cuh and async.cuh.

mod common;

use common::{Array, kernels, launch};
use optmsm_testkit::rng::Rng;

/// Small whole numbers: all products and sums are exact, in tf32, bf16 and f32.
fn matrix(rng: &mut Rng, rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|_| rng.below(255) as f32 - 127.0).collect()
}

#[test]
fn products_of_a_warp() {
    let Some(kernels) = kernels() else { return };
    let mut rng = Rng::new(2);
    for seed in 0..20 {
        for (name, depth) in [("product_tf32", 8), ("product_bf16", 16)] {
            let (a, b, mut d) =
                (matrix(&mut rng, 16, depth), matrix(&mut rng, depth, 8), matrix(&mut rng, 16, 8));
            let (a_array, b_array, d_array) = (Array::new(&a), Array::new(&b), Array::new(&d));
            launch!(
                kernels,
                name,
                [1, 1, 1],
                32,
                0,
                seed,
                d_array.pointer(),
                a_array.pointer(),
                b_array.pointer()
            );
            for row in 0..16 {
                for column in 0..8 {
                    d[row * 8 + column] +=
                        (0..depth).map(|k| a[row * depth + k] * b[k * 8 + column]).sum::<f32>();
                }
            }
            assert_eq!(d_array.get(), d, "{name}");
        }
    }
}

#[test]
fn rounding_to_tf32() {
    let Some(kernels) = kernels() else { return };
    // Bits before and after, from the definition: 10 bits of fraction stay, a half is rounded away from zero.
    let cases = [
        (0x0000_0000, 0x0000_0000),
        (0x8000_0000, 0x8000_0000),
        (0x3F80_0000, 0x3F80_0000),
        (0x3F80_0FFF, 0x3F80_0000), // just under a half
        (0x3F80_1000, 0x3F80_2000), // a half, even below
        (0x3F80_3000, 0x3F80_4000), // a half, odd below
        (0xBF80_1000, 0xBF80_2000), // away from zero
        (0x3FFF_F000, 0x4000_0000), // into the next binade
        (0x7F7F_EFFF, 0x7F7F_E000), // the largest
        (0x7F7F_F000, 0x7F80_0000), // to infinity
        (0x7F80_0000, 0x7F80_0000),
        (0xFF80_0000, 0xFF80_0000),
        (0x0000_0FFF, 0x0000_0000), // subnormal
        (0x0000_1000, 0x0000_2000),
        (0x8000_1001, 0x8000_2000),
        (0x007F_F000, 0x0080_0000), // subnormal to normal
    ];
    let nans = [0x7F80_0001u32, 0x7FFF_FFFF, 0xFFC0_0000, 0xFF80_0FFF];
    let mut x: Vec<u32> = cases.iter().map(|c| c.0).chain(nans).collect();
    x.resize(32, 0);
    let (x, out) = (Array::new(&x), Array::<u32>::fresh(32));
    launch!(kernels, "convert_tf32", [1, 1, 1], 32, 0, 0, x.pointer(), out.pointer());
    let out = out.get();
    for (i, (from, to)) in cases.into_iter().enumerate() {
        assert_eq!(out[i], to, "{from:08x} became {:08x}", out[i]);
    }
    for &bits in &out[cases.len()..][..nans.len()] {
        assert!(f32::from_bits(bits).is_nan() && bits & 0x1FFF == 0, "{bits:08x}");
    }
}

#[test]
fn rounding_to_bf16() {
    let Some(kernels) = kernels() else { return };
    // From the definition: 7 bits of fraction stay, a half is rounded to even.
    let cases = [
        (0x0000_0000, 0x0000),
        (0x8000_0000, 0x8000),
        (0x3F80_0000, 0x3F80),
        (0x3F80_7FFF, 0x3F80),
        (0x3F80_8000, 0x3F80), // a half, even below
        (0x3F80_8001, 0x3F81),
        (0x3F81_8000, 0x3F82), // a half, odd below
        (0xBF81_8000, 0xBF82),
        (0x3FFF_8000, 0x4000), // into the next binade
        (0x7F7F_7FFF, 0x7F7F), // the largest
        (0x7F7F_8000, 0x7F80), // to infinity
        (0x7F80_0000, 0x7F80),
        (0xFF80_0000, 0xFF80),
        (0x0000_8000, 0x0000), // subnormal, a half
        (0x0000_8001, 0x0001),
        (0x007F_8000, 0x0080), // subnormal to normal
    ];
    let nans = [0x7F80_0001u32, 0x7FFF_FFFF, 0xFFC0_0000, 0xFF80_8000];
    // The case in the lower half with 1.0 above, then the other way round.
    let one = 0x3F80_0000;
    let all: Vec<u32> = cases.iter().map(|c| c.0).chain(nans).collect();
    let mut x: Vec<u32> =
        all.iter().flat_map(|&bits| [bits, one]).chain(all.iter().flat_map(|&bits| [one, bits])).collect();
    x.resize(128, 0);
    let (x, out) = (Array::new(&x), Array::<u32>::fresh(64));
    launch!(kernels, "convert_bf16", [1, 1, 1], 64, 0, 0, x.pointer(), out.pointer());
    let out = out.get();
    for (i, (from, to)) in cases.into_iter().enumerate() {
        assert_eq!(out[i], 0x3F80 << 16 | to, "{from:08x} became {:08x}", out[i]);
        assert_eq!(out[all.len() + i], to << 16 | 0x3F80, "{from:08x} became {:08x}", out[all.len() + i]);
    }
    for i in cases.len()..all.len() {
        assert!(f32::from_bits(out[i] << 16).is_nan() && out[i] >> 16 == 0x3F80, "{:08x}", out[i]);
        assert!(f32::from_bits(out[all.len() + i] & 0xFFFF_0000).is_nan(), "{:08x}", out[all.len() + i]);
    }
}

#[test]
fn copies_arrive_when_they_are_waited_for() {
    let Some(kernels) = kernels() else { return };
    let (threads, valid) = (64, 40);
    // Only what valid threads copy exists: the guard page ends the test when another reads.
    let numbers: Vec<f32> = (0..4 * valid).map(|i| i as f32 + 1.0).collect();
    let x = Array::new(&numbers);
    for seed in 0..10 {
        let out = Array::<f32>::fresh(3 * 5 * threads);
        launch!(
            kernels,
            "copies",
            [1, 1, 1],
            threads as u32,
            5 * 4 * threads as u32,
            seed,
            x.pointer(),
            out.pointer(),
            valid as u32
        );
        let out = out.get();
        let arrived = |part: usize| &out[part * 5 * threads..][..4 * threads];
        let arrived_single = |part: usize| &out[(part * 5 + 4) * threads..][..threads];
        let is_late = |values: &[f32]| values.iter().all(|v| v.is_nan());
        let is_there = |values: &[f32], valid: usize| {
            values.iter().enumerate().all(|(i, &v)| v == if i < valid { numbers[i] } else { 0.0 })
        };
        assert!(is_late(arrived(0)) && is_late(arrived_single(0)));
        assert!(is_there(arrived(1), 4 * valid) && is_late(arrived_single(1)));
        assert!(is_there(arrived(2), 4 * valid) && is_there(arrived_single(2), valid));
    }
}
