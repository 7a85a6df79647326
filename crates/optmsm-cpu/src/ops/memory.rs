//! Memory, and lanes on worker threads.

use optmsm_core::backend::{Memory, Products, Write};
use optmsm_core::error::Result;
use optmsm_core::precision::Precision;
use optmsm_core::rounding::TableDtype;
use rayon::prelude::*;

use super::{M, MM};
use crate::memory::{Buffer, zeros};
use crate::packed::Packed;
use crate::rows::{put, row, row_mut};
use crate::tables::Table;
use crate::{Cpu, MIN_LANE_ROWS};

impl Memory for Cpu {
    type Elem = f32;
    type Buf = Buffer;
    type Ids = Vec<u32>;
    type Table = Table;
    type Packed = Packed;

    fn name(&self) -> String {
        let bf16 = if self.bf16 { ", bf16" } else { "" };
        format!("cpu ({}{bf16}, {} threads)", self.isa.name(), self.threads())
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

    fn product_rounding(&self) -> f64 {
        if self.bf16 { Precision::Bf16.rounding() } else { 0.0 }
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

    fn alloc(&self, len: usize) -> Result<Buffer> {
        Buffer::zeros(len)
    }

    fn alloc_ids(&self, len: usize) -> Result<Vec<u32>> {
        zeros(len)
    }

    fn len(&self, buf: &Buffer) -> usize {
        buf.len()
    }

    fn upload_at(&self, dst: &mut Buffer, offset: usize, src: &[f32]) {
        dst[offset..offset + src.len()].copy_from_slice(src);
    }

    fn upload_ids(&self, dst: &mut Vec<u32>, src: &[u32]) {
        dst[..src.len()].copy_from_slice(src);
    }

    fn download(&self, dst: &mut [f32], src: &Buffer, offset: usize) -> Result<()> {
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
        Packed::new(self.isa, self.bf16, groups, outputs, inputs, used)
    }

    fn packed_shape(&self, w: &Packed) -> (usize, usize, usize) {
        (w.groups, w.outputs, w.inputs)
    }
}
