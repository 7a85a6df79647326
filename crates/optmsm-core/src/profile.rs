//! Where the time of a step goes: a backend that times every operation of another one.
//!
//! The wrapped backend computes, so results are bit-equal with and without it. Within training steps an operation costs two
//! readings of the clock and a lock more; a program that does not ask for [`Profiled`] has nothing of it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::backend::{
    Backend, Bags, Dropout, Epilogue, FieldLookup, FieldSum, Layout, Mat, MatMut, Part, Products, Segments,
    TableStep, TableView, Write,
};
use crate::error::Result;
use crate::optim::Update;
use crate::rounding::TableDtype;

thread_local! {
    static IN_LANE: Cell<bool> = const { Cell::new(false) };
}

/// A backend whose operations are timed.
#[derive(Debug)]
pub struct Profiled<B> {
    inner: B,
    in_step: AtomicBool,
    measured: Mutex<Measured>,
}

#[derive(Debug, Default)]
struct Measured {
    steps: u64,
    wall: Duration,
    phases: BTreeMap<Key, Phase>,
}

/// What a number of training steps took.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Steps.
    pub steps: u64,
    /// Time of all of them.
    pub wall: Duration,
    /// Their operations, by name; `for_lanes` holds the time of those with `in_lanes`.
    pub phases: Vec<Phase>,
}

/// Operation, columns in and out, whether lanes ran it.
type Key = (bool, &'static str, [usize; 2]);

/// One operation on one shape, summed over its calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Phase {
    /// Name in [`Backend`].
    pub op: &'static str,
    /// Columns of its input and output; 0 where there is none.
    pub columns: [usize; 2],
    /// Whether lanes ran it, at the same time on several threads.
    pub in_lanes: bool,
    /// Calls.
    pub calls: u64,
    /// Time, summed over threads.
    pub time: Duration,
    /// Floating-point operations of the products (a multiply-add is two).
    pub flop: u64,
    /// Bytes of the operands, each counted once.
    pub bytes: u64,
}

/// What an operation reads, writes and computes.
#[derive(Default)]
struct Work {
    columns: [usize; 2],
    flop: usize,
    elements: usize,
}

fn elements<T>(m: &Mat<T>) -> usize {
    m.rows * m.cols
}

impl Work {
    fn on<T>(m: &Mat<T>, operands: usize) -> Self {
        Work { columns: [m.cols, 0], elements: operands * elements(m), ..Work::default() }
    }

    fn of(elements: usize) -> Self {
        Work { elements, ..Work::default() }
    }
}

/// A product over rows, d_w = d_yᵀ x.
fn reduction<T, I>(d_w: &MatMut<T>, d_y: &Mat<T>, x: &Mat<T>, part: &Part<I>) -> Work {
    // A row meets one group under `Rows`, else all of d_w.
    let met = if let Part::Rows(_) = part { d_y.cols * d_w.cols } else { d_w.rows * d_w.cols };
    let elements = elements(d_y) + elements(x) + 2 * d_w.rows * d_w.cols;
    Work { columns: [x.cols, d_y.cols], flop: 2 * x.rows * met, elements }
}

impl<B: Backend> Profiled<B> {
    /// Times the operations of `inner`.
    pub fn new(inner: B) -> Self {
        Self { inner, in_step: AtomicBool::new(false), measured: Mutex::default() }
    }

