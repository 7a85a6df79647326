//! Tables and sums beyond the conformance suite's sizes: where sums take two launches, where there are more fields or tables
//! than a launch describes, and every bit pattern of the narrow types.

use optmsm_core::backend::{
    Backend, Dense, Embedding, FieldLookup, FieldSum, Groups, Mat, MatMut, Memory, Segments, TableStep,
    TableView, Update, Write,
};
use optmsm_core::optim::{self, OptimizerConfig, Rule};
use optmsm_core::reference::Reference;
use optmsm_core::rounding::{Rounding, Rows, TableDtype};
use optmsm_cuda::{Cuda, Precision};
use optmsm_cuda_host::Host;
use optmsm_testkit::rng::Rng;

fn cuda() -> Option<Cuda<Host>> {
    optmsm_cuda_host::cuda(Precision::F32, 7)
}

/// Sums of whole numbers are exact in any order, as long as they stay below 2²⁴.
fn whole(rng: &mut Rng) -> f32 {
    rng.below(33) as f32 - 16.0
}

fn wide(v: &[f32]) -> Vec<f64> {
    v.iter().map(|&v| v.into()).collect()
}

fn buffer<B: Backend<Elem = f32>>(be: &B, v: &[f32]) -> B::Buf {
    let mut buf = be.alloc(v.len()).expect("memory for a test");
    be.upload(&mut buf, v);
    buf
}

fn ids<B: Backend>(be: &B, v: &[u32]) -> B::Ids {
    let mut ids = be.alloc_ids(v.len()).expect("memory for a test");
    be.upload_ids(&mut ids, v);
    ids
}

#[track_caller]
fn same<B: Backend<Elem = f32>>(be: &B, what: &str, got: &B::Buf, want: &[f64]) {
    let mut v = vec![0.0; want.len()];
    be.download(&mut v, got, 0).expect("download");
    for (i, (got, &want)) in v.iter().zip(want).enumerate() {
        let (got, nan) = (f64::from(*got), want.is_nan());
        assert!(got == want || (nan && got.is_nan()), "{what}: element {i} is {got}, not {want}");
    }
}

#[test]
fn columns_of_many_rows() {
    let Some(be) = cuda() else { return };
    let (oracle, rng) = (Reference::<f64>::new(), &mut Rng::new(1));
    for (rows, cols, stride) in [(129, 1, 1), (1000, 33, 40), (9000, 5, 5), (20_000, 3, 4)] {
        let x: Vec<f32> = (0..rows * stride).map(|_| whole(rng)).collect();
        let (x_dev, x_wide) = (buffer(&be, &x), wide(&x));
        // All rows, then groups: one with nearly all rows, empty ones at both ends and between, many small ones.
        let some = rows as u32;
        let small: Vec<u32> = (0..=300).map(|g| g * some / 300).collect();
        let skewed = vec![0, 0, 3, 3, some - 1, some - 1, some, some];
        for offsets in [None, Some(skewed), Some(vec![0, some]), Some(small)] {
            let groups = offsets.as_ref().map_or(1, |o| o.len() - 1);
            for write in [Write::Set, Write::Add] {
                let start = if write == Write::Set { f32::NAN } else { 3.0 };
                let mut want = vec![f64::from(start); groups * cols];
                let mut got = buffer(&be, &vec![start; groups * cols]);
                let at = offsets.as_ref().map(|o| ids(&be, o));
                let by = at.as_ref().map_or(Groups::One(0), Groups::Rows);
                let m = Mat { buf: &x_dev, offset: 0, rows, cols, stride };
                be.col_sum(MatMut::new(&mut got, groups, cols), write, m, by);
                let by = offsets.as_ref().map_or(Groups::One(0), Groups::Rows);
                let m = Mat { buf: &x_wide, offset: 0, rows, cols, stride };
                oracle.col_sum(MatMut::new(&mut want, groups, cols), write, m, by);
                same(&be, &format!("{rows}x{cols} in {groups} groups, {write:?}"), &got, &want);
            }
        }
    }
}

