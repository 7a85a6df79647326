//! The definition of each operation: scalar loops, `f32` or `f64`, one thread.
//!
//! Every other backend is compared with this one; this one is compared with finite differences and with
//! PyTorch. It is written to be read, not to be fast.

use std::ops::Range;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut2, Axis, ShapeBuilder, Zip};

use crate::backend::{
    Backend, Bags, Dropout, Elem, Epilogue, Layout, Mat, MatMut, Part, Products, Segments, TableStep,
    TableView, Write,
};
use crate::error::Result;
use crate::optim::Update;
use crate::philox::philox4x32;
use crate::rounding::TableDtype;

mod dense;
mod norm;
mod table;
mod update;

pub use dense::Packed;
use dense::pieces;
pub use table::Table;
use update::Scalars;

/// ε of the penalty (model.md §3): an expert's output is divided by its norm or by this, whichever is larger. A power of two, so
/// that 1 / ε is exact in every type.
pub const NORM_EPS: f64 = 1.0 / 1024.0;

/// Scalar loops over `Vec<T>`.
///
/// Runs a batch in one lane and one block unless [`Reference::with_lanes`] asks for more, which is how the
/// lanes of faster backends are checked in `f64`.
#[derive(Clone, Debug)]
pub struct Reference<T> {
    lanes: usize,
    block_rows: usize,
    fields_by_id: bool,
    elem: std::marker::PhantomData<T>,
}

impl<T: Elem> Default for Reference<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Elem> Reference<T> {
    /// One lane, one block.
    pub fn new() -> Self {
        Self::with_lanes(1, usize::MAX)
    }

    /// `lanes` accumulators and blocks of at most `block_rows` rows.
    pub fn with_lanes(lanes: usize, block_rows: usize) -> Self {
        assert!(lanes > 0 && block_rows > 0, "{lanes} lanes of {block_rows} rows");
        Self { lanes, block_rows, fields_by_id: true, elem: std::marker::PhantomData }
    }

    /// The same with [`Backend::fields_by_id`] off, which needs one lane and one block.
    pub fn with_whole_fields(self) -> Self {
        Self { fields_by_id: false, ..self }
    }
}

fn view<'a, T>(m: Mat<'a, Vec<T>>) -> ArrayView2<'a, T> {
    let data = &m.buf[m.offset.min(m.buf.len())..];
    let view = match m.rows * m.cols {
        0 => ArrayView2::from_shape((m.rows, m.cols), &data[..0]),
        _ => ArrayView2::from_shape((m.rows, m.cols).strides((m.stride, 1)), data),
    };
    view.expect("invariant: a Mat lies inside its buffer")
}

fn view_mut<'a, T>(m: MatMut<'a, Vec<T>>) -> ArrayViewMut2<'a, T> {
    let start = m.offset.min(m.buf.len());
    let data = &mut m.buf[start..];
    let view = match m.rows * m.cols {
        0 => ArrayViewMut2::from_shape((m.rows, m.cols), &mut data[..0]),
        _ => ArrayViewMut2::from_shape((m.rows, m.cols).strides((m.stride, 1)), data),
    };
    view.expect("invariant: a MatMut lies inside its buffer")
}

fn put<T: Elem>(dst: &mut T, write: Write, v: T) {
    match write {
        Write::Set => *dst = v,
        Write::Add => *dst += v,
    }
}

/// max(v, 0), but NaN stays NaN: a diverged model must not look alive.
fn relu<T: Elem>(v: T) -> T {
    if v < T::zero() { T::zero() } else { v }
}

fn sigmoid<T: Elem>(o: T) -> T {
    // e^{-|o|} never overflows.
    let e = (-o.abs()).exp();
    if o >= T::zero() { T::one() / (T::one() + e) } else { e / (T::one() + e) }
}

impl<T: Elem> Backend for Reference<T> {
    type Elem = T;
    type Buf = Vec<T>;
    type Ids = Vec<u32>;
    type Table = Table<T>;
    type Packed = Packed<T>;

    fn name(&self) -> String {
        format!("reference ({})", std::any::type_name::<T>())
    }

