//! [`Backend`] for [`Cuda`].

use std::ops::Range;

use optmsm_core::backend::{
    Backend, Bags, Dropout, Epilogue, FieldLookup, FieldSum, Layout, Mat, MatMut, Part, Products, Segments,
    TableStep, TableView, Write,
};
use optmsm_core::counting::{Counting, Sizes};
use optmsm_core::error::Result;
use optmsm_core::optim::Update;
use optmsm_core::rounding::TableDtype;

use crate::Cuda;
use crate::device::Device;
use crate::memory::{Buffer, Table};
use crate::ops::dense::Packed;
use crate::ops::{
    dense, dropout, elementwise, embedding, gate, loss, norm, optimizer, orthogonality, reduce, transfer,
};

/// The device itself takes rows side by side.
const LANES: usize = 1;
const BLOCK_ROWS: usize = usize::MAX;
/// Products are nearly free on a device, sums over the rows of an id are not.
const FIELDS_BY_ID: bool = false;

/// Counts what a [`Cuda`] allocates in device memory for what it is asked, without a device; [`crate::RESERVED`] comes on top,
/// and what the driver takes for itself.
pub fn counting() -> Counting {
    Counting::new(Sizes {
        name: "cuda".into(),
        lanes: LANES,
        min_lane_rows: 1,
        block_rows: BLOCK_ROWS,
        fields_by_id: FIELDS_BY_ID,
        // Weights are read where they are.
        packed: Box::new(|_, _, _, _| 0),
    })
}

/// `f32` in device memory.
pub(crate) type Buf<D> = Buffer<D, f32>;
/// `u32` in device memory.
pub(crate) type Ids<D> = Buffer<D, u32>;
/// A matrix to read.
pub(crate) type M<'a, D> = Mat<'a, Buf<D>>;
/// A matrix to write.
pub(crate) type MM<'a, D> = MatMut<'a, Buf<D>>;

impl<D: Device> Backend for Cuda<D> {
    type Elem = f32;
    type Buf = Buf<D>;
    type Ids = Ids<D>;
    type Table = Table<D>;
    type Packed = Packed<D>;

    fn name(&self) -> String {
        format!("cuda ({}, {})", self.device().name(), self.precision.name())
    }

    fn lanes(&self) -> usize {
        LANES
    }

    fn block_rows(&self) -> usize {
        BLOCK_ROWS
    }

    fn product_rounding(&self) -> f64 {
        self.precision.rounding()
    }

    fn fields_by_id(&self) -> bool {
        FIELDS_BY_ID
    }