/// A field: lengths of its segments.
fn lengths(kind: usize, occurrences: usize, rng: &mut Rng) -> Vec<usize> {
    let (mut left, mut lengths) = (occurrences, vec![0; kind % 3]);
    while left > 0 {
        let length = match kind % 4 {
            0 => left,                                   // one segment
            1 => 1 + rng.below(3),                       // nearly every row its own
            2 => 32 * (1 + rng.below(20)),               // ends and chunks coincide
            _ => 1 + rng.below(1 + left) * rng.below(2), // some long, some short
        };
        let length = length.min(left);
        left -= length;
        lengths.push(length);
        lengths.extend((0..usize::from(kind.is_multiple_of(5))).map(|_| 0));
    }
    lengths.extend(vec![0; kind % 2]);
    lengths
}

#[test]
fn sums_by_id_of_long_segments_and_many_fields() {
    let Some(be) = cuda() else { return };
    let (oracle, rng) = (Reference::<f64>::new(), &mut Rng::new(2));
    // The most occurrences of a block are 2048: around it, and a capacity that the batch does not fill.
    for (rows, d, fields, occurrences, unused) in [
        (700, 16, 3, 5000, 0),
        (50, 4, 5, 2048, 0),
        (50, 4, 5, 2048, 77),
        (300, 3, 4, 2049, 5),
        (40, 130, 4, 1500, 0),
        (30, 200, 2, 600, 40),
        (20, 8, 40, 90, 0),
    ] {
        let x: Vec<f32> = (0..rows * d).map(|_| whole(rng)).collect();
        let (x_dev, x_wide) = (buffer(&be, &x), wide(&x));
        let made: Vec<_> = (0..fields)
            .map(|kind| {
                let lengths = lengths(kind, occurrences, rng);
                let mut starts = vec![0];
                lengths.iter().for_each(|&n| starts.push(starts[starts.len() - 1] + n as u32));
                let mut at: Vec<u32> = (0..occurrences).map(|_| rng.below(rows) as u32).collect();
                // Behind the occurrences: no such row.
                at.resize(occurrences + unused, u32::MAX);
                let coefs: Vec<f32> = (0..at.len()).map(|_| whole(rng)).collect();
                (starts, at, (kind % 2 == 1).then_some(coefs))
            })
            .collect();
        let dev: Vec<_> = made
            .iter()
            .map(|(s, at, c)| (ids(&be, s), ids(&be, at), c.as_ref().map(|c| buffer(&be, c))))
            .collect();
        let mut got: Vec<_> =
            made.iter().map(|(s, ..)| buffer(&be, &vec![f32::NAN; (s.len() - 1) * d])).collect();
        be.reduce_fields(got.iter_mut().zip(&dev).zip(&made).map(|((g, (starts, at, coefs)), (s, ..))| {
            let count = s.len() - 1;
            let segments = Segments { count, starts, rows: at, coefs: coefs.as_ref() };
            FieldSum { g: MatMut::new(g, count, d), segments, d_out: Mat::new(&x_dev, rows, d) }
        }));
        for (field, ((starts, at, coefs), got)) in made.iter().zip(&got).enumerate() {
            let (count, coefs) = (starts.len() - 1, coefs.as_ref().map(|c| wide(c)));
            let mut want = vec![f64::NAN; count * d];
            let segments = Segments { count, starts, rows: at, coefs: coefs.as_ref() };
            let g = MatMut::new(&mut want, count, d);
            oracle.reduce_rows(g, segments, rows, |_| Mat::new(&x_wide, rows, d));
            same(&be, &format!("field {field} of {fields}, {occurrences} occurrences of {d}"), got, &want);
        }
    }
}

