//! Embedding tables: storage, lookups, and updates of touched rows, in parallel where the rows ascend.

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use optmsm_core::backend::{Bags, Mat, MatMut, TableStep, TableView, Write};
use optmsm_core::error::Result;
use optmsm_core::optim::Rule;
use optmsm_core::rounding::{Rounding, TableDtype, stochastic_bf16, stochastic_f16};
use rayon::prelude::*;

use crate::Cpu;
use crate::isa::Isa;
use crate::memory::{Buffer, out_of_memory};
use crate::rows::{put, row, row_mut};
use crate::scalars::Scalars;
use crate::simd::{Portable, Simd};

/// Rows that one task updates.
const TASK_ROWS: usize = 256;
/// Elements that one task settles.
const SETTLE: usize = 1 << 16;
/// Elements of a row that are widened at a time, on the stack; a multiple of the four words of a draw.
const PIECE: usize = 64;

/// Rows between the one at hand and the one that is asked for: a large table's rows are in memory, not in a cache.
const AHEAD: usize = 8;

/// Asks for the cache line of element `at`.
#[inline(always)]
fn prefetch<T>(data: &[T], at: usize) {
    Portable::prefetch(data.as_ptr().wrapping_add(at).cast());
}

/// A table's rows, one after the other.
#[derive(Debug)]
pub struct Table {
    width: usize,
    data: Data,
}

#[derive(Debug)]
enum Data {
    F32(Buffer),
    F16(Vec<u16>),
    Bf16(Vec<u16>),
}

/// An element in memory.
trait Stored: Sized + Send + Sync {
    /// Widens; nothing is lost.
    fn load(dst: &mut [f32], src: &[Self]);
    /// Rounds to nearest.
    fn store(dst: &mut [Self], src: &[f32]);
    /// Rounds to a neighbour on the grid ([`TableDtype::stochastic`]), in place too.
    fn round(dst: &mut [Self], src: &mut [f32], words: &[u32]);

    /// Calls `f(first column, elements)` for the pieces of a row, in order.
    #[inline(always)]
    fn read(row: &[Self], mut f: impl FnMut(usize, &[f32])) {
        let mut wide = [0.0; PIECE];
        for (i, piece) in row.chunks(PIECE).enumerate() {
            let wide = &mut wide[..piece.len()];
            Self::load(wide, piece);
            f(i * PIECE, wide);
        }
    }

    /// The same, keeping what `f` makes of them.
    #[inline(always)]
    fn edit(row: &mut [Self], id: u32, rounding: &Rounding, mut f: impl FnMut(usize, &mut [f32])) {
        let mut wide = [0.0; PIECE];
        for (i, piece) in row.chunks_mut(PIECE).enumerate() {
            let wide = &mut wide[..piece.len()];
            Self::load(wide, piece);
            f(i * PIECE, wide);
            Self::put(piece, wide, id, i * PIECE, rounding);
        }
    }

    /// Rounds the piece of row `id` that begins with column `first` by the row's words, in place too.
    #[inline(always)]
    fn put(piece: &mut [Self], wide: &mut [f32], id: u32, first: usize, rounding: &Rounding) {
        let mut words = [0; PIECE];
        for (quad, words) in words.chunks_exact_mut(4).take(piece.len().div_ceil(4)).enumerate() {
            words.copy_from_slice(&rounding.words(id, (first / 4 + quad) as u32));
        }
        Self::round(piece, wide, &words);
    }
}

impl Stored for f32 {
    #[inline(always)]
    fn load(dst: &mut [f32], src: &[f32]) {
        // A loop, not a call of memcpy: rows are a cache line or two.
        dst.iter_mut().zip(src).for_each(|(d, &s)| *d = s);
    }

    fn store(dst: &mut [f32], src: &[f32]) {
        dst.copy_from_slice(src);
    }

    fn round(dst: &mut [f32], src: &mut [f32], _: &[u32]) {
        dst.copy_from_slice(src);
    }

    #[inline(always)]
    fn read(row: &[f32], mut f: impl FnMut(usize, &[f32])) {
        f(0, row);
    }

