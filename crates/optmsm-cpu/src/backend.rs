//! [`Backend`] for [`Cpu`].

use std::ops::Range;

use optmsm_core::backend::{
    Backend, Bags, Dropout, Epilogue, Layout, Mat, Part, Products, Segments, TableStep, TableView, Write,
};
use optmsm_core::error::{Error, Result};
use optmsm_core::optim::Update;
use optmsm_core::rounding::TableDtype;
use rayon::prelude::*;

use crate::Cpu;
use crate::ops::{M, MM, buffers, dense, elementwise, embedding, gate, loss, norm};
use crate::packed::Packed;
use crate::tables::{self, Table};
use crate::update::Scalars;

/// Rows below which a lane costs more to hand out than it saves: waking a worker takes tens of microseconds,
/// 32 rows of the standard work take ten times that.
pub(crate) const MIN_LANE_ROWS: usize = 32;

/// `len` zeros, or an error where memory is short.
pub(crate) fn zeros<T: Clone + Default>(len: usize) -> Result<Vec<T>> {
    // Asked for first, so that the second request, which gets pages that are zero already, does not abort the program.
    let asked = Vec::<T>::new().try_reserve_exact(len);
    asked.map_err(|_| {
        let size = len as f64 * size_of::<T>() as f64 / 1e9;
        let problem = format!("no memory for {size:.1} GB; lower train.batch_size or the model's widths");
        Error::Backend { backend: "cpu".into(), problem }
    })?;
    Ok(vec![T::default(); len])
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
        zeros(len)
    }

    fn alloc_ids(&self, len: usize) -> Result<Vec<u32>> {
        zeros(len)
    }

    fn len(&self, buf: &Vec<f32>) -> usize {
        buf.len()
    }

    fn upload_at(&self, dst: &mut Vec<f32>, offset: usize, src: &[f32]) {
        dst[offset..offset + src.len()].copy_from_slice(src);
    }

    fn upload_ids(&self, dst: &mut Vec<u32>, src: &[u32]) {
        dst[..src.len()].copy_from_slice(src);
    }

    fn download(&self, dst: &mut [f32], src: &Vec<f32>, offset: usize) -> Result<()> {
        dst.copy_from_slice(&src[offset..offset + dst.len()]);
        Ok(())
    }

    fn fill(&self, dst: MM, v: f64) {
        elementwise::fill(dst, v);
    }

    fn copy(&self, dst: MM, write: Write, src: M) {
        elementwise::copy(self, dst, write, src);
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
        Packed::new(self.isa, groups, outputs, inputs, used)
    }

    fn packed_shape(&self, w: &Packed) -> (usize, usize, usize) {
        (w.groups, w.outputs, w.inputs)
    }

    fn pack(&self, dst: &mut Packed, src: M, layout: Layout) {
        self.pool.install(|| dst.fill(src, layout));
    }

    fn linear(&self, y: MM, x: M, w: &Packed, part: Part<Vec<u32>>, then: Epilogue<Vec<f32>>) {
        dense::linear(self, y, x, w, part, then);
    }

    fn linear_dx(&self, d_x: MM, write: Write, d_y: M, w: &Packed, part: Part<Vec<u32>>, relu: Option<M>) {
        dense::linear_dx(self, d_x, write, d_y, w, part, relu);
    }

    fn linear_dw(&self, d_w: MM, write: Write, d_y: M, x: M, part: Part<Vec<u32>>) {
        dense::linear_dw(self, d_w, write, d_y, x, part);
    }

    fn col_sum(&self, out: MM, write: Write, x: M, part: Part<Vec<u32>>) {
        dense::col_sum(self, out, write, x, part);
    }

    fn col_dot(&self, out: MM, write: Write, x: M, y: M, part: Part<Vec<u32>>) {
        dense::col_dot(self, out, write, x, y, part);
    }

    fn relu(&self, y: MM) {
        elementwise::relu(self, y);
    }

    fn relu_bwd(&self, d: MM, y: M) {
        elementwise::relu_bwd(self, d, y);
    }

    fn dropout(&self, x: MM, drop: &Dropout, rows: &Vec<u32>, first: usize) {
        elementwise::dropout(x, drop, rows, first);
    }

    fn row_scale(&self, y: MM, write: Write, s: M, x: M) {
        elementwise::row_scale(self, y, write, s, x);
    }

    fn row_dot(&self, out: MM, write: Write, x: M, y: M) {
        elementwise::row_dot(self, out, write, x, y);
    }

    fn mul(&self, y: MM, write: Write, x: M, v: M) {
        elementwise::mul(self, y, write, x, v);
    }

    fn add_row(&self, y: MM, v: M) {
        elementwise::add_row(self, y, v);
    }

    fn sigmoid_gate(&self, y: MM, g: MM, x: M, o: M) {
        elementwise::sigmoid_gate(self, y, g, x, o);
    }

    fn sigmoid_gate_bwd(&self, d_o: MM, d_x: MM, write: Write, d_y: M, x: M, g: M) {
        elementwise::sigmoid_gate_bwd(self, d_o, d_x, write, d_y, x, g);
    }

    fn gather_rows(&self, out: MM, x: M, ids: &Vec<u32>, first: usize) {
        embedding::gather_rows(out, x, ids, first);
    }

    fn lookup(&self, out: MM, table: TableView<Self>, ids: &Vec<u32>, first: usize) {
        tables::lookup(self.isa, out, table, &ids[first..]);
    }

    fn lookup_bags(&self, out: MM, table: TableView<Self>, bags: Bags<Vec<u32>, Vec<f32>>, first: usize) {
        tables::lookup_bags(self.isa, out, table, bags, first);
    }

    fn numeric_embed(&self, out: MM, w: M, values: &Vec<f32>, first: usize) {
        embedding::numeric_embed(out, w, values, first);
    }

    fn reduce_rows<'a>(
        &self,
        g: MM,
        segments: Segments<Vec<u32>, Vec<f32>>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Vec<f32>> + Sync,
    ) {
        embedding::reduce_rows(self, g, segments, lane_rows, lane);
    }

    fn linear_bwd_by_value<'a>(
        &self,
        g: MM,
        d_w: MM,
        x: M,
        w: M,
        segments: Segments<Vec<u32>, Vec<f32>>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Vec<f32>> + Sync,
    ) {
        embedding::linear_bwd_by_value(self, g, d_w, x, w, segments, lane_rows, lane);
    }

    fn softmax(&self, alpha: MM, logits: M) {
        gate::softmax(alpha, logits);
    }

    fn softmax_bwd(&self, d_logits: MM, d_alpha: M, alpha: M) {
        gate::softmax_bwd(self, d_logits, d_alpha, alpha);
    }

    fn mix(&self, mix: MM, alpha: M, e: M) {
        gate::mix(self, mix, alpha, e);
    }

    fn mix_bwd(&self, d_alpha: MM, d_e: MM, write: Write, d_mix: M, alpha: M, e: M) {
        gate::mix_bwd(self, d_alpha, d_e, write, d_mix, alpha, e);
    }

    fn select(&self, mix: MM, e: M, groups: &Vec<u32>) {
        gate::select(self, mix, e, groups);
    }

    fn select_bwd(&self, d_e: MM, write: Write, d_mix: M, groups: &Vec<u32>) {
        gate::select_bwd(self, d_e, write, d_mix, groups);
    }

    fn deviations(&self, sums: MM, squares: MM, x: M, center: M, groups: &Vec<u32>) {
        norm::deviations(self, sums, squares, x, center, groups);
    }

    fn moments(
        &self,
        mean: MM,
        inv_std: MM,
        running_mean: MM,
        running_var: MM,
        sums: M,
        squares: M,
        groups: &Vec<u32>,
        eps: f64,
        momentum: f64,
    ) {
        norm::moments(mean, inv_std, running_mean, running_var, sums, squares, groups, eps, momentum);
    }

    fn running_moments(&self, mean: MM, inv_std: MM, running_mean: M, running_var: M, eps: f64) {
        norm::running_moments(self, mean, inv_std, running_mean, running_var, eps);
    }

    fn normalize(&self, x_hat: MM, x: M, mean: M, inv_std: M, groups: &Vec<u32>) {
        norm::normalize(self, x_hat, x, mean, inv_std, groups);
    }

    fn affine(&self, y: MM, x: M, scale: M, shift: M, groups: &Vec<u32>) {
        norm::affine(self, y, x, scale, shift, groups);
    }

    fn norm_bwd(&self, d: MM, x_hat: M, gain: M, sum_d: M, sum_dx: M, groups: &Vec<u32>, batch: &Vec<u32>) {
        norm::norm_bwd(self, d, x_hat, gain, sum_d, sum_dx, groups, batch);
    }

    fn orthogonality(&self, inv_norm: MM, sums: MM, e: M) {
        loss::orthogonality(self, inv_norm, sums, e);
    }

    fn orthogonality_bwd(&self, d_e: MM, e: M, inv_norm: M, scale: f64) {
        loss::orthogonality_bwd(self, d_e, e, inv_norm, scale);
    }

    fn bce_with_logits(
        &self,
        d_logits: MM,
        sum: MM,
        logits: M,
        labels: &Vec<f32>,
        weights: &Vec<f32>,
        first: usize,
        scale: f64,
    ) {
        loss::bce_with_logits(d_logits, sum, logits, labels, weights, first, scale);
    }

    fn sigmoid(&self, p: MM, logits: M) {
        loss::sigmoid(p, logits);
    }

    fn accumulate<'a>(
        &self,
        acc: &mut Vec<f32>,
        count: usize,
        x: impl Fn(usize) -> &'a Vec<f32> + Sync,
        range: Range<usize>,
    ) {
        buffers::accumulate(self, acc, count, x, range);
    }

    fn sum_sq(&self, sum: &mut Vec<f32>, write: Write, x: &Vec<f32>, len: usize) {
        buffers::sum_sq(self, sum, write, x, len);
    }

    fn step_dense(
        &self,
        w: &mut Vec<f32>,
        g: &Vec<f32>,
        state: &mut [Vec<f32>],
        len: usize,
        update: &Update<Vec<f32>>,
    ) {
        buffers::step_dense(self, w, g, state, len, update);
    }

    fn average(&self, a: &mut Vec<f32>, w: &Vec<f32>, len: usize, keep: f64) {
        buffers::average(self, a, w, len, keep);
    }

    fn step_rows(&self, step: TableStep<Self>, update: &Update<Vec<f32>>) {
        let rule = Scalars::new(update, update.adam_rows());
        self.pool.install(|| Table::step(self.isa, &rule, step));
    }

    fn settle_rows(&self, table: &mut Table, factor: f64, average: Option<(&mut Table, [f64; 2])>) {
        self.pool.install(|| table.settle(self.isa, factor, average));
    }
}