    /// The backend that computes.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// What was measured since this was asked for last; forgets it.
    pub fn take(&self) -> Profile {
        let Measured { steps, wall, phases } = std::mem::take(&mut *self.lock());
        Profile { steps, wall, phases: phases.into_values().collect() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Measured> {
        // Sums stay whole whatever panicked elsewhere.
        self.measured.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn time<R>(&self, op: &'static str, work: Work, run: impl FnOnce() -> R) -> R {
        self.time_counted(op, work, |_| run())
    }

    /// The same for work whose elements are known only when it is done: `run` adds them.
    fn time_counted<R>(&self, op: &'static str, mut work: Work, run: impl FnOnce(&mut usize) -> R) -> R {
        if !self.in_step.load(Ordering::Relaxed) {
            return run(&mut 0);
        }
        let start = Instant::now();
        let result = run(&mut work.elements);
        let time = start.elapsed();
        let (in_lanes, columns) = (IN_LANE.get(), work.columns);
        let mut measured = self.lock();
        let new = Phase { op, columns, in_lanes, ..Phase::default() };
        let phase = measured.phases.entry((in_lanes, op, columns)).or_insert(new);
        phase.calls += 1;
        phase.time += time;
        phase.flop += work.flop as u64;
        phase.bytes += (work.elements * size_of::<B::Elem>()) as u64;
        result
    }

    /// A product over `rows` rows with packed weights.
    fn product(&self, w: &B::Packed, part: &Part<B::Ids>, rows: usize, columns: [usize; 2]) -> Work {
        let (groups, outputs, inputs) = self.inner.packed_shape(w);
        let used = if let Part::Columns = part { groups } else { 1 };
        let weights = if let Part::Group(_) = part { 1 } else { groups } * outputs * inputs;
        let elements = rows * (columns[0] + columns[1]) + weights;
        Work { columns, flop: 2 * rows * used * outputs * inputs, elements }
    }
}

type Buf<B> = <B as Backend>::Buf;

impl<B: Backend> Backend for Profiled<B> {
    type Elem = B::Elem;
    type Buf = B::Buf;
    type Ids = B::Ids;
    type Table = B::Table;
    type Packed = B::Packed;

    fn name(&self) -> String {
        format!("{}, profiled", self.inner.name())
    }
    fn lanes(&self) -> usize {
        self.inner.lanes()
    }
    fn block_rows(&self) -> usize {
        self.inner.block_rows()
    }
    fn min_lane_rows(&self) -> usize {
        self.inner.min_lane_rows()
    }
    fn product_rounding(&self) -> f64 {
        self.inner.product_rounding()
    }
    fn fields_by_id(&self) -> bool {
        self.inner.fields_by_id()
    }
    fn run_step<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let start = Instant::now();
        self.in_step.store(true, Ordering::Relaxed);
        let result = self.inner.run_step(f);
        self.in_step.store(false, Ordering::Relaxed);
        let mut measured = self.lock();
        measured.steps += 1;
        measured.wall += start.elapsed();
        result
    }
    fn for_lanes<L: Send>(&self, lanes: &mut [L], f: impl Fn(usize, &mut L) + Sync) {
        let marked = |i: usize, lane: &mut L| {
            let outer = IN_LANE.replace(true);
            f(i, lane);
            IN_LANE.set(outer);
        };
        self.time("for_lanes", Work::default(), || self.inner.for_lanes(lanes, marked));
    }

    fn alloc(&self, len: usize) -> Result<B::Buf> {
        self.inner.alloc(len)
    }
    fn alloc_ids(&self, len: usize) -> Result<B::Ids> {
        self.inner.alloc_ids(len)
    }
    fn len(&self, buf: &B::Buf) -> usize {
        self.inner.len(buf)
    }
    fn upload_at(&self, dst: &mut B::Buf, offset: usize, src: &[B::Elem]) {
        self.time("upload", Work::of(2 * src.len()), || self.inner.upload_at(dst, offset, src));
    }
    fn upload_ids(&self, dst: &mut B::Ids, src: &[u32]) {
        self.time("upload_ids", Work::of(2 * src.len()), || self.inner.upload_ids(dst, src));
    }
    fn download(&self, dst: &mut [B::Elem], src: &B::Buf, offset: usize) -> Result<()> {
        self.time("download", Work::of(2 * dst.len()), || self.inner.download(dst, src, offset))
    }
    fn fill(&self, dst: MatMut<Buf<B>>, v: f64) {
        self.time("fill", Work::on(&dst.as_mat(), 1), || self.inner.fill(dst, v));
    }
    fn copy(&self, dst: MatMut<Buf<B>>, write: Write, src: Mat<Buf<B>>) {
        self.time("copy", Work::on(&src, 2), || self.inner.copy(dst, write, src));
    }

    fn alloc_table(&self, rows: usize, width: usize, dtype: TableDtype) -> Result<B::Table> {
        self.inner.alloc_table(rows, width, dtype)
    }
    fn upload_rows(&self, dst: &mut B::Table, first: usize, src: &[B::Elem]) {
        self.inner.upload_rows(dst, first, src);
    }
    fn download_rows(&self, dst: &mut [B::Elem], src: &B::Table, first: usize) -> Result<()> {
        self.inner.download_rows(dst, src, first)
    }

    fn alloc_packed(
        &self,
        groups: usize,
        outputs: usize,
        inputs: usize,
        used: Products,
    ) -> Result<B::Packed> {
        self.inner.alloc_packed(groups, outputs, inputs, used)
    }
    fn packed_shape(&self, w: &B::Packed) -> (usize, usize, usize) {
        self.inner.packed_shape(w)
    }
    fn pack(&self, dst: &mut B::Packed, src: Mat<Buf<B>>, layout: Layout) {
        let work = Work { elements: 3 * elements(&src), ..Work::default() };
        self.time("pack", work, || self.inner.pack(dst, src, layout));
    }
    fn linear(
        &self,
        y: MatMut<Buf<B>>,
        x: Mat<Buf<B>>,
        w: &B::Packed,
        part: Part<B::Ids>,
        then: Epilogue<Buf<B>>,
    ) {
        let work = self.product(w, &part, x.rows, [x.cols, y.cols]);
        self.time("linear", work, || self.inner.linear(y, x, w, part, then));
    }
    fn linear_dx(
        &self,
        d_x: MatMut<Buf<B>>,
        write: Write,
        d_y: Mat<Buf<B>>,
        w: &B::Packed,
        part: Part<B::Ids>,
        relu: Option<Mat<Buf<B>>>,
    ) {
        let work = self.product(w, &part, d_y.rows, [d_y.cols, d_x.cols]);
        self.time("linear_dx", work, || self.inner.linear_dx(d_x, write, d_y, w, part, relu));
    }
    fn linear_dw(
        &self,
        d_w: MatMut<Buf<B>>,
        write: Write,
        d_y: Mat<Buf<B>>,
        x: Mat<Buf<B>>,
        part: Part<B::Ids>,
    ) {
        let work = reduction(&d_w, &d_y, &x, &part);
        self.time("linear_dw", work, || self.inner.linear_dw(d_w, write, d_y, x, part));
    }
    fn linear_dw_bias(
        &self,
        d_w: MatMut<Buf<B>>,
        d_b: usize,
        write: Write,
        d_y: Mat<Buf<B>>,
        x: Mat<Buf<B>>,
        part: Part<B::Ids>,
    ) {
        let work = reduction(&d_w, &d_y, &x, &part);
        self.time("linear_dw_bias", work, || self.inner.linear_dw_bias(d_w, d_b, write, d_y, x, part));
    }
    fn col_sum(&self, out: MatMut<Buf<B>>, write: Write, x: Mat<Buf<B>>, part: Part<B::Ids>) {
        self.time("col_sum", Work::on(&x, 1), || self.inner.col_sum(out, write, x, part));
    }
    fn col_dot(&self, out: MatMut<Buf<B>>, write: Write, x: Mat<Buf<B>>, y: Mat<Buf<B>>, part: Part<B::Ids>) {
        self.time("col_dot", Work::on(&x, 2), || self.inner.col_dot(out, write, x, y, part));
    }
    fn relu(&self, y: MatMut<Buf<B>>) {
        self.time("relu", Work::on(&y.as_mat(), 2), || self.inner.relu(y));
    }
    fn relu_bwd(&self, d: MatMut<Buf<B>>, y: Mat<Buf<B>>) {
        self.time("relu_bwd", Work::on(&y, 3), || self.inner.relu_bwd(d, y));
    }
    fn relu_bwd_into(&self, out: MatMut<Buf<B>>, d: Mat<Buf<B>>, y: Mat<Buf<B>>) {
        self.time("relu_bwd_into", Work::on(&y, 3), || self.inner.relu_bwd_into(out, d, y));
    }
    fn dropout(&self, x: MatMut<Buf<B>>, drop: &Dropout, rows: &B::Ids, first: usize) {
        self.time("dropout", Work::on(&x.as_mat(), 2), || self.inner.dropout(x, drop, rows, first));
    }
    fn row_scale(&self, y: MatMut<Buf<B>>, write: Write, s: Mat<Buf<B>>, x: Mat<Buf<B>>) {
        self.time("row_scale", Work::on(&x, 2), || self.inner.row_scale(y, write, s, x));
    }
    fn row_dot(&self, out: MatMut<Buf<B>>, write: Write, x: Mat<Buf<B>>, y: Mat<Buf<B>>) {
        self.time("row_dot", Work::on(&x, 2), || self.inner.row_dot(out, write, x, y));
    }
    fn mul(&self, y: MatMut<Buf<B>>, write: Write, x: Mat<Buf<B>>, v: Mat<Buf<B>>) {
        let work = Work { elements: 2 * elements(&x) + elements(&v), ..Work::on(&x, 0) };
        self.time("mul", work, || self.inner.mul(y, write, x, v));
    }
    fn add_row(&self, y: MatMut<Buf<B>>, v: Mat<Buf<B>>) {
        self.time("add_row", Work::on(&y.as_mat(), 2), || self.inner.add_row(y, v));
    }
    fn sigmoid_gate(&self, y: MatMut<Buf<B>>, g: MatMut<Buf<B>>, x: Mat<Buf<B>>, o: Mat<Buf<B>>) {
        self.time("sigmoid_gate", Work::on(&x, 4), || self.inner.sigmoid_gate(y, g, x, o));
    }
    fn sigmoid_gate_bwd(
        &self,
        d_o: MatMut<Buf<B>>,
        d_x: MatMut<Buf<B>>,
        write: Write,
        d_y: Mat<Buf<B>>,
        x: Mat<Buf<B>>,
        g: Mat<Buf<B>>,
    ) {
        self.time("sigmoid_gate_bwd", Work::on(&x, 5), || {
            self.inner.sigmoid_gate_bwd(d_o, d_x, write, d_y, x, g);
        });
    }

    fn gather_rows(&self, out: MatMut<Buf<B>>, x: Mat<Buf<B>>, ids: &B::Ids, first: usize) {
        self.time("gather_rows", Work::on(&out.as_mat(), 2), || self.inner.gather_rows(out, x, ids, first));
    }
    fn lookup(&self, out: MatMut<Buf<B>>, table: TableView<Self>, ids: &B::Ids, first: usize) {
        self.time("lookup", Work::on(&out.as_mat(), 2), || self.inner.lookup(out, inner(table), ids, first));
    }
    fn lookup_fields<'a>(
        &self,
        out: MatMut<Buf<B>>,
        fields: impl Iterator<Item = FieldLookup<'a, Self>>,
        first: usize,
    ) {
        let (work, rows) = (Work { columns: [out.cols, 0], ..Work::default() }, out.rows);
        self.time_counted("lookup_fields", work, |count| {
            let fields = fields.map(|FieldLookup { table, ids, column, width }| {
                *count += 2 * rows * width;
                FieldLookup { table: inner(table), ids, column, width }
            });
            self.inner.lookup_fields(out, fields, first);
        });
    }
    fn lookup_bags(
        &self,
        out: MatMut<Buf<B>>,
        table: TableView<Self>,
        bags: Bags<B::Ids, Buf<B>>,
        first: usize,
    ) {
        self.time("lookup_bags", Work::on(&out.as_mat(), 2), || {
            self.inner.lookup_bags(out, inner(table), bags, first);
        });
    }
    fn numeric_embed(&self, out: MatMut<Buf<B>>, w: Mat<Buf<B>>, values: &B::Buf, first: usize) {
        self.time("numeric_embed", Work::on(&out.as_mat(), 1), || {
            self.inner.numeric_embed(out, w, values, first);
        });
    }
    fn reduce_rows<'a>(
        &self,
        g: MatMut<Buf<B>>,
        segments: Segments<B::Ids, Buf<B>>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Buf<B>> + Sync,
    ) {
        let work = Work::of(segments.count * g.cols);
        self.time("reduce_rows", work, || self.inner.reduce_rows(g, segments, lane_rows, lane));
    }

