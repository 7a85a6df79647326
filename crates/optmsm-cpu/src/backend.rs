//! [`Backend`] for [`Cpu`].

use optmsm_core::backend::{
    Backend, Bags, Dropout, Epilogue, Layout, Mat, MatMut, Part, Products, Segments, Write,
};
use optmsm_core::error::Result;
use optmsm_core::optim::Update;
use optmsm_core::philox::philox4x32;
use optmsm_core::rounding::{Rounding, TableDtype};
use rayon::prelude::*;

use crate::Cpu;
use crate::gemm::{ByValue, Product, Reduction, Rows, RowsMut, accumulate, by_value, multiply};
use crate::packed::Packed;
use crate::rows::{self, dot, put, row, row_mut};
use crate::tables::Table;
use crate::update::Scalars;

/// Elements that one task of a whole-buffer pass takes: fixed, so that sums do not depend on the threads.
const CHUNK: usize = 16 * 1024;
/// Rows that one task of a table's update takes.
const ROW_CHUNK: usize = 256;
/// Rows below which a lane costs more to hand out than it saves: waking a worker takes tens of microseconds,
/// 32 rows of the standard work take ten times that.
const MIN_LANE_ROWS: usize = 32;

type M<'a> = Mat<'a, Vec<f32>>;
type MM<'a> = MatMut<'a, Vec<f32>>;

fn rows_of<'a>(m: M<'a>) -> Rows<'a> {
    Rows { data: &m.buf[m.offset.min(m.buf.len())..], stride: m.stride }
}

fn rows_of_mut<'a>(m: &'a mut MM) -> RowsMut<'a> {
    let (start, stride) = (m.offset.min(m.buf.len()), m.stride);
    RowsMut { data: &mut m.buf[start..], stride }
}

/// Calls `f(group, first row, rows)` for each part of a product over `rows` rows.
fn each_group(part: Part<Vec<u32>>, groups: usize, rows: usize, mut f: impl FnMut(usize, usize, usize)) {
    match part {
        Part::Group(g) => f(g, 0, rows),
        Part::Columns => (0..groups).for_each(|g| f(g, 0, rows)),
        Part::Rows(offsets) => {
            let at = |g: usize| offsets[g] as usize;
            assert!(at(0) == 0 && at(groups) == rows, "group offsets {offsets:?} for {rows} rows");
            (0..groups).filter(|&g| at(g) < at(g + 1)).for_each(|g| f(g, at(g), at(g + 1) - at(g)));
        }
    }
}

/// First column of group `g`, when groups are columns.
fn column(part: Part<Vec<u32>>, g: usize, width: usize) -> usize {
    if let Part::Columns = part { g * width } else { 0 }
}

impl Backend for Cpu {
    type Elem = f32;
    type Buf = Vec<f32>;
    type Ids = Vec<u32>;
    type Table = Table;
    type Packed = Packed;

    fn name(&self) -> String {
        format!("cpu ({}, {} threads)", self.isa.name(), self.threads())
    }

    fn lanes(&self) -> usize {
        self.lanes
    }

    fn min_lane_rows(&self) -> usize {
        MIN_LANE_ROWS
    }

    fn block_rows(&self) -> usize {
        self.block_rows
    }

    fn run_step<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    fn for_lanes<L: Send>(&self, lanes: &mut [L], f: impl Fn(usize, &mut L) + Sync) {
        // Waking a worker costs as much as a few rows.
        if let [lane] = lanes {
            return f(0, lane);
        }
        let run = || lanes.par_iter_mut().enumerate().with_max_len(1).for_each(|(i, lane)| f(i, lane));
        self.pool.install(run);
    }

    fn alloc(&self, len: usize) -> Result<Vec<f32>> {
        Ok(vec![0.0; len])
    }

    fn alloc_ids(&self, len: usize) -> Result<Vec<u32>> {
        Ok(vec![0; len])
    }

    fn len(&self, buf: &Vec<f32>) -> usize {
        buf.len()
    }

    fn upload(&self, dst: &mut Vec<f32>, src: &[f32]) {
        dst[..src.len()].copy_from_slice(src);
    }

    fn upload_ids(&self, dst: &mut Vec<u32>, src: &[u32]) {
        dst[..src.len()].copy_from_slice(src);
    }

    fn download(&self, dst: &mut [f32], src: &Vec<f32>, offset: usize) -> Result<()> {
        dst.copy_from_slice(&src[offset..offset + dst.len()]);
        Ok(())
    }