    fn lanes(&self) -> usize {
        self.lanes
    }

    fn block_rows(&self) -> usize {
        self.block_rows
    }

    fn fields_by_id(&self) -> bool {
        self.fields_by_id
    }

    fn for_lanes<L: Send>(&self, lanes: &mut [L], f: impl Fn(usize, &mut L) + Sync) {
        lanes.iter_mut().enumerate().for_each(|(i, lane)| f(i, lane));
    }

    fn alloc(&self, len: usize) -> Result<Vec<T>> {
        Ok(vec![T::zero(); len])
    }

    fn alloc_ids(&self, len: usize) -> Result<Vec<u32>> {
        Ok(vec![0; len])
    }

    fn len(&self, buf: &Vec<T>) -> usize {
        buf.len()
    }

    fn upload_at(&self, dst: &mut Vec<T>, offset: usize, src: &[T]) {
        dst[offset..offset + src.len()].copy_from_slice(src);
    }

    fn upload_ids(&self, dst: &mut Vec<u32>, src: &[u32]) {
        dst[..src.len()].copy_from_slice(src);
    }

    fn download(&self, dst: &mut [T], src: &Vec<T>, offset: usize) -> Result<()> {
        dst.copy_from_slice(&src[offset..offset + dst.len()]);
        Ok(())
    }

    fn fill(&self, dst: MatMut<Vec<T>>, v: f64) {
        view_mut(dst).fill(T::of(v));
    }

    fn copy(&self, dst: MatMut<Vec<T>>, write: Write, src: Mat<Vec<T>>) {
        Zip::from(view_mut(dst)).and(view(src)).for_each(|d, &s| put(d, write, s));
    }

    fn alloc_table(&self, rows: usize, width: usize, dtype: TableDtype) -> Result<Table<T>> {
        Ok(Table::new(rows, width, dtype))
    }

    fn upload_rows(&self, dst: &mut Table<T>, first: usize, src: &[T]) {
        dst.set_rows(first, src);
    }

    fn download_rows(&self, dst: &mut [T], src: &Table<T>, first: usize) -> Result<()> {
        dst.copy_from_slice(src.rows(first, dst.len()));
        Ok(())
    }

    fn alloc_packed(&self, groups: usize, outputs: usize, inputs: usize, _: Products) -> Result<Packed<T>> {
        let data = vec![T::zero(); groups * outputs * inputs];
        Ok(Packed { data, groups, outputs, inputs, layout: Layout::OutIn })
    }

    fn packed_shape(&self, w: &Packed<T>) -> (usize, usize, usize) {
        (w.groups, w.outputs, w.inputs)
    }

    fn pack(&self, dst: &mut Packed<T>, src: Mat<Vec<T>>, layout: Layout) {
        assert_eq!(src.rows * src.cols, dst.data.len(), "packing {}x{}", src.rows, src.cols);
        dst.layout = layout;
        dst.data.iter_mut().zip(view(src)).for_each(|(d, &s)| *d = s);
    }

    fn linear(
        &self,
        y: MatMut<Vec<T>>,
        x: Mat<Vec<T>>,
        w: &Packed<T>,
        part: Part<Vec<u32>>,
        then: Epilogue<Vec<T>>,
    ) {
        dense::linear(y, x, w, part, then);
    }

    fn linear_dx(
        &self,
        d_x: MatMut<Vec<T>>,
        write: Write,
        d_y: Mat<Vec<T>>,
        w: &Packed<T>,
        part: Part<Vec<u32>>,
        relu: Option<Mat<Vec<T>>>,
    ) {
        dense::linear_dx(d_x, write, d_y, w, part, relu);
    }

    fn linear_dw(
        &self,
        d_w: MatMut<Vec<T>>,
        write: Write,
        d_y: Mat<Vec<T>>,
        x: Mat<Vec<T>>,
        part: Part<Vec<u32>>,
    ) {
        dense::linear_dw(d_w, write, d_y, x, part);
    }

