//! Embedding tables in every storage type: memory, lookups, pooling, updates that round at random.

use optmsm_core::backend::{Backend, Bags, Elem, FieldLookup, TableStep, TableView, Write};
use optmsm_core::optim::OptimizerConfig;
use optmsm_core::philox::philox4x32;
use optmsm_core::reference::{Reference, Table};
use optmsm_core::rounding::{Rounding, TableDtype};

use super::elementwise::each_shape;
use super::matrix::*;
use super::update::{Constants, cases, state_value, take, tolerance, update};
use crate::bounded::Bounded;
use crate::rng::Rng;

const VOCABULARY: usize = 11;
/// A row that no id names: NaN, which a lookup must not read.
const UNUSED: usize = 6;

/// One table in both places, of equal numbers.
pub(super) struct TablePair<B: Backend> {
    pub(super) host: Table<f64>,
    pub(super) dev: B::Table,
    rows: usize,
    width: usize,
    dtype: TableDtype,
}

impl<B: Backend> TablePair<B> {
    /// Elements are rounded to the backend's type, then to the table's.
    pub(super) fn new(
        be: &B,
        rows: usize,
        width: usize,
        dtype: TableDtype,
        mut value: impl FnMut(usize, usize) -> f64,
    ) -> Self {
        let data: Vec<_> = (0..rows * width).map(|i| B::Elem::of(value(i / width, i % width))).collect();
        let mut host = oracle().alloc_table(rows, width, dtype).expect("memory for a test");
        oracle().upload_rows(&mut host, 0, &data.iter().map(|v| v.wide()).collect::<Vec<_>>());
        let mut dev = be.alloc_table(rows, width, dtype).expect("memory for a test");
        be.upload_rows(&mut dev, 0, &data);
        Self { host, dev, rows, width, dtype }
    }

    /// Its absolute values.
    fn abs(&self, be: &B) -> Self {
        let (rows, _) = self.download(be);
        Self::new(be, self.rows, self.width, self.dtype, |i, j| rows[i * self.width + j].abs())
    }

    /// Random rows, and NaN in the one that no id names.
    fn random(be: &B, width: usize, dtype: TableDtype, rng: &mut Rng) -> Self {
        Self::new(be, VOCABULARY, width, dtype, |i, _| if i == UNUSED { f64::NAN } else { rng.value() })
    }

    /// The elements of the reference's table, and of the backend's.
    fn download(&self, be: &B) -> (Vec<f64>, Vec<f64>) {
        let len = self.rows * self.width;
        let (mut host, mut dev) = (vec![0.0; len], vec![B::Elem::default(); len]);
        oracle().download_rows(&mut host, &self.host, 0).expect("download");
        be.download_rows(&mut dev, &self.dev, 0).expect("download");
        (host, dev.into_iter().map(Elem::wide).collect())
    }
}

/// How a table is read.
#[derive(Clone, Copy, Debug)]
enum Reading {
    Plain,
    Scaled,
    Averaged,
}

/// A table with what it is read with.
struct Viewed<B: Backend> {
    table: TablePair<B>,
    scale: f64,
    plus: Option<(TablePair<B>, f64)>,
}

impl<B: Backend> Viewed<B> {
    fn random(be: &B, width: usize, dtype: TableDtype, reading: Reading, rng: &mut Rng) -> Self {
        let table = TablePair::random(be, width, dtype, rng);
        let mut average = || TablePair::random(be, width, TableDtype::F32, rng);
        let (scale, plus) = match reading {
            Reading::Plain => (1.0, None),
            Reading::Scaled => (0.3, None),
            Reading::Averaged => (0.7, Some((average(), -1.9))),
        };
        Self { table, scale, plus }
    }

    fn dev(&self) -> TableView<'_, B> {
        let plus = self.plus.as_ref().map(|(average, factor)| (&average.dev, *factor));
        TableView { table: &self.table.dev, scale: self.scale, plus }
    }

    fn host(&self) -> TableView<'_, Reference<f64>> {
        let plus = self.plus.as_ref().map(|(average, factor)| (&average.host, *factor));
        TableView { table: &self.table.host, scale: self.scale, plus }
    }

    /// The same with absolute values: the scale of what reading rounds.
    fn abs(&self, be: &B) -> Self {
        let plus = self.plus.as_ref().map(|(average, factor)| (average.abs(be), factor.abs()));
        Self { table: self.table.abs(be), scale: self.scale, plus }
    }

    /// Roundings of an element that is read, each factor's included.
    fn roundings(&self) -> usize {
        match (self.scale == 1.0, &self.plus) {
            (_, Some(_)) => 3,
            (true, None) => 0,
            (false, None) => 2,
        }
    }
}