    fn fill(&self, mut dst: MM, v: f64) {
        (0..dst.rows).for_each(|b| row_mut(&mut dst, b).fill(v as f32));
    }

    fn copy(&self, mut dst: MM, write: Write, src: M) {
        assert_eq!((dst.rows, dst.cols), (src.rows, src.cols), "shapes of a copy");
        self.isa.vectorise(
            #[inline(always)]
            || (0..src.rows).for_each(|b| put(row_mut(&mut dst, b), write, row(&src, b).iter().copied())),
        );
    }

    fn alloc_table(&self, rows: usize, width: usize, dtype: TableDtype) -> Result<Table> {
        Table::new(rows, width, dtype)
    }

    fn upload_rows(&self, dst: &mut Table, first: usize, src: &[f32]) {
        dst.set_rows(first, src);
    }

    fn download_rows(&self, dst: &mut [f32], src: &Table, first: usize) -> Result<()> {
        src.rows(dst, first);
        Ok(())
    }

    fn alloc_packed(&self, groups: usize, outputs: usize, inputs: usize, used: Products) -> Result<Packed> {
        Ok(Packed::new(self.isa, groups, outputs, inputs, used))
    }

    fn packed_shape(&self, w: &Packed) -> (usize, usize, usize) {
        (w.groups, w.outputs, w.inputs)
    }

    fn pack(&self, dst: &mut Packed, src: M, layout: Layout) {
        self.pool.install(|| dst.fill(src, layout));
    }

    fn linear(&self, mut y: MM, x: M, w: &Packed, part: Part<Vec<u32>>, then: Epilogue<Vec<f32>>) {
        assert_eq!(y.rows, x.rows, "rows of y and x");
        each_group(part, w.groups, x.rows, |g, first, n| {
            let x = x.rows(first, n).cols(column(part, g, w.inputs), w.inputs);
            let mut y = y.again().rows(first, n).cols(column(part, g, w.outputs), w.outputs);
            let product = Product {
                m: n,
                n: w.outputs,
                k: w.inputs,
                a: rows_of(x),
                b: w.forward(g),
                c: rows_of_mut(&mut y),
                add: false,
                relu: then.relu,
                bias: then.bias.as_ref().map(|bias| row(bias, g)),
                mask: None,
            };
            multiply(self.isa, product);
        });
    }

    fn linear_dx(
        &self,
        mut d_x: MM,
        write: Write,
        d_y: M,
        w: &Packed,
        part: Part<Vec<u32>>,
        relu: Option<M>,
    ) {
        assert_eq!(d_x.rows, d_y.rows, "rows of d_x and d_y");
        each_group(part, w.groups, d_y.rows, |g, first, n| {
            let d_y = d_y.rows(first, n).cols(column(part, g, w.outputs), w.outputs);
            let first_column = column(part, g, w.inputs);
            let mut d_x = d_x.again().rows(first, n).cols(first_column, w.inputs);
            let relu = relu.map(|x| x.rows(first, n).cols(first_column, w.inputs));
            let product = Product {
                m: n,
                n: w.inputs,
                k: w.outputs,
                a: rows_of(d_y),
                b: w.backward(g),
                c: rows_of_mut(&mut d_x),
                add: write == Write::Add,
                relu: false,
                bias: None,
                mask: relu.map(rows_of),
            };
            multiply(self.isa, product);
        });
    }

    fn linear_dw(&self, mut d_w: MM, write: Write, d_y: M, x: M, part: Part<Vec<u32>>) {
        assert_eq!(d_y.rows, x.rows, "rows of d_y and x");
        let inputs = d_w.cols;
        let groups = match part {
            Part::Group(_) => 1,
            Part::Columns => x.cols / inputs.max(1),
            Part::Rows(_) => d_w.rows / d_y.cols.max(1),
        };
        let outputs = d_w.rows / groups.max(1);
        if write == Write::Set {
            self.fill(d_w.again(), 0.0);
        }
        let part = if let Part::Group(_) = part { Part::Group(0) } else { part };
        each_group(part, groups, x.rows, |g, first, n| {
            let d_y = d_y.rows(first, n).cols(column(part, g, outputs), outputs);
            let x = x.rows(first, n).cols(column(part, g, inputs), inputs);
            let mut d_w = d_w.again().rows(g * outputs, outputs);
            let c = rows_of_mut(&mut d_w);
            accumulate(
                self.isa,
                Reduction { m: outputs, n: inputs, k: n, a: rows_of(d_y), b: rows_of(x), c },
            );
        });
    }