    fn col_sum(&self, out: MatMut<Vec<T>>, write: Write, x: Mat<Vec<T>>, part: Part<Vec<u32>>) {
        let (mut out, x) = (view_mut(out), view(x));
        assert_eq!(out.ncols(), x.ncols(), "columns of the sums and of x");
        let groups = out.nrows();
        let part = if let Part::Rows(_) = part { part } else { Part::Group(0) };
        for (g, rows, ..) in pieces(part, groups, x.nrows(), 0, 0) {
            for j in 0..x.ncols() {
                let sum = rows.clone().fold(T::zero(), |sum, b| sum + x[[b, j]]);
                put(&mut out[[g, j]], write, sum);
            }
        }
    }

    fn col_dot(
        &self,
        out: MatMut<Vec<T>>,
        write: Write,
        x: Mat<Vec<T>>,
        y: Mat<Vec<T>>,
        part: Part<Vec<u32>>,
    ) {
        let products = (&view(x) * &view(y)).into_raw_vec_and_offset().0;
        self.col_sum(out, write, Mat::new(&products, x.rows, x.cols), part);
    }

    fn relu(&self, y: MatMut<Vec<T>>) {
        view_mut(y).mapv_inplace(relu);
    }

    fn relu_bwd(&self, d: MatMut<Vec<T>>, y: Mat<Vec<T>>) {
        Zip::from(view_mut(d)).and(view(y)).for_each(|d, &y| {
            if y <= T::zero() {
                *d = T::zero();
            }
        });
    }

    fn dropout(&self, x: MatMut<Vec<T>>, drop: &Dropout, rows: &Vec<u32>, first: usize) {
        let (threshold, scale) = (drop.threshold(), T::of(1.0 / (1.0 - drop.p)));
        for (b, mut row) in view_mut(x).outer_iter_mut().enumerate() {
            for (j, v) in row.iter_mut().enumerate() {
                let (counter, key) = drop.counter(rows[first + b], (j / 4) as u32);
                let keep = philox4x32(counter, key)[j % 4] >= threshold;
                *v = if keep { *v * scale } else { T::zero() };
            }
        }
    }

    fn row_scale(&self, y: MatMut<Vec<T>>, write: Write, s: Mat<Vec<T>>, x: Mat<Vec<T>>) {
        let (mut y, s) = (view_mut(y), view(s));
        for ((b, j), &x) in view(x).indexed_iter() {
            put(&mut y[[b, j]], write, s[[b, 0]] * x);
        }
    }

    fn row_dot(&self, out: MatMut<Vec<T>>, write: Write, x: Mat<Vec<T>>, y: Mat<Vec<T>>) {
        let (mut out, x, y) = (view_mut(out), view(x), view(y));
        assert_eq!(x.dim(), y.dim(), "shapes of x and y");
        for b in 0..x.nrows() {
            put(&mut out[[b, 0]], write, dot(x, b, 0, y, b, 0, x.ncols()));
        }
    }

    fn mul(&self, y: MatMut<Vec<T>>, write: Write, x: Mat<Vec<T>>, v: Mat<Vec<T>>) {
        let (mut y, x, v) = (view_mut(y), view(x), view(v));
        assert_eq!(y.dim(), x.dim(), "shapes of y and x");
        let v = v.broadcast(x.dim()).expect("v has the rows of x, or one");
        Zip::from(&mut y).and(&x).and(v).for_each(|y, &x, &v| put(y, write, x * v));
    }

    fn add_row(&self, y: MatMut<Vec<T>>, v: Mat<Vec<T>>) {
        assert_eq!(v.rows, 1, "rows of v");
        view_mut(y).zip_mut_with(&view(v), |y, &v| *y += v);
    }

    fn sigmoid_gate(&self, y: MatMut<Vec<T>>, g: MatMut<Vec<T>>, x: Mat<Vec<T>>, o: Mat<Vec<T>>) {
        Zip::from(view_mut(y)).and(view_mut(g)).and(view(x)).and(view(o)).for_each(|y, g, &x, &o| {
            *g = T::of(2.0) * sigmoid(o);
            *y = x * *g;
        });
    }