#[test]
fn sums_have_one_order_whatever_runs_first() {
    let run = |seed: u64| {
        let be = optmsm_cuda_host::cuda(Precision::F32, seed)?;
        let rng = &mut Rng::new(5);
        let (rows, d) = (3000, 12);
        let x: Vec<f32> = (0..rows * d).map(|_| rng.value() as f32).collect();
        let x = buffer(&be, &x);
        let starts = ids(&be, &[0, 5, 40, 1700, 1701, rows as u32]);
        let at = ids(&be, &(0..rows).map(|_| rng.below(rows) as u32).collect::<Vec<_>>());
        let mut g = buffer(&be, &[f32::NAN; 5 * 12]);
        let segments = Segments { count: 5, starts: &starts, rows: &at, coefs: None };
        let (sums, d_out) = (MatMut::new(&mut g, 5, d), Mat::new(&x, rows, d));
        be.reduce_fields(std::iter::once(FieldSum { g: sums, segments, d_out }));
        let mut columns = buffer(&be, &[f32::NAN; 12]);
        be.col_sum(MatMut::new(&mut columns, 1, d), Write::Set, Mat::new(&x, rows, d), Groups::One(0));
        let mut squares = buffer(&be, &[f32::NAN]);
        be.sum_sq(&mut squares, Write::Set, &x, rows * d);
        let mut bits = vec![];
        for buf in [&g, &columns, &squares] {
            let mut v = vec![0.0; be.len(buf)];
            be.download(&mut v, buf, 0).expect("download");
            bits.extend(v.into_iter().map(f32::to_bits));
        }
        Some(bits)
    };
    let first = run(1);
    (2..6).for_each(|seed| assert_eq!(run(seed), first, "seed {seed}"));
}

/// Value of the bits of an IEEE half, as the standard puts it.
fn half_value(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023) / 1024.0);
    let size = match exponent {
        0 => fraction * 2f32.powi(-14),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction) * 2f32.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[test]
fn every_bit_pattern_is_read() {
    let Some(be) = cuda() else { return };
    for width in [16, 1] {
        for dtype in [TableDtype::F16, TableDtype::Bf16] {
            let value =
                if dtype == TableDtype::F16 { half_value } else { |b| f32::from_bits(u32::from(b) << 16) };
            let all: Vec<f32> = (0..=u16::MAX).map(value).collect();
            let rows = all.len() / width;
            let mut table = be.alloc_table(rows, width, dtype).expect("memory for a test");
            // Each is on the grid: writing rounds nothing.
            be.upload_rows(&mut table, 0, &all);
            let at = ids(&be, &(0..rows as u32).collect::<Vec<_>>());
            let mut out = be.alloc(all.len()).expect("memory for a test");
            be.lookup(MatMut::new(&mut out, rows, width), TableView::of(&table), &at, 0);
            same(&be, &format!("{dtype:?}, {width} wide"), &out, &wide(&all));
        }
    }
}

/// The numbers that rounding may go wrong at: both ends of the range, powers of two and their neighbours, subnormal ones.
fn hard(rng: &mut Rng) -> f32 {
    let v = match rng.below(4) {
        0 => f32::from_bits(rng.bits()),
        1 => 2f32.powi(rng.below(48) as i32 - 30) * (1.0 + (rng.bits() % 5) as f32 * f32::EPSILON),
        2 => [65_504.0, 65_519.9, 65_535.9, 65_536.0, f32::MAX, f32::INFINITY, 0.0, f32::NAN][rng.below(8)],
        _ => 2f32.powi(-24) * rng.uniform() as f32 * 1100.0,
    };
    if rng.below(2) == 0 { -v } else { v }
}