    fn col_sum(&self, mut out: MM, write: Write, x: M, part: Part<Vec<u32>>) {
        assert_eq!(out.cols, x.cols, "columns of the sums and of x");
        if write == Write::Set {
            self.fill(out.again(), 0.0);
        }
        let part = if let Part::Rows(_) = part { part } else { Part::Group(0) };
        each_group(part, out.rows, x.rows, |g, first, n| {
            let sums = row_mut(&mut out, g);
            self.isa.vectorise(
                #[inline(always)]
                || (first..first + n).for_each(|b| put(sums, Write::Add, row(&x, b).iter().copied())),
            );
        });
    }

    fn relu(&self, mut y: MM) {
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..y.rows {
                    // NaN stays NaN.
                    row_mut(&mut y, b).iter_mut().for_each(|y| *y = if *y < 0.0 { 0.0 } else { *y });
                }
            },
        );
    }

    fn relu_bwd(&self, mut d: MM, y: M) {
        assert_eq!((d.rows, d.cols), (y.rows, y.cols), "shapes of d and y");
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..y.rows {
                    let d = row_mut(&mut d, b).iter_mut();
                    d.zip(row(&y, b)).for_each(|(d, &y)| *d = if y <= 0.0 { 0.0 } else { *d });
                }
            },
        );
    }

    fn dropout(&self, mut x: MM, drop: &Dropout, rows: &Vec<u32>, first: usize) {
        let (threshold, scale) = (drop.threshold(), (1.0 / (1.0 - drop.p)) as f32);
        for b in 0..x.rows {
            for (quad, x) in row_mut(&mut x, b).chunks_mut(4).enumerate() {
                let (counter, key) = drop.counter(rows[first + b], quad as u32);
                for (x, word) in x.iter_mut().zip(philox4x32(counter, key)) {
                    *x = if word >= threshold { *x * scale } else { 0.0 };
                }
            }
        }
    }

    fn row_scale(&self, mut y: MM, write: Write, s: M, x: M) {
        assert_eq!((y.rows, y.cols), (x.rows, x.cols), "shapes of y and x");
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..x.rows {
                    let s = row(&s, b)[0];
                    put(row_mut(&mut y, b), write, row(&x, b).iter().map(|x| s * x));
                }
            },
        );
    }

    fn row_dot(&self, mut out: MM, write: Write, x: M, y: M) {
        assert_eq!((x.rows, x.cols), (y.rows, y.cols), "shapes of x and y");
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..x.rows {
                    put(row_mut(&mut out, b), write, [dot(row(&x, b), row(&y, b))].into_iter());
                }
            },
        );
    }

    fn gather_rows(&self, mut out: MM, x: M, ids: &Vec<u32>, first: usize) {
        for b in 0..out.rows {
            row_mut(&mut out, b).copy_from_slice(row(&x, ids[first + b] as usize));
        }
    }

    fn lookup(&self, out: MM, table: &Table, ids: &Vec<u32>, first: usize) {
        table.lookup(self.isa, out, &ids[first..]);
    }

    fn lookup_bags(&self, out: MM, table: &Table, bags: Bags<Vec<u32>, Vec<f32>>, first: usize) {
        table.lookup_bags(out, bags, first);
    }

    fn numeric_embed(&self, mut out: MM, w: M, values: &Vec<f32>, first: usize) {
        for b in 0..out.rows {
            let v = values[first + b];
            put(row_mut(&mut out, b), Write::Set, row(&w, 0).iter().map(|w| v * w));
        }
    }

    fn reduce_rows<'a>(
        &self,
        g: MM,
        segments: Segments<Vec<u32>, Vec<f32>>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Vec<f32>> + Sync,
    ) {
        assert!(g.rows >= segments.count, "{} rows for {} ids", g.rows, segments.count);
        let g = g.rows(0, segments.count);
        let (width, stride, end) = (g.cols, g.stride.max(1), g.as_mat().end());
        let dst = &mut g.buf[g.offset.min(end)..end];
        let reduce = |(chunk, rows): (usize, &mut [f32])| {
            self.isa.vectorise(
                #[inline(always)]
                || {
                    for (u, g) in rows.chunks_mut(stride).enumerate() {
                        let (u, g) = (chunk * ROW_CHUNK + u, &mut g[..width]);
                        g.fill(0.0);
                        for i in segments.starts[u] as usize..segments.starts[u + 1] as usize {
                            let at = segments.rows[i] as usize;
                            let source = lane(at / lane_rows);
                            let coef = segments.coefs.map_or(1.0, |c| c[i]);
                            put(g, Write::Add, row(&source, at % lane_rows).iter().map(|d| coef * d));
                        }
                    }
                },
            );
        };
        self.pool.install(|| dst.par_chunks_mut(stride * ROW_CHUNK).enumerate().for_each(reduce));
    }

    fn linear_bwd_by_value<'a>(
        &self,
        mut g: MM,
        mut d_w: MM,
        x: M,
        w: M,
        segments: Segments<Vec<u32>, Vec<f32>>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Vec<f32>> + Sync,
    ) {
        assert_eq!((d_w.rows, d_w.cols), (w.rows, w.cols), "shapes of d_w and w");
        assert_eq!((g.cols, x.cols), (w.cols, w.cols), "columns of g, x and w");
        let values = ByValue {
            count: segments.count,
            outputs: w.rows,
            width: w.cols,
            g: rows_of_mut(&mut g),
            d_w: rows_of_mut(&mut d_w),
            x: rows_of(x),
            w: rows_of(w),
            starts: segments.starts,
            occurrence: |i: usize| {
                let at = segments.rows[i] as usize;
                let coef = segments.coefs.map_or(1.0, |c| c[i]);
                (row(&lane(at / lane_rows), at % lane_rows), coef)
            },
        };
        by_value(self.isa, values);
    }

    fn softmax(&self, mut alpha: MM, logits: M) {
        (0..logits.rows).for_each(|b| rows::softmax(row_mut(&mut alpha, b), row(&logits, b)));
    }

    fn softmax_bwd(&self, mut d_logits: MM, d_alpha: M, alpha: M) {
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..alpha.rows {
                    let (d, a) = (row(&d_alpha, b), row(&alpha, b));
                    let mean = dot(a, d);
                    put(row_mut(&mut d_logits, b), Write::Set, a.iter().zip(d).map(|(a, d)| a * (d - mean)));
                }
            },
        );
    }

    fn mix(&self, mut mix: MM, alpha: M, e: M) {
        let m = mix.cols;
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..e.rows {
                    let (out, mut write) = (row_mut(&mut mix, b), Write::Set);
                    for (&a, e) in row(&alpha, b).iter().zip(row(&e, b).chunks_exact(m)) {
                        put(out, write, e.iter().map(|e| a * e));
                        write = Write::Add;
                    }
                }
            },
        );
    }

    fn mix_bwd(&self, mut d_alpha: MM, mut d_e: MM, write: Write, d_mix: M, alpha: M, e: M) {
        let m = d_mix.cols;
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..e.rows {
                    let (d, a, e) = (row(&d_mix, b), row(&alpha, b), row(&e, b).chunks_exact(m));
                    row_mut(&mut d_alpha, b).iter_mut().zip(e).for_each(|(d_alpha, e)| *d_alpha = dot(d, e));
                    for (&a, d_e) in a.iter().zip(row_mut(&mut d_e, b).chunks_exact_mut(m)) {
                        put(d_e, write, d.iter().map(|d| a * d));
                    }
                }
            },
        );
    }

    fn select(&self, mut mix: MM, e: M, groups: &Vec<u32>) {
        let m = mix.cols;
        each_group(Part::Rows(groups), e.cols / m, e.rows, |g, first, n| {
            self.copy(mix.again().rows(first, n), Write::Set, e.rows(first, n).cols(g * m, m));
        });
    }

    fn select_bwd(&self, mut d_e: MM, write: Write, d_mix: M, groups: &Vec<u32>) {
        let m = d_mix.cols;
        if write == Write::Set {
            self.fill(d_e.again(), 0.0);
        }
        each_group(Part::Rows(groups), d_e.cols / m, d_mix.rows, |g, first, n| {
            self.copy(d_e.again().rows(first, n).cols(g * m, m), Write::Add, d_mix.rows(first, n));
        });
    }

    fn orthogonality(&self, mut inv_norm: MM, mut sums: MM, e: M) {
        let sums = row_mut(&mut sums, 0);
        self.isa.vectorise(
            #[inline(always)]
            || (0..e.rows).for_each(|b| rows::orthogonality(row_mut(&mut inv_norm, b), sums, row(&e, b))),
        );
    }

    fn orthogonality_bwd(&self, mut d_e: MM, e: M, inv_norm: M, scale: f64) {
        let k = inv_norm.cols;
        if k < 2 || scale == 0.0 {
            return;
        }
        let c = (4.0 * scale / (k * (k - 1)) as f64) as f32;
        self.isa.vectorise(
            #[inline(always)]
            || {
                for b in 0..e.rows {
                    rows::orthogonality_bwd(row_mut(&mut d_e, b), row(&e, b), row(&inv_norm, b), c);
                }
            },
        );
    }

    fn bce_with_logits(
        &self,
        mut d_logits: MM,
        mut sum: MM,
        logits: M,
        labels: &Vec<f32>,
        weights: &Vec<f32>,
        first: usize,
        scale: f64,
    ) {
        let mut total = 0.0;
        for b in 0..logits.rows {
            let (o, y, w) = (row(&logits, b)[0], labels[first + b], weights[first + b]);
            // f32::max would turn a NaN logit into a finite loss.
            let positive = if o < 0.0 { 0.0 } else { o };
            total += f64::from(w * (positive - o * y + (-o.abs()).exp().ln_1p()));
            row_mut(&mut d_logits, b)[0] = w * (rows::sigmoid(o) - y) * scale as f32;
        }
        row_mut(&mut sum, 0)[0] += total as f32;
    }

    fn sigmoid(&self, mut p: MM, logits: M) {
        for b in 0..logits.rows {
            put(row_mut(&mut p, b), Write::Set, row(&logits, b).iter().map(|&o| rows::sigmoid(o)));
        }
    }

    fn accumulate<'a>(
        &self,
        acc: &mut Vec<f32>,
        count: usize,
        x: impl Fn(usize) -> &'a Vec<f32> + Sync,
        len: usize,
    ) {
        let add = |(chunk, acc): (usize, &mut [f32])| {
            for i in 0..count {
                let x = &x(i)[chunk * CHUNK..][..acc.len()];
                self.isa.vectorise(
                    #[inline(always)]
                    || acc.iter_mut().zip(x).for_each(|(a, x)| *a += x),
                );
            }
        };
        self.pool.install(|| acc[..len].par_chunks_mut(CHUNK).enumerate().for_each(add));
    }

    fn sum_sq(&self, sum: &mut Vec<f32>, write: Write, x: &Vec<f32>, len: usize) {
        let total = self.pool.install(|| sum_sq(&x[..len]));
        put(&mut sum[..1], write, [total as f32].into_iter());
    }

    fn step_dense(
        &self,
        w: &mut Vec<f32>,
        g: &Vec<f32>,
        state: &mut [Vec<f32>],
        len: usize,
        update: &Update<Vec<f32>>,
    ) {
        let rule = Scalars::new(update, update.adam_dense());
        let chunks = w[..len].par_chunks_mut(CHUNK).zip(g[..len].par_chunks(CHUNK));
        self.pool.install(|| match state {
            [] => chunks.for_each(|(w, g)| {
                self.isa.vectorise(
                    #[inline(always)]
                    || rule.no_state(w, g),
                );
            }),
            [s] => chunks.zip(s[..len].par_chunks_mut(CHUNK)).for_each(|((w, g), s)| {
                self.isa.vectorise(
                    #[inline(always)]
                    || rule.one_state(w, g, s),
                );
            }),
            [m, v, ..] => {
                let chunks = chunks.zip(m[..len].par_chunks_mut(CHUNK)).zip(v[..len].par_chunks_mut(CHUNK));
                chunks.for_each(|(((w, g), m), v)| {
                    self.isa.vectorise(
                        #[inline(always)]
                        || rule.adam(w, g, m, v),
                    );
                });
            }
        });
    }

    fn step_rows(
        &self,
        table: &mut Table,
        g: M,
        state: &mut [Vec<f32>],
        rows: &Vec<u32>,
        update: &Update<Vec<f32>>,
        rounding: &Rounding,
    ) {
        let rule = Scalars::new(update, update.adam_rows());
        self.pool.install(|| table.step(self.isa, &rule, rounding, g, state, &rows[..g.rows]));
    }
}

/// Σ x²: single precision within a task's share, in a fixed tree over the shares.
fn sum_sq(x: &[f32]) -> f64 {
    if x.len() <= CHUNK {
        return dot(x, x).into();
    }
    let (low, high) = x.split_at(x.len().div_ceil(CHUNK) / 2 * CHUNK);
    let (low, high) = rayon::join(|| sum_sq(low), || sum_sq(high));
    low + high
}