    fn sigmoid_gate_bwd(
        &self,
        d_o: MatMut<Vec<T>>,
        d_x: MatMut<Vec<T>>,
        write: Write,
        d_y: Mat<Vec<T>>,
        x: Mat<Vec<T>>,
        g: Mat<Vec<T>>,
    ) {
        let d_o = Zip::from(view_mut(d_o)).and(view_mut(d_x));
        d_o.and(view(d_y)).and(view(x)).and(view(g)).for_each(|d_o, d_x, &d_y, &x, &g| {
            *d_o = d_y * x * g * (T::one() - T::of(0.5) * g);
            put(d_x, write, d_y * g);
        });
    }

    fn gather_rows(&self, out: MatMut<Vec<T>>, x: Mat<Vec<T>>, ids: &Vec<u32>, first: usize) {
        let x = view(x);
        for (b, mut row) in view_mut(out).outer_iter_mut().enumerate() {
            row.assign(&x.row(ids[first + b] as usize));
        }
    }

    fn lookup(&self, out: MatMut<Vec<T>>, table: TableView<Self>, ids: &Vec<u32>, first: usize) {
        for ((b, j), out) in view_mut(out).indexed_iter_mut() {
            *out = table::read(&table, ids[first + b], j);
        }
    }

    fn lookup_bags(
        &self,
        out: MatMut<Vec<T>>,
        table: TableView<Self>,
        bags: Bags<Vec<u32>, Vec<T>>,
        first: usize,
    ) {
        for ((b, j), out) in view_mut(out).indexed_iter_mut() {
            let bag = bags.offsets[first + b] as usize..bags.offsets[first + b + 1] as usize;
            *out = bag.fold(T::zero(), |sum, i| sum + bags.coefs[i] * table::read(&table, bags.ids[i], j));
        }
    }

    fn numeric_embed(&self, out: MatMut<Vec<T>>, w: Mat<Vec<T>>, values: &Vec<T>, first: usize) {
        let w = view(w);
        for ((b, j), out) in view_mut(out).indexed_iter_mut() {
            *out = values[first + b] * w[[0, j]];
        }
    }

