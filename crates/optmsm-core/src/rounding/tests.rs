//! Against grids that are decoded here, bit pattern by bit pattern, in `f64`.

use half::{bf16, f16};

use super::*;
use crate::philox::Stream;

const NARROW: [TableDtype; 2] = [TableDtype::F16, TableDtype::Bf16];

/// Non-negative numbers of a type in ascending order, and behind the largest the point that stands for infinity.
fn grid(dtype: TableDtype) -> Vec<f64> {
    let (fraction, bias) = if dtype == TableDtype::F16 { (10, 15) } else { (7, 127) };
    let value = |bits: u32| {
        let (exponent, rest) = (bits >> fraction, f64::from(bits & ((1 << fraction) - 1)));
        let scale = |e: i32| libm::ldexp(1.0, e - bias - fraction);
        match exponent {
            0 => rest * scale(1),
            _ => (rest + f64::from(1 << fraction)) * scale(exponent as i32),
        }
    };
    let infinity = if dtype == TableDtype::F16 { 31 << 10 } else { 255 << 7 };
    (0..=infinity).map(value).collect()
}

/// Numbers of every size, either sign, and next to every kind of grid point.
fn numbers(dtype: TableDtype) -> Vec<f32> {
    let stream = Stream::new(41, dtype.name());
    let largest = if dtype == TableDtype::F16 { 17.0 } else { 127.9 };
    let random = (0..20_000).map(|i| {
        let exponent = -150.0 + (150.0 + largest) * stream.uniform(2 * i);
        let size = libm::exp2(exponent) * if stream.uniform(2 * i + 1) < 0.5 { -1.0 } else { 1.0 };
        size as f32
    });
    let around = grid(dtype).into_iter().step_by(7).flat_map(|g| {
        let bits = (g as f32).to_bits();
        [bits.saturating_sub(1), bits, bits + 1].map(f32::from_bits)
    });
    random.chain(around).filter(|v| v.is_finite()).collect()
}

/// The neighbours of |v| and its share of the way, exact in `f64`; `None` above the end of the grid.
fn neighbours(grid: &[f64], v: f32) -> Option<(f64, f64, f64)> {
    let size = f64::from(v).abs();
    let above = grid.partition_point(|&g| g <= size);
    let (a, b) = (grid[above - 1], *grid.get(above)?);
    Some((a, b, (size - a) / (b - a)))
}

/// Value of a point of the grid: the point behind the largest is infinity.
fn point(grid: &[f64], g: f64) -> f64 {
    if g == grid[grid.len() - 1] { f64::INFINITY } else { g }
}

#[test]
fn each_word_chooses_the_neighbour_that_the_equation_says() {
    for dtype in NARROW {
        let grid = grid(dtype);
        let (mut ups, mut downs, mut overflows) = (0, 0, 0);
        for (i, v) in numbers(dtype).into_iter().enumerate() {
            let Some((a, b, t)) = neighbours(&grid, v) else {
                assert_eq!(dtype.stochastic(v, 0), f32::INFINITY.copysign(v), "{v:e} beyond {dtype:?}");
                overflows += 1;
                continue;
            };
            let threshold = (t * 4_294_967_296.0).floor() as u32;
            let random = Stream::new(43, "words").uniform(i as u64) * 4_294_967_296.0;
            for word in [0, u32::MAX, threshold.saturating_sub(1), threshold, random as u32] {
                let up = word < threshold;
                let want = point(&grid, if up { b } else { a }).copysign(v.into());
                let got = dtype.stochastic(v, word);
                assert_eq!(f64::from(got).to_bits(), want.to_bits(), "{v:e} as {dtype:?} with {word:#x}");
                // In f64 the same: it is rounded to f32 first, which v is already.
                assert_eq!(dtype.stochastic(f64::from(v), word).to_bits(), want.to_bits());
                if up { ups += 1 } else { downs += 1 }
            }
        }
        assert!(ups > 10_000 && downs > 10_000, "{ups} ups and {downs} downs of {dtype:?}");
        assert_eq!(overflows > 0, dtype == TableDtype::F16, "numbers beyond the grid");
    }
}