    fn run_step<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let result = f();
        self.submit();
        result
    }

    fn for_lanes<L: Send>(&self, lanes: &mut [L], f: impl Fn(usize, &mut L) + Sync) {
        lanes.iter_mut().enumerate().for_each(|(i, lane)| f(i, lane));
    }

    fn alloc(&self, len: usize) -> Result<Buf<D>> {
        transfer::zeros(self, len)
    }

    fn alloc_ids(&self, len: usize) -> Result<Ids<D>> {
        transfer::zeros(self, len)
    }

    fn len(&self, buf: &Buf<D>) -> usize {
        buf.len
    }

    fn upload_at(&self, dst: &mut Buf<D>, offset: usize, src: &[f32]) {
        transfer::upload(self, dst, offset, src);
    }

    fn upload_ids(&self, dst: &mut Ids<D>, src: &[u32]) {
        transfer::upload(self, dst, 0, src);
    }

    fn download(&self, dst: &mut [f32], src: &Buf<D>, offset: usize) -> Result<()> {
        transfer::download(self, dst, src, offset)
    }

    fn fill(&self, dst: MM<D>, v: f64) {
        elementwise::fill(self, dst, v as f32);
    }

    fn copy(&self, dst: MM<D>, write: Write, src: M<D>) {
        elementwise::copy(self, dst, write, src);
    }

    fn alloc_table(&self, rows: usize, width: usize, dtype: TableDtype) -> Result<Table<D>> {
        transfer::table(self, rows, width, dtype)
    }

    fn upload_rows(&self, dst: &mut Table<D>, first: usize, src: &[f32]) {
        transfer::upload_rows(self, dst, first, src);
    }

    fn download_rows(&self, dst: &mut [f32], src: &Table<D>, first: usize) -> Result<()> {
        transfer::download_rows(self, dst, src, first)
    }

    fn alloc_packed(&self, groups: usize, outputs: usize, inputs: usize, _: Products) -> Result<Packed<D>> {
        Ok(Packed::new(groups, outputs, inputs))
    }

    fn packed_shape(&self, w: &Packed<D>) -> (usize, usize, usize) {
        w.shape()
    }

    fn pack(&self, dst: &mut Packed<D>, src: M<D>, layout: Layout) {
        dst.view(src, layout);
    }

    fn linear(&self, y: MM<D>, x: M<D>, w: &Packed<D>, part: Part<Ids<D>>, then: Epilogue<Buf<D>>) {
        dense::linear(self, y, x, w, part, then);
    }

    fn linear_dx(
        &self,
        d_x: MM<D>,
        write: Write,
        d_y: M<D>,
        w: &Packed<D>,
        part: Part<Ids<D>>,
        relu: Option<M<D>>,
    ) {
        dense::linear_dx(self, d_x, write, d_y, w, part, relu);
    }

    fn linear_dw(&self, d_w: MM<D>, write: Write, d_y: M<D>, x: M<D>, part: Part<Ids<D>>) {
        dense::linear_dw(self, d_w, write, d_y, x, part);
    }

    fn linear_dw_bias(&self, d_w: MM<D>, d_b: usize, write: Write, d_y: M<D>, x: M<D>, part: Part<Ids<D>>) {
        dense::linear_dw_bias(self, d_w, d_b, write, d_y, x, part);
    }

    fn col_sum(&self, out: MM<D>, write: Write, x: M<D>, part: Part<Ids<D>>) {
        reduce::col_sum(self, out, write, x, part);
    }

    fn col_dot(&self, out: MM<D>, write: Write, x: M<D>, y: M<D>, part: Part<Ids<D>>) {
        reduce::col_dot(self, out, write, x, y, part);
    }

    fn relu(&self, y: MM<D>) {
        elementwise::relu(self, y);
    }

    fn relu_bwd(&self, d: MM<D>, y: M<D>) {
        elementwise::relu_bwd(self, d, y);
    }

    fn relu_bwd_into(&self, out: MM<D>, d: M<D>, y: M<D>) {
        elementwise::relu_bwd_into(self, out, d, y);
    }

    fn dropout(&self, x: MM<D>, drop: &Dropout, rows: &Ids<D>, first: usize) {
        dropout::dropout(self, x, drop, rows, first);
    }

    fn row_scale(&self, y: MM<D>, write: Write, s: M<D>, x: M<D>) {
        elementwise::row_scale(self, y, write, s, x);
    }

    fn row_dot(&self, out: MM<D>, write: Write, x: M<D>, y: M<D>) {
        elementwise::row_dot(self, out, write, x, y);
    }

    fn mul(&self, y: MM<D>, write: Write, x: M<D>, v: M<D>) {
        elementwise::mul(self, y, write, x, v);
    }

    fn add_row(&self, y: MM<D>, v: M<D>) {
        elementwise::add_row(self, y, v);
    }

    fn sigmoid_gate(&self, y: MM<D>, g: MM<D>, x: M<D>, o: M<D>) {
        elementwise::sigmoid_gate(self, y, g, x, o);
    }

    fn sigmoid_gate_bwd(&self, d_o: MM<D>, d_x: MM<D>, write: Write, d_y: M<D>, x: M<D>, g: M<D>) {
        elementwise::sigmoid_gate_bwd(self, d_o, d_x, write, d_y, x, g);
    }

    fn gather_rows(&self, out: MM<D>, x: M<D>, ids: &Ids<D>, first: usize) {
        embedding::gather_rows(self, out, x, ids, first);
    }

    fn lookup(&self, out: MM<D>, table: TableView<Self>, ids: &Ids<D>, first: usize) {
        embedding::lookup(self, out, table, ids, first);
    }

    fn lookup_fields<'a>(
        &self,
        out: MM<D>,
        fields: impl Iterator<Item = FieldLookup<'a, Self>>,
        first: usize,
    ) {
        embedding::lookup_fields(self, out, fields, first);
    }

    fn lookup_bags(&self, out: MM<D>, table: TableView<Self>, bags: Bags<Ids<D>, Buf<D>>, first: usize) {
        embedding::lookup_bags(self, out, table, bags, first);
    }

    fn numeric_embed(&self, out: MM<D>, w: M<D>, values: &Buf<D>, first: usize) {
        embedding::numeric_embed(self, out, w, values, first);
    }

    fn reduce_rows<'a>(
        &self,
        g: MM<D>,
        segments: Segments<Ids<D>, Buf<D>>,
        lane_rows: usize,
        lane: impl Fn(usize) -> M<'a, D> + Sync,
    ) {
        embedding::reduce_rows(self, g, segments, lane_rows, lane);
    }

    fn reduce_fields<'a>(&self, fields: impl Iterator<Item = FieldSum<'a, Self>>) {
        embedding::reduce_fields(self, fields);
    }

    fn linear_bwd_by_value<'a>(
        &self,
        g: MM<D>,
        d_w: MM<D>,
        x: M<D>,
        w: M<D>,
        segments: Segments<Ids<D>, Buf<D>>,
        lane_rows: usize,
        lane: impl Fn(usize) -> M<'a, D> + Sync,
    ) {
        embedding::linear_bwd_by_value(self, g, d_w, x, w, segments, lane_rows, lane);
    }

    fn softmax(&self, alpha: MM<D>, logits: M<D>) {
        gate::softmax(self, alpha, logits);
    }

    fn softmax_bwd(&self, d_logits: MM<D>, d_alpha: M<D>, alpha: M<D>) {
        gate::softmax_bwd(self, d_logits, d_alpha, alpha);
    }

    fn mix(&self, mix: MM<D>, alpha: M<D>, e: M<D>) {
        gate::mix(self, mix, alpha, e);
    }

    fn mix_bwd(&self, d_alpha: MM<D>, d_e: MM<D>, write: Write, d_mix: M<D>, alpha: M<D>, e: M<D>) {
        gate::mix_bwd(self, d_alpha, d_e, write, d_mix, alpha, e);
    }

    fn gate(&self, mix: MM<D>, alpha: MM<D>, logits: M<D>, e: M<D>) {
        gate::gate(self, mix, alpha, logits, e);
    }

    fn select(&self, mix: MM<D>, e: M<D>, groups: &Ids<D>) {
        gate::select(self, mix, e, groups);
    }

    fn select_bwd(&self, d_e: MM<D>, write: Write, d_mix: M<D>, groups: &Ids<D>) {
        gate::select_bwd(self, d_e, write, d_mix, groups);
    }

    fn deviations(&self, sums: MM<D>, squares: MM<D>, x: M<D>, center: M<D>, groups: &Ids<D>) {
        norm::deviations(self, sums, squares, x, center, groups);
    }

    fn moments(
        &self,
        mean: MM<D>,
        inv_std: MM<D>,
        running_mean: MM<D>,
        running_var: MM<D>,
        sums: M<D>,
        squares: M<D>,
        groups: &Ids<D>,
        eps: f64,
        momentum: f64,
    ) {
        norm::moments(self, mean, inv_std, running_mean, running_var, sums, squares, groups, eps, momentum);
    }

    fn running_moments(&self, mean: MM<D>, inv_std: MM<D>, running_mean: M<D>, running_var: M<D>, eps: f64) {
        norm::running_moments(self, mean, inv_std, running_mean, running_var, eps);
    }

    fn normalize(&self, x_hat: MM<D>, x: M<D>, mean: M<D>, inv_std: M<D>, groups: &Ids<D>) {
        norm::normalize(self, x_hat, x, mean, inv_std, groups);
    }

    fn affine(&self, y: MM<D>, x: M<D>, scale: M<D>, shift: M<D>, groups: &Ids<D>) {
        norm::affine(self, y, x, scale, shift, groups);
    }

    fn norm_bwd(
        &self,
        d: MM<D>,
        x_hat: M<D>,
        gain: M<D>,
        sum_d: M<D>,
        sum_dx: M<D>,
        groups: &Ids<D>,
        batch: &Ids<D>,
    ) {
        norm::norm_bwd(self, d, x_hat, gain, sum_d, sum_dx, groups, batch);
    }

    fn orthogonality(&self, inv_norm: MM<D>, sums: MM<D>, e: M<D>) {
        orthogonality::forward(self, inv_norm, sums, e);
    }

    fn orthogonality_bwd(&self, d_e: MM<D>, e: M<D>, inv_norm: M<D>, scale: f64) {
        orthogonality::backward(self, d_e, e, inv_norm, scale);
    }

    fn gate_orthogonality_bwd(
        &self,
        d_logits: MM<D>,
        d_alpha: MM<D>,
        d_e: MM<D>,
        d_mix: M<D>,
        alpha: M<D>,
        e: M<D>,
        inv_norm: M<D>,
        scale: f64,
    ) {
        orthogonality::gate_backward(self, d_logits, d_alpha, d_e, d_mix, alpha, e, inv_norm, scale);
    }

    fn bce_with_logits(
        &self,
        d_logits: MM<D>,
        sum: MM<D>,
        logits: M<D>,
        labels: &Buf<D>,
        weights: &Buf<D>,
        first: usize,
        scale: f64,
    ) {
        loss::bce_with_logits(self, d_logits, sum, logits, labels, weights, first, scale);
    }

    fn sigmoid(&self, p: MM<D>, logits: M<D>) {
        loss::sigmoid(self, p, logits);
    }

    fn accumulate<'a>(
        &self,
        acc: &mut Buf<D>,
        count: usize,
        x: impl Fn(usize) -> &'a Buf<D> + Sync,
        range: Range<usize>,
    ) {
        reduce::accumulate(self, acc, count, x, range);
    }

    fn sum_sq(&self, sum: &mut Buf<D>, write: Write, x: &Buf<D>, len: usize) {
        reduce::sum_sq(self, sum, write, x, len);
    }

    fn step_dense(
        &self,
        w: &mut Buf<D>,
        g: &Buf<D>,
        state: &mut [Buf<D>],
        len: usize,
        update: &Update<Buf<D>>,
    ) {
        optimizer::step_dense(self, w, g, state, len, update);
    }

    fn average(&self, a: &mut Buf<D>, w: &Buf<D>, len: usize, keep: f64) {
        optimizer::average(self, a, w, len, keep);
    }

    fn step_rows(&self, step: TableStep<Self>, update: &Update<Buf<D>>) {
        optimizer::step_tables(self, std::iter::once(step), update);
    }

    fn step_tables<'a>(&self, tables: impl Iterator<Item = TableStep<'a, Self>>, update: &Update<Buf<D>>) {
        optimizer::step_tables(self, tables, update);
    }

    fn settle_rows(&self, table: &mut Table<D>, factor: f64, average: Option<(&mut Table<D>, [f64; 2])>) {
        optimizer::settle_rows(self, table, factor, average);
    }
}