    #[inline(always)]
    fn edit(row: &mut [f32], _: u32, _: &Rounding, mut f: impl FnMut(usize, &mut [f32])) {
        f(0, row);
    }

    #[inline(always)]
    fn put(piece: &mut [f32], wide: &mut [f32], _: u32, _: usize, _: &Rounding) {
        piece.copy_from_slice(wide);
    }
}

impl Stored for f16 {
    fn load(dst: &mut [f32], src: &[f16]) {
        src.convert_to_f32_slice(dst);
    }

    fn store(dst: &mut [f16], src: &[f32]) {
        dst.convert_from_f32_slice(src);
    }

    fn round(dst: &mut [f16], src: &mut [f32], words: &[u32]) {
        src.iter_mut().zip(words).for_each(|(v, &word)| *v = stochastic_f16(*v, word));
        // On the grid by now, so this rounds nothing.
        Self::store(dst, src);
    }
}

impl Stored for bf16 {
    fn load(dst: &mut [f32], src: &[bf16]) {
        // Its bits are the upper half of an f32's.
        dst.iter_mut().zip(src).for_each(|(d, s)| *d = f32::from_bits(u32::from(s.to_bits()) << 16));
    }

    fn store(dst: &mut [bf16], src: &[f32]) {
        dst.convert_from_f32_slice(src);
    }

    fn round(dst: &mut [bf16], src: &mut [f32], words: &[u32]) {
        for ((d, &mut v), &word) in dst.iter_mut().zip(src).zip(words) {
            // On the grid the lower half is 0.
            *d = bf16::from_bits((stochastic_bf16(v, word).to_bits() >> 16) as u16);
        }
    }
}

/// Runs a generic expression with `$data` as the slice of the table's element type.
macro_rules! with_elements {
    ($table:expr, $data:ident => $then:expr) => {
        match &$table.data {
            Data::F32($data) => $then,
            Data::F16(bits) => {
                let $data = bits.reinterpret_cast::<f16>();
                $then
            }
            Data::Bf16(bits) => {
                let $data = bits.reinterpret_cast::<bf16>();
                $then
            }
        }
    };
    (mut $table:expr, $data:ident => $then:expr) => {
        match &mut $table.data {
            Data::F32($data) => $then,
            Data::F16(bits) => {
                let $data = bits.reinterpret_cast_mut::<f16>();
                $then
            }
            Data::Bf16(bits) => {
                let $data = bits.reinterpret_cast_mut::<bf16>();
                $then
            }
        }
    };
}

mod sum;

pub(crate) use sum::lookup_sum;

impl Table {
    pub(crate) fn new(rows: usize, width: usize, dtype: TableDtype) -> Result<Self> {
        fn zeros<T: Clone + Default>(len: usize) -> Option<Vec<T>> {
            let mut data = Vec::new();
            data.try_reserve_exact(len).ok()?;
            data.resize(len, T::default());
            Some(data)
        }
        let data = rows.checked_mul(width).and_then(|len| match dtype {
            TableDtype::F32 => Buffer::zeros(len).ok().map(Data::F32),
            TableDtype::F16 => zeros(len).map(Data::F16),
            TableDtype::Bf16 => zeros(len).map(Data::Bf16),
        });
        let data = data.ok_or_else(|| {
            let size = rows as f64 * (width * dtype.bytes()) as f64 / 1e9;
            let problem = format!(
                "no memory for a table of {rows} rows of {width} {} ({size:.1} GB); lower model.embedding_dim, \
                 raise min_frequency, or set model.embeddings.dtype = \"bf16\"",
                dtype.name()
            );
            out_of_memory(rows.saturating_mul(width).saturating_mul(dtype.bytes()), problem)
        })?;
        Ok(Self { width, data })
    }

    pub(crate) fn set_rows(&mut self, first: usize, src: &[f32]) {
        let start = first * self.width;
        with_elements!(mut self, data => Stored::store(&mut data[start..start + src.len()], src));
    }