#[test]
fn numbers_of_the_grid_stay_whatever_the_word() {
    for dtype in NARROW {
        let grid = grid(dtype);
        for &g in &grid[..grid.len() - 1] {
            for v in [g as f32, -g as f32] {
                let stays = |w: f32| w.to_bits() == v.to_bits();
                assert!(stays(dtype.nearest(v)), "{v:e} is no number of {dtype:?}");
                assert!([0, 1 << 31, u32::MAX].iter().all(|&word| stays(dtype.stochastic(v, word))), "{v:e}");
            }
        }
    }
}

/// Every word that makes a difference: the mean is the number itself, exactly.
#[test]
fn the_mean_over_all_words_is_the_number() {
    for (dtype, bits) in [(TableDtype::Bf16, 16), (TableDtype::F16, 13)] {
        let words = 1u32 << bits;
        for v in numbers(dtype).into_iter().filter(|v| (7e-5..60_000.0).contains(&v.abs())).step_by(2000) {
            let sum: f64 = (0..words).map(|w| f64::from(dtype.stochastic(v, w << (32 - bits)))).sum();
            // Each term is a multiple of the spacing, so the sum is exact.
            assert_eq!(sum / f64::from(words), f64::from(v), "{v:e} as {dtype:?}");
        }
    }
}

/// n random words give a binomial number of ups: its mean is within six standard deviations, √(t(1 − t)/n) each.
#[test]
fn random_words_are_unbiased_for_subnormals_too() {
    let n = 1 << 16;
    let small = [3.3e-8f32, 5.9e-8, 6.1e-8, -1.23e-6, 4.567e-5, 6.1e-5, -2.6e-8];
    let tiny = [3.3e-39f32, 3e-41, -1.1e-38];
    let both = [1.003f32, -0.7654321, 0.0123, 3e-4, 1234.5, -65_000.3];
    let cases = both.iter().flat_map(|&v| NARROW.map(|d| (d, v)));
    let cases = cases.chain(small.map(|v| (TableDtype::F16, v))).chain(tiny.map(|v| (TableDtype::Bf16, v)));
    for (k, (dtype, v)) in cases.enumerate() {
        let (a, b, t) = neighbours(&grid(dtype), v).unwrap();
        assert!((0.01..0.99).contains(&t), "{v:e} tests little: t = {t}");
        let rounding = Rounding::new(99, 7, k);
        let words = (0..n / 4).flat_map(|i| rounding.words(i, 3));
        let ups = words.filter(|&w| f64::from(dtype.stochastic(v, w).abs()) == b).count();
        let share = ups as f64 / f64::from(n);
        let bound = 6.0 * (t * (1.0 - t) / f64::from(n)).sqrt();
        assert!((share - t).abs() <= bound, "{v:e} as {dtype:?} between {a:e} and {b:e}: {share} for {t}");
    }
}

#[test]
fn the_middle_word_agrees_with_round_to_nearest() {
    for dtype in NARROW {
        let half_way = |v: f32| match dtype {
            TableDtype::F16 => f16::from_f32(v).to_f32(),
            _ => bf16::from_f32(v).to_f32(),
        };
        let grid = grid(dtype);
        let mut compared = 0;
        for v in numbers(dtype) {
            let Some((a, b, t)) = neighbours(&grid, v) else { continue };
            // One word is exactly half of them; the share is known to 32 bits.
            if t == 0.5 {
                let both = [1 << 31, (1 << 31) - 1].map(|w| f64::from(dtype.stochastic(v, w).abs()));
                assert_eq!(both, [a, point(&grid, b)], "a tie");
            } else if (t - 0.5).abs() > 1e-9 {
                assert_eq!(dtype.stochastic(v, 1 << 31).to_bits(), half_way(v).to_bits(), "{v:e}");
                compared += 1;
            }
            assert_eq!(dtype.nearest(v).to_bits(), half_way(v).to_bits(), "{v:e}");
        }
        assert!(compared > 10_000, "{compared} numbers");
        let tie = (grid[5] + grid[6]) as f32 / 2.0;
        let both = [1 << 31, (1 << 31) - 1].map(|w| f64::from(dtype.stochastic(tie, w)));
        assert_eq!(both, [grid[5], grid[6]], "the tie {tie:e}");
    }
}