    fn reduce_rows<'a>(
        &self,
        g: MatMut<Vec<T>>,
        segments: Segments<Vec<u32>, Vec<T>>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Vec<T>> + Sync,
    ) {
        let mut g = view_mut(g);
        for u in 0..segments.count {
            let mut sum = g.row_mut(u);
            sum.fill(T::zero());
            for i in segments.starts[u] as usize..segments.starts[u + 1] as usize {
                let row = segments.rows[i] as usize;
                let coef = segments.coefs.map_or(T::one(), |c| c[i]);
                sum.scaled_add(coef, &view(lane(row / lane_rows)).row(row % lane_rows));
            }
        }
    }

    fn linear_bwd_by_value<'a>(
        &self,
        g: MatMut<Vec<T>>,
        d_w: MatMut<Vec<T>>,
        x: Mat<Vec<T>>,
        w: Mat<Vec<T>>,
        segments: Segments<Vec<u32>, Vec<T>>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Vec<T>> + Sync,
    ) {
        let count = segments.count;
        let mut sums = vec![T::zero(); count * w.rows];
        self.reduce_rows(MatMut::new(&mut sums, count, w.rows), segments, lane_rows, lane);
        let s = view(Mat::new(&sums, count, w.rows));
        view_mut(g.rows(0, count)).assign(&s.dot(&view(w)));
        view_mut(d_w).assign(&s.t().dot(&view(x.rows(0, count))));
    }

    fn softmax(&self, alpha: MatMut<Vec<T>>, logits: Mat<Vec<T>>) {
        let mut alpha = view_mut(alpha);
        for (mut alpha, logits) in alpha.outer_iter_mut().zip(view(logits).outer_iter()) {
            let max = logits.fold(T::neg_infinity(), |m, &v| m.max(v));
            Zip::from(&mut alpha).and(logits).for_each(|a, &l| *a = (l - max).exp());
            let sum = alpha.iter().fold(T::zero(), |sum, &a| sum + a);
            alpha.mapv_inplace(|a| a / sum);
        }
    }

    fn softmax_bwd(&self, d_logits: MatMut<Vec<T>>, d_alpha: Mat<Vec<T>>, alpha: Mat<Vec<T>>) {
        let (mut d_logits, d_alpha, alpha) = (view_mut(d_logits), view(d_alpha), view(alpha));
        for b in 0..alpha.nrows() {
            let mean = dot(alpha, b, 0, d_alpha, b, 0, alpha.ncols());
            for k in 0..alpha.ncols() {
                d_logits[[b, k]] = alpha[[b, k]] * (d_alpha[[b, k]] - mean);
            }
        }
    }

    fn mix(&self, mix: MatMut<Vec<T>>, alpha: Mat<Vec<T>>, e: Mat<Vec<T>>) {
        let (alpha, e) = (view(alpha), view(e));
        let m = mix.cols;
        for ((b, j), mix) in view_mut(mix).indexed_iter_mut() {
            *mix = (0..alpha.ncols()).fold(T::zero(), |sum, k| sum + alpha[[b, k]] * e[[b, k * m + j]]);
        }
    }

    fn mix_bwd(
        &self,
        d_alpha: MatMut<Vec<T>>,
        d_e: MatMut<Vec<T>>,
        write: Write,
        d_mix: Mat<Vec<T>>,
        alpha: Mat<Vec<T>>,
        e: Mat<Vec<T>>,
    ) {
        let (mut d_alpha, mut d_e) = (view_mut(d_alpha), view_mut(d_e));
        let (d_mix, alpha, e) = (view(d_mix), view(alpha), view(e));
        let m = d_mix.ncols();
        for ((b, k), &a) in alpha.indexed_iter() {
            d_alpha[[b, k]] = dot(d_mix, b, 0, e, b, k * m, m);
            for j in 0..m {
                put(&mut d_e[[b, k * m + j]], write, a * d_mix[[b, j]]);
            }
        }
    }

    fn select(&self, mix: MatMut<Vec<T>>, e: Mat<Vec<T>>, groups: &Vec<u32>) {
        let (mut mix, e) = (view_mut(mix), view(e));
        let m = mix.ncols();
        for (g, rows, ..) in pieces(Part::Rows(groups), e.ncols() / m, e.nrows(), 0, 0) {
            for b in rows {
                (0..m).for_each(|j| mix[[b, j]] = e[[b, g * m + j]]);
            }
        }
    }

    fn select_bwd(&self, d_e: MatMut<Vec<T>>, write: Write, d_mix: Mat<Vec<T>>, groups: &Vec<u32>) {
        let (mut d_e, d_mix) = (view_mut(d_e), view(d_mix));
        if write == Write::Set {
            d_e.fill(T::zero());
        }
        let m = d_mix.ncols();
        for (g, rows, ..) in pieces(Part::Rows(groups), d_e.ncols() / m, d_e.nrows(), 0, 0) {
            for b in rows {
                (0..m).for_each(|j| d_e[[b, g * m + j]] += d_mix[[b, j]]);
            }
        }
    }

    fn deviations(
        &self,
        sums: MatMut<Vec<T>>,
        squares: MatMut<Vec<T>>,
        x: Mat<Vec<T>>,
        center: Mat<Vec<T>>,
        groups: &Vec<u32>,
    ) {
        norm::deviations(sums, squares, x, center, groups);
    }

    fn moments(
        &self,
        mean: MatMut<Vec<T>>,
        inv_std: MatMut<Vec<T>>,
        running_mean: MatMut<Vec<T>>,
        running_var: MatMut<Vec<T>>,
        sums: Mat<Vec<T>>,
        squares: Mat<Vec<T>>,
        groups: &Vec<u32>,
        eps: f64,
        momentum: f64,
    ) {
        norm::moments(mean, inv_std, running_mean, running_var, sums, squares, groups, eps, momentum);
    }

    fn running_moments(
        &self,
        mean: MatMut<Vec<T>>,
        inv_std: MatMut<Vec<T>>,
        running_mean: Mat<Vec<T>>,
        running_var: Mat<Vec<T>>,
        eps: f64,
    ) {
        norm::running_moments(mean, inv_std, running_mean, running_var, eps);
    }

    fn normalize(
        &self,
        x_hat: MatMut<Vec<T>>,
        x: Mat<Vec<T>>,
        mean: Mat<Vec<T>>,
        inv_std: Mat<Vec<T>>,
        groups: &Vec<u32>,
    ) {
        norm::normalize(x_hat, x, mean, inv_std, groups);
    }

    fn affine(
        &self,
        y: MatMut<Vec<T>>,
        x: Mat<Vec<T>>,
        scale: Mat<Vec<T>>,
        shift: Mat<Vec<T>>,
        groups: &Vec<u32>,
    ) {
        norm::affine(y, x, scale, shift, groups);
    }

    fn norm_bwd(
        &self,
        d: MatMut<Vec<T>>,
        x_hat: Mat<Vec<T>>,
        gain: Mat<Vec<T>>,
        sum_d: Mat<Vec<T>>,
        sum_dx: Mat<Vec<T>>,
        groups: &Vec<u32>,
        batch: &Vec<u32>,
    ) {
        norm::norm_bwd(d, x_hat, gain, sum_d, sum_dx, groups, batch);
    }

    fn orthogonality(&self, inv_norm: MatMut<Vec<T>>, sums: MatMut<Vec<T>>, e: Mat<Vec<T>>) {
        let (mut inv_norm, mut sums, e) = (view_mut(inv_norm), view_mut(sums), view(e));
        let k = inv_norm.ncols();
        let m = e.ncols() / k;
        for (b, row) in e.outer_iter().enumerate() {
            for i in 0..k {
                inv_norm[[b, i]] = inverse_norm(row.slice_axis(Axis(0), (i * m..(i + 1) * m).into()));
            }
            let units = units(row, inv_norm.row(b));
            let mut pair = 1;
            for i in 0..k {
                for j in i + 1..k {
                    let cos = units.row(i).dot(&units.row(j));
                    // (i, j) and (j, i) are both in the sum over i ≠ j.
                    sums[[0, 0]] += T::of(2.0 / (k * (k - 1)) as f64) * cos * cos;
                    sums[[0, pair]] += cos.abs();
                    pair += 1;
                }
            }
        }
    }

    fn orthogonality_bwd(&self, d_e: MatMut<Vec<T>>, e: Mat<Vec<T>>, inv_norm: Mat<Vec<T>>, scale: f64) {
        let (mut d_e, e, inv_norm) = (view_mut(d_e), view(e), view(inv_norm));
        let k = inv_norm.ncols();
        if k < 2 {
            return;
        }
        let m = e.ncols() / k;
        let c = T::of(4.0 * scale / (k * (k - 1)) as f64);
        for b in 0..e.nrows() {
            let units = units(e.row(b), inv_norm.row(b));
            for i in 0..k {
                // v_i = c Σ_{j≠i} G_ij ê_j
                let mut v = Array1::from_elem(m, T::zero());
                for j in (0..k).filter(|&j| j != i) {
                    v.scaled_add(c * units.row(i).dot(&units.row(j)), &units.row(j));
                }
                // ∂/∂e_i = (v_i − ê_i (ê_i·v_i)) / n where ê_i = e_i / n, v_i / ε where ê_i = e_i / ε
                let inv = inv_norm[[b, i]];
                let on_sphere = inv < T::of(1.0 / NORM_EPS);
                let along = if on_sphere { units.row(i).dot(&v) } else { T::zero() };
                for (q, &v) in v.iter().enumerate() {
                    d_e[[b, i * m + q]] += (v - units[[i, q]] * along) * inv;
                }
            }
        }
    }

    fn bce_with_logits(
        &self,
        d_logits: MatMut<Vec<T>>,
        sum: MatMut<Vec<T>>,
        logits: Mat<Vec<T>>,
        labels: &Vec<T>,
        weights: &Vec<T>,
        first: usize,
        scale: f64,
    ) {
        let (mut d_logits, mut sum, logits) = (view_mut(d_logits), view_mut(sum), view(logits));
        for b in 0..logits.nrows() {
            let (o, y, w) = (logits[[b, 0]], labels[first + b], weights[first + b]);
            sum[[0, 0]] += w * (o.max(T::zero()) - o * y + (-o.abs()).exp().ln_1p());
            d_logits[[b, 0]] = w * (sigmoid(o) - y) * T::of(scale);
        }
    }

    fn sigmoid(&self, p: MatMut<Vec<T>>, logits: Mat<Vec<T>>) {
        Zip::from(view_mut(p)).and(view(logits)).for_each(|p, &o| *p = sigmoid(o));
    }

    fn accumulate<'a>(
        &self,
        acc: &mut Vec<T>,
        count: usize,
        x: impl Fn(usize) -> &'a Vec<T> + Sync,
        range: Range<usize>,
    ) {
        for i in 0..count {
            acc[range.clone()].iter_mut().zip(&x(i)[range.clone()]).for_each(|(a, &x)| *a += x);
        }
    }

    fn sum_sq(&self, sum: &mut Vec<T>, write: Write, x: &Vec<T>, len: usize) {
        put(&mut sum[0], write, x[..len].iter().fold(T::zero(), |sum, &x| sum + x * x));
    }

    fn step_dense(
        &self,
        w: &mut Vec<T>,
        g: &Vec<T>,
        state: &mut [Vec<T>],
        len: usize,
        update: &Update<Vec<T>>,
    ) {
        let rule = Scalars::new(update, update.adam_dense());
        for (i, (w, &g)) in w[..len].iter_mut().zip(&g[..len]).enumerate() {
            rule.element(w, g, state, i);
        }
    }

    fn average(&self, a: &mut Vec<T>, w: &Vec<T>, len: usize, keep: f64) {
        let share = T::of(1.0 - keep);
        a[..len].iter_mut().zip(w).for_each(|(a, &w)| *a += share * (w - *a));
    }

    fn step_rows(&self, step: TableStep<Self>, update: &Update<Vec<T>>) {
        let TableStep { table, g, state, mut average, rows, rounding } = step;
        let rule = Scalars::new(update, update.adam_rows());
        for (g, &row) in view(g).outer_iter().zip(rows) {
            let before = table.row(row).to_vec();
            table.step(row, |j| g[j], state, &rule, update, &rounding);
            if let Some((average, c)) = &mut average {
                average.follow(row, &before, table.row(row), T::of(*c));
            }
        }
    }

    fn settle_rows(&self, table: &mut Table<T>, factor: f64, average: Option<(&mut Table<T>, [f64; 2])>) {
        if let Some((average, [q, d])) = average {
            average.settle(table, T::of(q), T::of(d));
        }
        table.scale(T::of(factor));
    }
}

/// Σ x[b, x0 + q] · y[c, y0 + q] for q below n.
fn dot<T: Elem>(x: ArrayView2<T>, b: usize, x0: usize, y: ArrayView2<T>, c: usize, y0: usize, n: usize) -> T {
    (0..n).fold(T::zero(), |sum, q| sum + x[[b, x0 + q]] * y[[c, y0 + q]])
}

/// 1 / max(‖e‖, ε), also where a square of an element is beyond the type's range.
fn inverse_norm<T: Elem>(e: ArrayView1<T>) -> T {
    // ‖e‖ = s ‖e / s‖. With s > ε the second norm is at least 1.
    let s = e.fold(T::of(NORM_EPS), |s, v| s.max(v.abs()));
    let norm = e.fold(T::zero(), |sum, &v| sum + v / s * (v / s)).sqrt();
    T::one() / s / norm.max(T::one())
}

/// ê_k = e_k / max(‖e_k‖, ε) of one row, `[K, m]`.
fn units<T: Elem>(e: ArrayView1<T>, inv_norm: ArrayView1<T>) -> Array2<T> {
    let m = e.len() / inv_norm.len();
    Array2::from_shape_fn((inv_norm.len(), m), |(k, q)| e[k * m + q] * inv_norm[k])
}
