//! Execution and memory, timed.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Buf, IN_LANE, Profiled, Work};
use crate::backend::{Backend, Mat, MatMut, Memory, Products, Write};
use crate::error::Result;
use crate::rounding::TableDtype;

impl<B: Backend> Memory for Profiled<B> {
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
}
