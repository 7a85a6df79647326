//! Rows by their ids, numeric fields, and sums over the rows of an id.

use optmsm_core::backend::{Bags, Embedding, Epilogue, Mat, Segments, TableView, Write};
use rayon::prelude::*;

use super::{M, MM, rows_of, rows_of_mut};
use crate::Cpu;
use crate::gemm::{ByValue, by_value};
use crate::memory::Buffer;
use crate::rows::{put, row, row_mut};
use crate::tables::{self, Table};

/// Rows that one task sums.
const ROW_CHUNK: usize = 256;

impl Embedding for Cpu {
    fn gather_rows(&self, mut out: MM, x: M, ids: &Vec<u32>, first: usize) {
        for b in 0..out.rows {
            row_mut(&mut out, b).copy_from_slice(row(&x, ids[first + b] as usize));
        }
    }

    fn lookup(&self, out: MM, table: TableView<Self>, ids: &Vec<u32>, first: usize) {
        tables::lookup(self.isa, out, table, &ids[first..]);
    }

    fn lookup_bags(&self, out: MM, table: TableView<Self>, bags: Bags<Vec<u32>, Buffer>, first: usize) {
        tables::lookup_bags(self.isa, out, table, bags, first);
    }

    fn lookup_sum<'a>(
        &self,
        y: MM,
        terms: impl Iterator<Item = (&'a Table, &'a Vec<u32>)>,
        _: MM,
        first: usize,
        then: Epilogue<Buffer>,
    ) {
        tables::lookup_sum(self.isa, y, terms.map(|(table, ids)| (table, &ids[first..])), then);
    }

    fn numeric_embed(&self, mut out: MM, w: M, values: &Buffer, first: usize) {
        for b in 0..out.rows {
            let v = values[first + b];
            put(row_mut(&mut out, b), Write::Set, row(&w, 0).iter().map(|w| v * w));
        }
    }

    fn reduce_rows<'a>(
        &self,
        g: MM,
        segments: Segments<Vec<u32>, Buffer>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Buffer> + Sync,
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
        segments: Segments<Vec<u32>, Buffer>,
        lane_rows: usize,
        lane: impl Fn(usize) -> Mat<'a, Buffer> + Sync,
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
}
