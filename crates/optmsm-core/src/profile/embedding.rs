//! Embeddings, timed.

use super::{Buf, Profiled, Work, elements, inner};
use crate::backend::{
    Backend, Bags, Embedding, Epilogue, FieldLookup, FieldSum, Mat, MatMut, Segments, TableView,
};

impl<B: Backend> Embedding for Profiled<B> {
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
    fn lookup_sum<'a>(
        &self,
        y: MatMut<Buf<B>>,
        terms: impl Iterator<Item = (&'a B::Table, &'a B::Ids)>,
        scratch: MatMut<Buf<B>>,
        first: usize,
        then: Epilogue<Buf<B>>,
    ) {
        let (work, size) = (Work { columns: [y.cols, 0], ..Work::default() }, y.rows * y.cols);
        self.time_counted("lookup_sum", work, |count| {
            *count += size;
            let terms = terms.inspect(|_| *count += size);
            self.inner.lookup_sum(y, terms, scratch, first, then);
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
}