#[test]
fn the_ends_of_the_range() {
    for dtype in TableDtype::ALL {
        for word in [0, 1 << 31, u32::MAX] {
            for v in [f32::INFINITY, f32::NEG_INFINITY] {
                assert_eq!((dtype.stochastic(v, word), dtype.nearest(v)), (v, v), "{dtype:?}");
            }
            // The payload of a NaN may sit in the bits that go.
            for bits in [0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xff80_1000, 0x7fff_ffff] {
                let nan = f32::from_bits(bits);
                assert!(dtype.stochastic(nan, word).is_nan() && dtype.nearest(nan).is_nan(), "{bits:#x}");
                assert!(dtype.stochastic(f64::from(nan), word).is_nan());
            }
            assert_eq!(dtype.stochastic(-0.0f32, word).to_bits(), (-0.0f32).to_bits());
        }
    }
    let f16 = |v: f32, word| TableDtype::F16.stochastic(v, word);
    assert_eq!([f16(65_504.0, 0), f16(65_520.0, u32::MAX), f16(65_535.0, u32::MAX)], [65_504.0; 3]);
    assert_eq!([f16(65_520.0, 0), f16(65_536.0, u32::MAX), f16(1e30, u32::MAX)], [f32::INFINITY; 3]);
    assert_eq!(f16(-65_520.0, 0), f32::NEG_INFINITY);
    let largest = f32::from_bits(0x7f7f_0000);
    assert_eq!(TableDtype::Bf16.stochastic(f32::MAX, 0), f32::INFINITY);
    assert_eq!(TableDtype::Bf16.stochastic(f32::MAX, u32::MAX), largest);
}

/// Words of the known answers of Random123, whose last two words are the site and the step.
#[test]
fn words_are_philox_of_row_quad_table_and_step() {
    let rounding =
        Rounding { seed: 0x299f_31d0_a409_3822, step: 0x0370_7344, site: 0x1319_8a2e, rows: Rows::ALL };
    let known = [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1];
    assert_eq!(rounding.words(0x243f_6a88, 0x85a3_08d3), known);
    // Dropout's sites are below the tables'.
    assert_eq!(Rounding::new(1, 2, 3), Rounding { seed: 1, step: 2, site: 0x8000_0003, rows: Rows::ALL });
}

/// Rows of a table that is shared out round by the words of their ids.
#[test]
fn rows_that_are_shared_out_are_known_by_their_ids() {
    let whole = Rounding::new(5, 6, 7);
    for step in [1, 2, 4, 8] {
        for first in 0..step {
            let rows = Rows { first, step };
            let own: Vec<u32> = (0..29).filter(|id| id % step == first).collect();
            assert_eq!(rows.count(29), own.len());
            for (row, &id) in (0..).zip(&own) {
                assert_eq!(rows.id(row), id);
                assert_eq!(Rounding { rows, ..whole }.words(row, 3), whole.words(id, 3));
            }
            // Of ids 10 to 15, two numbers each.
            let data: Vec<u32> = (10..16).flat_map(|id| [id, 100 + id]).collect();
            let (row, found) = rows.of(10, 2, &data);
            let here = own.iter().filter(|id| (10..16).contains(*id));
            assert_eq!(&*found, here.clone().flat_map(|&id| [id, 100 + id]).collect::<Vec<_>>());
            assert!(found.is_empty() || rows.id(row as u32) == found[0]);
        }
    }
}
