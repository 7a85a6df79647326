//! Memory of buffers and tables.

use optmsm_core::backend::{Backend, Elem, Memory, Write};
use optmsm_core::rounding::TableDtype;

use super::elementwise::each_shape;
use super::matrix::*;
use crate::rng::Rng;

pub(super) fn memory<B: Backend>(be: &B) {
    let mut rng = Rng::new(21);
    assert!(!be.name().is_empty(), "a backend has a name");
    for len in [0, 1, 63, 64, 65, 100_003] {
        let mut buf = be.alloc(len).expect("memory for a test");
        assert_eq!(be.len(&buf), len, "length");
        let mut got = vec![B::Elem::of(1.0); len];
        be.download(&mut got, &buf, 0).expect("download");
        assert!(got.iter().all(|v| v.wide() == 0.0), "fresh memory is 0");
        let data: Vec<_> = (0..len.div_ceil(2)).map(|_| B::Elem::of(rng.value())).collect();
        be.upload(&mut buf, &data);
        be.download(&mut got, &buf, 0).expect("download");
        assert_eq!(got[..data.len()], data[..], "upload of a part");
        assert!(got[data.len()..].iter().all(|v| v.wide() == 0.0), "upload writes no more than it was given");
        let mut part = vec![B::Elem::default(); data.len() / 2];
        let offset = data.len() - part.len();
        be.download(&mut part, &buf, offset).expect("download");
        assert_eq!(part[..], data[offset..], "download from an offset");
        let more: Vec<_> = (0..len - data.len()).map(|_| B::Elem::of(rng.value())).collect();
        let (here, offset) = (&more[..more.len().div_ceil(2)], data.len() / 2);
        be.upload_at(&mut buf, offset, here);
        got[offset..offset + here.len()].copy_from_slice(here);
        let mut all = vec![B::Elem::default(); len];
        be.download(&mut all, &buf, 0).expect("download");
        assert_eq!(all, got, "upload to an offset");
    }
    assert!(be.alloc_ids(0).is_ok(), "no ids");
}

pub(super) fn fill<B: Backend>(be: &B) {
    each_shape(22, |(rows, cols), view, _, rng| {
        let mut x = Pair::<B>::output(be, view, rows, cols, Write::Set, rng);
        for v in [0.0, -1.5] {
            be.fill(x.mat_mut(), v);
            oracle().fill(x.host.mat_mut(), v);
            x.check_exact(be, "fill");
        }
    });
}

pub(super) fn copy<B: Backend>(be: &B) {
    each_shape(23, |(rows, cols), out, view, rng| {
        for write in WRITES {
            let x = Pair::<B>::random(be, view, rows, cols, rng);
            let mut y = Pair::<B>::output(be, out, rows, cols, write, rng);
            be.copy(y.mat_mut(), write, x.mat());
            oracle().copy(y.host.mat_mut(), write, x.host.mat());
            // One rounded sum, or none.
            let u = if write == Write::Set { 0.0 } else { unit::<B>() };
            y.check(be, "copy", |i, j| u * y.host.at(i, j).abs());
        }
    });
}

/// Rounds to the nearest number with `bits` significant bits and smallest spacing 2^`least`, ties to even; beyond
/// `largest` to infinity. Written for itself: it shares nothing with what it checks.
fn nearest(v: f64, bits: i32, least: i32, largest: f64) -> f64 {
    if v == 0.0 || !v.is_finite() {
        return v;
    }
    let spacing = 2f64.powi((v.abs().log2().floor() as i32 + 1 - bits).max(least));
    let rounded = (v / spacing).round_ties_even() * spacing;
    if rounded.abs() > largest { f64::INFINITY.copysign(v) } else { rounded }
}

pub(super) fn table_memory<B: Backend>(be: &B) {
    let mut rng = Rng::new(91);
    for dtype in TableDtype::ALL {
        for (rows, width) in [(1, 1), (3, 7), (9, 16), (5, 129), (301, 33)] {
            let len = rows * width;
            let mut table = be.alloc_table(rows, width, dtype).expect("memory for a test");
            let mut got = vec![B::Elem::of(1.0); len];
            be.download_rows(&mut got, &table, 0).expect("download");
            assert!(got.iter().all(|v| v.wide() == 0.0), "fresh rows are 0");
            // Sizes from subnormal to beyond the range, ties and neighbours of ties.
            let special = [65_504.0, 65_519.9, 65_520.0, -1e6, 2f64.powi(-25), 3.0 * 2f64.powi(-25), 1e-9];
            let mut value = |i: usize| match i % 5 {
                0 => special[rng.below(special.len())],
                1 => 1.0 + f64::from(rng.bits() % 64) / 4096.0,
                2 => -(1.0 + f64::from(rng.bits() % 64) / 512.0),
                3 => rng.value() * 1e-6,
                _ => rng.value(),
            };
            let data: Vec<_> = (0..len).map(|i| B::Elem::of(value(i))).collect();
            let (first, count) = (rows / 3, rows - rows / 3 - rows / 4);
            let part = first * width..(first + count) * width;
            be.upload_rows(&mut table, first, &data[part.clone()]);
            be.download_rows(&mut got, &table, 0).expect("download");
            for (i, (got, v)) in got.iter().zip(&data).enumerate() {
                let want = match dtype {
                    _ if !part.contains(&i) => 0.0,
                    TableDtype::F32 => v.wide(),
                    TableDtype::F16 => nearest(v.wide(), 11, -24, 65_504.0),
                    TableDtype::Bf16 => nearest(v.wide(), 8, -133, f64::from(f32::MAX)),
                };
                assert_eq!(got.wide(), want, "element {i} of {rows} rows of {width} as {dtype:?}: {v:?}");
            }
            let mut some = vec![B::Elem::default(); count * width];
            be.download_rows(&mut some, &table, first).expect("download");
            assert_eq!(some, got[part], "rows from {first} on");
        }
    }
}