/// An id of a row that may be read.
fn id(rng: &mut Rng) -> u32 {
    let id = rng.below(VOCABULARY - 1);
    (if id < UNUSED { id } else { id + 1 }) as u32
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

pub(super) fn lookup<B: Backend>(be: &B) {
    each_shape(92, |(rows, cols), out, _, rng| {
        for dtype in TableDtype::ALL {
            use Reading::{Averaged, Plain, Scaled};
            for (first, reading) in [(0, Plain), (3, Plain), (0, Scaled), (3, Averaged)] {
                let table = Viewed::<B>::random(be, cols, dtype, reading, rng);
                // Before `first`: no such row. A wrong read fails.
                let mut at = vec![u32::MAX; first];
                at.extend((0..rows).map(|_| id(rng)));
                let mut y = Pair::<B>::output(be, out, rows, cols, Write::Set, rng);
                be.lookup(y.mat_mut(), table.dev(), &ids(be, &at), first);
                let mut size = y.host.clone();
                oracle().lookup(size.mat_mut(), table.abs(be).host(), &at, first);
                oracle().lookup(y.host.mat_mut(), table.host(), &at, first);
                let allowed = |i, j| 2.0 * table.roundings() as f64 * unit::<B>() * size.at(i, j);
                y.check(be, &format!("lookup, {reading:?}"), allowed);
            }
        }
    });
}

pub(super) fn lookup_fields<B: Backend>(be: &B) {
    let rng = &mut Rng::new(94);
    for (rows, width, count) in [(0, 3, 2), (1, 1, 1), (5, 4, 0), (33, 16, 7), (7, 5, 40), (65, 9, 3)] {
        for (view, first) in [(View::Dense, 0), (View::Inside, 3)] {
            let fields: Vec<_> = (0..count)
                .map(|field| {
                    let reading = [Reading::Plain, Reading::Scaled, Reading::Averaged][field / 3 % 3];
                    let table = Viewed::<B>::random(be, width, TableDtype::ALL[field % 3], reading, rng);
                    let mut at = vec![u32::MAX; first];
                    at.extend((0..rows).map(|_| id(rng)));
                    // Another field's column before every second one stays as it is.
                    let column = (field + field.div_ceil(2)) * width;
                    (table, ids(be, &at), at, column)
                })
                .collect();
            let mut y = Pair::<B>::output(be, view, rows, (2 * count + 1) * width, Write::Add, rng);
            be.lookup_fields(
                y.mat_mut(),
                fields.iter().map(|(t, ids, _, column)| FieldLookup {
                    table: t.dev(),
                    ids,
                    column: *column,
                    width,
                }),
                first,
            );
            let mut size = y.host.clone();
            let on_host = |y: &mut Host, tables: &[&Viewed<B>]| {
                let fields = fields.iter().zip(tables).map(|((_, _, ids, column), t)| FieldLookup {
                    table: t.host(),
                    ids,
                    column: *column,
                    width,
                });
                oracle().lookup_fields(y.mat_mut(), fields, first);
            };
            let sizes: Vec<_> = fields.iter().map(|(t, ..)| t.abs(be)).collect();
            on_host(&mut size, &sizes.iter().collect::<Vec<_>>());
            on_host(&mut y.host, &fields.iter().map(|(t, ..)| t).collect::<Vec<_>>());
            y.check(be, &format!("lookup_fields, {count} fields of {width}"), |i, j| {
                let of = fields.iter().find(|(.., column)| (*column..column + width).contains(&j));
                let roundings = of.map_or(0, |(t, ..)| t.roundings());
                2.0 * roundings as f64 * unit::<B>() * size.at(i, j)
            });
        }
    }
}

pub(super) fn lookup_bags<B: Backend>(be: &B) {
    const LONGEST: usize = 6;
    each_shape(93, |(rows, cols), out, _, rng| {
        use Reading::{Averaged, Plain, Scaled};
        let readings = [(0, Plain), (2, Plain), (0, Scaled), (2, Averaged)];
        for (dtype, (first, reading)) in TableDtype::ALL.into_iter().flat_map(|d| readings.map(|r| (d, r))) {
            let table = Viewed::<B>::random(be, cols, dtype, reading, rng);
            let mut offsets = vec![0];
            for _ in 0..first + rows {
                // One bag in three is empty; ids repeat within a bag.
                let len = if rng.below(3) == 0 { 0 } else { rng.below(LONGEST + 1) };
                offsets.push(offsets[offsets.len() - 1] + len as u32);
            }
            let count = offsets[first + rows] as usize;
            let at: Vec<u32> = (0..count).map(|_| id(rng)).collect();
            let coefs = Pair::<B>::column(be, 0, count, || rng.value());
            let mut y = Pair::<B>::output(be, out, rows, cols, Write::Set, rng);
            let (offsets_dev, at_dev) = (ids(be, &offsets), ids(be, &at));
            let bags = Bags { offsets: &offsets_dev, ids: &at_dev, coefs: &coefs.buf };
            be.lookup_bags(y.mat_mut(), table.dev(), bags, first);
            let pooled = |y: &mut Host, table: &Viewed<B>, coefs: &Host| {
                let bags = Bags { offsets: &offsets, ids: &at, coefs: &coefs.data };
                oracle().lookup_bags(y.mat_mut(), table.host(), bags, first);
            };
            let mut size = y.host.clone();
            pooled(&mut size, &table.abs(be), &coefs.host.abs());
            pooled(&mut y.host, &table, &coefs.host);
            let allowed = product::<B>(&size, LONGEST + table.roundings());
            y.check(be, &format!("lookup_bags, {dtype:?}, {reading:?}"), allowed);
        }
    });
}

pub(super) fn settle_rows<B: Backend>(be: &B) {
    let rng = &mut Rng::new(95);
    // Numbers that a factor takes to the end of the range, to ties between the smallest numbers, and to 0.
    let special = [65_504.0, 6.103_515_6e-5, 3.0 * 2f64.powi(-24), 2f64.powi(-24), 1e-6, 0.0];
    for (dtype, average) in TableDtype::ALL.into_iter().flat_map(|d| [(d, false), (d, true)]) {
        for (rows, width) in [(1, 1), (9, 7), (40, 64), (3000, 33)] {
            for factor in [1.0, 0.125, 2f64.powi(-9), 0.3] {
                let mut table = TablePair::<B>::new(be, rows, width, dtype, |i, j| match (i + j) % 3 {
                    0 => rng.pick(&special) * rng.value().signum(),
                    _ => rng.value(),
                });
                let mut follower = TablePair::<B>::new(be, rows, width, TableDtype::F32, |_, _| rng.value());
                let [(before, _), (lagged, _)] = [&table, &follower].map(|t| t.download(be));
                let [q, d] = [0.6, 1e-3];
                let average_dev = average.then_some((&mut follower.dev, [q, d]));
                be.settle_rows(&mut table.dev, factor, average_dev);
                let average_host = average.then_some((&mut follower.host, [q, d]));
                oracle().settle_rows(&mut table.host, factor, average_host);
                let what = format!("settle_rows, {rows} rows of {width}, {dtype:?}, times {factor}");
                let (_, got) = table.download(be);
                for (i, (&got, &w)) in got.iter().zip(&before).enumerate() {
                    let want = dtype.nearest(B::Elem::of(factor) * B::Elem::of(w)).wide();
                    assert_eq!(got, want, "{what}: {w}, element {i}");
                }
                let (want, got) = follower.download(be);
                for (i, (&want, &got)) in want.iter().zip(&got).enumerate() {
                    let exact = if average { d * lagged[i] + q * before[i] } else { lagged[i] };
                    let size = if average { d * lagged[i].abs() + q * before[i].abs() } else { 0.0 };
                    let allowed = 2.0 * 3.0 * unit::<B>() * size;
                    assert!((got - exact).abs() <= allowed, "{what}: average {i} is {got}, not {exact}");
                    assert!((want - exact).abs() <= 1e-15 * size, "{what}: the reference's is {want}");
                }
            }
        }
    }
}

pub(super) fn step_rows<B: Backend>(be: &B) {
    let rng = &mut Rng::new(74);
    for (config, t, clip) in cases(true) {
        for (table_rows, width, count) in
            [(5, 4, 0), (1, 1, 1), (9, 16, 4), (40, 17, 40), (12, 150, 7), (3000, 5, 1500)]
        {
            for (dtype, ascending) in TableDtype::ALL.into_iter().flat_map(|d| [(d, true), (d, false)]) {
                if table_rows > 100 && t != 3 {
                    continue;
                }
                let shape = (table_rows, width, count);
                let norm = clip.map(|v| Pair::<B>::column(be, 0, 1, || v));
                let mut one = Step::new(be, &config, (t, norm.as_ref()), shape, dtype, ascending, rng);
                let on_device = update(&config, t, norm.as_ref().map(|n| &n.buf));
                be.step_rows(one.on_device(), &on_device);
                one.check(be, &format!("step_rows, {config:?}, step {t}"));
            }
        }
    }
}

pub(super) fn step_tables<B: Backend>(be: &B) {
    let rng = &mut Rng::new(75);
    for (config, t, clip) in cases(true) {
        for shapes in
            [&[][..], &[(9, 4, 9)], &[(5, 4, 0), (40, 16, 40), (1, 1, 1), (300, 5, 130), (12, 16, 7)]]
        {
            let norm = clip.map(|v| Pair::<B>::column(be, 0, 1, || v));
            let tables = shapes.iter().zip(TableDtype::ALL.iter().cycle());
            let mut steps: Vec<_> = tables
                .map(|(&shape, &dtype)| Step::new(be, &config, (t, norm.as_ref()), shape, dtype, true, rng))
                .collect();
            let on_device = update(&config, t, norm.as_ref().map(|n| &n.buf));
            be.step_tables(steps.iter_mut().map(Step::on_device), &on_device);
            for one in steps {
                one.check(be, &format!("step_tables, {config:?}, step {t}"));
            }
        }
    }
}

/// New weights and state of a row.
type Moved = (Vec<Bounded>, Vec<Vec<Bounded>>);

/// One table's step: on the reference it is done, on the backend it is to come. Every second table has an average.
struct Step<B: Backend> {
    table: TablePair<B>,
    before: Vec<f64>,
    average: Option<(TablePair<B>, f64)>,
    lagged: Vec<f64>,
    g: Pair<B>,
    state: Vec<Pair<B>>,
    bufs: Vec<B::Buf>,
    per_row: usize,
    count: usize,
    ids: B::Ids,
    rounding: Rounding,
    /// Of the rows that move.
    bounds: Vec<Option<Moved>>,
    dtype: TableDtype,
}

impl<B: Backend> Step<B> {
    fn new(
        be: &B,
        config: &OptimizerConfig,
        (t, norm): (u64, Option<&Pair<B>>),
        (table_rows, width, count): (usize, usize, usize),
        dtype: TableDtype,
        ascending: bool,
        rng: &mut Rng,
    ) -> Self {
        // Unique rows: the first of a shuffle. Behind them ids of no row.
        let mut rows: Vec<u32> = (0..table_rows as u32).collect();
        (1..table_rows).for_each(|i| rows.swap(i, rng.below(i + 1)));
        rows.truncate(count);
        if ascending {
            rows.sort_unstable();
        }
        let mut padded = rows.clone();
        padded.resize(count + 3, u32::MAX);

        let mut table = TablePair::<B>::new(be, table_rows, width, dtype, |_, _| rng.value());
        let (before, _) = table.download(be);
        let g = Pair::<B>::random(be, rng.pick(&VIEWS), count, width, rng);
        let (buffers, by_row) = config.state();
        let per_row = if by_row { 1 } else { width };
        let mut state: Vec<_> = (0..buffers)
            .map(|s| Pair::<B>::column(be, 0, table_rows * per_row, || state_value(t, config.rule, s, rng)))
            .collect();

        let on_host = update(config, t, norm.map(|n| &n.host.data));
        let sum_sq = norm.map(|n| n.host.at(0, 0));
        let constants = Constants::new(&on_host, sum_sq, on_host.adam_rows(), unit::<B>());
        let mut bounds = vec![None; table_rows];
        for (u, &row) in rows.iter().enumerate() {
            let row = row as usize;
            let state: Vec<_> =
                state.iter().map(|s| s.host.data[row * per_row..(row + 1) * per_row].to_vec()).collect();
            let g: Vec<_> = (0..width).map(|j| g.host.at(u, j)).collect();
            bounds[row] = Some(constants.step(&before[row * width..(row + 1) * width], &g, &state));
        }

        let rounding = Rounding { seed: u64::from(rng.bits()) << 20, step: rng.bits(), site: rng.bits() };
        let mut hosts: Vec<_> = state.iter().map(|s| s.host.data.clone()).collect();
        let average = TablePair::<B>::new(be, table_rows, width, TableDtype::F32, |_, _| rng.value());
        let (lagged, _) = average.download(be);
        let c = 3.0 * rng.value();
        let mut average = (rng.below(2) == 0).then_some((average, B::Elem::of(c).wide()));
        let step = TableStep {
            table: &mut table.host,
            g: g.host.mat(),
            state: &mut hosts,
            average: average.as_mut().map(|(average, c)| (&mut average.host, *c)),
            rows: &padded,
            rounding,
        };
        oracle().step_rows(step, &on_host);
        let bufs = state.iter_mut().map(|s| take(be, &mut s.buf)).collect();
        state.iter_mut().zip(hosts).for_each(|(s, host)| s.host.data = host);
        let ids = ids(be, &padded);
        Self { table, before, average, lagged, g, state, bufs, per_row, count, ids, rounding, bounds, dtype }
    }

    fn on_device(&mut self) -> TableStep<'_, B> {
        TableStep {
            table: &mut self.table.dev,
            g: self.g.mat(),
            state: &mut self.bufs,
            average: self.average.as_mut().map(|(average, c)| (&mut average.dev, *c)),
            rows: &self.ids,
            rounding: self.rounding,
        }
    }

    fn check(mut self, be: &B, what: &str) {
        let Self { table, before, per_row, count, rounding, bounds, dtype, .. } = &self;
        let (per_row, width) = (*per_row, table.width);
        let what = format!("{what}, {count} of {} rows of {width}, {dtype:?}", table.rows);
        let (want, got) = table.download(be);
        for (i, bound) in bounds.iter().enumerate() {
            for j in 0..width {
                let (want, got) = (want[i * width + j], got[i * width + j]);
                // A row that no id names must not move at all.
                let Some((w, _)) = bound else {
                    assert_eq!(got, before[i * width + j], "{what}: ({i}, {j}) moved");
                    continue;
                };
                if *dtype == TableDtype::F32 {
                    let allowed = tolerance(w[j], want);
                    assert!((got - want).abs() <= allowed, "{what}: ({i}, {j}) is {got}, not {want}");
                    continue;
                }
                // Rounding by a given word rises with the number: between its values at both ends of the bound.
                let counter = [i as u32, j as u32 / 4, rounding.site, rounding.step];
                let key = [rounding.seed as u32, (rounding.seed >> 32) as u32];
                let word = philox4x32(counter, key)[j % 4];
                let Bounded { value, error, .. } = w[j];
                let [low, high] =
                    [value - 2.0 * error, value + 2.0 * error].map(|v| dtype.stochastic(v, word));
                let both = [("the reference", want), ("the backend", got)];
                for (place, v) in both {
                    assert!(
                        (low..=high).contains(&v),
                        "{what}: ({i}, {j}) is {v} on {place}: {low}..={high}"
                    );
                }
            }
        }
        if let Some((average, c)) = &self.average {
            let (host, dev) = average.download(be);
            let places =
                [("the reference", &want, host, f64::EPSILON), ("the backend", &got, dev, unit::<B>())];
            for (place, after, average, u) in places {
                for (i, &a) in average.iter().enumerate() {
                    // c is a number of both types; three roundings follow.
                    let moved = c * (after[i] - before[i]);
                    let exact = self.lagged[i] - moved;
                    let allowed =
                        if moved == 0.0 { 0.0 } else { 2.0 * u * (2.0 * moved.abs() + exact.abs()) };
                    assert!(
                        (a - exact).abs() <= allowed,
                        "{what}: average {i} is {a} on {place}, not {exact}"
                    );
                }
            }
        }
        for (n, (s, buf)) in self.state.iter_mut().zip(self.bufs).enumerate() {
            s.buf = buf;
            s.check(be, &what, |_, j| {
                let bound = self.bounds[j / per_row].as_ref().map(|b| b.1[n][j % per_row]);
                bound.map_or(0.0, |b| tolerance(b, s.host.at(0, j)))
            });
        }
    }
}