#[test]
fn rounding_is_that_of_the_definition_bit_by_bit() {
    let Some(be) = cuda() else { return };
    let rng = &mut Rng::new(3);
    let config = OptimizerConfig { rule: Rule::Sgd, lr: 1.0, ..Default::default() };
    let (rows, width) = (3000, 6);
    for dtype in TableDtype::ALL {
        let mut table = be.alloc_table(rows, width, dtype).expect("memory for a test");
        let v: Vec<f32> = (0..rows * width).map(|_| hard(rng)).collect();
        // 0 − 1 · (−v)
        let g = buffer(&be, &v.iter().map(|v| -v).collect::<Vec<_>>());
        let at = ids(&be, &(0..rows as u32).collect::<Vec<_>>());
        let rounding = Rounding { seed: 0x1234_5678_9abc, step: 5, site: rng.bits(), rows: Rows::ALL };
        let update = optim::Update::new(&config, 1, 1.0, None);
        let (g, on) = (Mat::new(&g, rows, width), &mut table);
        let step = TableStep { table: on, g, state: &mut [], average: None, rows: &at, rounding };
        be.step_rows(step, &update);
        let mut got = vec![0.0; rows * width];
        be.download_rows(&mut got, &table, 0).expect("download");
        for (i, (&got, &v)) in got.iter().zip(&v).enumerate() {
            let (row, column) = ((i / width) as u32, i % width);
            let want: f32 = dtype.stochastic(v, rounding.words(row, column as u32 / 4)[column % 4]);
            assert!(
                got == want || (got.is_nan() && want.is_nan()),
                "{v:?} as {dtype:?} is {got:?}, not {want:?}"
            );
        }
    }
}

#[test]
fn more_fields_and_tables_than_a_launch_describes() {
    let Some(be) = cuda() else { return };
    let rng = &mut Rng::new(4);
    let (count, rows, batch) = (70, 9, 21);
    let widths: Vec<usize> = (0..count).map(|i| [4, 3, 16, 1, 40][i % 5]).collect();
    let columns: Vec<usize> = widths.iter().scan(0, |at, w| Some(std::mem::replace(at, *at + w))).collect();
    let total: usize = widths.iter().sum();
    let values: Vec<Vec<f32>> = widths.iter().map(|w| (0..rows * w).map(|_| whole(rng)).collect()).collect();
    let mut tables: Vec<_> = (0..count)
        .map(|i| {
            let mut t = be.alloc_table(rows, widths[i], TableDtype::ALL[i % 3]).expect("memory for a test");
            be.upload_rows(&mut t, 0, &values[i]);
            t
        })
        .collect();
    let at: Vec<Vec<u32>> =
        (0..count).map(|_| (0..batch).map(|_| rng.below(rows) as u32).collect()).collect();
    let at_dev: Vec<_> = at.iter().map(|at| ids(&be, at)).collect();
    let mut out = be.alloc(batch * total).expect("memory for a test");
    let fields = (0..count).map(|i| FieldLookup::<Cuda<Host>> {
        table: TableView::of(&tables[i]),
        ids: &at_dev[i],
        column: columns[i],
        width: widths[i],
    });
    be.lookup_fields(MatMut::new(&mut out, batch, total), fields, 0);
    let mut want = vec![0.0; batch * total];
    for i in 0..count {
        for (b, &id) in at[i].iter().enumerate() {
            let row = &values[i][id as usize * widths[i]..][..widths[i]];
            want[b * total + columns[i]..][..widths[i]].copy_from_slice(&wide(row));
        }
    }
    same(&be, "lookups", &out, &want);

    // Row 2 of each moves by a whole number, which every type holds.
    let config = OptimizerConfig { rule: Rule::Sgd, lr: 1.0, ..Default::default() };
    let update = optim::Update::new(&config, 1, 1.0, None);
    let g: Vec<_> = widths.iter().enumerate().map(|(i, &w)| buffer(&be, &vec![i as f32; w])).collect();
    let moved = ids(&be, &[2, u32::MAX]);
    be.step_tables(
        tables.iter_mut().zip(&g).zip(&widths).enumerate().map(|(i, ((table, g), &width))| TableStep {
            table,
            g: Mat::new(g, 1, width),
            state: &mut [],
            average: None,
            rows: &moved,
            rounding: Rounding::new(1, i as u32, i),
        }),
        &update,
    );
    for i in 0..count {
        let mut got = vec![0.0; rows * widths[i]];
        be.download_rows(&mut got, &tables[i], 0).expect("download");
        for (k, (&got, &before)) in got.iter().zip(&values[i]).enumerate() {
            let want = if k / widths[i] == 2 { before - i as f32 } else { before };
            assert_eq!(got, want, "table {i}, element {k}");
        }
    }
}
