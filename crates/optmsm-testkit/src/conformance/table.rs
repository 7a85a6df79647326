//! Embedding tables in every storage type: memory, lookups, pooling, updates that round at random.

use super::matrix::*;
use super::update::{Constants, state_value, take, tolerance, update};
use crate::bounded::Bounded;
use crate::rng::Rng;
use optmsm_core::backend::{Backend, Elem, Memory, TableStep, TableView, Update};
use optmsm_core::optim::OptimizerConfig;
use optmsm_core::philox::philox4x32;
use optmsm_core::reference::{Reference, Table};
use optmsm_core::rounding::{Rounding, Rows, TableDtype};

pub(super) const VOCABULARY: usize = 11;

/// A row that no id names: NaN, which a lookup must not read.
pub(super) const UNUSED: usize = 6;

/// One table in both places, of equal numbers.
pub(super) struct TablePair<B: Backend> {
    pub(super) host: Table<f64>,
    pub(super) dev: B::Table,
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) dtype: TableDtype,
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
    pub(super) fn abs(&self, be: &B) -> Self {
        let (rows, _) = self.download(be);
        Self::new(be, self.rows, self.width, self.dtype, |i, j| rows[i * self.width + j].abs())
    }

    /// Random rows, and NaN in the one that no id names.
    pub(super) fn random(be: &B, width: usize, dtype: TableDtype, rng: &mut Rng) -> Self {
        Self::new(be, VOCABULARY, width, dtype, |i, _| if i == UNUSED { f64::NAN } else { rng.value() })
    }

    /// The elements of the reference's table, and of the backend's.
    pub(super) fn download(&self, be: &B) -> (Vec<f64>, Vec<f64>) {
        let len = self.rows * self.width;
        let (mut host, mut dev) = (vec![0.0; len], vec![B::Elem::default(); len]);
        oracle().download_rows(&mut host, &self.host, 0).expect("download");
        be.download_rows(&mut dev, &self.dev, 0).expect("download");
        (host, dev.into_iter().map(Elem::wide).collect())
    }
}

/// How a table is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reading {
    Plain,
    Scaled,
    Averaged,
}

/// A table with what it is read with.
pub(super) struct Viewed<B: Backend> {
    pub(super) table: TablePair<B>,
    pub(super) scale: f64,
    pub(super) plus: Option<(TablePair<B>, f64)>,
}

impl<B: Backend> Viewed<B> {
    pub(super) fn random(be: &B, width: usize, dtype: TableDtype, reading: Reading, rng: &mut Rng) -> Self {
        let table = TablePair::random(be, width, dtype, rng);
        let mut average = || TablePair::random(be, width, TableDtype::F32, rng);
        let (scale, plus) = match reading {
            Reading::Plain => (1.0, None),
            Reading::Scaled => (0.3, None),
            Reading::Averaged => (0.7, Some((average(), -1.9))),
        };
        Self { table, scale, plus }
    }

    pub(super) fn dev(&self) -> TableView<'_, B> {
        let plus = self.plus.as_ref().map(|(average, factor)| (&average.dev, *factor));
        TableView { table: &self.table.dev, scale: self.scale, plus }
    }

    pub(super) fn host(&self) -> TableView<'_, Reference<f64>> {
        let plus = self.plus.as_ref().map(|(average, factor)| (&average.host, *factor));
        TableView { table: &self.table.host, scale: self.scale, plus }
    }

    /// The same with absolute values: the scale of what reading rounds.
    pub(super) fn abs(&self, be: &B) -> Self {
        let plus = self.plus.as_ref().map(|(average, factor)| (average.abs(be), factor.abs()));
        Self { table: self.table.abs(be), scale: self.scale, plus }
    }

    /// Roundings of an element that is read, each factor's included.
    pub(super) fn roundings(&self) -> usize {
        match (self.scale == 1.0, &self.plus) {
            (_, Some(_)) => 3,
            (true, None) => 0,
            (false, None) => 2,
        }
    }
}

/// An id of a row that may be read.
pub(super) fn id(rng: &mut Rng) -> u32 {
    let id = rng.below(VOCABULARY - 1);
    (if id < UNUSED { id } else { id + 1 }) as u32
}

/// New weights and state of a row.
type Moved = (Vec<Bounded>, Vec<Vec<Bounded>>);

/// One table's step: on the reference it is done, on the backend it is to come. Every second table has an average.
pub(super) struct Step<B: Backend> {
    pub(super) table: TablePair<B>,
    pub(super) before: Vec<f64>,
    pub(super) average: Option<(TablePair<B>, f64)>,
    pub(super) lagged: Vec<f64>,
    pub(super) g: Pair<B>,
    pub(super) state: Vec<Pair<B>>,
    pub(super) bufs: Vec<B::Buf>,
    pub(super) per_row: usize,
    pub(super) count: usize,
    pub(super) ids: B::Ids,
    pub(super) rounding: Rounding,
    /// Of the rows that move.
    pub(super) bounds: Vec<Option<Moved>>,
    pub(super) dtype: TableDtype,
}

impl<B: Backend> Step<B> {
    pub(super) fn new(
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

        let rounding = Rounding {
            seed: u64::from(rng.bits()) << 20,
            step: rng.bits(),
            site: rng.bits(),
            rows: Rows::ALL,
        };
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

    pub(super) fn on_device(&mut self) -> TableStep<'_, B> {
        TableStep {
            table: &mut self.table.dev,
            g: self.g.mat(),
            state: &mut self.bufs,
            average: self.average.as_mut().map(|(average, c)| (&mut average.dev, *c)),
            rows: &self.ids,
            rounding: self.rounding,
        }
    }

    pub(super) fn check(mut self, be: &B, what: &str) {
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