    pub(crate) fn rows(&self, dst: &mut [f32], first: usize) {
        let start = first * self.width;
        with_elements!(self, data => Stored::load(dst, &data[start..start + dst.len()]));
    }

    /// The elements of a table in `f32`, as averages are.
    fn full(&self) -> &[f32] {
        let Data::F32(data) = &self.data else { panic!("an average is not in f32") };
        data
    }

    /// The same to write.
    fn full_mut(&mut self) -> &mut [f32] {
        let Data::F32(data) = &mut self.data else { panic!("an average is not in f32") };
        data
    }

    /// All rows: the average takes in what it lacks, then the table is multiplied.
    pub(crate) fn settle(&mut self, isa: Isa, factor: f64, average: Option<(&mut Table, [f64; 2])>) {
        let factor = factor as f32;
        with_elements!(mut self, data => match average {
            None => data.par_chunks_mut(SETTLE).for_each(|data| settle(isa, data, factor, None)),
            Some((average, scales)) => {
                let average = average.full_mut();
                assert_eq!(average.len(), data.len(), "elements of a table and of its average");
                let pieces = data.par_chunks_mut(SETTLE).zip(average.par_chunks_mut(SETTLE));
                let scales = scales.map(|v| v as f32);
                pieces.for_each(|(data, average)| settle(isa, data, factor, Some((average, scales))));
            }
        });
    }

    /// One step of `rule` ([`Update::step_rows`](optmsm_core::backend::Update::step_rows)).
    pub(crate) fn step(isa: Isa, rule: &Scalars, step: TableStep<Cpu>) {
        let TableStep { table, g, state, average, rows, rounding } = step;
        let (width, ids) = (table.width, &rows[..g.rows]);
        assert_eq!(width, g.cols, "widths of the table and its gradient");
        let per_row = if rule.rule == Rule::RowwiseAdagrad { 1 } else { width };
        let buffers = state.len();
        let state = match state {
            [] => [&mut [][..], &mut []],
            [s] => [&mut s[..], &mut []],
            [m, v, ..] => [&mut m[..], &mut v[..]],
        };
        with_elements!(mut table, data => {
            let rows = data.len() / width.max(1);
            assert!(ids.iter().all(|&id| (id as usize) < rows), "an id is not below the table's {rows} rows");
            let (average, c) = average.map_or((&mut [][..], 0.0), |(average, c)| (average.full_mut(), c as f32));
            assert!(average.is_empty() || average.len() == data.len(), "lengths of a table and its average");
            let (table, rounding) = (&mut data[..], &rounding);
            let slab = Slab { isa, rule, rounding, first: 0, width, per_row, table, state, average, c };
            if ids.is_sorted_by(|a, b| a < b) {
                slab.split(buffers, ids, g);
            } else {
                slab.step(buffers, ids, g);
            }
        });
    }
}

/// Elements that one task settles.
fn settle<S: Stored>(isa: Isa, data: &mut [S], factor: f32, mut average: Option<(&mut [f32], [f32; 2])>) {
    isa.vectorise(
        #[inline(always)]
        || {
            let mut wide = [0.0; PIECE];
            for (i, piece) in data.chunks_mut(PIECE).enumerate() {
                let wide = &mut wide[..piece.len()];
                S::load(wide, piece);
                if let Some((average, [q, d])) = &mut average {
                    let average = &mut average[i * PIECE..][..wide.len()];
                    average.iter_mut().zip(&*wide).for_each(|(a, &w)| *a = d.mul_add(*a, *q * w));
                }
                wide.iter_mut().for_each(|w| *w *= factor);
                S::store(piece, wide);
            }
        },
    );
}

/// [`Embedding::lookup`](optmsm_core::backend::Embedding::lookup).
pub(crate) fn lookup(isa: Isa, out: MatMut<Buffer>, view: TableView<Cpu>, ids: &[u32]) {
    let TableView { table, scale, plus } = view;
    let (width, scale) = (table.width, scale as f32);
    with_elements!(table, data => match plus {
        None if scale == 1.0 => each_row(isa, out, data, width, ids, |_, _| {}),
        None => each_row(isa, out, data, width, ids, |_, row| row.iter_mut().for_each(|w| *w *= scale)),
        Some((average, factor)) => {
            let (average, factor) = (average.full(), factor as f32);
            each_row(isa, out, data, width, ids, |id, row| {
                let average = &average[id as usize * width..][..width];
                row.iter_mut().zip(average).for_each(|(w, &a)| *w = factor.mul_add(a, *w * scale));
            });
        }
    });
}