    fn reduce_fields<'a>(&self, fields: impl Iterator<Item = FieldSum<'a, Self>>) {
        self.time_counted("reduce_fields", Work::default(), |count| {
            self.inner.reduce_fields(fields.map(|FieldSum { g, segments, d_out }| {
                *count += segments.count * g.cols;
                FieldSum { g, segments, d_out }
            }));
        });
    }

    fn linear_bwd_by_value<'a>(
        &self,
        g: MatMut<Buf<B>>,
        d_w: MatMut<Buf<B>>,
        x: Mat<Buf<B>>,
        w: Mat<Buf<B>>,
        segments: Segments<B::Ids, Buf<B>>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Buf<B>> + Sync,
    ) {
        let flop = 4 * segments.count * elements(&w);
        let work = Work { columns: [x.cols, w.rows], flop, elements: segments.count * w.rows };
        self.time("linear_bwd_by_value", work, || {
            self.inner.linear_bwd_by_value(g, d_w, x, w, segments, lane_rows, lane);
        });
    }

    fn softmax(&self, alpha: MatMut<Buf<B>>, logits: Mat<Buf<B>>) {
        self.time("softmax", Work::on(&logits, 2), || self.inner.softmax(alpha, logits));
    }
    fn softmax_bwd(&self, d_logits: MatMut<Buf<B>>, d_alpha: Mat<Buf<B>>, alpha: Mat<Buf<B>>) {
        self.time("softmax_bwd", Work::on(&alpha, 3), || self.inner.softmax_bwd(d_logits, d_alpha, alpha));
    }
    fn mix(&self, mix: MatMut<Buf<B>>, alpha: Mat<Buf<B>>, e: Mat<Buf<B>>) {
        self.time("mix", Work::on(&e, 1), || self.inner.mix(mix, alpha, e));
    }
    fn mix_bwd(
        &self,
        d_alpha: MatMut<Buf<B>>,
        d_e: MatMut<Buf<B>>,
        write: Write,
        d_mix: Mat<Buf<B>>,
        alpha: Mat<Buf<B>>,
        e: Mat<Buf<B>>,
    ) {
        self.time("mix_bwd", Work::on(&e, 2), || self.inner.mix_bwd(d_alpha, d_e, write, d_mix, alpha, e));
    }
    fn gate(&self, mix: MatMut<Buf<B>>, alpha: MatMut<Buf<B>>, logits: Mat<Buf<B>>, e: Mat<Buf<B>>) {
        self.time("gate", Work::on(&e, 1), || self.inner.gate(mix, alpha, logits, e));
    }
    fn gate_bwd(
        &self,
        d_logits: MatMut<Buf<B>>,
        d_alpha: MatMut<Buf<B>>,
        d_e: MatMut<Buf<B>>,
        d_mix: Mat<Buf<B>>,
        alpha: Mat<Buf<B>>,
        e: Mat<Buf<B>>,
    ) {
        self.time("gate_bwd", Work::on(&e, 2), || {
            self.inner.gate_bwd(d_logits, d_alpha, d_e, d_mix, alpha, e);
        });
    }
    fn select(&self, mix: MatMut<Buf<B>>, e: Mat<Buf<B>>, groups: &B::Ids) {
        self.time("select", Work::on(&mix.as_mat(), 2), || self.inner.select(mix, e, groups));
    }
    fn select_bwd(&self, d_e: MatMut<Buf<B>>, write: Write, d_mix: Mat<Buf<B>>, groups: &B::Ids) {
        self.time("select_bwd", Work::on(&d_e.as_mat(), 1), || {
            self.inner.select_bwd(d_e, write, d_mix, groups);
        });
    }

    fn deviations(
        &self,
        sums: MatMut<Buf<B>>,
        squares: MatMut<Buf<B>>,
        x: Mat<Buf<B>>,
        center: Mat<Buf<B>>,
        groups: &B::Ids,
    ) {
        self.time("deviations", Work::on(&x, 1), || self.inner.deviations(sums, squares, x, center, groups));
    }
    fn moments(
        &self,
        mean: MatMut<Buf<B>>,
        inv_std: MatMut<Buf<B>>,
        running_mean: MatMut<Buf<B>>,
        running_var: MatMut<Buf<B>>,
        sums: Mat<Buf<B>>,
        squares: Mat<Buf<B>>,
        groups: &B::Ids,
        eps: f64,
        momentum: f64,
    ) {
        self.time("moments", Work::on(&sums, 8), || {
            self.inner.moments(
                mean,
                inv_std,
                running_mean,
                running_var,
                sums,
                squares,
                groups,
                eps,
                momentum,
            );
        });
    }
    fn running_moments(
        &self,
        mean: MatMut<Buf<B>>,
        inv_std: MatMut<Buf<B>>,
        running_mean: Mat<Buf<B>>,
        running_var: Mat<Buf<B>>,
        eps: f64,
    ) {
        self.time("running_moments", Work::on(&running_mean, 4), || {
            self.inner.running_moments(mean, inv_std, running_mean, running_var, eps);
        });
    }
    fn normalize(
        &self,
        x_hat: MatMut<Buf<B>>,
        x: Mat<Buf<B>>,
        mean: Mat<Buf<B>>,
        inv_std: Mat<Buf<B>>,
        groups: &B::Ids,
    ) {
        self.time("normalize", Work::on(&x, 2), || self.inner.normalize(x_hat, x, mean, inv_std, groups));
    }
    fn affine(
        &self,
        y: MatMut<Buf<B>>,
        x: Mat<Buf<B>>,
        scale: Mat<Buf<B>>,
        shift: Mat<Buf<B>>,
        groups: &B::Ids,
    ) {
        self.time("affine", Work::on(&x, 2), || self.inner.affine(y, x, scale, shift, groups));
    }
    fn norm_bwd(
        &self,
        d: MatMut<Buf<B>>,
        x_hat: Mat<Buf<B>>,
        gain: Mat<Buf<B>>,
        sum_d: Mat<Buf<B>>,
        sum_dx: Mat<Buf<B>>,
        groups: &B::Ids,
        batch: &B::Ids,
    ) {
        self.time("norm_bwd", Work::on(&x_hat, 3), || {
            self.inner.norm_bwd(d, x_hat, gain, sum_d, sum_dx, groups, batch);
        });
    }

    fn orthogonality(&self, inv_norm: MatMut<Buf<B>>, sums: MatMut<Buf<B>>, e: Mat<Buf<B>>) {
        self.time("orthogonality", Work::on(&e, 1), || self.inner.orthogonality(inv_norm, sums, e));
    }
    fn orthogonality_bwd(&self, d_e: MatMut<Buf<B>>, e: Mat<Buf<B>>, inv_norm: Mat<Buf<B>>, scale: f64) {
        self.time("orthogonality_bwd", Work::on(&e, 3), || {
            self.inner.orthogonality_bwd(d_e, e, inv_norm, scale);
        });
    }

    fn gate_orthogonality_bwd(
        &self,
        d_logits: MatMut<Buf<B>>,
        d_alpha: MatMut<Buf<B>>,
        d_e: MatMut<Buf<B>>,
        d_mix: Mat<Buf<B>>,
        alpha: Mat<Buf<B>>,
        e: Mat<Buf<B>>,
        inv_norm: Mat<Buf<B>>,
        scale: f64,
    ) {
        self.time("gate_orthogonality_bwd", Work::on(&e, 2), || {
            self.inner.gate_orthogonality_bwd(d_logits, d_alpha, d_e, d_mix, alpha, e, inv_norm, scale);
        });
    }

    fn bce_with_logits(
        &self,
        d_logits: MatMut<Buf<B>>,
        sum: MatMut<Buf<B>>,
        logits: Mat<Buf<B>>,
        labels: &B::Buf,
        weights: &B::Buf,
        first: usize,
        scale: f64,
    ) {
        self.time("bce_with_logits", Work::on(&logits, 4), || {
            self.inner.bce_with_logits(d_logits, sum, logits, labels, weights, first, scale);
        });
    }
    fn sigmoid(&self, p: MatMut<Buf<B>>, logits: Mat<Buf<B>>) {
        self.time("sigmoid", Work::on(&logits, 2), || self.inner.sigmoid(p, logits));
    }

    fn accumulate<'a>(
        &self,
        acc: &mut B::Buf,
        count: usize,
        x: impl Fn(usize) -> &'a B::Buf + Sync,
        range: Range<usize>,
    ) {
        let work = Work::of((2 + count) * range.len());
        self.time("accumulate", work, || self.inner.accumulate(acc, count, x, range));
    }
    fn sum_sq(&self, sum: &mut B::Buf, write: Write, x: &B::Buf, len: usize) {
        self.time("sum_sq", Work::of(len), || self.inner.sum_sq(sum, write, x, len));
    }
    fn step_dense(
        &self,
        w: &mut B::Buf,
        g: &B::Buf,
        state: &mut [B::Buf],
        len: usize,
        update: &Update<Buf<B>>,
    ) {
        let work = Work::of((3 + 2 * state.len()) * len);
        self.time("step_dense", work, || self.inner.step_dense(w, g, state, len, update));
    }
    fn average(&self, a: &mut B::Buf, w: &B::Buf, len: usize, keep: f64) {
        self.time("average", Work::of(3 * len), || self.inner.average(a, w, len, keep));
    }
    fn step_rows(&self, step: TableStep<Self>, update: &Update<Buf<B>>) {
        let (step, work) = inner_step(step);
        self.time("step_rows", Work::of(work), || self.inner.step_rows(step, update));
    }
    fn step_tables<'a>(&self, tables: impl Iterator<Item = TableStep<'a, Self>>, update: &Update<Buf<B>>) {
        self.time_counted("step_tables", Work::default(), |count| {
            let tables = tables.map(|step| {
                let (step, work) = inner_step(step);
                *count += work;
                step
            });
            self.inner.step_tables(tables, update);
        });
    }
    fn settle_rows(&self, table: &mut B::Table, factor: f64, average: Option<(&mut B::Table, [f64; 2])>) {
        self.time("settle_rows", Work::default(), || self.inner.settle_rows(table, factor, average));
    }
}

/// A table as the backend inside reads it.
fn inner<B: Backend>(TableView { table, scale, plus }: TableView<Profiled<B>>) -> TableView<B> {
    TableView { table, scale, plus }
}

/// A step as the backend inside takes it, and the elements that it reads and writes.
fn inner_step<B: Backend>(step: TableStep<Profiled<B>>) -> (TableStep<B>, usize) {
    let TableStep { table, g, state, average, rows, rounding } = step;
    let work = (3 + 2 * state.len() + 2 * usize::from(average.is_some())) * elements(&g);
    (TableStep { table, g, state, average, rows, rounding }, work)
}