/// Copies the rows `ids`, and calls `then` with each.
#[inline(always)]
fn each_row<S: Stored>(
    isa: Isa,
    mut out: MatMut<Buffer>,
    data: &[S],
    width: usize,
    ids: &[u32],
    then: impl Fn(u32, &mut [f32]),
) {
    assert_eq!(out.cols, width, "widths of the rows and of the table");
    let ids = &ids[..out.rows];
    isa.vectorise(
        #[inline(always)]
        || {
            for (b, &id) in ids.iter().enumerate() {
                if let Some(&ahead) = ids.get(b + AHEAD) {
                    prefetch(data, ahead as usize * width);
                }
                let row = row_mut(&mut out, b);
                Stored::load(row, &data[id as usize * width..][..width]);
                then(id, row);
            }
        },
    );
}

/// [`Embedding::lookup_bags`](optmsm_core::backend::Embedding::lookup_bags).
pub(crate) fn lookup_bags(
    isa: Isa,
    out: MatMut<Buffer>,
    view: TableView<Cpu>,
    bags: Bags<Vec<u32>, Buffer>,
    first: usize,
) {
    let TableView { table, scale, plus } = view;
    let (width, scale) = (table.width, scale as f32);
    assert_eq!(out.cols, width, "widths of the rows and of the table");
    with_elements!(table, data => match plus {
        None if scale == 1.0 => pool(out, data, bags, first, |_, w| w),
        None => pool(out, data, bags, first, |_, w| scale * w),
        Some((average, factor)) => {
            let (average, factor) = (average.full(), factor as f32);
            isa.vectorise(
                #[inline(always)]
                || pool(out, data, bags, first, |at, w| factor.mul_add(average[at], scale * w)),
            );
        }
    });
}

/// Sums of bags, of elements as `value` makes them of their place in the table and what is stored there.
#[inline(always)]
fn pool<S: Stored>(
    mut out: MatMut<Buffer>,
    data: &[S],
    bags: Bags<Vec<u32>, Buffer>,
    first: usize,
    value: impl Fn(usize, f32) -> f32,
) {
    let width = out.cols;
    for b in 0..out.rows {
        let out = row_mut(&mut out, b);
        out.fill(0.0);
        for i in bags.offsets[first + b] as usize..bags.offsets[first + b + 1] as usize {
            let (coef, start) = (bags.coefs[i], bags.ids[i] as usize * width);
            S::read(&data[start..][..width], |j, w| {
                let values = w.iter().enumerate().map(|(k, &w)| coef * value(start + j + k, w));
                put(&mut out[j..j + w.len()], Write::Add, values);
            });
        }
    }
}

/// The part of a table, and of its optimizer's state, that one task owns.
struct Slab<'a, S> {
    isa: Isa,
    rule: &'a Scalars,
    rounding: &'a Rounding,
    /// Row of the table that the part starts with.
    first: usize,
    width: usize,
    /// State elements a row.
    per_row: usize,
    table: &'a mut [S],
    state: [&'a mut [f32]; 2],
    /// Of the same rows; empty where there is none.
    average: &'a mut [f32],
    /// Share of a row's move that the average moves back by.
    c: f32,
}

/// [`Stored::edit`], with `a` of an average (a, c) moved by −c times what the row moves by as it is stored.
#[inline(always)]
fn change<S: Stored, const AVERAGE: bool>(
    row: &mut [S],
    id: u32,
    rounding: &Rounding,
    (a, c): (&mut [f32], f32),
    mut f: impl FnMut(usize, &mut [f32]),
) {
    if !AVERAGE {
        return S::edit(row, id, rounding, f);
    }
    let (mut before, mut wide) = ([0.0; PIECE], [0.0; PIECE]);
    for ((i, piece), a) in row.chunks_mut(PIECE).enumerate().zip(a.chunks_mut(PIECE)) {
        let (before, wide) = (&mut before[..piece.len()], &mut wide[..piece.len()]);
        S::load(before, piece);
        wide.copy_from_slice(before);
        f(i * PIECE, wide);
        S::put(piece, wide, id, i * PIECE, rounding);
        S::load(wide, piece);
        a.iter_mut().zip(&*before).zip(&*wide).for_each(|((a, before), after)| *a -= c * (after - before));
    }
}

impl<S: Stored> Slab<'_, S> {
    /// Halves ascending ids until a task's worth is left; each half owns the rows from its first id on.
    fn split(self, buffers: usize, ids: &[u32], g: Mat<Buffer>) {
        if ids.len() <= TASK_ROWS {
            return self.step(buffers, ids, g);
        }
        let half = ids.len() / 2;
        let (low, high) = ids.split_at(half);
        let first = self.first;
        let rows = high[0] as usize - first;
        let (table, table_high) = self.table.split_at_mut(rows * self.width);
        let [(m, m_high), (v, v_high)] = self.state.map(|s| {
            let cut = (rows * self.per_row).min(s.len());
            s.split_at_mut(cut)
        });
        let cut = (rows * self.width).min(self.average.len());
        let (average, average_high) = self.average.split_at_mut(cut);
        let (first_high, state_high) = (high[0] as usize, [m_high, v_high]);
        let upper =
            Slab { first: first_high, table: table_high, state: state_high, average: average_high, ..self };
        let lower = Slab { first, table, state: [m, v], average, ..upper };
        rayon::join(
            || lower.split(buffers, low, g.rows(0, half)),
            || upper.split(buffers, high, g.rows(half, high.len())),
        );
    }

    fn step(self, buffers: usize, ids: &[u32], g: Mat<Buffer>) {
        if self.average.is_empty() {
            self.step_rows::<false>(buffers, ids, g)
        } else {
            self.step_rows::<true>(buffers, ids, g)
        }
    }

    fn step_rows<const AVERAGE: bool>(self, buffers: usize, ids: &[u32], g: Mat<Buffer>) {
        let Slab { isa, rule, rounding, first, width, per_row, table, state: [m, v], average, c } = self;
        isa.vectorise(
            #[inline(always)]
            || {
                for (u, &id) in ids.iter().enumerate() {
                    if let Some(&ahead) = ids.get(u + AHEAD) {
                        let at = (ahead as usize).wrapping_sub(first);
                        prefetch(table, at * width);
                        prefetch(m, at * per_row);
                        prefetch(v, at * per_row);
                        if AVERAGE {
                            prefetch(average, at * width);
                        }
                    }
                    let at = id as usize - first;
                    let w = &mut table[at * width..][..width];
                    let a = if AVERAGE { &mut average[at * width..][..width] } else { &mut [][..] };
                    let (g, own) = (row(&g, u), at * per_row);
                    if rule.rule == Rule::RowwiseAdagrad {
                        let mut squares = 0.0;
                        S::read(w, |j, w| rule.add_squares(&mut squares, w, &g[j..j + w.len()]));
                        let rate = rule.rowwise_rate(&mut m[at], squares, width);
                        let moved = |j: usize, w: &mut [f32]| rule.move_row(w, &g[j..j + w.len()], rate);
                        change::<S, AVERAGE>(w, id, rounding, (a, c), moved);
                        continue;
                    }
                    change::<S, AVERAGE>(w, id, rounding, (a, c), |j, w| {
                        let (g, own) = (&g[j..j + w.len()], own + j..own + j + w.len());
                        match buffers {
                            0 => rule.no_state(w, g),
                            1 => rule.one_state(w, g, &mut m[own]),
                            _ => rule.adam(w, g, &mut m[own.clone()], &mut v[own]),
                        }
                    });
                }
            },
        );
    }
}
